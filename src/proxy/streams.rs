//! Where requests meet what ends streams: each is served in a place of its connection, bound to its caller once it is
//! admitted, and cut off when the place says so.
//!
//! How it is cut off depends on what is below. A connection of HTTP/1 is cut by `head_guard`, which can still say goodbye in a
//! WebSocket, and pingora then ends the request as if its client had gone: one line in the log, as always. Where nothing is
//! below that could (a stream of HTTP/2), and where pingora does not look, the request is dropped: its stream is reset, or
//! ended by trailers if it is a call of gRPC, its upstream's connection closed, and the line is written here.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::*;
use pingora_timeout::sleep;

use super::context::Exchange;
use super::{grpc, http2};
use crate::admission::Denied;
use crate::policy::access::Permit;
use crate::reason::Reason;
use crate::revocation::streams::{Kind, Slot};
use crate::telemetry::labels::{Label, StreamEnd};

/// How long a guarded connection has to end by itself: a close frame, and what the client still says to it.
pub(super) const PARTING: Duration = Duration::from_millis(500);

tokio::task_local! {
    /// The place of the request that is being served.
    static PLACE: Arc<Slot>;
}

/// Who cuts a request off first.
#[derive(Clone, Copy)]
pub(super) enum Below<'a> {
    /// The connection, which has this place, too.
    Guarded,
    /// Nobody: a stream of HTTP/2 shares a connection that has to live on. Told why, before the request is dropped.
    Bare(&'a (dyn Fn(Reason) + Sync)),
}

/// Serves a request in its place. None if it was cut off and did not end by itself.
pub(super) async fn serve<F: Future>(place: &Arc<Slot>, below: Below<'_>, request: F) -> Option<F::Output> {
    let mut request = pin!(PLACE.scope(Arc::clone(place), request));
    let mut parting = None;
    poll_fn(|cx| {
        if let Poll::Ready(done) = request.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        if !place.watch(cx.waker()) {
            return Poll::Pending;
        }
        match (below, place.cut_off()) {
            (Below::Bare(tell), why) => {
                why.map(reason).into_iter().for_each(tell);
                Poll::Ready(None)
            }
            (Below::Guarded, _) => part(&mut parting, cx).map(|()| None),
        }
    })
    .await
}

fn part(parting: &mut Option<Pin<Box<dyn Future<Output = ()> + Send>>>, cx: &mut Context<'_>) -> Poll<()> {
    let sleeping = parting.get_or_insert_with(|| {
        // The connection may have been asked before it was cut off.
        cx.waker().wake_by_ref();
        // Longer than the connection's own.
        Box::pin(sleep(PARTING + Duration::from_millis(100)))
    });
    sleeping.as_mut().poll(cx)
}

/// Binds a request to what admitted it. `since` was asked for before its token was checked.
///
/// # Errors
/// It was revoked meanwhile.
pub(super) fn bind(head: &RequestHeader, ctx: &mut Exchange, permit: &Permit, since: u64) -> std::result::Result<(), Denied> {
    let Some(caller) = permit.caller() else { return Ok(()) };
    let Ok(place) = PLACE.try_with(Arc::clone) else { return Ok(()) };
    let kind = if grpc::is_request(head) { Kind::Call } else { Kind::Request };
    if kind == Kind::Call {
        http2::says_why(head, &ctx.id);
    }
    let bound = ctx.snapshot.parts.streams.bind(&place, caller, (ctx.started, kind), since);
    ctx.bound = Some(bound.map_err(Denied::revoked)?);
    Ok(())
}

/// The upstream's final answer has begun.
///
/// # Errors
/// What admitted the request is over, and the answer is a stream or took long: nothing of it is passed on.
pub(super) fn answered(response: &ResponseHeader, ctx: &mut Exchange) -> Result<()> {
    ctx.status = response.status.as_u16();
    let Some(bound) = &ctx.bound else { return Ok(()) };
    let age = || ctx.snapshot.parts.clock.monotonic().saturating_duration_since(ctx.started);
    let Some(why) = bound.answered(is_stream(response.status, &response.headers), age) else { return Ok(()) };
    ctx.reason = Some(reason(why));
    ctx.detail = Some(why.word());
    // Neither side's fault: the server is not to be held responsible.
    Err(Error::explain(InternalError, "what admitted the request has ended"))
}

/// Answers that end when somebody wants them to.
fn is_stream(status: StatusCode, headers: &HeaderMap) -> bool {
    let of_type = |prefix: &[u8]| {
        let media_type = headers.get(header::CONTENT_TYPE).map(http::HeaderValue::as_bytes);
        media_type.and_then(|media_type| media_type.get(..prefix.len())).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    status == StatusCode::SWITCHING_PROTOCOLS || of_type(b"text/event-stream") || of_type(b"application/grpc")
}

/// Notes why a request was cut off, for what is said about it.
pub(super) fn note(ctx: &mut Exchange) {
    if let Some(why) = ctx.cut_off() {
        ctx.reason.get_or_insert(reason(why));
        ctx.detail.get_or_insert(why.word());
    }
}

/// What the client would be told if it asked again.
pub(super) const fn reason(why: StreamEnd) -> Reason {
    match why {
        StreamEnd::Token | StreamEnd::Session | StreamEnd::Principal => Reason::RevokedToken,
        StreamEnd::Expired => Reason::ExpiredToken,
    }
}

/// A request that was dropped leaves the line that `logging` writes for every other one.
impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.recorded && self.cut_off().is_some() {
            note(self);
            Arc::clone(&self.snapshot).recorder.dropped(self);
        }
    }
}
