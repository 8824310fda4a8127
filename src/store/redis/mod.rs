//! The revoked set in Redis, shared by all replicas and asked on every proxied request.
//!
//! Redis is a fast copy of what SQL remembers, and it may lose it: by a restart, a `FLUSHALL`, an eviction, or a
//! failover that drops acknowledged writes. So the set carries an *epoch*, a key that is written last when the set
//! is complete and that names the lineage of the data set it is complete in (see `link`). It is read in the same
//! `MGET` as the records; if it is missing, not the one that this process has seen completed, or of another
//! lineage, then "no record" means "not known".
//!
//! Where the primary is found by sentinels or in a cluster, and what a failover could otherwise undo, is in `place`.
//!
//! What is published is appended to the feed (see `feed`) by the script that writes it, in the same step.
//!
//! Needs Redis 6 or later (the feed: 7) as a primary without eviction; which commands, is in docs/revocation.md as a rule
//! of an access control list, and tested with it.

mod counters;
mod failure;
mod feed;
mod feed_format;
mod keys;
mod link;
mod lookup;
mod named;
mod place;
mod rates;
mod scripts;
mod servers;
mod slots;
mod witness;

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

pub use self::counters::RedisCounters;
use self::failure::{Failure, STORE};
pub use self::feed::RedisFeed;
use self::keys::{IssuerHashes, TokenKeys};
use self::link::{Link, State};
use self::lookup::{Ask, Lane};
pub use self::place::RedisPlace;
pub use self::rates::RedisRates;
use self::scripts::{FINISH, RAISE};
pub use self::servers::{RedisLayout, RedisLogin, RedisServers, RedisTls};
use super::{Probe, RebuildTicket, Revocation, RevokedBy, RevokedSet, StoreError};
use crate::clock::Clock;
use crate::identity::TokenFacts;
use crate::telemetry::metrics::Metrics;

/// Records per script call: a millisecond or two of the server's time.
const RECORDS_PER_CALL: usize = 500;
/// How long a record lives in Redis that seems to have expired before it was published; as long as SQL keeps it beyond its end.
const STEPPED_MS: i64 = 3_600_000;
/// How long a rebuild may take before its mark is forgotten and it has to begin again.
const LOADING_SECS: u64 = 3600;

/// The revoked set in Redis.
pub struct RedisSet {
    shared: Arc<Shared>,
    /// Which way look-ups go now.
    lane: Arc<ArcSwap<Lane>>,
    /// The connection for publications: its own where replicas have to acknowledge them.
    publishing: watch::Receiver<State>,
    acks_min: usize,
    issuers: IssuerHashes,
    stop: CancellationToken,
    /// Ends the tasks that keep the connections.
    _stop: DropGuard,
}

/// Without what changes all the time.
impl std::fmt::Debug for RedisSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisSet").field("shared", &self.shared).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Shared {
    place: Arc<RedisPlace>,
    prefix: String,
    epoch_key: String,
    feed_key: String,
    state: watch::Receiver<State>,
    watch: Stopwatch,
    /// The epoch that this process has seen completed; none while the set is not known to be complete.
    epoch: watch::Sender<Option<Epoch>>,
}

/// Measures round trips of look-ups.
#[derive(Clone)]
pub struct Stopwatch {
    /// Where durations come from.
    pub clock: Arc<dyn Clock>,
    /// Where they go.
    pub metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Stopwatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stopwatch")
    }
}

/// Which of the records that are written are appended to the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Announce {
    All,
    News,
}

/// `<id>:<lineage>`, as it stands in Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Epoch(String);

impl Epoch {
    fn lineage(&self) -> &str {
        self.0.rsplit_once(':').map_or("", |(_, lineage)| lineage)
    }

    /// Whether a server of `lineage` that answers `found` still holds the set that was completed.
    fn is_shown_by(&self, found: Option<&[u8]>, lineage: &str) -> bool {
        found == Some(self.0.as_bytes()) && self.lineage() == lineage
    }
}

impl Shared {
    fn link(&self) -> Result<Arc<Link>, Failure> {
        self.state.borrow().link()
    }

    /// Notes that the set is no longer complete, unless a rebuild has declared another epoch meanwhile.
    fn lose(&self, expected: Option<&Epoch>) {
        self.epoch.send_if_modified(|epoch| {
            let lost = epoch.is_some() && epoch.as_ref() == expected;
            if lost {
                tracing::warn!("redis has lost the revoked set: protected routes are refused until it is rebuilt");
                *epoch = None;
            }
            lost
        });
    }
}

/// The connection after the first attempt to make one: a process that was started a moment ago, such as one command, must
/// not fail for not having waited. Not for look-ups.
async fn first_link(state: &watch::Receiver<State>) -> Result<Arc<Link>, Failure> {
    let mut state = state.clone();
    let tried = state.wait_for(|state| !matches!(state, State::Connecting)).await;
    tried.map_err(|_| Failure::Stopping)?.link()
}

impl RedisSet {
    /// The set at `place`, its keys preceded by `prefix`. Connects in the background, and again whenever the connection is
    /// lost: Redis need not be there yet. Must be called within a Tokio runtime, which has to outlive the set.
    #[must_use]
    pub fn new(place: &Arc<RedisPlace>, prefix: &str, watch: Stopwatch) -> Self {
        let (state, seen) = watch::channel(State::Connecting);
        let shared = Arc::new(Shared {
            place: Arc::clone(place),
            prefix: prefix.to_owned(),
            epoch_key: keys::epoch(prefix),
            feed_key: keys::feed(prefix),
            state: seen,
            watch,
            epoch: watch::Sender::new(None),
        });
        let stop = CancellationToken::new();
        tokio::spawn(Arc::clone(place).watch(stop.clone()));
        tokio::spawn(link::keep(Arc::clone(place), state, stop.clone()));
        let lane = Arc::new(ArcSwap::from_pointee(Lane::open(shared.state.clone(), Arc::clone(&shared))));
        let (publishing, issuers) = (shared.state.clone(), IssuerHashes::default());
        Self { shared, lane, publishing, acks_min: 0, issuers, stop: stop.clone(), _stop: stop.drop_guard() }
    }

    /// Counts nothing as published that fewer replicas than this have. Same as [`Self::new`] about the runtime.
    #[must_use]
    pub fn acknowledged_by(self, acks_min: usize) -> Self {
        if acks_min == 0 {
            return self;
        }
        // Whoever waits for replicas holds up what comes after it on the same connection.
        let (state, publishing) = watch::channel(State::Connecting);
        tokio::spawn(link::keep(Arc::clone(&self.shared.place), state, self.stop.clone()));
        Self { publishing, acks_min, ..self }
    }

    async fn raise(&self, records: &[Revocation], now: Timestamp, announce: Announce) -> Result<(), Failure> {
        let (mut keys, mut arguments) = (Vec::new(), Vec::new());
        for record in records {
            let mut life = keys::millis_up(record.expires_at) - now.as_millisecond();
            if announce == Announce::All && life < 1 {
                // Somebody is about to be told that it is done: the clock was set forward since the record was made.
                life = STEPPED_MS;
            }
            // What has expired covers nothing that is valid.
            if let Ok(life_ms @ 1..) = u64::try_from(life) {
                let (key, value) = keys::record(&self.shared.prefix, &record.covers);
                keys.push(key);
                arguments.extend([value.to_string(), life.to_string(), feed_format::write(&record.covers, life_ms)]);
            }
        }
        if keys.is_empty() {
            return Ok(());
        }
        let link = match announce {
            Announce::All => first_link(&self.publishing).await?,
            Announce::News => first_link(&self.shared.state).await?,
        };
        let expected = self.shared.epoch.borrow().clone();
        let mut command = redis::cmd("EVAL");
        command.arg(RAISE).arg(2 + keys.len()).arg(&self.shared.feed_key).arg(&self.shared.epoch_key).arg(&keys);
        command.arg(if announce == Announce::All { "all" } else { "news" }).arg(feed::ENTRIES_MAX).arg(&arguments);
        let epoch: Option<String> = link.run(&command).await?;
        match announce {
            Announce::All => self.in_force(&link, epoch.map(Epoch), expected).await,
            Announce::News => Ok(()),
        }
    }

    /// Whether what was written over `link`, under `epoch`, is in force wherever it may be looked up, and stays so.
    async fn in_force(&self, link: &Link, epoch: Option<Epoch>, expected: Option<Epoch>) -> Result<(), Failure> {
        let replicated = async { if self.acks_min == 0 { Ok(()) } else { link.replicated(self.acks_min).await } };
        tokio::try_join!(replicated, self.shared.place.confirm(link.address.as_ref()))?;
        // Before the set is complete there, others may be let in on the word of an earlier primary.
        if self.shared.place.is_elected() && epoch.is_none_or(|epoch| epoch.lineage() != link.lineage) {
            self.shared.lose(expected.as_ref());
            return Err(Failure::Incomplete);
        }
        Ok(())
    }

    async fn begin(&self) -> Result<RebuildTicket, Failure> {
        let link = first_link(&self.shared.state).await?;
        link.inspect().await?;
        let rebuild = Uuid::new_v4();
        let key = keys::loading(&self.shared.prefix, &rebuild.to_string());
        link.run::<()>(redis::cmd("SET").arg(key).arg(1).arg("EX").arg(LOADING_SECS)).await?;
        Ok(RebuildTicket(format!("{rebuild}:{}", link.lineage)))
    }

    async fn finish(&self, ticket: &RebuildTicket) -> Result<(), Failure> {
        let (rebuild, lineage) = ticket.0.split_once(':').ok_or(Failure::Incomplete)?;
        let link = self.shared.link()?;
        let held: Option<String> = link.run(redis::cmd("GET").arg(&self.shared.epoch_key)).await?;
        if held.is_none_or(|held| Epoch(held).lineage() != lineage) {
            self.shared.place.settled(link.address.as_ref()).await?;
        }
        // Asked once more, so that records which went to a server demoted meanwhile are not declared complete.
        link.inspect().await?;
        if link.lineage != lineage {
            return Err(Failure::Incomplete);
        }
        let mut command = redis::cmd("EVAL");
        command.arg(FINISH).arg(2).arg(keys::loading(&self.shared.prefix, rebuild)).arg(&self.shared.epoch_key);
        command.arg(rebuild).arg(format!(":{lineage}"));
        let epoch: Option<String> = link.run(&command).await?;
        self.shared.epoch.send_replace(Some(Epoch(epoch.ok_or(Failure::Incomplete)?)));
        Ok(())
    }
}

#[async_trait]
impl RevokedSet for RedisSet {
    async fn lookup(&self, token: &TokenFacts) -> Result<Option<RevokedBy>, StoreError> {
        let (answer, answered) = oneshot::channel();
        let keys = TokenKeys::of(&self.shared.prefix, &self.issuers, token);
        self.lane.load().ask(Ask { keys, issued_at: token.issued_at, answer })?;
        Ok(answered.await.map_err(|_| Failure::Stopping)??)
    }

    async fn probe_completeness(&self) -> Result<(), StoreError> {
        let lane = self.lane.load_full();
        Ok(lane.probe(&self.shared).await?)
    }

    async fn publish(&self, revocations: &[Revocation], now: Timestamp) -> Result<(), StoreError> {
        for records in revocations.chunks(RECORDS_PER_CALL) {
            self.raise(records, now, Announce::All).await?;
        }
        Ok(())
    }

    async fn restore(&self, revocations: &[Revocation], now: Timestamp) -> Result<(), StoreError> {
        for records in revocations.chunks(RECORDS_PER_CALL) {
            self.raise(records, now, Announce::News).await?;
        }
        Ok(())
    }

    async fn begin_rebuild(&self) -> Result<RebuildTicket, StoreError> {
        Ok(self.begin().await?)
    }

    async fn finish_rebuild(&self, ticket: RebuildTicket) -> Result<(), StoreError> {
        Ok(self.finish(&ticket).await?)
    }

    fn serve_here(&self) {
        let (state, seen) = watch::channel(State::Connecting);
        tokio::spawn(link::keep(Arc::clone(&self.shared.place), state, self.stop.clone()));
        let (lane, shared) = (Arc::clone(&self.lane), Arc::clone(&self.shared));
        tokio::spawn(async move {
            // The way that there was is good until this one is.
            if seen.clone().wait_for(|state| matches!(state, State::Up(_))).await.is_ok() {
                lane.store(Arc::new(Lane::open(seen, shared)));
            }
        });
    }

    async fn needs_rebuild(&self) {
        let mut epoch = self.shared.epoch.subscribe();
        epoch.wait_for(Option::is_none).await.map(drop).expect("the sender lives as long as the set");
    }
}

#[async_trait]
impl Probe for RedisSet {
    fn name(&self) -> &'static str {
        STORE
    }

    async fn probe(&self) -> Result<(), StoreError> {
        Ok(self.shared.link()?.run::<()>(&redis::cmd("PING")).await?)
    }
}
