//! Listeners that speak more than plain HTTP: TLS by name, certificates of clients, redirects, PROXY headers.

mod certificates;
mod clients;
mod handshakes;
mod proxy_protocol;
mod redirect;

use std::net::SocketAddr;

use super::support::gateway::{Builder, Gateway};
use super::support::tls::Authority;
use super::support::upstream::Upstream;

const HTTPS: &str = "protocol = \"https\"";

/// An authority with a certificate for `a.example`, and a gateway that is configured to show it over TLS.
async fn site() -> (Authority, Upstream, Builder) {
    let (authority, upstream) = (Authority::new(), Upstream::echo().await);
    authority.write("a", &authority.issue(&["a.example"]));
    let builder = Gateway::in_front_of(&upstream).table(&authority.table("a")).listener(HTTPS);
    (authority, upstream, builder)
}

/// Where the gateway speaks what was added to it last.
fn last(gateway: &Gateway) -> SocketAddr {
    *gateway.addresses.last().expect("a listener")
}

/// The number that a metric of the gateway has.
async fn metric(gateway: &Gateway, line: &str) -> Option<i64> {
    let (_, text) = gateway.admin("/metrics").await?;
    text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
}

fn get(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}
