//! The pair of tokens that a session's current generation stands for. Computed, never stored: asked twice, it is
//! the same refresh token, and an access token with the same `jti`, `iat` and `exp`. A refresh token that stands is
//! the same for all of a session's life, and each access token that it brings is another.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use uuid::Uuid;

use crate::identity::access_token::{self, Claims};
use crate::identity::session::Session;
use crate::identity::user::User;
use crate::identity::{Credential, Principal};

use super::Auth;
use super::outage::Outage;
use super::terms::{Renewal, SessionTerms};

/// What a login or a refresh answers with.
pub struct Tokens {
    /// The access token.
    pub access_token: SecretString,
    /// The rest of its life.
    pub expires_in: Duration,
    /// The refresh token.
    pub refresh_token: SecretString,
    /// The rest of its life.
    pub refresh_expires_in: Duration,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

impl Auth {
    /// The tokens of the session's current generation.
    pub(super) fn issue(&self, terms: &SessionTerms, user: &User, session: &Session, now: Timestamp) -> Result<Tokens, Outage> {
        self.issue_as(terms, user, session, (self.current_jti(session), session.rotated_at), now)
    }

    /// The session's refresh token as it is, with an access token of this `jti` and `iat`.
    pub(super) fn issue_as(
        &self,
        terms: &SessionTerms,
        user: &User,
        session: &Session,
        (jti, issued_at): (Uuid, Timestamp),
        now: Timestamp,
    ) -> Result<Tokens, Outage> {
        // JWT instants are whole seconds: the life begins where `iat` says, not up to a second later.
        // No token outlives its session, so that an ended row accounts for all of its tokens.
        let expires_at = (whole_seconds(issued_at) + terms.access_token).min(session.ends_at);
        let claims = Claims {
            principal: self.principal(user, session),
            audience: self.settings.tokens.audience.clone(),
            jti,
            issued_at,
            expires_at,
            further: terms.claims.as_ref().map(|claims| claims(user)).unwrap_or_default(),
        };
        let ring = self.ring.load();
        let key = ring.signer(now).ok_or(Outage::NoSigningKey)?;
        let access_token = access_token::sign(&claims, key)?;
        let refresh_token = match terms.renewal {
            Renewal::Rotate { .. } => self.refresh_key.token(session.id, session.generation, &session.nonce),
            Renewal::Stand => self.refresh_key.standing_token(session.id, session.generation, &session.nonce),
        };
        Ok(Tokens {
            access_token,
            expires_in: rest(whole_seconds(expires_at), now),
            refresh_token,
            refresh_expires_in: rest(session.refresh_expires_at, now),
        })
    }

    /// The `jti` of the access token that was issued with the session's current generation.
    pub(super) fn current_jti(&self, session: &Session) -> Uuid {
        self.refresh_key.access_token_id(session.id, session.generation, &session.nonce)
    }

    pub(super) fn principal(&self, user: &User, session: &Session) -> Principal {
        Principal {
            issuer: self.settings.tokens.issuer.clone(),
            subject: user.id.to_string().into(),
            username: user.username.as_ref().map(|name| name.as_typed().into()),
            email: user.email.as_ref().map(|email| email.as_typed().into()),
            // A set of roles is sorted and without repeats already.
            roles: user.roles.iter().map(|role| role.as_str().into()).collect(),
            scopes: self.settings.session_scopes.iter().map(|scope| scope.as_str().into()).collect(),
            session: session.id,
            auth_time: session.authenticated_at,
            credential: Credential::Session,
        }
    }
}

pub(super) fn whole_seconds(instant: Timestamp) -> Timestamp {
    Timestamp::from_second(instant.as_second()).expect("an instant cut to the second stays in range")
}

/// From `now` to `end`; nothing if that has passed.
pub(super) fn rest(end: Timestamp, now: Timestamp) -> Duration {
    end.duration_since(now).try_into().unwrap_or_default()
}
