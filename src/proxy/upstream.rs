//! Upstreams: from a route's upstream name to a server to connect to.
//!
//! Peers are built once per resolved address, with their timeouts, and copied per request. Names are resolved
//! by a task of their own: pingora resolves synchronously and panics on failure, so it is only ever given
//! addresses. The last good answer is kept while the resolver fails.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};

/// How often names are resolved again.
const RESOLVE_EVERY: Duration = Duration::from_secs(10);

/// One upstream as configured.
#[derive(Debug, Clone)]
pub struct UpstreamSettings {
    /// What routes call it.
    pub name: Arc<str>,
    /// Its servers.
    pub servers: Vec<ServerSettings>,
    /// TCP and TLS connection.
    pub connect_timeout: Duration,
    /// The longest wait for the next bytes of a response.
    pub read_timeout: Duration,
    /// The longest wait for the upstream to accept bytes.
    pub write_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// Whether a safe request that reached no application is tried once more.
    pub retry: bool,
}

/// One server of an upstream.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// For TLS: the name that the certificate must carry. Never empty: pingora would skip verification.
    pub tls_name: Option<String>,
}

/// One address of a server, ready to be copied.
#[derive(Debug)]
struct Peers {
    plain: HttpPeer,
    websocket: HttpPeer,
}

/// One upstream and the addresses its servers have now.
#[derive(Debug)]
pub(super) struct Upstream {
    settings: UpstreamSettings,
    peers: ArcSwap<Vec<Peers>>,
    next: AtomicUsize,
}

/// Every upstream, by name.
#[derive(Debug)]
pub struct Upstreams {
    by_name: HashMap<Arc<str>, Arc<Upstream>>,
}

impl Upstreams {
    /// Upstreams whose names are not resolved yet: see [`Self::resolve_all`].
    #[must_use]
    pub fn new(settings: Vec<UpstreamSettings>) -> Self {
        let by_name =
            settings.into_iter().map(|settings| (Arc::clone(&settings.name), Arc::new(Upstream::new(settings)))).collect();
        Self { by_name }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.by_name.get(name)
    }

    /// Resolves every server name once; failures are logged and leave the last good addresses.
    pub async fn resolve_all(&self) {
        for upstream in self.by_name.values() {
            upstream.resolve().await;
        }
    }

    /// Resolves again and again, for ever. Returns at once when every server is an address.
    pub async fn keep_resolving(&self) {
        if !self.by_name.values().any(|upstream| upstream.settings.servers.iter().any(ServerSettings::is_name)) {
            return;
        }
        loop {
            tokio::time::sleep(RESOLVE_EVERY).await;
            self.resolve_all().await;
        }
    }
}

impl ServerSettings {
    fn is_name(&self) -> bool {
        self.host.parse::<std::net::IpAddr>().is_err()
    }
}

impl Upstream {
    fn new(settings: UpstreamSettings) -> Self {
        Self { settings, peers: ArcSwap::default(), next: AtomicUsize::new(0) }
    }

    pub(super) fn retries(&self) -> bool {
        self.settings.retry
    }

    /// The next server in turn; none while no name of this upstream could be resolved.
    pub(super) fn pick(&self, websocket: bool) -> Option<Box<HttpPeer>> {
        let peers = self.peers.load();
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let peers = peers.get(turn.checked_rem(peers.len())?)?;
        Some(Box::new(if websocket { peers.websocket.clone() } else { peers.plain.clone() }))
    }

    async fn resolve(&self) {
        let mut peers = Vec::new();
        for server in &self.settings.servers {
            match tokio::net::lookup_host((server.host.as_str(), server.port)).await {
                Ok(addresses) => peers.extend(addresses.map(|address| self.peers_at(address, server))),
                Err(error) => {
                    tracing::warn!(upstream = %self.settings.name, host = %server.host, %error, "upstream name not resolved");
                }
            }
        }
        if !peers.is_empty() {
            self.peers.store(Arc::new(peers));
        }
    }

    fn peers_at(&self, address: SocketAddr, server: &ServerSettings) -> Peers {
        let tls_name = server.tls_name.clone();
        let mut websocket = HttpPeer::new(address, tls_name.is_some(), tls_name.unwrap_or_default());
        let options = &mut websocket.options;
        options.connection_timeout = Some(self.settings.connect_timeout);
        options.total_connection_timeout = Some(self.settings.connect_timeout);
        options.read_timeout = Some(self.settings.read_timeout);
        options.write_timeout = Some(self.settings.write_timeout);
        options.idle_timeout = Some(self.settings.idle_timeout);
        let mut plain = websocket.clone();
        plain.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
        Peers { plain, websocket }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(hosts: &[&str]) -> UpstreamSettings {
        let second = Duration::from_secs(1);
        UpstreamSettings {
            name: "app".into(),
            servers: hosts.iter().map(|host| ServerSettings { host: (*host).to_owned(), port: 80, tls_name: None }).collect(),
            connect_timeout: second,
            read_timeout: second,
            write_timeout: second,
            idle_timeout: second,
            retry: true,
        }
    }

    #[tokio::test]
    async fn servers_take_turns() {
        let upstreams = Upstreams::new(vec![settings(&["127.0.0.1", "127.0.0.2"])]);
        upstreams.resolve_all().await;
        let upstream = upstreams.get("app").expect("it was configured");
        let picked: Vec<_> = (0..4).map(|_| upstream.pick(false).expect("two addresses")._address.to_string()).collect();
        assert_eq!(picked, ["127.0.0.1:80", "127.0.0.2:80", "127.0.0.1:80", "127.0.0.2:80"]);
    }

    #[tokio::test]
    async fn an_upstream_without_addresses_has_no_peer() {
        let upstreams = Upstreams::new(vec![settings(&["127.0.0.1"])]);
        assert!(upstreams.get("app").expect("it was configured").pick(false).is_none());
        assert!(upstreams.get("other").is_none());
    }

    #[tokio::test]
    async fn upgrades_are_denied_unless_the_route_allows_them() {
        let upstreams = Upstreams::new(vec![settings(&["127.0.0.1"])]);
        upstreams.resolve_all().await;
        let upstream = upstreams.get("app").expect("it was configured");
        let policy = |websocket| upstream.pick(websocket).expect("an address").options.http_upstream_request_policy;
        assert_eq!(policy(false), HttpUpstreamRequestPolicy::deny_upgrades());
        assert_eq!(policy(true), HttpUpstreamRequestPolicy::standard());
    }
}
