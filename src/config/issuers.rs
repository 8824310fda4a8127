//! `[[issuers]]` as values that are already right.

use std::time::Duration;

use secrecy::SecretString;

use crate::identity::foreign_token::{ForeignPolicy, LogoutPolicy};

/// One entry of `[[issuers]]`.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// What metrics and logs call it.
    pub name: String,
    /// What its tokens must say.
    pub policy: ForeignPolicy,
    /// Where its keys come from; none where every token is asked about.
    pub keys: Option<IssuerKeySource>,
    /// `[issuers.introspection]`
    pub introspection: Option<Introspection>,
    /// `[issuers.backchannel_logout]`
    pub logout: Option<LogoutPolicy>,
    /// Certificate authorities, in PEM, instead of the public ones.
    pub authorities: Option<Vec<u8>>,
}

/// Where an issuer's keys come from.
#[derive(Debug, Clone)]
pub enum IssuerKeySource {
    /// From a URL.
    Url {
        /// `https://…`, or `http://` on this machine.
        url: String,
        /// The shortest pause between two fetches.
        every_min: Duration,
        /// The longest.
        every_max: Duration,
        /// How old keys may become.
        keep_for: Duration,
        /// How long a fetch may take.
        timeout: Duration,
    },
    /// A JWK set, which was read and found good.
    Set(String),
    /// A secret of at least 32 bytes.
    Secret(SecretString),
}

/// `[issuers.introspection]`
#[derive(Debug, Clone)]
pub struct Introspection {
    /// `https://…`, or `http://` on this machine.
    pub url: String,
    /// Who we are there.
    pub client_id: String,
    /// What proves it.
    pub client_secret: SecretString,
    /// What its tokens begin with.
    pub token_prefix: String,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long an answer is believed.
    pub cache_for: Duration,
}
