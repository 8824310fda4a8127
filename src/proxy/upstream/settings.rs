//! An upstream as it is configured.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use secrecy::{ExposeSecret as _, SecretSlice};

/// One upstream as configured.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamSettings {
    /// What routes call it.
    pub name: Arc<str>,
    /// Its servers.
    pub servers: Vec<ServerSettings>,
    /// Which server gets a request.
    pub balance: Balance,
    /// How HTTP/2 is spoken to its servers; none if it is not.
    pub http2: Option<UpstreamHttp2>,
    /// For `https` servers: whom to believe, and who the gateway is.
    pub tls: UpstreamTls,
    /// TCP and TLS connection.
    pub connect_timeout: Duration,
    /// The longest wait for the next bytes of a response.
    pub read_timeout: Duration,
    /// The longest wait for the upstream to accept bytes.
    pub write_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// Whether a request that no application has acted upon is tried once more.
    pub retry: bool,
    /// The most retries, in percent of the requests.
    pub retry_share: u32,
    /// Asking servers whether they are well; none for not asking.
    pub health: Option<HealthSettings>,
    /// Doing without servers that fail; none for never.
    pub ejection: Option<EjectionSettings>,
    /// The most requests at once; none for no limit.
    pub connections_max: Option<u32>,
    /// The most requests that wait for a connection; none for no limit.
    pub pending_max: Option<u32>,
}

/// One server of an upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerSettings {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// For TLS: the name that the certificate must carry. Never empty: pingora would skip verification.
    pub tls_name: Option<String>,
    /// Its share of the traffic, in proportion to the others'; each address of a name has it. At least 1.
    pub weight: u16,
}

/// How HTTP/2 is spoken to servers.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamHttp2 {
    /// Whether it is all that is spoken, also without TLS; otherwise to `https` servers that offer it.
    pub only: bool,
    /// The most requests at once on one connection. At least 1.
    pub streams: u32,
    /// From one PING to the next; none for no PINGs.
    pub ping_interval: Option<Duration>,
}

/// Which server gets a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Balance {
    /// Each in turn, as often as its weight says.
    RoundRobin,
    /// The one with the fewest requests for its weight.
    LeastConnections,
    /// Always the same one for the same key.
    Hash(HashBy),
}

/// What a server is chosen by.
#[derive(Debug, Clone, PartialEq)]
pub enum HashBy {
    /// The client's address.
    Client,
    /// The caller's subject; the client's address for anonymous callers.
    Subject,
    /// The value of a request header; the client's address where there is none.
    Header(HeaderName),
}

/// Whom to believe, and who the gateway is.
#[derive(Debug, Clone, Default)]
pub struct UpstreamTls {
    /// The only authorities that count, as DER; empty for those of the system.
    pub authorities: Vec<Vec<u8>>,
    /// The gateway's certificate with its chain, and its private key, as DER.
    pub client: Option<(Vec<Vec<u8>>, SecretSlice<u8>)>,
}

impl PartialEq for UpstreamTls {
    fn eq(&self, other: &Self) -> bool {
        let client = |tls: &Self| {
            let (chain, key) = tls.client.as_ref()?;
            Some((chain.clone(), key.expose_secret().to_vec()))
        };
        self.authorities == other.authorities && client(self) == client(other)
    }
}

/// Asking servers whether they are well.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthSettings {
    /// What is asked for with GET, where any 2xx will do; none if a TCP connection is enough.
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

/// Doing without servers that fail.
#[derive(Debug, Clone, PartialEq)]
pub struct EjectionSettings {
    /// Failed requests in a row that take a server out of service. At least 1.
    pub failures: u32,
    /// For how long the first time; twice as long each further time.
    pub time: Duration,
    /// And at most.
    pub time_max: Duration,
    /// The largest share of the servers that may be out at once, in percent.
    pub share: u32,
}
