//! Rate limits in Redis: one string per bucket, one script call per request that asks for any.
//!
//! The rules are those of `limit::rate`, spelled in Lua because looking and taking must be one step among all replicas.
//! Keys are `<prefix>rate:<bucket>`; they expire when the bucket is full again.

use async_trait::async_trait;
use tokio::sync::watch;

use super::RedisSet;
use super::failure::Failure;
use super::link::State;
use crate::limit::rate::{Rate, Taken};
use crate::store::{SharedRates, StoreError};

/// KEYS: the buckets. ARGV: the instant in microseconds, and for each bucket how long one request takes to come back and
/// how long an empty bucket takes to fill. Answers for each bucket how long it now takes until it is full, and whether it
/// had room.
const TAKE: &str = r"
local now, room, missing = tonumber(ARGV[1]), {}, {}
local all = true
for i = 1, #KEYS do
  local each, full = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  local held = math.min(math.max((tonumber(redis.call('GET', KEYS[i])) or now) - now, 0), full)
  missing[i], room[i] = held, held + each <= full
  all = all and room[i]
end
local answer = {}
for i = 1, #KEYS do
  if all then
    missing[i] = missing[i] + tonumber(ARGV[2 * i])
    local life = math.ceil(missing[i] / 1000) + 1
    redis.call('SET', KEYS[i], string.format('%.0f', now + missing[i]), 'PX', string.format('%.0f', life))
  end
  answer[2 * i - 1], answer[2 * i] = missing[i], room[i] and 1 or 0
end
return answer";

/// Rate limits in the Redis of the revoked set, over its connection.
#[derive(Debug)]
pub struct RedisRates {
    prefix: String,
    state: watch::Receiver<State>,
}

impl RedisRates {
    /// Rate limits beside a revoked set. They answer for as long as it lives.
    #[must_use]
    pub fn beside(set: &RedisSet) -> Self {
        Self { prefix: set.shared.prefix.clone(), state: set.shared.state.clone() }
    }

    async fn taken(&self, buckets: &[(String, Rate)], now: i64) -> Result<Vec<Taken>, Failure> {
        let mut command = redis::cmd("EVAL");
        command.arg(TAKE).arg(buckets.len());
        for (key, _) in buckets {
            command.arg(format!("{}rate:{key}", self.prefix));
        }
        command.arg(now);
        for (_, rate) in buckets {
            command.arg(rate.each_micros).arg(rate.full_micros());
        }
        let link = self.state.borrow().link()?;
        let answer: Vec<i64> = link.run(&command).await?;
        let (pairs, _) = answer.as_chunks::<2>();
        let taken = std::iter::zip(buckets, pairs).map(|((_, rate), [missing, room])| rate.taken(*room == 1, now + missing, now));
        Ok(taken.collect())
    }
}

#[async_trait]
impl SharedRates for RedisRates {
    async fn take(&self, buckets: &[(String, Rate)], now: i64) -> Result<Vec<Taken>, StoreError> {
        Ok(self.taken(buckets, now).await?)
    }
}
