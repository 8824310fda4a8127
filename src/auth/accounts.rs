//! What administrators do with accounts beyond `users`: changing, deleting, and taking them over from other systems.

use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::MutexGuard;

use super::audit::{Actor, Event, Kind};
use super::outage::Outage;
use super::profile::NamesPatch;
use super::register::{NewAccount, RegisterError, display_name};
use super::users::{AdminError, words};
use super::{Auth, FieldError};
use crate::identity::password::PasswordHash;
use crate::identity::user::{User, UserId};
use crate::store::NewUser;

/// An account of another system, with the hash that it has there.
#[derive(Debug)]
pub struct ForeignAccount {
    /// Who it is; the password in it is ignored.
    pub account: NewAccount,
    /// bcrypt or argon2id.
    pub password_hash: SecretString,
    /// Whether the other system has proved that the user reads the mail of the address.
    pub email_verified: bool,
}

impl Auth {
    /// The user with this id.
    ///
    /// # Errors
    /// [`AdminError::NoSuchUser`], or the store cannot be reached.
    pub async fn user(&self, id: UserId) -> Result<User, AdminError> {
        self.users.find(id).await.map_err(Outage::from)?.ok_or(AdminError::NoSuchUser)
    }

    /// Changes a user's names.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn change_user(&self, id: UserId, patch: NamesPatch, by: &Actor) -> Result<User, AdminError> {
        let errors = patch.broken_rules();
        if !errors.is_empty() {
            return Err(AdminError::Invalid(errors));
        }
        let user = patch.applied_to(self.user(id).await?);
        let (given, family) = (user.given_name.as_deref(), user.family_name.as_deref());
        if !self.users.set_names(id, given, family).await.map_err(Outage::from)? {
            return Err(AdminError::NoSuchUser);
        }
        self.audit(Event::by(Kind::UserChanged, by).about(id)).await;
        Ok(user)
    }

    /// Deletes a user with everything that is theirs, and ends their sessions. The audit log keeps what it has.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn delete_user(&self, id: UserId, by: &Actor) -> Result<(), AdminError> {
        let _held = self.keep_an_administrator(id, by).await?;
        let now = self.now();
        let ending = self.ending(now, vec![self.everything_before(id, now)]);
        let deleted = self.sessions.delete_user(id, &ending).await.map_err(Outage::from)?;
        self.publish(&deleted.ok_or(AdminError::NoSuchUser)?).await?;
        self.audit(Event::by(Kind::UserDeleted, by).about(id)).await;
        Ok(())
    }

    /// Refuses what would leave nobody to administer over the API. Until the guard is dropped no other administrator
    /// can be taken away in this process; two on different replicas who remove each other in the same instant are
    /// helped by the command line, which is refused nothing.
    pub(super) async fn keep_an_administrator(&self, id: UserId, by: &Actor) -> Result<Option<MutexGuard<'_, ()>>, AdminError> {
        if by.is_operator() {
            return Ok(None);
        }
        let held = self.administrators.lock().await;
        let role = &self.settings.admin_role;
        let user = self.user(id).await?;
        let is_administrator = user.disabled_at.is_none() && user.roles.contains(role);
        if is_administrator && !self.users.another_may(id, role).await.map_err(Outage::from)? {
            return Err(AdminError::LastAdministrator);
        }
        Ok(Some(held))
    }

    /// Checks an account of another system by every rule but those for passwords, which nobody can check on a hash.
    ///
    /// # Errors
    /// All rules that are broken.
    pub fn foreign_user(&self, foreign: &ForeignAccount) -> Result<NewUser, Vec<FieldError>> {
        let mut errors = Vec::new();
        let now = self.now();
        let mut user = self.described(&foreign.account, |_| true, now, &mut errors);
        user.email_verified_at = user.email.as_ref().filter(|_| foreign.email_verified).map(|_| now);
        if foreign.email_verified && foreign.account.email.is_none() {
            errors.push(FieldError::new("email_verified", "needs an email"));
        }
        let password = PasswordHash::parse(foreign.password_hash.expose_secret());
        let password = password.map_err(|rule| errors.push(FieldError::new("password_hash", rule))).ok();
        password.filter(|_| errors.is_empty()).map(|password| NewUser { user, password }).ok_or(errors)
    }

    /// Adds users of another system. One outcome for each that was tried, in order; an outage ends it.
    pub async fn import_users(&self, users: &[NewUser], by: &Actor) -> Vec<Result<(), RegisterError>> {
        let outcomes = self.users.import(users).await;
        for (new, _) in users.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()) {
            let event = Event::by(Kind::UserImported, by).about(new.user.id);
            self.audit(event.with("roles", words(&new.user.roles))).await;
        }
        outcomes.into_iter().map(|outcome| outcome.map_err(RegisterError::from)).collect()
    }
}

impl NamesPatch {
    /// The rules that the new names break.
    pub(super) fn broken_rules(&self) -> Vec<FieldError> {
        let names = [("given_name", &self.given_name), ("family_name", &self.family_name)];
        let typed = names.into_iter().filter_map(|(field, change)| Some((field, change.as_ref()?.as_ref()?)));
        typed.filter_map(|(field, typed)| Some(FieldError::new(field, display_name(typed).err()?))).collect()
    }

    /// The user with the new names.
    pub(super) fn applied_to(self, user: User) -> User {
        User {
            given_name: self.given_name.unwrap_or(user.given_name),
            family_name: self.family_name.unwrap_or(user.family_name),
            ..user
        }
    }
}
