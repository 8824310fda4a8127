//! The claims of an access token on the wire (RFC 9068 §2.2), and what they must be to become a caller.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{TOKEN_BYTES_MAX, TokenError, TokenPolicy, later};
use crate::identity::jose::{Audience, Others, present};
use crate::identity::scope::Scope;
use crate::identity::session::SessionId;
use crate::identity::user::Role;
use crate::identity::{Caller, Credential, Kept, Principal, TokenFacts};

/// Revocation keys are made from it.
pub(in crate::identity) const JTI_BYTES_MAX: usize = 128;
/// OpenID Connect Core §2: `sub` has at most 255 ASCII characters.
pub(in crate::identity) const SUBJECT_BYTES_MAX: usize = 255;

/// The claims as this gateway writes them.
#[derive(Serialize)]
pub(super) struct Written<'a> {
    pub(super) iss: &'a str,
    pub(super) aud: &'a str,
    pub(super) sub: &'a str,
    pub(super) sid: Uuid,
    pub(super) jti: Uuid,
    pub(super) iat: i64,
    pub(super) exp: i64,
    pub(super) auth_time: i64,
    pub(super) roles: &'a [Box<str>],
    /// RFC 9068 §2.2.3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scope: Option<String>,
    /// RFC 8693 §4.3, for tokens that speak for a client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) preferred_username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) email: Option<&'a str>,
    /// None of the names above, nor of those that are read.
    #[serde(flatten)]
    pub(super) further: BTreeMap<&'a String, &'a Value>,
}

/// The claims that are written or read here: none of them may be there twice.
const STANDARD: [&str; 14] = [
    "iss",
    "aud",
    "sub",
    "sid",
    "jti",
    "iat",
    "exp",
    "nbf",
    "auth_time",
    "roles",
    "scope",
    "client_id",
    "preferred_username",
    "email",
];

/// Whether a claim of this name means something to the gateway.
pub(super) fn is_standard(name: &str) -> bool {
    STANDARD.contains(&name)
}

/// The claims as they are read: all typed, each at most once.
#[derive(Deserialize)]
pub(super) struct Read {
    iss: Box<str>,
    aud: Audience,
    sub: Box<str>,
    sid: Box<str>,
    jti: Box<str>,
    iat: i64,
    exp: i64,
    #[serde(default, deserialize_with = "present")]
    pub(super) nbf: Option<i64>,
    auth_time: i64,
    #[serde(default)]
    roles: Vec<Box<str>>,
    #[serde(default, deserialize_with = "present")]
    scope: Option<Box<str>>,
    #[serde(default, deserialize_with = "present")]
    client_id: Option<Box<str>>,
    #[serde(default, deserialize_with = "present")]
    preferred_username: Option<Box<str>>,
    #[serde(default, deserialize_with = "present")]
    email: Option<Box<str>>,
    #[serde(flatten)]
    _others: Others,
}

impl Read {
    /// The caller whom verified claims speak for. Reads no clock: the times are only compared with each other.
    pub(super) fn check(self, policy: &TokenPolicy) -> Result<Caller, TokenError> {
        if *self.iss != *policy.issuer {
            return Err(TokenError::Issuer);
        }
        let for_us = match &self.aud {
            Audience::One(audience) => *audience == policy.audience,
            Audience::Many(audiences) => audiences.contains(&policy.audience),
        };
        if !for_us {
            return Err(TokenError::Audience);
        }
        let (issued_at, expires_at) = (instant(self.iat)?, instant(self.exp)?);
        if expires_at <= issued_at || expires_at.as_nanosecond() > later(issued_at, policy.life_max) {
            return Err(TokenError::Life);
        }
        let names = [self.preferred_username.as_deref(), self.email.as_deref()];
        let printable = printable(&self.sub, SUBJECT_BYTES_MAX)
            && printable(&self.jti, JTI_BYTES_MAX)
            && names.into_iter().flatten().all(|name| printable(name, TOKEN_BYTES_MAX))
            && self.roles.iter().all(|role| Role::parse(role).is_ok());
        // Only the hyphenated form, of the four that a UUID parser knows.
        let session = (self.sid.len() == 36).then(|| Uuid::try_parse(&self.sid).ok()).flatten().map(SessionId);
        let credential = match &self.client_id {
            None => Some(Credential::Session),
            // Of ours, only those say it that speak for the client itself.
            Some(client) => (*client == self.sub).then_some(Credential::Client),
        };
        let scopes = self.scope.as_deref().map_or_else(|| Ok(Vec::new()), Scope::parse_list).ok();
        let (true, Some(session), Some(credential), Some(scopes)) = (printable, session, credential, scopes) else {
            return Err(TokenError::Claims);
        };
        let mut scopes: Vec<Box<str>> = scopes.iter().map(|scope| scope.as_str().into()).collect();
        scopes.sort_unstable();
        scopes.dedup();
        let mut roles = self.roles;
        roles.sort_unstable();
        roles.dedup();
        let token = TokenFacts {
            issuer: Arc::clone(&policy.issuer),
            jti: self.jti,
            session,
            subject: self.sub.clone(),
            issued_at,
            expires_at,
        };
        let principal = Principal {
            issuer: Arc::clone(&policy.issuer),
            subject: self.sub,
            username: self.preferred_username,
            email: self.email,
            roles: roles.into(),
            scopes: scopes.into(),
            session,
            auth_time: instant(self.auth_time)?,
            credential,
        };
        Ok(Caller { principal, token, kept: Kept::default() })
    }
}

pub(in crate::identity) fn instant(seconds: i64) -> Result<Timestamp, TokenError> {
    Timestamp::from_second(seconds).map_err(|_| TokenError::Claims)
}

/// Whether a text may stand in headers and log lines: some characters, no control characters.
pub(in crate::identity) fn printable(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && !text.chars().any(char::is_control)
}
