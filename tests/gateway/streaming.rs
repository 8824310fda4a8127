//! What is on its way is not held up until it is complete: bodies in both directions, and WebSockets.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::SinkExt;
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};

use crate::support::eventually;
use crate::support::gateway::{Builder, Gateway};
use crate::support::upstream::{Answer, Step, Upstream};
use crate::support::websocket::{next, open, websocket_server};
use crate::support::wire::End;

/// Events, a body of unknown length, and one of known length.
#[tokio::test]
async fn the_beginning_of_a_response_arrives_before_its_end_exists() {
    for (framing, first, last) in [
        ("content-type: text/event-stream\r\ntransfer-encoding: chunked", "5\r\nfirst\r\n", "4\r\nlast\r\n0\r\n\r\n"),
        ("content-length: 9", "first", "last"),
    ] {
        let end = Arc::new(Notify::new());
        let until = Arc::clone(&end);
        let upstream = Upstream::answering(move |_| {
            let begin = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{first}");
            Answer::steps([Step::Send(begin.into()), Step::Wait(Arc::clone(&until)), Step::Send(last.into())])
        })
        .await;
        let gateway = Gateway::in_front_of(&upstream).start().await;
        let mut client = gateway.connect().await;
        client.send("GET /public/x HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(client.head().await.expect("a response").word(1), "200");
        assert_eq!(client.bytes(first.len()).await, first.as_bytes());
        end.notify_one();
        assert_eq!(client.bytes(last.len()).await, last.as_bytes());
    }
}

/// The limit is on what was sent, not on what was announced: nothing is collected first.
#[tokio::test]
async fn the_beginning_of_a_request_arrives_before_its_end_is_sent() {
    const HALF: usize = 4 * 1024 * 1024;
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let ada = gateway.registered("ada").await;
    let head = format!("POST /api/large HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n", ada.access_token);
    let chunk = format!("{HALF:x}\r\n");
    let framings = [
        (format!("content-length: {}\r\n\r\n", 2 * HALF), "", ""),
        (format!("transfer-encoding: chunked\r\n\r\n{chunk}"), chunk.as_str(), "0\r\n\r\n"),
    ];
    for (number, (begin, between, end)) in (1..).zip(framings) {
        let (mut client, before) = (gateway.connect().await, upstream.bytes());
        client.send(format!("{head}{begin}")).await;
        client.send(vec![b'a'; HALF]).await;
        eventually("the first half at the upstream", async || (upstream.bytes() - before >= HALF).then_some(())).await;
        assert_eq!(upstream.requests("/api/large").len(), number - 1, "it is not complete");
        let separator = if between.is_empty() { "" } else { "\r\n" };
        client.send(format!("{separator}{between}")).await;
        client.send(vec![b'b'; HALF]).await;
        let answer = client.ask(format!("{separator}{end}")).await;
        let arrived = upstream.requests("/api/large");
        assert_eq!((answer.status, answer.end, arrived[number - 1].body.len()), (200, End::Complete, 2 * HALF));
    }
}

fn with_websockets(servers: &[SocketAddr]) -> Builder {
    Gateway::in_front_of_servers(servers, "").route("path = \"/ws\"\nwebsocket = true")
}

#[tokio::test]
async fn a_websocket_carries_messages_both_ways() {
    let (server, mut heads) = websocket_server().await;
    let gateway = with_websockets(&[server]).start().await;
    let ada = gateway.registered("ada").await;
    let mut socket = open(gateway.address, "/ws/chat", &ada.access_token).await.expect("a signed-in user may open it");
    let head = heads.recv().await.expect("the server saw the handshake");
    assert_eq!(head.get("x-auth-username").expect("it is told who calls"), "ada");
    assert!(!head.contains_key("authorization"), "the token stays at the gateway");
    // Whoever speaks first, nobody waits for the other.
    assert_eq!(next(&mut socket).await, Message::text("welcome"));
    for message in [Message::text("hello"), Message::binary(vec![7; 100_000]), Message::text("again")] {
        socket.send(message.clone()).await.expect("the connection is open");
        assert_eq!(next(&mut socket).await, message);
    }
    let farewell = CloseFrame { code: CloseCode::Library(4000), reason: "enough".into() };
    socket.close(Some(farewell.clone())).await.expect("the connection is open");
    assert_eq!(next(&mut socket).await, Message::Close(Some(farewell)));
}

#[tokio::test]
async fn a_websocket_needs_a_token_like_any_other_request() {
    let (server, mut heads) = websocket_server().await;
    let gateway = with_websockets(&[server]).start().await;
    let (leaving, staying) = (gateway.registered("ada").await, gateway.registered("grace").await);
    leaving.log_out().await;
    for (token, code) in [("", "missing_token"), ("bm8.dG9r.ZW4", "bad_token"), (leaving.access_token.as_str(), "revoked_token")]
    {
        let (status, body) = open(gateway.address, "/ws", token).await.expect_err("nobody knows them");
        assert!(status == 401 && body.contains(code), "{status} {body}");
    }
    assert!(heads.try_recv().is_err(), "the server saw a handshake");
    open(gateway.address, "/ws", &staying.access_token).await.expect("she is signed in");
}

/// They had been ended as they began, where the upstream's answer was there before pingora first looked.
#[tokio::test]
async fn a_websocket_whose_upstream_is_quick_does_not_end_as_it_begins() {
    let head = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nwelcome";
    let upstream = Upstream::answering(move |_| Answer::steps([Step::Send(head.into()), Step::Hang])).await;
    let route = "path = \"/ws\"\naccess = \"public\"\nwebsocket = true";
    let gateway = Gateway::in_front_of(&upstream).route(route).set("server.websocket_idle_timeout=300ms").start().await;
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = gateway.connect().await;
        client.send("GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await;
        clients.push(client);
    }
    for client in &mut clients {
        assert_eq!(client.head().await.expect("a response").word(1), "101");
        assert_eq!(client.rest().await, b"welcome");
    }
    // Each ended because it was silent, and for no other reason.
    let forwarded = gateway.metric("portcullis_requests_total{outcome=\"forwarded\",route=\"/ws\"}").await;
    assert_eq!(forwarded, None, "of a hundred");
}

/// Not even if the upstream would like to.
#[tokio::test]
async fn a_route_that_does_not_say_so_carries_no_websocket() {
    let eager = Upstream::answering(|head| match head.word(1) {
        "/public/eager" => Answer::raw("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"),
        _ => Answer::echo(head),
    })
    .await;
    let gateway = with_websockets(&[eager.address]).start().await;
    let (status, _) = open(gateway.address, "/public/calm", "").await.expect_err("it is an ordinary request there");
    assert_eq!(status, 200);
    let arrived = eager.requests("/public/calm");
    assert_eq!((arrived[0].head.one("upgrade"), arrived[0].head.one("connection")), (None, None));
    let (status, body) = open(gateway.address, "/public/eager", "").await.expect_err("nobody asked the upstream for it");
    assert!(status == 502 && body.contains("upstream_invalid"), "{status} {body}");
}

/// It had been told in the middle of its WebSocket that its request took too long, in JSON.
#[tokio::test]
async fn a_websocket_that_is_silent_for_too_long_ends_without_a_word_of_http() {
    let head = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
    let upstream = Upstream::answering(move |_| Answer::steps([Step::Send(head.into()), Step::Hang])).await;
    let gateway = Gateway::in_front_of(&upstream)
        .route("path = \"/ws\"\naccess = \"public\"\nwebsocket = true")
        .set("server.websocket_idle_timeout=300ms")
        .start()
        .await;
    let mut client = gateway.connect().await;
    client.send("GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await;
    assert_eq!(client.head().await.expect("a response").word(1), "101");
    assert_eq!(client.rest().await, b"");
}

/// The route is for WebSockets, and this is none.
#[tokio::test]
async fn a_body_on_a_route_for_websockets_has_a_limit_all_the_same() {
    let upstream = Upstream::echo().await;
    let route = "path = \"/ws\"\naccess = \"public\"\nwebsocket = true\nbody_max = \"10B\"";
    let gateway = Gateway::in_front_of(&upstream).route(route).start().await;
    for (chunk, status) in [("5\r\nhello\r\n", 200), ("b\r\nhello world\r\n", 413)] {
        let head = "POST /ws HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        let answer = gateway.connect().await.ask(format!("{head}{chunk}0\r\n\r\n")).await;
        assert_eq!(answer.status, status, "{chunk:?}");
    }
}
