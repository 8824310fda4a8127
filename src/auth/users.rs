//! What operators do with users and their sessions, from the command line.
//!
//! The same promises hold as for users themselves: an ending that returned is true on every replica.

use std::collections::BTreeSet;

use secrecy::{ExposeSecret as _, SecretString};

use crate::identity::session::{Session, SessionId};
use crate::identity::user::{LoginName, Role, User, UserId};
use crate::store::Page;

use super::hashing::HashingError;
use super::outage::Outage;
use super::register::{NewAccount, RegisterError};
use super::{Auth, FieldError};

/// Why an operator's command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Nobody has this name or address.
    #[error("there is no such user")]
    NoSuchUser,
    /// The password breaks rules.
    #[error("a field is invalid")]
    Invalid(Vec<FieldError>),
    /// Not the operator's command's fault.
    #[error(transparent)]
    Outage(#[from] Outage),
}

impl Auth {
    /// Adds a user with any roles, whether or not registration is open.
    ///
    /// # Errors
    /// See [`RegisterError`].
    pub async fn add_user(&self, account: NewAccount) -> Result<User, RegisterError> {
        self.add(account, |_| true).await
    }

    /// The user with this name, or with this address if it has an `@`.
    ///
    /// # Errors
    /// [`AdminError::NoSuchUser`], or the store cannot be reached.
    pub async fn find_user(&self, name: &str) -> Result<User, AdminError> {
        let name = LoginName::parse(name).map_err(|_| AdminError::NoSuchUser)?;
        let found = self.users.find_by_login(&name).await.map_err(Outage::from)?;
        found.map(|(user, _)| user).ok_or(AdminError::NoSuchUser)
    }

    /// A page of users, in order of registration.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn list_users(&self, page: Page<UserId>) -> Result<Vec<User>, Outage> {
        Ok(self.users.list(page).await?)
    }

    /// The users who registered first.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn first_users(&self, limit: u32) -> Result<Vec<User>, Outage> {
        self.list_users(Page { after: None, limit }).await
    }

    /// Disables a user, which ends every session of theirs, or enables them again.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn set_user_disabled(&self, user: UserId, disabled: bool) -> Result<(), AdminError> {
        let now = self.now();
        let beside = if disabled { vec![self.everything_before(user, now)] } else { Vec::new() };
        let changed = self.sessions.set_disabled(user, disabled, &self.ending(now, beside)).await.map_err(Outage::from)?;
        let ended = changed.ok_or(AdminError::NoSuchUser)?;
        Ok(self.publish(&ended).await?)
    }

    /// Replaces a user's roles. Taking one away ends their sessions, because tokens that still carry it are out;
    /// one that is only added shows from the next refresh on. The same roles again end the sessions, too: it may
    /// be the retry of a change whose ending failed.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn set_user_roles(&self, user: UserId, roles: &BTreeSet<Role>) -> Result<(), AdminError> {
        let before = self.users.find(user).await.map_err(Outage::from)?.ok_or(AdminError::NoSuchUser)?;
        if !self.users.set_roles(user, roles).await.map_err(Outage::from)? {
            return Err(AdminError::NoSuchUser);
        }
        if before.roles.is_subset(roles) && before.roles != *roles {
            return Ok(());
        }
        Ok(self.end_user_sessions(user).await?)
    }

    /// Sets a password without knowing the old one. Ends every session.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn set_user_password(&self, user: UserId, password: &SecretString) -> Result<(), AdminError> {
        self.users.find(user).await.map_err(Outage::from)?.ok_or(AdminError::NoSuchUser)?;
        let mut errors = Vec::new();
        let checked = self.new_password("password", password.expose_secret(), &mut errors);
        let password = checked.ok_or(AdminError::Invalid(errors))?;
        let hash = match self.hashing.hash(password, self.random()).await {
            Err(HashingError::Refused(rule)) => return Err(AdminError::Invalid(vec![FieldError::new("password", rule)])),
            hashed => hashed.map_err(Outage::from)?,
        };
        let now = self.now();
        let ending = self.ending(now, vec![self.everything_before(user, now)]);
        let ended = self.sessions.change_password(user, &hash, None, &ending).await.map_err(Outage::from)?;
        Ok(self.publish(&ended).await?)
    }

    /// A user's live sessions, newest first.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn user_sessions(&self, user: UserId) -> Result<Vec<Session>, Outage> {
        Ok(self.sessions.live(user, self.now()).await?)
    }

    /// Ends one session, whoever's it is.
    ///
    /// # Errors
    /// The ending could not be made true everywhere. Trying again is safe.
    pub async fn end_session(&self, session: SessionId) -> Result<(), Outage> {
        self.end(session).await
    }

    /// Ends every session of a user.
    ///
    /// # Errors
    /// The ending could not be made true everywhere. Trying again is safe.
    pub async fn end_user_sessions(&self, user: UserId) -> Result<(), Outage> {
        let now = self.now();
        let ending = self.ending(now, vec![self.everything_before(user, now)]);
        let ended = self.sessions.end_all(user, None, &ending).await?;
        self.publish(&ended).await
    }
}
