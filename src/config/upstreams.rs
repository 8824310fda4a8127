//! `[upstreams.NAME]` as values that are already right.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use secrecy::SecretSlice;

pub use crate::config::file::UpstreamHttp;

/// `[upstreams.NAME]`
#[derive(Debug, Clone)]
pub struct Upstream {
    /// What routes call it.
    pub name: Arc<str>,
    /// Its servers.
    pub servers: Vec<UpstreamServer>,
    /// Which server gets a request.
    pub balance: Balance,
    /// Which HTTP is spoken to its servers.
    pub http: UpstreamHttp,
    /// `http2`
    pub http2: UpstreamHttp2,
    /// Whom it is believed to be, and who the gateway says it is; none for the system's authorities and nobody.
    pub tls: Option<UpstreamTls>,
    /// TCP (and TLS) connection.
    pub connect_timeout: Duration,
    /// The longest wait for the next bytes of a response.
    pub read_timeout: Duration,
    /// The longest wait for the upstream to accept bytes.
    pub write_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// Retries of a request that no server has acted upon: 0 or 1.
    pub retries: u8,
    /// The most retries, in percent of the requests.
    pub retry_share: u32,
    /// `health`; none means that servers are not asked.
    pub health: Option<Health>,
    /// `ejection`; none means that servers are never ejected.
    pub ejection: Option<Ejection>,
    /// `breaker`
    pub breaker: Breaker,
}

/// One server of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamServer {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// For `https://`: the name that its certificate must carry.
    pub tls_name: Option<String>,
    /// Its share of the traffic, in proportion to the others'.
    pub weight: u16,
}

/// Which server gets a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Balance {
    /// Each in turn.
    RoundRobin,
    /// The one with the fewest requests.
    LeastConnections,
    /// Always the same one for the same key.
    Hash(HashBy),
}

/// What a server is chosen by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashBy {
    /// The client's address.
    Client,
    /// The subject of the caller's token; the client's address for callers without one.
    Subject,
    /// The value of a request header; the client's address for requests without it.
    Header(HeaderName),
}

/// `[upstreams.NAME.tls]`, its files read.
#[derive(Debug, Clone)]
pub struct UpstreamTls {
    /// The only authorities that may have issued the servers' certificates, as DER; empty for those of the system.
    pub authorities: Vec<Vec<u8>>,
    /// What the gateway shows to servers that ask.
    pub client: Option<ClientCertificate>,
}

/// A certificate of the gateway's own and its key.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// The certificate and its chain, as DER.
    pub chain: Vec<Vec<u8>>,
    /// The private key, as DER.
    pub key: SecretSlice<u8>,
}

/// `[upstreams.NAME.http2]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamHttp2 {
    /// The most requests at once on one connection.
    pub streams: u32,
    /// From one PING to the next; none means that none are sent.
    pub ping_interval: Option<Duration>,
}

/// `[upstreams.NAME.health]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// What is asked for; none means that a TCP connection is enough.
    pub path: Option<String>,
    /// From one check to the next.
    pub interval: Duration,
    /// How long one check may take.
    pub timeout: Duration,
    /// Failed checks in a row that take a server out of service.
    pub unhealthy_after: u32,
    /// Passed checks in a row that bring it back.
    pub healthy_after: u32,
}

/// `[upstreams.NAME.ejection]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ejection {
    /// Failed requests in a row that take a server out of service.
    pub failures: u32,
    /// For how long the first time.
    pub time: Duration,
    /// And at most.
    pub time_max: Duration,
    /// The largest share of the servers that may be out at once, in percent.
    pub share: u32,
}

/// `[upstreams.NAME.breaker]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Breaker {
    /// The most requests at once.
    pub connections: Option<u32>,
    /// The most of them that wait for a connection.
    pub pending: Option<u32>,
}
