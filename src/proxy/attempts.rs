//! Attempts at the upstream: where a request goes, whether it goes again, and what that tells about the server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora::RetryType;
use pingora::prelude::*;
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;

use super::context::Exchange;
use super::head_guard::HeadGuard;
use super::http2;
use super::permitted;
use super::upstream::{HashBy, Key, Place, Served, Upstream, Wanted};
use super::websocket;
use crate::policy::access::Permit;
use crate::policy::head;
use crate::policy::route::Timeouts;
use crate::reason::Reason;
use crate::telemetry::metrics::UpstreamMetrics;

/// pingora counts attempts, not retries: one request and one retry.
pub const ATTEMPTS_MAX: usize = 2;

/// What a request holds of its upstream, given back when it ends. For most requests nothing but the upstream itself.
#[derive(Default)]
pub(super) struct Held {
    /// Found with the first attempt.
    upstream: Option<Arc<Upstream>>,
    /// Its place among the requests that may be there at once.
    connection: Option<Place>,
    /// Its place among those that wait for a connection.
    pending: Option<Place>,
    /// Its server, where there are several.
    served: Option<Served>,
}

/// The server for the next attempt.
///
/// # Errors
/// There is none; `ctx.reason` says why.
pub(super) fn begin_attempt(session: &Session, ctx: &mut Exchange) -> Result<Box<HttpPeer>> {
    ctx.attempts += 1;
    // What was taken of the body is sent again, and counted again.
    ctx.body_bytes = 0;
    let started = *ctx.upstream_started.get_or_insert_with(|| ctx.snapshot.parts.clock.monotonic());
    let (permit, ..) = permitted(ctx)?;
    let timeouts = permit.route().timeouts;
    if let Some(timeouts) = timeouts.filter(|_| ctx.attempts == 1) {
        give_up_at(session, ctx, until_head(&timeouts, ctx.started, started));
    }
    let mut held = std::mem::take(&mut ctx.held);
    let peer = choose(session, ctx, &mut held, timeouts.as_ref());
    ctx.held = held;
    let mut peer = peer.map_err(|reason| {
        ctx.reason = Some(reason);
        let what = "no server may be asked now";
        if reason == Reason::UpstreamUnreachable {
            Error::explain(ConnectNoRoute, what)
        } else {
            Error::explain(InternalError, what)
        }
    })?;
    websocket::prepare(session, ctx, &mut peer);
    Ok(peer)
}

fn choose(
    session: &Session,
    ctx: &Exchange,
    held: &mut Held,
    timeouts: Option<&Timeouts>,
) -> std::result::Result<Box<HttpPeer>, Reason> {
    let permit = ctx.permit().ok_or(Reason::Internal)?;
    if held.upstream.is_none() {
        held.upstream = ctx.snapshot.parts.upstreams.get(&permit.route().upstream).map(Arc::clone);
    }
    let upstream = held.upstream.as_deref().ok_or(Reason::Internal)?;
    let head = session.req_header();
    if held.connection.is_none() {
        held.connection = upstream.enter()?;
    }
    held.pending = upstream.queue()?;
    let failed = held.served.take();
    let wanted = Wanted {
        websocket: permit.route().websocket && (!upstream.speaks_http2() || head.headers.contains_key(http::header::UPGRADE)),
        // Asking pingora to take nothing out costs it a look-up in the head for each of ten names.
        strip: head::has_hop_by_hop(&head.headers),
        timeouts,
        key: key(upstream, session, permit, ctx),
        avoid: failed.as_ref().map(|served| &*served.server),
    };
    let (peer, served) = upstream.choose(&wanted)?;
    held.served = served;
    Ok(peer)
}

fn upstream(ctx: &Exchange) -> Option<&Upstream> {
    ctx.held.upstream.as_deref()
}

impl Held {
    /// What counts the upstream's answers, once it was chosen.
    pub(super) fn answers(&self) -> Option<&UpstreamMetrics> {
        self.upstream.as_ref().map(|upstream| upstream.answers())
    }
}

/// A connection could not be made. Nothing was sent, so any method may be tried again, at another server if there is one.
pub(super) fn not_connected(ctx: &mut Exchange, error: &mut Error) {
    ctx.held.pending = None;
    failed(ctx);
    error.set_retry(may_retry(ctx));
}

/// The exchange with the server failed. `reused` says whether on a connection that had been used before.
pub(super) fn broke_off(session: &mut Session, ctx: &mut Exchange, error: &mut Error, reused: bool) {
    // RFC 9110 §9.2.2: an idempotent request whose pooled connection turned out to be closed. Once a byte of the
    // body was taken from the client, no other server sees the request, unless the first one says that it did nothing.
    let whole = !session.as_ref().retry_buffer_truncated();
    if !(whole && is_unprocessed(error)) {
        if whole && ctx.body_bytes == 0 && session.req_header().method.is_idempotent() {
            error.retry.decide_reuse(reused);
        } else {
            error.set_retry(false);
        }
    }
    if error.retry() {
        let again = may_retry(ctx);
        error.set_retry(again);
    } else if *error.esource() == ErrorSource::Upstream || overdue(session, ctx) == Some(Reason::UpstreamTimeout) {
        failed(ctx);
    }
}

/// Whether the server says, over HTTP/2, that it did nothing with the request (RFC 9113 §8.7): it refused the stream, or
/// goes away and names an earlier stream as its last. pingora calls these errors, and among those of this type only
/// these, fit for another try. Any method may be tried again then; what was taken of the body, up to 64 KiB, was kept.
fn is_unprocessed(error: &Error) -> bool {
    *error.etype() == H2Error && matches!(error.retry, RetryType::Decided(true))
}

fn may_retry(ctx: &Exchange) -> bool {
    let upstream = upstream(ctx).filter(|_| (ctx.attempts as usize) < ATTEMPTS_MAX);
    upstream.is_some_and(|upstream| upstream.may_retry(ctx.snapshot.parts.clock.monotonic()))
}

/// The connection is there.
pub(super) fn connected(ctx: &mut Exchange) {
    ctx.held.pending = None;
}

/// The head of the server's final answer is there.
pub(super) fn answered(session: &Session, ctx: &mut Exchange, status: u16) {
    if ctx.deadline.is_some() {
        let total = ctx.permit().and_then(|permit| permit.route().timeouts?.total);
        // What follows a 101 lasts as long as both sides want.
        let total = total.filter(|_| status != 101);
        give_up_at(session, ctx, total.map(|total| ctx.started + total));
    }
    let Some((upstream, served)) = upstream(ctx).zip(ctx.held.served.as_ref()) else { return };
    // What a server says of itself or of what is behind it. Not 500: a request that makes an application stumble is
    // easily found, and must not be a way to have its servers ejected.
    if matches!(status, 502..=504) {
        upstream.failed(&served.server, ctx.snapshot.parts.clock.monotonic());
    } else {
        upstream.succeeded(&served.server);
    }
}

/// Gives the response head so much time from the first attempt on, unless the route says how much it has.
pub(super) fn await_head(session: &Session, ctx: &mut Exchange, head: Option<Duration>) {
    if ctx.deadline.is_none() {
        let at = ctx.upstream_started.zip(head).map(|(started, head)| started + head);
        give_up_at(session, ctx, at);
    }
}

fn failed(ctx: &Exchange) {
    if let Some((upstream, served)) = upstream(ctx).zip(ctx.held.served.as_ref()) {
        upstream.failed(&served.server, ctx.snapshot.parts.clock.monotonic());
    }
}

/// Has the exchange end at this instant, or whenever it likes.
fn give_up_at(session: &Session, ctx: &mut Exchange, at: Option<Instant>) {
    ctx.deadline = at;
    let remaining = at.map(|at| at.saturating_duration_since(ctx.snapshot.parts.clock.monotonic()));
    match session.as_downstream().stream() {
        Some(stream) => HeadGuard::give_up_after(stream, remaining),
        None => http2::give_up_after(session.req_header(), remaining),
    }
}

/// What a failure is called that is due to the route's own times: it looks as if the client had gone.
pub(super) fn overdue(session: &mut Session, ctx: &Exchange) -> Option<Reason> {
    let late = if session.as_mut().is_body_done() { Reason::UpstreamTimeout } else { Reason::RequestTimeout };
    is_overdue(ctx).then_some(late)
}

fn is_overdue(ctx: &Exchange) -> bool {
    ctx.deadline.is_some_and(|deadline| deadline <= ctx.snapshot.parts.clock.monotonic())
}

/// When a request is given up whose response head has not arrived.
fn until_head(timeouts: &Timeouts, arrived: Instant, started: Instant) -> Option<Instant> {
    let at = |from: Instant, wait: Option<Duration>| wait.map(|wait| from + wait);
    at(arrived, timeouts.total).into_iter().chain(at(started, timeouts.response_head)).min()
}

fn key<'a>(upstream: &Upstream, session: &'a Session, permit: &'a Permit, ctx: &Exchange) -> Key<'a> {
    let bytes = match upstream.hash_by() {
        None | Some(HashBy::Client) => None,
        Some(HashBy::Subject) => permit.caller().map(|caller| caller.principal.subject.as_bytes()),
        Some(HashBy::Header(name)) => session.req_header().headers.get(name).map(http::HeaderValue::as_bytes),
    };
    bytes.map_or(Key::Client(ctx.client), Key::Bytes)
}
