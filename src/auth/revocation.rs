//! What operators and administrators revoke, by whatever they have of it: a token, the id of one, a session, a user.
//!
//! Nothing is proved by the holder here, so that an id is enough; but what cannot be something that this gateway accepts
//! is refused, because a mistyped id that is "revoked" leaves a live token behind.

use std::sync::Arc;

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use super::api_keys::ApiKeyError;
use super::audit::{Actor, Event, Kind};
use super::authenticate::{AuthenticateError, Authenticator};
use super::outage::Outage;
use super::token_revocation::forgotten_at;
use super::users::AdminError;
use super::{Auth, FieldError};
use crate::identity::Caller;
use crate::identity::access_token;
use crate::identity::foreign_token::{self, ForeignPolicy};
use crate::identity::machine_secret::{MachineSecret, SecretKind};
use crate::identity::session::SessionId;
use crate::identity::user::{User, UserId};
use crate::issuers::IssuerOutage;
use crate::store::{Covers, Revocation};

/// The hexadecimal digits of SHA-256, by which tokens of other issuers are known.
const FOREIGN_ID_CHARS: usize = 64;
/// RFC 9562 §4.
const UUID_CHARS: usize = 36;
/// RFC 9562 §5.8: the version of the ids that `foreign_token` makes of the sessions of other issuers.
const FOREIGN_SESSION_VERSION: usize = 8;

/// What is to be revoked.
#[derive(Debug)]
pub enum Target {
    /// A whole token: an access token, ours or another issuer's; a refresh token, with its session; an API key.
    Token(SecretString),
    /// An opaque token of another issuer, and what that says about it.
    Introspected(SecretString, Arc<Caller>),
    /// An access token, by its id: the `jti` of one of ours, or what ARCHITECTURE says of other issuers' tokens.
    TokenId(String),
    /// A session with all its tokens, by its `sid`; or an API key by its id, which is the `sid` that services see.
    Session(SessionId),
    /// Every session of the user with this id, name or address.
    User(String),
}

/// What was revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// `token`, `session`, `api_key` or `user`.
    pub kind: &'static str,
    /// Its id. Nothing that lets anybody in.
    pub id: String,
    /// It was over by itself: there was nothing left to revoke.
    pub had_expired: bool,
}

/// Why nothing was revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// It is nothing that this gateway accepts.
    #[error("a field is invalid")]
    Invalid(FieldError),
    /// There is no session and no API key with this id.
    #[error("there is no such session")]
    NoSuchSession,
    /// Nobody has this id, name or address.
    #[error("there is no such user")]
    NoSuchUser,
    /// What an opaque token is known by can only its issuer tell, which does not answer.
    #[error(transparent)]
    Issuer(#[from] IssuerOutage),
    /// It could not be made true everywhere. Trying again is safe.
    #[error(transparent)]
    Outage(#[from] Outage),
}

impl From<AdminError> for RevokeError {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Outage(outage) => Self::Outage(outage),
            _ => Self::NoSuchUser,
        }
    }
}

impl Target {
    /// Has the issuer of an opaque token asked about it. Anything else stays as it is.
    ///
    /// # Errors
    /// The issuer does not vouch for it, or does not answer.
    pub async fn introspected(self, authenticator: &Authenticator) -> Result<Self, RevokeError> {
        let Self::Token(token) = self else { return Ok(self) };
        match authenticator.ask_about(token.expose_secret()).await {
            None => Ok(Self::Token(token)),
            Some(Ok(caller)) => Ok(Self::Introspected(token, caller)),
            Some(Err(AuthenticateError::Issuer(outage))) => Err(outage.into()),
            Some(Err(why)) => Err(invalid("token", format_args!("must be one that this gateway accepts: {why}"))),
        }
    }
}

impl Revoked {
    fn new(kind: &'static str, id: impl ToString) -> Self {
        Self { kind, id: id.to_string(), had_expired: false }
    }
}

impl Auth {
    /// Revokes something. `foreign` is what the tokens of other issuers must say. Idempotent: a retry publishes what the
    /// first try could only record.
    ///
    /// # Errors
    /// See [`RevokeError`].
    pub async fn revoke(&self, what: &Target, foreign: &[Arc<ForeignPolicy>], by: &Actor) -> Result<Revoked, RevokeError> {
        match what {
            Target::Token(token) => self.revoke_whole(token.expose_secret(), foreign, by).await,
            Target::Introspected(token, caller) => self.revoke_opaque(token.expose_secret(), caller, foreign, by).await,
            Target::TokenId(id) => {
                let id = token_id(id).ok_or_else(|| invalid("jti", BAD_TOKEN_ID))?;
                let event = Event::by(Kind::TokenRevoked, by);
                let until = self.longest_until(foreign);
                Ok(self.revoke_tokens(vec![id], (until, until), event).await?)
            }
            Target::Session(id) => self.revoke_session_or_key(*id, foreign, by).await,
            Target::User(name) => {
                let user = self.named(name).await?;
                self.end_user_sessions(user.id, by).await?;
                Ok(Revoked::new("user", user.id))
            }
        }
    }

    /// The user with this id; or with this name, or this address if it has an `@`.
    async fn named(&self, name: &str) -> Result<User, AdminError> {
        if let Ok(id) = name.parse::<Uuid>() {
            match self.user(UserId(id)).await {
                Err(AdminError::NoSuchUser) => {}
                found => return found,
            }
        }
        self.find_user(name).await
    }

    async fn revoke_whole(&self, token: &str, foreign: &[Arc<ForeignPolicy>], by: &Actor) -> Result<Revoked, RevokeError> {
        if let Some(key) = MachineSecret::parse(SecretKind::ApiKey, token) {
            let key = self.api_keys.find(&key.hash()).await.map_err(Outage::from)?;
            let key = key.ok_or_else(|| invalid("token", "must be an api key that there is"))?;
            return self.revoke_key(key.user, key.id, by).await;
        }
        if let Some((session, _)) = self.session_of_refresh_token(token).await? {
            self.end_session(session, by).await?;
            return Ok(Revoked::new("session", session));
        }
        let issuer = foreign_token::claimed_issuer(token)
            .ok_or_else(|| invalid("token", "must be a token of this gateway or of one of its issuers"))?;
        if *issuer == *self.settings.tokens.issuer {
            // Whatever its time: an expired one needs nothing more. Anything else that is refused is not accepted either.
            let genuine = access_token::verify_at_any_time(token, &self.ring.load(), &self.settings.tokens);
            let caller = genuine.map_err(|why| invalid("token", format_args!("must be one that this gateway accepts: {why}")))?;
            let until = forgotten_at(caller.token.expires_at, self.settings.tokens.skew);
            let event = Event::by(Kind::TokenRevoked, by).about(self.owner(&caller));
            let longest = until.max(self.access_until(self.now()));
            return Ok(self.revoke_tokens(vec![caller.token.jti], (until, longest), event).await?);
        }
        let policy = foreign.iter().find(|policy| *policy.issuer == *issuer);
        let policy = policy.ok_or_else(|| invalid("token", "must be of this gateway or of one of the `[[issuers]]`"))?;
        // Not verified: who may revoke any token need not wait until the issuer's keys can be fetched.
        let claimed = foreign_token::claimed(token, policy);
        let claimed = claimed.map_err(|why| invalid("token", format_args!("must be one that this gateway accepts: {why}")))?;
        let longest = self.foreign_until(policy);
        let until = claimed.expires_at.map_or(longest, |exp| forgotten_at(exp.min(longest), policy.skew).min(longest));
        let event = Event::by(Kind::TokenRevoked, by).with("issuer", &*policy.issuer);
        Ok(self.revoke_tokens(claimed.ids, (until, longest), event).await?)
    }

    /// By the id that its issuer's answers have, which is what it is looked up by; never by its text.
    async fn revoke_opaque(
        &self,
        token: &str,
        caller: &Caller,
        foreign: &[Arc<ForeignPolicy>],
        by: &Actor,
    ) -> Result<Revoked, RevokeError> {
        let policy = foreign.iter().find(|policy| policy.issuer == caller.token.issuer);
        let policy = policy.ok_or_else(|| invalid("token", "must be of one of the `[[issuers]]`"))?;
        let until = forgotten_at(caller.token.expires_at, policy.skew);
        let event = Event::by(Kind::TokenRevoked, by).with("issuer", &*policy.issuer);
        // Its issuer may say another end the next time.
        let longest = until.max(self.foreign_until(policy));
        Ok(self.revoke_tokens(foreign_token::ids_of_opaque(token, caller), (until, longest), event).await?)
    }

    /// Records and publishes the ids of one token, which is over at the first of two instants by this clock, and at the second
    /// by each: one that is over here may have been issued, and be accepted still, by a clock that is behind.
    async fn revoke_tokens(
        &self,
        ids: Vec<Box<str>>,
        (until, longest): (Timestamp, Timestamp),
        event: Event,
    ) -> Result<Revoked, Outage> {
        let revoked = Revoked::new("token", ids.first().map_or_else(String::new, ToString::to_string));
        let revoked = Revoked { had_expired: until <= self.now(), ..revoked };
        let record = |id| Revocation { covers: Covers::Token(id), expires_at: longest };
        let records: Vec<Revocation> = ids.into_iter().map(record).collect();
        self.revocations.record(&records).await?;
        self.publish(&records).await?;
        self.audit(event.with("revoked", revoked.id.as_str())).await;
        Ok(revoked)
    }

    async fn revoke_session_or_key(
        &self,
        id: SessionId,
        foreign: &[Arc<ForeignPolicy>],
        by: &Actor,
    ) -> Result<Revoked, RevokeError> {
        if self.sessions.find(id).await.map_err(Outage::from)?.is_some() {
            self.end_session(id, by).await?;
            return Ok(Revoked::new("session", id));
        }
        if let Some(key) = self.api_keys.find_by_id(id.0).await.map_err(Outage::from)? {
            return self.revoke_key(key.user, key.id, by).await;
        }
        // Nobody here knows the sessions of other issuers; their ids are of a kind that none of ours is.
        if foreign.is_empty() || id.0.get_version_num() != FOREIGN_SESSION_VERSION {
            return Err(RevokeError::NoSuchSession);
        }
        let record = [Revocation { covers: Covers::Session(id), expires_at: self.longest_until(foreign) }];
        self.revocations.record(&record).await.map_err(Outage::from)?;
        self.publish(&record).await?;
        self.audit(Event::by(Kind::SessionRevoked, by).with("revoked", id.to_string())).await;
        Ok(Revoked::new("session", id))
    }

    async fn revoke_key(&self, user: UserId, id: Uuid, by: &Actor) -> Result<Revoked, RevokeError> {
        match self.end_api_key(user, id, by).await {
            Ok(()) => Ok(Revoked::new("api_key", id)),
            Err(ApiKeyError::Outage(outage)) => Err(outage.into()),
            // Deleted in this moment, by somebody who published its revocation.
            Err(_) => Err(RevokeError::NoSuchSession),
        }
    }

    /// When the last token of an issuer that can exist now is refused by every clock.
    pub(super) fn foreign_until(&self, policy: &ForeignPolicy) -> Timestamp {
        // One that was issued by a clock that is ahead.
        forgotten_at(self.now() + policy.life_max + policy.skew, policy.skew)
    }

    /// The same of any issuer, this gateway included.
    fn longest_until(&self, foreign: &[Arc<ForeignPolicy>]) -> Timestamp {
        let foreign = foreign.iter().map(|policy| self.foreign_until(policy));
        foreign.fold(self.access_until(self.now()), Timestamp::max)
    }
}

const BAD_TOKEN_ID: &str = "must be a UUID, as the `jti` of this gateway's tokens is, or the 64 hexadecimal digits that stand \
                            for another issuer's token";

/// An id as tokens are looked up by. Both kinds are written in lower case only.
fn token_id(text: &str) -> Option<Box<str>> {
    let uuid = text.len() == UUID_CHARS && Uuid::try_parse(text).is_ok();
    let hash = text.len() == FOREIGN_ID_CHARS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (uuid || hash).then(|| text.to_ascii_lowercase().into())
}

fn invalid(field: &'static str, rule: impl std::fmt::Display) -> RevokeError {
    RevokeError::Invalid(FieldError::new(field, rule))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_that_a_token_can_have() {
        let uuid = "3f0e3d2c-9a57-4a53-9a0f-7d6d2f7f6c11";
        let hash = "0123456789abcdef".repeat(4);
        for good in [uuid, &uuid.to_uppercase(), &hash, &hash.to_uppercase()] {
            assert_eq!(token_id(good).as_deref(), Some(good.to_lowercase().as_str()));
        }
        for bad in ["", "4711", &uuid[1..], &format!("{uuid} "), &uuid.replace('-', ""), &hash[1..], "a.b.c", &"g".repeat(64)] {
            assert_eq!(token_id(bad), None, "{bad}");
        }
    }
}
