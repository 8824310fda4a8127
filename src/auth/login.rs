//! Login: a name and a password for a session and its first tokens.
//!
//! Unknown users, wrong passwords and disabled users get one answer, and each of them only after a hash of the
//! configured cost was computed.

use std::sync::Arc;

use jiff::Timestamp;

use crate::identity::password::{Password, PasswordHash};
use crate::identity::session::{Session, SessionId};
use crate::identity::user::{LoginName, User};
use crate::store::Opening;

use super::outage::Outage;
use super::terms::SessionTerms;
use super::throttle::{Attempt, Throttled};
use super::tokens::Tokens;
use super::{AGENT_BYTES_MAX, Auth, FieldError, Origin};

/// Why nobody was signed in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// A field cannot be what it should be, whoever sends it.
    #[error("a field is invalid")]
    Invalid(Vec<FieldError>),
    /// Name and password do not belong together, or the user may not sign in. Never says which.
    #[error("the credentials are wrong")]
    Credentials,
    /// Too many attempts for this name or from this network. Says nothing about the name.
    #[error(transparent)]
    Throttled(#[from] Throttled),
    /// Not the caller's fault.
    #[error(transparent)]
    Outage(#[from] Outage),
}

/// Who signed in, and what they got.
#[derive(Debug)]
pub struct SignedIn {
    /// The user.
    pub user: User,
    /// The session's first tokens.
    pub tokens: Tokens,
}

impl Auth {
    /// Signs a user in. `name` is a user name, or an e-mail address if it has an `@`.
    ///
    /// # Errors
    /// See [`LoginError`].
    pub async fn login(&self, name: &str, password: &str, from: &Origin) -> Result<Tokens, LoginError> {
        Ok(self.login_under(&self.settings.terms(), name, password, from).await?.tokens)
    }

    /// The same under other terms than the gateway's own.
    ///
    /// # Errors
    /// See [`LoginError`].
    pub async fn login_under(
        &self,
        terms: &SessionTerms,
        name: &str,
        password: &str,
        from: &Origin,
    ) -> Result<SignedIn, LoginError> {
        let password = typed(password)?;
        let attempt = self.throttle.login(name, from.address).await?;
        // A name that cannot be registered belongs to nobody, and is answered like any other unknown name.
        let name = LoginName::parse(name).ok();
        let outcome = self.sign_in_as(terms, name.as_ref(), &password, from).await;
        settle(attempt, &outcome).await;
        outcome
    }

    async fn sign_in_as(
        &self,
        terms: &SessionTerms,
        name: Option<&LoginName>,
        password: &Arc<Password>,
        from: &Origin,
    ) -> Result<SignedIn, LoginError> {
        // A second try for a login that raced with "end all my sessions": what it read may be out of date, so it
        // reads again. Twice in a row means that someone is ending sessions in a loop, or that the user is gone.
        for _ in 0..2 {
            // Before the user is read: the store recognises races by this instant.
            let now = self.now();
            let user = self.recognise(name, password).await?;
            if let Some(tokens) = self.sign_in(terms, &user, from, now).await? {
                return Ok(SignedIn { user, tokens });
            }
        }
        Err(LoginError::Credentials)
    }

    /// The user to whom name and password belong. Opens no session.
    ///
    /// # Errors
    /// See [`LoginError`].
    pub async fn check_password(&self, name: &str, password: &str, from: &Origin) -> Result<User, LoginError> {
        let password = typed(password)?;
        let attempt = self.throttle.login(name, from.address).await?;
        let outcome = self.recognise(LoginName::parse(name).ok().as_ref(), &password).await;
        settle(attempt, &outcome).await;
        outcome
    }

    /// The first tokens of a session for a user who proved who they are at `now`; none if the user was disabled or all
    /// their sessions were ended meanwhile.
    pub(super) async fn sign_in(
        &self,
        terms: &SessionTerms,
        user: &User,
        from: &Origin,
        now: Timestamp,
    ) -> Result<Option<Tokens>, Outage> {
        let session = self.open_session(terms, user, from, now).await?;
        session.map(|session| self.issue(terms, user, &session, now)).transpose()
    }

    async fn recognise(&self, name: Option<&LoginName>, password: &Arc<Password>) -> Result<User, LoginError> {
        let found = match name {
            Some(name) => self.users.find_by_login(name).await.map_err(Outage::from)?,
            None => None,
        };
        let stored = found.as_ref().map(|(_, hash)| hash.clone());
        let matches = self.hashing.verify(Arc::clone(password), stored).await.map_err(Outage::from)?;
        match found {
            Some((user, hash)) if matches && user.disabled_at.is_none() => {
                self.upgrade_hash(&user, password, &hash).await;
                Ok(user)
            }
            _ => Err(LoginError::Credentials),
        }
    }

    /// Replaces a hash of another algorithm or of weaker parameters, now that the password is at hand.
    async fn upgrade_hash(&self, user: &User, password: &Arc<Password>, stored: &PasswordHash) {
        if !self.hashing.policy().wants_upgrade(stored) {
            return;
        }
        // A failure costs nothing but time: the old hash still stands, and the next login tries again.
        if let Ok(upgraded) = self.hashing.hash(Arc::clone(password), self.random()).await {
            let _ = self.users.upgrade_password(user.id, stored, &upgraded).await;
        }
    }

    async fn open_session(
        &self,
        terms: &SessionTerms,
        user: &User,
        from: &Origin,
        now: Timestamp,
    ) -> Result<Option<Session>, Outage> {
        let ends_at = now + self.settings.session_max;
        let session = Session {
            id: SessionId(self.random_id()),
            user: user.id,
            created_at: now,
            ends_at,
            ended_at: None,
            generation: 0,
            rotated_at: now,
            refresh_expires_at: (now + terms.refresh_token).min(ends_at),
            nonce: self.random(),
            address: from.address,
            agent: from.agent.as_deref().map(|agent| agent[..agent.floor_char_boundary(AGENT_BYTES_MAX)].to_owned()),
        };
        let jti = self.refresh_key.access_token_id(session.id, session.generation, &session.nonce);
        match self.sessions.open(&session, jti).await? {
            Opening::Opened => Ok(Some(session)),
            Opening::Refused => Ok(None),
        }
    }
}

/// What an attempt leaves of its count: nothing if it was right, nothing if it was never judged.
async fn settle<T>(attempt: Attempt<'_>, outcome: &Result<T, LoginError>) {
    match outcome {
        Ok(_) => attempt.succeeded().await,
        Err(LoginError::Credentials) => attempt.failed(),
        Err(LoginError::Invalid(_) | LoginError::Throttled(_) | LoginError::Outage(_)) => attempt.give_back().await,
    }
}

fn typed(password: &str) -> Result<Arc<Password>, LoginError> {
    let password = Password::new(password);
    password.map(Arc::new).map_err(|rule| LoginError::Invalid(vec![FieldError::new("password", rule)]))
}
