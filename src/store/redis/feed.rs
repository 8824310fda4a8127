//! The feed of revocations in Redis: a stream, to which the script that writes records appends what it wrote, in the same
//! step.
//!
//! That nothing is missing is asked in one step, too (`READ`): the epoch, which server answers, how many entries were
//! ever added, and what comes after a place. `XREAD` alone would not do: from a place that was trimmed away it returns
//! what is left, without a word. It only serves to be woken.
//!
//! Needs Redis 7 (`entries-added`), and of the commands `EVAL` and `XREAD` (inside scripts `XADD`, `XINFO`, `XRANGE`).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, Value};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::failure::Failure;
use super::link::{COMMAND, CONNECT};
use super::named::Address;
use super::place::{Found, RedisPlace};
use super::{feed_format, keys};
use crate::clock::Clock;
use crate::store::{FeedEntry, FeedId, FeedPage, RevocationFeed, StoreError};

/// About how many entries the feed keeps: what a follower may be behind before it has to begin again from SQL.
pub(super) const ENTRIES_MAX: usize = 100_000;

/// KEYS: the feed, the epoch. ARGV: a place, a limit, a name for a feed that begins. Nothing if there is no epoch. A feed
/// that is not there is begun, with an entry, so that one which was deleted has fewer entries than a follower knows of.
const READ: &str = r"
local epoch = redis.call('GET', KEYS[2])
if not epoch then return false end
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('XADD', KEYS[1], '*', 'begun', ARGV[3]) end
local server, about = redis.call('INFO', 'replication'), redis.call('XINFO', 'STREAM', KEYS[1])
local last, added = '0-0', -1
for i = 1, #about, 2 do
  if about[i] == 'last-generated-id' then last = about[i + 1] end
  if about[i] == 'entries-added' then added = about[i + 1] end
end
local entries = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])
return {epoch, string.match(server, 'role:(%w+)') or '', string.match(server, 'master_replid:(%w+)') or '', last, added, entries}";

/// What `READ` answers.
type Answer = (String, String, String, String, i64, Vec<(String, Vec<Vec<u8>>)>);

/// The feed, over a connection of its own: a command that waits holds up whatever comes after it.
pub struct RedisFeed {
    place: Arc<RedisPlace>,
    clock: Arc<dyn Clock>,
    feed: String,
    epoch: String,
    connection: Mutex<Option<Connection>>,
}

/// A connection, and where it leads to if that had to be found.
struct Connection {
    to: MultiplexedConnection,
    address: Option<Address>,
}

impl std::fmt::Debug for RedisFeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisFeed").field("feed", &self.feed).finish_non_exhaustive()
    }
}

impl RedisFeed {
    /// The feed at `place`, beside the revoked set with this prefix. Connects when it is first asked. A primary that has to
    /// be found is watched over by that set.
    #[must_use]
    pub fn new(place: &Arc<RedisPlace>, prefix: &str, clock: Arc<dyn Clock>) -> Self {
        let (feed, epoch) = (keys::feed(prefix), keys::epoch(prefix));
        Self { place: Arc::clone(place), clock, feed, epoch, connection: Mutex::new(None) }
    }

    /// Sends one command and waits for its answer, at most `time`. After any failure the connection is not used again:
    /// a late answer must not be taken for that to another question.
    async fn run<T: FromRedisValue>(&self, command: &Cmd, time: Duration) -> Result<T, Failure> {
        let mut held = self.connection.lock().await;
        let mut connection = match held.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        // What an earlier primary says of the feed proves nothing.
        if !self.place.vouches_for(connection.address.as_ref(), self.clock.monotonic()) {
            return Err(Failure::NotVouchedFor);
        }
        let answer = tokio::time::timeout(time, command.query_async(&mut connection.to)).await;
        let answer = answer.map_err(|_| Failure::TimedOut(time))??;
        *held = Some(connection);
        Ok(answer)
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let Found { client, address } = self.place.find().await?;
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        let to = tokio::time::timeout(CONNECT, connecting).await.map_err(|_| Failure::TimedOut(CONNECT))??;
        Ok(Connection { to, address })
    }

    async fn page(&self, after: FeedId, limit: usize, now: Timestamp) -> Result<FeedPage, Failure> {
        let page = self.read_page(after, limit, now).await;
        if matches!(page, Err(Failure::Incomplete)) {
            // It may have become a replica, and would say so for ever.
            *self.connection.lock().await = None;
        }
        page
    }

    async fn read_page(&self, after: FeedId, limit: usize, now: Timestamp) -> Result<FeedPage, Failure> {
        let mut command = redis::cmd("EVAL");
        command.arg(READ).arg(2).arg(&self.feed).arg(&self.epoch);
        command.arg(after.to_string()).arg(limit).arg(Uuid::new_v4().to_string());
        let answer: Option<Answer> = self.run(&command, COMMAND).await?;
        let (epoch, role, replication_id, last, added, entries) = answer.ok_or(Failure::Incomplete)?;
        // The epoch came with the data; it says of which server's history it is.
        let lineage = epoch.rsplit_once(':').map_or("", |(_, lineage)| lineage);
        if role != "master" || !lineage.strip_prefix(&*replication_id).is_some_and(|rest| rest.starts_with('.')) {
            return Err(Failure::Incomplete);
        }
        let added = u64::try_from(added)
            .map_err(|_| Failure::Unsuitable("XINFO STREAM does not show entries-added: Redis 7 is needed".to_owned()))?;
        let place = |text: &str| text.parse().map_err(|_| Failure::Unsuitable(format!("{text:?} is no place in a stream")));
        let entries =
            entries.into_iter().map(|(id, fields)| Ok(FeedEntry { id: place(&id)?, records: feed_format::read(&fields, now) }));
        Ok(FeedPage { dataset: epoch, last: place(&last)?, added, entries: entries.collect::<Result<_, Failure>>()? })
    }
}

#[async_trait]
impl RevocationFeed for RedisFeed {
    async fn read(&self, after: FeedId, limit: usize, now: Timestamp) -> Result<FeedPage, StoreError> {
        Ok(self.page(after, limit, now).await?)
    }

    async fn wait(&self, after: FeedId, at_most: Duration) -> Result<(), StoreError> {
        let mut command = redis::cmd("XREAD");
        // Zero would mean for ever.
        command.arg("COUNT").arg(1).arg("BLOCK").arg(at_most.as_millis().max(1) as u64);
        command.arg("STREAMS").arg(&self.feed).arg(after.to_string());
        Ok(self.run::<Value>(&command, at_most + COMMAND).await.map(drop)?)
    }
}
