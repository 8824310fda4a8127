//! Access tokens: JWTs of type `at+jwt` (RFC 9068), signed and verified.
//!
//! Verification trusts nothing that the token says about itself: the key is found by id, the algorithm is the
//! key's, the claims are read once, into types, and only after the one signature was verified (RFC 8725).
//! Whether a genuine token was revoked is not known here.

mod claims;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Map, Value};
use uuid::Uuid;

pub(super) use self::claims::JTI_BYTES_MAX;
use self::claims::{Read, Written};
pub(super) use self::claims::{SUBJECT_BYTES_MAX, instant, printable};
use super::jose::{Unreadable, Unverified};
use super::signing_keys::{KeyRing, SigningKey};
use super::{Caller, Credential, Principal};

/// JOSE `typ` (RFC 9068 §2.1).
pub(super) const TYPE: &str = "at+jwt";
/// Larger than any token of ours, smaller than what a header section may hold; bounds all work on a forgery.
pub(super) const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// What a new access token says.
#[derive(Debug, Clone)]
pub struct Claims {
    /// Whom it speaks for; `auth_time` and `iss` among it.
    pub principal: Principal,
    /// JWT `aud`.
    pub audience: Box<str>,
    /// JWT `jti`.
    pub jti: Uuid,
    /// JWT `iat`: written in whole seconds, rounded down.
    pub issued_at: Timestamp,
    /// JWT `exp`: written in whole seconds, rounded down.
    pub expires_at: Timestamp,
    /// Claims for other readers of the token. The gateway itself decides nothing on them, and one that has the name of a
    /// claim above, or of any that is read, is not written: it could say something else.
    pub further: Map<String, Value>,
}

/// What a token must say to be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenPolicy {
    /// JWT `iss`, compared byte by byte.
    pub issuer: Arc<str>,
    /// Must be, or be among, JWT `aud`.
    pub audience: Box<str>,
    /// Allowed difference between this clock and the issuer's.
    pub skew: Duration,
    /// The longest accepted `exp - iat`.
    pub life_max: Duration,
}

/// Why a token is not accepted. Clients learn no more than whether it has expired; the rest is for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TokenError {
    /// Over 8 KiB.
    #[error("the token is longer than 8 KiB")]
    TooLong,
    /// Not three parts of base64url.
    #[error("the token is not a compact JWS")]
    Malformed,
    /// Members other than `alg`, `kid` and `typ`, or one of them missing, repeated or not a string.
    #[error("the token's header has not exactly the members `alg`, `kid` and `typ`")]
    Header,
    /// Not an access token.
    #[error("the token's type is not `at+jwt`")]
    Type,
    /// No such key, or it had retired when the token claims to have been issued.
    #[error("the token names no key of this gateway")]
    UnknownKey,
    /// Not the key's own algorithm.
    #[error("the token's algorithm is not that of its key")]
    Algorithm,
    /// Forged or damaged.
    #[error("the token's signature does not verify")]
    Signature,
    /// A claim is missing, repeated, of the wrong type, or holds what no header and no log may carry.
    #[error("the token's claims are not those of an access token")]
    Claims,
    /// Another issuer's.
    #[error("the token was issued by another issuer")]
    Issuer,
    /// For another audience.
    #[error("the token is meant for another audience")]
    Audience,
    /// `exp` is before `iat`, or too long after it.
    #[error("the token's life is longer than allowed")]
    Life,
    /// `iat` or `nbf` lies in the future.
    #[error("the token is not valid yet")]
    NotYet,
    /// It was valid.
    #[error("the token has expired")]
    Expired,
    /// Its issuer, asked about it, does not know it or has ended it.
    #[error("the token is not active at its issuer")]
    Inactive,
}

/// Why no token was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// Verification would refuse it: too many roles, most likely.
    #[error("the token would be longer than 8 KiB")]
    TooLong,
    /// The cryptographic library failed.
    #[error("the token could not be signed")]
    Signature,
}

impl TokenError {
    /// The word for logs. Never sent to a client, whom it would tell how close a forgery came.
    #[must_use]
    pub const fn reason_detail(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Header => "header",
            Self::Type => "type",
            Self::UnknownKey => "unknown_key",
            Self::Algorithm => "algorithm",
            Self::Signature => "signature",
            Self::Claims => "claims",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Life => "life",
            Self::NotYet => "not_yet",
            Self::Expired => "expired",
            Self::Inactive => "inactive",
        }
    }
}

impl TokenPolicy {
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

/// `instant + by` in nanoseconds since the epoch: cannot overflow, whatever a token claims.
pub(super) fn later(instant: Timestamp, by: Duration) -> i128 {
    instant.as_nanosecond() + i128::try_from(by.as_nanos()).unwrap_or(i128::MAX / 2)
}

/// Makes a token.
///
/// # Errors
/// The token would be too long to be accepted, or the cryptographic library failed.
pub fn sign(claims: &Claims, key: &SigningKey) -> Result<SecretString, SignError> {
    let principal = &claims.principal;
    let written = Written {
        iss: &principal.issuer,
        aud: &claims.audience,
        sub: &principal.subject,
        sid: principal.session.0,
        jti: claims.jti,
        iat: claims.issued_at.as_second(),
        exp: claims.expires_at.as_second(),
        auth_time: principal.auth_time.as_second(),
        roles: &principal.roles,
        scope: (!principal.scopes.is_empty()).then(|| principal.scopes.join(" ")),
        client_id: (principal.credential == Credential::Client).then_some(&principal.subject),
        preferred_username: principal.username.as_deref(),
        email: principal.email.as_deref(),
        further: claims.further.iter().filter(|(name, _)| !claims::is_standard(name)).collect(),
    };
    let payload = serde_json::to_vec(&written).expect("strings and numbers are always JSON");
    let mut token = format!("{}.{}", key.header(), URL_SAFE_NO_PAD.encode(payload));
    let signature = key.sign(token.as_bytes()).ok_or(SignError::Signature)?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    if token.len() > TOKEN_BYTES_MAX {
        return Err(SignError::TooLong);
    }
    Ok(token.into())
}

/// Verifies a token: genuine, ours, for us, and in its time.
///
/// # Errors
/// The first rule that it breaks; [`TokenError::Expired`] only if it breaks no other.
pub fn verify(token: &str, ring: &KeyRing, policy: &TokenPolicy, now: Timestamp) -> Result<Caller, TokenError> {
    let (caller, not_before) = read(token, ring, policy)?;
    if policy.ahead(caller.token.issued_at, now) || not_before.is_some_and(|instant| policy.ahead(instant, now)) {
        return Err(TokenError::NotYet);
    }
    if policy.expired(caller.token.expires_at, now) {
        return Err(TokenError::Expired);
    }
    Ok(caller)
}

/// Verifies all but the time: for a logout, which an expired token of the session may still ask for. Never for
/// letting a request through.
///
/// # Errors
/// As [`verify`], without [`TokenError::NotYet`] and [`TokenError::Expired`].
pub fn verify_at_any_time(token: &str, ring: &KeyRing, policy: &TokenPolicy) -> Result<Caller, TokenError> {
    read(token, ring, policy).map(|(caller, _)| caller)
}

/// Everything that a token says, the claims included that are not the gateway's. To be asked about tokens that were
/// verified: nothing is proved here.
#[must_use]
pub fn payload_of_verified(token: &str) -> Option<Value> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// The caller and `nbf`.
fn read(token: &str, ring: &KeyRing, policy: &TokenPolicy) -> Result<(Caller, Option<Timestamp>), TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong);
    }
    let unverified: Unverified<'_> = Unverified::parse(token).map_err(|unreadable| match unreadable {
        Unreadable::Compact => TokenError::Malformed,
        Unreadable::Header => TokenError::Header,
    })?;
    if &*unverified.header.typ != TYPE {
        return Err(TokenError::Type);
    }
    let key = ring.verifier(&unverified.header.kid).ok_or(TokenError::UnknownKey)?;
    if &*unverified.header.alg != key.algorithm.name() {
        return Err(TokenError::Algorithm);
    }
    if !key.verify(unverified.signed.as_bytes(), unverified.signature()) {
        return Err(TokenError::Signature);
    }
    let payload = unverified.payload().ok_or(TokenError::Malformed)?;
    let claims: Read = serde_json::from_slice(&payload).map_err(|_| TokenError::Claims)?;
    let not_before = claims.nbf.map(instant).transpose()?;
    let caller = claims.check(policy)?;
    // A retired key signs nothing: what claims to be newer was made by someone who holds a copy.
    if key.retires_at.is_some_and(|end| caller.token.issued_at.as_nanosecond() >= later(end, policy.skew)) {
        return Err(TokenError::UnknownKey);
    }
    Ok((caller, not_before))
}

#[cfg(test)]
mod tests;
