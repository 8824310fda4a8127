//! Forward-auth: another proxy asks what would become of a request that it has in its hands, and forwards it itself.
//!
//! It is decided by what decides about requests that come here, in the same order. The answer is 200 only where there is a
//! permit, with what the upstream is to be told; whatever else would have been answered here is a refusal to the proxy.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use pingora::prelude::*;
use pingora::proxy::Session;

use super::api_calls::Answerer;
use super::context::{Exchange, Stage};
use super::decision::{self, Verdict};
use super::{Proxy, denial, peer};
use crate::api::dialects;
use crate::api::problem::Problem;
use crate::client_addr;
use crate::forwarding::HeaderEdits;
use crate::policy::forward_auth::{self, Asker, Described};
use crate::policy::subprotocol;
use crate::reason::Reason;

/// What the request itself would have been answered with, whatever the proxy has to be told.
const TRUE_STATUS: HeaderName = HeaderName::from_static("portcullis-status");
/// The word for it, where it was refused.
const TRUE_REASON: HeaderName = HeaderName::from_static("portcullis-reason");
/// Envoy keeps what an answer does not name, and removes what is named here.
const TO_REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");

/// Who asks about another request at `target`; none if it is a request like any other.
pub(super) fn asker(session: &Session, ctx: &Exchange, target: &[u8]) -> Option<Asker> {
    let below = ctx.snapshot.parts.api.below_questions(target)?;
    forward_auth::asker(&session.req_header().headers, below)
}

impl Proxy {
    /// Answers a proxy.
    pub(super) async fn answer_asker(&self, session: &mut Session, ctx: &mut Exchange, asker: Asker) -> Result<bool> {
        let described = match question(session, ctx) {
            Ok(described) => described,
            Err(problem) => return self.refuse_with(session, ctx, problem, &[]).await,
        };
        let Described { head, target, default_port } = &described;
        let snapshot = std::sync::Arc::clone(&ctx.snapshot);
        let destination = match snapshot.parts.gate.destination(target, head, *default_port) {
            Ok(destination) => destination,
            Err(denied) => return self.deny(session, ctx, &denied).await,
        };
        match decision::judge(&snapshot, session, head, ctx, &destination).await {
            Ok(Verdict::Permitted(permit)) if described.is_websocket() && !permit.route().websocket => {
                let problem = Problem::new(Reason::Forbidden).with_detail("this route is not for WebSockets");
                self.refuse_with(session, ctx, problem, &[]).await
            }
            Ok(Verdict::Permitted(permit)) => {
                tracing::debug!(request_id = %ctx.id, ?asker, route = %permit.route().name, "a proxy may forward");
                ctx.stage = Stage::Answered;
                let answer = permission(snapshot.parts.forwarding.edits_elsewhere(&head.headers, &permit), asker);
                denial::send(session, answer, ctx).await.map(|()| true)
            }
            Ok(Verdict::Redirected(answer)) => {
                ctx.stage = Stage::Answered;
                denial::write(session, answer, ctx).await.map(|()| true)
            }
            Ok(Verdict::Answered(Answerer::Preflight)) => {
                ctx.stage = Stage::Answered;
                denial::write(session, dialects::preflight(), ctx).await.map(|()| true)
            }
            Ok(Verdict::Answered(Answerer::Api | Answerer::Route(..))) => {
                let problem = Problem::new(Reason::NotFound).with_detail("the gateway answers this path itself: send it there");
                self.refuse_with(session, ctx, problem, &[]).await
            }
            Err(denied) => self.deny(session, ctx, &denied).await,
        }
    }
}

/// What is asked about.
fn question(session: &Session, ctx: &mut Exchange) -> std::result::Result<Described, Problem> {
    let parts = &ctx.snapshot.parts;
    let trusted = peer(session, ctx.arrival.as_deref()).is_some_and(|peer| client_addr::is_trusted(peer, &parts.trusted_proxies));
    if !trusted {
        // Taken for a question about its token alone, it would let a proxy that nobody configured forward anything.
        ctx.detail = Some("untrusted_proxy");
        let told = "questions about other requests are answered to the proxies of `server.trusted_proxies` only";
        return Err(Problem::new(Reason::Forbidden).with_detail(told));
    }
    let head = session.req_header();
    let malformed = |what: String| Problem::new(Reason::Malformed).with_detail(what);
    // In another spelling of our path, what follows it has lost its own.
    let below = parts.api.below_questions(head.raw_path());
    let below = below
        .filter(|_| is_as_sent(session, ctx.asker))
        .ok_or_else(|| malformed("the target is spelt in another way".to_owned()))?;
    let default_port = super::arrival::default_port(ctx.arrival.as_deref());
    let described = forward_auth::described(head, below, default_port).map_err(|error| malformed(error.to_string()))?;
    if subprotocol::mark(&described.head.headers).is_some() {
        // The proxy would forward it with the rest of the field.
        let told = "a token among subprotocols is for requests that the gateway forwards itself";
        return Err(Problem::new(Reason::Forbidden).with_detail(told));
    }
    // We would remove it. The proxy can be told to remove names that it knows.
    if parts.forwarding.is_forged(&described.head.headers) {
        return Err(malformed("a field name is another spelling of an identity header".to_owned()));
    }
    Ok(described)
}

/// Whether the parser has left the target as it was: it cuts off what follows a `#`, and Envoy need not.
/// Over HTTP/2 that cannot be seen.
fn is_as_sent(session: &Session, asker: Option<Asker>) -> bool {
    let Some(http1) = session.as_downstream().as_http1() else { return asker != Some(Asker::Envoy) };
    let raw = http1.get_headers_raw_bytes();
    raw.split(|&b| b == b' ').nth(1) == Some(session.req_header().raw_path())
}

/// 200, with the fields that the upstream is to have.
fn permission(edits: HeaderEdits, asker: Asker) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::new());
    let headers = answer.headers_mut();
    if asker == Asker::Envoy {
        let names = edits.remove.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(",");
        headers.insert(TO_REMOVE, HeaderValue::try_from(names).expect("header names are visible ASCII"));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(edits.set);
    answer
}

/// Turns what the request would have been answered with into a refusal that `asker` reads as one.
///
/// nginx forwards on any 2xx and calls all but 401 and 403 an error of the server; Traefik forwards on any 2xx; Envoy on 200,
/// and may be set up to forward where it sees a fault of the server, which no client must be able to bring about.
pub(super) fn refusal(asker: Asker, mut answer: Response<Bytes>) -> Response<Bytes> {
    let status = answer.status();
    let outage = status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED;
    let kept = match asker {
        Asker::Nginx => matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) || outage,
        Asker::Traefik => !status.is_success(),
        Asker::Envoy => status != StatusCode::OK && (outage || !status.is_server_error()),
    };
    if !kept {
        // A body would say another status.
        *answer.status_mut() = StatusCode::FORBIDDEN;
        *answer.body_mut() = Bytes::new();
        answer.headers_mut().remove(header::CONTENT_TYPE);
    }
    let reason = answer.extensions().get::<Reason>().map(|reason| HeaderValue::from_static(reason.word()));
    let headers = answer.headers_mut();
    headers.insert(TRUE_STATUS, HeaderValue::from(status.as_u16()));
    headers.extend(reason.map(|reason| (TRUE_REASON, reason)));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(asker: Asker, status: u16) -> (u16, u16) {
        let mut answer = Response::new(Bytes::from_static(b"a problem"));
        *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
        let told = refusal(asker, answer);
        assert_eq!(told.body().is_empty(), told.status().as_u16() != status, "a body says the status that it comes with");
        let truth = told.headers()[TRUE_STATUS].to_str().expect("a number").parse().expect("a number");
        (told.status().as_u16(), truth)
    }

    #[test]
    fn no_proxy_reads_a_refusal_as_anything_else() {
        // What the request would have been answered with, and what each proxy is told.
        for (status, nginx, traefik, envoy) in [
            (200, 403, 403, 403),
            (204, 403, 403, 204),
            (308, 403, 308, 308),
            (400, 403, 400, 400),
            (401, 401, 401, 401),
            (403, 403, 403, 403),
            (404, 403, 404, 404),
            (429, 403, 429, 429),
            // A client chooses the method.
            (501, 403, 501, 403),
            (500, 500, 500, 500),
            (503, 503, 503, 503),
        ] {
            for (asker, told) in [(Asker::Nginx, nginx), (Asker::Traefik, traefik), (Asker::Envoy, envoy)] {
                assert_eq!(refused(asker, status), (told, status), "{asker:?}");
            }
        }
    }

    #[test]
    fn every_reason_that_a_client_can_bring_about_is_a_refusal_to_nginx_and_to_envoy() {
        for reason in Reason::ALL.iter().filter(|reason| reason.status().is_client_error() || **reason == Reason::MethodUnknown) {
            let answer = Problem::new(*reason).into_bytes_response(None);
            let told = refusal(Asker::Nginx, answer.clone());
            assert!(matches!(told.status().as_u16(), 401 | 403), "{}", reason.word());
            assert_eq!(told.headers()[TRUE_REASON], reason.word());
            assert!(refusal(Asker::Envoy, answer).status().is_client_error(), "{}", reason.word());
        }
    }
}
