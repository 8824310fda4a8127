//! Nothing is acknowledged that is not true, and nothing that was received is forgotten (203, 204, 212).

use super::*;
use crate::outages::database::locked;

/// # Panics
/// It was acknowledged, or refused for good.
async fn is_to_come_again(gateway: &Gateway, token: &str) {
    let answer = sent(gateway, "a", token).await;
    let body: Value = serde_json::from_str(&answer.text()).expect("JSON");
    assert_eq!((answer.status, &body["error"]), (503, &json!("temporarily_unavailable")), "{body}");
    assert!(answer.head.one("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()));
}

/// Waits until a token is known to be revoked.
///
/// # Panics
/// Meanwhile it was let in.
async fn keeps_out_in_the_end(site: &Site, gateway: &Gateway, token: &str) {
    eventually("the refusal of what was revoked", async || {
        let answer = site.get_from(gateway, "/api", token).await;
        match (answer.status, answer.code().as_str()) {
            (401, "revoked_token") => Some(()),
            (503, "revocation_unknown") => None,
            other => panic!("{other:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn a_logout_that_redis_does_not_take_is_no_success_and_comes_true_by_itself() {
    for store in [Store::Redis, Store::Mirror] {
        let a = Key::new("k");
        let mut site = site(store, &a).await;
        let replica = site.gateway.replica().await;
        let (leaving, staying) = (access(&a, json!({"jti": "1", "sid": "s1"})), access(&a, json!({"jti": "2", "sid": "s2"})));
        lets_in(&site, &[&leaving, &staying]).await;
        // It answers look-ups and takes nothing new: a primary without the replicas that it must have.
        let _: String = site.redis().command(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
        let token = logout(&a, json!({"sid": "s1"}));
        is_to_come_again(&site.gateway, &token).await;
        // In force where it was received, whatever becomes of it; and a repetition is no success before it is one.
        assert_ne!(verdict(&site, &leaving).await.0, 200);
        is_to_come_again(&site.gateway, &token).await;
        let _: String = site.redis().command(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
        // The issuer does not come back.
        eventually("the refusal at another replica", async || {
            let answer = site.get_from(&replica, "/api", &leaving).await;
            (answer.code() == "revoked_token").then_some(())
        })
        .await;
        keeps_out_in_the_end(&site, &site.gateway, &leaving).await;
        // And if it does, that is success.
        acknowledged(&replica, &token).await;
        eventually("the others' acceptance", async || (verdict(&site, &staying).await.0 == 200).then_some(())).await;
    }
}

#[tokio::test]
async fn a_logout_while_redis_is_down_holds_once_it_is_back_and_was_acknowledged_by_nobody() {
    for store in [Store::Redis, Store::Mirror] {
        let a = Key::new("k");
        let mut site = site(store, &a).await;
        let by_session = access(&a, json!({"jti": "1", "sid": "s1"}));
        let by_subject = access(&a, json!({"jti": "2", "sub": "eve", "iat": now() - 5}));
        let staying = access(&a, json!({"jti": "3", "sid": "s3"}));
        lets_in(&site, &[&by_session, &by_subject, &staying]).await;
        site.redis().kill();
        is_to_come_again(&site.gateway, &logout(&a, json!({"sid": "s1", "jti": "l1"}))).await;
        is_to_come_again(&site.gateway, &logout(&a, json!({"sub": "eve", "jti": "l2"}))).await;
        for token in [&by_session, &by_subject] {
            assert_ne!(verdict(&site, token).await.0, 200);
        }
        // It comes back empty, and a replica that heard of nothing reads SQL.
        site.redis().restart();
        let replica = site.gateway.replica().await;
        for gateway in [&site.gateway, &replica] {
            for token in [&by_session, &by_subject] {
                keeps_out_in_the_end(&site, gateway, token).await;
            }
        }
        eventually("the others' acceptance", async || (verdict(&site, &staying).await.0 == 200).then_some(())).await;
        acknowledged(&site.gateway, &logout(&a, json!({"sid": "s1", "jti": "l1"}))).await;
    }
}

#[tokio::test]
async fn an_acknowledged_logout_survives_a_restart_and_an_emptied_redis() {
    let a = Key::new("k");
    let mut site = site(Store::Redis, &a).await;
    let by_session = access(&a, json!({"jti": "1", "sid": "s1"}));
    let by_subject = access(&a, json!({"jti": "2", "sub": "eve", "iat": now() - 5}));
    let returned = access(&a, json!({"jti": "3", "sub": "eve"}));
    acknowledged(&site.gateway, &logout(&a, json!({"sid": "s1"}))).await;
    acknowledged(&site.gateway, &logout(&a, json!({"sub": "eve", "iat": now() - 4, "jti": "l2"}))).await;
    site.redis().flush_all();
    site.gateway.kill();
    site.gateway.restart().await;
    for token in [&by_session, &by_subject] {
        keeps_out_in_the_end(&site, &site.gateway, token).await;
    }
    eventually("who signed in again", async || (verdict(&site, &returned).await.0 == 200).then_some(())).await;
    // What was received is remembered, too.
    acknowledged(&site.gateway, &logout(&a, json!({"sid": "s1"}))).await;
    assert_eq!((ended(&site, "session").await, ended(&site, "repeated").await), (0.0, 1.0));
}

#[tokio::test]
async fn a_logout_that_sql_does_not_take_ends_nothing_and_is_no_success() {
    let a = Key::new("k");
    let site = site(Store::Embedded, &a).await;
    let live = access(&a, json!({"jti": "1", "sid": "s1"}));
    lets_in(&site, &[&live]).await;
    let token = logout(&a, json!({"sid": "s1"}));
    let database = locked(&site.gateway).await;
    is_to_come_again(&site.gateway, &token).await;
    lets_in(&site, &[&live]).await;
    sea_orm::ConnectionTrait::execute_unprepared(&database, "ROLLBACK").await.expect("it was begun");
    acknowledged(&site.gateway, &token).await;
    keeps_out(&site, &[&live]).await;
    assert_eq!((ended(&site, "unavailable").await, ended(&site, "session").await), (1.0, 1.0));
}
