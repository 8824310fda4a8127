//! Up to when the mirror is known to hold everything that was published.
//!
//! The instant is the one at which a question was *sent* whose answer showed that nothing was missing: what was
//! published before that instant cannot have been published after the answer was made. Not the instant of the answer,
//! which may have been long under way, and never a time of day: no two machines agree on that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Freshness {
    origin: Instant,
    /// Nanoseconds from the origin to the proof, and one; zero if there was none.
    proved: AtomicU64,
    staleness_max: Duration,
}

impl Freshness {
    /// Nothing is proved yet; a proof counts for `staleness_max`.
    pub(crate) fn new(staleness_max: Duration, now: Instant) -> Self {
        Self { origin: now, proved: AtomicU64::new(0), staleness_max }
    }

    /// The answer to a question that was sent at `sent` proved that nothing is missing. To be called after what the
    /// answer brought was taken in.
    pub(crate) fn prove(&self, sent: Instant) {
        let nanos = sent.saturating_duration_since(self.origin).as_nanos();
        // 64 bits of nanoseconds are five centuries.
        self.proved.fetch_max(u64::try_from(nanos).unwrap_or(u64::MAX - 1) + 1, Ordering::AcqRel);
    }

    /// Whether what the mirror does not have was not acknowledged earlier than the bound before `now`. To be asked before
    /// the mirror is looked at.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        self.staleness(now).is_some_and(|staleness| staleness <= self.staleness_max)
    }

    /// How long ago the last proof was asked for; none if there was none.
    pub(crate) fn staleness(&self, now: Instant) -> Option<Duration> {
        let proved = self.proved.load(Ordering::Acquire).checked_sub(1)?;
        Some(now.saturating_duration_since(self.origin + Duration::from_nanos(proved)))
    }

    /// The same, for whom no proof ever is as bad as one at the start.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        self.staleness(now).unwrap_or_else(|| now.saturating_duration_since(self.origin))
    }

    /// Whether there ever was a proof.
    pub(crate) fn was_proved(&self) -> bool {
        self.proved.load(Ordering::Acquire) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, ManualClock};

    #[test]
    fn a_proof_counts_up_to_the_bound_from_when_it_was_asked_for() {
        let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().expect("an instant"));
        let freshness = Freshness::new(Duration::from_secs(1), clock.monotonic());
        assert!(!freshness.is_fresh(clock.monotonic()), "nothing was proved");
        let sent = clock.monotonic();
        clock.advance(Duration::from_millis(900));
        freshness.prove(sent);
        clock.advance(Duration::from_millis(100));
        assert!(freshness.is_fresh(clock.monotonic()), "at the bound");
        clock.advance(Duration::from_nanos(1));
        assert!(!freshness.is_fresh(clock.monotonic()), "after it");
    }

    #[test]
    fn an_older_proof_takes_nothing_back() {
        let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().expect("an instant"));
        let freshness = Freshness::new(Duration::from_secs(1), clock.monotonic());
        let older = clock.monotonic();
        clock.advance(Duration::from_secs(5));
        freshness.prove(clock.monotonic());
        freshness.prove(older);
        assert_eq!(freshness.staleness(clock.monotonic()), Some(Duration::ZERO));
    }
}
