//! Counters of attempts in this process' memory: all there is without Redis, and what stands in while it is down.
//!
//! Bounded. Every attempt that is counted costs a password hash, so that the table fills slowly; when it is full,
//! newcomers share a few counters. That may refuse somebody who did nothing, and never opens a door.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;

use crate::limit::attempts::{Budget, Slot, Window};
use crate::store::{AttemptCounters, Counted};

/// Counters, and marks, that are kept: about 20 MB of each.
const ENTRIES_MAX: usize = 100_000;
/// What newcomers share when there is no room.
const SHARED_COUNTERS: u64 = 1024;
/// A full table is searched for what is over at most this often.
const SWEEP_EVERY_MILLIS: i64 = 10_000;

/// Counters in memory.
#[derive(Debug, Default)]
pub(super) struct LocalCounters {
    table: Mutex<Table>,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Table {
    windows: HashMap<String, (Budget, Window)>,
    /// Until when, in Unix milliseconds.
    marks: HashMap<String, i64>,
    swept_at: Option<i64>,
}

impl LocalCounters {
    /// See [`crate::store::Counters::take`].
    pub(super) fn take(&self, attempt: &AttemptCounters, now: Timestamp) -> Counted {
        let now = now.as_millisecond();
        let mut table = self.table();
        let is_known = attempt.mark.as_ref().is_some_and(|mark| table.marks.get(mark).is_some_and(|until| *until > now));
        let counters = if is_known { &attempt.known } else { &attempt.strangers };
        table.make_room(counters.len(), now);
        let places: Vec<(String, Budget)> = counters.iter().map(|(key, budget)| (self.place(key, &table), *budget)).collect();
        for (place, budget) in &places {
            let spent = table.windows.get_mut(place).and_then(|(_, window)| window.spent(*budget, now));
            if let Some(retry_after) = spent {
                return Counted::Spent { key: place.clone(), retry_after };
            }
        }
        let mut taken = Vec::with_capacity(places.len());
        for (place, budget) in places {
            let (_, window) = table.windows.entry(place.clone()).or_insert((budget, Window::default()));
            taken.push((place, window.count(budget, now)));
        }
        Counted::Taken(taken)
    }

    /// See [`crate::store::Counters::give_back`].
    pub(super) fn give_back(&self, taken: &[(String, Slot)]) {
        let mut table = self.table();
        for (key, slot) in taken {
            if let Some((_, window)) = table.windows.get_mut(key) {
                window.give_back(*slot);
            }
        }
    }

    /// Leaves a mark for so long.
    pub(super) fn mark(&self, mark: &str, stays: Duration, now: Timestamp) {
        let mut table = self.table();
        if table.marks.len() < ENTRIES_MAX || table.marks.contains_key(mark) {
            let stays = i64::try_from(stays.as_millis()).unwrap_or(i64::MAX);
            table.marks.insert(mark.to_owned(), now.as_millisecond().saturating_add(stays));
        }
    }

    /// Where a counter is kept: under its own key, or under one that it shares.
    fn place(&self, key: &str, table: &Table) -> String {
        if table.windows.len() < ENTRIES_MAX || table.windows.contains_key(key) {
            return key.to_owned();
        }
        // The kind of counter stays in the name: a shared one must not mix budgets.
        let kind = key.split(':').next().unwrap_or_default();
        format!("{kind}:shared:{}", self.hasher.hash_one(key) % SHARED_COUNTERS)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("nobody panics while holding the table")
    }
}

impl Table {
    fn make_room(&mut self, places: usize, now: i64) {
        let full = self.windows.len() + places > ENTRIES_MAX || self.marks.len() >= ENTRIES_MAX;
        if full && self.swept_at.is_none_or(|at| now - at >= SWEEP_EVERY_MILLIS) {
            self.swept_at = Some(now);
            self.windows.retain(|_, (budget, window)| !window.is_over(*budget, now));
            self.marks.retain(|_, until| *until > now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Budget = Budget { limit: 1, period: Duration::from_secs(60) };

    fn attempt(key: String) -> AttemptCounters {
        AttemptCounters { mark: None, strangers: vec![(key, BUDGET)], known: Vec::new() }
    }

    #[test]
    fn a_full_table_makes_newcomers_share_and_recovers_when_it_is_over() {
        let counters = LocalCounters::default();
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("an instant");
        for number in 0..ENTRIES_MAX {
            assert!(matches!(counters.take(&attempt(format!("pair:{number}")), now), Counted::Taken(_)));
        }
        assert!(matches!(counters.take(&attempt("pair:7".to_owned()), now), Counted::Spent { .. }), "nobody is forgotten");
        let refused = (0..10 * SHARED_COUNTERS)
            .filter(|number| matches!(counters.take(&attempt(format!("pair:new{number}")), now), Counted::Spent { .. }))
            .count();
        assert!(refused as u64 >= 9 * SHARED_COUNTERS, "{refused}");

        let later = now + Duration::from_secs(80);
        assert!(matches!(counters.take(&attempt("pair:newest".to_owned()), later), Counted::Taken(_)));
        assert_eq!(counters.table().windows.len(), 1);
    }
}
