//! The revoked set in Redis, shared by all replicas and asked on every proxied request.
//!
//! Redis is a fast copy of what SQL remembers, and it may lose it: by a restart, a `FLUSHALL`, an eviction, or a
//! failover that drops acknowledged writes. So the set carries an *epoch*, a key that is written last when the set
//! is complete and that names the lineage of the data set it is complete in (see `link`). It is read in the same
//! `MGET` as the records; if it is missing, not the one that this process has seen completed, or of another
//! lineage, then "no record" means "not known".
//!
//! What is published is appended to the feed (see `feed`) by the script that writes it, in the same step.
//!
//! Needs Redis 6 or later (the feed: 7) as a primary without eviction, and the commands `MGET`, `SET`, `EVAL` and `INFO`
//! (inside scripts also `GET`, `DEL`, `EXISTS`, `PTTL`, `PEXPIRE`, `XADD`, `HGET`, `HGETALL`, `HDEL`, `HINCRBY`).

mod counters;
mod failure;
mod feed;
mod feed_format;
mod keys;
mod link;
mod lookup;
mod rates;

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

pub use self::counters::RedisCounters;
use self::failure::{Failure, STORE};
pub use self::feed::RedisFeed;
use self::keys::{IssuerHashes, TokenKeys};
use self::link::{Link, State};
use self::lookup::{Ask, Lane};
pub use self::rates::RedisRates;
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

/// Writes records so that each only ever grows: the instant never moves back, the expiry never comes nearer, and a
/// key that another program set without expiry keeps none. Repeating it changes nothing. Lua, because reading and
/// writing must be one step, and `EXPIRE … GT` exists only since Redis 7.
///
/// KEYS: the feed, the epoch, then the records. ARGV: which of them to announce, how many entries the feed keeps, and
/// for each record its value, its life and what the feed is to say of it. What somebody waits for is announced always:
/// that its key is there already does not mean that it was announced. A rebuild announces what is news, and nothing
/// while there is no epoch: nobody follows a feed without one, and whoever begins to follow it reads SQL afterwards.
const RAISE: &str = r"
local epoch, entry = redis.call('EXISTS', KEYS[2]) == 1, {}
for i = 3, #KEYS do
  local at = 3 * (i - 2)
  local key, value, life = KEYS[i], ARGV[at], tonumber(ARGV[at + 1])
  local held, left = redis.call('GET', key), redis.call('PTTL', key)
  local news = not held or (tonumber(held) or 0) < tonumber(value) or (left >= 0 and left + 60000 < life)
  if ARGV[1] == 'all' or (news and epoch) then
    table.insert(entry, 'r')
    table.insert(entry, ARGV[at + 2])
  end
  if held and (tonumber(held) or 0) > tonumber(value) then value = held end
  if held and left == -1 then
    redis.call('SET', key, value)
  else
    redis.call('SET', key, value, 'PX', string.format('%d', math.max(left, life)))
  end
end
if #entry > 0 then redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', unpack(entry)) end
return #KEYS";

/// Declares the set complete, unless its contents were lost since the rebuild began: then the rebuild's mark is gone
/// too. An epoch of the same lineage that another replica declared meanwhile is kept, or replicas would disown each
/// other's for ever.
const FINISH: &str = r"
if redis.call('DEL', KEYS[1]) == 0 then return false end
local held = redis.call('GET', KEYS[2])
if held and string.sub(held, -#ARGV[2]) == ARGV[2] then return held end
redis.call('SET', KEYS[2], ARGV[1] .. ARGV[2])
return ARGV[1] .. ARGV[2]";

/// The revoked set in Redis.
pub struct RedisSet {
    shared: Arc<Shared>,
    /// Which way look-ups go now.
    lane: Arc<ArcSwap<Lane>>,
    client: redis::Client,
    issuers: IssuerHashes,
    stop: CancellationToken,
    /// Ends the tasks that keep the connections.
    _stop: DropGuard,
}

/// Without the client, which knows the password.
impl std::fmt::Debug for RedisSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisSet").field("shared", &self.shared).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Shared {
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

    /// The same, after the first attempt to connect: a process that was started a moment ago, such as one command,
    /// must not fail for not having waited. Not for look-ups.
    async fn first_link(&self) -> Result<Arc<Link>, Failure> {
        let mut state = self.state.clone();
        let tried = state.wait_for(|state| !matches!(state, State::Connecting)).await;
        tried.map_err(|_| Failure::Stopping)?.link()
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

impl RedisSet {
    /// A set behind `url` (`redis://` or `rediss://`), its keys preceded by `prefix`. Connects in the background, and
    /// again whenever the connection is lost: Redis need not be there yet. Must be called within a Tokio runtime,
    /// which has to outlive the set.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the URL is not one of Redis. The error does not hold the URL.
    pub fn new(url: &SecretString, prefix: &str, watch: Stopwatch) -> Result<Self, StoreError> {
        let client = redis::Client::open(url.expose_secret())
            .map_err(|error| StoreError::Corrupt { store: STORE, what: format!("the URL: {}", error.category()) })?;
        let (state, seen) = watch::channel(State::Connecting);
        let shared = Arc::new(Shared {
            prefix: prefix.to_owned(),
            epoch_key: keys::epoch(prefix),
            feed_key: keys::feed(prefix),
            state: seen,
            watch,
            epoch: watch::Sender::new(None),
        });
        let stop = CancellationToken::new();
        tokio::spawn(link::keep(client.clone(), state, stop.clone()));
        let lane = Arc::new(ArcSwap::from_pointee(Lane::open(shared.state.clone(), Arc::clone(&shared))));
        Ok(Self { shared, lane, client, issuers: IssuerHashes::default(), stop: stop.clone(), _stop: stop.drop_guard() })
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
        let link = self.shared.first_link().await?;
        let mut command = redis::cmd("EVAL");
        command.arg(RAISE).arg(2 + keys.len()).arg(&self.shared.feed_key).arg(&self.shared.epoch_key).arg(&keys);
        command.arg(if announce == Announce::All { "all" } else { "news" }).arg(feed::ENTRIES_MAX).arg(&arguments);
        link.run::<usize>(&command).await.map(drop)
    }

    async fn begin(&self) -> Result<RebuildTicket, Failure> {
        let link = self.shared.first_link().await?;
        link.inspect().await?;
        let rebuild = Uuid::new_v4();
        let key = keys::loading(&self.shared.prefix, &rebuild.to_string());
        link.run::<()>(redis::cmd("SET").arg(key).arg(1).arg("EX").arg(LOADING_SECS)).await?;
        Ok(RebuildTicket(format!("{rebuild}:{}", link.lineage)))
    }

    async fn finish(&self, ticket: &RebuildTicket) -> Result<(), Failure> {
        let (rebuild, lineage) = ticket.0.split_once(':').ok_or(Failure::Incomplete)?;
        let link = self.shared.link()?;
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
        tokio::spawn(link::keep(self.client.clone(), state, self.stop.clone()));
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
