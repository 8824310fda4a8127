//! Live streams die with the session: what outlasts an ordinary request ends when what admitted it does.
//!
//! Every request of a known caller is bound to its token, its session and its principal in a place that belongs to the
//! connection, so that whatever it turns out to be, a WebSocket, events, a download, it can be found. It is looked at only
//! when something is revoked ([`ObserveRevocations`]) and a few times a second in passing ([`StreamWatch`]):
//! a request that ends at once is ended by nobody else, even if its caller logs out meanwhile.
//!
//! A request that is being admitted while something is revoked is not lost between the two: it notes how many tellings there
//! were before its token is checked, and compares what came since once it is bound.

mod news;
mod slot;
mod watch;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use papaya::HashMap;
use tokio::sync::Notify;

pub use slot::{Bound, Kind, Slot};
pub use watch::StreamWatch;

use news::News;

use super::ObserveRevocations;
use crate::clock::Clock;
use crate::identity::Caller;
use crate::store::{Revocation, RevokedBy};
use crate::telemetry::labels::StreamEnd;
use crate::telemetry::metrics::Metrics;

/// The requests of known callers that are being served.
pub struct OpenStreams {
    slots: HashMap<u64, Arc<Slot>>,
    next: AtomicU64,
    /// How often something was revoked.
    tellings: AtomicU64,
    news: Mutex<News>,
    told: Notify,
    unsure: AtomicBool,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

/// A place for the requests of a connection (HTTP/1), or of one stream of it (HTTP/2), until it is dropped.
pub struct Seat {
    streams: Arc<OpenStreams>,
    id: u64,
    slot: Arc<Slot>,
}

impl std::fmt::Debug for OpenStreams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenStreams").field("slots", &self.slots.len()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seat").field("slot", &self.slot).finish_non_exhaustive()
    }
}

impl OpenStreams {
    /// No streams yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            slots: HashMap::new(),
            next: AtomicU64::new(0),
            tellings: AtomicU64::new(0),
            news: Mutex::default(),
            told: Notify::new(),
            unsure: AtomicBool::new(false),
            clock,
            metrics,
        })
    }

    /// A place for requests.
    #[must_use]
    pub fn seat(self: &Arc<Self>) -> Seat {
        let (id, slot) = (self.next.fetch_add(1, Ordering::Relaxed), Arc::<Slot>::default());
        self.slots.pin().insert(id, Arc::clone(&slot));
        Seat { streams: Arc::clone(self), id, slot }
    }

    /// How often something was revoked so far. To be asked before a token is checked.
    #[must_use]
    pub fn tellings(&self) -> u64 {
        self.tellings.load(Ordering::SeqCst)
    }

    /// Binds a request, with its beginning, whose token was found good after there had been `since` tellings.
    ///
    /// # Errors
    /// It was revoked meanwhile.
    pub fn bind(
        &self,
        slot: &Arc<Slot>,
        caller: &Arc<Caller>,
        (started, kind): (Instant, Kind),
        since: u64,
    ) -> Result<Bound, RevokedBy> {
        let bound = slot.bind(Arc::clone(caller), started, kind);
        // Whoever tells counts first and looks for streams then; here it is the other way round. One of both sees the other.
        fence(Ordering::SeqCst);
        if self.tellings() == since {
            return Ok(bound);
        }
        match self.news().since(since, &caller.token) {
            Ok(None) => Ok(bound),
            Ok(Some(by)) => Err(by),
            Err(()) => {
                self.check_all();
                Ok(bound)
            }
        }
    }

    /// Somebody was let in whose token nobody could vouch for: what is open is asked about as soon as there is an answer.
    pub fn doubt(&self) {
        self.check_all();
    }

    /// Has those of the requests end that a revocation covers.
    fn cut(&self) {
        let batch = self.news().take();
        if batch.is_empty() {
            return;
        }
        let now = self.clock.monotonic();
        for slot in self.slots.pin().values() {
            if let Some(seen) = slot.seen(now)
                && let Some(by) = batch.covering(&seen.caller.token)
            {
                self.condemn(slot, seen.number, end_by(by));
            }
        }
    }

    fn condemn(&self, slot: &Slot, number: u64, why: StreamEnd) {
        if slot.condemn(number, why, self.clock.monotonic()) {
            self.metrics.stream_killed(why);
        }
    }

    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().expect("no holder of the news panics")
    }
}

impl ObserveRevocations for OpenStreams {
    fn revoked(&self, revocations: &[Revocation]) {
        if revocations.is_empty() {
            return;
        }
        let mut news = self.news();
        let number = self.tellings.fetch_add(1, Ordering::SeqCst) + 1;
        news.told(number, revocations.iter().map(|revocation| revocation.covers.clone()));
        drop(news);
        self.told.notify_one();
    }

    fn check_all(&self) {
        self.unsure.store(true, Ordering::Release);
    }
}

impl Seat {
    /// The place.
    #[must_use]
    pub fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.streams.slots.pin().remove(&self.id);
    }
}

const fn end_by(by: RevokedBy) -> StreamEnd {
    match by {
        RevokedBy::Token => StreamEnd::Token,
        RevokedBy::Session => StreamEnd::Session,
        RevokedBy::Principal => StreamEnd::Principal,
    }
}

#[cfg(test)]
mod tests;
