//! Client assertions: JWTs by which a client proves that it holds its private key (RFC 7523 §3), read as strictly as
//! our own tokens.
//!
//! An assertion is good once, for minutes, at this gateway and nowhere else: whoever receives one elsewhere, or finds
//! it in a log, can do nothing with it.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::jose::{Audience, Others, Unverified, present};
use super::machine_secret::sha256;
use super::one_time_token::TokenHash;
use super::public_keys::PublicKeys;

/// The longest time from now to `exp`.
const LIFE_MAX: Duration = Duration::from_mins(5);
const BYTES_MAX: usize = 8 * 1024;
const JTI_BYTES_MAX: usize = 128;
/// What `typ` may be, if it is there: the generic type, and the one of RFC 7523's successor.
const TYPES: [&str; 2] = ["jwt", "client-authentication+jwt"];

/// What an assertion must say to be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssertionPolicy {
    /// Our own names: the issuer and the token endpoint. `aud` may have no other.
    pub audiences: Vec<Box<str>>,
    /// Allowed difference between this clock and the client's.
    pub skew: Duration,
}

/// An assertion that was verified, to be used once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assertion {
    /// SHA-256 over client and `jti`.
    pub id: TokenHash,
    /// From when on it is refused by every clock: its use may be forgotten then.
    pub expires_at: Timestamp,
}

/// Why an assertion proves nothing. For the log; the client learns only that it was not recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// Too long, not a compact JWS, or with a header that has more than `alg`, `kid` and `typ`.
    #[error("not a JWT that this gateway reads")]
    Malformed,
    /// Not by a key of the client.
    #[error("no key of the client verifies the signature")]
    Signature,
    /// A claim is missing, repeated or of the wrong type.
    #[error("the claims are not those of a client assertion")]
    Claims,
    /// `iss` and `sub` must both be the client.
    #[error("`iss` and `sub` are not the client")]
    Client,
    /// `aud` is, or has beside us, somebody else.
    #[error("`aud` is not this gateway alone")]
    Audience,
    /// `exp`, `iat` or `nbf`.
    #[error("it has expired, is not valid yet, or lives longer than five minutes")]
    Time,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: Box<str>,
    #[serde(default, deserialize_with = "present")]
    kid: Option<Box<str>>,
    #[serde(default, deserialize_with = "present")]
    typ: Option<Box<str>>,
}

#[derive(Deserialize)]
struct Claims {
    iss: Box<str>,
    sub: Box<str>,
    aud: Audience,
    jti: Box<str>,
    exp: i64,
    #[serde(default, deserialize_with = "present")]
    iat: Option<i64>,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<i64>,
    #[serde(flatten)]
    _others: Others,
}

/// Which client an assertion says it is from: not proved, and only good for finding the keys that may prove it.
#[must_use]
pub fn claimed_client(assertion: &str) -> Option<Box<str>> {
    #[derive(Deserialize)]
    struct Subject {
        sub: Box<str>,
    }
    let unverified = read(assertion).ok()?;
    let payload = unverified.payload()?;
    serde_json::from_slice(&payload).ok().map(|Subject { sub }| sub)
}

/// Verifies an assertion of `client`, whose keys these are.
///
/// # Errors
/// The first rule that it breaks.
pub fn verify(
    assertion: &str,
    client: &str,
    keys: &PublicKeys,
    policy: &AssertionPolicy,
    now: Timestamp,
) -> Result<Assertion, AssertionError> {
    let unverified = read(assertion)?;
    let Header { alg, kid, .. } = &unverified.header;
    if !keys.verify(kid.as_deref(), alg, unverified.signed.as_bytes(), unverified.signature()) {
        return Err(AssertionError::Signature);
    }
    let payload = unverified.payload().ok_or(AssertionError::Malformed)?;
    if payload.first() != Some(&b'{') {
        return Err(AssertionError::Claims);
    }
    let claims: Claims = serde_json::from_slice(&payload).map_err(|_| AssertionError::Claims)?;
    if *claims.iss != *client || *claims.sub != *client {
        return Err(AssertionError::Client);
    }
    let ours = |audience: &str| policy.audiences.iter().any(|own| **own == *audience);
    let for_us_alone = match &claims.aud {
        Audience::One(audience) => ours(audience),
        Audience::Many(audiences) => !audiences.is_empty() && audiences.iter().all(|audience| ours(audience)),
    };
    if !for_us_alone {
        return Err(AssertionError::Audience);
    }
    if !(1..=JTI_BYTES_MAX).contains(&claims.jti.len()) {
        return Err(AssertionError::Claims);
    }
    let expires_at = in_time(&claims, policy.skew, now)?;
    // A NUL can be in neither: client ids are plain, and no other split gives the same text.
    Ok(Assertion { id: sha256(&format!("{client}\0{}", claims.jti)), expires_at })
}

fn read(assertion: &str) -> Result<Unverified<'_, Header>, AssertionError> {
    if assertion.len() > BYTES_MAX {
        return Err(AssertionError::Malformed);
    }
    let unverified: Unverified<'_, Header> = Unverified::parse(assertion).map_err(|_| AssertionError::Malformed)?;
    let typ = unverified.header.typ.as_deref();
    let plausible = typ.is_none_or(|typ| TYPES.iter().any(|expected| typ.eq_ignore_ascii_case(expected)));
    if plausible { Ok(unverified) } else { Err(AssertionError::Malformed) }
}

/// When it is refused by every clock; an error if it is now.
fn in_time(claims: &Claims, skew: Duration, now: Timestamp) -> Result<Timestamp, AssertionError> {
    let instant = |seconds| Timestamp::from_second(seconds).map_err(|_| AssertionError::Time);
    let expires_at = instant(claims.exp)?;
    // Bounds what follows: no sum of such instants overflows.
    if expires_at > now + LIFE_MAX + skew || now >= expires_at.max(Timestamp::UNIX_EPOCH) + skew {
        return Err(AssertionError::Time);
    }
    for seconds in [claims.iat, claims.nbf].into_iter().flatten() {
        if instant(seconds)? > now + skew {
            return Err(AssertionError::Time);
        }
    }
    // Once for this clock's leeway, once for another replica's.
    Ok(expires_at + 2 * skew)
}

#[cfg(test)]
mod tests;
