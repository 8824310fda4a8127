//! D: what an upstream may say to a client (102–105, 108).

use crate::support::gateway::Gateway;
use crate::support::upstream::{Answer, Upstream};

const UPGRADE: &str =
    "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Case 102: a cookie by one of our names would be taken for ours (`__Host-` binds it to the gateway's origin).
#[tokio::test]
async fn an_upstream_cannot_set_the_gateways_cookies() {
    let upstream = Upstream::answering(|_| {
        Answer::raw(
            "HTTP/1.1 200 OK\r\nset-cookie: theme=dark\r\nset-cookie: __Host-portcullis_refresh=stolen; Secure; Path=/\r\n\
             Set-Cookie: __HOST-PORTCULLIS_access=stolen\r\nset-cookie:   __Host-portcullis=stolen\r\nset-cookie: lang=en\r\ncontent-length: 0\r\n\r\n",
        )
    })
    .await;
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let answer = gateway.connect().await.ask("GET /public HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((answer.status, answer.head.all("set-cookie")), (200, vec!["theme=dark", "lang=en"]));
}

/// Case 103.
#[tokio::test]
async fn fields_of_the_upstreams_connection_stay_there() {
    let upstream = Upstream::answering(|_| {
        Answer::raw(
            "HTTP/1.1 200 OK\r\nconnection: X-Foo, keep-alive\r\nx-foo: 1\r\nx-bar: 2\r\nkeep-alive: timeout=5\r\n\
             proxy-connection: keep-alive\r\nproxy-authenticate: Basic\r\nupgrade: h2c\r\nserver: nginx/1.0\r\ncontent-length: 0\r\n\r\n",
        )
    })
    .await;
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let answer = gateway.connect().await.ask("GET /public HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((answer.status, answer.head.one("x-bar")), (200, Some("2")));
    for gone in ["x-foo", "keep-alive", "proxy-connection", "proxy-authenticate", "upgrade"] {
        assert!(answer.head.all(gone).is_empty(), "{gone} arrived: {}", answer.head.raw.escape_ascii());
    }
    assert!(
        !answer.head.raw.windows(5).any(|bytes| bytes.eq_ignore_ascii_case(b"nginx")),
        "the upstream's software is told to everyone"
    );
}

/// Case 104.
#[tokio::test]
async fn an_upgrade_that_nobody_asked_for_is_a_fault_of_the_upstream() {
    let upstream = Upstream::answering(|_| {
        Answer::raw("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nnot for you")
    })
    .await;
    let gateway =
        Gateway::in_front_of(&upstream).route("path = \"/socket\"\naccess = \"public\"\nwebsocket = true").start().await;
    for request in [
        "GET /public HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
        format!("GET /public HTTP/1.1\r\nhost: a\r\n{UPGRADE}\r\n"),
        "GET /socket HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
    ] {
        let mut client = gateway.connect().await;
        let answer = client.ask(&request).await;
        assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_invalid"), "{request}");
        assert_eq!(client.rest().await, b"", "{request}");
    }
}

/// Case 105.
#[tokio::test]
async fn a_websocket_without_a_valid_token_is_refused_before_the_upstream_hears_of_it() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream).route("path = \"/socket\"\nwebsocket = true").start().await;
    let head = "GET /socket HTTP/1.1\r\nhost: a\r\n";
    let anonymous = gateway.connect().await.ask(format!("{head}{UPGRADE}\r\n")).await;
    assert_eq!((anonymous.status, anonymous.code().as_str()), (401, "missing_token"));
    let forged = gateway.connect().await.ask(format!("{head}{UPGRADE}authorization: Bearer x.y.z\r\n\r\n")).await;
    assert_eq!((forged.status, forged.code().as_str()), (401, "bad_token"));
    assert_eq!(upstream.bytes(), 0);
}

/// Case 108 (CVE-2026-2833).
#[tokio::test]
async fn bytes_behind_an_upgrade_that_is_declined_are_not_a_second_request() {
    let upstream = Upstream::echo().await;
    let gateway =
        Gateway::in_front_of(&upstream).route("path = \"/socket\"\naccess = \"public\"\nwebsocket = true").start().await;
    let mut client = gateway.connect().await;
    let smuggled = "GET /api/smuggled HTTP/1.1\r\nhost: a\r\nx-auth-subject: admin\r\n\r\n";
    let answer = client.ask(format!("GET /socket HTTP/1.1\r\nhost: a\r\n{UPGRADE}\r\n{smuggled}")).await;
    assert_eq!((answer.status, answer.text()), (200, "/socket".to_owned()));
    let second = client.response().await;
    assert!(second.as_ref().is_none_or(|answer| answer.status == 401), "{second:?}");
    assert!(!upstream.saw("smuggled"), "what followed the request went upstream");
}
