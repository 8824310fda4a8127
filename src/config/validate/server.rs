//! `[server]`: addresses that can be listened on together, timeouts and limits that limit something.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::{Check, DAY, HOUR, MILLISECOND, acme, listeners};
use crate::config::file::{self, Limits};
use crate::config::place::Path;
use crate::config::{Http2, Server, cores};
use crate::limit::{ConnectionLimits, RequestLimits};

pub(super) fn server(check: &mut Check<'_>, path: &Path, file: &file::Server) -> Server {
    let mut listen = addresses(check, &path.key("listen"), file);
    let mut listeners: Vec<_> = listen.iter().map(|(address, _)| listeners::plain(*address)).collect();
    listeners.extend(listeners::listeners(check, &path.key("listeners"), file, &mut listen));
    let tls = listeners::tls(check, &path.key("tls"), &file.tls, &listeners);
    let from_files = tls.iter().flat_map(|tls| tls.certificates.clone()).collect::<Vec<_>>();
    let acme = acme::acme(check, &path.key("acme"), &file.acme, &listeners, &from_files);
    let admin = admin(check, &path.key("admin"), &file.admin, &listen);
    let positive = MILLISECOND..=HOUR;
    let before_http = path.key("tls").key("handshake_timeout");
    let handshake_timeout = check.duration(&before_http, &file.tls.handshake_timeout, positive.clone());
    let mut duration = |key: &str, text, bounds| check.duration(&path.key(key), text, bounds);
    let header_timeout = duration("header_timeout", &file.header_timeout, positive.clone());
    let idle_timeout = duration("idle_timeout", &file.idle_timeout, positive.clone());
    let body_timeout = duration("body_timeout", &file.body_timeout, positive);
    let websocket_idle_timeout = duration("websocket_idle_timeout", &file.websocket_idle_timeout, MILLISECOND..=DAY * 7);
    let drain_delay = duration("drain_delay", &file.drain_delay, Duration::ZERO..=HOUR);
    let drain_timeout = duration("drain_timeout", &file.drain_timeout, Duration::ZERO..=HOUR);
    Server {
        listeners,
        tls,
        http2: file.http2.enabled.then(|| Http2 { streams_max: file.http2.streams.into() }),
        acme,
        handshake_timeout,
        listen: listen.into_iter().map(|(address, _)| address).collect(),
        admin,
        threads: file.threads.map_or_else(cores, usize::from),
        trusted_proxies: trusted_proxies(check, &path.key("trusted_proxies"), &file.trusted_proxies),
        limits: limits(check, &path.key("limits"), &file.limits),
        connections: ConnectionLimits { total: file.limits.connections, per_address: file.limits.connections_per_address },
        header_timeout,
        idle_timeout,
        body_timeout,
        websocket_idle_timeout,
        drain_delay,
        drain_timeout,
        watch_config: file.watch_config,
    }
}

fn addresses(check: &mut Check<'_>, path: &Path, file: &file::Server) -> Vec<(SocketAddr, Path)> {
    if file.listen.is_empty() && file.listeners.is_empty() {
        check.refuse(path, "the gateway would listen nowhere", "write at least one address, like [\"127.0.0.1:8080\"]");
    }
    let mut listen: Vec<(SocketAddr, Path)> = Vec::new();
    for (index, text) in file.listen.iter().enumerate() {
        add_address(check, path.index(index), text, &mut listen);
    }
    listen
}

/// Reads an address and adds it to those that are taken.
pub(super) fn add_address(
    check: &mut Check<'_>,
    path: Path,
    text: &str,
    listen: &mut Vec<(SocketAddr, Path)>,
) -> Option<SocketAddr> {
    let address = address(check, &path, text)?;
    if let Some((_, other)) = listen.iter().find(|(other, _)| overlap(*other, address)) {
        check.clash(&path, format!("{address} is taken"), &other.clone(), "by this listener", "remove one of the two");
    }
    listen.push((address, path));
    Some(address)
}

fn admin(check: &mut Check<'_>, path: &Path, text: &str, listen: &[(SocketAddr, Path)]) -> Option<SocketAddr> {
    if text == "off" {
        return None;
    }
    let address = address(check, path, text)?;
    if let Some((_, other)) = listen.iter().find(|(other, _)| overlap(*other, address)) {
        let help = "give the admin listener a port of its own: what it serves is not for clients";
        check.clash(path, format!("{address} is taken"), other, "by this listener", help);
    }
    Some(address)
}

fn address(check: &mut Check<'_>, path: &Path, text: &str) -> Option<SocketAddr> {
    let wrong = |_| format!("{text:?} is not an address");
    check.parsed(path, text.parse().map_err(wrong), "write IP:PORT, like \"127.0.0.1:8080\", \"0.0.0.0:8080\" or \"[::]:8080\"")
}

/// Whether the second of two listeners could not be opened. Port 0 means any free port and never clashes; whether
/// `[::]` also takes IPv4 is the system's setting, so the families are kept apart.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && (any || a.ip() == b.ip())
}

fn trusted_proxies(check: &mut Check<'_>, path: &Path, file: &[String]) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for (index, text) in file.iter().enumerate() {
        let path = path.index(index);
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
        let wrong = |_| format!("{text:?} is not a network");
        let Some(network) = check.parsed(&path, network.map_err(wrong), "write it in CIDR notation, like \"10.0.0.0/8\"") else {
            continue;
        };
        if network.prefix_len() == 0 {
            let help = "name the networks of your own proxies only: whoever is trusted can claim to be any client";
            check.refuse(&path, format!("{network} is every address there is"), help);
        }
        networks.push(network);
    }
    networks
}

fn limits(check: &mut Check<'_>, path: &Path, file: &Limits) -> RequestLimits {
    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;
    let mut size = |key: &str, text, bounds| check.size(&path.key(key), text, bounds);
    let small = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    RequestLimits {
        target_bytes_max: small(size("target", &file.target, 64..=64 * KIB)),
        header_bytes_max: small(size("headers", &file.headers, KIB..=MIB)),
        header_count_max: usize::from(file.header_count),
        body_bytes_max: size("body", &file.body, 0..=u64::MAX),
        // Below 2 KiB not even a refresh token with a few fields beside it would fit; the body is held in memory.
        auth_body_bytes_max: small(size("auth_body", &file.auth_body, 2 * KIB..=16 * MIB)),
    }
}
