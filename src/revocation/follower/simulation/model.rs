//! Models of Redis and SQL: what the scripts of `store::redis` do, each in one step, and what goes wrong with a server.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::store::{FeedEntry, FeedId, FeedPage};

/// A token, or a session, or a subject: one thing that can be revoked, and what is revoked by its record.
pub(super) type Thing = u32;

/// SplitMix64: the same numbers for the same seed, on every machine.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// True once in so many times.
    pub(super) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// One data set in Redis, as it is on one server.
#[derive(Clone, Default)]
pub(super) struct Redis {
    pub(super) records: BTreeSet<Thing>,
    pub(super) epoch: Option<Epoch>,
    pub(super) marks: BTreeSet<u64>,
    pub(super) feed: Option<Feed>,
    /// Changes with a restart and with a failover.
    pub(super) lineage: u64,
    /// Milliseconds by which the server's clock is off.
    pub(super) clock_off: u64,
}

/// The number of a rebuild, and the lineage in which it was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Epoch {
    pub(super) number: u64,
    pub(super) lineage: u64,
}

#[derive(Clone, Default)]
pub(super) struct Feed {
    pub(super) entries: VecDeque<(FeedId, Vec<Thing>)>,
    last: FeedId,
    added: u64,
}

impl Feed {
    fn add(&mut self, millis: u64, things: Vec<Thing>) {
        let next = FeedId { millis: self.last.millis, sequence: self.last.sequence + 1 };
        self.last = next.max(FeedId { millis, sequence: 0 });
        self.added += 1;
        self.entries.push_back((self.last, things));
    }
}

impl Redis {
    fn millis(&self, now: u64) -> u64 {
        10_000_000 + now / 1000 + self.clock_off
    }

    /// `RAISE`: whether the feed grew.
    pub(super) fn raise(&mut self, things: &[Thing], only_news: bool, now: u64) -> bool {
        let announced: Vec<Thing> = things
            .iter()
            .copied()
            .filter(|thing| !only_news || (self.epoch.is_some() && !self.records.contains(thing)))
            .collect();
        self.records.extend(things);
        let grows = !announced.is_empty();
        if grows {
            let millis = self.millis(now);
            self.feed.get_or_insert_default().add(millis, announced);
        }
        grows
    }

    /// `READ`, without records: those depend on the reader's clock.
    pub(super) fn read(&mut self, after: FeedId, limit: usize, now: u64) -> Option<(FeedPage, Vec<Vec<Thing>>)> {
        let epoch = self.epoch.filter(|epoch| epoch.lineage == self.lineage)?;
        if self.feed.is_none() {
            let millis = self.millis(now);
            self.feed.get_or_insert_default().add(millis, Vec::new());
        }
        let feed = self.feed.as_ref()?;
        let found: Vec<_> = feed.entries.iter().filter(|(id, _)| *id > after).take(limit).cloned().collect();
        let (ids, things): (Vec<FeedId>, Vec<Vec<Thing>>) = found.into_iter().unzip();
        let entries = ids.into_iter().map(|id| FeedEntry { id, records: Some(Vec::new()) }).collect();
        let dataset = format!("{}:{}", epoch.number, epoch.lineage);
        Some((FeedPage { dataset, last: feed.last, added: feed.added, entries }, things))
    }

    /// Whether a follower that waits behind a place would be woken.
    pub(super) fn has_after(&self, after: FeedId) -> bool {
        self.feed.as_ref().is_some_and(|feed| feed.last > after)
    }

    /// `FINISH`.
    pub(super) fn finish(&mut self, mark: u64) -> Option<Epoch> {
        if !self.marks.remove(&mark) {
            return None;
        }
        let held = self.epoch.filter(|epoch| epoch.lineage == self.lineage);
        self.epoch = Some(held.unwrap_or(Epoch { number: mark, lineage: self.lineage }));
        self.epoch
    }

    /// A look-up: whether there is a record, and whether the absence of one means anything to whoever knows this epoch.
    pub(super) fn look_up(&self, thing: Thing, known: Option<Epoch>) -> (bool, bool) {
        let complete = known.is_some() && self.epoch == known && known.is_some_and(|epoch| epoch.lineage == self.lineage);
        (self.records.contains(&thing), complete)
    }

    /// `FLUSHALL`.
    pub(super) fn flush(&mut self) {
        *self = Self { lineage: self.lineage, clock_off: self.clock_off, ..Self::default() };
    }

    /// The loss of the oldest entries of the feed.
    pub(super) fn trim(&mut self, entries: usize) {
        if let Some(feed) = &mut self.feed {
            let lost = entries.min(feed.entries.len());
            feed.entries.drain(..lost);
        }
    }

    /// The loss of the newest entry of the feed.
    pub(super) fn delete_last(&mut self) {
        if let Some(feed) = &mut self.feed {
            feed.entries.pop_back();
        }
    }
}

/// What SQL remembers: when each record was committed, and when it expires, in seconds of true time.
#[derive(Default)]
pub(super) struct Sql {
    pub(super) committed: BTreeMap<Thing, i64>,
}

impl Sql {
    /// What a clock that shows `wall` takes for unexpired.
    pub(super) fn unexpired(&self, wall: i64) -> Vec<(Thing, i64)> {
        self.committed.iter().filter(|(_, expires)| **expires > wall).map(|(thing, expires)| (*thing, *expires)).collect()
    }
}
