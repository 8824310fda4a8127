//! `[[issuers]]` as they are written.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::secret::SecretText;
use crate::config::units::DurationText;
use crate::identity::public_keys::VerificationAlgorithm;

/// JWS algorithms that are verified (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum IssuerAlgorithm {
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// ECDSA on P-256.
    #[serde(rename = "ES256")]
    Es256,
    /// ECDSA on P-384.
    #[serde(rename = "ES384")]
    Es384,
    /// RSA PKCS#1 v1.5 with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
    /// RSA PKCS#1 v1.5 with SHA-384.
    #[serde(rename = "RS384")]
    Rs384,
    /// RSA PKCS#1 v1.5 with SHA-512.
    #[serde(rename = "RS512")]
    Rs512,
    /// RSA PSS with SHA-256.
    #[serde(rename = "PS256")]
    Ps256,
    /// RSA PSS with SHA-384.
    #[serde(rename = "PS384")]
    Ps384,
    /// RSA PSS with SHA-512.
    #[serde(rename = "PS512")]
    Ps512,
    /// HMAC, with a secret.
    #[serde(rename = "HS256")]
    Hs256,
}

impl IssuerAlgorithm {
    /// What it stands for.
    #[must_use]
    pub const fn meant(self) -> VerificationAlgorithm {
        match self {
            Self::EdDsa => VerificationAlgorithm::EdDsa,
            Self::Es256 => VerificationAlgorithm::Es256,
            Self::Es384 => VerificationAlgorithm::Es384,
            Self::Rs256 => VerificationAlgorithm::Rs256,
            Self::Rs384 => VerificationAlgorithm::Rs384,
            Self::Rs512 => VerificationAlgorithm::Rs512,
            Self::Ps256 => VerificationAlgorithm::Ps256,
            Self::Ps384 => VerificationAlgorithm::Ps384,
            Self::Ps512 => VerificationAlgorithm::Ps512,
            Self::Hs256 => VerificationAlgorithm::Hs256,
        }
    }
}

/// Another issuer whose tokens are accepted.
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name", "issuer", "audiences"]))]
pub struct Issuer {
    /// What metrics and logs call it.
    pub name: String,
    /// `iss` of its tokens, byte by byte.
    pub issuer: String,
    /// `aud` of its tokens for this gateway; one of them must be there.
    pub audiences: Vec<String>,
    /// Where its key set is fetched.
    pub jwks_url: Option<String>,
    /// Its key set, if it never changes: JSON, or `{ file = "…" }`.
    pub jwks: Option<SecretText>,
    /// A secret shared with it, at least 32 bytes: HS256, and nothing else.
    pub secret: Option<SecretText>,
    /// A file with the certificate authorities of its servers, in PEM; relative to the data directory.
    pub ca: Option<PathBuf>,
    /// Algorithms that are accepted; those of public keys, or HS256 with a secret.
    pub algorithms: Option<Vec<IssuerAlgorithm>>,
    /// JOSE `typ` that are accepted; "" for none at all.
    pub token_types: Vec<String>,
    /// How far its clock may differ.
    pub clock_skew: DurationText,
    /// The longest life of a token.
    pub life_max: DurationText,
    /// The shortest pause between two fetches of the key set.
    pub refresh_min: DurationText,
    /// The longest pause between two fetches of the key set.
    pub refresh_max: DurationText,
    /// How old keys may become while they cannot be fetched.
    pub keep_keys_for: DurationText,
    /// How long a fetch of the key set may take.
    pub fetch_timeout: DurationText,
    /// Which claims mean what.
    pub claims: Claims,
    /// Roles that count, by their names there; ["*"] for all, which needs a prefix.
    pub accept_roles: Vec<String>,
    /// Put before every role that counts.
    pub role_prefix: String,
    /// Scopes that count; ["*"] for all.
    pub accept_scopes: Vec<String>,
    /// How to ask it about tokens that are no JWTs.
    pub introspection: Option<Introspection>,
    /// How it tells that it signed somebody out.
    pub backchannel_logout: Option<BackchannelLogout>,
}

/// `[issuers.claims]`
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Claims {
    /// Who it is.
    pub subject: String,
    /// The name for people.
    pub username: String,
    /// The e-mail address.
    pub email: String,
    /// The roles.
    pub roles: String,
    /// The scopes.
    pub scopes: String,
}

/// `[issuers.introspection]` (RFC 7662)
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["url", "client_id", "client_secret"]))]
pub struct Introspection {
    /// The endpoint.
    pub url: String,
    /// Who we are there.
    pub client_id: String,
    /// What proves it.
    pub client_secret: Option<SecretText>,
    /// What its tokens begin with.
    pub token_prefix: String,
    /// How long an answer may take.
    pub timeout: DurationText,
    /// How long an answer is believed.
    pub cache_for: DurationText,
}

/// `[issuers.backchannel_logout]` (OpenID Connect Back-Channel Logout 1.0)
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["audiences"]))]
pub struct BackchannelLogout {
    /// `aud` of its logout tokens for this gateway: the ids of the clients for which its address was registered.
    pub audiences: Vec<String>,
    /// How long after its `iat` a logout token is good, whatever its `exp`.
    pub max_age: DurationText,
    /// Whether every session of the subject ends, also where the token names one of them.
    pub all_sessions: bool,
}

impl Default for Issuer {
    fn default() -> Self {
        Self {
            name: String::new(),
            issuer: String::new(),
            audiences: Vec::new(),
            jwks_url: None,
            jwks: None,
            secret: None,
            ca: None,
            algorithms: None,
            token_types: vec!["at+jwt".to_owned()],
            clock_skew: "5s".into(),
            life_max: "1h".into(),
            refresh_min: "30s".into(),
            refresh_max: "10m".into(),
            keep_keys_for: "24h".into(),
            fetch_timeout: "5s".into(),
            claims: Claims::default(),
            accept_roles: Vec::new(),
            role_prefix: String::new(),
            accept_scopes: Vec::new(),
            introspection: None,
            backchannel_logout: None,
        }
    }
}

impl Default for Claims {
    fn default() -> Self {
        Self {
            subject: "sub".to_owned(),
            username: "preferred_username".to_owned(),
            email: "email".to_owned(),
            roles: "roles".to_owned(),
            scopes: "scope".to_owned(),
        }
    }
}

impl Default for Introspection {
    fn default() -> Self {
        Self {
            url: String::new(),
            client_id: String::new(),
            client_secret: None,
            token_prefix: String::new(),
            timeout: "2s".into(),
            cache_for: "10s".into(),
        }
    }
}

impl Default for BackchannelLogout {
    fn default() -> Self {
        Self { audiences: Vec::new(), max_age: "10m".into(), all_sessions: false }
    }
}
