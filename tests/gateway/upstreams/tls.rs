//! Servers are spoken to over TLS only if their certificate is theirs.

use std::net::SocketAddr;

use super::tls_server::{Authority, TlsServer};
use super::{GET, metric, problem};
use crate::support::client::Response;
use crate::support::eventually;
use crate::support::gateway::{Builder, Gateway};

const NAME: &str = "app.internal";

/// A gateway in front of one https server, with these further keys of `tls`.
fn in_front_of(server: SocketAddr, tls: &str) -> Builder {
    Builder::default()
        .table(&format!(
            "[upstreams.app]\nservers = [\"https://{server}\"]\nretries = 0\ntls = {{ server_name = \"{NAME}\"{tls} }}"
        ))
        .route("path = \"/public\"\naccess = \"public\"")
}

fn trusting(authority: &Authority) -> String {
    format!(", ca = {:?}", authority.file())
}

/// The answer, and what the log says about the connection.
async fn one_exchange(gateway: &Gateway) -> (Response, String) {
    let response = gateway.connect().await.ask(GET).await;
    let said = |output: String| output.lines().find(|line| line.contains("upstream not connected")).map(str::to_owned);
    if response.status == 200 {
        return (response, String::new());
    }
    let line = eventually("a line about it", async || said(gateway.output())).await;
    (response, line)
}

#[tokio::test]
async fn a_certificate_of_the_authority_for_the_name_is_accepted() {
    let authority = Authority::new();
    let server = TlsServer::showing(&authority.issue(NAME), None).await;
    let gateway = in_front_of(server.address, &trusting(&authority)).start().await;
    let (response, _) = one_exchange(&gateway).await;
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    assert_eq!(server.names(), [NAME]);
}

/// WebSockets begin on connections of their own kind, to whose servers the same applies.
#[tokio::test]
async fn the_handshake_of_a_websocket_is_sent_to_no_other_server_either() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    for (certified, status) in
        [(authority.issue(NAME), 200), (stranger.issue(NAME), 502), (authority.issue("other.internal"), 502)]
    {
        let server = TlsServer::showing(&certified, None).await;
        let route = "path = \"/ws\"\naccess = \"public\"\nwebsocket = true";
        let gateway = in_front_of(server.address, &trusting(&authority)).route(route).start().await;
        let handshake = "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        assert_eq!(gateway.connect().await.ask(handshake).await.status, status);
    }
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_is_refused_and_the_log_says_why() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    for (what, certified, tls, why) in [
        ("another name", authority.issue("other.internal"), trusting(&authority), "not valid for name"),
        ("expired", authority.issue_until(NAME, 2020), trusting(&authority), "expired"),
        ("of another authority", stranger.issue(NAME), trusting(&authority), "UnknownIssuer"),
        ("of an authority that the system does not know", authority.issue(NAME), String::new(), "UnknownIssuer"),
    ] {
        let server = TlsServer::showing(&certified, None).await;
        let gateway = in_front_of(server.address, &tls).start().await;
        let (response, said) = one_exchange(&gateway).await;
        assert_eq!(problem(&response), (502, "upstream_unreachable".to_owned()), "{what}");
        assert!(said.contains(why), "{what}: {said}");
        assert_eq!(server.handshakes(), 0, "{what}");
    }
}

#[tokio::test]
async fn the_gateway_shows_its_own_certificate_where_it_is_asked_for() {
    let authority = Authority::new();
    let server = TlsServer::showing(&authority.issue(NAME), Some(&authority)).await;
    let (certificate, key) = authority.files(&authority.issue("gateway.internal"));
    let tls = format!("{}, certificate = {certificate:?}, key = {key:?}", trusting(&authority));
    let gateway = in_front_of(server.address, &tls).start().await;
    assert_eq!(one_exchange(&gateway).await.0.status, 200);
    let without = in_front_of(server.address, &trusting(&authority)).start().await;
    assert_eq!(without.connect().await.ask(GET).await.status, 502);
}

#[tokio::test]
async fn a_key_that_is_not_the_certificates_is_refused_at_the_start() {
    let authority = Authority::new();
    let (certificate, _) = authority.files(&authority.issue("gateway.internal"));
    let other = Authority::new();
    let (_, key) = other.files(&other.issue("gateway.internal"));
    let tls = format!(", certificate = {certificate:?}, key = {key:?}");
    let (status, output) = in_front_of("127.0.0.1:1".parse().expect("an address"), &tls).refused().await;
    assert!(!status.success() && output.contains("the key does not go with the certificate"), "{output}");
    assert!(!output.contains("PRIVATE KEY"));
}

/// pingora's pool would hand a connection that one upstream trusts to another that does not.
#[tokio::test]
async fn a_connection_is_not_shared_with_an_upstream_that_trusts_others() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = TlsServer::showing(&authority.issue(NAME), None).await;
    let other = format!(
        "[upstreams.other]\nservers = [\"https://{}\"]\nretries = 0\ntls = {{ server_name = \"{NAME}\", ca = {:?} }}\n\
         [[routes]]\npath = \"/other\"\nupstream = \"other\"\naccess = \"public\"",
        server.address,
        stranger.file()
    );
    let gateway = in_front_of(server.address, &trusting(&authority)).table(&other).start().await;
    assert_eq!(gateway.connect().await.ask(GET).await.status, 200);
    let response = gateway.connect().await.ask("GET /other HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(problem(&response), (502, "upstream_unreachable".to_owned()));
    assert_eq!(gateway.connect().await.ask(GET).await.status, 200);
    assert_eq!(server.handshakes(), 1, "its own connection is used again");
}

#[tokio::test]
async fn checks_verify_certificates_too() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let checks = "[upstreams.app.health]\npath = \"/\"\ninterval = \"2s\"\ntimeout = \"2s\"\nunhealthy_after = 1";
    let state = "portcullis_upstream_servers{state=\"unhealthy\",upstream=\"app\"}";
    let server = TlsServer::showing(&authority.issue(NAME), None).await;
    let gateway = in_front_of(server.address, &trusting(&stranger)).table(checks).start().await;
    eventually("a failed check", async || (metric(&gateway, state).await == Some(1)).then_some(())).await;
    assert!(gateway.output().contains("UnknownIssuer"));
    let gateway = in_front_of(server.address, &trusting(&authority)).table(checks).start().await;
    eventually("a check", async || (server.handshakes() > 0).then_some(())).await;
    assert_eq!(metric(&gateway, state).await, Some(0));
}
