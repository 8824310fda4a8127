//! Names of servers, resolved again and again. Every address of a name is a server.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::fleet::Fleet;
use super::server::Server;
use super::{Upstream, Upstreams};

/// How often names are resolved again.
const RESOLVE_EVERY: Duration = Duration::from_secs(10);
/// A resolver that is silent for longer has failed: nothing else may wait for it, least of all the start.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What knows the addresses of names.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// Every address of `host`, with this port.
    ///
    /// # Errors
    /// Why there is no answer.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The operating system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let found = tokio::time::timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((host, port))).await;
        found.map_err(|_| io::ErrorKind::TimedOut)?.map(Iterator::collect)
    }
}

impl Upstreams {
    /// Resolves for ever. Returns at once when every server is an address.
    pub(super) async fn keep_resolving(&self) {
        let named = |upstream: &Arc<Upstream>| upstream.settings.servers.iter().any(|server| is_name(&server.host));
        if !self.by_name.values().any(named) {
            return;
        }
        loop {
            tokio::time::sleep(RESOLVE_EVERY).await;
            self.resolve_all().await;
        }
    }
}

fn is_name(host: &str) -> bool {
    host.parse::<IpAddr>().is_err()
}

impl Upstream {
    pub(super) async fn resolve(&self, resolver: &dyn Resolve) {
        let mut found = Vec::new();
        for server in &self.settings.servers {
            let addresses = match server.host.parse::<IpAddr>() {
                Ok(ip) => Ok(vec![SocketAddr::new(ip, server.port)]),
                Err(_) => resolver.resolve(&server.host, server.port).await,
            };
            if let Err(error) = &addresses {
                tracing::warn!(upstream = %self.settings.name, host = %server.host, %error, "upstream name not resolved");
            }
            // A name without any address is taken for a failure, too: an empty answer must not empty an upstream.
            found.push(addresses.ok().filter(|addresses| !addresses.is_empty()));
        }
        self.replace(&found);
    }

    /// Takes these addresses, by server of the settings; those of a server without any stay as they are. A server that
    /// was there already stays the same, with all that is known about it.
    fn replace(&self, found: &[Option<Vec<SocketAddr>>]) {
        let _changing = self.ejections.lock().expect("no holder of the ejections panics");
        let known = self.fleet.load();
        let mut servers: Vec<Arc<Server>> = Vec::new();
        for (index, addresses) in found.iter().enumerate() {
            let of_this = || known.servers.iter().filter(|server| server.index == index);
            let now: Vec<_> = match addresses {
                None => of_this().map(Arc::clone).collect(),
                Some(addresses) => {
                    let kept = |address: &SocketAddr| of_this().find(|server| server.address == *address).map(Arc::clone);
                    let new = |address: &SocketAddr| Arc::new(Server::new(*address, index, &self.settings, &self.tls));
                    addresses.iter().map(|address| kept(address).unwrap_or_else(|| new(address))).collect()
                }
            };
            // One name may have an address twice, and two names the same one.
            for server in now {
                if !servers.iter().any(|other| other.address == server.address) {
                    servers.push(server);
                }
            }
        }
        // Resolvers shuffle their answers; the order decides only where nothing changes with every answer.
        let key = |server: &Arc<Server>| (server.index, server.address);
        servers.sort_by_key(key);
        if servers.len() != known.servers.len() || !servers.iter().zip(&known.servers).all(|(a, b)| Arc::ptr_eq(a, b)) {
            self.fleet.store(Arc::new(Fleet::new(servers, &self.settings.balance)));
        }
        self.recount();
    }
}
