//! How many requests are too many, as pure arithmetic over time that is passed in: the generic cell rate algorithm.
//!
//! A bucket holds `quota` requests and fills evenly, `quota` in each window. All that is kept of it is one instant, its
//! theoretical arrival time: when it will be full again. Instants and lengths are microseconds.

use std::time::Duration;

/// So many at once, and so many again within each window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    quota: i64,
    /// How long it takes for one request to come back.
    pub each_micros: i64,
}

/// What became of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Whether it may pass. One that may not has taken nothing.
    pub allowed: bool,
    /// When the bucket will be full again, in Unix microseconds: what is to be kept.
    pub full_at_micros: i64,
    /// How many more may pass at this instant.
    pub remaining: u32,
    /// Until the bucket is full again.
    pub full_in: Duration,
    /// Until one may pass again; zero if one may now.
    pub retry_after: Duration,
}

impl Rate {
    /// `quota` requests, at least one, within a `window`.
    #[must_use]
    pub fn new(quota: u32, window: Duration) -> Self {
        let quota = i64::from(quota.max(1));
        let window = i64::try_from(window.as_micros()).unwrap_or(i64::MAX / 4);
        // Rounded up: never more than the file says.
        Self { quota, each_micros: (window.max(1) + quota - 1) / quota }
    }

    /// How long a wholly empty bucket takes to fill.
    #[must_use]
    pub fn full_micros(self) -> i64 {
        self.each_micros.saturating_mul(self.quota)
    }

    /// Takes one out of a bucket that would be full at `full_at`; none for a full one.
    #[must_use]
    pub fn take(self, full_at: Option<i64>, now: i64) -> Taken {
        // A clock that was set back must not lock anybody out for longer than an empty bucket does.
        let held = full_at.unwrap_or(now).clamp(now, now.saturating_add(self.full_micros()));
        let wanted = held.saturating_add(self.each_micros);
        let allowed = wanted - now <= self.full_micros();
        self.taken(allowed, if allowed { wanted } else { held }, now)
    }

    /// What to say of a bucket that will be full at `full_at`, after one was taken from it or refused.
    #[must_use]
    pub fn taken(self, allowed: bool, full_at: i64, now: i64) -> Taken {
        let missing = (full_at - now).clamp(0, self.full_micros());
        let room = self.full_micros() - missing;
        let micros = |length: i64| Duration::from_micros(u64::try_from(length).unwrap_or_default());
        Taken {
            allowed,
            full_at_micros: full_at,
            remaining: u32::try_from(room / self.each_micros).unwrap_or(u32::MAX),
            full_in: micros(missing),
            retry_after: micros(self.each_micros - room),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000;
    const START: i64 = 1_790_000_000 * SECOND;

    #[test]
    fn a_bucket_gives_its_quota_at_once_and_then_one_at_a_time() {
        let rate = Rate::new(3, Duration::from_secs(30));
        let mut full_at = None;
        for remaining in [2, 1, 0] {
            let taken = rate.take(full_at, START);
            assert_eq!((taken.allowed, taken.remaining), (true, remaining));
            full_at = Some(taken.full_at_micros);
        }
        let refused = rate.take(full_at, START);
        assert_eq!(
            (refused.allowed, refused.retry_after, refused.full_in),
            (false, Duration::from_secs(10), Duration::from_secs(30))
        );
        assert_eq!(refused.full_at_micros, START + 30 * SECOND, "a refusal takes nothing");
        assert!(!rate.take(full_at, START + 10 * SECOND - 1).allowed);
        assert!(rate.take(full_at, START + 10 * SECOND).allowed);
        let rested = rate.take(full_at, START + 30 * SECOND);
        assert_eq!((rested.allowed, rested.remaining), (true, 2));
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out_for_longer_than_a_window() {
        let rate = Rate::new(1, Duration::from_secs(10));
        let taken = rate.take(None, START);
        let refused = rate.take(Some(taken.full_at_micros), START - 3600 * SECOND);
        assert_eq!((refused.allowed, refused.retry_after), (false, Duration::from_secs(10)));
    }

    proptest! {
        #[test]
        fn no_stretch_of_a_window_holds_more_than_a_full_bucket_and_what_comes_back(
            quota in 1..20_u32,
            gaps in prop::collection::vec(0..3 * SECOND, 1..200),
        ) {
            let (rate, window) = (Rate::new(quota, Duration::from_secs(10)), 10 * SECOND);
            let (mut now, mut full_at, mut passed) = (START, None, Vec::new());
            for gap in gaps {
                now += gap;
                let taken = rate.take(full_at, now);
                full_at = Some(taken.full_at_micros);
                if taken.allowed {
                    passed.push(now);
                }
            }
            for first in &passed {
                let within = passed.iter().filter(|&at| (*first..first + window).contains(at)).count();
                prop_assert!(within <= 2 * quota as usize, "{passed:?}");
                let at_once = passed.iter().filter(|at| *at == first).count();
                prop_assert!(at_once <= quota as usize, "{passed:?}");
            }
        }
    }
}
