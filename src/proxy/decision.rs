//! What becomes of a request once its head is read, in order: one reading, elsewhere or here, a route, its limits, who asks,
//! and whether they may. Each step is somebody else's; this is their order.

use std::sync::Arc;

use http::header;
use pingora::http::RequestHeader;
use pingora::prelude::*;
use pingora::proxy::Session;

use super::api_calls::{Answerer, CallError};
use super::context::{Exchange, Stage};
use super::denial::{self, Denial};
use super::{Proxy, arrival, dialects, filters};
use crate::admission::Denied;
use crate::api::context::RequestContext;
use crate::api::problem::Problem;
use crate::policy::head;
use crate::reason::Reason;

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
            Err(denied) => return self.deny(session, ctx, &denied).await,
        }
        if let Some(sent) = self.send_elsewhere(session, ctx).await {
            return sent;
        }
        let Some(destination) = &ctx.destination else { return self.refuse(session, ctx, Reason::Internal).await };
        let dialects::Front { dialect, cors, answerer } = dialects::front(&snapshot, session, destination);
        (ctx.dialect, ctx.cors) = (dialect, cors);
        let of_api = || snapshot.parts.api.serves(destination.target.path().as_str()).then_some(Answerer::Api);
        if let Some(answerer) = answerer.or_else(of_api) {
            return self.answer(session, ctx, answerer).await;
        }
        if let Some(fields) = snapshot.parts.gate.preflight(destination, session.req_header()) {
            ctx.cors = fields;
            return self.answer(session, ctx, Answerer::Preflight).await;
        }
        let way = match snapshot.parts.gate.way(destination, session.req_header()) {
            Ok(way) => way,
            Err(denied) => return self.deny(session, ctx, &denied).await,
        };
        let filters = way.route().filters.as_deref();
        if let Some(filters) = filters
            && let Err(denied) = filters::before_token(session, ctx, &way, filters).await
        {
            return self.deny(session, ctx, &denied).await;
        }
        let permit = match dialects::admit(&snapshot, session, &way, ctx.dialect.as_ref()).await {
            Ok(permit) => permit,
            Err(denied) => return self.deny(session, ctx, &denied).await,
        };
        if let Some(filters) = filters {
            if let Err(denied) = filters::after_token(ctx, &way, filters, &permit).await {
                return self.deny(session, ctx, &denied).await;
            }
            if let Some(redirect) = &filters.redirect {
                return self.redirect(session, ctx, &way, redirect).await;
            }
        }
        ctx.stage = Stage::Permitted(permit);
        Ok(false)
    }

    async fn answer(&self, session: &mut Session, ctx: &mut Exchange, by: Answerer) -> Result<bool> {
        let context = RequestContext {
            client: ctx.client,
            user_agent: header_text(session.req_header(), &header::USER_AGENT),
            request_id: ctx.id.clone(),
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

    async fn refuse_with(
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
