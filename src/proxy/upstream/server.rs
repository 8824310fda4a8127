//! One address of an upstream: ready to be connected to, and what is known about how it does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};

use super::settings::{ServerSettings, UpstreamSettings};
use super::tls::PeerTls;
use super::{Wanted, protocol};

/// One address of an upstream. It lives as long as its name leads to it, however often that is resolved.
#[derive(Debug)]
pub(in crate::proxy) struct Server {
    pub(super) address: SocketAddr,
    /// Which of the upstream's settings it comes from.
    pub(super) index: usize,
    pub(super) weight: u16,
    plain: HttpPeer,
    websocket: HttpPeer,
    /// Requests that it has now; counted for upstreams that balance by it.
    pub(super) in_flight: AtomicUsize,
    /// Failed requests in a row.
    pub(super) failures: AtomicU32,
    /// Checks in a row that say otherwise than `unhealthy`.
    pub(super) contrary_checks: AtomicU32,
    pub(super) unhealthy: AtomicBool,
    pub(super) ejected: AtomicBool,
}

impl Server {
    /// The peer is built here, once: what a request needs of it is copied.
    pub(super) fn new(address: SocketAddr, index: usize, of: &UpstreamSettings, tls: &PeerTls) -> Self {
        let ServerSettings { tls_name, weight, .. } = &of.servers[index];
        let mut websocket = HttpPeer::new(address, tls_name.is_some(), tls_name.clone().unwrap_or_default());
        let options = &mut websocket.options;
        options.connection_timeout = Some(of.connect_timeout);
        options.total_connection_timeout = Some(of.connect_timeout);
        options.read_timeout = Some(of.read_timeout);
        options.write_timeout = Some(of.write_timeout);
        options.idle_timeout = Some(of.idle_timeout);
        if tls_name.is_some() {
            tls.apply(&mut websocket);
        }
        let mut plain = websocket.clone();
        protocol::apply(of.http2.as_ref(), &mut plain);
        plain.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
        Self {
            address,
            index,
            weight: *weight,
            plain,
            websocket,
            in_flight: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            contrary_checks: AtomicU32::new(0),
            unhealthy: AtomicBool::new(false),
            ejected: AtomicBool::new(false),
        }
    }

    /// Whether requests should go elsewhere.
    pub(super) fn is_out(&self) -> bool {
        self.unhealthy.load(Ordering::Relaxed) || self.ejected.load(Ordering::Relaxed)
    }

    /// What pingora is to connect to.
    pub(super) fn peer(&self, wanted: &Wanted<'_>) -> Box<HttpPeer> {
        let mut peer = Box::new(if wanted.websocket { self.websocket.clone() } else { self.plain.clone() });
        let options = &mut peer.options;
        if !wanted.strip {
            options.http_upstream_request_policy = HttpUpstreamRequestPolicy::preserve();
        }
        if let Some(timeouts) = wanted.timeouts {
            if timeouts.connect.is_some() {
                (options.connection_timeout, options.total_connection_timeout) = (timeouts.connect, timeouts.connect);
            }
            // A head that may take longer than the upstream's usual wait is waited for.
            options.read_timeout = timeouts.read.or(options.read_timeout.max(timeouts.response_head));
        }
        peer
    }
}

/// A request at a server, until it is dropped.
#[derive(Debug)]
pub(in crate::proxy) struct Served {
    pub(in crate::proxy) server: Arc<Server>,
}

impl Served {
    pub(super) fn by(server: &Arc<Server>) -> Self {
        server.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { server: Arc::clone(server) }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
