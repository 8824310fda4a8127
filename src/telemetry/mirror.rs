//! Metrics of the feed of revocations, of the mirror that it feeds, and of what neither they nor Redis know.

use std::time::Duration;

use prometheus::{Gauge, IntGauge};

use super::labels::{FeedGap, UnknownDecision};
use super::metrics::{Counters, Declare};

/// How the mirror of the revoked set is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MirrorState {
    /// Since when nobody knows whether something was published that was not heard of.
    pub staleness: Duration,
    /// How many records it holds.
    pub records: usize,
    /// What they take of memory.
    pub bytes: usize,
    /// Whether there was no room for some.
    pub full: bool,
}

#[derive(Debug)]
pub(super) struct MirrorFamilies {
    pub(super) gaps: Counters<FeedGap>,
    pub(super) unknown: Counters<UnknownDecision>,
    staleness: Gauge,
    records: IntGauge,
    bytes: IntGauge,
    full: IntGauge,
}

impl MirrorFamilies {
    pub(super) fn new(declare: &Declare) -> Self {
        Self {
            gaps: declare.closed(
                "portcullis_revocation_feed_gaps_total",
                "Times that following the feed of revocations had to begin again, by cause.",
            ),
            unknown: declare.closed(
                "portcullis_revocation_unknown_total",
                "Requests of whose tokens nobody could say whether they were revoked, by what became of them.",
            ),
            staleness: declare.register(Gauge::new(
                "portcullis_revocation_staleness_seconds",
                "Since when the feed of revocations was last proved to be followed without a gap.",
            )),
            records: declare.gauge("portcullis_revocation_mirror_records", "Records in the mirror of the revoked set."),
            bytes: declare.gauge("portcullis_revocation_mirror_bytes", "Memory of the mirror of the revoked set."),
            full: declare.gauge(
                "portcullis_revocation_mirror_full",
                "1 while more revocations are in force than the mirror may hold: every token is looked up in Redis.",
            ),
        }
    }

    pub(super) fn show(&self, state: &MirrorState) {
        self.staleness.set(state.staleness.as_secs_f64());
        self.records.set(i64::try_from(state.records).unwrap_or(i64::MAX));
        self.bytes.set(i64::try_from(state.bytes).unwrap_or(i64::MAX));
        self.full.set(i64::from(state.full));
    }
}
