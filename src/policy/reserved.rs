//! Request fields that only the gateway may write: whoever else sends one wants to be taken for the gateway.

use http::HeaderName;

use super::head::{folds_into_family, folds_to};

/// How many fields carry an identity.
pub const IDENTITY_FIELDS: usize = 8;

/// Fields by which upstreams are told who, where and what was asked, by this gateway or by others.
const NAMES: [&str; 19] = [
    "forwarded",
    "x-forwarded",
    "x-request-id",
    "gateway-identity",
    // The client's address, as other proxies name it.
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-remote-addr",
    "x-remote-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "client-ip",
    // Another method than the one that was decided on.
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    // Another host, or a file to send instead.
    "x-host",
    "x-accel-mapping",
    "x-sendfile-type",
    // CGI programs read it as the variable HTTP_PROXY ("httpoxy").
    "proxy",
];

/// Beginnings of such names: another path than the one that was decided on, and what proxies tell each other.
const FAMILIES: [&str; 5] = ["x-forwarded-", "x-original-", "x-rewrite-", "x-envoy-", "proxy-"];

/// The reserved names, with those of the identity fields.
#[derive(Debug)]
pub struct Reserved {
    identity: [Box<str>; IDENTITY_FIELDS],
    /// Which first bytes any reserved name has: most fields are told apart by it.
    first: [bool; 256],
}

impl Reserved {
    /// The reserved names, with these.
    #[must_use]
    pub fn new(identity: [&HeaderName; IDENTITY_FIELDS]) -> Self {
        let identity: [Box<str>; IDENTITY_FIELDS] = identity.map(|name| name.as_str().into());
        let mut first = [false; 256];
        for name in NAMES.iter().chain(&FAMILIES).copied().chain(identity.iter().map(AsRef::as_ref)) {
            first[usize::from(name.as_bytes()[0])] = true;
        }
        Self { identity, first }
    }

    /// Whether some server may take `name` for a reserved one.
    #[must_use]
    pub fn covers(&self, name: &HeaderName) -> bool {
        // Field names have at least one byte.
        self.first[usize::from(name.as_str().as_bytes()[0])]
            && (self.identity.iter().any(|reserved| folds_to(name, reserved))
                || NAMES.iter().any(|reserved| folds_to(name, reserved))
                || FAMILIES.iter().any(|family| folds_into_family(name, family)))
    }
}
