//! Host names: one canonical form for all spellings of the same host.

/// A request's host in canonical form: lower case, no trailing dot, port split off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    name: Box<str>,
    port: Option<u16>,
}

/// The host of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern(Box<str>);
