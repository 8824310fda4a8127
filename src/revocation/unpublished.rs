//! Revocations that SQL remembers and the revoked set does not have yet. They are in force on this replica already.
//!
//! Usually empty, or holding what is being published this millisecond. While Redis is down it grows, up to a limit:
//! then only a rebuild from SQL can make the set complete, and until then a record that is not found is unknown.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::identity::TokenFacts;
use crate::store::{Covers, Revocation, RevokedBy};

/// Every request looks through all of them: a thousand cost it a few microseconds.
const RECORDS_MAX: usize = 1024;

/// The revocations that are still to be published.
#[derive(Debug, Default)]
pub(super) struct Unpublished {
    records: Mutex<Records>,
    /// How many there are, so that the usual case takes no lock.
    len: AtomicUsize,
    overflowed: AtomicBool,
    /// Wakes the upkeep when something is left to it.
    left: Notify,
}

#[derive(Debug, Default)]
struct Records {
    next: u64,
    held: BTreeMap<u64, Held>,
}

#[derive(Debug)]
struct Held {
    revocation: Revocation,
    /// Whoever added it is publishing it now.
    attempted: bool,
}

/// The note that records are being published. Dropped, it leaves them for the upkeep to publish.
#[derive(Debug)]
#[must_use]
pub(super) struct Pending<'a> {
    unpublished: &'a Unpublished,
    first: u64,
    end: u64,
    state: PendingState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PendingState {
    Held,
    /// There was no room for them. They are in SQL, so a rebuild can still publish them.
    NotHeld,
    Published,
}

impl Unpublished {
    /// Puts records in force on this replica and notes that they are being published.
    pub(super) fn add(&self, revocations: &[Revocation]) -> Pending<'_> {
        let mut records = self.records();
        let first = records.next;
        let state = if records.held.len() + revocations.len() > RECORDS_MAX {
            PendingState::NotHeld
        } else {
            for revocation in revocations {
                let number = records.next;
                records.next += 1;
                records.held.insert(number, Held { revocation: revocation.clone(), attempted: true });
            }
            PendingState::Held
        };
        self.len.store(records.held.len(), Ordering::Release);
        Pending { unpublished: self, first, end: records.next, state }
    }

    /// Which of the records covers the token.
    pub(super) fn covering(&self, token: &TokenFacts) -> Option<RevokedBy> {
        if self.len() == 0 {
            return None;
        }
        self.records().held.values().find_map(|held| covering(&held.revocation.covers, token))
    }

    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Whether some records were not kept, so that only a rebuild can publish them.
    pub(super) fn overflowed(&self) -> bool {
        self.overflowed.load(Ordering::Acquire)
    }

    /// The records that nobody is publishing, with the numbers to name them by.
    pub(super) fn left_over(&self) -> (Vec<u64>, Vec<Revocation>) {
        let records = self.records();
        let left = records.held.iter().filter(|(_, held)| !held.attempted);
        left.map(|(number, held)| (*number, held.revocation.clone())).unzip()
    }

    /// Forgets records that were published.
    pub(super) fn remove(&self, numbers: impl IntoIterator<Item = u64>) {
        let mut records = self.records();
        for number in numbers {
            records.held.remove(&number);
        }
        self.len.store(records.held.len(), Ordering::Release);
    }

    /// To be called before a rebuild reads SQL: what overflows later is not part of it.
    pub(super) fn take_overflow(&self) -> bool {
        self.overflowed.swap(false, Ordering::AcqRel)
    }

    /// Takes back [`Self::take_overflow`]: the rebuild failed.
    pub(super) fn put_overflow(&self) {
        self.overflowed.store(true, Ordering::Release);
    }

    /// Resolves when something may be left for the upkeep.
    pub(super) async fn left(&self) {
        self.left.notified().await;
    }

    /// Has the upkeep look again.
    pub(super) fn retry(&self) {
        self.left.notify_one();
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().expect("no holder of the records panics")
    }
}

impl Pending<'_> {
    /// The records are in the revoked set.
    pub(super) fn published(mut self) {
        self.state = PendingState::Published;
    }
}

/// Also runs when the publication was cancelled because its caller went away.
impl Drop for Pending<'_> {
    fn drop(&mut self) {
        match self.state {
            PendingState::Published => self.unpublished.remove(self.first..self.end),
            PendingState::NotHeld => {
                self.unpublished.put_overflow();
                self.unpublished.retry();
            }
            PendingState::Held => {
                for (_, held) in self.unpublished.records().held.range_mut(self.first..self.end) {
                    held.attempted = false;
                }
                self.unpublished.retry();
            }
        }
    }
}

/// How a record covers the token, if it does.
pub(super) fn covering(covers: &Covers, token: &TokenFacts) -> Option<RevokedBy> {
    match covers {
        Covers::Token(id) => (*id == token.jti).then_some(RevokedBy::Token),
        Covers::Session(id) => (*id == token.session).then_some(RevokedBy::Session),
        Covers::Principal { issuer, subject, before } => {
            let covered = **issuer == *token.issuer && *subject == token.subject && token.issued_at < *before;
            covered.then_some(RevokedBy::Principal)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: usize) -> Revocation {
        let expires_at = "2026-01-01T00:00:00Z".parse().expect("an instant");
        Revocation { covers: Covers::Token(id.to_string().into()), expires_at }
    }

    #[test]
    fn what_was_published_is_forgotten_and_what_was_dropped_is_left_over() {
        let unpublished = Unpublished::default();
        let (first, second) = (unpublished.add(&[record(1)]), unpublished.add(&[record(2), record(3)]));
        assert_eq!(unpublished.left_over().1, [], "both are being published");
        first.published();
        drop(second);
        let (numbers, records) = unpublished.left_over();
        assert_eq!(records, [record(2), record(3)]);
        unpublished.remove(numbers);
        assert_eq!(unpublished.len(), 0);
    }

    #[test]
    fn beyond_the_limit_only_a_rebuild_helps() {
        let unpublished = Unpublished::default();
        let full: Vec<_> = (0..RECORDS_MAX).map(record).collect();
        drop(unpublished.add(&full));
        assert!(!unpublished.overflowed());
        unpublished.add(&[record(RECORDS_MAX)]).published();
        assert!(!unpublished.overflowed(), "what reached the set needs no rebuild");
        drop(unpublished.add(&[record(RECORDS_MAX)]));
        assert!(unpublished.overflowed());
        assert_eq!(unpublished.len(), RECORDS_MAX);
    }
}
