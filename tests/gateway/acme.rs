//! Certificates by ACME, ordered from an authority of the test's own: the first one, those of replicas, renewal, and what
//! goes wrong on the way.

mod first;
mod renewal;
mod replicas;
mod trouble;

use std::net::SocketAddr;

use super::support::acme::AcmeServer;
use super::support::eventually;
use super::support::gateway::{Builder, Gateway};
use super::support::upstream::Upstream;

const HTTPS: &str = "protocol = \"https\"";
const HTTP_01: &str = "http-01";
const TLS_ALPN_01: &str = "tls-alpn-01";
const A: &str = "a.example";

/// An authority, and a gateway that is configured to have a certificate for `a.example` from it.
async fn site(challenge: &str, keys: &str) -> (AcmeServer, Upstream, Builder) {
    let (ca, upstream) = (AcmeServer::start().await, Upstream::echo().await);
    let builder = Gateway::in_front_of(&upstream).table(&ca.table(&[A], challenge, keys)).listener(HTTPS);
    (ca, upstream, builder)
}

/// Where the gateway speaks HTTP in clear text, and where it speaks TLS.
fn plain(gateway: &Gateway) -> SocketAddr {
    gateway.address
}

fn secure(gateway: &Gateway) -> SocketAddr {
    *gateway.addresses.last().expect("a listener")
}

/// Waits until the gateway shows a certificate of the authority for a host: that certificate.
async fn shown(ca: &AcmeServer, gateway: &Gateway, host: &str) -> Vec<u8> {
    eventually("a certificate", async || certificate(ca, gateway, host).await).await
}

/// The certificate that is shown for a host, if clients accept it.
async fn certificate(ca: &AcmeServer, gateway: &Gateway, host: &str) -> Option<Vec<u8>> {
    let mut talk = ca.authority().client().try_connect(secure(gateway), host).await.ok()?;
    let (_, connection) = talk.stream().get_ref();
    Some(connection.peer_certificates().expect("a certificate")[0].to_vec())
}

/// How many orders came to this end.
async fn ended(gateway: &Gateway, outcome: &str) -> Option<f64> {
    gateway.metric(&format!("portcullis_acme_orders_total{{outcome=\"{outcome}\"}}")).await
}

/// How many certificates are in this state.
async fn state(gateway: &Gateway, state: &str) -> Option<f64> {
    gateway.metric(&format!("portcullis_acme_certificates{{state=\"{state}\"}}")).await
}

fn get(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}
