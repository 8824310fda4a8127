//! Mirror mode: a live token costs no look-up, a revocation reaches every replica within the bound, and what the mirror
//! is not certain of is looked up in Redis.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::revocation::commands;
use crate::support::client::Actor;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::site::{Site, Store};

/// `max_staleness`, unless set.
const BOUND: Duration = Duration::from_secs(1);

const BY_MIRROR: &str = r#"portcullis_revocation_checks_total{mode="mirror",verdict="live"}"#;
const REVOKED: &str = r#"portcullis_revocation_checks_total{mode="strict",verdict="revoked"}"#;

impl Site {
    /// Has another program announce a record, for a quarter of an hour.
    fn announce(&mut self, record: &serde_json::Value) {
        let _: String = self.redis().command(&["XADD", "revocation_feed", "*", "r", &record.to_string()]);
    }

    /// Waits until a token is looked up in Redis: until the gateway suspects that it was revoked.
    async fn looks_up(&self, actor: &Actor) {
        eventually("the suspicion", async || {
            let before = self.gateway.metric(BY_MIRROR).await?;
            self.lets_in(actor).await;
            (self.gateway.metric(BY_MIRROR).await? == before).then_some(())
        })
        .await;
    }
}

/// # Panics
/// A request that began later than the bound after `acknowledged` is let in.
async fn keeps_out_in_time(site: &Site, gateway: &Gateway, actor: &Actor, acknowledged: Instant) {
    eventually("the refusal at another replica", async || {
        let started = Instant::now();
        let answer = site.get_from(gateway, "/api", &actor.access_token).await;
        assert!(answer.status != 200 || started <= acknowledged + BOUND, "let in {:?} afterwards", started - acknowledged);
        (answer.code() == "revoked_token").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_live_token_costs_no_look_up_and_a_revoked_one_costs_one() {
    const REQUESTS: u64 = 20;
    let mut site = Site::with(Store::Mirror).await;
    let (staying, leaving) = (site.registered("ada").await, site.signed_in("ada").await);
    leaving.log_out().await;
    site.keeps_out(&leaving).await;
    let _: String = site.redis().command(&["CONFIG", "RESETSTAT"]);
    let answered = site.gateway.metric(BY_MIRROR).await.expect("there are metrics");
    let revoked = site.gateway.metric(REVOKED).await.expect("there are metrics");
    for _ in 0..REQUESTS {
        site.lets_in(&staying).await;
    }
    assert_eq!(commands(&mut site), []);
    assert_eq!(site.gateway.metric(BY_MIRROR).await, Some(answered + 20.0));
    site.keeps_out(&leaving).await;
    assert_eq!(commands(&mut site), [("mget".to_owned(), 1)]);
    assert_eq!(site.gateway.metric(REVOKED).await, Some(revoked + 1.0));
}

#[tokio::test]
async fn a_revocation_of_any_kind_reaches_every_replica_within_the_bound() {
    let site = Site::with(Store::Mirror).await;
    let replica = site.gateway.replica().await;
    let sessions = [site.registered("ada").await, site.registered("grace").await];
    for session in &sessions {
        assert_eq!(site.get_from(&replica, "/api", &session.access_token).await.status, 200);
    }
    let [leaving, everywhere] = &sessions;
    leaving.log_out().await;
    keeps_out_in_time(&site, &replica, leaving, Instant::now()).await;
    assert_eq!(site.get_from(&replica, "/api", &everywhere.access_token).await.status, 200);
    // And the other way round.
    assert_eq!(everywhere.at(replica.address).post("/auth/logout-all", &json!({})).await.0, 204);
    keeps_out_in_time(&site, &site.gateway, everywhere, Instant::now()).await;
    let by_command = site.registered("eve").await;
    site.gateway.command(&["user", "disable", "eve"]);
    keeps_out_in_time(&site, &replica, &by_command, Instant::now()).await;
}

#[tokio::test]
async fn a_replica_that_starts_later_knows_what_was_revoked_before() {
    let mut site = Site::with(Store::Mirror).await;
    let [leaving, foreign, staying] =
        [site.registered("ada").await, site.registered("grace").await, site.registered("eve").await];
    leaving.log_out().await;
    let jti = foreign.claim("jti").await;
    let _: String = site.redis().command(&["SET", &format!("revoked_jti:{jti}"), "1", "EX", "900"]);
    site.announce(&json!({"jti": jti, "life_ms": 900_000}));
    let replica = site.gateway.replica().await;
    for (actor, status) in [(&leaving, 401), (&foreign, 401), (&staying, 200)] {
        assert_eq!(site.get_from(&replica, "/api", &actor.access_token).await.status, status);
    }
}

#[tokio::test]
async fn what_another_program_revokes_counts_once_the_feed_says_so() {
    let mut site = Site::with(Store::Mirror).await;
    let [by_token, by_session] = [site.registered("ada").await, site.registered("grace").await];
    let (jti, sid) = (by_token.claim("jti").await, by_session.claim("sid").await);
    let _: String = site.redis().command(&["SET", &format!("revoked_jti:{jti}"), "1", "EX", "60"]);
    site.lets_in(&by_token).await;
    site.announce(&json!({"jti": jti, "life_ms": 60_000}));
    keeps_out_in_time(&site, &site.gateway, &by_token, Instant::now()).await;
    let _: String = site.redis().command(&["SET", &format!("revoked_sid:{sid}"), "1", "EX", "60"]);
    site.announce(&json!({"sid": sid, "life_ms": 60_000}));
    keeps_out_in_time(&site, &site.gateway, &by_session, Instant::now()).await;
    // And its word holds both ways.
    let _: i64 = site.redis().command(&["DEL", &format!("revoked_jti:{jti}")]);
    site.lets_in(&by_token).await;
}

/// What looks like a revoked token to the mirror, as one whose fingerprint is that of another does.
#[tokio::test]
async fn a_suspicion_that_redis_does_not_share_refuses_nobody() {
    let mut site = Site::with(Store::Mirror).await;
    let suspect = site.registered("ada").await;
    site.lets_in(&suspect).await;
    let jti = suspect.claim("jti").await;
    site.announce(&json!({"jti": jti, "life_ms": 60_000}));
    site.looks_up(&suspect).await;
    // Nor is anybody let in on a suspicion that cannot be cleared up.
    let deadline = Instant::now() + BOUND;
    site.redis().kill();
    let answer = site.get("/api", &suspect.access_token).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "revocation_unknown"));
    assert!(Instant::now() < deadline, "the machine was too slow for this to say anything");
}

#[tokio::test]
async fn more_records_than_fit_send_every_request_to_redis() {
    let mut site = Site::changed(Store::Mirror, |gateway| gateway.set("revocation.max_records=1000")).await;
    let (staying, leaving) = (site.registered("ada").await, site.signed_in("ada").await);
    leaving.log_out().await;
    for first in (0..1200).step_by(400) {
        let records = (first..first + 400).map(|number| json!({"jti": number.to_string(), "life_ms": 900_000}).to_string());
        let fields: Vec<String> = records.flat_map(|record| ["r".to_owned(), record]).collect();
        let words: Vec<&str> = ["XADD", "revocation_feed", "*"].into_iter().chain(fields.iter().map(String::as_str)).collect();
        let _: String = site.redis().command(&words);
    }
    eventually("the overflow", async || (site.gateway.metric("portcullis_revocation_mirror_full").await? == 1.0).then_some(()))
        .await;
    site.looks_up(&staying).await;
    site.keeps_out(&leaving).await;
    assert!(site.gateway.is_ready().await, "it works, at a price");
    let records = site.gateway.metric("portcullis_revocation_mirror_records").await;
    assert!(records.is_some_and(|records| records <= 1000.0), "{records:?}");
}

#[tokio::test]
async fn a_mirror_without_a_feed_is_not_ready_and_says_so() {
    let mut site = Site::with(Store::Redis).await;
    let ada = site.registered("ada").await;
    let _: i64 = site.redis().command(&["DEL", "revocation_feed"]);
    let _: String = site.redis().command(&["SET", "revocation_feed", "something else"]);
    site.lets_in(&ada).await;
    let mirror = site.gateway.unready_replica_with("revocation.check=mirror").await;
    // All but the feed is there.
    eventually("the reason", async || {
        let (status, missing) = mirror.admin("/readyz").await?;
        (status == 503 && missing.contains("mirror")).then_some(())
    })
    .await;
    let _: i64 = site.redis().command(&["DEL", "revocation_feed"]);
    mirror.ready().await;
    assert_eq!(site.get_from(&mirror, "/api", &ada.access_token).await.status, 200);
}
