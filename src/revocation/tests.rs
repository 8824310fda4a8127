//! The promises of [`Revocations`], with a set and a log that fail on command.

mod mirror;

use std::sync::Mutex;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::*;
use crate::clock::ManualClock;
use crate::identity::session::SessionId;
use crate::store::memory::MemorySet;
use crate::store::{Covers, RebuildTicket};

const DEADLINE: Duration = Duration::from_millis(5);

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("an instant")
}

fn token(jti: &str) -> TokenFacts {
    TokenFacts {
        issuer: "https://id.example".into(),
        jti: jti.into(),
        session: SessionId(Uuid::from_u128(1)),
        subject: "ada".into(),
        issued_at: now(),
        expires_at: now() + Duration::from_secs(900),
    }
}

fn record(jti: &str) -> Revocation {
    Revocation { covers: Covers::Token(jti.into()), expires_at: now() + Duration::from_secs(900) }
}

/// How the set behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    Well,
    Failing,
    Silent,
}

struct MoodySet {
    memory: Arc<MemorySet>,
    mood: Mutex<Mood>,
}

impl MoodySet {
    fn new() -> Arc<Self> {
        Arc::new(Self { memory: MemorySet::new(), mood: Mutex::new(Mood::Well) })
    }

    fn becomes(&self, mood: Mood) {
        *self.mood.lock().expect("no test panics with it") = mood;
    }

    async fn answer(&self) -> Result<(), StoreError> {
        let mood = *self.mood.lock().expect("no test panics with it");
        match mood {
            Mood::Well => Ok(()),
            Mood::Failing => Err(StoreError::Unavailable { store: "redis", source: "refused".into() }),
            Mood::Silent => std::future::pending().await,
        }
    }
}

#[async_trait]
impl RevokedSet for MoodySet {
    async fn lookup(&self, token: &TokenFacts) -> Result<Option<RevokedBy>, StoreError> {
        self.answer().await?;
        self.memory.lookup(token).await
    }
    async fn publish(&self, revocations: &[Revocation], now: Timestamp) -> Result<(), StoreError> {
        self.answer().await?;
        self.memory.publish(revocations, now).await
    }
    async fn begin_rebuild(&self) -> Result<RebuildTicket, StoreError> {
        self.answer().await?;
        self.memory.begin_rebuild().await
    }
    async fn finish_rebuild(&self, ticket: RebuildTicket) -> Result<(), StoreError> {
        self.answer().await?;
        self.memory.finish_rebuild(ticket).await
    }
    async fn needs_rebuild(&self) {
        self.memory.needs_rebuild().await;
    }
}

#[derive(Default)]
struct ListedLog(Mutex<Vec<Revocation>>);

#[async_trait]
impl RevocationLog for ListedLog {
    async fn record(&self, revocations: &[Revocation]) -> Result<(), StoreError> {
        self.0.lock().expect("no test panics with it").extend_from_slice(revocations);
        Ok(())
    }
    async fn unexpired(&self, _: Timestamp, after: i64, limit: u32) -> Result<Vec<(i64, Revocation)>, StoreError> {
        let records = self.0.lock().expect("no test panics with it");
        let numbered = (1..).zip(records.iter().cloned());
        Ok(numbered.filter(|(number, _)| *number > after).take(limit as usize).collect())
    }
    async fn purge(&self, _: Timestamp, _: u32) -> Result<u64, StoreError> {
        Ok(0)
    }
}

struct Bench {
    set: Arc<MoodySet>,
    log: Arc<ListedLog>,
    revocations: Arc<Revocations>,
    stop: CancellationToken,
}

impl Bench {
    fn new() -> Self {
        let (set, log) = (MoodySet::new(), Arc::new(ListedLog::default()));
        let clock = Arc::new(ManualClock::at(now()));
        let revocations = Revocations::new(set.clone(), log.clone(), DEADLINE, clock, Mode::Strict);
        Self { set, log, revocations: Arc::new(revocations), stop: CancellationToken::new() }
    }

    fn maintain(&self) {
        tokio::spawn(Arc::clone(&self.revocations).maintain(self.stop.clone()));
    }

    async fn until(&self, done: impl Fn(&Revocations) -> bool) {
        let wait = async {
            while !done(&self.revocations) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("the upkeep comes to it");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn nothing_is_live_before_the_set_was_loaded() {
    let bench = Bench::new();
    assert!(bench.revocations.ready().is_err());
    assert_eq!(bench.revocations.check(&token("a")).await, Verdict::Unknown(UnknownWhy::Rebuilding));
    bench.maintain();
    bench.until(|revocations| revocations.ready().is_ok()).await;
    assert_eq!(bench.revocations.check(&token("a")).await, Verdict::Live);
}

#[tokio::test]
async fn what_sql_remembers_is_revoked_after_a_start() {
    let bench = Bench::new();
    bench.log.record(&[record("a")]).await.expect("the log is a list");
    bench.maintain();
    bench.until(|revocations| revocations.ready().is_ok()).await;
    assert_eq!(bench.revocations.check(&token("a")).await, Verdict::Revoked(RevokedBy::Token));
    assert_eq!(bench.revocations.check(&token("b")).await, Verdict::Live);
}

#[tokio::test]
async fn a_set_that_fails_or_hangs_makes_the_answer_unknown() {
    let bench = Bench::new();
    bench.maintain();
    bench.until(|revocations| revocations.ready().is_ok()).await;
    bench.set.becomes(Mood::Failing);
    assert_eq!(bench.revocations.check(&token("a")).await, Verdict::Unknown(UnknownWhy::Unavailable));
    bench.set.becomes(Mood::Silent);
    assert_eq!(bench.revocations.check(&token("a")).await, Verdict::Unknown(UnknownWhy::Deadline));
    bench.set.becomes(Mood::Well);
    assert_eq!(bench.revocations.check(&token("a")).await, Verdict::Live);
}

#[tokio::test]
async fn a_revocation_that_could_not_be_published_is_in_force_here_and_retried() {
    let bench = Bench::new();
    bench.maintain();
    bench.until(|revocations| revocations.ready().is_ok()).await;
    bench.set.becomes(Mood::Failing);
    assert!(bench.revocations.publish(&[record("a")]).await.is_err());
    assert_eq!(bench.revocations.check(&token("a")).await, Verdict::Revoked(RevokedBy::Token));
    assert_eq!(bench.revocations.pending_publications(), 1);
    bench.set.becomes(Mood::Well);
    bench.until(|revocations| revocations.pending_publications() == 0).await;
    assert_eq!(bench.set.lookup(&token("a")).await.expect("the set is well"), Some(RevokedBy::Token));
}

#[tokio::test]
async fn a_publication_whose_caller_went_away_is_finished() {
    let bench = Bench::new();
    bench.maintain();
    bench.until(|revocations| revocations.ready().is_ok()).await;
    bench.set.becomes(Mood::Silent);
    let gone = tokio::time::timeout(DEADLINE, bench.revocations.publish(&[record("a")])).await;
    assert!(gone.is_err(), "the caller gave up");
    assert_eq!(bench.revocations.check(&token("a")).await, Verdict::Revoked(RevokedBy::Token));
}

#[tokio::test]
async fn too_many_unpublished_revocations_end_in_a_rebuild() {
    let bench = Bench::new();
    bench.maintain();
    bench.until(|revocations| revocations.ready().is_ok()).await;
    bench.set.becomes(Mood::Failing);
    let records: Vec<_> = (0..2000).map(|number| record(&number.to_string())).collect();
    bench.log.record(&records).await.expect("the log is a list");
    assert!(bench.revocations.publish(&records).await.is_err());
    assert!(bench.revocations.ready().is_err());
    bench.set.becomes(Mood::Well);
    bench.until(|revocations| revocations.ready().is_ok()).await;
    assert_eq!(bench.revocations.check(&token("1999")).await, Verdict::Revoked(RevokedBy::Token));
}
