//! Password change: by the user, who proves the old one. Every other session ends.

use std::sync::Arc;

use crate::identity::Caller;
use crate::identity::password::Password;
use crate::identity::user::UserId;

use super::audit::{self, Event, Outcome};
use super::hashing::HashingError;
use super::outage::Outage;
use super::throttle::{Kind, Throttled};
use super::{Auth, FieldError, Origin};

/// Why a password was not changed.
#[derive(Debug, thiserror::Error)]
pub enum PasswordChangeError {
    /// The new password, or either as typed, breaks a rule.
    #[error("a field is invalid")]
    Invalid(Vec<FieldError>),
    /// The current password is wrong.
    #[error("the current password is wrong")]
    Credentials,
    /// Too many wrong ones in this session.
    #[error(transparent)]
    Throttled(#[from] Throttled),
    /// Not the caller's fault.
    #[error(transparent)]
    Outage(#[from] Outage),
}

impl Auth {
    /// Replaces the caller's password and ends their other sessions, in one transaction.
    ///
    /// # Errors
    /// See [`PasswordChangeError`].
    pub async fn change_password(
        &self,
        caller: &Caller,
        current: &str,
        new: &str,
        from: &Origin,
    ) -> Result<(), PasswordChangeError> {
        let mut errors = Vec::new();
        let current = Password::new(current).map_err(|rule| errors.push(FieldError::new("current_password", rule))).ok();
        let names = [caller.principal.username.as_deref(), caller.principal.email.as_deref()];
        let new = self.new_password("new_password", new, &names, &mut errors);
        let (Some(current), Some(new)) = (current, new) else { return Err(PasswordChangeError::Invalid(errors)) };

        let user = self.owner(caller).ok_or(PasswordChangeError::Credentials)?;
        if !self.proves_password::<PasswordChangeError>(caller, user, current).await? {
            self.audit(Event::by_caller(audit::Kind::PasswordChanged, Outcome::Failure, caller, from)).await;
            return Err(PasswordChangeError::Credentials);
        }
        let hash = match self.hashing.hash(new, self.random()).await {
            Err(HashingError::Refused(rule)) => {
                return Err(PasswordChangeError::Invalid(vec![FieldError::new("new_password", rule)]));
            }
            hashed => hashed.map_err(Outage::from)?,
        };
        let ending = self.ending(self.now(), Vec::new());
        let ended =
            self.sessions.change_password(user, &hash, Some(caller.principal.session), &ending).await.map_err(Outage::from)?;
        self.publish(&ended).await?;
        self.audit(Event::by_caller(audit::Kind::PasswordChanged, Outcome::Success, caller, from)).await;
        Ok(())
    }

    /// Whether this is the password of the caller, who is `user`. Guesses are counted by session.
    pub(super) async fn proves_password<E: From<Throttled> + From<Outage>>(
        &self,
        caller: &Caller,
        user: UserId,
        typed: Password,
    ) -> Result<bool, E> {
        let attempt = self.throttle.check(Kind::Password, &caller.principal.session.to_string()).await?;
        let verified = async {
            let stored = self.users.password(user).await.map_err(Outage::from)?;
            self.hashing.verify(Arc::new(typed), stored).await.map_err(Outage::from)
        };
        let verified = verified.await;
        match &verified {
            Ok(false) => attempt.failed(),
            Ok(true) | Err(_) => attempt.give_back().await,
        }
        Ok(verified?)
    }

    /// A new password for a user with these names and addresses that keeps the rules; otherwise notes which it breaks.
    pub(super) fn new_password(
        &self,
        field: &'static str,
        typed: &str,
        names: &[Option<&str>],
        errors: &mut Vec<FieldError>,
    ) -> Option<Arc<Password>> {
        let names: Vec<&str> = names.iter().copied().flatten().collect();
        let policy = self.hashing.policy();
        let checked = Password::new(typed).and_then(|password| policy.check_for(&password, &names).map(|()| password));
        checked.map(Arc::new).map_err(|rule| errors.push(FieldError::new(field, rule))).ok()
    }
}
