//! Routes that ask for a recent password, and how a session gets one (RFC 9470).

use serde_json::json;

use crate::support::client::{Actor, PASSWORD};
use crate::support::eventually;
use crate::support::gateway::Builder;
use crate::support::site::{Site, Store};

/// `/bank` asks for a password of the last second, `/vault` for one of the last hour, by an administrator.
async fn site(store: Store) -> Site {
    Site::changed(store, |gateway: Builder| {
        gateway
            .set("auth.self_assigned_roles=[\"admin\"]")
            .route("path = \"/bank\"\nrequire = { max_age = \"1s\" }")
            .route("path = \"/vault\"\nrequire = { roles = [\"admin\"], max_age = \"1h\" }")
            .route("path = \"/perhaps\"\naccess = \"optional\"\nrequire = { max_age = \"1s\" }")
    })
    .await
}

/// Waits until the last password of this person is too old for `/bank`.
async fn grown_old(site: &Site, actor: &Actor) {
    let refused = async || (site.get("/bank", &actor.access_token).await.status == 401).then_some(());
    eventually("the password grows old", refused).await;
}

#[tokio::test]
async fn an_old_password_has_to_be_given_again_and_the_new_token_passes() {
    let site = site(Store::Embedded).await;
    let mut ada = site.registered("ada").await;
    grown_old(&site, &ada).await;
    for path in ["/bank", "/perhaps"] {
        let refused = site.get(path, &ada.access_token).await;
        assert_eq!((refused.status, refused.code().as_str()), (401, "reauthenticate"), "{path}");
        let challenge = r#"Bearer realm="portcullis", error="insufficient_user_authentication", max_age="1""#;
        assert_eq!(refused.head.one("www-authenticate"), Some(challenge), "{path}");
    }
    site.lets_in(&ada).await;

    let (session, old) = (ada.claim("sid").await, ada.claim("auth_time").await);
    // At the turn of a second, the token may be a second older than its password.
    let passed = async || {
        let (status, tokens) = ada.post("/auth/reauthenticate", &json!({"password": PASSWORD})).await;
        assert_eq!(status, 200, "{tokens}");
        ada.take(&tokens);
        (site.get("/bank", &ada.access_token).await.status == 200).then_some(())
    };
    eventually("a fresh token passes", passed).await;
    assert_eq!(ada.claim("sid").await, session, "the session is the same");
    assert!(ada.claim("auth_time").await.parse::<i64>().expect("seconds") > old.parse().expect("seconds"));
}

#[tokio::test]
async fn a_refresh_is_no_password() {
    let site = site(Store::Embedded).await;
    let mut ada = site.registered("ada").await;
    let given = ada.claim("auth_time").await;
    grown_old(&site, &ada).await;
    let (status, tokens) = ada.refresh().await;
    assert_eq!(status, 200, "{tokens}");
    ada.take(&tokens);
    assert_eq!(ada.claim("auth_time").await, given);
    assert_eq!(site.get("/bank", &ada.access_token).await.code(), "reauthenticate");
}

#[tokio::test]
async fn what_a_password_cannot_help_is_refused_as_such() {
    let site = site(Store::Embedded).await;
    let ada = site.registered("ada").await;
    let root = Actor::registered_with(site.gateway.address, "root", json!({"roles": ["admin"]})).await;
    assert_eq!(site.get("/vault", &ada.access_token).await.code(), "forbidden");
    assert_eq!(site.get("/vault", &root.access_token).await.status, 200);
    for path in ["/bank", "/vault", "/perhaps"] {
        assert_eq!(site.get(path, "").await.code(), "missing_token", "{path}");
    }
}

#[tokio::test]
async fn only_the_right_password_of_a_live_session_gives_a_fresh_token() {
    let site = site(Store::Embedded).await;
    let ada = site.registered("ada").await;
    let (status, problem) = ada.post("/auth/reauthenticate", &json!({"password": "not it, not at all"})).await;
    assert_eq!((status, &problem["code"]), (401, &json!("credentials")));
    assert_eq!(ada.post("/auth/reauthenticate", &json!({})).await.0, 400);
    let anyone = site.gateway.anonymous();
    assert_eq!(anyone.post("/auth/reauthenticate", &json!({"password": PASSWORD})).await.0, 401);
    ada.log_out().await;
    let (status, problem) = ada.post("/auth/reauthenticate", &json!({"password": PASSWORD})).await;
    assert_eq!((status, &problem["code"]), (401, &json!("revoked_token")));
}

#[tokio::test]
async fn the_password_cannot_be_guessed_by_stepping_up() {
    let site = site(Store::Embedded).await;
    let (thief, owner) = (site.registered("ada").await, site.signed_in("ada").await);
    for _ in 0..10 {
        assert_eq!(thief.post("/auth/reauthenticate", &json!({"password": "not it, not at all"})).await.0, 401);
    }
    assert_eq!(thief.post("/auth/reauthenticate", &json!({"password": PASSWORD})).await.0, 429);
    assert_eq!(owner.post("/auth/reauthenticate", &json!({"password": PASSWORD})).await.0, 200);
}

#[tokio::test]
async fn stepping_up_while_another_tab_refreshes_breaks_no_chain() {
    let site = site(Store::Redis).await;
    let mut ada = site.registered("ada").await;
    for _ in 0..6 {
        let password = json!({"password": PASSWORD});
        let ((stepped_up, fresh), (refreshed, other)) = tokio::join!(ada.post("/auth/reauthenticate", &password), ada.refresh());
        assert_eq!((stepped_up, refreshed), (200, 200), "{fresh} {other}");
        for tokens in [other, fresh] {
            ada.take(&tokens);
            site.lets_in(&ada).await;
        }
    }
    assert_eq!(ada.refresh().await.0, 200);
}

#[tokio::test]
async fn a_password_that_was_just_changed_was_just_given() {
    let site = site(Store::Embedded).await;
    let mut ada = site.registered("ada").await;
    let given: i64 = ada.claim("auth_time").await.parse().expect("seconds");
    grown_old(&site, &ada).await;
    let change = json!({"current_password": PASSWORD, "new_password": "battery staple correct horse"});
    assert_eq!(ada.post("/auth/password", &change).await.0, 204);
    let (_, tokens) = ada.refresh().await;
    ada.take(&tokens);
    assert!(ada.claim("auth_time").await.parse::<i64>().expect("seconds") > given);
}
