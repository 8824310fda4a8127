//! The tables under `[upstreams.NAME]`, and `timeouts` of a route, as they are written.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::DurationText;

/// Which server gets a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Balance {
    /// Each in turn.
    #[default]
    RoundRobin,
    /// The one with the fewest requests.
    LeastConnections,
    /// Always the same one for the same key.
    Hash,
}

/// Which HTTP is spoken to the servers of an upstream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum UpstreamHttp {
    /// HTTP/2 with `https` servers that offer it (ALPN), otherwise HTTP/1.1.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// Only HTTP/1.1.
    #[serde(rename = "1.1")]
    One,
    /// Only HTTP/2; to `http` servers with prior knowledge ("h2c").
    #[serde(rename = "2")]
    Two,
}

/// `[upstreams.NAME.http2]`
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamHttp2 {
    /// The most requests at once on one connection; further ones open another.
    #[schemars(range(min = 1, max = 10_000))]
    pub streams: u32,
    /// From one PING to the next; none are sent unless set.
    pub ping_interval: Option<DurationText>,
}

/// `[upstreams.NAME.tls]`
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamTls {
    /// The name that the certificate must carry; the host of the URL unless set.
    pub server_name: Option<String>,
    /// A PEM file with the only authorities that may have issued it; those of the system unless set.
    pub ca: Option<PathBuf>,
    /// A PEM file with the gateway's own certificate, for servers that ask for one; then its chain.
    pub certificate: Option<PathBuf>,
    /// A PEM file with that certificate's private key.
    pub key: Option<PathBuf>,
}

/// `[upstreams.NAME.health]`
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Health {
    /// What is asked for with GET; unset, a TCP connection is all that is tried.
    pub path: Option<String>,
    /// From one check to the next.
    pub interval: DurationText,
    /// How long one check may take.
    pub timeout: DurationText,
    /// So many failed checks in a row take a server out of service.
    #[schemars(range(min = 1, max = 100))]
    pub unhealthy_after: u32,
    /// So many passed ones in a row bring it back.
    #[schemars(range(min = 1, max = 100))]
    pub healthy_after: u32,
}

/// `[upstreams.NAME.ejection]`
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ejection {
    /// So many failed requests in a row take a server out of service; 0 for never.
    #[schemars(range(max = 1000))]
    pub failures: u32,
    /// For how long the first time; twice as long each further time.
    pub time: DurationText,
    /// And never longer than this.
    pub time_max: DurationText,
    /// The largest share of the servers that may be out at once, in percent; the last one never is.
    #[schemars(range(min = 1, max = 100))]
    pub share: u32,
}

/// `[upstreams.NAME.breaker]`
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Breaker {
    /// The most requests, and with them connections, at once; no limit unless set.
    #[schemars(range(min = 1))]
    pub connections: Option<u32>,
    /// The most of them that wait for a connection at once; no limit unless set.
    #[schemars(range(min = 1))]
    pub pending: Option<u32>,
}

/// `timeouts` of a route.
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RouteTimeouts {
    /// TCP and TLS handshake; the upstream's `connect_timeout` unless set.
    pub connect: Option<DurationText>,
    /// From the choice of a server to the end of its response head; no limit of its own unless set.
    pub response_head: Option<DurationText>,
    /// The longest wait for the next bytes of the response; the upstream's `read_timeout` unless set.
    pub read: Option<DurationText>,
    /// The whole request, from its head to the end of the answer; no limit unless set.
    pub total: Option<DurationText>,
}
