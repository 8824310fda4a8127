//! How a request ended: which answers of an upstream are acceptable, what an error means to the client, and
//! the one line and the counters that every request leaves behind.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use http::{StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::prelude::*;
use pingora::proxy::Session;

use super::context::{Exchange, Stage};
use super::grpc;
use crate::clock::Clock;
use crate::reason::Reason;
use crate::telemetry::access_log::{AccessLog, AccessRecord, ClientText, LoggedPath};
use crate::telemetry::labels::{EarlyRefusal, Outcome};
use crate::telemetry::metrics::{Metrics, NO_ROUTE, RouteMetrics};

/// Shown for a client whose address is not an IP address.
pub(super) const NO_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Whether an upstream's response head may be passed on.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_response(response: &ResponseHeader, upgrade_allowed: bool) -> std::result::Result<(), &'static str> {
    if response.status == StatusCode::SWITCHING_PROTOCOLS && !upgrade_allowed {
        return Err("a 101 that nobody asked for");
    }
    // RFC 9110 §15: the first digit is 1 to 5.
    if response.status.as_u16() > 599 {
        return Err("a status above 599");
    }
    let (mut codings, mut lengths) = (0, 0);
    let (mut chunked, mut numeric) = (true, true);
    // In one pass: to look a field up is to hash its name.
    for (name, value) in &response.headers {
        if *name == header::TRANSFER_ENCODING {
            codings += 1;
            chunked &= value.as_bytes().eq_ignore_ascii_case(b"chunked");
        } else if *name == header::CONTENT_LENGTH {
            lengths += 1;
            numeric &= value.as_bytes().iter().all(u8::is_ascii_digit);
        }
    }
    // The gateway accepts no other coding: it sends no `TE` (RFC 9112 §6.1).
    if codings > 1 || !chunked {
        return Err("a transfer-encoding other than chunked");
    }
    if lengths > 1 || !numeric {
        return Err("more than one content-length");
    }
    if lengths == 1 && (response.status == StatusCode::NO_CONTENT || response.status.is_informational()) {
        return Err("a content-length where none may be (RFC 9110 §8.6)");
    }
    Ok(())
}

/// What a failure is called; none if the client itself went away.
pub(super) fn reason_of(error: &Error) -> Option<Reason> {
    let timed_out = matches!(error.etype(), ConnectTimedout | TLSHandshakeTimedout | ReadTimedout | WriteTimedout);
    let unreachable = matches!(
        error.etype(),
        ConnectRefused
            | ConnectNoRoute
            | ConnectError
            | ConnectTimedout
            | BindError
            | SocketError
            | TLSHandshakeFailure
            | InvalidCert
    );
    match error.esource() {
        ErrorSource::Upstream if timed_out => Some(Reason::UpstreamTimeout),
        ErrorSource::Upstream if unreachable => Some(Reason::UpstreamUnreachable),
        ErrorSource::Upstream => Some(Reason::UpstreamInvalid),
        ErrorSource::Downstream => match error.etype() {
            ReadTimedout => Some(Reason::RequestTimeout),
            WriteTimedout | WriteError | ReadError | ConnectionClosed => None,
            _ => Some(Reason::Malformed),
        },
        ErrorSource::Internal | ErrorSource::Unset => Some(Reason::Internal),
    }
}

/// An error as the log may tell it: whose it is, what it is, and the system's or a library's word for it. What pingora
/// explains is left out: where a message could not be parsed it quotes the bytes, and with them cookies and tokens.
/// Except of TLS, where it is what rustls says, and nothing of a request has been sent.
pub(super) fn told(error: &Error) -> String {
    let root = root(error);
    let kind = match root.etype() {
        HTTPStatus(status) => format!("{} status {status}", error.esource().as_str()),
        other => format!("{} {}", error.esource().as_str(), other.as_str()),
    };
    // The cause would be the gateway's own address: the handshake keeps what went wrong as text.
    let of_tls = matches!(root.etype(), TLSHandshakeFailure | InvalidCert);
    match (&root.cause, root.context.as_ref().filter(|_| of_tls)) {
        (_, Some(context)) => format!("{kind}: {}", context.as_str()),
        (Some(cause), None) => format!("{kind}: {cause}"),
        (None, None) => kind,
    }
}

/// The first of pingora's errors; what caused it, if anything, is not one of them.
fn root(error: &Error) -> &Error {
    let cause = error.cause.as_deref().and_then(|cause| cause.downcast_ref::<Box<Error>>());
    cause.map_or(error, |cause| root(cause))
}

/// Leaves what every request leaves behind: one line and the counters.
pub(super) struct Recorder {
    metrics: Arc<Metrics>,
    access_log: Option<AccessLog>,
    clock: Arc<dyn Clock>,
    routes: HashMap<Box<str>, RouteMetrics>,
    no_route: RouteMetrics,
}

impl Recorder {
    /// A recorder whose time series for these routes are resolved once, here.
    pub(super) fn new<'a>(
        metrics: Arc<Metrics>,
        access_log: Option<AccessLog>,
        clock: Arc<dyn Clock>,
        routes: impl Iterator<Item = &'a str>,
    ) -> Self {
        let mut recorder = Self { no_route: metrics.route(NO_ROUTE), routes: HashMap::new(), metrics, access_log, clock };
        for route in routes {
            recorder.routes.insert(route.into(), recorder.metrics.route(route));
        }
        recorder
    }

    /// A request that was parsed has ended.
    pub(super) fn ended(&self, session: &Session, error: Option<&Error>, ctx: &Exchange) {
        let status = session.response_written().map_or(0, |head| match ctx.reason {
            // gRPC has a refusal say 200.
            Some(reason) if grpc::is_refusal(head) => reason.status().as_u16(),
            _ => head.status.as_u16(),
        });
        let outcome = outcome(ctx, error, status);
        let duration = self.clock.monotonic().saturating_duration_since(ctx.started);
        let route = ctx.permit().map(|permit| permit.route());
        let counters = route.and_then(|route| self.routes.get(&route.name)).unwrap_or(&self.no_route);
        counters.ended(outcome);
        self.metrics.request_ended(duration);
        if let Some(reason) = ctx.reason {
            self.metrics.denied(reason);
        }
        if let Some((waited, answers)) = ctx.upstream_waited.zip(ctx.held.answers()) {
            answers.answered(waited);
        }
        let Some(access_log) = &self.access_log else { return };
        let head = session.req_header();
        let caller = ctx.permit().and_then(|permit| permit.caller());
        let text = |name| head.headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
        // Decided heads are shown in the reading they were decided in, refused ones as they arrived.
        let refused_target = std::str::from_utf8(head.raw_path()).unwrap_or("-");
        let target = ctx.destination.as_ref().map_or(refused_target, |destination| destination.target.path().as_str());
        let host = ctx
            .destination
            .as_ref()
            .map_or_else(|| text(header::HOST).unwrap_or("-"), |destination| destination.host.authority());
        access_log.write(&AccessRecord {
            time: self.clock.now() - duration,
            request_id: &ctx.id,
            client: ctx.client,
            method: ClientText::of(head.method.as_str()),
            host: ClientText::of(host),
            path: LoggedPath::of(target),
            status,
            route: route.map(|route| &*route.name),
            upstream: ctx.upstream_started.and(route).map(|route| &*route.upstream),
            outcome,
            reason: ctx.reason,
            detail: ctx.detail,
            subject: caller.map(|caller| ClientText::of(&caller.principal.subject)),
            session: caller.map(|caller| caller.principal.session.0),
            bytes_sent: session.body_bytes_sent() as u64,
            duration,
            upstream_duration: ctx.upstream_waited,
            user_agent: text(header::USER_AGENT).map(ClientText::of),
        });
    }

    /// A request was cut off, and dropped with everything that pingora knew of it.
    pub(super) fn dropped(&self, ctx: &Exchange) {
        let duration = self.clock.monotonic().saturating_duration_since(ctx.started);
        let route = ctx.permit().map(|permit| permit.route());
        let counters = route.and_then(|route| self.routes.get(&route.name)).unwrap_or(&self.no_route);
        counters.ended(Outcome::CutOff);
        self.metrics.request_ended(duration);
        if let Some(reason) = ctx.reason {
            self.metrics.denied(reason);
        }
        let (Some(access_log), Some(destination)) = (&self.access_log, &ctx.destination) else { return };
        let caller = ctx.permit().and_then(|permit| permit.caller());
        access_log.write(&AccessRecord {
            time: self.clock.now() - duration,
            request_id: &ctx.id,
            client: ctx.client,
            method: ClientText::of(ctx.method.as_str()),
            host: ClientText::of(destination.host.authority()),
            path: LoggedPath::of(destination.target.path().as_str()),
            // A call without an answer was told why, as if it had been refused.
            status: if ctx.status == 0 { ctx.reason.map_or(0, |reason| reason.status().as_u16()) } else { ctx.status },
            route: route.map(|route| &*route.name),
            upstream: ctx.upstream_started.and(route).map(|route| &*route.upstream),
            outcome: Outcome::CutOff,
            reason: ctx.reason,
            detail: ctx.detail,
            subject: caller.map(|caller| ClientText::of(&caller.principal.subject)),
            session: caller.map(|caller| caller.principal.session.0),
            bytes_sent: ctx.bytes_sent,
            duration,
            upstream_duration: ctx.upstream_waited,
            user_agent: None,
        });
    }

    /// A head was refused before it was a request.
    pub(super) fn refused_unparsed(&self, reason: Reason, client: Option<IpAddr>, request_id: &str) {
        let cause = if reason == Reason::RequestTimeout { EarlyRefusal::HeaderDeadline } else { EarlyRefusal::Parser };
        self.metrics.refused_before_routing(cause);
        self.metrics.denied(reason);
        let Some(access_log) = &self.access_log else { return };
        access_log.write(&AccessRecord {
            time: self.clock.now(),
            request_id,
            client: client.unwrap_or(NO_ADDRESS),
            method: ClientText::of("-"),
            host: ClientText::of("-"),
            path: LoggedPath::of("-"),
            status: reason.status().as_u16(),
            route: None,
            upstream: None,
            outcome: Outcome::Denied,
            reason: Some(reason),
            detail: Some("the head was refused before it was parsed"),
            subject: None,
            session: None,
            bytes_sent: 0,
            duration: Duration::ZERO,
            upstream_duration: None,
            user_agent: None,
        });
    }
}

fn outcome(ctx: &Exchange, error: Option<&Error>, status: u16) -> Outcome {
    match &ctx.stage {
        _ if ctx.cut_off().is_some() => Outcome::CutOff,
        Stage::Answered => Outcome::Answered,
        Stage::Permitted(_) if error.is_none() => Outcome::Forwarded,
        _ if ctx.reason.is_none() && (error.is_some() || status == 0) => Outcome::Aborted,
        // A stream that was not to begin any more.
        Stage::Permitted(_) if matches!(ctx.reason, Some(Reason::RevokedToken | Reason::ExpiredToken)) => Outcome::Denied,
        Stage::Permitted(_) => Outcome::Failed,
        Stage::Arrived => Outcome::Denied,
    }
}
