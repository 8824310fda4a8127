//! Where requests come from, and what is spoken where: as over HTTP/1.1, by the connection.

use std::sync::Arc;

use serde_json::Value;
use tokio_rustls::TlsConnector;

use super::super::support::client::Talk;
use super::super::support::gateway::Gateway;
use super::super::support::http2::{Http2, get};
use super::super::support::in_time;
use super::super::support::tls::Authority;
use super::super::support::upstream::Upstream;
use super::{HOST, Site, eventually};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[tokio::test]
async fn a_balancer_says_who_the_client_is() {
    let (authority, upstream) = (Authority::new(), Upstream::echo().await);
    authority.write("a", &authority.issue(&[HOST]));
    let gateway = Gateway::in_front_of(&upstream).table(&authority.table("a"));
    let gateway = gateway.listener("protocol = \"https\"\nproxy_protocol = true").set("server.trusted_proxies=127.0.0.1/32");
    let gateway = gateway.start().await;
    let (address, said) = (gateway.addresses[1], b"PROXY TCP4 203.0.113.9 203.0.113.1 4000 443\r\n");
    let client = Http2::handshake_after(&authority.client(), address, HOST, said).await;
    assert_eq!(client.begun(&[]).await.ask(&get(HOST, "/public/x")).await.status, 200);
    assert_eq!(upstream.take_requests().remove(0).head.one("x-forwarded-for"), Some("203.0.113.9"));
}

#[tokio::test]
async fn a_certificate_of_the_client_is_told() {
    let authority = Authority::new();
    authority.write("a", &authority.issue(&[HOST]));
    let upstream = Upstream::echo().await;
    let clients = format!("[server.tls.clients]\ncertificates = \"required\"\nauthorities = \"{}\"", authority.file().display());
    let gateway = Gateway::in_front_of(&upstream).table(&clients).table(&authority.table("a")).listener("protocol = \"https\"");
    let gateway = gateway.start().await;
    let known = authority.client().showing(authority.issue_to("ada", "spiffe://example/ada"));
    let mut client = Http2::connect(&known, gateway.addresses[1], HOST).await;
    assert_eq!(client.ask(&get(HOST, "/public/x")).await.status, 200);
    let request = upstream.take_requests().remove(0);
    let told = request.head.one("x-auth-client-certificate").expect("a name");
    assert!(told.contains("CN%3Dada") || told.contains("CN=ada"), "{told}");
}

/// Case 58: HTTP/2 is spoken where it was agreed on, and nowhere else.
#[tokio::test]
async fn only_who_agreed_on_it_speaks_it() {
    let site = Site::start().await;
    for protocols in [&["http/1.1"][..], &[]] {
        let mut config = site.authority.client().config();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let stream = tokio::net::TcpStream::connect(site.address()).await.expect("the gateway listens");
        let connecting = TlsConnector::from(Arc::new(config)).connect(HOST.try_into().expect("a host"), stream);
        let mut talk = Talk::over(in_time("a handshake", connecting).await.expect("a handshake"));
        talk.send(PREFACE).await;
        assert_eq!(talk.response().await.expect("an answer").status, 400, "{protocols:?}");
    }
    let mut clear = site.gateway.connect().await;
    clear.send(PREFACE).await;
    assert_eq!(clear.response().await.expect("an answer").status, 400);
    let upgrade = "GET /public/x HTTP/1.1\r\nhost: a\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\nconnection: upgrade, http2-settings\r\n\r\n";
    assert_eq!(site.gateway.connect().await.ask(upgrade).await.status, 200, "answered in HTTP/1.1");
    let request = site.upstream.take_requests().remove(0);
    assert_eq!((request.head.one("upgrade"), request.head.one("http2-settings")), (None, None));
}

#[tokio::test]
async fn it_can_be_switched_off() {
    let site = Site::changed(Upstream::echo().await, |gateway| gateway.set("server.http2.enabled=false")).await;
    let agreed = async |offered: &[&str]| {
        let mut config = site.authority.client().config();
        config.alpn_protocols = offered.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let stream = tokio::net::TcpStream::connect(site.address()).await.expect("the gateway listens");
        let connecting = TlsConnector::from(Arc::new(config)).connect(HOST.try_into().expect("a host"), stream);
        in_time("a handshake", connecting).await.map(|stream| stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec))
    };
    assert_eq!(agreed(&["h2", "http/1.1"]).await.expect("a handshake"), Some(b"http/1.1".to_vec()));
    assert!(agreed(&["h2"]).await.is_err());
}

/// A refusal in the words of another system, and its answers.
#[tokio::test]
async fn dialects_answer_as_over_http_1_1() {
    let dialect = "[[dialects]]\nname = \"legacy\"\nmatch = { prefix = \"/legacy\" }\n[[dialects.routes]]\n\
        on = [\"GET /legacy/health\"]\ndo = \"health\"\nok = { status = 200, text = \"OK\" }\n";
    let site = Site::changed(Upstream::echo().await, |gateway| gateway.table(dialect)).await;
    let mut client = site.connect().await;
    let answer = client.ask(&get(HOST, "/legacy/health")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "OK"));
    assert_eq!(client.ask(&get(HOST, "/legacy/elsewhere")).await.status, 404);
}

/// Promise P21: what the library refuses by itself is counted and logged, too.
#[tokio::test]
async fn every_refusal_is_counted_and_logged() {
    let site = Site::start().await;
    let mut client = site.connect().await;
    for more in [("connection", "close"), ("te", "gzip"), ("x-a", " b")] {
        client.ask(&[&get(HOST, "/public/x")[..], &[more]].concat()).await;
    }
    let malformed = "portcullis_denials_total{reason=\"malformed\"}";
    eventually("the count", async || (site.gateway.metric(malformed).await == Some(3.0)).then_some(())).await;
    let unseen = "portcullis_refused_before_routing_total{cause=\"parser\"}";
    assert_eq!(site.gateway.metric(unseen).await, Some(2.0));
    let lines = eventually("the log", async || {
        let lines: Vec<Value> = site.gateway.output().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let refused: Vec<_> = lines.into_iter().filter(|line| line["reason"] == "malformed").collect();
        (refused.len() == 3).then_some(refused)
    });
    assert!(lines.await.iter().all(|line| line["client"] == "127.0.0.1"));
}
