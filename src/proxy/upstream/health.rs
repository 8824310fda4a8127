//! Asking servers whether they are well. The checks themselves are pingora's; what follows from them is decided here,
//! because servers come and go with their names, and requests have a say, too.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::stream::{FuturesUnordered, StreamExt};
use pingora::Error;
use pingora::http::RequestHeader;
use pingora::lb::Backend;
use pingora::lb::health_check::{HealthCheck, HttpHealthCheck, TcpHealthCheck};
use pingora::prelude::*;
use pingora::upstreams::peer::HttpPeer;

use super::Upstream;
use super::protocol;
use super::server::Server;
use super::settings::{HealthSettings, ServerSettings, UpstreamHttp2, UpstreamSettings};
use super::tls::PeerTls;
use crate::proxy::outcome::told;

/// How the servers are asked, by their place in the settings; empty if they are not.
pub(super) struct Checks(Box<[Box<dyn HealthCheck + Send + Sync>]>);

impl Checks {
    pub(super) fn new(of: &UpstreamSettings, tls: &PeerTls) -> Self {
        let Some(health) = &of.health else { return Self(Box::default()) };
        Self(of.servers.iter().map(|server| check(health, server, tls, of.http2.as_ref())).collect())
    }
}

fn check(
    health: &HealthSettings,
    server: &ServerSettings,
    tls: &PeerTls,
    http2: Option<&UpstreamHttp2>,
) -> Box<dyn HealthCheck + Send + Sync> {
    let Some(path) = &health.path else {
        let mut check = TcpHealthCheck::new();
        check.peer_template.options.connection_timeout = Some(health.timeout);
        return check;
    };
    let https = server.tls_name.is_some();
    let name = server.tls_name.as_deref().unwrap_or(&server.host);
    let mut check = HttpHealthCheck::new(name, https);
    let mut request = RequestHeader::build("GET", path.as_bytes(), Some(2)).expect("a path was checked with the configuration");
    let authority = authority(name, server.port, https);
    if http2.is_some_and(|http2| http2.only) && !https {
        // `:scheme`, which pingora would write as that of TLS.
        let uri = http::Uri::builder().scheme("http").authority(&*authority).path_and_query(path).build();
        request.set_uri(uri.expect("names of servers and paths were checked with the configuration"));
    }
    request.insert_header("Host", authority).expect("names of servers are visible ASCII");
    request.insert_header("User-Agent", "portcullis-health-check").expect("a literal without control characters");
    check.req = request;
    // An address of nobody's, which each check replaces.
    let mut peer = HttpPeer::new("0.0.0.0:1", https, server.tls_name.clone().unwrap_or_default());
    if https {
        tls.apply(&mut peer);
    }
    protocol::apply(http2, &mut peer);
    peer.options.connection_timeout = Some(health.timeout);
    peer.options.total_connection_timeout = Some(health.timeout);
    peer.options.read_timeout = Some(health.timeout);
    peer.options.write_timeout = Some(health.timeout);
    check.peer_template = peer;
    check.validator = Some(Box::new(|response| {
        if response.status.is_success() { Ok(()) } else { Err(Error::explain(HTTPStatus(response.status.as_u16()), "not well")) }
    }));
    Box::new(check)
}

/// `Host` as clients of the server write it (RFC 9110 §7.2).
fn authority(name: &str, port: u16, https: bool) -> String {
    let name = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
    if port == if https { 443 } else { 80 } { name } else { format!("{name}:{port}") }
}

impl Upstream {
    /// Asks every server, now and at every interval, for ever. Returns at once where servers are not asked.
    pub(super) async fn keep_checking(&self) {
        let Some(health) = &self.settings.health else { return };
        let mut rounds = tokio::time::interval(health.interval);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            let fleet = self.fleet.load_full();
            let asking: FuturesUnordered<_> = fleet.servers.iter().map(|server| self.ask(server, health)).collect();
            asking.collect::<()>().await;
        }
    }

    async fn ask(&self, server: &Arc<Server>, health: &HealthSettings) {
        let Some(check) = self.checks.0.get(server.index) else { return };
        let backend = Backend {
            addr: pingora::protocols::l4::socket::SocketAddr::Inet(server.address),
            weight: 1,
            ext: http::Extensions::new(),
        };
        let failed = match tokio::time::timeout(health.timeout, check.check(&backend)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(told(&error)),
            Err(_) => Some(format!("no answer within {:?}", health.timeout)),
        };
        self.checked(server, failed.as_deref(), health);
    }

    /// What a check found: nothing, or why the server is not well.
    pub(super) fn checked(&self, server: &Server, failed: Option<&str>, health: &HealthSettings) {
        let unhealthy = server.unhealthy.load(Ordering::Relaxed);
        if failed.is_some() == unhealthy {
            server.contrary_checks.store(0, Ordering::Relaxed);
            return;
        }
        let contrary = server.contrary_checks.fetch_add(1, Ordering::Relaxed) + 1;
        if contrary < if unhealthy { health.healthy_after } else { health.unhealthy_after } {
            return;
        }
        let _changing = self.ejections.lock().expect("no holder of the ejections panics");
        server.unhealthy.store(!unhealthy, Ordering::Relaxed);
        server.contrary_checks.store(0, Ordering::Relaxed);
        self.recount();
        let upstream = &*self.settings.name;
        match failed {
            Some(why) => tracing::warn!(upstream, server = %server.address, why, "upstream server is not well"),
            None => tracing::info!(upstream, server = %server.address, "upstream server is well again"),
        }
    }
}
