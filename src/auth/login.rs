//! Login: a name and a password for a session and its first tokens.
//!
//! Unknown users, wrong passwords and disabled users get one answer, and each of them only after a hash of the
//! configured cost was computed.

use std::sync::Arc;

use jiff::Timestamp;

use crate::identity::password::{Password, PasswordHash};
use crate::identity::session::{Session, SessionId};
use crate::identity::user::{LoginName, User, UserId};
use crate::limit::attempts::Network;
use crate::store::Opening;

use super::audit::{self, Event, Kind, Outcome};
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

/// A refusal for the record, which is told more than the client.
enum NotSignedIn {
    /// Whose name it was, and what was wrong.
    Refused(Option<UserId>, &'static str),
    Outage(Outage),
}

impl<E: Into<Outage>> From<E> for NotSignedIn {
    fn from(error: E) -> Self {
        Self::Outage(error.into())
    }
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
        let attempt = self.attempt(name, from).await?;
        // A name that cannot be registered belongs to nobody, and is answered like any other unknown name.
        let parsed = LoginName::parse(name).ok();
        let outcome = self.sign_in_as(terms, parsed.as_ref(), &password, from).await;
        self.settle(attempt, name, from, outcome).await
    }

    /// The user to whom name and password belong. Opens no session.
    ///
    /// # Errors
    /// See [`LoginError`].
    pub async fn check_password(&self, name: &str, password: &str, from: &Origin) -> Result<User, LoginError> {
        let password = typed(password)?;
        let attempt = self.attempt(name, from).await?;
        let outcome = self.recognise(LoginName::parse(name).ok().as_ref(), &password).await;
        self.settle(attempt, name, from, outcome).await
    }

    /// Counts an attempt before anything about it is known.
    async fn attempt(&self, name: &str, from: &Origin) -> Result<Attempt<'_>, Throttled> {
        let attempt = self.throttle.login(name, from.address).await;
        if attempt.is_err() {
            let place = from.address.map_or_else(|| name.to_owned(), |address| Network::of(address).to_string());
            if self.throttle.is_news("login_throttled", &place) {
                let event = Event::new(Kind::LoginThrottled, Outcome::Refused, from);
                self.audit(event.with("name", audit::shown(name))).await;
            }
        }
        attempt
    }

    /// What an attempt leaves: nothing of its count if it was right, or was never judged; a refusal is recorded.
    async fn settle<T>(
        &self,
        attempt: Attempt<'_>,
        typed: &str,
        from: &Origin,
        outcome: Result<T, NotSignedIn>,
    ) -> Result<T, LoginError> {
        match outcome {
            Ok(recognised) => {
                attempt.succeeded().await;
                Ok(recognised)
            }
            Err(NotSignedIn::Refused(user, why)) => {
                attempt.failed();
                // A name that is registered is one; any other may be a password in the wrong field.
                let name = if user.is_some() { typed.to_owned() } else { audit::shown(typed) };
                let event = Event::new(Kind::LoginFailed, Outcome::Failure, from).about(user);
                self.audit(event.with("name", name).with("why", why)).await;
                Err(LoginError::Credentials)
            }
            Err(NotSignedIn::Outage(outage)) => {
                attempt.give_back().await;
                Err(outage.into())
            }
        }
    }

    async fn sign_in_as(
        &self,
        terms: &SessionTerms,
        name: Option<&LoginName>,
        password: &Arc<Password>,
        from: &Origin,
    ) -> Result<SignedIn, NotSignedIn> {
        // A second try for a login that raced with "end all my sessions": what it read may be out of date, so it
        // reads again. Twice in a row means that someone is ending sessions in a loop, or that the clock which ended them
        // is ahead of this one: the password was right, and will be once that instant has passed here, too.
        for _ in 0..2 {
            // Before the user is read: the store recognises races by this instant.
            let now = self.now();
            let user = self.recognise(name, password).await?;
            if let Some(tokens) = self.sign_in(terms, &user, from, now).await? {
                return Ok(SignedIn { user, tokens });
            }
        }
        Err(Outage::Overtaken.into())
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
        let Some(session) = self.open_session(terms, user, from, now).await? else { return Ok(None) };
        let tokens = self.issue(terms, user, &session, now)?;
        let event = Event::new(Kind::Login, Outcome::Success, from).actor(&user.id.to_string());
        self.audit(event.about(user.id).within(session.id)).await;
        Ok(Some(tokens))
    }

    async fn recognise(&self, name: Option<&LoginName>, password: &Arc<Password>) -> Result<User, NotSignedIn> {
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
            Some((user, _)) if matches => Err(NotSignedIn::Refused(Some(user.id), "disabled")),
            Some((user, _)) => Err(NotSignedIn::Refused(Some(user.id), "wrong password")),
            None => Err(NotSignedIn::Refused(None, "unknown name")),
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
            authenticated_at: now,
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

fn typed(password: &str) -> Result<Arc<Password>, LoginError> {
    let password = Password::new(password);
    password.map(Arc::new).map_err(|rule| LoginError::Invalid(vec![FieldError::new("password", rule)]))
}
