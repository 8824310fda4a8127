//! Redis killed, restarted empty, flushed, paused, misconfigured, written by others (security cases 203, 204, 206,
//! 207, 210): no answer is ever a wrong "not revoked", and the set recovers without a restart of the gateway.

use std::sync::Arc;

use portcullis::clock::SystemClock;
use portcullis::identity::session::SessionId;
use portcullis::revocation::{CheckRevocation, Mode, Revocations, Verdict};
use portcullis::store::redis::RedisSet;
use portcullis::store::{Probe, RevocationLog, RevokedBy, RevokedSet, Sessions, Users};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::database;
use super::services::Redis;
use super::{complete, ending, eventually, now, revoked_session, revoked_token, secs, session, stopwatch, token, user};

fn set_of(server: &Redis) -> RedisSet {
    RedisSet::new(&crate::place(&server.url()), "", stopwatch())
}

fn live_token() -> portcullis::identity::TokenFacts {
    token("live", SessionId(Uuid::new_v4()), "ada", now())
}

#[tokio::test]
async fn a_flushed_redis_is_not_taken_for_an_empty_set() {
    let server = Redis::start();
    let set = set_of(&server);
    complete(&set, &[revoked_token("a")]).await;
    server.flush_all();
    assert!(set.lookup(&token("a", SessionId(Uuid::new_v4()), "ada", now())).await.is_err());
    set.needs_rebuild().await;
    complete(&set, &[revoked_token("a")]).await;
    let found = set.lookup(&token("a", SessionId(Uuid::new_v4()), "ada", now())).await;
    assert_eq!(found.expect("complete"), Some(RevokedBy::Token));
    assert_eq!(set.lookup(&live_token()).await.expect("complete"), None);
}

#[tokio::test]
async fn a_killed_redis_gives_errors_and_an_empty_one_after_it_too() {
    let mut server = Redis::start();
    let set = set_of(&server);
    complete(&set, &[]).await;
    server.kill();
    assert!(set.lookup(&live_token()).await.is_err());
    eventually("the probe notices", || async { set.probe().await.err() }).await;
    server.restart();
    eventually("it is connected again", || async { set.probe().await.ok() }).await;
    assert!(set.lookup(&live_token()).await.is_err(), "it is empty");
    complete(&set, &[]).await;
    assert_eq!(set.lookup(&live_token()).await.expect("complete"), None);
}

#[tokio::test]
async fn a_paused_redis_mixes_no_answers_up_when_it_goes_on() {
    let server = Redis::start();
    let set = Arc::new(set_of(&server));
    complete(&*set, &[revoked_token("a")]).await;
    let revoked = token("a", SessionId(Uuid::new_v4()), "ada", now());
    server.pause();
    for _ in 0..20 {
        // Requests give up by their own deadline, long before the connection does.
        let gave_up = tokio::time::timeout(std::time::Duration::from_millis(5), set.lookup(&revoked)).await;
        assert!(gave_up.is_err() || gave_up.is_ok_and(|answer| answer.is_err()));
    }
    server.resume();
    eventually("it answers again", || async { set.lookup(&live_token()).await.ok() }).await;
    for _ in 0..50 {
        assert_eq!(set.lookup(&live_token()).await.expect("complete"), None);
        assert_eq!(set.lookup(&revoked).await.expect("complete"), Some(RevokedBy::Token));
    }
}

#[tokio::test]
async fn a_rebuild_during_which_everything_was_lost_again_does_not_count() {
    let server = Redis::start();
    let set = set_of(&server);
    let ticket = eventually("it is connected", || async { set.begin_rebuild().await.ok() }).await;
    set.publish(&[revoked_token("a")], now()).await.expect("it is connected");
    server.flush_all();
    assert!(set.finish_rebuild(ticket).await.is_err());
    assert!(set.lookup(&live_token()).await.is_err());
}

#[tokio::test]
async fn replicas_that_rebuild_do_not_disown_each_other() {
    let server = Redis::start();
    let (one, other) = (set_of(&server), set_of(&server));
    complete(&one, &[]).await;
    complete(&other, &[]).await;
    server.flush_all();
    complete(&one, &[]).await;
    assert!(other.lookup(&live_token()).await.is_err(), "the other does not know what the first published");
    complete(&other, &[]).await;
    assert_eq!(one.lookup(&live_token()).await.expect("complete"), None);
    assert_eq!(other.lookup(&live_token()).await.expect("complete"), None);
}

#[tokio::test]
async fn a_redis_that_may_evict_is_refused() {
    let server = Redis::start();
    let set = set_of(&server);
    complete(&set, &[]).await;
    let _: String = server.command(&["CONFIG", "SET", "maxmemory", "50mb", "maxmemory-policy", "allkeys-lru"]);
    eventually("it is refused", || async { set.lookup(&live_token()).await.err() }).await;
    let _: String = server.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    eventually("it is taken again", || async { set.lookup(&live_token()).await.ok() }).await;
}

#[tokio::test]
async fn a_key_set_by_another_program_counts() {
    let server = Redis::start();
    let set = set_of(&server);
    complete(&set, &[]).await;
    let foreign = token("foreign", SessionId(Uuid::new_v4()), "ada", now());
    assert_eq!(set.lookup(&foreign).await.expect("complete"), None);
    let _: String = server.command(&["SET", "revoked_jti:foreign", "1", "EX", "60"]);
    assert_eq!(set.lookup(&foreign).await.expect("complete"), Some(RevokedBy::Token));
}

#[tokio::test]
async fn a_record_expires_with_the_last_token_it_covers_and_never_earlier() {
    let server = Redis::start();
    let set = set_of(&server);
    let id = SessionId(Uuid::new_v4());
    complete(&set, &[revoked_session(id, now() + secs(900)), revoked_session(id, now() + secs(60))]).await;
    let left: i64 = server.command(&["PTTL", &format!("revoked_sid:{id}")]);
    assert!((880_000..=900_000).contains(&left), "{left} ms");
    let _: String = server.command(&["SET", "revoked_jti:for-ever", "1"]);
    set.publish(&[revoked_token("for-ever")], now()).await.expect("it is connected");
    let left: i64 = server.command(&["PTTL", "revoked_jti:for-ever"]);
    assert_eq!(left, -1, "an expiry only ever moves away");
}

/// The whole chain: what was ended in SQL and acknowledged stays revoked, whatever happens to Redis.
#[tokio::test]
async fn an_acknowledged_logout_survives_whatever_redis_forgets() {
    let mut server = Redis::start();
    let place = database::on_sqlite().await;
    let sql = place.open().await;
    let (sql, ada) = (Arc::new(sql), user("ada"));
    sql.add(&ada).await.expect("nobody has the name");
    let login = session(ada.user.id, now());
    let _ = sql.open(&login, Uuid::new_v4()).await.expect("sqlite is there");

    let log: Arc<dyn RevocationLog> = sql.clone();
    let revocations = Arc::new(Revocations::new(Arc::new(set_of(&server)), log, secs(1), Arc::new(SystemClock), Mode::Strict));
    let stop = CancellationToken::new();
    let upkeep = tokio::spawn(Arc::clone(&revocations).maintain(stop.clone()));
    eventually("it is ready", || async { revocations.ready().ok() }).await;

    let (mine, other) = (token("a", login.id, "ada", now()), live_token());
    assert_eq!(revocations.check(&mine).await, Verdict::Live);
    let records = sql.end(login.id, &ending(now())).await.expect("sqlite is there");
    revocations.publish(&records).await.expect("redis is there");
    assert_eq!(revocations.check(&mine).await, Verdict::Revoked(RevokedBy::Session));

    for outage in [Redis::flush_all as fn(&Redis), |_| ()] {
        outage(&server);
        assert_ne!(revocations.check(&mine).await, Verdict::Live);
        let live = || async { (revocations.check(&other).await == Verdict::Live).then_some(()) };
        eventually("others are let through again", live).await;
        assert_eq!(revocations.check(&mine).await, Verdict::Revoked(RevokedBy::Session));
        server.kill();
        assert!(matches!(revocations.check(&other).await, Verdict::Unknown(_)));
        server.restart();
        eventually("others are let through again", live).await;
        assert_eq!(revocations.check(&mine).await, Verdict::Revoked(RevokedBy::Session));
    }
    stop.cancel();
    upkeep.await.expect("the upkeep does not panic");
}
