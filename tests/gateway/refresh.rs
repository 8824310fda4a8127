//! A refresh token has one successor, however often it is presented; an old one that comes back ends the
//! session (P8; 168–171, 174, 176).

mod crowd;

use serde_json::{Value, json};

use crate::support::client::Actor;
use crate::support::eventually;
use crate::support::site::{Site, Store};

/// The next tokens.
async fn next(actor: &Actor) -> Value {
    let (status, tokens) = actor.refresh().await;
    assert_eq!(status, 200, "{tokens}");
    tokens
}

/// # Panics
/// The refresh token is not refused, or not for this reason.
async fn has_no_successor(actor: &Actor, code: &str) {
    let (status, body) = actor.refresh().await;
    assert_eq!((status, &body["code"]), (401, &json!(code)), "{body}");
}

#[tokio::test]
async fn a_refresh_gives_new_tokens_of_the_same_session() {
    let site = Site::with(Store::Embedded).await;
    let first = site.registered("ada").await;
    let mut second = first.clone();
    let tokens = next(&first).await;
    second.take(&tokens);
    assert_eq!(tokens["token_type"], "Bearer");
    assert!(matches!(tokens["expires_in"].as_u64(), Some(840..=900)), "{tokens}");
    assert_ne!((&first.access_token, &first.refresh_token), (&second.access_token, &second.refresh_token));
    assert_ne!(first.claim("jti").await, second.claim("jti").await);
    assert_eq!(first.claim("sid").await, second.claim("sid").await);
    site.lets_in(&second).await;
    let mut third = second.clone();
    third.take(&next(&second).await);
    site.lets_in(&third).await;
}

/// Within the grace a repetition is a lost answer or a second tab; after it, it is a thief or a victim.
#[tokio::test]
async fn the_predecessor_gets_the_same_successor_within_the_grace_and_ends_the_session_after_it() {
    let site = Site::changed(Store::Embedded, |gateway| gateway.set("auth.rotation_grace=2s")).await;
    let (first, other_session) = (site.registered("ada").await, site.signed_in("ada").await);
    let mut second = first.clone();
    second.take(&next(&first).await);
    assert_eq!(next(&first).await["refresh_token"], json!(second.refresh_token));
    eventually("the end of the grace", async || match first.refresh().await {
        (200, tokens) => {
            assert_eq!(tokens["refresh_token"], json!(second.refresh_token));
            site.lets_in(&second).await;
            None
        }
        (status, body) => {
            assert_eq!((status, &body["code"]), (401, &json!("revoked_token")), "{body}");
            Some(())
        }
    })
    .await;
    site.keeps_out(&first).await;
    site.keeps_out(&second).await;
    has_no_successor(&second, "revoked_token").await;
    site.lets_in(&other_session).await;
}

#[tokio::test]
async fn a_token_before_the_predecessor_ends_the_session_at_once() {
    let site = Site::changed(Store::Embedded, |gateway| gateway.set("auth.rotation_grace=60s")).await;
    let first = site.registered("ada").await;
    let mut second = first.clone();
    second.take(&next(&first).await);
    let mut third = second.clone();
    third.take(&next(&second).await);
    site.lets_in(&third).await;
    has_no_successor(&first, "revoked_token").await;
    site.keeps_out(&third).await;
    has_no_successor(&third, "revoked_token").await;
}

/// The answer to a refresh may be lost with the process that gave it.
#[tokio::test]
async fn a_power_failure_after_a_refresh_costs_nobody_the_session() {
    let mut site = Site::changed(Store::Embedded, |gateway| gateway.set("auth.rotation_grace=60s")).await;
    let first = site.registered("ada").await;
    let mut second = first.clone();
    second.take(&next(&first).await);
    site.gateway.kill();
    site.gateway.restart().await;
    let again = next(&first).await;
    assert_eq!(again["refresh_token"], json!(second.refresh_token));
    let mut third = second.clone();
    third.take(&next(&second).await);
    site.lets_in(&third).await;
}

#[tokio::test]
async fn a_token_is_good_for_what_it_was_made_for_and_where() {
    let (site, elsewhere) = (Site::with(Store::Embedded).await, Site::with(Store::Embedded).await);
    let (ada, mut confused) = (site.registered("ada").await, site.gateway.anonymous());
    confused.refresh_token.clone_from(&ada.access_token);
    has_no_successor(&confused, "bad_token").await;
    confused.access_token.clone_from(&ada.refresh_token);
    assert_eq!(site.verdict(&confused).await, (401, "bad_token".to_owned()));
    confused.refresh_token = format!("{}x", ada.refresh_token);
    has_no_successor(&confused, "bad_token").await;
    has_no_successor(&ada.at(elsewhere.gateway.address), "bad_token").await;
    next(&ada).await;
}

#[tokio::test]
async fn an_expired_access_token_is_refused_and_its_session_goes_on() {
    let short = ["auth.access_token=1s", "auth.clock_skew=0s"];
    let site = Site::changed(Store::Embedded, |gateway| short.iter().fold(gateway, |gateway, set| gateway.set(set))).await;
    let mut ada = site.registered("ada").await;
    eventually("the expiry", async || match site.verdict(&ada).await {
        (200, _) => None,
        (401, code) if code == "expired_token" => Some(()),
        other => panic!("{other:?}"),
    })
    .await;
    ada.take(&next(&ada).await);
    // The owner of an expired token may still end the session.
    ada.log_out().await;
    has_no_successor(&ada, "revoked_token").await;
}

#[tokio::test]
async fn a_refresh_token_that_was_not_used_in_time_has_no_successor() {
    let short = ["auth.access_token=1s", "auth.refresh_token=2s"];
    let site = Site::changed(Store::Embedded, |gateway| short.iter().fold(gateway, |gateway, set| gateway.set(set))).await;
    let mut ada = site.registered("ada").await;
    ada.take(&next(&ada).await);
    let session = json!(ada.claim("sid").await);
    // Presented too early it would be used up: whether it has expired, another session sees in the list.
    eventually("the expiry", async || {
        let (status, body) = site.signed_in("ada").await.get("/auth/sessions").await;
        assert_eq!(status, 200, "{body}");
        let live = body["sessions"].as_array().expect("a list");
        live.iter().all(|live| live["id"] != session).then_some(())
    })
    .await;
    has_no_successor(&ada, "expired_token").await;
}
