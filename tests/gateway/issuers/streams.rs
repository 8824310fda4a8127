//! Streams that tokens of other issuers opened: such a token is all that there is, so they end with it.

use serde_json::json;

use super::provider::{Key, now};
use crate::live_streams::{is_open, says_goodbye};
use crate::support::client::Actor;
use crate::support::site::{Site, Store};
use crate::support::websocket::{Socket, next, open, websocket_server};
use tokio_tungstenite::tungstenite::protocol::Message;

/// A gateway that knows an issuer whose clock is right and who is believed to the second; and a server of WebSockets.
async fn site(store: Store, key: &Key) -> Site {
    let (chat, _) = websocket_server().await;
    let jwks = json!({"keys": [key.jwk()]});
    let issuer =
        format!("[[issuers]]\nname = 'a'\nissuer = 'https://a.example'\naudiences = ['api']\njwks = '{jwks}'\nclock_skew = '0s'");
    Site::changed(store, |gateway| {
        gateway
            .table(&issuer)
            .table(&format!("[upstreams.chat]\nservers = [\"http://{chat}\"]"))
            .table("[[routes]]\nupstream = \"chat\"\npath = \"/ws\"\nwebsocket = true")
            // What is believed of our own tokens is not for others.
            .set("auth.clock_skew=60s")
    })
    .await
}

async fn opened(site: &Site, token: &str) -> Socket {
    let mut socket = open(site.gateway.address, "/ws", token).await.expect("it is good");
    assert_eq!(next(&mut socket).await, Message::text("welcome"));
    socket
}

#[tokio::test]
async fn a_stream_ends_at_the_expiry_of_the_foreign_token_that_opened_it() {
    let key = Key::new("k");
    let site = site(Store::Embedded, &key).await;
    let token = |jti: &str, life: i64| key.token(&json!({"iss": "https://a.example", "jti": jti, "exp": now() + life}));
    let (short, long) = (token("1", 8), token("2", 600));
    let (mut ending, mut lasting) = (opened(&site, &short).await, opened(&site, &long).await);
    says_goodbye(&mut ending, "expired_token").await;
    is_open(&mut lasting).await;
}

#[tokio::test]
async fn a_stream_ends_when_the_foreign_token_that_opened_it_is_revoked() {
    for store in [Store::Redis, Store::Mirror] {
        let key = Key::new("k");
        let site = site(store, &key).await;
        let there = site.gateway.replica().await;
        Actor::registered_with(site.gateway.address, "root", json!({})).await;
        site.gateway.command(&["user", "roles", "root", "--add", "admin"]);
        let root = site.signed_in("root").await;
        let token = |jti: &str| key.token(&json!({"iss": "https://a.example", "jti": jti, "sid": "s"}));
        let (leaving, staying) = (token("1"), token("2"));
        let mut ending = opened(&site, &leaving).await;
        let mut elsewhere = open(there.address, "/ws", &leaving).await.expect("it is good there, too");
        assert_eq!(next(&mut elsewhere).await, Message::text("welcome"));
        let mut lasting = opened(&site, &staying).await;
        assert_eq!(root.post("/auth/admin/revocations", &json!({"token": leaving})).await.0, 204);
        says_goodbye(&mut ending, "revoked_token").await;
        says_goodbye(&mut elsewhere, "revoked_token").await;
        is_open(&mut lasting).await;
    }
}
