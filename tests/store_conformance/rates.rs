//! Rate limits in Redis are those of `limit::rate`: the same buckets, the same instants, in one step among all replicas.

use std::sync::Arc;
use std::time::Duration;

use portcullis::limit::rate::{Rate, Taken};
use portcullis::store::SharedRates as _;
use portcullis::store::redis::{RedisRates, RedisSet};

use super::services::Redis;
use super::stopwatch;

const START: i64 = 1_790_000_000_000_000;

/// Rate limits of one replica. The set keeps the connection.
struct Replica {
    rates: Arc<RedisRates>,
    _set: RedisSet,
}

impl Replica {
    async fn of(server: &Redis) -> Self {
        let set = RedisSet::new(&crate::place(&server.url()), "test:", stopwatch());
        let replica = Self { rates: Arc::new(RedisRates::beside(&set)), _set: set };
        let bucket = [("warm-up".to_owned(), Rate::new(1, Duration::from_secs(1)))];
        super::eventually("redis answers", || async { replica.rates.take(&bucket, START).await.ok() }).await;
        replica
    }

    async fn take(&self, buckets: &[(&str, Rate)], now: i64) -> Vec<Taken> {
        let buckets: Vec<_> = buckets.iter().map(|&(key, rate)| (key.to_owned(), rate)).collect();
        self.rates.take(&buckets, now).await.expect("redis answers")
    }
}

#[tokio::test]
async fn redis_takes_like_the_rule() {
    let server = Redis::start();
    let replica = Replica::of(&server).await;
    // Long, so that no bucket expires meanwhile by the server's own clock.
    let rate = Rate::new(7, Duration::from_hours(1));
    let (mut full_at, mut at, mut random) = (None, START, 7_u64);
    let (mut allowed, mut refused) = (0, 0);
    for _ in 0..300 {
        // Any sequence will do; this one is the same every time, and now and then the clock is set back.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        at += i64::try_from((random >> 33) % 900_000_000).expect("small") - 50_000_000;
        let expected = rate.take(full_at, at);
        let taken = replica.take(&[("k", rate)], at).await;
        assert_eq!(taken, [expected]);
        if expected.allowed {
            full_at = Some(expected.full_at_micros);
            allowed += 1;
        } else {
            refused += 1;
        }
    }
    assert!(allowed > 30 && refused > 30, "{allowed} {refused}");
}

#[tokio::test]
async fn what_one_bucket_refuses_is_taken_from_none() {
    let server = Redis::start();
    let replica = Replica::of(&server).await;
    let (narrow, wide) = (Rate::new(1, Duration::from_hours(1)), Rate::new(5, Duration::from_hours(1)));
    let asked = [("wide", wide), ("narrow", narrow)];
    assert!(replica.take(&asked, START).await.iter().all(|taken| taken.allowed));
    for _ in 0..3 {
        let refused = replica.take(&asked, START).await;
        assert_eq!(refused.iter().map(|taken| (taken.allowed, taken.remaining)).collect::<Vec<_>>(), [(true, 4), (false, 0)]);
    }
    assert_eq!(replica.take(&asked[..1], START).await[0].remaining, 3);
}

#[tokio::test]
async fn parallel_requests_of_several_replicas_cannot_all_take_the_last_one() {
    let server = Redis::start();
    let replicas = [Replica::of(&server).await, Replica::of(&server).await, Replica::of(&server).await];
    let rate = Rate::new(10, Duration::from_hours(1));
    let replicas = &replicas;
    let asked = (0..60).map(async |n| replicas[n % 3].take(&[("burst", rate)], START + i64::try_from(n).expect("small")).await);
    let taken = futures_util::future::join_all(asked).await;
    assert_eq!(taken.iter().filter(|taken| taken[0].allowed).count(), 10);
}
