//! A growing table of fingerprints: one writer, readers without a lock.
//!
//! Open addressing over atomic slots, eight bytes each: no pointer and no entry of its own for a record, which is
//! what makes ten million of them fit. Nothing is ever removed; a table is dropped whole with its bucket.

use std::sync::atomic::{AtomicU64, Ordering};

/// Slots of a new table: most buckets of a quiet gateway never need more.
const FIRST_SLOTS: usize = 256;
/// Beyond it a table grows by a quarter instead of a half: copying is rarer than being nearly empty is costly.
const LARGE: usize = 1 << 20;

/// Fingerprints, none of which is zero.
#[derive(Debug)]
pub(super) struct Table {
    slots: Box<[AtomicU64]>,
}

impl Table {
    /// An empty table.
    pub(super) fn new() -> Self {
        Self::with_slots(FIRST_SLOTS)
    }

    fn with_slots(slots: usize) -> Self {
        Self { slots: (0..slots).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Whether the fingerprint was inserted. Of one that is being inserted now, either answer.
    pub(super) fn contains(&self, fingerprint: u64) -> bool {
        self.probe(fingerprint).is_ok()
    }

    /// Inserts a fingerprint; false if it was there. Only one thread may do so at a time.
    ///
    /// The caller keeps the table from filling up: [`Self::is_full_with`].
    pub(super) fn insert(&self, fingerprint: u64) -> bool {
        let Err(free) = self.probe(fingerprint) else { return false };
        self.slots[free].store(fingerprint, Ordering::Release);
        true
    }

    /// Whether a table with so many fingerprints has to grow. Beyond three quarters, misses become long.
    pub(super) fn is_full_with(&self, fingerprints: usize) -> bool {
        fingerprints * 4 >= self.slots.len() * 3
    }

    /// A larger table with the same fingerprints.
    pub(super) fn grown(&self) -> Self {
        let slots = self.slots.len();
        let grown = Self::with_slots(if slots < LARGE { slots + slots / 2 } else { slots + slots / 4 });
        for slot in &self.slots {
            let fingerprint = slot.load(Ordering::Relaxed);
            if fingerprint != 0 {
                grown.insert(fingerprint);
            }
        }
        grown
    }

    /// What it takes of memory.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }

    /// The slot of a fingerprint, or the free one where it would be.
    fn probe(&self, fingerprint: u64) -> Result<usize, usize> {
        // The high bits choose (Lemire's fast range), so that copying to a larger table walks both in order.
        let home = ((u128::from(fingerprint) * self.slots.len() as u128) >> 64) as usize;
        let mut slot = home;
        loop {
            match self.slots[slot].load(Ordering::Acquire) {
                found if found == fingerprint => return Ok(slot),
                0 => return Err(slot),
                _ => slot = if slot + 1 == self.slots.len() { 0 } else { slot + 1 },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_inserted_is_found_however_often_the_table_grew() {
        let mut table = Table::new();
        // An odd multiplier spreads the numbers over all of 64 bits and never makes zero.
        let fingerprint = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 << 63;
        for number in 1..5000 {
            if table.is_full_with(number as usize) {
                table = table.grown();
            }
            assert!(table.insert(fingerprint(number)));
            assert!(!table.insert(fingerprint(number)));
        }
        assert!((1..5000).all(|number| table.contains(fingerprint(number))));
        assert!(!(5000..9000).any(|number| table.contains(fingerprint(number))));
        assert!(table.bytes() < 5000 * 17, "{}", table.bytes());
    }

    #[test]
    fn fingerprints_of_one_place_go_around_the_end() {
        let table = Table::new();
        let last: Vec<u64> = (0..10).map(|number| u64::MAX - number).collect();
        assert!(last.iter().all(|fingerprint| table.insert(*fingerprint)));
        assert!(last.iter().all(|fingerprint| table.contains(*fingerprint)));
        assert!(!table.contains(u64::MAX - 10));
    }
}
