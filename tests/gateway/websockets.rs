//! WebSockets of pages: a token among the subprotocols, pages of other origins, and silence.

use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::protocol::Message;

use std::sync::Arc;

use futures_util::SinkExt;

use crate::support::gateway::{Builder, Gateway};
use crate::support::upstream::{Answer, Step, Upstream};
use crate::support::websocket::{next, open, open_with, websocket_server};

const PROTOCOL: &str = "sec-websocket-protocol";

fn in_front_of(server: std::net::SocketAddr) -> Builder {
    Gateway::in_front_of_servers(&[server], "").route("path = \"/ws\"\nwebsocket = true")
}

/// Browsers let pages name subprotocols and nothing else, and fail a handshake whose answer selects none of them.
#[tokio::test]
async fn a_page_opens_a_websocket_with_a_token_among_the_subprotocols() {
    let (server, mut heads) = websocket_server().await;
    let gateway = in_front_of(server).start().await;
    let ada = gateway.registered("ada").await;
    for (offered, selected, upstream) in [
        (format!("bearer, {}", ada.access_token), "bearer", None),
        (format!("bearer, {}, chat.v1", ada.access_token), "chat.v1", Some("chat.v1")),
        (format!("chat.v2,bearer,{},chat.v3", ada.access_token), "bearer", Some("chat.v2, chat.v3")),
    ] {
        let (mut socket, answer) = open_with(gateway.address, "/ws", &[(PROTOCOL, &offered)]).await.expect("she is signed in");
        assert_eq!(answer.as_deref(), Some(selected), "{offered}");
        assert_eq!(next(&mut socket).await, Message::text("welcome"));
        let head = heads.recv().await.expect("the server saw the handshake");
        assert_eq!(head.get(PROTOCOL).map(|rest| rest.to_str().expect("visible")), upstream, "{offered}");
        assert_eq!(head.get("x-auth-username").expect("it is told who calls"), "ada");
        assert!(!format!("{head:?}").contains(&ada.access_token), "the token stays at the gateway");
    }
    let written = gateway.output() + &gateway.admin("/metrics").await.expect("metrics").1;
    assert!(!written.contains(&ada.access_token), "the token is in the log or in the metrics");
}

#[tokio::test]
async fn a_token_among_the_subprotocols_is_judged_like_any_other() {
    let (server, mut heads) = websocket_server().await;
    let gateway = in_front_of(server).route("path = \"/perhaps\"\nwebsocket = true\naccess = \"optional\"").start().await;
    let (ada, leaving) = (gateway.registered("ada").await, gateway.registered("grace").await);
    leaving.log_out().await;
    let offered = |token: &str| format!("bearer, {token}, chat.v1");
    let both = [(PROTOCOL, offered(&ada.access_token)), ("authorization", format!("Bearer {}", ada.access_token))];
    let twice = [(PROTOCOL, format!("{}, bearer, {}", offered(&ada.access_token), ada.access_token))];
    let one = |value: String| vec![(PROTOCOL, value)];
    for (fields, status, code) in [
        (both.to_vec(), 400, "malformed"),
        (twice.to_vec(), 400, "malformed"),
        (one("bearer".to_owned()), 401, "missing_token"),
        (one(offered("bm8.dG9r.ZW4")), 401, "bad_token"),
        (one(offered(&leaving.access_token)), 401, "revoked_token"),
    ] {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for path in ["/ws", "/perhaps"] {
            let refused = open_with(gateway.address, path, &fields).await.expect_err("nobody is known by it");
            assert!(refused.0 == status && refused.1.contains(code), "{path} {fields:?}: {refused:?}");
        }
    }
    assert!(heads.try_recv().is_err(), "the server saw a handshake");
}

/// Where nothing is upgraded it is a field like any other, and still no place for upstreams to find tokens in.
#[tokio::test]
async fn the_field_is_no_credential_of_other_requests() {
    let upstream = Upstream::echo().await;
    let gateway = in_front_of(upstream.address).start().await;
    let ada = gateway.registered("ada").await;
    let offered = format!("{PROTOCOL}: bearer, {}, chat.v1\r\n", ada.access_token);
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\n";
    for (path, fields, status) in
        [("/ws", offered.clone(), 401), ("/api", format!("{upgrade}{offered}"), 401), ("/public", offered, 200)]
    {
        let answer = gateway.connect().await.ask(format!("GET {path} HTTP/1.1\r\nhost: a\r\n{fields}\r\n")).await;
        assert_eq!(answer.status, status, "{path}");
    }
    let arrived = upstream.requests("/public");
    assert_eq!(arrived[0].head.one(PROTOCOL), Some("chat.v1"));
}

#[tokio::test]
async fn a_route_that_passes_tokens_passes_this_one_where_upstreams_look_for_it() {
    let (server, mut heads) = websocket_server().await;
    let gateway = in_front_of(server).route("path = \"/passed\"\nwebsocket = true\npass_token = true").start().await;
    let ada = gateway.registered("ada").await;
    let offered = format!("bearer, {}", ada.access_token);
    open_with(gateway.address, "/passed", &[(PROTOCOL, &offered)]).await.expect("she is signed in");
    let head = heads.recv().await.expect("the server saw the handshake");
    assert_eq!(head["authorization"], format!("Bearer {}", ada.access_token));
    assert!(!head.contains_key(PROTOCOL));
}

/// Cross-site WebSocket hijacking (RFC 6455 §10.2).
#[tokio::test]
async fn pages_of_other_origins_open_no_websocket_where_origins_are_listed() {
    let (server, _heads) = websocket_server().await;
    let listed = "path = \"/listed\"\nwebsocket = true\norigins = [\"https://app.example\"]";
    let gateway = in_front_of(server).route(listed).start().await;
    let ada = gateway.registered("ada").await;
    let bearer = format!("Bearer {}", ada.access_token);
    let opened = async |path, origins: &[&str]| {
        let mut fields = vec![("authorization", bearer.as_str())];
        fields.extend(origins.iter().map(|origin| ("origin", *origin)));
        open_with(gateway.address, path, &fields).await.map(drop)
    };
    for origins in [&[][..], &["https://app.example"]] {
        opened("/listed", origins).await.unwrap_or_else(|refused| panic!("{origins:?}: {refused:?}"));
    }
    for origins in
        [&["https://evil.example"][..], &["http://app.example"], &["null"], &["https://app.example", "https://evil.example"]]
    {
        let (status, body) = opened("/listed", origins).await.expect_err("it is not listed");
        assert!(status == 403 && body.contains("foreign_origin"), "{origins:?}: {status} {body}");
    }
    opened("/ws", &["https://evil.example"]).await.expect("there every page may, with a token");
    // Other requests are for CORS to answer.
    let request = format!("GET /listed HTTP/1.1\r\nhost: a\r\nauthorization: {bearer}\r\norigin: https://evil.example\r\n\r\n");
    assert_ne!(gateway.connect().await.ask(request).await.status, 403);
}

/// It had been ended by the time for request bodies: a client that listens sends nothing.
#[tokio::test]
async fn a_silent_client_keeps_its_websocket_and_its_event_stream() {
    let more = Arc::new(Notify::new());
    let until = Arc::clone(&more);
    let upstream = Upstream::answering(move |head| {
        if head.word(1) != "/api/events" {
            return Answer::early([Step::Hang]);
        }
        let begin = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        Answer::steps([Step::Send(begin.into()), Step::Wait(Arc::clone(&until)), Step::Send("still here".into()), Step::Hang])
    })
    .await;
    let (server, _heads) = websocket_server().await;
    let gateway = Gateway::in_front_of(&upstream)
        .table(&format!("[upstreams.chat]\nservers = [\"http://{server}\"]"))
        .table("[[routes]]\nupstream = \"chat\"\npath = \"/ws\"\nwebsocket = true")
        .set("server.body_timeout=300ms")
        .start()
        .await;
    let ada = gateway.registered("ada").await;
    let bearer = format!("host: a\r\nauthorization: Bearer {}\r\n", ada.access_token);
    let (mut events, mut slow) = (gateway.connect().await, gateway.connect().await);
    let mut socket = open(gateway.address, "/ws", &ada.access_token).await.expect("she is signed in");
    assert_eq!(next(&mut socket).await, Message::text("welcome"));
    events.send(format!("GET /api/events HTTP/1.1\r\n{bearer}\r\n")).await;
    assert_eq!(events.head().await.expect("a response").word(1), "200");
    // A request whose body does not come tells when the time is over.
    let answer = slow.ask(format!("POST /api/slow HTTP/1.1\r\n{bearer}content-length: 9\r\n\r\n")).await;
    assert_eq!((answer.status, answer.code().as_str()), (408, "request_timeout"));
    more.notify_one();
    assert!(events.bytes(10).await.ends_with(b"still here\r\n"));
    socket.send(Message::text("hello")).await.expect("the connection is open");
    assert_eq!(next(&mut socket).await, Message::text("hello"));
}

/// The upstream's time for a pause in an answer had ended it, too.
#[tokio::test]
async fn a_silent_upstream_keeps_its_websocket() {
    let (server, _heads) = websocket_server().await;
    let slow = Upstream::answering(|_| Answer::steps([Step::Hang])).await;
    let read = "read_timeout = \"2s\"";
    let gateway = Gateway::in_front_of_servers(&[server], read)
        .route("path = \"/ws\"\nwebsocket = true")
        .table(&format!("[upstreams.slow]\nservers = [\"http://{}\"]\n{read}", slow.address))
        .table("[[routes]]\nupstream = \"slow\"\npath = \"/slow\"\nwebsocket = true\naccess = \"public\"")
        .start()
        .await;
    let ada = gateway.registered("ada").await;
    let mut socket = open(gateway.address, "/ws", &ada.access_token).await.expect("she is signed in");
    assert_eq!(next(&mut socket).await, Message::text("welcome"));
    // An upstream that does not agree has no more time than for any other answer; afterwards the other one is still open.
    let (status, body) = open(gateway.address, "/slow", "").await.expect_err("it never answers");
    assert!(status == 504 && body.contains("upstream_timeout"), "{status} {body}");
    socket.send(Message::text("hello")).await.expect("the connection is open");
    assert_eq!(next(&mut socket).await, Message::text("hello"));
}
