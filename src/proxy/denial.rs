//! From a reason to a response: the gateway's own answers on proxied paths.

use bytes::Bytes;
use http::{HeaderValue, Method, Response, header};
use pingora::http::ResponseHeader;
use pingora::prelude::*;
use pingora::proxy::Session;

use super::context::Exchange;
use super::{arrival, forward_auth, grpc, http2};
use crate::admission::Denied;
use crate::api::dialects;
use crate::api::problem::Problem;
use crate::reason::Reason;

/// A refusal, ready to be written.
pub(super) struct Denial<'a> {
    pub(super) problem: Problem,
    pub(super) allow: &'a [Method],
    /// The request: in whose wire format it is, and by which id the access log names it.
    pub(super) ctx: &'a Exchange,
}

impl Denial<'_> {
    /// Writes the answer. A connection whose request body was not read is closed afterwards, as what follows on
    /// it cannot be told from the next request; so is one whose client breaks the rules of the protocol.
    pub(super) async fn write(self, session: &mut Session) -> Result<()> {
        let reason = self.problem.reason();
        if breaks_protocol(reason) {
            session.set_keepalive(None);
            // Over HTTP/2, a request's end is clear, however large its body would be.
            // What is wrong with a request that a proxy asks about is not the proxy's doing.
            if reason != Reason::BodyTooLarge && self.ctx.asker.is_none() {
                http2::breaks_protocol(session.req_header());
            }
        }
        let mut answer = match &self.ctx.dialect {
            // A client of gRPC understands nothing else, whatever is spoken beside it; a proxy that asks about its call does.
            _ if self.ctx.asker.is_none() && grpc::is_request(session.req_header()) => {
                let reason = self.problem.reason();
                grpc::refusal(self.problem.into_bytes_response(Some(&self.ctx.id)), reason, &self.ctx.id)
            }
            Some(dialect) => dialects::refused(dialect, self.problem.reason(), &self.ctx.id),
            None => self.problem.into_bytes_response(Some(&self.ctx.id)),
        };
        if !self.allow.is_empty() {
            let allow = HeaderValue::try_from(allow_value(self.allow)).expect("methods are visible ASCII");
            answer.headers_mut().insert(header::ALLOW, allow);
        }
        write(session, answer, self.ctx).await
    }
}

/// Writes an answer of the gateway's own. A proxy that asks about another request reads it as a refusal.
pub(super) async fn write(session: &mut Session, answer: Response<Bytes>, ctx: &Exchange) -> Result<()> {
    match ctx.asker {
        Some(asker) => send(session, forward_auth::refusal(asker, answer), ctx).await,
        None => send(session, answer, ctx).await,
    }
}

/// Writes an answer as it is.
pub(super) async fn send(session: &mut Session, answer: Response<Bytes>, ctx: &Exchange) -> Result<()> {
    let head_only = session.req_header().method == Method::HEAD;
    if !session.as_mut().is_body_done() {
        session.set_keepalive(None);
    }
    let (parts, body) = answer.into_parts();
    let mut response = ResponseHeader::build(parts.status, Some(parts.headers.len() + ctx.cors.len() + 3))?;
    let limits = ctx.limits.iter().flat_map(|fields| fields.iter());
    for (name, value) in parts.headers.iter().chain(&ctx.cors).chain(limits) {
        response.append_header(name, value)?;
    }
    arrival::insert_hsts(&mut response, ctx)?;
    // An answer of gRPC that has no body is all of one head, which is its trailers, too.
    let of_grpc = grpc::has_its_type(&parts.headers);
    if parts.status != http::StatusCode::NO_CONTENT && !of_grpc {
        response.insert_header(header::CONTENT_LENGTH, HeaderValue::from(body.len()))?;
    }
    let end = head_only || body.is_empty();
    session.write_response_header(Box::new(response), end).await?;
    if end { Ok(()) } else { session.write_response_body(Some(body), true).await }
}

/// Whether client and gateway may have different ideas of where this request ends (RFC 9112 §9.6).
fn breaks_protocol(reason: Reason) -> bool {
    matches!(reason, Reason::Malformed | Reason::TargetTooLong | Reason::HeadersTooLarge | Reason::BodyTooLarge)
}

/// What a client is told of a refusal: besides the reason, how to do better where that can be said.
pub(super) fn problem(denied: &Denied) -> Problem {
    if let Some(max_age) = denied.max_age() {
        Problem::reauthenticate(max_age)
    } else if let Some(retry_after) = denied.retry_after() {
        Problem::too_many(retry_after)
    } else if let Some(scopes) = denied.required_scopes() {
        Problem::insufficient_scope(scopes)
    } else {
        Problem::new(denied.reason())
    }
}

fn allow_value(methods: &[Method]) -> String {
    methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ")
}

/// The whole HTTP/1.1 response to a head that never became a request.
pub(super) fn farewell(reason: Reason, id: &str) -> Vec<u8> {
    let (parts, body) = Problem::new(reason).into_bytes_response(Some(id)).into_parts();
    let mut response =
        format!("HTTP/1.1 {} {}\r\n", parts.status.as_u16(), parts.status.canonical_reason().unwrap_or("")).into_bytes();
    for (name, value) in &parts.headers {
        response.extend_from_slice(name.as_str().as_bytes());
        response.extend_from_slice(b": ");
        response.extend_from_slice(value.as_bytes());
        response.extend_from_slice(b"\r\n");
    }
    response.extend_from_slice(format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()).as_bytes());
    response.extend_from_slice(&body);
    response
}
