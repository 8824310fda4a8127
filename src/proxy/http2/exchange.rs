//! What is known of one request beside its head, found by the proxy's phases among the head's extensions.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Context;
use std::time::Duration;

use pingora::http::RequestHeader;
use tokio::time::Sleep;

use super::head::TooManyFields;
use super::ward::Ward;
use crate::proxy::arrival::Arrival;
use crate::reason::Reason;

/// One request; it is open until this is dropped.
pub(super) struct Exchange {
    ward: Arc<Ward>,
    too_many: Option<TooManyFields>,
    /// Whether `overdue` counts; looked at with every read, unlike the lock.
    timed: AtomicBool,
    /// The end of the time that the exchange has.
    overdue: Mutex<Option<Pin<Box<Sleep>>>>,
    /// By which id its client can ask about it, if it is a call of gRPC: those are told why they end.
    call: OnceLock<Box<str>>,
    /// Why it was cut off, if it was.
    cut_off: OnceLock<Reason>,
}

impl Exchange {
    pub(super) fn begin(ward: Arc<Ward>, too_many: Option<TooManyFields>) -> Self {
        ward.request_begun();
        Self {
            ward,
            too_many,
            timed: AtomicBool::new(false),
            overdue: Mutex::default(),
            call: OnceLock::new(),
            cut_off: OnceLock::new(),
        }
    }

    /// Whether its time is over; wakes the task when it is.
    pub(super) fn is_overdue(&self, cx: &mut Context<'_>) -> bool {
        if !self.timed.load(Ordering::Relaxed) {
            return false;
        }
        let mut overdue = self.overdue.lock().expect("no holder of the time panics");
        let over = overdue.as_mut().is_some_and(|overdue| overdue.as_mut().poll(cx).is_ready());
        if over {
            // Told once, as by HTTP/1.1's guard: what is written afterwards is the answer.
            self.timed.store(false, Ordering::Relaxed);
        }
        over
    }

    /// The request is about to be dropped, because what admitted it is over.
    pub(super) fn cut_off(&self, why: Reason) {
        // The first reason counts.
        self.cut_off.get_or_init(|| why);
    }

    /// What the client is to be told of its end, which nobody else tells: why, and the id of the request.
    pub(super) fn last_words(&self) -> Option<(Reason, &str)> {
        Some((*self.cut_off.get()?, self.call.get()?))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.ward.request_ended();
    }
}

fn exchange(head: &RequestHeader) -> Option<&Arc<Exchange>> {
    head.extensions.get()
}

/// How the client of a request came; none for other protocols.
pub(in crate::proxy) fn arrival(head: &RequestHeader) -> Option<Arc<Arrival>> {
    exchange(head).map(|exchange| Arc::clone(exchange.ward.arrival()))
}

/// Whether fields of a head were forgotten, because there were too many: nothing may be decided by the rest.
pub(in crate::proxy) fn is_curtailed(head: &RequestHeader) -> bool {
    exchange(head).is_some_and(|exchange| exchange.too_many.is_some())
}

/// Lets the exchange have so much more time; none for as much as it likes. Afterwards its client looks as if it had gone.
pub(in crate::proxy) fn give_up_after(head: &RequestHeader, remaining: Option<Duration>) {
    let Some(exchange) = exchange(head) else { return };
    exchange.timed.store(remaining.is_some(), Ordering::Relaxed);
    *exchange.overdue.lock().expect("no holder of the time panics") =
        remaining.map(|remaining| Box::pin(tokio::time::sleep(remaining)));
}

/// If this request is cut off, its client is told why, and this id: it is a call of gRPC.
pub(in crate::proxy) fn says_why(head: &RequestHeader, id: &str) {
    if let Some(exchange) = exchange(head) {
        drop(exchange.call.set(id.into()));
    }
}

/// A request was refused as one that no client makes that keeps to the rules.
pub(in crate::proxy) fn breaks_protocol(head: &RequestHeader) {
    if let Some(exchange) = exchange(head) {
        exchange.ward.fault();
    }
}
