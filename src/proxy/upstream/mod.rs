//! Upstreams: from a route's upstream name to a server to connect to.
//!
//! Peers are built once per resolved address, with their timeouts, and copied per request. Names are resolved
//! by a task of their own: pingora resolves synchronously and panics on failure, so it is only ever given
//! addresses. The last good answer for each name is kept while the resolver fails.
//!
//! A request reads one snapshot of the servers (`fleet`) and one number, how many of them are out. Whatever changes
//! either (`resolve`, `health`, `ejection`) happens beside the requests, or in the rare one that failed.

mod ejection;
mod fleet;
mod health;
mod limits;
mod protocol;
mod resolve;
mod server;
mod settings;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arc_swap::ArcSwap;
use futures_util::stream::{FuturesUnordered, StreamExt};
use pingora::upstreams::peer::HttpPeer;

pub(super) use fleet::Key;
pub(super) use limits::Place;
pub use resolve::{Resolve, SystemResolver};
pub(super) use server::{Served, Server};
pub use settings::{
    Balance, EjectionSettings, HashBy, HealthSettings, ServerSettings, UpstreamHttp2, UpstreamSettings, UpstreamTls,
};

use crate::clock::Clock;
use crate::policy::route::Timeouts;
use crate::reason::Reason;
use crate::telemetry::labels::{BreakerLimit, Retry, ServerState};
use crate::telemetry::metrics::{Metrics, UpstreamMetrics};
use crate::telemetry::upstreams::ServerMetrics;
use ejection::Ejections;
use fleet::Fleet;
use health::Checks;
use limits::{Places, RetryBudget};
use tls::PeerTls;

/// One upstream and the addresses its servers have now.
pub(super) struct Upstream {
    settings: UpstreamSettings,
    tls: PeerTls,
    fleet: ArcSwap<Fleet>,
    /// How many servers of the fleet are out.
    out: AtomicUsize,
    /// Attempts so far, which is also whose turn it is.
    attempts: AtomicUsize,
    /// Held while it changes which servers there are or whether they are out.
    ejections: Mutex<Ejections>,
    connections: Option<Places>,
    pending: Option<Places>,
    retries: RetryBudget,
    checks: Checks,
    metrics: ServerMetrics,
    answers: UpstreamMetrics,
}

/// Every upstream, by name.
pub struct Upstreams {
    by_name: HashMap<Arc<str>, Arc<Upstream>>,
    resolver: Arc<dyn Resolve>,
    clock: Arc<dyn Clock>,
}

/// What a choice depends on.
pub(super) struct Wanted<'a> {
    /// Whether it may become a WebSocket. Over HTTP/2 there are none: it goes over HTTP/1.1.
    pub(super) websocket: bool,
    /// Whether there is anything in its head that ends here (RFC 9110 §7.6.1).
    pub(super) strip: bool,
    pub(super) timeouts: Option<&'a Timeouts>,
    pub(super) key: Key<'a>,
    /// The server that failed this request already.
    pub(super) avoid: Option<&'a Server>,
}

impl Upstreams {
    /// Upstreams whose names are not resolved yet: see [`Self::resolve_all`].
    #[must_use]
    pub fn new(settings: Vec<UpstreamSettings>, resolver: Arc<dyn Resolve>, clock: Arc<dyn Clock>, metrics: &Metrics) -> Self {
        let upstream = |settings: UpstreamSettings| (Arc::clone(&settings.name), Arc::new(Upstream::new(settings, metrics)));
        Self { by_name: settings.into_iter().map(upstream).collect(), resolver, clock }
    }

    /// The upstreams of another configuration. One whose settings are the same is the same one, with the servers that it
    /// has and all that is known of them; the addresses of the others are looked up before this returns.
    pub async fn renewed(&self, settings: Vec<UpstreamSettings>, metrics: &Metrics) -> Self {
        let mut by_name = HashMap::with_capacity(settings.len());
        for settings in settings {
            let name = Arc::clone(&settings.name);
            let same = self.by_name.get(&name).filter(|upstream| upstream.settings == settings);
            let upstream = match same {
                Some(upstream) => Arc::clone(upstream),
                None => {
                    let upstream = Upstream::new(settings, metrics);
                    upstream.resolve(&*self.resolver).await;
                    Arc::new(upstream)
                }
            };
            by_name.insert(name, upstream);
        }
        Self { by_name, resolver: Arc::clone(&self.resolver), clock: Arc::clone(&self.clock) }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.by_name.get(name)
    }

    /// Resolves every server name once; failures are logged and leave the last good addresses.
    pub async fn resolve_all(&self) {
        let resolving: FuturesUnordered<_> = self.by_name.values().map(|upstream| upstream.resolve(&*self.resolver)).collect();
        resolving.collect::<()>().await;
    }

    /// Keeps what is known of the servers up to date, for ever: addresses of names, checks, ends of ejections.
    pub async fn maintain(&self) {
        let checking: FuturesUnordered<_> = self.by_name.values().map(|upstream| upstream.keep_checking()).collect();
        tokio::join!(self.keep_resolving(), self.keep_readmitting(), checking.collect::<()>());
    }
}

impl Upstream {
    fn new(settings: UpstreamSettings, metrics: &Metrics) -> Self {
        let tls = PeerTls::new(&settings.tls);
        Self {
            fleet: ArcSwap::default(),
            out: AtomicUsize::new(0),
            attempts: AtomicUsize::new(0),
            ejections: Mutex::default(),
            connections: settings.connections_max.map(Places::new),
            pending: settings.pending_max.map(Places::new),
            retries: RetryBudget::new(settings.retry_share),
            checks: Checks::new(&settings, &tls),
            tls,
            metrics: metrics.servers(&settings.name),
            answers: metrics.upstream(&settings.name),
            settings,
        }
    }

    /// A place among the requests that may be here at once; `None` where there is no limit.
    ///
    /// # Errors
    /// All are taken.
    pub(super) fn enter(&self) -> Result<Option<Place>, Reason> {
        self.place(self.connections.as_ref(), BreakerLimit::Connections)
    }

    /// A place among the requests that wait for a connection; `None` where there is no limit.
    ///
    /// # Errors
    /// All are taken.
    pub(super) fn queue(&self) -> Result<Option<Place>, Reason> {
        self.place(self.pending.as_ref(), BreakerLimit::Pending)
    }

    fn place(&self, places: Option<&Places>, limit: BreakerLimit) -> Result<Option<Place>, Reason> {
        let Some(places) = places else { return Ok(None) };
        let place = places.take();
        if place.is_none() {
            self.metrics.refused(limit);
        }
        place.map(Some).ok_or(Reason::UpstreamBusy)
    }

    /// Where a request goes. The server is told of only where there are several.
    ///
    /// # Errors
    /// No name of this upstream could be resolved yet, or no server is well.
    pub(super) fn choose(&self, wanted: &Wanted<'_>) -> Result<(Box<HttpPeer>, Option<Served>), Reason> {
        let fleet = self.fleet.load();
        let turn = self.attempts.fetch_add(1, Ordering::Relaxed);
        let troubled = self.out.load(Ordering::Relaxed) > 0;
        let none = if fleet.servers.is_empty() { Reason::UpstreamUnreachable } else { Reason::UpstreamUnhealthy };
        let server = fleet.choose(turn, wanted.key, troubled, wanted.avoid).ok_or(none)?;
        let served = (fleet.servers.len() > 1).then(|| Served::by(server));
        Ok((server.peer(wanted), served))
    }

    /// What counts its answers.
    pub(super) fn answers(&self) -> &UpstreamMetrics {
        &self.answers
    }

    /// Whether its servers may be spoken to over HTTP/2.
    pub(super) fn speaks_http2(&self) -> bool {
        self.settings.http2.is_some()
    }

    /// What requests are hashed by, if they are.
    pub(super) fn hash_by(&self) -> Option<&HashBy> {
        match &self.settings.balance {
            Balance::Hash(by) => Some(by),
            Balance::RoundRobin | Balance::LeastConnections => None,
        }
    }

    /// Whether one more retry may be made; it counts as made then.
    pub(super) fn may_retry(&self, now: Instant) -> bool {
        if !self.settings.retry {
            return false;
        }
        let affordable = self.retries.take(self.attempts.load(Ordering::Relaxed), now);
        self.metrics.retry(if affordable { Retry::Tried } else { Retry::OverBudget });
        affordable
    }

    /// Counts the servers that are out. Called by whoever holds `ejections` and changed something.
    fn recount(&self) {
        let fleet = self.fleet.load();
        let count = |of: fn(&Server) -> bool| fleet.servers.iter().filter(|server| of(server)).count();
        let unhealthy = count(|server| server.unhealthy.load(Ordering::Relaxed));
        let out = count(Server::is_out);
        self.out.store(out, Ordering::Relaxed);
        self.metrics.servers(ServerState::InService, fleet.servers.len() - out);
        self.metrics.servers(ServerState::Unhealthy, unhealthy);
        self.metrics.servers(ServerState::Ejected, out - unhealthy);
    }
}

impl std::fmt::Debug for Upstreams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}
