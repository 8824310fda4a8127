//! Access tokens of other issuers: JWTs verified with the issuer's keys, and the answers of its introspection endpoint.
//!
//! The token's own word about who issued it (`iss`) chooses the keys and proves nothing; it is compared again once the
//! signature was verified. What a foreign issuer says about roles and scopes counts only as far as its [`Mapping`] takes
//! it: whoever runs that issuer must not be able to make an administrator here.

mod claims;
mod json;
mod logout;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretSlice;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use self::claims::Source;
pub use self::claims::{ClaimPath, Mapping, Taken};
pub use self::logout::{Logout, LogoutPolicy, verify_logout};
use super::Caller;
use super::access_token::{TOKEN_BYTES_MAX, TokenError, later};
use super::jose::{Others, Unreadable, Unverified, present};
use super::machine_secret::sha256;
use super::one_time_token::TokenHash;
use super::public_keys::{PublicKeys, VerificationAlgorithm};
use super::signing_keys::{Algorithm, KeyError, SigningKey};

/// What a foreign token must say to be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignPolicy {
    /// JWT `iss`, compared byte by byte: a slash at the end is another issuer.
    pub issuer: Arc<str>,
    /// One of them must be, or be among, JWT `aud`.
    pub audiences: Vec<Box<str>>,
    /// Algorithms that are accepted, of those that the keys are for.
    pub algorithms: Vec<VerificationAlgorithm>,
    /// JOSE `typ` that are accepted, whatever the case; the empty one stands for a header without `typ`.
    pub types: Vec<Box<str>>,
    /// Allowed difference between this clock and the issuer's.
    pub skew: Duration,
    /// The longest accepted `exp - iat`.
    pub life_max: Duration,
    /// Which claims mean what.
    pub mapping: Mapping,
}

/// What verifies the tokens of an issuer.
#[derive(Debug)]
pub enum IssuerKeys {
    /// Its public keys.
    Public(PublicKeys),
    /// A secret shared with it: HS256 and nothing else.
    Secret(Box<SigningKey>),
}

#[derive(Deserialize)]
struct Header {
    alg: Box<str>,
    #[serde(default, deserialize_with = "present")]
    kid: Option<Box<str>>,
    #[serde(default, deserialize_with = "present")]
    typ: Option<Box<str>>,
    // What would change how the token is to be read, or where its key comes from (RFC 7515 §4.1, RFC 7797).
    #[serde(default)]
    crit: Option<IgnoredAny>,
    #[serde(default)]
    b64: Option<IgnoredAny>,
    #[serde(default)]
    zip: Option<IgnoredAny>,
    #[serde(default)]
    cty: Option<IgnoredAny>,
    #[serde(default)]
    jwk: Option<IgnoredAny>,
    #[serde(default)]
    jku: Option<IgnoredAny>,
    #[serde(default)]
    x5u: Option<IgnoredAny>,
    #[serde(default)]
    x5c: Option<IgnoredAny>,
    #[serde(flatten)]
    _others: Others,
}

impl Header {
    fn is_plain(&self) -> bool {
        let odd = [&self.crit, &self.b64, &self.zip, &self.cty, &self.jwk, &self.jku, &self.x5u, &self.x5c];
        odd.into_iter().all(Option::is_none)
    }
}

impl IssuerKeys {
    /// Keys of one secret.
    ///
    /// # Errors
    /// It is shorter than 32 bytes (RFC 7518 §3.2).
    pub fn secret(secret: SecretSlice<u8>) -> Result<Self, KeyError> {
        let epoch = Timestamp::UNIX_EPOCH;
        SigningKey::import(Some("secret"), Algorithm::Hs256, secret, epoch, epoch, None).map(|key| Self::Secret(Box::new(key)))
    }

    /// Whether the key that a token names is for this algorithm; none if there is no such key. A secret has no name.
    fn takes(&self, kid: Option<&str>, algorithm: &str) -> Option<bool> {
        match self {
            Self::Public(keys) => keys.takes(kid, algorithm),
            Self::Secret(_) => Some(algorithm == VerificationAlgorithm::Hs256.name()),
        }
    }

    fn verify(&self, kid: Option<&str>, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Public(keys) => keys.verify(kid, algorithm, message, signature),
            Self::Secret(key) => key.verify(message, signature),
        }
    }
}

/// Who a JWT says issued it; none for what is no JWT. Not proved, and only good for finding the keys that may prove it.
#[must_use]
pub fn claimed_issuer(token: &str) -> Option<Box<str>> {
    #[derive(Deserialize)]
    struct Issuer {
        iss: Box<str>,
    }
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let unverified: Unverified<'_, Header> = Unverified::parse(token).ok()?;
    serde_json::from_slice(&unverified.payload()?).ok().map(|Issuer { iss }| iss)
}

/// What a JWT says of itself that its revocation needs. Nothing in it is proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Every id that it can be known by, that of its `jti` first.
    pub ids: Vec<Box<str>>,
    /// JWT `exp`, if it has one.
    pub expires_at: Option<Timestamp>,
}

/// Reads what the revocation of a token of this issuer needs, without the issuer's keys: they may be out of reach when it
/// matters. Whoever asks must be somebody who may revoke any token.
///
/// # Errors
/// It cannot be a token that is accepted.
pub fn claimed(token: &str, policy: &ForeignPolicy) -> Result<Claimed, TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong);
    }
    let unverified: Unverified<'_, Header> = Unverified::parse(token).map_err(|_| TokenError::Malformed)?;
    let payload = unverified.payload().ok_or(TokenError::Malformed)?;
    let claims = json::object(&payload).ok_or(TokenError::Claims)?;
    claims::claimed(&claims, unverified.signed, policy)
}

/// Every id that an opaque token can be known by, of which its issuer says this.
#[must_use]
pub fn ids_of_opaque(token: &str, caller: &Caller) -> Vec<Box<str>> {
    claims::ids_of_opaque(token, caller)
}

/// What an opaque token is remembered by: SHA-256.
#[must_use]
pub fn digest(token: &str) -> TokenHash {
    sha256(token)
}

/// Verifies a JWT of the issuer whose keys and policy these are.
///
/// # Errors
/// The first rule that it breaks; [`TokenError::Expired`] only if it breaks no other.
pub fn verify(token: &str, keys: &IssuerKeys, policy: &ForeignPolicy, now: Timestamp) -> Result<Caller, TokenError> {
    let accepted = |typ: &str| policy.types.iter().any(|accepted| accepted.eq_ignore_ascii_case(typ));
    let (claims, signed) = proved(token, keys, policy, accepted)?;
    claims::caller(&claims, Source::Signed(signed), policy, now)
}

/// The claims of a JWT of an accepted type that the issuer signed, and the bytes under the signature.
fn proved<'a>(
    token: &'a str,
    keys: &IssuerKeys,
    policy: &ForeignPolicy,
    accepted: impl Fn(&str) -> bool,
) -> Result<(Map<String, Value>, &'a str), TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong);
    }
    let unverified: Unverified<'_, Header> = Unverified::parse(token).map_err(|unreadable| match unreadable {
        Unreadable::Compact => TokenError::Malformed,
        Unreadable::Header => TokenError::Header,
    })?;
    let header = &unverified.header;
    if !header.is_plain() {
        return Err(TokenError::Header);
    }
    let typ = header.typ.as_deref().unwrap_or_default();
    // RFC 7515 §4.1.9: "application/" may be left out, and should be.
    let short = typ.get(..12).filter(|start| start.eq_ignore_ascii_case("application/")).map_or(typ, |_| &typ[12..]);
    if !accepted(short) {
        return Err(TokenError::Type);
    }
    let kid = header.kid.as_deref();
    let of_key = keys.takes(kid, &header.alg).ok_or(TokenError::UnknownKey)?;
    if !of_key || !policy.algorithms.iter().any(|accepted| accepted.name() == &*header.alg) {
        return Err(TokenError::Algorithm);
    }
    if !keys.verify(kid, &header.alg, unverified.signed.as_bytes(), unverified.signature()) {
        return Err(TokenError::Signature);
    }
    let payload = unverified.payload().ok_or(TokenError::Malformed)?;
    let claims = json::object(&payload).ok_or(TokenError::Claims)?;
    Ok((claims, unverified.signed))
}

/// What an introspection endpoint says about a token: a caller, or that it is not active (RFC 7662 §2.2).
///
/// # Errors
/// As [`verify`]. None if the answer is none.
pub fn introspected(answer: &[u8], token: &str, policy: &ForeignPolicy, now: Timestamp) -> Option<Result<Caller, TokenError>> {
    let claims = json::object(answer)?;
    match claims.get("active")?.as_bool()? {
        false => Some(Err(TokenError::Inactive)),
        true => Some(claims::caller(&claims, Source::Introspected(token), policy, now)),
    }
}

impl ForeignPolicy {
    /// Whether a token that expires at `expires_at` is no longer accepted: from `exp` plus the skew on.
    #[must_use]
    pub fn expired(&self, expires_at: Timestamp, now: Timestamp) -> bool {
        now.as_nanosecond() >= later(expires_at, self.skew)
    }

    /// Whether `instant` lies further in the future than clocks may differ.
    #[must_use]
    pub fn ahead(&self, instant: Timestamp, now: Timestamp) -> bool {
        instant.as_nanosecond() > later(now, self.skew)
    }
}

#[cfg(test)]
mod tests;
