//! ENFORCE: the pingora adapter. Each phase of a request delegates in a few lines to what decides.
//!
//! Nothing is forwarded without a [`Permit`]: `upstream_peer` takes the upstream from it, and its absence is
//! an internal error. Header edits are made in `upstream_request_filter` alone, because pingora strips
//! `Connection`-nominated fields before that phase and would otherwise delete ours (CVE-2026-105299).

mod api_calls;
mod arrival;
mod attempts;
mod caps;
mod challenge;
mod connections;
mod context;
mod decision;
mod denial;
mod dialects;
mod entrance;
mod filters;
mod forward_auth;
mod frames;
mod grpc;
mod head_guard;
mod head_scan;
mod held;
mod http2;
mod http2_upstream;
mod outcome;
mod proxy_header;
mod snapshot;
mod streams;
mod tls_stream;
mod upstream;
mod websocket;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{self, HeaderName};
use ipnet::IpNet;
use pingora::apps::HttpServerOptions;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::prelude::*;
use pingora::proxy::{FailToProxy, HttpProxy, ProxyHttp, Session};
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;

pub use api_calls::ApiCalls;
pub use attempts::ATTEMPTS_MAX;
pub use connections::Connections;
pub use context::{Exchange, RequestIds};
pub use entrance::{EntranceParts, Listener, Protocol, SecureParts};
pub use http2::Http2Settings;
pub use snapshot::Live;
pub use upstream::{
    Balance, EjectionSettings, HashBy, HealthSettings, Resolve, ServerSettings, SystemResolver, UpstreamHttp2, UpstreamSettings,
    UpstreamTls, Upstreams,
};

use crate::acme::Challenges;
use crate::admission::rates::RateLimiter;
use crate::admission::{Destination, Gate};
use crate::api::problem::Problem;
use crate::client_addr;
use crate::clock::Clock;
use crate::dialect::Dialects;
use crate::forwarding::{Forwarding, HeaderEdits, RequestFacts, Scheme};
use crate::limit::{ConnectionLimits, RequestLimits};
use crate::policy::access::Permit;
use crate::reason::Reason;
use crate::revocation::streams::OpenStreams;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;
use arrival::Arrival;
use denial::Denial;
use entrance::Entrances;
use head_guard::HeadGuard;
use outcome::NO_ADDRESS;
use snapshot::Snapshot;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Times after which a client connection is given up.
#[derive(Debug, Clone, Copy)]
pub struct DownstreamTimeouts {
    /// From the first byte of a head to its last.
    pub header: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// Between two reads of a request body, and for one write of a response.
    pub body: Duration,
    /// While an upgraded connection is silent in both directions.
    pub websocket: Duration,
}

/// Everything that a request is served by, from its first phase to its last.
pub struct ProxyParts {
    /// The wire formats of existing systems.
    pub dialects: Dialects,
    /// The decisions.
    pub gate: Gate,
    /// The buckets of routes that have rate limits.
    pub rates: Arc<RateLimiter>,
    /// The header edits.
    pub forwarding: Arc<Forwarding>,
    /// Every route's name: their time series are made once.
    pub route_names: Vec<Box<str>>,
    /// Where requests go.
    pub upstreams: Arc<Upstreams>,
    /// What the gateway answers itself.
    pub api: ApiCalls,
    /// What authorities ask for over HTTP, where certificates are ordered.
    pub challenges: Option<Arc<Challenges>>,
    /// Sizes, for heads that are refused before they are parsed.
    pub limits: RequestLimits,
    /// Times.
    pub timeouts: DownstreamTimeouts,
    /// How many connections.
    pub connections: ConnectionLimits,
    /// Peers whose `X-Forwarded-For` and PROXY headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Where durations come from.
    pub clock: Arc<dyn Clock>,
    /// Where request ids come from.
    pub ids: Arc<RequestIds>,
    /// The requests of known callers, to be ended with what admitted them.
    pub streams: Arc<OpenStreams>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// One line per request, unless it is switched off.
    pub access_log: Option<AccessLog>,
    /// Set when the gateway is about to stop: connections are no longer kept alive.
    pub draining: Arc<AtomicBool>,
}

/// The gateway as pingora sees it.
pub struct Proxy {
    live: Live,
}

impl Proxy {
    /// The application to hand accepted connections to. `begin` is called once, in the runtime that serves requests, which
    /// pingora makes for itself.
    #[must_use]
    pub fn connections(
        live: Live,
        entrances: EntranceParts,
        metrics: Arc<Metrics>,
        conf: Arc<ServerConf>,
        begin: impl Fn() + Send + Sync + 'static,
    ) -> Connections {
        let entrances = Entrances::new(entrances, Arc::clone(&metrics));
        let mut http = HttpProxy::new(Self { live: live.clone() }, conf);
        http.handle_init_modules();
        // CONNECT is refused like every method that is not served, not by pingora, which nobody would see.
        let mut options = HttpServerOptions::default();
        options.allow_connect_method_proxying = true;
        http.server_options = Some(options);
        Connections::new(http, live, entrances, metrics, Box::new(begin))
    }
}

/// The proof that the request may be forwarded, where to, and by which configuration.
fn permitted(ctx: &Exchange) -> Result<(&Permit, &Destination, &Snapshot)> {
    let proof = ctx.permit().zip(ctx.destination.as_ref());
    let (permit, destination) = proof.ok_or_else(|| Error::new(Custom("no permit for this request")).into_in())?;
    Ok((permit, destination, &ctx.snapshot))
}

/// Who speaks HTTP with us.
fn peer(session: &Session, arrival: Option<&Arrival>) -> Option<IpAddr> {
    let own = || session.client_addr().and_then(|address| address.as_inet()).map(std::net::SocketAddr::ip);
    arrival.and_then(|arrival| arrival.peer).or_else(own)
}

fn client(session: &Session, arrival: Option<&Arrival>, trusted_proxies: &[IpNet]) -> IpAddr {
    let Some(peer) = peer(session, arrival) else { return NO_ADDRESS };
    if trusted_proxies.is_empty() {
        return peer.to_canonical();
    }
    let forwarded_for = session.req_header().headers.get_all(X_FORWARDED_FOR).iter();
    client_addr::resolve(peer, forwarded_for, trusted_proxies)
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Exchange;

    fn new_ctx(&self) -> Exchange {
        let snapshot = self.live.load();
        let parts = &snapshot.parts;
        let (id, started, in_flight) = (parts.ids.next(), parts.clock.monotonic(), parts.metrics.request_begun());
        Exchange::new(id, started, in_flight, snapshot)
    }

    /// None: pingora's own would compress nothing, and be asked about every head and every piece of a body.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Exchange) -> Result<()> {
        let downstream = session.as_downstream_mut();
        let http2_head = downstream.stream().is_none();
        ctx.arrival = match downstream.stream() {
            Some(stream) => HeadGuard::head_parsed(stream),
            None => http2::arrival(downstream.req_header()),
        };
        let parts = &ctx.snapshot.parts;
        if parts.draining.load(Ordering::Relaxed) {
            downstream.set_keepalive(None);
        }
        downstream.set_read_timeout(Some(parts.timeouts.body));
        downstream.set_write_timeout(Some(parts.timeouts.body));
        downstream.set_total_drain_timeout(Some(parts.timeouts.body));
        ctx.client = client(session, ctx.arrival.as_deref(), &parts.trusted_proxies);
        // HTTP/1.1's head guard answers these.
        if http2_head && http2::is_curtailed(session.req_header()) {
            ctx.reason = Some(Reason::HeadersTooLarge);
            return Err(Error::explain(HTTPStatus(431), "there are too many fields").into_down());
        }
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Exchange) -> Result<bool> {
        self.decide(session, ctx).await
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Exchange) -> Result<Box<HttpPeer>> {
        attempts::begin_attempt(session, ctx)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        ctx: &mut Exchange,
    ) -> Result<()> {
        attempts::connected(ctx);
        if upstream.version == http::Version::HTTP_2 {
            http2_upstream::prepare(session, upstream).await?;
        }
        let (permit, destination, snapshot) = permitted(ctx)?;
        let arrival = ctx.arrival.as_ref();
        let facts = RequestFacts {
            client: ctx.client,
            host: &destination.host,
            scheme: arrival.map_or(Scheme::Http, |arrival| arrival.scheme()),
            request_id: &ctx.id,
            client_certificate: arrival.and_then(|arrival| arrival.certificate()),
        };
        let outgoing = permit.outgoing();
        let edits = snapshot.parts.forwarding.request_edits(&session.req_header().headers, permit, &facts);
        // Without pingora's record of how names were spelt, which it would build again for every field that is set:
        // names go out in lower case, as HTTP/2 has them anyway (RFC 9113 §8.2.1).
        let placeholder = RequestHeader::from(http::Request::new(()).into_parts().0);
        let given = std::mem::replace(upstream, placeholder);
        let target = outgoing.and_then(|outgoing| outgoing.target.as_ref()).unwrap_or(&destination.target).path_and_query();
        // As nearly all are over HTTP/1.1. A URI with an authority would be sent with it over HTTP/2.
        let as_received = given.uri.authority().is_none() && given.raw_path() == target.as_bytes();
        let mut parts = http::request::Parts::from(given);
        edits.apply(&mut parts.headers);
        if let Some(filters) = permit.route().filters.as_deref() {
            filters.request.apply(&mut parts.headers);
        }
        if let Some(host) = outgoing.and_then(|outgoing| outgoing.host.as_ref()) {
            let host = http::HeaderValue::from_str(host.authority()).expect("a canonical host is visible ASCII");
            parts.headers.insert(header::HOST, host);
        }
        *upstream = parts.into();
        if as_received { Ok(()) } else { upstream.set_raw_path(target.as_bytes()) }
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        _end: bool,
        ctx: &mut Exchange,
    ) -> Result<()> {
        ctx.body_bytes += body.as_ref().map_or(0, |chunk| chunk.len() as u64);
        // An upgraded connection is no longer a request body.
        let upgraded = |permit: &&Permit| permit.route().websocket && session.as_downstream().was_upgraded();
        let max = ctx.permit().filter(|permit| !upgraded(permit)).map(|permit| permit.route().body_bytes_max);
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
            ctx.upstream_waited.get_or_insert_with(|| ctx.snapshot.parts.clock.monotonic().saturating_duration_since(started));
        }
        let upgrade_allowed = ctx.permit().is_some_and(|permit| permit.route().websocket) && session.as_mut().is_upgrade_req();
        if let Err(what) = outcome::check_response(response, upgrade_allowed) {
            ctx.reason = Some(Reason::UpstreamInvalid);
            return Err(Error::new(Custom(what)).into_up());
        }
        if !response.status.is_informational() || upgrade_allowed {
            attempts::answered(session, ctx, grpc::status(response));
            streams::answered(response, ctx)?;
        }
        let HeaderEdits { remove, set, append } =
            ctx.snapshot.parts.forwarding.response_edits(response.status, &response.headers);
        remove.iter().for_each(|name| drop(response.remove_header(name)));
        set.into_iter().try_for_each(|(name, value)| response.insert_header(name, value))?;
        append.into_iter().try_for_each(|(name, value)| response.append_header(name, value).map(drop))?;
        websocket::opened(session, response, ctx)?;
        arrival::insert_hsts(response, ctx)?;
        if let Some(filters) = ctx.permit().and_then(|permit| permit.route().filters.as_deref()) {
            filters::edit_response(&filters.response, response)?;
            filters::replace_limits(response, ctx.limits.as_deref())?;
        }
        dialects::replace_cors(response, &ctx.cors)
    }

    fn upstream_response_trailer_filter(
        &self,
        _session: &mut Session,
        trailers: &mut http::HeaderMap,
        _ctx: &mut Exchange,
    ) -> Result<()> {
        http2_upstream::clean_trailers(trailers);
        Ok(())
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _end: bool,
        ctx: &mut Exchange,
    ) -> Result<Option<Duration>> {
        ctx.bytes_sent += body.as_ref().map_or(0, |chunk| chunk.len() as u64);
        Ok(None)
    }

    fn fail_to_connect(&self, _session: &mut Session, peer: &HttpPeer, ctx: &mut Exchange, mut error: Box<Error>) -> Box<Error> {
        attempts::not_connected(ctx, &mut error);
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
        attempts::broke_off(session, ctx, &mut error, client_reused);
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Exchange) -> FailToProxy {
        streams::note(ctx);
        let reason = ctx.reason.or_else(|| attempts::overdue(session, ctx)).or_else(|| outcome::reason_of(error));
        ctx.reason = reason;
        // After a 101 nothing is HTTP any more: an answer would be read as the other protocol's bytes.
        let is_final = |status: http::StatusCode| !status.is_informational() || status == http::StatusCode::SWITCHING_PROTOCOLS;
        let written = session.response_written().is_some_and(|head| is_final(head.status));
        let error_code = match reason {
            Some(reason) if !written => {
                session.set_keepalive(None);
                // The client may have gone meanwhile; then there is nobody to answer.
                drop(Denial { problem: Problem::new(reason), allow: &[], ctx }.write(session).await);
                reason.status().as_u16()
            }
            Some(reason) => {
                grpc::break_off(session, reason, &ctx.id).await;
                reason.status().as_u16()
            }
            None => 0,
        };
        // A line for each request that an upstream has no place for would be what it is spared, over again.
        let logged = |reason: &Reason| reason.status().is_server_error() && *reason != Reason::UpstreamBusy;
        if let Some(reason) = reason.filter(logged) {
            let upstream = ctx.permit().map(|permit| &*permit.route().upstream);
            let told = outcome::told(error);
            tracing::warn!(request_id = %ctx.id, reason = reason.word(), upstream, error = told, "request failed");
        }
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Exchange) {
        ctx.recorded = true;
        ctx.snapshot.recorder.ended(session, error, ctx);
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
