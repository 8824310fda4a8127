//! `[server.acme]` as written.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::secret::SecretText;

/// `[server.acme]`
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Acme {
    /// The hosts to order certificates for, one each.
    pub hosts: Vec<String>,
    /// Where the authority says what it offers.
    pub directory: String,
    /// Whether you agree to the authority's terms of service.
    pub terms_of_service: bool,
    /// The addresses that the authority may write to.
    pub contact: Vec<String>,
    /// How it is shown that a host is yours.
    pub challenge: AcmeChallenge,
    /// The authorities that may have issued the directory's own certificate, in PEM; relative to the data directory.
    pub ca: Option<PathBuf>,
    /// An account that the authority knows already (external account binding).
    pub external_account: Option<ExternalAccount>,
}

/// How it is shown that a host is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum AcmeChallenge {
    /// Over HTTP, at port 80 (RFC 8555 §8.3).
    #[serde(rename = "http-01")]
    Http01,
    /// By a handshake, at port 443 (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

/// `server.acme.external_account`
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExternalAccount {
    /// What the authority calls it.
    pub key_id: String,
    /// The secret shared with the authority, in base64url.
    pub key: SecretText,
}
