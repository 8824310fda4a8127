//! What was revoked, as fingerprints in buckets by the end of their lives.
//!
//! "Not in here" is exact: no record that was inserted and still matters is missing. "In here" is a suspicion, because
//! two things may share a fingerprint; whoever suspects has to ask Redis. The fingerprints are keyed with a key that no
//! other process has, so that nobody can choose ids that collide.
//!
//! Nothing is evicted. A bucket is dropped whole when everything in it is over; what does not fit into the bound is
//! refused, and the caller has to stop believing the set.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use papaya::HashMap;

use super::table::Table;
use crate::identity::TokenFacts;
use crate::store::{Covers, Revocation};

/// How much longer than its life a record is kept. A wall clock that was ahead when the record was read from SQL, and is
/// set right afterwards, must not bring a token back.
pub(crate) const KEEP_BEYOND: Duration = Duration::from_secs(300);
/// What one principal record costs: the entry of the map, its allocation, its share of the map's slots.
const PRINCIPAL_BYTES: usize = 96;
/// How often principal records are looked through for those that are over; buckets are dropped by themselves.
const SWEEP_SECS: u64 = 60;

/// There is no room for a record: the set is no longer all that was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more revocations are in force than `max_records` allows")]
pub(crate) struct Full;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct MirrorSet {
    key: RandomState,
    /// Where the seconds of this set begin.
    origin: Instant,
    records_max: usize,
    /// The tables of all buckets, for readers.
    tables: ArcSwap<Box<[Arc<Table>]>>,
    principals: HashMap<u64, NotBefore>,
    writer: Mutex<Writer>,
    len: AtomicUsize,
    full: AtomicBool,
}

#[derive(Debug, Default)]
struct Writer {
    /// By the second at which they are over.
    buckets: BTreeMap<u64, Bucket>,
    swept: u64,
}

#[derive(Debug)]
struct Bucket {
    table: Arc<Table>,
    records: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct NotBefore {
    /// Unix milliseconds, rounded up like in Redis.
    before: i64,
    over_at: u64,
}

impl NotBefore {
    fn or_later(self, other: Self) -> Self {
        Self { before: self.before.max(other.before), over_at: self.over_at.max(other.over_at) }
    }
}

impl MirrorSet {
    /// An empty set for at most so many records, whose time begins now.
    pub(crate) fn new(records_max: usize, now: Instant) -> Self {
        Self {
            key: RandomState::new(),
            origin: now,
            records_max,
            tables: ArcSwap::from_pointee(Box::default()),
            principals: HashMap::new(),
            writer: Mutex::default(),
            len: AtomicUsize::new(0),
            full: AtomicBool::new(false),
        }
    }

    /// Whether a record may cover the token; if not, none does. Lock-free, and allocates nothing.
    pub(crate) fn may_cover(&self, token: &TokenFacts) -> bool {
        if self.len() == 0 {
            return false;
        }
        let tables = self.tables.load();
        if !tables.is_empty() {
            let (by_token, by_session) = (self.of_token(&token.jti), self.of_session(token.session.0.as_bytes()));
            if tables.iter().any(|table| table.contains(by_token) || table.contains(by_session)) {
                return true;
            }
        }
        if self.principals.is_empty() {
            return false;
        }
        let principals = self.principals.pin();
        let not_before = principals.get(&self.of_principal(&token.issuer, &token.subject));
        not_before.is_some_and(|held| token.issued_at.as_millisecond() < held.before)
    }

    /// Adds records, each for the rest of its life at `wall`, which is `now` on the clock that never steps.
    ///
    /// # Errors
    /// [`Full`]: some were left out.
    pub(crate) fn insert(&self, records: &[Revocation], wall: Timestamp, now: Instant) -> Result<(), Full> {
        let mut writer = self.writer();
        let before = writer.buckets.len();
        let mut regrown = false;
        let mut outcome = Ok(());
        for record in records {
            let life = Duration::try_from(record.expires_at.duration_since(wall)).unwrap_or(Duration::ZERO);
            let life = life.saturating_add(KEEP_BEYOND);
            let fits = match &record.covers {
                Covers::Token(id) => self.add(&mut writer, self.of_token(id), life, now, &mut regrown),
                Covers::Session(id) => self.add(&mut writer, self.of_session(id.0.as_bytes()), life, now, &mut regrown),
                Covers::Principal { issuer, subject, before } => {
                    self.add_principal(self.of_principal(issuer, subject), *before, self.over_at(life, now))
                }
            };
            outcome = outcome.and(fits);
        }
        if regrown || writer.buckets.len() != before {
            self.show(&writer);
        }
        if outcome.is_err() {
            self.full.store(true, Ordering::Release);
        }
        outcome
    }

    /// Drops what is over.
    pub(crate) fn expire(&self, now: Instant) {
        let now = self.seconds(now);
        let mut writer = self.writer();
        let kept = writer.buckets.split_off(&(now + 1));
        let over = std::mem::replace(&mut writer.buckets, kept);
        if !over.is_empty() {
            self.show(&writer);
            self.len.fetch_sub(over.values().map(|bucket| bucket.records).sum(), Ordering::AcqRel);
        }
        if now >= writer.swept + SWEEP_SECS {
            writer.swept = now;
            let held = self.principals.len();
            self.principals.pin().retain(|_, not_before| not_before.over_at > now);
            self.len.fetch_sub(held - self.principals.len(), Ordering::AcqRel);
        }
    }

    /// How many records it holds, those included that are over and not dropped yet.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// What they take of memory, roughly.
    pub(crate) fn bytes(&self) -> usize {
        let tables = self.tables.load();
        tables.iter().map(|table| table.bytes()).sum::<usize>() + self.principals.len() * PRINCIPAL_BYTES
    }

    /// Whether something was left out since [`Self::has_room_again`].
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// Whether a tenth of the bound is free again. If so, the set counts as able to hold everything; what it left out
    /// has to be inserted again before it is believed.
    pub(crate) fn has_room_again(&self) -> bool {
        let room = self.len() <= self.records_max / 10 * 9;
        if room {
            self.full.store(false, Ordering::Release);
        }
        room
    }

    fn add(&self, writer: &mut Writer, fingerprint: u64, life: Duration, now: Instant, regrown: &mut bool) -> Result<(), Full> {
        let over_at = self.over_at(life, now);
        let mut lasting = writer.buckets.range(over_at..);
        if lasting.any(|(_, bucket)| bucket.table.contains(fingerprint)) {
            return Ok(());
        }
        if self.len() >= self.records_max {
            return Err(Full);
        }
        let end = over_at.next_multiple_of(granularity(life.as_secs()));
        let bucket = writer.buckets.entry(end).or_insert_with(|| Bucket { table: Arc::new(Table::new()), records: 0 });
        if bucket.table.is_full_with(bucket.records) {
            bucket.table = Arc::new(bucket.table.grown());
            *regrown = true;
        }
        bucket.table.insert(fingerprint);
        bucket.records += 1;
        self.len.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    fn add_principal(&self, fingerprint: u64, before: Timestamp, over_at: u64) -> Result<(), Full> {
        // As in Redis: rounded up, so that no token issued before the instant escapes by a fraction.
        let millis = -(-before.as_nanosecond()).div_euclid(1_000_000);
        let new = NotBefore { before: i64::try_from(millis).unwrap_or(i64::MAX), over_at };
        let principals = self.principals.pin();
        if principals.update(fingerprint, |held| held.or_later(new)).is_some() {
            return Ok(());
        }
        if self.len() >= self.records_max {
            return Err(Full);
        }
        principals.insert(fingerprint, new);
        self.len.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    fn show(&self, writer: &Writer) {
        self.tables.store(Arc::new(writer.buckets.values().map(|bucket| Arc::clone(&bucket.table)).collect()));
    }

    fn over_at(&self, life: Duration, now: Instant) -> u64 {
        // The second that has begun counts whole.
        self.seconds(now).saturating_add(life.as_secs()).saturating_add(2)
    }

    fn seconds(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.origin).as_secs()
    }

    fn of_token(&self, id: &str) -> u64 {
        self.fingerprint(0, &[id.as_bytes()])
    }

    fn of_session(&self, id: &[u8; 16]) -> u64 {
        self.fingerprint(1, &[id])
    }

    fn of_principal(&self, issuer: &str, subject: &str) -> u64 {
        // What comes first ends where the length says.
        self.fingerprint(2, &[&issuer.len().to_ne_bytes(), issuer.as_bytes(), subject.as_bytes()])
    }

    /// The bytes themselves rather than values of their types, which would hash lengths that are known and ends that need no
    /// mark: every request has two of these.
    fn fingerprint(&self, kind: u8, bytes: &[&[u8]]) -> u64 {
        let mut hasher = self.key.build_hasher();
        bytes.iter().for_each(|bytes| hasher.write(bytes));
        hasher.write(&[kind]);
        // Zero is an empty slot.
        hasher.finish().max(1)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().expect("no holder of the buckets panics")
    }
}

/// How far apart the ends of buckets are for records of such a life, in seconds: an eighth to a quarter of it. That many
/// tables a request looks through at most, and that much longer a record takes up memory.
fn granularity(life: u64) -> u64 {
    (life / 4).checked_ilog2().map_or(1, |bits| 1 << bits)
}

#[cfg(test)]
mod tests;
