//! What is agreed on, what is refused, that slow handshakes harm nobody, and what HTTP looks like above TLS.

use std::time::Duration;

use rustls::ProtocolVersion;
use tokio_rustls::TlsConnector;

use super::super::support::client::RawClient;
use super::super::support::tls::{ONLY_1_2, ONLY_1_3};
use super::super::support::upstream::{Answer, Upstream};
use super::super::support::{eventually, in_time};
use super::{get, last, metric, site};

/// What a client of that version with these ciphers begins with.
fn client_hello(version: u16, ciphers: &[u16]) -> Vec<u8> {
    let list = |items: &[u16]| items.iter().flat_map(|item| item.to_be_bytes()).collect::<Vec<u8>>();
    let long = |bytes: Vec<u8>| [&u16::try_from(bytes.len()).expect("short").to_be_bytes()[..], &bytes].concat();
    let extension = |kind: u16, content: Vec<u8>| [&kind.to_be_bytes()[..], &long(content)].concat();
    let name = [vec![0], long(b"a.example".to_vec())].concat();
    let extensions = [
        extension(0, long(name)),
        extension(10, long(list(&[0x001d, 0x0017]))),
        extension(13, long(list(&[0x0403, 0x0804, 0x0401]))),
    ]
    .concat();
    let hello = [&version.to_be_bytes()[..], &[7; 32], &[0], &long(list(ciphers)), &[1, 0], &long(extensions)].concat();
    let message = [&[1, 0][..], &long(hello)].concat();
    [&[22, 3, 1][..], &long(message)].concat()
}

#[tokio::test]
async fn old_versions_and_weak_ciphers_are_refused_and_new_ones_are_not() {
    const STRONG: &[u16] = &[0xc02b, 0xc02f, 0x1301];
    // RSA key exchange, CBC, 3DES, RC4, export.
    const WEAK: &[u16] = &[0x002f, 0x0035, 0xc009, 0xc013, 0xc023, 0x000a, 0x0005, 0x0003];
    let (authority, _upstream, builder) = site().await;
    let gateway = builder.start().await;
    let address = last(&gateway);
    for (version, ciphers, alert) in [(0x0300, STRONG, 70), (0x0301, STRONG, 70), (0x0302, STRONG, 70), (0x0303, WEAK, 40)] {
        let mut client = RawClient::connect(address).await;
        client.send(client_hello(version, ciphers)).await;
        let answer = client.rest().await;
        assert!(matches!(answer[..], [21, 3, _, 0, 2, 2, code] if code == alert), "{version:x}: {answer:?}");
    }
    let mut client = RawClient::connect(address).await;
    client.send(client_hello(0x0303, STRONG)).await;
    assert_eq!(client.bytes(1).await[0], 22, "the same hello with what is not refused is answered");
    for (versions, expected) in [(ONLY_1_2, ProtocolVersion::TLSv1_2), (ONLY_1_3, ProtocolVersion::TLSv1_3)] {
        let mut talk = authority.client().speaking(versions).connect(address, "a.example").await;
        assert_eq!(talk.stream().get_ref().1.protocol_version(), Some(expected));
        assert_eq!(talk.ask(get("a.example", "/public")).await.status, 200);
    }
    eventually("the count", async || {
        (metric(&gateway, "portcullis_refused_before_routing_total{cause=\"handshake\"} ").await == Some(4)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn tls_1_2_is_refused_where_1_3_is_the_least() {
    let (authority, _upstream, builder) = site().await;
    let gateway = builder.set("server.tls.min_version=1.3").start().await;
    let client = authority.client();
    assert!(client.clone().speaking(ONLY_1_2).try_connect(last(&gateway), "a.example").await.is_err());
    client.connect(last(&gateway), "a.example").await;
}

#[tokio::test]
async fn only_protocols_that_are_spoken_are_agreed_on() {
    let (authority, _upstream, builder) = site().await;
    let gateway = builder.start().await;
    let agreed = async |offered: &[&str]| {
        let mut config = authority.client().config();
        config.alpn_protocols = offered.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let stream = tokio::net::TcpStream::connect(last(&gateway)).await.expect("the gateway listens");
        let name = "a.example".try_into().expect("a host");
        let talk = in_time("a handshake", TlsConnector::from(std::sync::Arc::new(config)).connect(name, stream)).await;
        talk.map(|talk| talk.get_ref().1.alpn_protocol().map(|agreed| String::from_utf8_lossy(agreed).into_owned()))
    };
    assert_eq!(agreed(&["h2", "http/1.1"]).await.expect("a handshake").as_deref(), Some("h2"));
    assert_eq!(agreed(&["http/1.1", "h2"]).await.expect("a handshake").as_deref(), Some("h2"));
    assert_eq!(agreed(&["http/1.1"]).await.expect("a handshake").as_deref(), Some("http/1.1"));
    assert_eq!(agreed(&[]).await.expect("a handshake"), None);
    assert!(agreed(&["spdy/3"]).await.is_err(), "RFC 7301 §3.2");
}

#[tokio::test]
async fn slow_handshakes_are_ended_and_harm_nobody() {
    let (authority, _upstream, builder) = site().await;
    let gateway = builder.set("server.tls.handshake_timeout=2s").start().await;
    let (address, hello) = (last(&gateway), client_hello(0x0303, &[0x1301]));
    let mut slow = Vec::new();
    for at in 0..100 {
        let mut client = RawClient::connect(address).await;
        client.send(&hello[..at % hello.len()]).await;
        slow.push(client);
    }
    let asking = async {
        for _ in 0..20 {
            let mut talk = authority.client().connect(address, "a.example").await;
            assert_eq!(talk.ask(get("a.example", "/public")).await.status, 200);
        }
    };
    asking.await;
    for client in &mut slow {
        // The last ones may have been told in TLS that they were too slow; none is served.
        assert!(!client.rest().await.starts_with(&[22]));
    }
    eventually("the count", async || {
        let line = "portcullis_refused_before_routing_total{cause=\"handshake_deadline\"} ";
        (metric(&gateway, line).await == Some(100)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_not_tls_is_refused() {
    let (_authority, upstream, builder) = site().await;
    let gateway = builder.start().await;
    for sent in [get("a.example", "/public").into_bytes(), vec![0x16; 20_000], b"PROXY UNKNOWN\r\n".to_vec()] {
        let mut client = RawClient::connect(last(&gateway)).await;
        client.send(sent).await;
        client.finish_sending().await;
        assert!(!client.rest().await.starts_with(b"HTTP"));
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn upstreams_are_told_of_tls_by_the_listener_alone() {
    let (authority, upstream, builder) = site().await;
    let gateway = builder.start().await;
    let forged = "X-Forwarded-Proto: ftp\r\nForwarded: proto=ftp\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Ssl: no\r\n";
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n{forged}\r\n");
    let mut talk = authority.client().connect(last(&gateway), "a.example").await;
    assert_eq!(talk.ask(request("/public/tls")).await.status, 200);
    assert_eq!(gateway.connect().await.ask(request("/public/clear")).await.status, 200);
    for (path, expected) in [("/public/tls", "https"), ("/public/clear", "http")] {
        let request = upstream.requests(path).remove(0);
        assert_eq!(request.head.one("x-forwarded-proto"), Some(expected), "{path}");
        for gone in ["forwarded", "x-forwarded-port", "x-forwarded-ssl"] {
            assert_eq!(request.head.one(gone), None, "{path} {gone}");
        }
    }
}

#[tokio::test]
async fn browsers_are_told_to_stay_with_tls_over_tls_alone() {
    const FIELD: &str = "strict-transport-security";
    let (authority, _echo, builder) = site().await;
    let upstream = Upstream::answering(|_| {
        Answer::raw("HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=1\r\ncontent-length: 0\r\n\r\n")
    });
    let upstream = upstream.await;
    let builder = builder.set(&format!("upstreams.app.servers=http://{}", upstream.address));
    let gateway = builder.set("server.tls.hsts=1d").set("server.tls.hsts_subdomains=true").start().await;
    let mut talk = authority.client().connect(last(&gateway), "a.example").await;
    // An upstream's answer, a refusal, the gateway's own API.
    for path in ["/public", "/api", "/.well-known/jwks.json"] {
        let answer = talk.ask(get("a.example", path)).await;
        assert_eq!(answer.head.one(FIELD), Some("max-age=86400; includeSubDomains"), "{path}");
        let answer = gateway.connect().await.ask(get("a.example", path)).await;
        assert_ne!(answer.head.one(FIELD), Some("max-age=86400; includeSubDomains"), "{path}");
    }
}

#[tokio::test]
async fn the_head_guard_stands_above_tls() {
    let (authority, upstream, builder) = site().await;
    let gateway = builder.set("server.header_timeout=1s").set("server.limits.headers=4KiB").start().await;
    let client = authority.client();
    let connect = async || client.connect(last(&gateway), "a.example").await;
    for (request, status) in [
        ("GET /a b HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned(), 400),
        (format!("GET /public HTTP/1.1\r\nHost: a.example\r\nX: {}\r\n\r\n", "x".repeat(20_000)), 431),
        (format!("GET /{} HTTP/1.1\r\nHost: a.example\r\n\r\n", "x".repeat(10_000)), 414),
        ("GET /public HTTP/1.1\r\nHost: a.example\r\n".to_owned(), 408),
    ] {
        let mut talk = connect().await;
        assert_eq!(talk.ask(&request).await.status, status, "{}", &request[..20]);
        assert!(talk.rest().await.is_empty(), "and the connection ends");
    }
    // Bytes of a head one by one, in a record each.
    let mut talk = connect().await;
    for byte in get("a.example", "/public/slow").bytes() {
        talk.send([byte]).await;
    }
    assert_eq!(talk.response().await.expect("an answer").text(), "/public/slow");
    assert_eq!(talk.ask(get("a.example", "/public/2")).await.text(), "/public/2");
    assert_eq!(upstream.take_faults(), Vec::<String>::new());
}

#[tokio::test]
async fn large_bodies_pass_in_both_directions() {
    let (authority, upstream, builder) = site().await;
    let gateway = builder.start().await;
    let mut talk = authority.client().connect(last(&gateway), "a.example").await;
    let body = "x".repeat(1_000_000);
    let head = format!("POST /public/up HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n", body.len());
    assert_eq!(talk.ask(head + &body).await.status, 200);
    assert_eq!(upstream.requests("/public/up").remove(0).body.len(), body.len());
    let upstream = Upstream::answering(move |_| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        Answer::raw(head + &body)
    });
    let upstream = upstream.await;
    let gateway = gateway.replica_with(&format!("upstreams.app.servers=http://{}", upstream.address)).await;
    let mut talk = authority.client().connect(last(&gateway), "a.example").await;
    let answer = tokio::time::timeout(Duration::from_secs(20), talk.ask(get("a.example", "/public"))).await.expect("in time");
    assert_eq!(answer.body.len(), 1_000_000);
}
