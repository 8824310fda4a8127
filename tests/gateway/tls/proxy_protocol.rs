//! PROXY headers: believed from balancers of ours where one is awaited, and nowhere else.

use super::super::support::client::RawClient;
use super::super::support::eventually;
use super::super::support::gateway::Gateway;
use super::super::support::upstream::Upstream;
use super::{get, last, metric, site};

const PROXIED: &str = "proxy_protocol = true";
const V1: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let length = u16::try_from(addresses.len()).expect("short").to_be_bytes();
    [SIGNATURE, &[0x20 | command, family], &length, addresses].concat()
}

fn v2_from_192_0_2_8() -> Vec<u8> {
    v2(1, 0x11, &[192, 0, 2, 8, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb])
}

async fn refused(gateway: &Gateway) -> i64 {
    metric(gateway, "portcullis_refused_before_routing_total{cause=\"proxy_header\"} ").await.expect("it is counted")
}

#[tokio::test]
async fn case_99_a_balancer_of_ours_says_who_the_client_is() {
    let upstream = Upstream::echo().await;
    let builder = Gateway::in_front_of(&upstream).set("server.trusted_proxies=127.0.0.0/8");
    let gateway = builder.listener(PROXIED).start().await;
    let v6: Vec<u8> =
        [[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9], [0; 16]].concat().into_iter().chain([0; 4]).collect();
    for (header, client) in [
        (V1.to_vec(), "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 12345 443\r\n".to_vec(), "2001:db8::7"),
        (v2_from_192_0_2_8(), "192.0.2.8"),
        (v2(1, 0x21, &v6), "2001:db8::9"),
        // The balancer itself, to see whether the gateway is there.
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (v2(0, 0, &[]), "127.0.0.1"),
    ] {
        let mut talk = RawClient::connect(last(&gateway)).await;
        // In one piece with the request, and the connection serves more than one.
        talk.send([&header[..], get("a.example", "/public").as_bytes()].concat()).await;
        assert_eq!(talk.response().await.expect("an answer").status, 200, "{}", header.escape_ascii());
        assert_eq!(talk.ask(get("a.example", "/public")).await.status, 200);
        for received in upstream.take_requests() {
            assert_eq!(received.head.one("x-forwarded-for"), Some(client), "{}", header.escape_ascii());
        }
    }
    // Who is not a proxy of ours is believed no more than before.
    let mut talk = RawClient::connect(last(&gateway)).await;
    talk.send(V1).await;
    talk.ask("GET /public HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 203.0.113.1\r\n\r\n").await;
    assert_eq!(upstream.take_requests()[0].head.one("x-forwarded-for"), Some("192.0.2.7"));
    eventually("the access log", async || gateway.output().contains("192.0.2.8").then_some(())).await;
    assert_eq!(refused(&gateway).await, 0);
}

#[tokio::test]
async fn a_header_comes_before_tls() {
    let (authority, upstream, builder) = site().await;
    let builder = builder.set("server.trusted_proxies=127.0.0.1").listener(&format!("{PROXIED}\nprotocol = \"https\""));
    let gateway = builder.start().await;
    for (header, client) in [(V1.to_vec(), "192.0.2.7"), (v2_from_192_0_2_8(), "192.0.2.8")] {
        let talk = authority.client().try_connect_after(last(&gateway), "a.example", &header).await;
        assert_eq!(talk.expect("a handshake").ask(get("a.example", "/public")).await.status, 200);
        let received = upstream.take_requests().remove(0);
        assert_eq!(received.head.one("x-forwarded-for"), Some(client));
        assert_eq!(received.head.one("x-forwarded-proto"), Some("https"));
    }
    assert!(authority.client().try_connect(last(&gateway), "a.example").await.is_err(), "without the header");
    // A head that is refused before it is parsed is logged with the client's address, too.
    let mut talk = authority.client().try_connect_after(last(&gateway), "a.example", V1).await.expect("a handshake");
    assert_eq!(talk.ask("GET /a b HTTP/1.1\r\n\r\n").await.status, 400);
}

#[tokio::test]
async fn case_99_a_header_from_anybody_else_ends_the_connection() {
    let upstream = Upstream::echo().await;
    let builder = Gateway::in_front_of(&upstream).set("server.trusted_proxies=10.0.0.0/8");
    let gateway = builder.listener(PROXIED).start().await;
    for header in [V1.to_vec(), v2_from_192_0_2_8(), v2(0, 0, &[]), Vec::new()] {
        let mut talk = RawClient::connect(last(&gateway)).await;
        talk.send([&header[..], get("a.example", "/public").as_bytes()].concat()).await;
        assert!(talk.rest().await.is_empty(), "{}", header.escape_ascii());
    }
    assert_eq!(upstream.connections(), 0);
    eventually("the count", async || (refused(&gateway).await >= 4).then_some(())).await;
}

#[tokio::test]
async fn case_99_where_no_header_is_awaited_it_is_no_request() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream).set("server.trusted_proxies=127.0.0.0/8").listener(PROXIED).start().await;
    for header in [V1.to_vec(), v2_from_192_0_2_8()] {
        let mut talk = gateway.connect().await;
        talk.send([&header[..], get("a.example", "/public").as_bytes()].concat()).await;
        assert_eq!(talk.response().await.map(|answer| answer.status), Some(400), "{}", header.escape_ascii());
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn case_99_a_missing_broken_or_partial_header_ends_the_connection() {
    let upstream = Upstream::echo().await;
    let builder = Gateway::in_front_of(&upstream).set("server.trusted_proxies=127.0.0.0/8");
    let gateway = builder.listener(PROXIED).set("server.tls.handshake_timeout=1s").start().await;
    let request = get("a.example", "/public").into_bytes();
    let followed = |header: &[u8]| [header, &request[..]].concat();
    let broken = [
        request.clone(),
        followed(b"PROXY TCP4 192.0.2.7 10.0.0.1 12345\r\n"),
        followed(b"PROXY TCP4 2001:db8::7 ::1 12345 443\r\n"),
        followed(&[b"PROXY ".to_vec(), vec![b'x'; 300]].concat()),
        followed(&[SIGNATURE, &[0x11, 0x11, 0, 12], &[0; 12]].concat()),
        followed(&[SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat()),
        followed(&v2(1, 0x11, &[192, 0])),
    ];
    let count = i64::try_from(broken.len()).expect("a few");
    for sent in broken {
        let mut talk = RawClient::connect(last(&gateway)).await;
        talk.send(&sent).await;
        assert!(talk.rest().await.is_empty(), "{}", sent.escape_ascii());
    }
    // A connection is counted when it has ended.
    eventually("the count", async || (refused(&gateway).await == count).then_some(())).await;
    // Half a header and then nothing: closed when its time is over.
    for partial in [&V1[..20], &V1[..3], b"", &v2_from_192_0_2_8()[..14], &v2_from_192_0_2_8()[..20]] {
        let mut talk = RawClient::connect(last(&gateway)).await;
        talk.send(partial).await;
        assert!(talk.rest().await.is_empty(), "{}", partial.escape_ascii());
    }
    assert_eq!(upstream.connections(), 0);
}
