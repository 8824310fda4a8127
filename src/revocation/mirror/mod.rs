//! The mirror of the revoked set: answers for live tokens in this process, and knows until when it may.
//!
//! It only ever says two things: "no record covers this token, up to the bound" or "ask Redis". The second is the answer
//! to everything else: a suspicion, a feed that has not been heard of for too long, more records than fit.

mod freshness;
mod set;
mod table;

use std::time::{Duration, Instant};

use jiff::Timestamp;

pub(super) use self::freshness::Freshness;
pub(super) use self::set::{KEEP_BEYOND, MirrorSet};
use crate::identity::TokenFacts;
use crate::store::Revocation;

/// The bounds of a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MirrorBounds {
    /// How old the proof may be that nothing is missing.
    pub staleness_max: Duration,
    /// How many records it may hold; beyond it, every token is asked for in Redis.
    pub records_max: usize,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Mirror {
    pub(super) set: MirrorSet,
    pub(super) freshness: Freshness,
}

impl Mirror {
    /// An empty mirror, which knows nothing yet.
    #[must_use]
    pub fn new(bounds: MirrorBounds, now: Instant) -> Self {
        Self { set: MirrorSet::new(bounds.records_max, now), freshness: Freshness::new(bounds.staleness_max, now) }
    }

    /// Whether no record that was acknowledged earlier than the bound before `now` covers the token, for certain.
    /// Lock-free, and allocates nothing.
    #[must_use]
    pub fn is_live(&self, token: &TokenFacts, now: Instant) -> bool {
        // In this order: what is taken in after the look at the set must not be what makes it fresh.
        self.freshness.is_fresh(now) && !self.set.is_full() && !self.set.may_cover(token)
    }

    /// Whether a record may cover the token, however old what the mirror knows is.
    #[must_use]
    pub fn may_cover(&self, token: &TokenFacts) -> bool {
        self.set.may_cover(token)
    }

    /// Takes records in, for the rest of their lives at `wall`, which is `now` on the clock that never steps. False if
    /// there was no room for all of them.
    pub fn insert(&self, records: &[Revocation], wall: Timestamp, now: Instant) -> bool {
        self.set.insert(records, wall, now).is_ok()
    }

    /// How many records there are, and what they take of memory, roughly.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.set.len(), self.set.bytes())
    }
}
