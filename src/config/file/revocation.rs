//! `[revocation]` as it is written: what it takes to reach a Redis that is more than one server.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::secret::SecretText;

/// `[revocation.sentinel]`
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["servers", "primary"]))]
pub struct Sentinel {
    /// All sentinels, each `redis://HOST:PORT`; with `rediss://` the primary is spoken to over TLS, too.
    pub servers: Vec<String>,
    /// What they call the primary.
    pub primary: String,
    /// The user at the sentinels; the default one unless set.
    pub username: Option<String>,
    /// The password at the sentinels.
    pub password: Option<SecretText>,
}

/// `[revocation.tls]`
#[derive(Debug, Default, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RedisTls {
    /// A PEM file with the only authorities that may have issued the servers' certificates; the public ones unless set.
    pub ca: Option<PathBuf>,
    /// A PEM file with the gateway's own certificate, for servers that ask for one; then its chain.
    pub certificate: Option<PathBuf>,
    /// A PEM file with that certificate's private key.
    pub key: Option<PathBuf>,
}

impl super::Revocation {
    /// Whether a Redis is configured, however it is reached.
    pub(in crate::config) fn names_redis(&self) -> bool {
        self.url.is_some() || self.sentinel.is_some() || !self.cluster.is_empty()
    }
}
