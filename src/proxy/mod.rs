//! ENFORCE: the pingora adapter. Each phase of a request delegates in a few lines to what decides.
//!
//! Nothing is forwarded without a [`Permit`]: `upstream_peer` takes the upstream from it, and its absence is
//! an internal error. Header edits are made in `upstream_request_filter` alone, because pingora strips
//! `Connection`-nominated fields before that phase and would otherwise delete ours (CVE-2026-105299).

mod api_calls;
mod connections;
mod context;
mod denial;
mod dialects;
mod head_guard;
mod head_scan;
mod outcome;
mod upstream;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header;
use ipnet::IpNet;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::*;
use pingora::proxy::{FailToProxy, HttpProxy, ProxyHttp, Session};
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;

pub use api_calls::ApiCalls;
pub use connections::Connections;
pub use context::{Exchange, RequestIds};
pub use upstream::{ServerSettings, UpstreamSettings, Upstreams};

use crate::admission::{Denied, Destination, Gate};
use crate::api::context::RequestContext;
use crate::api::problem::Problem;
use crate::client_addr;
use crate::clock::Clock;
use crate::dialect::Dialects;
use crate::forwarding::{Forwarding, HeaderEdits, RequestFacts, Scheme};
use crate::limit::RequestLimits;
use crate::policy::access::Permit;
use crate::policy::head;
use crate::reason::Reason;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;
use api_calls::{Answerer, CallError};
use context::Stage;
use denial::Denial;
use head_guard::{GuardSettings, HeadGuard};
use outcome::{NO_ADDRESS, Recorder};

/// pingora counts attempts, not retries: one request and one retry.
pub const ATTEMPTS_MAX: usize = 2;

/// Times after which a client connection is given up.
#[derive(Debug, Clone, Copy)]
pub struct DownstreamTimeouts {
    /// From the first byte of a head to its last.
    pub header: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// Between two reads of a request body, and for one write of a response.
    pub body: Duration,
}

/// Everything that the proxy is made of.
pub struct ProxyParts {
    /// The wire formats of existing systems.
    pub dialects: Dialects,
    /// The decisions.
    pub gate: Gate,
    /// The header edits.
    pub forwarding: Arc<Forwarding>,
    /// Every route's name and its upstream's: their time series are made once.
    pub route_names: Vec<(Box<str>, Arc<str>)>,
    /// Where requests go.
    pub upstreams: Arc<Upstreams>,
    /// What the gateway answers itself.
    pub api: ApiCalls,
    /// Sizes, for heads that are refused before they are parsed.
    pub limits: RequestLimits,
    /// Times.
    pub timeouts: DownstreamTimeouts,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Where durations come from.
    pub clock: Arc<dyn Clock>,
    /// Where request ids come from.
    pub ids: Arc<RequestIds>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// One line per request, unless it is switched off.
    pub access_log: Option<AccessLog>,
    /// Set when the gateway is about to stop: connections are no longer kept alive.
    pub draining: Arc<AtomicBool>,
}

/// The gateway as pingora sees it.
pub struct Proxy {
    parts: ProxyParts,
    recorder: Arc<Recorder>,
}

impl Proxy {
    /// The application to hand accepted connections to.
    #[must_use]
    pub fn connections(parts: ProxyParts, conf: Arc<ServerConf>) -> Connections {
        let (metrics, ids) = (Arc::clone(&parts.metrics), Arc::clone(&parts.ids));
        let clock = Arc::clone(&parts.clock);
        let routes = parts.route_names.iter().map(|(route, upstream)| (&**route, upstream));
        let recorder = Arc::new(Recorder::new(Arc::clone(&metrics), parts.access_log.clone(), clock, routes));
        let idle_timeout = parts.timeouts.idle;
        let guard = GuardSettings {
            limits: parts.limits,
            header_timeout: parts.timeouts.header,
            refuse: {
                let recorder = Arc::clone(&recorder);
                Box::new(move |reason, client| {
                    let id = ids.next();
                    recorder.refused_unparsed(reason, client, &id);
                    denial::farewell(reason, &id)
                })
            },
        };
        let mut http = HttpProxy::new(Self { parts, recorder }, conf);
        http.handle_init_modules();
        Connections::new(http, guard, idle_timeout, metrics)
    }

    fn client(&self, session: &Session) -> IpAddr {
        let Some(peer) = session.client_addr().and_then(|address| address.as_inet()) else { return NO_ADDRESS };
        let forwarded_for = session.req_header().headers.get_all("x-forwarded-for").iter();
        client_addr::resolve(peer.ip(), forwarded_for, &self.parts.trusted_proxies)
    }

    /// Decides about the request; `Ok(true)` means that it was answered here.
    async fn decide(&self, session: &mut Session, ctx: &mut Exchange) -> Result<bool> {
        let head = session.req_header();
        let destination = match self.parts.gate.destination(head.raw_path(), head) {
            Ok(_) if framed_twice(session) => return self.refuse(session, ctx, Reason::Malformed).await,
            Ok(destination) => &*ctx.destination.insert(destination),
            Err(denied) => return self.deny(session, ctx, &denied).await,
        };
        let dialects::Front { dialect, cors, answerer } = self.front(session, destination);
        (ctx.dialect, ctx.cors) = (dialect, cors);
        let of_api = || self.parts.api.serves(destination.target.path().as_str()).then_some(Answerer::Api);
        if let Some(answerer) = answerer.or_else(of_api) {
            return self.answer(session, ctx, answerer).await;
        }
        match self.admit(session, destination, ctx.dialect.as_ref()).await {
            Ok(permit) => {
                ctx.stage = Stage::Permitted(permit);
                Ok(false)
            }
            Err(denied) => self.deny(session, ctx, &denied).await,
        }
    }

    async fn answer(&self, session: &mut Session, ctx: &mut Exchange, by: Answerer) -> Result<bool> {
        let context = RequestContext {
            client: ctx.client,
            user_agent: header_text(session.req_header(), &header::USER_AGENT),
            request_id: ctx.id.clone(),
        };
        ctx.stage = Stage::Answered;
        match self.parts.api.answer(session, ctx, by, context).await {
            Ok(answer) => {
                ctx.reason = answer.extensions().get::<Reason>().copied();
                denial::write(session, answer, ctx).await.map(|()| true)
            }
            Err(CallError::Refused(reason)) => self.refuse(session, ctx, reason).await,
            Err(CallError::Downstream(error)) => Err(error.into_down()),
        }
    }

    async fn deny(&self, session: &mut Session, ctx: &mut Exchange, denied: &Denied) -> Result<bool> {
        tracing::debug!(request_id = %ctx.id, reason = denied.reason().word(), ?denied, "request denied");
        ctx.detail = denied.detail();
        self.refuse_with(session, ctx, denial::problem(denied), denied.allowed_methods()).await
    }

    async fn refuse(&self, session: &mut Session, ctx: &mut Exchange, reason: Reason) -> Result<bool> {
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

    fn permitted<'a>(&self, ctx: &'a mut Exchange) -> Result<(&'a Permit, &'a Destination)> {
        if ctx.permit().is_none() || ctx.destination.is_none() {
            ctx.reason = Some(Reason::Internal);
        }
        let ctx: &'a Exchange = ctx;
        ctx.permit().zip(ctx.destination.as_ref()).ok_or_else(|| Error::new(Custom("no permit for this request")))
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

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Exchange;

    fn new_ctx(&self) -> Exchange {
        let parts = &self.parts;
        Exchange::new(parts.ids.next(), parts.clock.monotonic(), parts.metrics.request_begun())
    }

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Exchange) -> Result<()> {
        let downstream = session.as_downstream_mut();
        if let Some(stream) = downstream.stream() {
            HeadGuard::head_parsed(stream);
        }
        if self.parts.draining.load(Ordering::Relaxed) {
            downstream.set_keepalive(None);
        }
        downstream.set_read_timeout(Some(self.parts.timeouts.body));
        downstream.set_write_timeout(Some(self.parts.timeouts.body));
        downstream.set_total_drain_timeout(Some(self.parts.timeouts.body));
        ctx.client = self.client(session);
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Exchange) -> Result<bool> {
        self.decide(session, ctx).await
    }

    async fn upstream_peer(&self, _session: &mut Session, ctx: &mut Exchange) -> Result<Box<HttpPeer>> {
        ctx.attempts += 1;
        ctx.upstream_started.get_or_insert(self.parts.clock.monotonic());
        let (permit, _) = self.permitted(ctx)?;
        let route = permit.route();
        let peer = self.parts.upstreams.get(&route.upstream).and_then(|upstream| upstream.pick(route.websocket));
        peer.ok_or_else(|| {
            ctx.reason = Some(Reason::UpstreamUnreachable);
            Error::explain(ConnectNoRoute, "no address is known for this upstream")
        })
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        ctx: &mut Exchange,
    ) -> Result<()> {
        let client = ctx.client;
        let request_id = ctx.id.clone();
        let (permit, destination) = self.permitted(ctx)?;
        let facts = RequestFacts { client, host: &destination.host, scheme: Scheme::Http, request_id: &request_id };
        let edits = self.parts.forwarding.request_edits(&session.req_header().headers, permit, &facts);
        // Without pingora's record of how names were spelt, which it would build again for every field that is set:
        // names go out in lower case, as HTTP/2 has them anyway (RFC 9113 §8.2.1).
        let placeholder = RequestHeader::build_no_case(http::Method::GET, b"/", None)?;
        let mut parts = http::request::Parts::from(std::mem::replace(upstream, placeholder));
        edits.apply(&mut parts.headers);
        *upstream = parts.into();
        upstream.set_raw_path(destination.target.path_and_query().as_bytes())
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _end: bool,
        ctx: &mut Exchange,
    ) -> Result<()> {
        ctx.body_bytes += body.as_ref().map_or(0, |chunk| chunk.len() as u64);
        // An upgraded connection is no longer a request body.
        let max = ctx.permit().filter(|permit| !permit.route().websocket).map(|permit| permit.route().body_bytes_max);
        if max.is_some_and(|max| ctx.body_bytes > max) {
            ctx.reason = Some(Reason::BodyTooLarge);
            return Err(Error::explain(HTTPStatus(413), "the request body is larger than the route allows").into_down());
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Exchange,
    ) -> Result<()> {
        if let Some(started) = ctx.upstream_started {
            ctx.upstream_waited.get_or_insert_with(|| self.parts.clock.monotonic().saturating_duration_since(started));
        }
        let upgrade_allowed = ctx.permit().is_some_and(|permit| permit.route().websocket) && session.as_mut().is_upgrade_req();
        if let Err(what) = outcome::check_response(response, upgrade_allowed) {
            ctx.reason = Some(Reason::UpstreamInvalid);
            return Err(Error::new(Custom(what)).into_up());
        }
        let HeaderEdits { remove, set, append } = self.parts.forwarding.response_edits(response.status, &response.headers);
        remove.iter().for_each(|name| drop(response.remove_header(name)));
        set.into_iter().try_for_each(|(name, value)| response.insert_header(name, value))?;
        append.into_iter().try_for_each(|(name, value)| response.append_header(name, value).map(drop))?;
        dialects::replace_cors(response, &ctx.cors)
    }

    fn fail_to_connect(&self, _session: &mut Session, peer: &HttpPeer, ctx: &mut Exchange, mut error: Box<Error>) -> Box<Error> {
        // Nothing was sent, so any method may be tried again; the next server in turn is tried.
        error.set_retry(self.may_retry(ctx));
        let told = outcome::told(&error);
        tracing::warn!(request_id = %ctx.id, upstream = %peer._address, error = told, "upstream not connected");
        error
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Exchange,
        client_reused: bool,
    ) -> Box<Error> {
        let mut error = error.more_context(format!("upstream {}", peer._address));
        // RFC 9110 §9.2.2: an idempotent request whose pooled connection turned out to be closed.
        let safe = session.req_header().method.is_idempotent() && !session.as_ref().retry_buffer_truncated();
        if safe && self.may_retry(ctx) {
            error.retry.decide_reuse(client_reused);
        } else {
            error.set_retry(false);
        }
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Exchange) -> FailToProxy {
        let reason = ctx.reason.or_else(|| outcome::reason_of(error));
        ctx.reason = reason;
        let written = session.response_written().is_some_and(|head| !head.status.is_informational());
        let error_code = match reason {
            Some(reason) if !written => {
                session.set_keepalive(None);
                // The client may have gone meanwhile; then there is nobody to answer.
                drop(Denial { problem: Problem::new(reason), allow: &[], ctx }.write(session).await);
                reason.status().as_u16()
            }
            Some(reason) => reason.status().as_u16(),
            None => 0,
        };
        if let Some(reason) = reason.filter(|reason| reason.status().is_server_error()) {
            let upstream = ctx.permit().map(|permit| &*permit.route().upstream);
            let told = outcome::told(error);
            tracing::warn!(request_id = %ctx.id, reason = reason.word(), upstream, error = told, "request failed");
        }
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Exchange) {
        self.recorder.ended(session, error, ctx);
    }

    /// What pingora's own warnings say about a request. Its default is the request target with the query, where clients
    /// put tokens; the access log has the rest of the line under this id.
    fn request_summary(&self, _session: &Session, ctx: &Exchange) -> String {
        format!("request {}", ctx.id)
    }

    /// Errors are logged where they are decided, by `fail_to_proxy`.
    fn suppress_error_log(&self, _session: &Session, _ctx: &Exchange, _error: &Error) -> bool {
        true
    }
}

impl Proxy {
    fn may_retry(&self, ctx: &Exchange) -> bool {
        let upstream = ctx.permit().and_then(|permit| self.parts.upstreams.get(&permit.route().upstream));
        (ctx.attempts as usize) < ATTEMPTS_MAX && upstream.is_some_and(|upstream| upstream.retries())
    }
}
