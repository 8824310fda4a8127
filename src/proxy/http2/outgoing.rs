//! The response to a request of HTTP/2: a head, and as much of a body as its client makes room for.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use h2::server::SendResponse;
use http::{HeaderMap, Response, header};
use pingora::http::ResponseHeader;
use pingora::prelude::*;
use pingora::protocols::http::date::get_cached_date;
use pingora_timeout::timeout;

use super::exchange::Exchange;
use super::session::broken;
use crate::proxy::grpc;
use crate::reason::Reason;

/// Fields that concern one connection of HTTP/1.1 and are malformed in HTTP/2 (RFC 9113 §8.2.2).
const CONNECTION_FIELDS: [header::HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HeaderName::from_static("keep-alive"),
    header::HeaderName::from_static("proxy-connection"),
];

/// A response.
pub(super) struct Outgoing {
    respond: SendResponse<Bytes>,
    sending: Option<SendStream<Bytes>>,
    written: Option<Box<ResponseHeader>>,
    /// Whether it is complete.
    ended: bool,
    sent: usize,
    pub(super) timeout: Option<Duration>,
}

impl Outgoing {
    pub(super) fn new(respond: SendResponse<Bytes>) -> Self {
        Self { respond, sending: None, written: None, ended: false, sent: 0, timeout: None }
    }

    /// The final head, once it is sent.
    pub(super) fn written(&self) -> Option<&ResponseHeader> {
        self.written.as_deref()
    }

    /// Whether the response is complete.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn sent(&self) -> usize {
        self.sent
    }

    /// Why there is no client any more, once that is so.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Box<Error>> {
        let reset = match &mut self.sending {
            Some(sending) => sending.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        Poll::Ready(match ready!(reset) {
            Ok(reason) => Error::explain(ConnectionClosed, format!("the client gave up: {reason}")),
            Err(error) => broken(ConnectionClosed, error),
        })
    }

    pub(super) fn head(&mut self, mut head: Box<ResponseHeader>, end: bool) -> Result<()> {
        if self.ended || self.written.is_some() {
            return Ok(());
        }
        CONNECTION_FIELDS.iter().for_each(|name| drop(head.remove_header(name)));
        if head.status.is_informational() {
            let interim = Response::from_parts(head.as_owned_parts(), ());
            // Nobody misses one that cannot be sent any more.
            drop(self.respond.send_informational(interim));
            return Ok(());
        }
        head.insert_header(header::DATE, get_cached_date())?;
        let response = Response::from_parts(head.as_owned_parts(), ());
        let sending = self.respond.send_response(response, end).map_err(|error| broken(WriteError, error))?;
        (self.written, self.sending, self.ended) = (Some(head), Some(sending), end);
        Ok(())
    }

    pub(super) async fn body(&mut self, data: Bytes, end: bool, exchange: &Exchange) -> Result<()> {
        let Some(limit) = self.timeout else { return self.all(data, end, exchange).await };
        let sent = timeout(limit, self.all(data, end, exchange)).await;
        sent.unwrap_or_else(|_| Error::e_explain(WriteTimedout, "the client does not read the response"))
    }

    async fn all(&mut self, mut data: Bytes, end: bool, exchange: &Exchange) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        let Some(sending) = &mut self.sending else { return Error::e_explain(InternalError, "a body before its head") };
        while !data.is_empty() {
            sending.reserve_capacity(data.len());
            let capacity = poll_fn(|cx| {
                if exchange.is_overdue(cx) {
                    return Poll::Ready(Error::e_explain(WriteTimedout, "the exchange takes too long"));
                }
                let capacity = ready!(sending.poll_capacity(cx)).unwrap_or(Err(h2::Reason::CANCEL.into()));
                Poll::Ready(capacity.map_err(|error| broken(WriteError, error)))
            });
            let capacity = capacity.await?;
            let piece = data.split_to(capacity.min(data.len()));
            self.sent += piece.len();
            let last = end && data.is_empty();
            sending.send_data(piece, last).map_err(|error| broken(WriteError, error))?;
            self.ended = last;
        }
        if end { self.end() } else { Ok(()) }
    }

    pub(super) fn trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        let Some(sending) = &mut self.sending else { return Error::e_explain(InternalError, "trailers before a head") };
        sending.send_trailers(trailers).map_err(|error| broken(WriteError, error))?;
        self.ended = true;
        Ok(())
    }

    /// Ends a response that has begun. One that has not is reset when this is dropped.
    pub(super) fn end(&mut self) -> Result<()> {
        if let Some(sending) = self.sending.as_mut().filter(|_| !self.ended) {
            sending.send_data(Bytes::new(), true).map_err(|error| broken(WriteError, error))?;
            self.ended = true;
        }
        Ok(())
    }

    /// Ends the answer of a call of gRPC that must not go on, or that never began, with a status that says why. What is neither is
    /// left to be reset.
    pub(super) fn break_off(&mut self, reason: Reason, decision_id: &str) {
        let ended = match (&mut self.sending, &self.written) {
            _ if self.ended => return,
            (Some(sending), Some(head)) if grpc::has_its_type(&head.headers) => {
                sending.send_trailers(grpc::trailers(reason, decision_id))
            }
            (None, None) => {
                let (mut head, ()) = Response::new(()).into_parts();
                head.headers = grpc::trailers_only(reason, decision_id);
                self.respond.send_response(Response::from_parts(head, ()), true).map(drop)
            }
            _ => return,
        };
        // The client may have gone meanwhile; then there is nobody to tell.
        self.ended = ended.is_ok();
    }

    /// Ends it so that its client sees that it is not whole.
    pub(super) fn abandon(&mut self) {
        if !self.ended {
            self.respond.send_reset(h2::Reason::INTERNAL_ERROR);
            self.ended = true;
        }
    }
}
