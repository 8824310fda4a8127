//! Time and chance, as arguments: the only reader of the system's clocks and of its randomness.
//!
//! Everything below `app` receives a [`Clock`] or an instant, an [`Entropy`] or bytes, so that rules can be
//! tested at the instant where one verdict becomes the other.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Where the present comes from.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock, for instants that are stored, signed or shown.
    fn now(&self) -> Timestamp;

    /// The monotonic clock, for durations. Never comparable between machines.
    fn monotonic(&self) -> Instant;
}

/// Where unpredictable bytes come from.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `bytes` from a cryptographically secure source.
    fn fill(&self, bytes: &mut [u8]);
}

/// The machine's own clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the monotonic clock")]
    fn monotonic(&self) -> Instant {
        Instant::now()
    }
}

/// The operating system's random source, through aws-lc.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        aws_lc_rs::rand::fill(bytes).expect("the operating system always provides random bytes");
    }
}

/// A clock that stands still until it is moved: for tests of rules that depend on time.
#[derive(Debug)]
pub struct ManualClock {
    start: Instant,
    present: Mutex<(Timestamp, Duration)>,
}

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self { start: SystemClock.monotonic(), present: Mutex::new((now, Duration::ZERO)) }
    }

    /// Moves both clocks forward by `by`.
    pub fn advance(&self, by: Duration) {
        let mut present = self.present.lock().expect("no holder of the clock panics");
        present.0 += by;
        present.1 += by;
    }

    /// Sets the time of day back by `by`, as a correction by the network does; the monotonic clock goes on.
    pub fn set_back(&self, by: Duration) {
        self.present.lock().expect("no holder of the clock panics").0 -= by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.present.lock().expect("no holder of the clock panics").0
    }

    fn monotonic(&self) -> Instant {
        self.start + self.present.lock().expect("no holder of the clock panics").1
    }
}
