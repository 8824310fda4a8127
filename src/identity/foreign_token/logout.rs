//! Logout tokens: by which another issuer says that somebody is signed out there (OpenID Connect Back-Channel Logout 1.0).
//!
//! They are signed with the keys of access tokens and ID tokens, and must be taken for neither, nor either for one of them:
//! `events` says what they are, `nonce` what they are not (§2.4). What is refused here ends nothing.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::claims::{check_issuer_and_audience, instant_of, session_of, text_of};
use super::{ForeignPolicy, IssuerKeys, Source, TokenError, digest, proved};
use crate::identity::access_token::{JTI_BYTES_MAX, SUBJECT_BYTES_MAX, TOKEN_BYTES_MAX, later};
use crate::identity::one_time_token::TokenHash;
use crate::identity::session::SessionId;

/// JOSE `typ` that are accepted: the one of §2.4, and what issuers write that know none. RFC 8725 §3.11 keeps others apart.
const TYPES: [&str; 3] = ["logout+jwt", "jwt", ""];
/// The member of `events` that makes a logout token (§2.4).
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// `iat` is whole seconds.
const SECOND: Duration = Duration::from_secs(1);

/// What a logout token must say besides what every token of its issuer must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogoutPolicy {
    /// One of them must be, or be among, JWT `aud`: the ids by which the issuer knows this gateway.
    pub audiences: Vec<Box<str>>,
    /// The longest time since `iat`, whatever `exp` says.
    pub age_max: Duration,
    /// Whether all of the subject's sessions end also where the token names one of them.
    pub whole_subject: bool,
}

/// A logout token that was verified: what it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logout {
    /// What it is remembered by: SHA-256 over issuer and `jti`.
    pub id: TokenHash,
    /// From when on it is refused by every clock, and need not be remembered.
    pub forgotten_at: Timestamp,
    /// The session that ends, by its id here.
    pub session: Option<SessionId>,
    /// The subject all of whose tokens end that were issued before [`Self::not_before`].
    pub subject: Option<Box<str>>,
    issued_at: Timestamp,
}

impl Logout {
    /// The first `iat` that it does not cover. Of tokens with its own `iat` nobody can say which came first: they are covered,
    /// and whoever signs in again within that second has to do so once more. It follows from the token alone, so that a
    /// replay covers nothing that came after it.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        self.issued_at + SECOND
    }
}

/// Verifies a logout token of the issuer whose keys and policies these are.
///
/// # Errors
/// The first rule that it breaks; [`TokenError::Expired`] only if it breaks no other.
pub fn verify_logout(
    token: &str,
    keys: &IssuerKeys,
    policy: &ForeignPolicy,
    rules: &LogoutPolicy,
    now: Timestamp,
) -> Result<Logout, TokenError> {
    let accepted = |typ: &str| TYPES.iter().any(|accepted| accepted.eq_ignore_ascii_case(typ));
    let (claims, signed) = proved(token, keys, policy, accepted)?;
    check_issuer_and_audience(&claims, Source::Signed(signed), policy, &rules.audiences)?;
    // §2.6 steps 5 to 7. A `nonce` of any value is one.
    if !is_logout(&claims) || claims.contains_key("nonce") {
        return Err(TokenError::Type);
    }
    let jti = text_of(&claims, "jti", JTI_BYTES_MAX)?.ok_or(TokenError::Claims)?;
    let (session, subject) = whom(&claims, policy, rules)?;
    let (issued_at, last) = times(&claims, policy, rules, now)?;
    // The issuer is no client, whose assertions are remembered beside: no client's id is empty.
    let id = digest(&format!("\0backchannel_logout\0{}\0{jti}", policy.issuer));
    // Once for this clock's leeway, once for another replica's.
    Ok(Logout { id, forgotten_at: last + 2 * policy.skew + SECOND, session, subject, issued_at })
}

fn is_logout(claims: &Map<String, Value>) -> bool {
    claims.get("events").and_then(Value::as_object).and_then(|events| events.get(EVENT)).is_some_and(Value::is_object)
}

/// Which session ends, and whose.
fn whom(
    claims: &Map<String, Value>,
    policy: &ForeignPolicy,
    rules: &LogoutPolicy,
) -> Result<(Option<SessionId>, Option<Box<str>>), TokenError> {
    // It must be text wherever it is there, also where another claim names the subject.
    let (sub, sid) = (text_of(claims, "sub", SUBJECT_BYTES_MAX)?, text_of(claims, "sid", TOKEN_BYTES_MAX)?);
    if sub.is_none() && sid.is_none() {
        return Err(TokenError::Claims);
    }
    // The name that access tokens are known by: a record of any other would cover nothing.
    let subject = policy.mapping.subject.text(claims, SUBJECT_BYTES_MAX)?;
    let session = sid.map(|sid| session_of(policy, "sid", sid));
    if session.is_some() && !rules.whole_subject {
        return Ok((session, None));
    }
    subject.map(|subject| (session, Some(subject))).ok_or(TokenError::Claims)
}

/// When it was issued, and the last instant of its life.
fn times(
    claims: &Map<String, Value>,
    policy: &ForeignPolicy,
    rules: &LogoutPolicy,
    now: Timestamp,
) -> Result<(Timestamp, Timestamp), TokenError> {
    let at = |name| instant_of(claims, name);
    let (issued_at, expires_at) = (at("iat")?.ok_or(TokenError::Claims)?, at("exp")?.ok_or(TokenError::Claims)?);
    if expires_at <= issued_at {
        return Err(TokenError::Life);
    }
    for instant in [Some(issued_at), at("nbf")?].into_iter().flatten() {
        if instant.as_nanosecond() > later(now, policy.skew) {
            return Err(TokenError::NotYet);
        }
    }
    // Not in the future, so that nothing here overflows.
    let last = expires_at.min(issued_at + rules.age_max);
    if policy.expired(last, now) { Err(TokenError::Expired) } else { Ok((issued_at, last)) }
}

#[cfg(test)]
mod tests;
