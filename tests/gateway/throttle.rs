//! Guessing passwords over HTTP: who is stopped, who is not, and what the stopped can learn.

use serde_json::{Value, json};

use crate::support::client::{Actor, PASSWORD, Response};
use crate::support::gateway::{Builder, Gateway};
use crate::support::site::{Site, Store};

/// A proxy in front of the gateway says where clients come from.
const BEHIND_A_PROXY: &str = "server.trusted_proxies=[\"127.0.0.1/32\"]";

async fn behind_a_proxy(store: Store) -> Site {
    Site::changed(store, |gateway: Builder| gateway.set(BEHIND_A_PROXY)).await
}

async fn login_from(gateway: &Gateway, client: &str, name: &str, password: &str) -> (u16, Value) {
    gateway.anonymous().post_from(client, "/auth/login", &json!({"username": name, "password": password})).await
}

/// The whole answer to a wrong password.
async fn guess(gateway: &Gateway, name: &str) -> Response {
    let body = json!({"username": name, "password": "not it, not at all"}).to_string();
    let head = "POST /auth/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json";
    gateway.connect().await.ask(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await
}

#[tokio::test]
async fn the_eleventh_wrong_password_is_told_when_to_come_back_whether_or_not_the_account_exists() {
    let site = Site::with(Store::Embedded).await;
    site.registered("ada").await;
    let mut answers = Vec::new();
    for name in ["ada", "nobody"] {
        for _ in 0..10 {
            let refused = guess(&site.gateway, name).await;
            assert_eq!((refused.status, refused.code().as_str()), (401, "credentials"), "{name}");
        }
        let refused = guess(&site.gateway, name).await;
        assert_eq!((refused.status, refused.code().as_str()), (429, "too_many"), "{name}");
        let wait: u64 = refused.head.one("retry-after").expect("it says when").parse().expect("seconds");
        assert!((1..=18 * 60).contains(&wait), "{wait}");
        let mut body: Value = serde_json::from_slice(&refused.body).expect("a problem");
        body.as_object_mut().expect("members").remove("decision_id");
        answers.push(body);
    }
    // Ada signed in from here before: known or not, the words are the same.
    assert_eq!(answers[0], answers[1]);
    assert_eq!(site.gateway.anonymous().get("/auth/openapi.json").await.0, 200, "reading is not throttled");
}

#[tokio::test]
async fn an_owner_at_home_gets_in_while_strangers_hammer_the_account() {
    let site = behind_a_proxy(Store::Embedded).await;
    site.gateway.anonymous().post_from("192.0.2.1", "/auth/register", &json!({"username": "ada", "password": PASSWORD})).await;
    assert_eq!(login_from(&site.gateway, "192.0.2.1", "ada", PASSWORD).await.0, 200);
    let mut stopped = 0;
    for number in 0..60 {
        let (status, _) = login_from(&site.gateway, &format!("198.51.100.{number}"), "ada", "not it, not at all").await;
        stopped += u32::from(status == 429);
    }
    assert!(stopped >= 10, "{stopped}");
    assert_eq!(login_from(&site.gateway, "203.0.113.9", "ada", PASSWORD).await.0, 429, "a place nobody knows");
    assert_eq!(login_from(&site.gateway, "192.0.2.1", "ada", PASSWORD).await.0, 200);
}

#[tokio::test]
async fn an_address_that_a_client_claims_is_not_believed() {
    let site = Site::with(Store::Embedded).await;
    let mut stopped = 0;
    for number in 0..12 {
        let (status, _) = login_from(&site.gateway, &format!("198.51.100.{number}"), "ada", "not it, not at all").await;
        stopped += u32::from(status == 429);
    }
    assert_eq!(stopped, 2, "they are all this machine");
    // Behind a trusted proxy, only what the proxy itself appended counts.
    let site = behind_a_proxy(Store::Embedded).await;
    stopped = 0;
    for number in 0..12 {
        let claimed = format!("198.51.100.{number}, 2001:db8::{number}");
        stopped += u32::from(login_from(&site.gateway, &claimed, "ada", "not it, not at all").await.0 == 429);
    }
    assert_eq!(stopped, 2, "one IPv6 network, however many addresses and claims");
}

#[tokio::test]
async fn a_burst_gets_no_more_guesses_than_a_sequence() {
    let site = Site::with(Store::Embedded).await;
    let guesses: Vec<_> = (0..40)
        .map(|_| {
            let anyone = site.gateway.anonymous();
            let body = json!({"username": "ada", "password": "not it, not at all"});
            tokio::spawn(async move { anyone.post("/auth/login", &body).await.0 })
        })
        .collect();
    let mut looked_at = 0;
    for guess in guesses {
        looked_at += u32::from(guess.await.expect("no panic") == 401);
    }
    assert_eq!(looked_at, 10);
}

#[tokio::test]
async fn many_right_passwords_at_once_are_all_let_in() {
    let site = Site::with(Store::Embedded).await;
    site.registered("ada").await;
    let logins: Vec<_> = (0..40)
        .map(|_| {
            let gateway = site.gateway.address;
            tokio::spawn(async move { Actor::signed_in(gateway, "ada").await })
        })
        .collect();
    for login in logins {
        login.await.expect("it was let in");
    }
}

#[tokio::test]
async fn replicas_count_together_through_redis_and_each_for_itself_without_it() {
    let mut site = behind_a_proxy(Store::Redis).await;
    let replica = site.gateway.replica().await;
    let mut looked_at = 0;
    for number in 0..20 {
        let gateway = if number % 2 == 0 { &site.gateway } else { &replica };
        looked_at += u32::from(login_from(gateway, "192.0.2.1", "ada", "not it, not at all").await.0 == 401);
    }
    assert_eq!(looked_at, 10);

    site.redis().kill();
    for gateway in [&site.gateway, &replica] {
        looked_at = 0;
        for _ in 0..20 {
            looked_at += u32::from(login_from(gateway, "192.0.2.1", "ada", "not it, not at all").await.0 == 401);
        }
        assert_eq!(looked_at, 10, "an outage is no open door");
    }
}

#[tokio::test]
async fn taken_names_are_not_to_be_found_out_without_end() {
    let site = Site::changed(Store::Embedded, |gateway| gateway.set("auth.throttle.network=5/10m")).await;
    let anyone = site.gateway.anonymous();
    let account = json!({"username": "ada", "password": PASSWORD});
    assert_eq!(anyone.post("/auth/register", &account).await.0, 201);
    for _ in 0..5 {
        assert_eq!(anyone.post("/auth/register", &account).await.0, 409);
    }
    assert_eq!(anyone.post("/auth/register", &account).await.0, 429);
}

#[tokio::test]
async fn the_password_cannot_be_guessed_through_a_stolen_session() {
    let site = Site::with(Store::Embedded).await;
    let (thief, owner) = (site.registered("ada").await, site.signed_in("ada").await);
    let change = |current: &str| json!({"current_password": current, "new_password": "battery staple correct horse"});
    for _ in 0..10 {
        assert_eq!(thief.post("/auth/password", &change("not it, not at all")).await.0, 401);
    }
    assert_eq!(thief.post("/auth/password", &change(PASSWORD)).await.0, 429);
    assert_eq!(owner.post("/auth/password", &change(PASSWORD)).await.0, 204);
}
