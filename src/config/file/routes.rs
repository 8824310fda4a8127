//! What `[[routes]]` may say besides where requests go, as it is written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Method;
use crate::config::units::{DurationText, RateText};

/// `match` of a route.
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// Header fields that a request must have, each with this value.
    pub headers: BTreeMap<String, String>,
    /// Parameters that the query must have, each with this value.
    pub query: BTreeMap<String, String>,
}

/// `redirect` of a route.
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    #[schemars(range(min = 301, max = 308))]
    pub status: Option<u16>,
    /// `http` or `https`; with it, `host` must be known.
    pub scheme: Option<String>,
    /// Where to, with a port if it is an unusual one; the same host unless set.
    pub host: Option<String>,
    /// The whole path; the query stays.
    pub path: Option<String>,
    /// What the path of the route is replaced by; what follows it stays.
    pub prefix: Option<String>,
}

/// `rewrite` of a route.
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rewrite {
    /// What the path of the route is replaced by; what follows it stays.
    pub prefix: Option<String>,
    /// The whole path; the query stays.
    pub path: Option<String>,
    /// The host that the upstream is told.
    pub host: Option<String>,
}

/// `request_headers` and `response_headers` of a route.
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderEdits {
    /// Fields to take out.
    pub remove: Vec<String>,
    /// Fields to have exactly this value.
    pub set: BTreeMap<String, String>,
    /// Values to add beside those that are there.
    pub add: BTreeMap<String, String>,
}

/// `cors` of a route.
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["origins"]))]
pub struct Cors {
    /// The origins, as browsers send them; `*` for all.
    pub origins: Vec<String>,
    /// With which methods; those of the route unless set.
    pub methods: Vec<Method>,
    /// Which request headers.
    pub headers: Vec<String>,
    /// Which response headers pages may read.
    pub expose: Vec<String>,
    /// Whether with cookies.
    pub credentials: bool,
    /// How long browsers may remember the answer to a preflight.
    pub max_age: DurationText,
}

impl Default for Cors {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            methods: Vec::new(),
            headers: vec!["authorization".to_owned(), "content-type".to_owned()],
            expose: Vec::new(),
            credentials: false,
            max_age: "10m".into(),
        }
    }
}

/// One of `rate_limits` of a route.
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["limit"]))]
pub struct RateLimit {
    /// What clients are told it is called; as `per` unless set.
    pub name: Option<String>,
    /// How many within how long.
    pub limit: RateText,
    /// Who has so many.
    pub per: Per,
    /// Whether all replicas count together, in the Redis of `[revocation]`.
    pub shared: bool,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self { name: None, limit: "100/1m".into(), per: Per::default(), shared: false }
    }
}

/// Who has a quota of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Per {
    /// Every caller; those without a token by network.
    #[default]
    Caller,
    /// Every IPv4 address, every IPv6 /64.
    Network,
    /// All requests of the route together.
    Route,
}

/// What becomes of a genuine token while nobody can say whether it was revoked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum OnUnknown {
    /// It is refused with 503.
    #[default]
    Deny,
    /// It passes.
    InsecureAllow,
    /// It passes for GET, HEAD and OPTIONS, and not for WebSockets.
    InsecureAllowSafeMethods,
}
