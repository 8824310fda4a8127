//! Rate limits of routes: whose bucket, and where it is kept.
//!
//! In this process' memory, or in Redis where a limit asks to be shared. While Redis does not answer within its deadline, a
//! shared limit is kept by each replica alone: an outage neither stops everybody nor lets everybody through.

use std::collections::HashMap;
use std::error::Error;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_lc_rs::digest;

use crate::clock::Clock;
use crate::identity::Caller;
use crate::limit::attempts::Network;
use crate::limit::rate::{Rate, Taken};
use crate::policy::filters::{Per, RateLimit};
use crate::policy::route::Route;
use crate::store::SharedRates;

/// Locks that buckets are spread over: requests of different callers seldom wait for each other.
const SHARDS: usize = 64;
/// Buckets in each: about 10 MB in all.
const BUCKETS_MAX: usize = 4096;
/// What newcomers share in each when there is no room.
const SHARED_BUCKETS: u64 = 64;
/// A full shard is searched for full buckets at most this often.
const SWEEP_EVERY_MICROS: i64 = 1_000_000;

/// The buckets of all routes.
pub struct RateLimiter {
    local: Buckets,
    shared: Option<Arc<dyn SharedRates>>,
    deadline: Duration,
    clock: Arc<dyn Clock>,
    /// The outage has been reported.
    degraded: AtomicBool,
}

/// When in the life of a request a limit is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known<'a> {
    /// Before anything is verified: limits of routes and networks.
    Address(IpAddr),
    /// Afterwards: limits of callers.
    Caller(Option<&'a Caller>, IpAddr),
}

/// What became of a request at one limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    /// What the limit is called.
    pub name: Box<str>,
    /// Its quota and its window in seconds.
    pub policy: (u32, u64),
    /// What became of the request.
    pub taken: Taken,
}

/// Who a bucket is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Owner<'a> {
    Everybody,
    Network(Network),
    Caller(&'a str, &'a str),
}

impl RateLimiter {
    /// Limits that count in memory, and in `shared` where they ask for it; it may take as long as `deadline`.
    #[must_use]
    pub fn new(shared: Option<Arc<dyn SharedRates>>, deadline: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { local: Buckets::default(), shared, deadline, clock, degraded: AtomicBool::new(false) }
    }

    /// Takes one request out of every bucket of `limits` that can be told now. One that is not allowed by some has taken
    /// nothing from those that were asked together.
    pub async fn take(&self, route: &Route, limits: &[RateLimit], known: Known<'_>) -> Vec<Spent> {
        let asked = |limit: &&RateLimit| matches!(known, Known::Caller(..)) == (limit.per == Per::Caller);
        let asked: Vec<_> = limits.iter().filter(asked).map(|limit| (limit, owner(limit.per, known))).collect();
        if asked.is_empty() {
            return Vec::new();
        }
        let now = self.clock.now().as_microsecond();
        let (shared, local): (Vec<_>, Vec<_>) = asked.into_iter().partition(|(limit, _)| limit.shared);
        // Those in memory first: what they refuse costs no round trip.
        let mut spent = self.take_here(route, &local, now);
        if !shared.is_empty() && spent.iter().all(|spent| spent.taken.allowed) {
            spent.extend(self.take_together(route, &shared, now).await);
        }
        spent
    }

    fn take_here(&self, route: &Route, limits: &[(&RateLimit, Owner<'_>)], now: i64) -> Vec<Spent> {
        let buckets: Vec<_> =
            limits.iter().map(|(limit, owner)| (self.local.key(&(&route.name, &limit.name, owner)), rate(limit))).collect();
        let taken = self.local.take(&buckets, now);
        std::iter::zip(limits, taken).map(|((limit, _), taken)| Spent::of(limit, taken)).collect()
    }

    async fn take_together(&self, route: &Route, limits: &[(&RateLimit, Owner<'_>)], now: i64) -> Vec<Spent> {
        let Some(shared) = &self.shared else { return self.take_here(route, limits, now) };
        let buckets: Vec<_> = limits.iter().map(|(limit, owner)| (shared_key(route, limit, owner), rate(limit))).collect();
        let failure: Box<dyn Error> = match tokio::time::timeout(self.deadline, shared.take(&buckets, now)).await {
            Ok(Ok(taken)) => {
                self.degraded.store(false, Ordering::Relaxed);
                return std::iter::zip(limits, taken).map(|((limit, _), taken)| Spent::of(limit, taken)).collect();
            }
            Ok(Err(error)) => error.into(),
            Err(elapsed) => elapsed.into(),
        };
        // One line per outage.
        if !self.degraded.swap(true, Ordering::Relaxed) {
            tracing::warn!(error = &*failure, "rate limits are kept by this process alone until redis answers");
        }
        self.take_here(route, limits, now)
    }
}

impl Spent {
    fn of(limit: &RateLimit, taken: Taken) -> Self {
        Self { name: limit.name.clone(), policy: (limit.quota, limit.window.as_secs()), taken }
    }
}

fn rate(limit: &RateLimit) -> Rate {
    Rate::new(limit.quota, limit.window)
}

fn owner(per: Per, known: Known<'_>) -> Owner<'_> {
    match (per, known) {
        (Per::Route, _) => Owner::Everybody,
        (Per::Caller, Known::Caller(Some(caller), _)) => Owner::Caller(&caller.principal.issuer, &caller.principal.subject),
        (_, Known::Address(address) | Known::Caller(_, address)) => Owner::Network(Network::of(address)),
    }
}

/// A bucket's key among replicas: 128 bits of SHA-256, as names are of any length and bytes.
fn shared_key(route: &Route, limit: &RateLimit, owner: &Owner<'_>) -> String {
    let (kind, first, second) = match owner {
        Owner::Everybody => ("route", String::new(), ""),
        Owner::Network(network) => ("network", network.to_string(), ""),
        Owner::Caller(issuer, subject) => ("caller", (*issuer).to_owned(), *subject),
    };
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [&route.name, &limit.name, kind, &first, second] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    context.finish().as_ref()[..16].iter().fold(String::with_capacity(32), |mut text, byte| {
        use std::fmt::Write as _;
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}

/// Buckets in memory. Bounded: when there is no room, newcomers share a few, which may refuse somebody who did nothing and
/// never opens a door.
struct Buckets {
    shards: [Mutex<Shard>; SHARDS],
    /// Keyed anew by each process: nobody can choose whom to share a bucket with.
    hasher: RandomState,
}

#[derive(Default)]
struct Shard {
    /// When each will be full again.
    full_at: HashMap<u64, i64>,
    swept_at: i64,
}

impl Default for Buckets {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }
}

impl Buckets {
    fn key(&self, of: &impl Hash) -> u64 {
        self.hasher.hash_one(of)
    }

    /// Takes one out of every bucket, or out of none.
    fn take(&self, buckets: &[(u64, Rate)], now: i64) -> Vec<Taken> {
        let mut taken: Vec<Taken> = buckets.iter().map(|(key, rate)| self.take_one(*key, *rate, now)).collect();
        if !taken.iter().all(|taken| taken.allowed) {
            for ((key, rate), taken) in std::iter::zip(buckets, &mut taken).filter(|(_, taken)| taken.allowed) {
                self.give_back(*key, *rate, now);
                *taken = rate.taken(true, taken.full_at_micros - rate.each_micros, now);
            }
        }
        taken
    }

    fn take_one(&self, key: u64, rate: Rate, now: i64) -> Taken {
        let mut shard = self.shard(key);
        let key = shard.place(key, now);
        let taken = rate.take(shard.full_at.get(&key).copied(), now);
        shard.full_at.insert(key, taken.full_at_micros);
        taken
    }

    fn give_back(&self, key: u64, rate: Rate, now: i64) {
        let mut shard = self.shard(key);
        let key = shard.place(key, now);
        if let Some(full_at) = shard.full_at.get_mut(&key) {
            *full_at -= rate.each_micros;
        }
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, Shard> {
        // The high bits choose the shard, the low ones a shared bucket.
        let shard = &self.shards[(key >> 32) as usize % SHARDS];
        shard.lock().expect("nobody panics while holding a shard")
    }
}

impl Shard {
    /// Where a bucket is kept: under its own key, or under one that it shares.
    fn place(&mut self, key: u64, now: i64) -> u64 {
        if self.full_at.len() < BUCKETS_MAX || self.full_at.contains_key(&key) {
            return key;
        }
        if (now - self.swept_at).abs() >= SWEEP_EVERY_MICROS {
            self.swept_at = now;
            self.full_at.retain(|_, full_at| *full_at > now);
            if self.full_at.len() < BUCKETS_MAX {
                return key;
            }
        }
        key % SHARED_BUCKETS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_790_000_000_000_000;

    #[test]
    fn what_one_bucket_refuses_is_taken_from_none() {
        let buckets = Buckets::default();
        let (narrow, wide) = (Rate::new(1, Duration::from_secs(60)), Rate::new(5, Duration::from_secs(60)));
        let asked = [(1, wide), (2, narrow)];
        let first = buckets.take(&asked, START);
        assert!(first.iter().all(|taken| taken.allowed));
        for _ in 0..3 {
            let refused = buckets.take(&asked, START);
            assert_eq!(refused.iter().map(|taken| (taken.allowed, taken.remaining)).collect::<Vec<_>>(), [(true, 4), (false, 0)]);
        }
        assert_eq!(buckets.take(&asked[..1], START)[0].remaining, 3);
    }

    #[test]
    fn full_shards_make_newcomers_share_and_recover_when_buckets_are_full_again() {
        let mut shard = Shard::default();
        for key in 0..BUCKETS_MAX as u64 {
            let place = shard.place(key + 1_000, START);
            shard.full_at.insert(place, START + 1);
        }
        assert_eq!(shard.place(1_000, START), 1_000, "nobody is forgotten");
        assert!(shard.place(999_999, START) < SHARED_BUCKETS);
        assert_eq!(shard.place(999_999, START + SWEEP_EVERY_MICROS + 1), 999_999);
        assert!(shard.full_at.is_empty());
    }

    #[test]
    fn parallel_requests_cannot_all_take_the_last_one() {
        // Case 159: a burst on one counter.
        let (buckets, rate) = (Buckets::default(), Rate::new(10, Duration::from_secs(3600)));
        let passed: usize = std::thread::scope(|scope| {
            let burst: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| (0..50).filter(|_| buckets.take(&[(7, rate)], START)[0].allowed).count()))
                .collect();
            burst.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(passed, 10);
    }
}
