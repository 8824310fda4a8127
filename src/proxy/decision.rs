//! What becomes of a request once its head is read, in order: one reading, elsewhere or here, a route, its limits, who asks,
//! and whether they may. Each step is somebody else's; this is their order.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Response, header};
use pingora::http::RequestHeader;
use pingora::prelude::*;
use pingora::proxy::Session;

use super::api_calls::{Answerer, CallError};
use super::context::{Exchange, Stage};
use super::denial::{self, Denial};
use super::snapshot::Snapshot;
use super::{Proxy, arrival, dialects, filters, forward_auth, streams};
use crate::admission::{Denied, Destination};
use crate::api::context::RequestContext;
use crate::api::problem::Problem;
use crate::policy::access::Permit;
use crate::policy::head;
use crate::reason::Reason;
use crate::telemetry::labels::UnknownDecision;

/// What the access log says of a request that its route's `on_unknown` let in.
const LET_IN_UNKNOWN: &str = "revocation_unknown_allowed";

/// What is to become of a request.
pub(super) enum Verdict {
    /// The gateway answers it.
    Answered(Answerer),
    /// The client is to ask elsewhere.
    Redirected(Response<Bytes>),
    /// It may be forwarded.
    Permitted(Permit),
}

/// Decides about a request with this head, which came over `session` or is asked about there. What its answer has to carry,
/// whatever it is, is left in `ctx`.
pub(super) async fn judge(
    snapshot: &Snapshot,
    session: &Session,
    head: &Parts,
    ctx: &mut Exchange,
    destination: &Destination,
) -> std::result::Result<Verdict, Denied> {
    let parts = &snapshot.parts;
    let dialects::Front { dialect, cors, answerer } = dialects::front(snapshot, session, head, destination);
    (ctx.dialect, ctx.cors) = (dialect, cors);
    let of_api = || parts.api.serves(destination.target.path().as_str()).then_some(Answerer::Api);
    if let Some(answerer) = answerer.or_else(of_api) {
        return Ok(Verdict::Answered(answerer));
    }
    if let Some(fields) = parts.gate.preflight(destination, head) {
        ctx.cors = fields;
        return Ok(Verdict::Answered(Answerer::Preflight));
    }
    let way = parts.gate.way(destination, head)?;
    let filters = way.route().filters.as_deref();
    if let Some(filters) = filters {
        filters::before_token(head, ctx, &way, filters).await?;
    }
    let admitted = dialects::admit(snapshot, head, &way, ctx.dialect.as_ref()).await;
    let permit = admitted.inspect_err(|denied| {
        if denied.is_unknown() {
            parts.metrics.revocation_unknown(UnknownDecision::Denied);
        }
    })?;
    if permit.is_doubtful() {
        parts.metrics.revocation_unknown(UnknownDecision::Allowed);
        parts.streams.doubt();
        ctx.detail = Some(LET_IN_UNKNOWN);
    }
    if let Some(filters) = filters {
        filters::after_token(ctx, &way, filters, &permit).await?;
        if let Some(redirect) = &filters.redirect {
            return filters::redirection(destination, &way, redirect).map(Verdict::Redirected);
        }
    }
    Ok(Verdict::Permitted(permit))
}

impl Proxy {
    /// Decides about the request; `Ok(true)` means that it was answered here.
    pub(super) async fn decide(&self, session: &mut Session, ctx: &mut Exchange) -> Result<bool> {
        // Held here, as what is found in it is borrowed while the exchange changes.
        let snapshot = Arc::clone(&ctx.snapshot);
        let head = session.req_header();
        let default_port = arrival::default_port(ctx.arrival.as_deref());
        match snapshot.parts.gate.destination(head.raw_path(), head, default_port) {
            Ok(_) if framed_twice(session) => return self.refuse(session, ctx, Reason::Malformed).await,
            Ok(destination) => ctx.destination = Some(destination),
            Err(denied) => {
                ctx.asker = forward_auth::asker(session, ctx, head.raw_path());
                return self.deny(session, ctx, &denied).await;
            }
        }
        if let Some(challenges) = &snapshot.parts.challenges
            && let Some(answered) = self.answer_challenge(session, ctx, challenges).await
        {
            return answered;
        }
        if let Some(sent) = self.send_elsewhere(session, ctx).await {
            return sent;
        }
        let Some(destination) = ctx.destination.take() else { return self.refuse(session, ctx, Reason::Internal).await };
        ctx.asker = forward_auth::asker(session, ctx, destination.target.path_and_query().as_bytes());
        if let Some(asker) = ctx.asker {
            ctx.destination = Some(destination);
            return self.answer_asker(session, ctx, asker).await;
        }
        // Before the token is checked.
        let since = snapshot.parts.streams.tellings();
        let verdict = judge(&snapshot, session, session.req_header(), ctx, &destination).await;
        ctx.destination = Some(destination);
        match verdict {
            Ok(Verdict::Permitted(permit)) => {
                if let Err(denied) = streams::bind(session.req_header(), ctx, &permit, since) {
                    return self.deny(session, ctx, &denied).await;
                }
                ctx.method = session.req_header().method.clone();
                ctx.stage = Stage::Permitted(permit);
                Ok(false)
            }
            Ok(Verdict::Answered(answerer)) => self.answer(session, ctx, answerer).await,
            Ok(Verdict::Redirected(answer)) => {
                ctx.stage = Stage::Answered;
                denial::write(session, answer, ctx).await.map(|()| true)
            }
            Err(denied) => self.deny(session, ctx, &denied).await,
        }
    }

    async fn answer(&self, session: &mut Session, ctx: &mut Exchange, by: Answerer) -> Result<bool> {
        let context = RequestContext {
            client: ctx.client,
            user_agent: header_text(session.req_header(), &header::USER_AGENT),
            request_id: ctx.id.to_string(),
        };
        ctx.stage = Stage::Answered;
        match ctx.snapshot.parts.api.answer(session, ctx, by, context).await {
            Ok(answer) => {
                ctx.reason = answer.extensions().get::<Reason>().copied();
                denial::write(session, answer, ctx).await.map(|()| true)
            }
            Err(CallError::Refused(reason)) => self.refuse(session, ctx, reason).await,
            Err(CallError::Downstream(error)) => Err(error.into_down()),
        }
    }

    pub(super) async fn deny(&self, session: &mut Session, ctx: &mut Exchange, denied: &Denied) -> Result<bool> {
        tracing::debug!(request_id = %ctx.id, reason = denied.reason().word(), ?denied, "request denied");
        ctx.detail = denied.detail();
        self.refuse_with(session, ctx, denial::problem(denied), denied.allowed_methods()).await
    }

    pub(super) async fn refuse(&self, session: &mut Session, ctx: &mut Exchange, reason: Reason) -> Result<bool> {
        self.refuse_with(session, ctx, Problem::new(reason), &[]).await
    }

    pub(super) async fn refuse_with(
        &self,
        session: &mut Session,
        ctx: &mut Exchange,
        problem: Problem,
        allow: &[http::Method],
    ) -> Result<bool> {
        ctx.reason = Some(problem.reason());
        Denial { problem, allow, ctx }.write(session).await?;
        Ok(true)
    }
}

/// Whether the head carried both framings (RFC 9112 §6.1). The parser drops `Content-Length` when it sees
/// both, so only the raw head still tells. Looked at only where a `Transfer-Encoding` is present.
fn framed_twice(session: &Session) -> bool {
    let chunked = session.req_header().headers.contains_key(header::TRANSFER_ENCODING);
    let http1 = session.as_downstream().as_http1();
    chunked && http1.is_none_or(|http1| head::raw_head_has_content_length(&http1.get_headers_raw_bytes()))
}

fn header_text(head: &RequestHeader, name: &header::HeaderName) -> Option<String> {
    head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}
