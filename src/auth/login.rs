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
    /// Not the caller's fault.
    #[error(transparent)]
    Outage(#[from] Outage),
}

impl Auth {
    /// Signs a user in. `name` is a user name, or an e-mail address if it has an `@`.
    ///
    /// # Errors
    /// See [`LoginError`].
    pub async fn login(&self, name: &str, password: &str, from: &Origin) -> Result<Tokens, LoginError> {
        let password = Password::new(password).map_err(|rule| LoginError::Invalid(vec![FieldError::new("password", rule)]))?;
        let password = Arc::new(password);
        // A name that cannot be registered belongs to nobody, and is answered like any other unknown name.
        let name = LoginName::parse(name).ok();
        // A second try for a login that raced with "end all my sessions": what it read may be out of date, so it
        // reads again. Twice in a row means that someone is ending sessions in a loop, or that the user is gone.
        for _ in 0..2 {
            // Before the user is read: the store recognises races by this instant.
            let now = self.now();
            let user = self.recognise(name.as_ref(), &password).await?;
            if let Some(session) = self.open_session(&user, from, now).await? {
                return Ok(self.issue(&user, &session, now)?);
            }
        }
        Err(LoginError::Credentials)
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

    /// Opens a session for a user who proved who they are at `now`; none if the user was disabled or all their
    /// sessions were ended meanwhile.
    async fn open_session(&self, user: &User, from: &Origin, now: Timestamp) -> Result<Option<Session>, Outage> {
        let ends_at = now + self.settings.session_max;
        let session = Session {
            id: SessionId(self.random_id()),
            user: user.id,
            created_at: now,
            ends_at,
            ended_at: None,
            generation: 0,
            rotated_at: now,
            refresh_expires_at: (now + self.settings.refresh_token).min(ends_at),
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
