//! `[[server.listeners]]` and `[server.tls]` as written.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::DurationText;

/// `[[server.listeners]]`
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["address"]))]
pub struct Listener {
    /// `IP:PORT`.
    pub address: Option<String>,
    /// What clients speak there.
    pub protocol: Protocol,
    /// Whether each connection begins with a header of the PROXY protocol (version 1 or 2).
    pub proxy_protocol: bool,
}

/// What clients speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Protocol {
    /// HTTP in clear text.
    #[default]
    Http,
    /// HTTP over TLS.
    Https,
    /// HTTP in clear text, answered with where it is over TLS.
    Redirect,
}

/// `[server.tls]`
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// From a connection's first byte to the end of the handshake, a PROXY header included.
    pub handshake_timeout: DurationText,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// The port at which clients reach TLS.
    #[schemars(range(min = 1, max = 65535))]
    pub https_port: u16,
    /// How long browsers remember to come over TLS only, or "off".
    pub hsts: String,
    /// Whether that is so for every host under the one they came to.
    pub hsts_subdomains: bool,
    /// What is shown to clients.
    pub certificates: Vec<Certificate>,
    /// Certificates of clients.
    pub clients: Clients,
}

/// `[server.http2]`
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Http2 {
    /// Whether clients over TLS may speak it.
    pub enabled: bool,
    /// The most requests at once on one connection.
    #[schemars(range(min = 1, max = 1000))]
    pub streams: u16,
}

/// Versions of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum TlsVersion {
    /// RFC 5246, with the ciphers of RFC 9325 only.
    #[serde(rename = "1.2")]
    V1_2,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    V1_3,
}

/// `[[server.tls.certificates]]`
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["certificate", "key"]))]
pub struct Certificate {
    /// The label in logs and metrics; the file's name unless set.
    pub name: Option<String>,
    /// The chain in PEM, the host's own certificate first; relative to the data directory.
    pub certificate: Option<PathBuf>,
    /// Its key in PEM.
    pub key: Option<PathBuf>,
    /// The hosts it is shown for; the certificate's own names unless set.
    pub hosts: Vec<String>,
}

/// `[server.tls.clients]`
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Clients {
    /// Whether clients are asked for a certificate.
    pub certificates: ClientCertificates,
    /// The authorities whose certificates are believed, in PEM; relative to the data directory.
    pub authorities: Option<PathBuf>,
    /// Which of its names upstreams are told.
    pub identity: ClientIdentity,
}

/// Whether clients are asked for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ClientCertificates {
    /// They are not.
    Off,
    /// One that is shown must be valid.
    Optional,
    /// Without a valid one there is no connection.
    Required,
}

/// Which names of a certificate upstreams are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum ClientIdentity {
    /// The distinguished name of its subject.
    #[serde(rename = "subject")]
    Subject,
    /// Its subject alternative names.
    #[serde(rename = "alternative_names")]
    AlternativeNames,
}
