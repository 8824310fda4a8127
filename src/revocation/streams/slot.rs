//! The place of one request at a time: whose it is, how far it has come, and whether it has to end.
//!
//! A request binds its place and gives it back: two uncontended locks and no allocation. Everything else is done by whoever
//! ends streams, who comes seldom.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::task::Waker;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use jiff::Timestamp;

use crate::identity::Caller;
use crate::telemetry::labels::{Label, StreamEnd};

/// What lasts longer than this is a stream, whatever it is: ordinary requests have ended by then.
pub(super) const LONG: Duration = Duration::from_secs(1);

/// Nothing of the answer is there yet.
const WAITING: u8 = 0;
/// The answer has begun.
const ANSWERED: u8 = 1;
/// What has begun is not meant to end by itself.
const STREAM: u8 = 2;
/// Nothing of the answer is there yet, and what was asked for may last without one: messages pass meanwhile.
const CALL: u8 = 3;

/// In a fate: it is to take effect now.
const NOW: u8 = 0x80;

/// What a request is, before anything of its answer is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What becomes of it is known once its answer begins.
    Request,
    /// Messages may pass for as long as both sides like, before the answer begins: a call of gRPC.
    Call,
}

/// A place for requests, one after another.
#[derive(Debug, Default)]
pub struct Slot {
    bound: AtomicBool,
    phase: AtomicU8,
    /// One more than the index of the [`StreamEnd`], and [`NOW`]; 0 while there is no reason to end.
    fate: AtomicU8,
    subject: Mutex<Subject>,
    waker: AtomicWaker,
}

/// Whose request is in the place, if any.
#[derive(Debug, Default)]
struct Subject {
    request: Option<Request>,
    /// How many requests there were: names the one of now.
    number: u64,
}

#[derive(Debug)]
struct Request {
    caller: Arc<Caller>,
    started: Instant,
    /// When it is to be found out whether it may go on; none before it was first looked at.
    until: Option<Timestamp>,
}

/// A request as whoever ends streams sees it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) caller: Arc<Caller>,
    pub(super) number: u64,
    pub(super) age: Duration,
    pub(super) until: Option<Timestamp>,
}

/// A request in its place, until it is dropped.
#[derive(Debug)]
pub struct Bound {
    slot: Arc<Slot>,
}

impl Slot {
    pub(super) fn bind(self: &Arc<Self>, caller: Arc<Caller>, started: Instant, kind: Kind) -> Bound {
        let mut subject = self.subject();
        subject.number += 1;
        subject.request = Some(Request { caller, started, until: None });
        self.phase.store(if kind == Kind::Call { CALL } else { WAITING }, Ordering::SeqCst);
        self.bound.store(true, Ordering::Relaxed);
        drop(subject);
        Bound { slot: Arc::clone(self) }
    }

    /// Why the request is to be cut off now; none for almost all.
    #[must_use]
    pub fn cut_off(&self) -> Option<StreamEnd> {
        let fate = self.fate.load(Ordering::Relaxed);
        if fate & NOW == 0 { None } else { end(fate) }
    }

    /// Has `waker` woken when the request is to be cut off, and says whether it is already. For nobody's request, nothing.
    #[must_use]
    pub fn watch(&self, waker: &Waker) -> bool {
        if !self.bound.load(Ordering::Relaxed) {
            return false;
        }
        self.waker.register(waker);
        self.cut_off().is_some()
    }

    /// The request in this place, if somebody is known to have sent it.
    pub(super) fn seen(&self, now: Instant) -> Option<Seen> {
        // Most places are empty, and asked in passing.
        if !self.bound.load(Ordering::Relaxed) {
            return None;
        }
        let subject = self.subject();
        let request = subject.request.as_ref()?;
        let age = now.saturating_duration_since(request.started);
        Some(Seen { caller: Arc::clone(&request.caller), number: subject.number, age, until: request.until })
    }

    /// Whether the request is a stream: by its answer, or because it lasts.
    pub(super) fn is_stream(&self, age: Duration) -> bool {
        match self.phase.load(Ordering::SeqCst) {
            STREAM => true,
            ANSWERED | CALL => age >= LONG,
            _ => false,
        }
    }

    /// Why it is to end once it turns out to be a stream.
    pub(super) fn condemned(&self) -> Option<StreamEnd> {
        end(self.fate.load(Ordering::SeqCst))
    }

    /// Has request `number` end: a stream now, any other one if it becomes a stream. True if it is cut off by this.
    pub(super) fn condemn(&self, number: u64, why: StreamEnd, now: Instant) -> bool {
        let subject = self.subject();
        let Some(request) = subject.request.as_ref().filter(|_| subject.number == number) else { return false };
        if self.cut_off().is_some() {
            return false;
        }
        let fate = fate(self.condemned().unwrap_or(why));
        // First that, then the question: an answer that begins now asks the other way round, and one of both sees the other.
        self.fate.store(fate, Ordering::SeqCst);
        let stream = self.is_stream(now.saturating_duration_since(request.started));
        if stream {
            self.fate.store(fate | NOW, Ordering::SeqCst);
        }
        drop(subject);
        if stream {
            self.waker.wake();
        }
        stream
    }

    /// Lets request `number` go on until then.
    pub(super) fn extend(&self, number: u64, until: Timestamp) {
        let mut subject = self.subject();
        if subject.number == number
            && let Some(request) = &mut subject.request
        {
            request.until = Some(until);
        }
    }

    fn subject(&self) -> MutexGuard<'_, Subject> {
        self.subject.lock().expect("no holder of a subject panics")
    }
}

impl Bound {
    /// The answer begins; `stream` says that it is not meant to end by itself. Why it must not, if what admitted the request
    /// is over by now and this is a stream: nothing of it may be passed on.
    #[must_use]
    pub fn answered(&self, stream: bool, age: impl FnOnce() -> Duration) -> Option<StreamEnd> {
        self.slot.phase.store(if stream { STREAM } else { ANSWERED }, Ordering::SeqCst);
        self.slot.condemned().filter(|_| stream || age() >= LONG)
    }

    /// Why the request was cut off; none for almost all.
    #[must_use]
    pub fn cut_off(&self) -> Option<StreamEnd> {
        self.slot.cut_off()
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let mut subject = self.slot.subject();
        self.slot.bound.store(false, Ordering::Relaxed);
        self.slot.fate.store(0, Ordering::SeqCst);
        subject.request = None;
    }
}

fn fate(why: StreamEnd) -> u8 {
    u8::try_from(why.index() + 1).expect("there are few reasons")
}

fn end(fate: u8) -> Option<StreamEnd> {
    let index = usize::from(fate & !NOW).checked_sub(1)?;
    StreamEnd::ALL.get(index).copied()
}
