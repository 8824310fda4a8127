//! How much may be asked of an upstream at once, and how much of that may be repetition.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Retries are compared with the requests of a stretch this long.
const RETRY_WINDOW: Duration = Duration::from_secs(10);
/// So many retries within a stretch are never too many: a share of little traffic would be none.
const RETRIES_MIN: usize = 10;

/// A number of places.
#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    taken: Arc<AtomicUsize>,
}

/// A place that is taken until it is dropped.
#[derive(Debug)]
pub(in crate::proxy) struct Place(Arc<AtomicUsize>);

impl Places {
    pub(super) fn new(max: u32) -> Self {
        Self { max: max as usize, taken: Arc::default() }
    }

    /// A place; none if all are taken.
    pub(super) fn take(&self) -> Option<Place> {
        // Counted first: between a look and the count somebody else could take the same place.
        let place = Place(Arc::clone(&self.taken));
        (self.taken.fetch_add(1, Ordering::Relaxed) < self.max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Keeps retries a small share of the traffic: when everything fails, repeating everything doubles the load.
#[derive(Debug)]
pub(super) struct RetryBudget {
    percent: usize,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    attempts_before: usize,
    retries: usize,
}

impl RetryBudget {
    pub(super) fn new(percent: u32) -> Self {
        Self { percent: percent as usize, window: Mutex::default() }
    }

    /// Whether one more retry is affordable; it counts as made then. `attempts` counts all attempts so far, first ones
    /// and retries, so that a request that needs no retry costs nothing here.
    pub(super) fn take(&self, attempts: usize, now: Instant) -> bool {
        let mut window = self.window.lock().expect("no holder of the budget panics");
        if window.began.is_none_or(|began| now.saturating_duration_since(began) >= RETRY_WINDOW) {
            *window = Window { began: Some(now), attempts_before: attempts, retries: 0 };
        }
        let requests = attempts.wrapping_sub(window.attempts_before).saturating_sub(window.retries);
        let affordable = window.retries < RETRIES_MIN.max(requests * self.percent / 100);
        window.retries += usize::from(affordable);
        affordable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};

    #[test]
    fn places_are_given_back_when_dropped() {
        let places = Places::new(2);
        let (first, second) = (places.take(), places.take());
        assert!(first.is_some() && second.is_some() && places.take().is_none());
        assert!(places.take().is_none(), "one that was refused takes no place");
        drop(first);
        assert!(places.take().is_some());
    }

    #[test]
    fn retries_are_a_share_of_the_requests_of_the_last_seconds() {
        let (budget, start) = (RetryBudget::new(20), SystemClock.monotonic());
        // A retry is an attempt, too.
        let mut attempts = 500;
        let mut taken = |requests, now| {
            attempts += requests;
            (0..1000).take_while(|_| budget.take(attempts, now).then(|| attempts += 1).is_some()).count()
        };
        assert_eq!(taken(0, start), RETRIES_MIN, "what came before does not count");
        assert_eq!(taken(100, start), 10, "20 for 100 requests, of which 10 were made");
        assert_eq!(taken(4, start + RETRY_WINDOW - Duration::from_millis(1)), 0);
        assert_eq!(taken(1, start + RETRY_WINDOW - Duration::from_millis(1)), 1, "21 for 105");
        assert_eq!(taken(0, start + RETRY_WINDOW), RETRIES_MIN);
    }
}
