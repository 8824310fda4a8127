//! Routes: which upstream serves a request, found by host, segment-wise path prefix and method.

use std::sync::Arc;

use http::Method;

use super::access::{Access, Requirements};
use super::host::HostPattern;
use super::path::PathPrefix;

/// One `[[routes]]` entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The label in logs and metrics: configured, or host and path as written.
    pub name: Box<str>,
    /// Which hosts; none means any.
    pub host: Option<HostPattern>,
    /// Which paths: every whole segment of the prefix must match.
    pub path: PathPrefix,
    /// Which methods; empty means any that the gateway knows. `GET` includes `HEAD`.
    pub methods: Box<[Method]>,
    /// The name of the upstream that serves it.
    pub upstream: Arc<str>,
    /// Whether a token is needed.
    pub access: Access,
    /// What else is needed.
    pub require: Requirements,
    /// Whether the bearer token is forwarded to the upstream.
    pub pass_token: bool,
    /// Whether WebSocket upgrades may pass.
    pub websocket: bool,
    /// The largest request body, in bytes.
    pub body_bytes_max: u64,
}

/// Why no route serves a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoRoute {
    /// Nothing matches host and path.
    NotFound,
    /// Host and path match, the method does not. Carries the methods that would (RFC 9110 §15.5.6).
    MethodNotAllowed(Vec<Method>),
}

/// All routes, most specific first.
#[derive(Debug, Default)]
pub struct RouteTable {
    routes: Vec<Arc<Route>>,
}
