//! Counters of attempts in Redis: one hash per counter, a field per slot, one script call per attempt.
//!
//! The rules are those of `limit::attempts`, spelled in Lua because checking and counting must be one step among all
//! replicas. Keys are `<prefix>attempts:<counter>` and `<prefix>known:<mark>`; both expire by themselves.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;

use super::RedisSet;
use super::failure::Failure;
use super::link::{Link, State};
use crate::limit::attempts::{Budget, SLOTS, Slot};
use crate::store::{AttemptCounters, Counted, Counters, StoreError};

/// KEYS: the mark, then the strangers' counters, then those of the known. ARGV: the instant in milliseconds, the slots
/// of a period, how many counters are the strangers', whether a mark counts, and for each counter its limit and the
/// length of its slots. Answers which of the two lists was chosen (0 or 1), which counter of it is spent (from 1; 0 if
/// none), and its oldest slot.
const TAKE: &str = r"
local now, slots, strangers = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local first, last, chosen = 2, 1 + strangers, 0
if ARGV[4] == '1' and redis.call('EXISTS', KEYS[1]) == 1 then first, last, chosen = 2 + strangers, #KEYS, 1 end
for i = first, last do
  local limit, length = tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2])
  local current, sum, oldest = math.floor(now / length), 0, nil
  local held = redis.call('HGETALL', KEYS[i])
  for j = 1, #held, 2 do
    local slot, count = tonumber(held[j]), tonumber(held[j + 1])
    if slot < current - slots or count <= 0 then
      redis.call('HDEL', KEYS[i], held[j])
    else
      sum = sum + count
      if not oldest or slot < oldest then oldest = slot end
    end
  end
  if sum >= limit then return {chosen, i - first + 1, oldest or current} end
end
for i = first, last do
  local length = tonumber(ARGV[2 * i + 2])
  redis.call('HINCRBY', KEYS[i], string.format('%d', math.floor(now / length)), 1)
  redis.call('PEXPIRE', KEYS[i], string.format('%d', length * (slots + 1)))
end
return {chosen, 0, 0}";

/// KEYS: the mark, then counters. ARGV: how long the mark stays, in milliseconds (0: there is none), and a slot for each
/// counter.
const GIVE_BACK: &str = r"
if ARGV[1] ~= '0' then redis.call('SET', KEYS[1], 1, 'PX', ARGV[1]) end
for i = 2, #KEYS do
  local count = tonumber(redis.call('HGET', KEYS[i], ARGV[i]) or 0)
  if count > 1 then redis.call('HINCRBY', KEYS[i], ARGV[i], -1) else redis.call('HDEL', KEYS[i], ARGV[i]) end
end
return #KEYS";

/// Counters of attempts in the Redis of the revoked set, over its connection.
#[derive(Debug)]
pub struct RedisCounters {
    prefix: String,
    state: watch::Receiver<State>,
}

impl RedisCounters {
    /// Counters beside a revoked set. They answer for as long as it lives.
    #[must_use]
    pub fn beside(set: &RedisSet) -> Self {
        Self { prefix: set.shared.prefix.clone(), state: set.shared.state.clone() }
    }

    fn link(&self) -> Result<std::sync::Arc<Link>, Failure> {
        self.state.borrow().link()
    }

    fn counter(&self, key: &str) -> String {
        format!("{}attempts:{key}", self.prefix)
    }

    fn mark(&self, key: &str) -> String {
        format!("{}known:{key}", self.prefix)
    }

    async fn count(&self, attempt: &AttemptCounters, now: i64) -> Result<Counted, Failure> {
        let counters = || attempt.strangers.iter().chain(&attempt.known);
        let mut command = redis::cmd("EVAL");
        command.arg(TAKE).arg(1 + counters().count()).arg(self.mark(attempt.mark.as_deref().unwrap_or_default()));
        for (key, _) in counters() {
            command.arg(self.counter(key));
        }
        command.arg(now).arg(SLOTS).arg(attempt.strangers.len()).arg(u8::from(attempt.mark.is_some()));
        for (_, budget) in counters() {
            command.arg(budget.limit).arg(budget.slot_millis());
        }
        let (chosen, spent, oldest): (u8, usize, i64) = self.link()?.run(&command).await?;
        let chosen: &[(String, Budget)] = if chosen == 0 { &attempt.strangers } else { &attempt.known };
        let Some((key, budget)) = spent.checked_sub(1).and_then(|spent| chosen.get(spent)) else {
            return Ok(Counted::Taken(chosen.iter().map(|(key, budget)| (key.clone(), budget.slot(now))).collect()));
        };
        let retry_after = crate::limit::attempts::until_forgotten(*budget, Slot(oldest), now);
        Ok(Counted::Spent { key: key.clone(), retry_after })
    }
}

#[async_trait]
impl Counters for RedisCounters {
    async fn take(&self, attempt: &AttemptCounters, now: Timestamp) -> Result<Counted, StoreError> {
        Ok(self.count(attempt, now.as_millisecond()).await?)
    }

    async fn give_back(&self, taken: &[(String, Slot)], mark: Option<(&str, Duration)>, _: Timestamp) -> Result<(), StoreError> {
        let mut command = redis::cmd("EVAL");
        command.arg(GIVE_BACK).arg(1 + taken.len()).arg(self.mark(mark.map_or("", |(key, _)| key)));
        for (key, _) in taken {
            command.arg(self.counter(key));
        }
        command.arg(mark.map_or(0, |(_, stays)| u64::try_from(stays.as_millis()).unwrap_or(u64::MAX)));
        for (_, slot) in taken {
            command.arg(slot.0);
        }
        Ok(self.link()?.run::<usize>(&command).await.map(drop)?)
    }
}
