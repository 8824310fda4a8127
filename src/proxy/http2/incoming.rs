//! The body of a request of HTTP/2, as its client sends it: with a time for all of it, a piece at a time.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use pingora::prelude::*;
use tokio::time::Sleep;

use super::exchange::Exchange;
use super::replay::Replay;
use super::session::broken;

/// At least so much of a body must arrive in the time that one pause may take; otherwise a byte now and then would do.
const PROGRESS_BYTES: usize = 4096;

/// A request's body.
pub(super) struct Incoming {
    body: RecvStream,
    /// Whether it was read to its end.
    done: bool,
    received: usize,
    replay: Replay,
    pub(super) timeout: Option<Duration>,
    /// The end of the time for the next `PROGRESS_BYTES`, and how many of them have come.
    patience: Option<Pin<Box<Sleep>>>,
    progress: usize,
}

impl Incoming {
    pub(super) fn new(body: RecvStream) -> Self {
        Self { body, done: false, received: 0, replay: Replay::default(), timeout: None, patience: None, progress: 0 }
    }

    /// Keeps the beginning of it from now on.
    pub(super) fn keep(&mut self) {
        self.replay.begin(self.received);
    }

    pub(super) fn kept(&self) -> &Replay {
        &self.replay
    }

    pub(super) fn received(&self) -> usize {
        self.received
    }

    /// Whether nothing of it is left to read.
    pub(super) fn is_done(&self) -> bool {
        self.done || self.body.is_end_stream()
    }

    /// The next piece, within this `pause`; none at its end.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        pause: Option<Duration>,
    ) -> Poll<Result<Option<Bytes>>> {
        if exchange.is_overdue(cx) {
            return Poll::Ready(Error::e_explain(ReadError, "the exchange takes too long"));
        }
        match self.body.poll_data(cx) {
            Poll::Ready(Some(Ok(data))) => Poll::Ready(Ok(Some(self.take(data)))),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Err(broken(ReadError, error))),
            // Trailers are never fields (RFC 9110 §6.5.1), and an HTTP/1.1 upstream is not sent any.
            Poll::Ready(None) => {
                self.done = true;
                Poll::Ready(Ok(None))
            }
            Poll::Pending => {
                let Some(pause) = pause else { return Poll::Pending };
                let patience = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
                ready!(patience.as_mut().poll(cx));
                Poll::Ready(Error::e_explain(ReadTimedout, "reading a request body"))
            }
        }
    }

    fn take(&mut self, data: Bytes) -> Bytes {
        self.received += data.len();
        self.replay.keep(&data);
        self.progress += data.len();
        if self.progress >= PROGRESS_BYTES {
            (self.progress, self.patience) = (0, None);
        }
        // Fails where the request is reset already, which the next read says.
        drop(self.body.flow_control().release_capacity(data.len()));
        data
    }
}
