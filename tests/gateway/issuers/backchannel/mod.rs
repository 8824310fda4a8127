//! Another issuer says that somebody is signed out there (OpenID Connect Back-Channel Logout 1.0), and from the acknowledgement
//! on their tokens open nothing here.

mod keys;
mod refusals;
mod trouble;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::Message;

use super::provider::{Behaviour, Key, Provider, now};
use super::{refusal, verdict};
use crate::support::client::{Actor, Response};
use crate::support::gateway::Gateway;
use crate::support::site::{Site, Store};
use crate::support::websocket::{next, open, websocket_server};
use crate::support::{eventually, in_time};

const A: &str = "https://a.example";
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";
const STORES: [Store; 3] = [Store::Embedded, Store::Redis, Store::Mirror];
/// `max_staleness`, unless set.
const BOUND: std::time::Duration = std::time::Duration::from_secs(1);

/// An issuer by a key that never changes.
fn issuer(name: &str, key: &Key, further: &str) -> String {
    let jwks = json!({"keys": [key.jwk()]});
    format!("[[issuers]]\nname = '{name}'\nissuer = 'https://{name}.example'\naudiences = ['api']\njwks = '{jwks}'\n{further}")
}

/// The same, which may end sessions.
fn ending(name: &str, key: &Key, further: &str) -> String {
    issuer(name, key, &format!("[issuers.backchannel_logout]\naudiences = ['gate']\n{further}"))
}

/// The issuer `a`, which may end sessions, at a gateway where failures are not counted.
async fn site(store: Store, a: &Key) -> Site {
    let tables = format!("[auth.throttle]\ninsecure_off = true\n{}", ending("a", a, ""));
    Site::changed(store, |gateway| gateway.table(&tables)).await
}

/// An access token of `a`.
fn access(key: &Key, mut claims: Value) -> String {
    claims["iss"] = json!(A);
    key.token(&claims)
}

/// What a good logout token of `a` says; which session and subject is said by `whom`.
fn claims(whom: Value) -> Value {
    let mut claims = json!({"iss": A, "aud": "gate", "iat": now(), "exp": now() + 120, "jti": "l1", "events": {EVENT: {}}});
    for (name, value) in whom.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    claims
}

fn header(key: &Key) -> Value {
    json!({"alg": "EdDSA", "kid": key.kid, "typ": "logout+jwt"})
}

/// A good logout token of `a`.
fn logout(key: &Key, whom: Value) -> String {
    key.signed(&header(key), &claims(whom))
}

async fn post(gateway: &Gateway, path: &str, fields: &str, body: &str) -> Response {
    let length = body.len();
    let request = format!("POST {path} HTTP/1.1\r\nhost: a\r\n{fields}content-length: {length}\r\n\r\n{body}");
    gateway.connect().await.ask(request).await
}

/// The answer to a logout token at the endpoint of an issuer.
async fn sent(gateway: &Gateway, name: &str, token: &str) -> Response {
    post(gateway, &format!("/auth/backchannel-logout/{name}"), FORM, &format!("logout_token={token}")).await
}

async fn acknowledged(gateway: &Gateway, token: &str) {
    let answer = sent(gateway, "a", token).await;
    assert_eq!((answer.status, answer.text()), (200, String::new()));
    assert_eq!(answer.head.one("cache-control"), Some("no-store"), "§2.8");
}

async fn lets_in(site: &Site, tokens: &[&str]) {
    for (place, token) in tokens.iter().enumerate() {
        assert_eq!(verdict(site, token).await, (200, String::new()), "{place}");
    }
}

async fn keeps_out(site: &Site, tokens: &[&str]) {
    for (place, token) in tokens.iter().enumerate() {
        assert_eq!(verdict(site, token).await, refusal(401, "revoked_token"), "{place}");
    }
}

async fn ended(site: &Site, result: &str) -> f64 {
    let series = format!("portcullis_backchannel_logouts_total{{issuer=\"a\",result=\"{result}\"}}");
    site.gateway.metric(&series).await.unwrap_or_default()
}

#[tokio::test]
async fn a_logout_of_a_session_ends_all_its_tokens_and_nothing_else() {
    for store in STORES {
        let (a, b) = (Key::new("k"), Key::new("k"));
        let tables = format!("{}{}", ending("a", &a, ""), ending("b", &b, ""));
        let site = Site::changed(store, |gateway| gateway.table(&tables)).await;
        let [first, second] = ["1", "2"].map(|jti| access(&a, json!({"jti": jti, "sid": "s1"})));
        let other_session = access(&a, json!({"jti": "3", "sid": "s2"}));
        let no_session = access(&a, json!({"jti": "4"}));
        let other_issuer = b.token(&json!({"iss": "https://b.example", "jti": "1", "sid": "s1"}));
        let ours = site.registered("ada").await;
        lets_in(&site, &[&first, &second, &other_session, &no_session, &other_issuer]).await;

        let token = logout(&a, json!({"sid": "s1", "sub": "ada"}));
        acknowledged(&site.gateway, &token).await;
        // Seen before or not, and also one that is issued late.
        let late = access(&a, json!({"jti": "5", "sid": "s1", "iat": now() + 1}));
        keeps_out(&site, &[&first, &second, &late]).await;
        lets_in(&site, &[&other_session, &no_session, &other_issuer]).await;
        site.lets_in(&ours).await;
        // Sent again, it is acknowledged again.
        acknowledged(&site.gateway, &token).await;
        acknowledged(&site.gateway, &logout(&a, json!({"sid": "s2", "jti": "l2"}))).await;
        keeps_out(&site, &[&first, &other_session]).await;
        lets_in(&site, &[&no_session, &other_issuer]).await;
        assert_eq!((ended(&site, "session").await, ended(&site, "repeated").await), (2.0, 1.0));
    }
}

#[tokio::test]
async fn a_logout_of_a_subject_ends_what_was_issued_up_to_its_second_and_a_replay_ends_nothing_more() {
    for store in STORES {
        let (a, b) = (Key::new("k"), Key::new("k"));
        let tables = format!("{}{}", ending("a", &a, ""), ending("b", &b, ""));
        let site = Site::changed(store, |gateway| gateway.table(&tables)).await;
        let since = now() - 60;
        let issued = |second: i64| access(&a, json!({"jti": second.to_string(), "sid": format!("s{second}"), "iat": second}));
        let (before, same, after) = (issued(since - 1), issued(since), issued(since + 1));
        let nameless = access(&a, json!({"iat": since - 1}));
        let somebody_else = access(&a, json!({"jti": "e", "sub": "eve", "iat": since - 1}));
        let other_issuer = b.token(&json!({"iss": "https://b.example", "jti": "1", "iat": since - 1}));
        lets_in(&site, &[&before, &same, &after, &nameless, &somebody_else, &other_issuer]).await;

        let token = logout(&a, json!({"sub": "ada", "iat": since}));
        for _ in 0..3 {
            acknowledged(&site.gateway, &token).await;
            keeps_out(&site, &[&before, &same, &nameless]).await;
            // Whoever signed in again after it stays so, however often it comes.
            lets_in(&site, &[&after, &somebody_else, &other_issuer]).await;
        }
        // An earlier one takes nothing back, a later one ends the rest.
        acknowledged(&site.gateway, &logout(&a, json!({"sub": "ada", "iat": since - 30, "jti": "l0"}))).await;
        keeps_out(&site, &[&before, &same]).await;
        lets_in(&site, &[&after]).await;
        acknowledged(&site.gateway, &logout(&a, json!({"sub": "ada", "jti": "l2"}))).await;
        keeps_out(&site, &[&before, &same, &after]).await;
        lets_in(&site, &[&somebody_else, &other_issuer]).await;
        assert_eq!((ended(&site, "subject").await, ended(&site, "repeated").await), (3.0, 2.0));
    }
}

#[tokio::test]
async fn where_access_tokens_have_no_session_a_logout_can_end_all_of_its_subject() {
    let a = Key::new("k");
    let site = Site::changed(Store::Redis, |gateway| gateway.table(&ending("a", &a, "all_sessions = true\n"))).await;
    let (without, of_another) = (access(&a, json!({"jti": "1"})), access(&a, json!({"jti": "2", "sid": "s2"})));
    lets_in(&site, &[&without, &of_another]).await;
    let refused = sent(&site.gateway, "a", &logout(&a, json!({"sid": "s1"}))).await;
    assert_eq!(refused.status, 400, "it does not say whose");
    acknowledged(&site.gateway, &logout(&a, json!({"sid": "s1", "sub": "ada"}))).await;
    keeps_out(&site, &[&without, &of_another]).await;
}

#[tokio::test]
async fn an_opaque_token_ends_with_the_session_that_its_issuer_says_it_has() {
    let (a, provider) = (Key::new("k"), Provider::with(Behaviour::Status(404)).await);
    let ask = format!(
        "[issuers.introspection]\nurl = 'http://{}/introspect'\nclient_id = 'g'\nclient_secret = 's'\ncache_for = '1m'\n",
        provider.address
    );
    let site = Site::changed(Store::Redis, |gateway| gateway.table(&format!("{}{ask}", ending("a", &a, "")))).await;
    let active = |sid: &str, sub: &str| json!({"active": true, "iss": A, "aud": "api", "sub": sub, "sid": sid, "iat": now() - 1, "exp": now() + 600});
    for (token, answer) in [("tok-1", active("s1", "ada")), ("tok-2", active("s2", "ada")), ("tok-3", active("s3", "eve"))] {
        provider.now_says(Behaviour::Json(answer));
        assert_eq!(verdict(&site, token).await.0, 200);
    }
    // The issuer's answers are believed for a minute; its logout counts at once.
    acknowledged(&site.gateway, &logout(&a, json!({"sid": "s1"}))).await;
    keeps_out(&site, &["tok-1"]).await;
    lets_in(&site, &["tok-2", "tok-3"]).await;
    acknowledged(&site.gateway, &logout(&a, json!({"sub": "ada", "jti": "l2"}))).await;
    keeps_out(&site, &["tok-1", "tok-2"]).await;
    lets_in(&site, &["tok-3"]).await;
}

#[tokio::test]
async fn every_replica_refuses_from_the_acknowledgement_on() {
    let a = Key::new("k");
    let site = site(Store::Redis, &a).await;
    let replica = site.gateway.replica().await;
    for (number, from) in [&site.gateway, &replica].into_iter().enumerate() {
        let sid = format!("s{number}");
        let token = access(&a, json!({"jti": sid, "sid": sid}));
        for gateway in [&site.gateway, &replica] {
            assert_eq!(site.get_from(gateway, "/api", &token).await.status, 200);
        }
        acknowledged(from, &logout(&a, json!({"sid": sid, "jti": sid}))).await;
        for gateway in [&replica, &site.gateway] {
            assert_eq!(site.get_from(gateway, "/api", &token).await.code(), "revoked_token");
        }
        // Where it came before is known to all of them.
        acknowledged(&replica, &logout(&a, json!({"sid": sid, "jti": sid}))).await;
    }
    assert_eq!(ended(&site, "session").await + ended(&site, "repeated").await, 1.0);
}

#[tokio::test]
async fn every_mirror_refuses_within_the_bound() {
    let a = Key::new("k");
    let site = site(Store::Mirror, &a).await;
    let replica = site.gateway.replica().await;
    for (whom, token) in [
        (json!({"sid": "s1", "jti": "1"}), access(&a, json!({"jti": "1", "sid": "s1"}))),
        (json!({"sub": "eve", "jti": "2"}), access(&a, json!({"jti": "2", "sub": "eve", "iat": now() - 5}))),
    ] {
        assert_eq!(site.get_from(&replica, "/api", &token).await.status, 200);
        acknowledged(&site.gateway, &logout(&a, whom)).await;
        let acknowledged = Instant::now();
        keeps_out(&site, &[&token]).await;
        eventually("the refusal at another replica", async || {
            let started = Instant::now();
            let answer = site.get_from(&replica, "/api", &token).await;
            assert!(answer.status != 200 || started <= acknowledged + BOUND, "let in {:?} afterwards", started - acknowledged);
            (answer.code() == "revoked_token").then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn live_streams_end_at_every_replica() {
    let a = Key::new("k");
    let (chat, _) = websocket_server().await;
    let site = Site::changed(Store::Redis, |gateway| {
        gateway
            .table(&format!("[upstreams.chat]\nservers = [\"http://{chat}\"]"))
            .table("[[routes]]\nupstream = \"chat\"\npath = \"/ws\"\nwebsocket = true")
            .table(&ending("a", &a, ""))
    })
    .await;
    let replica = site.gateway.replica().await;
    let token = |jti: &str, sid: &str, sub: &str| access(&a, json!({"jti": jti, "sid": sid, "sub": sub, "iat": now() - 5}));
    let mut sockets = Vec::new();
    for (gateway, token) in [
        (&site.gateway, token("1", "s1", "ada")),
        (&replica, token("2", "s1", "ada")),
        (&site.gateway, token("3", "s2", "eve")),
        (&replica, token("4", "s3", "eve")),
        (&replica, token("5", "s4", "grace")),
    ] {
        let mut socket = open(gateway.address, "/ws", &token).await.expect("a genuine token opens it");
        assert_eq!(next(&mut socket).await, Message::text("welcome"));
        sockets.push(socket);
    }
    acknowledged(&site.gateway, &logout(&a, json!({"sid": "s1"}))).await;
    acknowledged(&site.gateway, &logout(&a, json!({"sub": "eve", "jti": "l2"}))).await;
    let mut staying = sockets.pop().expect("five");
    for socket in &mut sockets {
        let last = in_time("a goodbye", socket.next()).await;
        let Some(Ok(Message::Close(Some(close)))) = last else { panic!("no close frame with a code: {last:?}") };
        assert_eq!((u16::from(close.code), close.reason.as_str()), (4401, "revoked_token"));
    }
    futures_util::SinkExt::send(&mut staying, Message::text("still there?")).await.expect("it is open");
    assert_eq!(next(&mut staying).await, Message::text("still there?"));
}

#[tokio::test]
async fn who_was_signed_out_by_whom_is_on_record_and_no_token_is() {
    let a = Key::new("k");
    let tables = ending("a", &a, "");
    let site = Site::changed(Store::Embedded, |gateway| gateway.set("auth.self_assigned_roles=[\"admin\"]").table(&tables)).await;
    let root = Actor::registered_with(site.gateway.address, "root", json!({"roles": ["admin"]})).await;
    let seen = access(&a, json!({"jti": "1", "sid": "s1"}));
    assert_eq!(site.get("/api/seen", &seen).await.status, 200);
    let told = site.upstream.requests("GET /api/seen/")[0].head.one("x-auth-session").expect("it is told").to_owned();
    let (good, forged) = (logout(&a, json!({"sid": "s1"})), logout(&Key::new("k"), json!({"sid": "s1"})));
    for token in [&good, &good, &forged, &logout(&a, json!({"sub": "ada", "jti": "l2"}))] {
        sent(&site.gateway, "a", token).await;
    }
    let (_, record) = root.get("/auth/audit?kind=backchannel_logout").await;
    let events = record["events"].as_array().expect("a list");
    let told_of: Vec<_> =
        events.iter().map(|event| (event["outcome"].as_str().expect("text"), event["detail"].clone())).collect();
    let expected = [
        ("success", json!({"issuer": A, "subject": "ada"})),
        ("failure", json!({"issuer": A, "why": "signature"})),
        ("success", json!({"issuer": A, "session": told})),
    ];
    assert_eq!(told_of, expected, "{record}");
    let everything = format!("{record}{}", site.gateway.output());
    for token in [&good, &forged] {
        let signature = token.rsplit('.').next().expect("three parts");
        assert!(!everything.contains(signature));
    }
    assert!(site.gateway.output().contains("a logout token is not accepted"));
}
