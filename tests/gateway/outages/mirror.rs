//! Mirror mode in trouble: what the mirror was told is believed for as long as the bound, and not longer.

use tokio::time::Instant;

use super::*;

const GAPS: &str = r#"portcullis_revocation_feed_gaps_total{cause="trimmed"}"#;

impl Site {
    /// Waits until nobody is let in any more.
    async fn cannot_know_soon(&self, actor: &Actor) {
        eventually("the end of what the mirror knows", async || {
            let (status, code) = self.verdict(actor).await;
            assert!(matches!(status, 200 | 503), "{status} {code}");
            (code == "revocation_unknown").then_some(())
        })
        .await;
    }
}

/// A mirror, and somebody who stays and somebody who has left.
async fn a_mirror() -> (Site, Actor, Actor) {
    let site = Site::with(Store::Mirror).await;
    let (staying, leaving) = (site.registered("ada").await, site.signed_in("ada").await);
    site.lets_in(&leaving).await;
    leaving.log_out().await;
    site.keeps_out(&leaving).await;
    (site, staying, leaving)
}

#[tokio::test]
async fn a_redis_that_dies_is_outlived_for_the_bound_and_its_successor_is_told_everything() {
    let (mut site, staying, leaving) = a_mirror().await;
    let killed = Instant::now();
    site.redis().kill();
    site.cannot_know_soon(&staying).await;
    assert!(killed.elapsed() < std::time::Duration::from_secs(10), "{:?}", killed.elapsed());
    assert!(matches!(site.verdict(&leaving).await.0, 401 | 503));
    assert!(!site.gateway.is_ready().await);
    site.redis().restart();
    site.lets_in_again(&staying).await;
    site.keeps_out_again(&leaving).await;
    site.gateway.ready().await;
}

#[tokio::test]
async fn an_emptied_redis_lets_nobody_in_again() {
    let (mut site, staying, leaving) = a_mirror().await;
    site.redis().flush_all();
    site.keeps_out_again(&leaving).await;
    site.lets_in_again(&staying).await;
    let later = site.signed_in("ada").await;
    later.log_out().await;
    site.keeps_out(&later).await;
    // The feed is followed again: the live token is answered for without Redis.
    let answered = r#"portcullis_revocation_checks_total{mode="mirror",verdict="live"}"#;
    eventually("the mirror answers again", async || {
        let before = site.gateway.metric(answered).await?;
        site.lets_in(&staying).await;
        (site.gateway.metric(answered).await? > before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_stalls_is_outlived_for_the_bound_and_believed_again_later() {
    let (mut site, staying, leaving) = a_mirror().await;
    site.redis().pause();
    site.cannot_know_soon(&staying).await;
    site.redis().resume();
    site.lets_in_again(&staying).await;
    site.keeps_out_again(&leaving).await;
}

/// A replica that was away while the feed lost what it had not read.
#[tokio::test]
async fn a_gap_in_the_feed_is_found_and_sql_is_read_again() {
    let (mut site, staying, _) = a_mirror().await;
    let replica = site.gateway.replica().await;
    let leaving = site.signed_in("ada").await;
    assert_eq!(site.get_from(&replica, "/api", &leaving.access_token).await.status, 200);
    assert_eq!(replica.metric(GAPS).await, Some(0.0));
    replica.pause();
    leaving.log_out().await;
    let acknowledged = Instant::now();
    let _: i64 = site.redis().command(&["XTRIM", "revocation_feed", "MAXLEN", "0"]);
    replica.resume();
    eventually("the refusal", async || {
        let started = Instant::now();
        let answer = site.get_from(&replica, "/api", &leaving.access_token).await;
        let in_time = started <= acknowledged + std::time::Duration::from_secs(1);
        assert!(answer.status != 200 || in_time, "let in {:?} afterwards", started - acknowledged);
        (answer.status == 401).then_some(())
    })
    .await;
    eventually("the gap is counted", async || (replica.metric(GAPS).await? == 1.0).then_some(())).await;
    assert_eq!(site.get_from(&replica, "/api", &staying.access_token).await.status, 200);
}

#[tokio::test]
async fn a_feed_that_is_deleted_is_begun_anew_and_nothing_is_missed() {
    let (mut site, staying, leaving) = a_mirror().await;
    let _: i64 = site.redis().command(&["DEL", "revocation_feed"]);
    eventually("the gap is counted", async || (site.gateway.metric(GAPS).await? >= 1.0).then_some(())).await;
    site.lets_in(&staying).await;
    site.keeps_out(&leaving).await;
    let replica = site.gateway.replica().await;
    let later = site.signed_in("ada").await;
    later.at(replica.address).log_out().await;
    site.keeps_out_again_or_in_time(&later).await;
}

#[tokio::test]
async fn without_redis_a_mirror_starts_and_waits_for_it() {
    let (upstream, mut redis) = (Upstream::echo().await, Redis::start());
    redis.kill();
    let gateway = Gateway::in_front_of(&upstream).redis(&redis).set("revocation.check=mirror").start_unready().await;
    let (status, missing) = gateway.admin("/readyz").await.expect("it listens");
    assert_eq!((status, missing.contains("revocation")), (503, true), "{missing}");
    let ada = gateway.registered("ada").await;
    assert_eq!(ada.get("/api/x").await.0, 503);
    redis.restart();
    gateway.ready().await;
    assert_eq!(ada.get("/api/x").await.0, 200);
}

impl Site {
    /// Waits for the refusal of what another replica revoked.
    async fn keeps_out_again_or_in_time(&self, actor: &Actor) {
        eventually("the refusal", async || match self.verdict(actor).await {
            (401, code) if code == "revoked_token" => Some(()),
            (200, _) | (503, _) => None,
            other => panic!("{other:?}"),
        })
        .await;
    }
}
