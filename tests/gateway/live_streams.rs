//! Live streams die with the session: WebSockets, events and downloads end when what admitted them does, on every replica,
//! and nothing else does.

mod http2;
mod unread;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::Message;

use crate::support::client::{Actor, PASSWORD, RawClient};
use crate::support::gateway::{Builder, Gateway};
use crate::support::services::Redis;
use crate::support::upstream::{Answer, Step, Upstream};
use crate::support::websocket::{Socket, next, open, websocket_server};
use crate::support::{eventually, in_time};

/// What is promised, and what a loaded machine may need besides.
const SOON: Duration = Duration::from_secs(4);

/// A gateway in front of a WebSocket server, `/ws`, and of one that sends `first`, and `second` once the test says so, for ever:
/// `/api/events` as events, `/api/download` as a body of known length, `/api/late` only after the test said so.
struct Stage {
    gateway: Gateway,
    more: Arc<Notify>,
    upstream: Upstream,
}

impl Stage {
    async fn set(change: impl FnOnce(Builder) -> Builder) -> Self {
        let more = Arc::new(Notify::new());
        let until = Arc::clone(&more);
        let upstream = Upstream::answering(move |head| {
            let (first, second) = (Step::Send("first".into()), Step::Send("second".into()));
            let events = Step::Send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n".into());
            let wait = Step::Wait(Arc::clone(&until));
            match head.word(1) {
                "/api/events" => Answer::steps([events, first, wait, second, Step::Hang]),
                "/api/download" => {
                    let known = Step::Send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".into());
                    Answer::steps([known, first, wait, second, Step::Hang])
                }
                "/api/late" => Answer::steps([wait, events, first, Step::Hang]),
                "/api/slow" => Answer::steps([wait, Step::Send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow".into())]),
                _ => Answer::echo(head),
            }
        })
        .await;
        let (chat, _) = websocket_server().await;
        let gateway = Gateway::in_front_of(&upstream)
            .table(&format!("[upstreams.chat]\nservers = [\"http://{chat}\"]"))
            .table("[[routes]]\nupstream = \"chat\"\npath = \"/ws\"\nwebsocket = true");
        Self { gateway: change(gateway).start().await, more, upstream }
    }

    async fn socket(&self, gateway: &Gateway, actor: &Actor) -> Socket {
        let mut socket = open(gateway.address, "/ws", &actor.access_token).await.expect("who is signed in may open it");
        assert_eq!(next(&mut socket).await, Message::text("welcome"));
        socket
    }

    async fn stream(&self, path: &str, token: &str) -> RawClient {
        let mut client = self.gateway.connect().await;
        client.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n")).await;
        assert_eq!(client.head().await.expect("a response").word(1), "200");
        assert!(contains(&client.bytes(5).await, b"first"));
        client
    }

    async fn killed(&self, cause: &str) -> f64 {
        self.gateway.metric(&format!("portcullis_streams_killed_total{{cause=\"{cause}\"}}")).await.unwrap_or_default()
    }
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

/// Waits for the gateway's goodbye, which must come soon.
pub(crate) async fn is_closed(socket: &mut Socket, why: &str) {
    let since = Instant::now();
    says_goodbye(socket, why).await;
    assert!(since.elapsed() < SOON, "it took {:?}", since.elapsed());
}

pub(crate) async fn says_goodbye(socket: &mut Socket, why: &str) {
    let last = in_time("a goodbye", socket.next()).await;
    let Some(Ok(Message::Close(Some(close)))) = last else { panic!("no close frame with a code: {last:?}") };
    assert_eq!((u16::from(close.code), close.reason.as_str()), (4401, why));
    let after = in_time("the end", socket.next()).await;
    assert!(!matches!(after, Some(Ok(_))), "{after:?} after the end");
}

pub(crate) async fn is_open(socket: &mut Socket) {
    socket.send(Message::text("still there?")).await.expect("the connection is open");
    assert_eq!(next(socket).await, Message::text("still there?"));
}

/// Waits for the end of the connection: what came on it until then.
async fn is_cut(client: &mut RawClient) -> Vec<u8> {
    let since = Instant::now();
    let rest = client.rest().await;
    assert!(since.elapsed() < SOON, "it took {:?}", since.elapsed());
    rest
}

#[tokio::test]
async fn a_logout_ends_the_streams_of_its_session_and_no_other() {
    let stage = Stage::set(|gateway| gateway).await;
    let leaving = stage.gateway.registered("ada").await;
    let (staying, other) = (Actor::signed_in(stage.gateway.address, "ada").await, stage.gateway.registered("grace").await);
    let mut ending = stage.socket(&stage.gateway, &leaving).await;
    let mut lasting = [stage.socket(&stage.gateway, &staying).await, stage.socket(&stage.gateway, &other).await];
    let mut events = stage.stream("/api/events", &leaving.access_token).await;
    let mut others_events = stage.stream("/api/events", &staying.access_token).await;
    leaving.log_out().await;
    is_closed(&mut ending, "revoked_token").await;
    let rest = is_cut(&mut events).await;
    assert!(!contains(&rest, b"second") && !contains(&rest, b"0\r\n\r\n"), "{}", rest.escape_ascii());
    for socket in &mut lasting {
        is_open(socket).await;
    }
    // Both may wait for it: whoever was cut off hears nothing more.
    stage.more.notify_waiters();
    assert!(contains(&others_events.bytes(11).await, b"second"));
    assert!(stage.killed("session").await >= 2.0);
    // The line is there, and the request is no longer in flight.
    let line = eventually("the line of the WebSocket", async || {
        let output = stage.gateway.output();
        output.lines().find(|line| line.contains("\"path\":\"/ws\"") && line.contains("cut_off")).map(str::to_owned)
    })
    .await;
    assert!(line.contains("\"outcome\":\"cut_off\"") && line.contains("\"reason\":\"revoked_token\""), "{line}");
    assert!(line.contains("\"status\":101") && line.contains("\"detail\":\"session\""), "{line}");
    eventually("three requests in flight", async || {
        (stage.gateway.metric("portcullis_requests_in_flight").await? == 3.0).then_some(())
    })
    .await;
}

/// However long it was to be: the client learns that it is not whole, and the upstream that nobody listens.
#[tokio::test]
async fn a_download_ends_in_the_middle_and_its_upstream_is_told() {
    let stage = Stage::set(|gateway| gateway).await;
    let ada = stage.gateway.registered("ada").await;
    let mut download = stage.stream("/api/download", &ada.access_token).await;
    let connections = stage.upstream.connections();
    ada.log_out().await;
    let rest = is_cut(&mut download).await;
    assert!(rest.is_empty(), "{}", rest.escape_ascii());
    stage.more.notify_one();
    // The connection was not kept for others.
    let grace = stage.gateway.registered("grace").await;
    assert_eq!(grace.get("/api/x").await.0, 200);
    assert_eq!(stage.upstream.connections(), connections + 1);
}

/// What began before the logout and answers after it: a short answer is the request's own end, a stream never begins.
#[tokio::test]
async fn a_stream_that_begins_after_the_logout_is_refused() {
    let stage = Stage::set(|gateway| gateway).await;
    let ada = stage.gateway.registered("ada").await;
    let mut client = stage.gateway.connect().await;
    client.send(format!("GET /api/late HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", ada.access_token)).await;
    eventually("the request at the upstream", async || stage.upstream.saw("GET /api/late ").then_some(())).await;
    ada.log_out().await;
    stage.more.notify_one();
    let answer = client.response().await.expect("a response");
    assert_eq!((answer.status, answer.code().as_str()), (401, "revoked_token"));
    assert!(!contains(&answer.body, b"first"));
}

#[tokio::test]
async fn everything_that_ends_a_session_ends_its_streams() {
    let stage = Stage::set(|gateway| gateway).await;
    let gateway = &stage.gateway;
    let ada = gateway.registered("ada").await;
    let sign_in = async || Actor::signed_in(gateway.address, "ada").await;
    // Everywhere.
    let (leaving, other) = (sign_in().await, sign_in().await);
    let mut sockets = [stage.socket(gateway, &leaving).await, stage.socket(gateway, &other).await];
    assert_eq!(leaving.post("/auth/logout-all", &json!({})).await.0, 204);
    for socket in &mut sockets {
        is_closed(socket, "revoked_token").await;
    }
    assert_eq!(ada.get("/auth/me").await.0, 401);
    // From the list of sessions, and from the command line.
    let (first, second) = (sign_in().await, sign_in().await);
    let (mut on_list, mut by_hand) = (stage.socket(gateway, &first).await, stage.socket(gateway, &second).await);
    assert_eq!(second.delete(&format!("/auth/sessions/{}", first.claim("sid").await)).await.0, 204);
    is_closed(&mut on_list, "revoked_token").await;
    is_open(&mut by_hand).await;
    gateway.command(&["session", "revoke", &second.claim("sid").await]);
    is_closed(&mut by_hand, "revoked_token").await;
    // A new password ends every other session.
    let (changing, other) = (sign_in().await, sign_in().await);
    let (mut own, mut others) = (stage.socket(gateway, &changing).await, stage.socket(gateway, &other).await);
    let passwords = json!({"current_password": PASSWORD, "new_password": "another one, just as long"});
    assert_eq!(changing.post("/auth/password", &passwords).await.0, 204);
    is_closed(&mut others, "revoked_token").await;
    is_open(&mut own).await;
    // Whoever is disabled.
    gateway.command(&["user", "disable", "ada"]);
    is_closed(&mut own, "revoked_token").await;
}

/// A token is renewed every few minutes; what it admitted belongs to the session.
#[tokio::test]
async fn a_stream_outlives_its_token_while_its_session_lives() {
    let lives = ["auth.access_token=2s", "auth.clock_skew=0s", "auth.refresh_token=5s"];
    let stage = Stage::set(|gateway| lives.iter().fold(gateway, |gateway, life| gateway.set(life))).await;
    let mut ada = stage.gateway.registered("ada").await;
    let mut lasting = stage.socket(&stage.gateway, &ada).await;
    let grace = stage.gateway.registered("grace").await;
    let mut ending = stage.socket(&stage.gateway, &grace).await;
    eventually("the end of the token", async || (ada.get("/api/x").await.0 == 401).then_some(())).await;
    is_open(&mut lasting).await;
    ada.take(&ada.refresh().await.1);
    // Nobody renews hers: when she would have to sign in again, it is over.
    says_goodbye(&mut ending, "expired_token").await;
    is_open(&mut lasting).await;
    assert!(stage.killed("expired").await >= 1.0);
}

/// A session that ends by itself, however often it is renewed.
#[tokio::test]
async fn a_stream_ends_with_the_longest_life_of_its_session() {
    let lives = ["auth.access_token=2s", "auth.clock_skew=0s", "auth.refresh_token=4s", "auth.session_max=4s"];
    let stage = Stage::set(|gateway| lives.iter().fold(gateway, |gateway, life| gateway.set(life))).await;
    let ada = stage.gateway.registered("ada").await;
    let mut socket = stage.socket(&stage.gateway, &ada).await;
    says_goodbye(&mut socket, "expired_token").await;
}

/// A program's key, and a token that a program was given in its own name.
#[tokio::test]
async fn a_stream_of_a_program_ends_with_its_key() {
    let stage = Stage::set(|gateway| gateway).await;
    let ada = stage.gateway.registered("ada").await;
    let (status, made) = ada.post("/auth/api-keys", &json!({"name": "ci", "scopes": []})).await;
    assert_eq!(status, 201, "{made}");
    let key = made["key"].as_str().expect("the key").to_owned();
    let mut socket = open(stage.gateway.address, "/ws", &key).await.expect("a key is as good as a token");
    assert_eq!(next(&mut socket).await, Message::text("welcome"));
    // Its owner's sessions are not its own.
    let mut session = stage.socket(&stage.gateway, &ada).await;
    assert_eq!(ada.delete(&format!("/auth/api-keys/{}", made["id"].as_str().expect("an id"))).await.0, 204);
    is_closed(&mut socket, "revoked_token").await;
    is_open(&mut session).await;
}

/// A program has no session: its token is all that it has.
#[tokio::test]
async fn a_stream_of_a_client_ends_with_its_token() {
    let lives = ["auth.access_token=2s", "auth.clock_skew=0s"];
    let stage = Stage::set(|gateway| lives.iter().fold(gateway, |gateway, life| gateway.set(life))).await;
    let added = stage.gateway.command(&["client", "add", "billing", "--json"]);
    let added: serde_json::Value = serde_json::from_str(&added).expect("JSON");
    let secret = added["client_secret"].as_str().expect("it is shown once");
    let form = [("grant_type", "client_credentials"), ("client_id", "billing"), ("client_secret", secret)];
    let (status, tokens) = stage.gateway.anonymous().form("/auth/oauth/token", &form).await;
    assert_eq!(status, 200, "{tokens}");
    let token = tokens["access_token"].as_str().expect("a token");
    let mut socket = open(stage.gateway.address, "/ws", token).await.expect("it is good");
    assert_eq!(next(&mut socket).await, Message::text("welcome"));
    says_goodbye(&mut socket, "expired_token").await;
}

/// In the middle of a frame, a goodbye would be taken for a part of it.
#[tokio::test]
async fn a_websocket_that_is_cut_off_within_a_frame_ends_without_a_goodbye() {
    for (sent, goodbye) in [(&b"\x81\x05hello"[..], &b"\x88\x0f\x11\x31revoked_token"[..]), (b"\x81\x7e\x01\x00hello", b"")] {
        let head = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
        let upstream = Upstream::answering(move |_| Answer::steps([Step::Send([head, sent].concat()), Step::Hang])).await;
        let gateway = Gateway::in_front_of(&upstream).route("path = \"/ws\"\nwebsocket = true").start().await;
        let ada = gateway.registered("ada").await;
        let bearer = format!("host: a\r\nauthorization: Bearer {}\r\n", ada.access_token);
        let mut client = gateway.connect().await;
        client.send(format!("GET /ws HTTP/1.1\r\n{bearer}connection: upgrade\r\nupgrade: websocket\r\n\r\n")).await;
        assert_eq!(client.head().await.expect("a response").word(1), "101");
        assert_eq!(client.bytes(sent.len()).await, sent);
        ada.log_out().await;
        assert_eq!(is_cut(&mut client).await, goodbye);
    }
}

#[tokio::test]
async fn another_replica_ends_the_streams_of_a_session_that_was_ended_here() {
    let mut redis = Redis::start();
    let stage = Stage::set(|gateway| gateway.redis(&redis)).await;
    let there = stage.gateway.replica().await;
    let (leaving, staying) = (stage.gateway.registered("ada").await, stage.gateway.registered("grace").await);
    let mut ending = stage.socket(&there, &leaving).await;
    let mut here = stage.socket(&stage.gateway, &leaving).await;
    let mut lasting = stage.socket(&there, &staying).await;
    leaving.log_out().await;
    is_closed(&mut here, "revoked_token").await;
    is_closed(&mut ending, "revoked_token").await;
    is_open(&mut lasting).await;
    // While nobody can say what was revoked, nothing begins, and what was good goes on.
    redis.kill();
    eventually("refusals", async || {
        let refused = open(there.address, "/ws", &staying.access_token).await.err()?;
        (refused.0 == 503 && refused.1.contains("revocation_unknown")).then_some(())
    })
    .await;
    is_open(&mut lasting).await;
    // What was ended meanwhile is ended once it can be known.
    let (status, _) = staying.at(stage.gateway.address).post("/auth/logout", &json!({})).await;
    assert_eq!(status, 503);
    redis.restart();
    is_closed(&mut lasting, "revoked_token").await;
}
