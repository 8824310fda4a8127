//! What a route does to requests and answers besides deciding: all of it optional, none of it paid for by other routes.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::cors::Cors;
use super::rewrite::{Redirect, Rewrite};

/// What a route does besides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters {
    /// Which pages of other origins may call.
    pub cors: Option<Cors>,
    /// How often it may be asked.
    pub limits: Box<[RateLimit]>,
    /// An answer instead of an upstream.
    pub redirect: Option<Redirect>,
    /// Another path or host for the upstream.
    pub rewrite: Option<Rewrite>,
    /// Changes to what the upstream is sent.
    pub request: FieldEdits,
    /// Changes to what the upstream answers.
    pub response: FieldEdits,
}

/// Changes to header fields: first `remove`, then `set` (replaces every field of that name), then `add`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldEdits {
    /// Fields to take out.
    pub remove: Box<[HeaderName]>,
    /// Fields to have exactly this value.
    pub set: Box<[(HeaderName, HeaderValue)]>,
    /// Values to add.
    pub add: Box<[(HeaderName, HeaderValue)]>,
}

/// So many requests of each one of some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// What clients are told it is called; unique within the route.
    pub name: Box<str>,
    /// The most at once, which is also what comes back within each window. At least one.
    pub quota: u32,
    /// The window; at least a second.
    pub window: Duration,
    /// Who has a quota of their own.
    pub per: Per,
    /// Whether all replicas count together.
    pub shared: bool,
}

/// Who has a quota of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Per {
    /// Nobody: all requests of the route count together.
    Route,
    /// Every network: an IPv4 address, the /64 of an IPv6 address.
    Network,
    /// Every caller; those without a token by network.
    Caller,
}

impl FieldEdits {
    /// Makes the changes.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }

    /// Whether there is nothing to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}
