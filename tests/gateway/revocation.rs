//! What was revoked is refused from the next request on: by the replica that revoked it, by every other one, and
//! after whatever end of the process (P6, P7; 177, 179).

use std::time::Duration;

use serde_json::json;

use crate::support::client::{Actor, PASSWORD};
use crate::support::eventually;
use crate::support::site::{Site, Store};

/// Runs each test with the revoked set in memory, in a Redis, and in a mirror of one.
macro_rules! on_every_store {
    ($($(#[$doc:meta])* async fn $name:ident($site:pat) $body:block)+) => {
        $($(#[$doc])* async fn $name($site: Site) $body)+

        mod embedded {
            use super::{Site, Store};
            $(#[tokio::test] async fn $name() { super::$name(Site::with(Store::Embedded).await).await; })+
        }

        mod redis {
            use super::{Site, Store};
            $(#[tokio::test] async fn $name() { super::$name(Site::with(Store::Redis).await).await; })+
        }

        mod mirror {
            use super::{Site, Store};
            $(#[tokio::test] async fn $name() { super::$name(Site::with(Store::Mirror).await).await; })+
        }
    };
}

/// Two sessions of one user and one of another. Each has used its token, so that the gateway remembers it as genuine.
async fn three_sessions(site: &Site) -> [Actor; 3] {
    let sessions = [site.registered("ada").await, site.signed_in("ada").await, site.registered("grace").await];
    for session in &sessions {
        site.lets_in(session).await;
    }
    sessions
}

on_every_store! {
    async fn a_logout_is_in_force_on_the_next_request(site) {
        let [leaving, other_session, other_user] = three_sessions(&site).await;
        leaving.log_out().await;
        site.keeps_out(&leaving).await;
        site.lets_in(&other_session).await;
        site.lets_in(&other_user).await;
        // Twice is no error, and changes nothing.
        leaving.log_out().await;
        site.keeps_out(&leaving).await;
    }

    async fn a_logout_everywhere_is_in_force_on_the_next_request_of_every_session(site) {
        let [leaving, other_session, other_user] = three_sessions(&site).await;
        assert_eq!(leaving.post("/auth/logout-all", &json!({})).await.0, 204);
        site.keeps_out(&leaving).await;
        site.keeps_out(&other_session).await;
        site.lets_in(&other_user).await;
    }

    async fn a_new_password_ends_every_other_session(site) {
        let [changing, other_session, other_user] = three_sessions(&site).await;
        let wrong = json!({"current_password": "not it, not at all", "new_password": "another one, just as long"});
        assert_eq!(changing.post("/auth/password", &wrong).await.0, 401);
        site.lets_in(&other_session).await;
        let right = json!({"current_password": PASSWORD, "new_password": "another one, just as long"});
        assert_eq!(changing.post("/auth/password", &right).await.0, 204);
        site.keeps_out(&other_session).await;
        site.lets_in(&changing).await;
        site.lets_in(&other_user).await;
    }

    async fn a_session_ended_from_the_list_is_refused_on_its_next_request(site) {
        let [ending, ended, other_user] = three_sessions(&site).await;
        let path = format!("/auth/sessions/{}", ended.claim("sid").await);
        assert_eq!(other_user.delete(&path).await.0, 404, "of somebody else");
        site.lets_in(&ended).await;
        assert_eq!(ending.delete(&path).await.0, 204);
        site.keeps_out(&ended).await;
        site.lets_in(&ending).await;
        site.lets_in(&other_user).await;
    }

    async fn a_session_that_ended_cannot_be_refreshed(site) {
        let [mut leaving, other_session, _] = three_sessions(&site).await;
        leaving.log_out().await;
        let (status, body) = leaving.refresh().await;
        assert_eq!((status, &body["code"]), (401, &json!("revoked_token")));
        let (status, tokens) = other_session.refresh().await;
        assert_eq!(status, 200, "{tokens}");
        // Nor can a token of it be had in any other way than by signing in.
        leaving.take(&tokens);
        site.lets_in(&leaving).await;
    }

    async fn every_token_of_a_session_ends_with_it(site) {
        let mut session = site.registered("ada").await;
        let first = session.clone();
        session.take(&first.refresh().await.1);
        assert_ne!(session.access_token, first.access_token);
        site.lets_in(&first).await;
        site.lets_in(&session).await;
        session.log_out().await;
        site.keeps_out(&first).await;
        site.keeps_out(&session).await;
    }

    /// A caller whose session ended must not become somebody whom nobody has to know.
    async fn a_revoked_token_makes_nobody_anonymous(site) {
        let [leaving, staying, _] = three_sessions(&site).await;
        leaving.log_out().await;
        let answer = site.get("/optional", &leaving.access_token).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "revoked_token"));
        assert_eq!(site.get("/optional", &staying.access_token).await.status, 200);
        assert_eq!(site.get("/optional", "").await.status, 200);
        assert_eq!(site.get("/public", &leaving.access_token).await.status, 200, "a public route looks at no token");
        assert_eq!(leaving.get("/auth/verify").await.0, 401);
        assert_eq!(leaving.get("/auth/me").await.0, 401);
    }

    /// Whoever wins the race: what a refresh gave is worth nothing once the logout is acknowledged (173).
    async fn a_refresh_that_races_with_the_logout_saves_nothing(site) {
        let first = site.registered("ada").await;
        for _ in 0..10 {
            let session = Actor::signed_in(site.gateway.address, "ada").await;
            let mut refreshed = session.clone();
            let ((status, tokens), ()) = tokio::join!(session.refresh(), session.log_out());
            assert!(matches!(status, 200 | 401), "{tokens}");
            if status == 200 {
                refreshed.take(&tokens);
            }
            site.keeps_out(&session).await;
            site.keeps_out(&refreshed).await;
            assert_eq!(refreshed.refresh().await.0, 401);
        }
        site.lets_in(&first).await;
    }

    async fn a_restart_forgets_nothing(site) {
        let [leaving, staying, _] = three_sessions(&site).await;
        leaving.log_out().await;
        let mut site = site;
        site.gateway.terminate();
        site.gateway.exit().await;
        site.gateway.restart().await;
        site.keeps_out(&leaving).await;
        site.lets_in(&staying).await;
    }

    async fn a_power_failure_forgets_nothing(site) {
        let [leaving, staying, _] = three_sessions(&site).await;
        leaving.log_out().await;
        let mut site = site;
        site.gateway.kill();
        site.gateway.restart().await;
        site.keeps_out(&leaving).await;
        site.lets_in(&staying).await;
        assert_eq!(leaving.refresh().await.0, 401);
    }

    /// Wherever the power fails in the middle of a logout (213): what was acknowledged holds, and what was not is done or
    /// not done, never by half.
    async fn a_power_failure_leaves_no_half_of_a_logout(site) {
        let mut site = site;
        let staying = site.registered("ada").await;
        for millis in 0..8 {
            let leaving = site.signed_in("ada").await;
            let logout = async { leaving.log_out().await };
            let acknowledged = tokio::time::timeout(Duration::from_millis(millis), logout).await.is_ok();
            site.gateway.kill();
            site.gateway.restart().await;
            let ended = site.verdict(&leaving).await.0 == 401;
            assert!(ended || !acknowledged, "forgotten after {millis} ms");
            assert_eq!(leaving.refresh().await.0 == 401, ended, "after {millis} ms");
        }
        site.lets_in(&staying).await;
    }
}

#[tokio::test]
async fn a_logout_is_in_force_at_every_replica_at_once() {
    let site = Site::with(Store::Redis).await;
    let replica = site.gateway.replica().await;
    let [leaving, staying, _] = three_sessions(&site).await;
    for (session, gateway) in [(&leaving, &replica), (&staying, &replica)] {
        assert_eq!(site.get_from(gateway, "/api", &session.access_token).await.status, 200);
    }
    leaving.log_out().await;
    let refused = site.get_from(&replica, "/api", &leaving.access_token).await;
    assert_eq!((refused.status, refused.code().as_str()), (401, "revoked_token"));
    assert_eq!(site.get_from(&replica, "/api", &staying.access_token).await.status, 200);
    // And the other way round.
    staying.at(replica.address).log_out().await;
    site.keeps_out(&staying).await;
}

/// Replicas without a Redis are refused for databases that several can share; the processes that can share a SQLite
/// file follow each other within seconds.
#[tokio::test]
async fn a_logout_reaches_another_process_on_the_same_file_soon() {
    let site = Site::with(Store::Embedded).await;
    let other = site.gateway.replica().await;
    let [leaving, staying, _] = three_sessions(&site).await;
    leaving.log_out().await;
    eventually("the other process' refusal", async || {
        (site.get_from(&other, "/api", &leaving.access_token).await.status == 401).then_some(())
    })
    .await;
    assert_eq!(site.get_from(&other, "/api", &staying.access_token).await.status, 200);
}

#[tokio::test]
async fn what_another_program_revokes_counts_from_the_next_request_on() {
    let mut site = Site::with(Store::Redis).await;
    let [by_token, by_session, by_subject] = three_sessions(&site).await;
    let (jti, sid) = (by_token.claim("jti").await, by_session.claim("sid").await);
    let _: String = site.redis().command(&["SET", &format!("revoked_jti:{jti}"), "1", "EX", "60"]);
    site.keeps_out(&by_token).await;
    site.lets_in(&by_session).await;
    let _: String = site.redis().command(&["SET", &format!("revoked_sid:{sid}"), "1", "EX", "60"]);
    site.keeps_out(&by_session).await;
    site.lets_in(&by_subject).await;
    // And its word holds both ways.
    let _: i64 = site.redis().command(&["DEL", &format!("revoked_jti:{jti}")]);
    site.lets_in(&by_token).await;
}

#[tokio::test]
async fn a_record_in_redis_ends_after_the_last_token_that_it_covers() {
    const SKEW_MS: i64 = 5_000;
    let mut site = Site::with(Store::Redis).await;
    let [leaving, everywhere, _] = three_sessions(&site).await;
    let expiries = [leaving.claim("exp").await, everywhere.claim("exp").await];
    let last_expiry_ms = expiries.iter().map(|seconds| seconds.parse::<i64>().expect("a number") * 1000).max().expect("two");
    leaving.log_out().await;
    assert_eq!(everywhere.post("/auth/logout-all", &json!({})).await.0, 204);
    let records: Vec<String> = site.redis().command(&["KEYS", "revoked_*"]);
    assert!(records.iter().any(|key| key.starts_with("revoked_sid:")), "{records:?}");
    assert!(records.iter().any(|key| key.starts_with("revoked_before:")), "{records:?}");
    for record in records {
        let left: i64 = site.redis().command(&["PTTL", &record]);
        let [seconds, micros]: [i64; 2] = site.redis().command(&["TIME"]);
        let end = seconds * 1000 + micros / 1000 + left;
        // A token is believed for the skew after its expiry. Nothing needs to stay for ever.
        assert!((last_expiry_ms + SKEW_MS..last_expiry_ms + 120_000).contains(&end), "{record}: {end}, {last_expiry_ms}");
    }
}

/// What was asked of Redis since its start, without what it is asked about itself and what following the feed costs.
pub(crate) fn commands(site: &mut Site) -> Vec<(String, u64)> {
    let stats: String = site.redis().command(&["INFO", "commandstats"]);
    let calls = stats.lines().filter_map(|line| {
        let (name, numbers) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), numbers.split(',').next()?.parse().ok()?))
    });
    let own = |name: &str| {
        ["info", "config", "client", "hello", "eval", "get", "exists", "xread", "xinfo", "xrange"]
            .iter()
            .any(|own| name.starts_with(own))
    };
    calls.filter(|(name, _)| !own(name)).collect()
}

#[tokio::test]
async fn a_request_costs_one_round_trip_to_redis_and_no_less() {
    const REQUESTS: u64 = 20;
    let mut site = Site::with(Store::Redis).await;
    let ada = site.registered("ada").await;
    site.lets_in(&ada).await;
    let _: String = site.redis().command(&["CONFIG", "RESETSTAT"]);
    for _ in 0..REQUESTS {
        site.lets_in(&ada).await;
        assert_eq!(site.get("/public", &ada.access_token).await.status, 200, "costs nothing");
        assert_eq!(site.get("/api", "forged").await.status, 401, "costs nothing");
    }
    assert_eq!(commands(&mut site), [("mget".to_owned(), REQUESTS)]);
}
