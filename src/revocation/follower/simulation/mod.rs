//! The promise of mirror mode under everything that can go wrong, in a world that can be run again: replicas that follow,
//! publish, rebuild and answer; a Redis that stalls, dies, forgets, fails over to older data and loses entries of its
//! feed; a network that delays and loses; clocks that step. Thousands of worlds, each from a number.
//!
//! The oracle is the promise: no request is let in that began later than the bound after the acknowledgement of its
//! token's end; if Redis answered it, than the acknowledgement itself. And in the end, when nothing goes wrong any more,
//! every replica recovers.

mod model;
mod network;
mod world;

use std::collections::BTreeMap;

use world::{SECOND, World};

const REPLICAS: usize = 3;
/// How long things go wrong, and how long they may take to recover.
const TROUBLE: u64 = 5 * SECOND;
const RECOVERY: u64 = 4 * SECOND;
const SEEDS: u64 = 2000;

/// What was seen in a run, or in many.
#[derive(Debug, Default)]
struct Tally {
    let_in_by_mirror: u64,
    let_in_by_redis: u64,
    refused: u64,
    unknown: u64,
    gaps: BTreeMap<String, u64>,
}

/// A follower that is less careful in one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weakness {
    /// Counts freshness from when the answer came.
    FreshFromReceipt,
    /// Does not count entries.
    GapsUnseen,
    /// Reads SQL before it notes the place of the feed.
    SqlBeforeNote,
    /// Believes its clock about what has expired.
    TrustsItsClock,
}

fn run(seed: u64, weakness: Option<Weakness>) -> Result<Tally, String> {
    World::new(seed, REPLICAS, TROUBLE, weakness).run(TROUBLE + RECOVERY)
}

#[test]
fn no_request_is_let_in_later_than_the_bound_after_an_acknowledged_end() {
    let half = |seeds: std::ops::Range<u64>| {
        let mut sum = Tally::default();
        for seed in seeds {
            let tally = run(seed, None).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
            sum.let_in_by_mirror += tally.let_in_by_mirror;
            sum.let_in_by_redis += tally.let_in_by_redis;
            sum.refused += tally.refused;
            sum.unknown += tally.unknown;
            for (gap, count) in tally.gaps {
                *sum.gaps.entry(gap).or_insert(0) += count;
            }
        }
        sum
    };
    std::thread::scope(|scope| {
        for seeds in [0..SEEDS / 2, SEEDS / 2..SEEDS] {
            scope.spawn(move || {
                let seen = half(seeds);
                // The worlds are judged, too: all of this happened in them.
                let often = [seen.let_in_by_mirror, seen.let_in_by_redis, seen.refused, seen.unknown];
                assert!(often.iter().all(|count| *count > 1000), "{seen:?}");
                assert_eq!(seen.gaps.keys().collect::<Vec<_>>(), ["Dataset", "Rewound", "Trimmed"], "{seen:?}");
            });
        }
    });
}

/// Whoever leaves one of the rules out is found out: the worlds are hostile enough.
#[test]
fn each_rule_is_needed() {
    for weakness in [Weakness::FreshFromReceipt, Weakness::GapsUnseen, Weakness::SqlBeforeNote, Weakness::TrustsItsClock] {
        let noticed = (0..SEEDS).any(|seed| run(seed, Some(weakness)).is_err_and(|broken| broken.contains("was let in")));
        assert!(noticed, "{weakness:?} was never noticed");
    }
}
