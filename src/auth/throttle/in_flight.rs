//! Attempts of this process that are counted and not decided yet.
//!
//! Counting before verifying means that many right passwords at once look, for a moment, like many wrong ones. Whoever
//! finds a budget spent while some of it is only held waits for the holders instead of being refused.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// The undecided attempts, by counter.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    counters: Mutex<HashMap<String, Holders>>,
}

#[derive(Debug, Default)]
struct Holders {
    attempts: usize,
    settled: Arc<Notify>,
}

/// An undecided attempt; decided when dropped.
#[derive(Debug)]
pub(super) struct Holder {
    of: Arc<InFlight>,
    keys: Vec<String>,
}

impl InFlight {
    /// Notes an attempt against these counters.
    pub(super) fn enter(self: &Arc<Self>, keys: impl Iterator<Item = String>) -> Holder {
        let keys: Vec<String> = keys.collect();
        let mut counters = self.counters.lock().expect("nobody panics while holding the counters");
        for key in &keys {
            counters.entry(key.clone()).or_default().attempts += 1;
        }
        Holder { of: Arc::clone(self), keys }
    }

    /// The next decision about this counter; none if nothing is undecided.
    pub(super) fn next_settled(&self, key: &str) -> Option<OwnedNotified> {
        let counters = self.counters.lock().expect("nobody panics while holding the counters");
        // Made under the lock, so that no decision falls between the look and the wait.
        counters.get(key).map(|holders| Arc::clone(&holders.settled).notified_owned())
    }

    /// Those of the counters by which an attempt is undecided.
    pub(super) fn held<'a>(&self, keys: impl Iterator<Item = &'a String>) -> Vec<String> {
        let counters = self.counters.lock().expect("nobody panics while holding the counters");
        keys.filter(|key| counters.contains_key(*key)).cloned().collect()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let mut counters = self.of.counters.lock().expect("nobody panics while holding the counters");
        for key in &self.keys {
            let Some(holders) = counters.get_mut(key) else { continue };
            holders.attempts -= 1;
            if holders.attempts == 0 {
                // Nobody is left to wake the others one by one.
                holders.settled.notify_waiters();
                counters.remove(key);
            } else {
                holders.settled.notify_one();
            }
        }
    }
}
