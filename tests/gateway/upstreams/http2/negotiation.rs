//! Which HTTP is spoken to a server.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use rustls::ServerConfig;

use super::super::tls_server::{Authority, Certified};
use crate::support::gateway::{Builder, Gateway};
use crate::support::hyper_server::HyperServer;
use crate::support::upstream::{Answer, Upstream};

const NAME: &str = "app.internal";
const BOTH: &[&str] = &["h2", "http/1.1"];

/// A server that answers with the version of HTTP that it was asked in.
async fn server(tls: Option<ServerConfig>) -> HyperServer {
    HyperServer::answering(tls, async |request: Request<Incoming>| {
        Response::new(Full::new(Bytes::from(format!("{:?}", request.version()))))
    })
    .await
}

fn with_upstream(builder: Builder, name: &str, url: &str, keys: &str) -> Builder {
    builder.table(&format!(
        "[upstreams.{name}]\nservers = [\"{url}\"]\nretries = 0\n{keys}\n\
         [[routes]]\npath = \"/{name}\"\nupstream = \"{name}\"\naccess = \"public\""
    ))
}

#[tokio::test]
async fn what_is_spoken_is_agreed_on_with_tls_and_written_without() {
    let authority = Authority::new();
    let certified: Certified = authority.issue(NAME);
    let tls = format!("tls = {{ server_name = \"{NAME}\", ca = {:?} }}", authority.file());
    let cases: [(&str, &str, Option<&[&str]>, &str); 9] = [
        ("both", "", Some(BOTH), "HTTP/2.0"),
        ("older", "", Some(&["http/1.1"]), "HTTP/1.1"),
        ("silent", "", Some(&[]), "HTTP/1.1"),
        ("held-back", "http = \"1.1\"", Some(BOTH), "HTTP/1.1"),
        ("only", "http = \"2\"", Some(BOTH), "HTTP/2.0"),
        ("only-not-offered", "http = \"2\"", Some(&["http/1.1"]), "502"),
        ("plain", "", None, "HTTP/1.1"),
        ("plain-older", "http = \"1.1\"", None, "HTTP/1.1"),
        ("plain-only", "http = \"2\"", None, "HTTP/2.0"),
    ];
    let mut servers = Vec::new();
    let mut builder = Builder::default();
    for (name, keys, protocols, _) in cases {
        let server = server(protocols.map(|protocols| certified.config(protocols))).await;
        let (scheme, tls) = if protocols.is_some() { ("https", &*tls) } else { ("http", "") };
        builder = with_upstream(builder, name, &format!("{scheme}://{}", server.address), &format!("{keys}\n{tls}"));
        servers.push(server);
    }
    let gateway = builder.start().await;
    for (name, _, _, expected) in cases {
        // Twice: what was found out of a server is kept.
        for _ in 0..2 {
            let response = gateway.connect().await.ask(format!("GET /{name} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
            let told = if response.status == 200 { response.text() } else { response.status.to_string() };
            assert_eq!(told, expected, "{name}");
        }
    }
}

#[tokio::test]
async fn a_server_that_does_not_speak_it_is_a_broken_one() {
    let upstream = Upstream::answering(|_| Answer::raw("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")).await;
    let gateway = Gateway::in_front_of_servers(&[upstream.address], "http = \"2\"").start().await;
    let response = gateway.connect().await.ask(super::super::GET).await;
    assert_eq!(super::super::problem(&response), (502, "upstream_invalid".to_owned()));
}

/// HTTP/2 has no upgrade; what was agreed on for other requests does not count.
#[tokio::test]
async fn a_websocket_goes_over_http_1_1() {
    let switching = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello";
    let upstream = Upstream::answering(move |_| Answer::raw(switching)).await;
    let gateway = Gateway::in_front_of_servers(&[upstream.address], "http = \"2\"")
        .route("path = \"/ws\"\naccess = \"public\"\nwebsocket = true")
        .start()
        .await;
    let mut client = gateway.connect().await;
    client.send("GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await;
    assert_eq!(client.head().await.expect("an answer").word(1), "101");
    assert_eq!(client.bytes(5).await, b"hello");
}
