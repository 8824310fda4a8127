//! `[server]` as values that are already right: where clients come in, what is spoken there, how long and how much.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretSlice;

use super::file::acme::AcmeChallenge;
use super::{ClientIdentity, Protocol};
use crate::limit::{ConnectionLimits, RequestLimits};

/// `[server]`
#[derive(Debug, Clone)]
pub struct Server {
    /// Every address for clients.
    pub listen: Vec<SocketAddr>,
    /// What is spoken at each of them, in the same order.
    pub listeners: Vec<Listener>,
    /// `[server.tls]`; none if no listener needs it.
    pub tls: Option<Tls>,
    /// `[server.http2]`; none if it is not spoken.
    pub http2: Option<Http2>,
    /// `[server.acme]`; none if no host is named.
    pub acme: Option<Acme>,
    /// From a connection's first byte to the first that is HTTP, where something comes before it.
    pub handshake_timeout: Duration,
    /// Address of the admin listener; none switches it off.
    pub admin: Option<SocketAddr>,
    /// Proxy threads.
    pub threads: usize,
    /// Peers whose `X-Forwarded-For` and PROXY headers are believed. Empty by default.
    pub trusted_proxies: Vec<IpNet>,
    /// Sizes.
    pub limits: RequestLimits,
    /// How many connections.
    pub connections: ConnectionLimits,
    /// From the first byte awaited to the end of the header section.
    pub header_timeout: Duration,
    /// How long a client connection may stay idle between requests.
    pub idle_timeout: Duration,
    /// The longest pause between two reads of a request body, and between two writes of a response.
    pub body_timeout: Duration,
    /// How long an upgraded connection may be silent in both directions.
    pub websocket_idle_timeout: Duration,
    /// After SIGTERM: how long to keep accepting while not ready, so that load balancers notice.
    pub drain_delay: Duration,
    /// After that: how long requests in flight may take.
    pub drain_timeout: Duration,
    /// Whether a change of the file is put in force by itself.
    pub watch_config: bool,
}

/// An address for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Where.
    pub address: SocketAddr,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Whether each connection begins with a header of the PROXY protocol.
    pub proxy_protocol: bool,
}

/// `[server.http2]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2 {
    /// The most requests at once on one connection.
    pub streams_max: u32,
}

/// `[server.tls]`
#[derive(Debug, Clone)]
pub struct Tls {
    /// Refuse TLS 1.2, too.
    pub tls13_only: bool,
    /// The port at which clients reach TLS.
    pub https_port: u16,
    /// The value of `Strict-Transport-Security`, if it is sent.
    pub hsts: Option<String>,
    /// What is shown to clients, in the order of the file; none if all of it is ordered by `[server.acme]`.
    pub certificates: Vec<Certificate>,
    /// Certificates of clients; none if they are not asked for one.
    pub clients: Option<TlsClients>,
}

/// `[[server.tls.certificates]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The label in logs and metrics.
    pub name: Box<str>,
    /// The chain.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The hosts it is shown for, lower case; the certificate's own if there are none.
    pub hosts: Vec<Box<str>>,
}

/// `[server.acme]`
#[derive(Debug, Clone)]
pub struct Acme {
    /// One certificate each, lower case; at least one.
    pub hosts: Vec<Box<str>>,
    /// Where the authority says what it offers.
    pub directory: String,
    /// Whom the authority may write to.
    pub contact: Vec<String>,
    /// How it is shown that a host is ours.
    pub challenge: AcmeChallenge,
    /// The only authorities of the directory's own certificate, as DER; empty for the public ones.
    pub authorities: Vec<Vec<u8>>,
    /// An account that the authority knows already.
    pub external_account: Option<ExternalAccount>,
}

/// `server.acme.external_account`
#[derive(Debug, Clone)]
pub struct ExternalAccount {
    /// What the authority calls it.
    pub key_id: String,
    /// The secret shared with the authority.
    pub key: SecretSlice<u8>,
}

/// `[server.tls.clients]`
#[derive(Debug, Clone)]
pub struct TlsClients {
    /// Whether a client without a certificate is refused.
    pub required: bool,
    /// The authorities whose certificates are believed.
    pub authorities: PathBuf,
    /// Which names upstreams are told.
    pub identity: ClientIdentity,
}
