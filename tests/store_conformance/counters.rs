//! Counters of attempts in Redis count as `limit::attempts` does: the same budgets, the same instants, in one step
//! among all replicas.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use portcullis::limit::attempts::{Budget, Slot, Window};
use portcullis::store::redis::{RedisCounters, RedisSet};
use portcullis::store::{AttemptCounters, Counted, Counters as _};

use super::services::Redis;
use super::{now, stopwatch};

const BUDGET: Budget = Budget { limit: 3, period: Duration::from_mins(15) };

/// Counters of one replica. The set keeps the connection.
struct Replica {
    counters: Arc<RedisCounters>,
    _set: RedisSet,
}

async fn replica(server: &Redis) -> Replica {
    let set = RedisSet::new(&crate::place(&server.url()), "test:", stopwatch());
    let counters = Arc::new(RedisCounters::beside(&set));
    let replica = Replica { counters, _set: set };
    let answers = || async { replica.counters.take(&attempt("warm-up"), now()).await.ok() };
    super::eventually("redis answers", answers).await;
    replica
}

fn attempt(key: &str) -> AttemptCounters {
    AttemptCounters { mark: None, strangers: vec![(key.to_owned(), BUDGET)], known: Vec::new() }
}

fn slots(counted: Counted) -> Vec<(String, Slot)> {
    match counted {
        Counted::Taken(slots) => slots,
        Counted::Spent { .. } => panic!("spent"),
    }
}

#[tokio::test]
async fn redis_counts_like_the_rule() {
    let server = Redis::start();
    let replica = replica(&server).await;
    let (mut window, mut at) = (Window::default(), now());
    let mut random: u64 = 7;
    let (mut allowed, mut refused) = (0, 0);
    for _ in 0..300 {
        // Any sequence will do; this one is the same every time.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        at += Duration::from_millis((random >> 33) % 400_000);
        let expected = window.spent(BUDGET, at.as_millisecond());
        match (replica.counters.take(&attempt("k"), at).await.expect("redis answers"), expected) {
            (Counted::Taken(taken), None) => {
                assert_eq!(taken, [("k".to_owned(), window.count(BUDGET, at.as_millisecond()))]);
                allowed += 1;
                if random.is_multiple_of(5) {
                    window.give_back(taken[0].1);
                    replica.counters.give_back(&taken, None, at).await.expect("redis answers");
                }
            }
            (Counted::Spent { key, retry_after }, Some(wait)) => {
                assert_eq!((key.as_str(), retry_after), ("k", wait));
                refused += 1;
            }
            (counted, expected) => panic!("{counted:?} where the rule says {expected:?}"),
        }
    }
    assert!(allowed > 50 && refused > 50, "{allowed} {refused}");
}

#[tokio::test]
async fn parallel_attempts_over_two_replicas_share_one_budget() {
    let server = Redis::start();
    let replicas = [replica(&server).await, replica(&server).await];
    let attempts: Vec<_> = (0..64)
        .map(|number| {
            let counters = Arc::clone(&replicas[number % 2].counters);
            tokio::spawn(async move { counters.take(&attempt("k"), now()).await.expect("redis answers") })
        })
        .collect();
    let mut taken = 0;
    for attempt in attempts {
        taken += usize::from(matches!(attempt.await.expect("no panic"), Counted::Taken(_)));
    }
    assert_eq!(taken, 3);
}

#[tokio::test]
async fn an_attempt_is_counted_against_all_of_its_budgets_or_none() {
    let server = Redis::start();
    let replica = replica(&server).await;
    let both = AttemptCounters { strangers: vec![("a".to_owned(), BUDGET), ("b".to_owned(), BUDGET)], ..attempt("") };
    for _ in 0..3 {
        replica.counters.take(&attempt("b"), now()).await.expect("redis answers");
    }
    for _ in 0..5 {
        let counted = replica.counters.take(&both, now()).await.expect("redis answers");
        assert!(matches!(counted, Counted::Spent { key, .. } if key == "b"));
    }
    assert!(matches!(replica.counters.take(&attempt("a"), now()).await, Ok(Counted::Taken(_))), "a was never counted");
}

#[tokio::test]
async fn a_mark_chooses_the_budgets_of_the_known_until_it_expires() {
    let server = Redis::start();
    let replica = replica(&server).await;
    let attempt = AttemptCounters {
        mark: Some("ada at home".to_owned()),
        strangers: vec![("strange".to_owned(), BUDGET)],
        known: vec![("known".to_owned(), BUDGET)],
    };
    let taken = slots(replica.counters.take(&attempt, now()).await.expect("redis answers"));
    assert_eq!(taken[0].0, "strange");
    let mark = Some(("ada at home", Duration::from_millis(300)));
    replica.counters.give_back(&taken, mark, now()).await.expect("redis answers");

    let taken = slots(replica.counters.take(&attempt, now()).await.expect("redis answers"));
    assert_eq!(taken[0].0, "known");
    let forgotten = || async {
        let counted = replica.counters.take(&attempt, now()).await.expect("redis answers");
        matches!(counted, Counted::Taken(taken) if taken[0].0 == "strange").then_some(())
    };
    // The known budget would refuse the fourth; a refusal is no stranger's.
    super::eventually("the mark expires", forgotten).await;
}

#[tokio::test]
async fn what_is_counted_leaves_redis_by_itself() {
    let server = Redis::start();
    let replica = replica(&server).await;
    let late: Timestamp = now() + Duration::from_secs(1);
    slots(replica.counters.take(&attempt("k"), late).await.expect("redis answers"));
    let left: i64 = server.command(&["PTTL", "test:attempts:k"]);
    assert!((900_000..=7 * 150_000).contains(&left), "{left}");
}

#[tokio::test]
async fn without_redis_it_is_an_error_at_once() {
    let mut server = Redis::start();
    let replica = replica(&server).await;
    server.kill();
    let refused = || async { replica.counters.take(&attempt("k"), now()).await.err() };
    super::eventually("the outage is noticed", refused).await;
}
