//! What operators do with users and their sessions, from the command line.
//!
//! The same promises hold as for users themselves: an ending that returned is true on every replica.

use std::collections::BTreeSet;

use secrecy::{ExposeSecret as _, SecretString};

use crate::identity::session::{Session, SessionId};
use crate::identity::user::{Email, LoginName, Role, User, UserId, Username};
use crate::store::Page;

use super::audit::{Actor, Event, Kind};
use super::hashing::HashingError;
use super::outage::Outage;
use super::register::{NewAccount, ROLES_MAX, RegisterError};
use super::{Auth, FieldError};

/// Why an operator's command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// It would leave nobody to administer.
    #[error("this is the last administrator: make another one first")]
    LastAdministrator,
    /// Nobody has this name or address.
    #[error("there is no such user")]
    NoSuchUser,
    /// The password, the names or the roles break rules.
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
    pub async fn add_user(&self, account: NewAccount, by: &Actor) -> Result<User, RegisterError> {
        let user = self.add(account, |_| true).await?;
        self.audit(Event::by(Kind::UserAdded, by).about(user.id).with("roles", words(&user.roles))).await;
        Ok(user)
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

    /// At most so many users, in order of registration, and only those after the given one.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn list_users_after(&self, after: Option<UserId>, limit: u32) -> Result<Vec<User>, Outage> {
        self.list_users(Page { after, limit }).await
    }

    /// Disables a user, which ends every session of theirs, or enables them again.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn set_user_disabled(&self, user: UserId, disabled: bool, by: &Actor) -> Result<(), AdminError> {
        let _held = if disabled { self.keep_an_administrator(user, by).await? } else { None };
        let now = self.now();
        let beside = if disabled { vec![self.everything_before(user, now)] } else { Vec::new() };
        let changed = self.sessions.set_disabled(user, disabled, &self.ending(now, beside)).await.map_err(Outage::from)?;
        let ended = changed.ok_or(AdminError::NoSuchUser)?;
        self.publish(&ended).await?;
        let kind = if disabled { Kind::UserDisabled } else { Kind::UserEnabled };
        self.audit(Event::by(kind, by).about(user)).await;
        Ok(())
    }

    /// Replaces a user's roles. Taking one away ends their sessions, because tokens that still carry it are out;
    /// one that is only added shows from the next refresh on. The same roles again end the sessions, too: it may
    /// be the retry of a change whose ending failed.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn set_user_roles(&self, user: UserId, roles: &BTreeSet<Role>, by: &Actor) -> Result<(), AdminError> {
        if roles.len() > ROLES_MAX {
            // A token with more of them could become too long to be accepted.
            let rule = format_args!("must be at most {ROLES_MAX}");
            return Err(AdminError::Invalid(vec![FieldError::new("roles", rule)]));
        }
        let before = self.users.find(user).await.map_err(Outage::from)?.ok_or(AdminError::NoSuchUser)?;
        let is_taken = !roles.contains(&self.settings.admin_role);
        let _held = if is_taken { self.keep_an_administrator(user, by).await? } else { None };
        if !self.users.set_roles(user, roles).await.map_err(Outage::from)? {
            return Err(AdminError::NoSuchUser);
        }
        if !before.roles.is_subset(roles) || before.roles == *roles {
            self.end_all_sessions(user).await?;
        }
        let event = Event::by(Kind::RolesChanged, by).about(user);
        self.audit(event.with("before", words(&before.roles)).with("after", words(roles))).await;
        Ok(())
    }

    /// Sets a password without knowing the old one. Ends every session.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn set_user_password(&self, user: UserId, password: &SecretString, by: &Actor) -> Result<(), AdminError> {
        let found = self.user(user).await?;
        let names = [found.username.as_ref().map(Username::as_typed), found.email.as_ref().map(Email::as_typed)];
        let mut errors = Vec::new();
        let checked = self.new_password("password", password.expose_secret(), &names, &mut errors);
        let password = checked.ok_or(AdminError::Invalid(errors))?;
        let hash = match self.hashing.hash(password, self.random()).await {
            Err(HashingError::Refused(rule)) => return Err(AdminError::Invalid(vec![FieldError::new("password", rule)])),
            hashed => hashed.map_err(Outage::from)?,
        };
        let now = self.now();
        let ending = self.ending(now, vec![self.everything_before(user, now)]);
        let ended = self.sessions.change_password(user, &hash, None, &ending).await.map_err(Outage::from)?;
        self.publish(&ended).await?;
        self.audit(Event::by(Kind::PasswordChanged, by).about(user)).await;
        Ok(())
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
    pub async fn end_session(&self, session: SessionId, by: &Actor) -> Result<(), Outage> {
        let of = self.sessions.find(session).await?.map(|session| session.user);
        self.end(session).await?;
        self.audit(Event::by(Kind::SessionRevoked, by).about(of).with("revoked", session.to_string())).await;
        Ok(())
    }

    /// Ends every session of a user.
    ///
    /// # Errors
    /// The ending could not be made true everywhere. Trying again is safe.
    pub async fn end_user_sessions(&self, user: UserId, by: &Actor) -> Result<(), Outage> {
        self.end_all_sessions(user).await?;
        self.audit(Event::by(Kind::SessionRevoked, by).about(user).with("revoked", "all")).await;
        Ok(())
    }

    async fn end_all_sessions(&self, user: UserId) -> Result<(), Outage> {
        let now = self.now();
        let ending = self.ending(now, vec![self.everything_before(user, now)]);
        let ended = self.sessions.end_all(user, None, &ending).await?;
        self.publish(&ended).await
    }
}

/// Roles for the record.
pub(super) fn words(roles: &BTreeSet<Role>) -> Vec<&str> {
    roles.iter().map(Role::as_str).collect()
}
