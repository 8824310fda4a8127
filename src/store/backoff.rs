//! How long to wait before trying a store again: longer each time, never in step with other replicas.

use std::time::Duration;

use uuid::Uuid;

/// Exponential waits with full jitter, between a tenth of the first step and `longest`.
///
/// A fleet that lost its store at one instant must not come back at one instant: each wait is a random part of
/// its step (the "full jitter" of the AWS Architecture Blog), and the cap keeps recovery within seconds.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    step: Duration,
}

impl Backoff {
    /// Waits of up to `first`, then up to twice as long each time, up to `longest`.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, step: first }
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        // A v4 UUID is 122 bits from the operating system: chance enough without another dependency.
        self.wait_by(Uuid::new_v4().as_u64_pair().1 as u32)
    }

    /// The same for a chance of which every value is as likely.
    fn wait_by(&mut self, chance: u32) -> Duration {
        let wait = self.step.mul_f64(f64::from(chance) / f64::from(u32::MAX)).max(self.first / 10);
        self.step = (self.step * 2).min(self.longest);
        wait
    }

    /// To be called after a success: the next failure waits briefly again.
    pub fn reset(&mut self) {
        self.step = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_fails_together_does_not_come_back_together() {
        let (first, longest) = (Duration::from_millis(50), Duration::from_secs(2));
        let after = |failures: u32, chance: u32| {
            let mut backoff = Backoff::new(first, longest);
            (0..=failures).map(|_| backoff.wait_by(chance)).last().expect("one at least")
        };
        for (failures, step) in [(0, 50), (1, 100), (5, 1600), (6, 2000), (60, 2000)] {
            let step = Duration::from_millis(step);
            assert_eq!(after(failures, u32::MAX), step);
            // Spread over the whole of the step, not around one instant of it.
            assert!(after(failures, u32::MAX / 2).abs_diff(step / 2) < Duration::from_millis(1));
            assert_eq!(after(failures, 0), first / 10);
        }
    }

    #[test]
    fn waits_grow_to_the_longest_and_never_vanish() {
        let (first, longest) = (Duration::from_millis(50), Duration::from_secs(2));
        let mut backoff = Backoff::new(first, longest);
        let mut step = first;
        for _ in 0..20 {
            let wait = backoff.next_wait();
            assert!(wait >= first / 10 && wait <= step, "{wait:?} of {step:?}");
            step = (step * 2).min(longest);
        }
        backoff.reset();
        assert!(backoff.next_wait() <= first);
    }
}
