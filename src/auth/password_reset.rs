//! Password reset, for who forgot the old one: a link by mail, then a new password and the end of every session.
//!
//! Asking is answered before anything is looked up. Resetting signs nobody in: the new password does.

use std::sync::Arc;

use crate::dialect::Link;
use crate::identity::one_time_token::{OneTimeKind, OneTimeToken};
use crate::identity::user::{Email, LoginName, User, UserId};
use crate::mail::{LetterKind, NoPostage};

use super::hashing::HashingError;
use super::mail::NotMailed;
use super::one_time::Proof;
use super::outage::Outage;
use super::{Auth, FieldError};

/// Why a password was not reset.
#[derive(Debug, thiserror::Error)]
pub enum PasswordResetError {
    /// The new password breaks a rule. The token is as good as before.
    #[error("a field is invalid")]
    Invalid(Vec<FieldError>),
    /// The token or ticket is of no use. Never says why.
    #[error("the one-time token or ticket is not valid")]
    Refused,
    /// Not the caller's fault.
    #[error(transparent)]
    Outage(#[from] Outage),
}

/// Who forgot their password.
#[derive(Debug, Clone)]
pub enum Forgetful {
    /// Whoever has this address, as typed; it may be nobody's, or no address at all.
    Email(String),
    /// The user with this id.
    User(UserId),
}

impl Auth {
    /// Has a link sent to whoever forgot their password, after this has returned. `link` overrides the configured one.
    ///
    /// # Errors
    /// The gateway sends no mail, or is asked for too much at once: the same for everybody.
    pub fn request_password_reset(self: &Arc<Self>, who: Forgetful, link: Option<Link>) -> Result<(), NotMailed> {
        if !self.mail.is_on() || self.link(LetterKind::PasswordReset, link.as_ref()).is_none() {
            return Err(NoPostage::Off.into());
        }
        let auth = Arc::clone(self);
        let errand = async move {
            match auth.mail_password_reset(who, link.as_ref()).await {
                Ok(()) | Err(NotMailed::NoPostage(NoPostage::TooMany | NoPostage::Off)) => {}
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "a password reset was not mailed"),
            }
        };
        Ok(self.errands.run(errand)?)
    }

    async fn mail_password_reset(&self, who: Forgetful, link: Option<&Link>) -> Result<(), NotMailed> {
        let user = match who {
            Forgetful::User(id) => self.users.find(id).await.map_err(Outage::from)?,
            Forgetful::Email(typed) => match Email::parse(&typed) {
                Ok(email) => {
                    self.users.find_by_login(&LoginName::Email(email)).await.map_err(Outage::from)?.map(|(user, _)| user)
                }
                Err(_) => None,
            },
        };
        match user {
            Some(user @ User { disabled_at: None, email: Some(_), .. }) => {
                let email = user.email.clone().expect("the pattern says so");
                self.mail_token(LetterKind::PasswordReset, &user, &email, link).await
            }
            _ => Ok(()),
        }
    }

    /// Replaces the password of the user whom `proof` was sent to, and ends all their sessions, in one transaction.
    ///
    /// # Errors
    /// See [`PasswordResetError`].
    pub async fn reset_password(&self, proof: Proof<'_>, new: &str) -> Result<(), PasswordResetError> {
        let mut errors = Vec::new();
        let password = self.new_password("new_password", new, &mut errors);
        let found = self.examine(proof, OneTimeKind::PasswordReset).await?.ok_or(PasswordResetError::Refused)?;
        if !self.still_theirs(&found.token).await? {
            return Err(PasswordResetError::Refused);
        }
        let password = password.ok_or(PasswordResetError::Invalid(errors))?;
        let hash = match self.hashing.hash(password, self.random()).await {
            Err(HashingError::Refused(rule)) => {
                return Err(PasswordResetError::Invalid(vec![FieldError::new("new_password", rule)]));
            }
            hashed => hashed.map_err(Outage::from)?,
        };
        let now = self.now();
        self.redeem_found(&found, now).await?;
        let beside = found.token.user.map(|user| self.everything_before(user, now)).into_iter().collect();
        let spent = self.one_time.spend_reset(&found.ticket, &hash, &self.ending(now, beside)).await.map_err(Outage::from)?;
        let (_, ended) = spent.ok_or(PasswordResetError::Refused)?;
        Ok(self.publish(&ended).await?)
    }

    /// Whether the address that a token was sent to is still that of its user, and they may sign in.
    async fn still_theirs(&self, token: &OneTimeToken) -> Result<bool, Outage> {
        let Some(user) = token.user else { return Ok(false) };
        let Some(user) = self.users.find(user).await? else { return Ok(false) };
        let same = user.email.as_ref().map(Email::canonical) == token.email.as_ref().map(Email::canonical);
        Ok(same && user.disabled_at.is_none())
    }
}
