//! Password reset, for who forgot the old one: a link by mail, then a new password and the end of every session.
//!
//! Asking is answered before anything is looked up. Resetting signs nobody in: the new password does.
//!
//! Anybody can register with somebody else's address, make API keys and wait until its owner takes the account over by
//! a reset. So the first reset of an account whose address was never proved ends its keys, too, and proves the address.

use std::sync::Arc;

use jiff::Timestamp;

use crate::identity::one_time_token::{OneTimeKind, OneTimeToken};
use crate::identity::user::{Email, LoginName, User, UserId, Username};
use crate::mail::{LetterKind, NoPostage};

use super::audit::{Actor, Event, Kind, Outcome};
use super::hashing::HashingError;
use super::mail::{Enclosure, NotMailed};
use super::one_time::Proof;
use super::outage::Outage;
use super::throttle::{self, Throttled};
use super::{Auth, FieldError, Origin};

/// Why a password was not reset.
#[derive(Debug, thiserror::Error)]
pub enum PasswordResetError {
    /// The new password breaks a rule. The token is as good as before.
    #[error("a field is invalid")]
    Invalid(Vec<FieldError>),
    /// The token or ticket is of no use. Never says why.
    #[error("the one-time token or ticket is not valid")]
    Refused,
    /// Too many of no use came from this network. Says nothing about this one.
    #[error(transparent)]
    Throttled(#[from] Throttled),
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
    /// Has a link sent to whoever forgot their password, after this has returned.
    ///
    /// # Errors
    /// The gateway sends no mail, or is asked for too much at once, or from this network: the same for everybody.
    pub async fn request_password_reset(
        self: &Arc<Self>,
        who: Forgetful,
        enclosure: Enclosure,
        from: Origin,
    ) -> Result<(), NotMailed> {
        if !self.mail.is_on() || self.link(LetterKind::PasswordReset, enclosure.link.as_ref()).is_none() {
            return Err(NoPostage::Off.into());
        }
        // Whether there was anybody to write to or not: few places wait for errands, and one network must not fill them.
        self.throttle.check_network(throttle::Kind::Mail, from.address).await?.failed();
        let auth = Arc::clone(self);
        let errand = async move {
            match auth.mail_password_reset(who, &enclosure, &from).await {
                Ok(()) | Err(NotMailed::NoPostage(NoPostage::TooMany | NoPostage::Off)) => {}
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "a password reset was not mailed"),
            }
        };
        Ok(self.errands.run(errand)?)
    }

    async fn mail_password_reset(&self, who: Forgetful, enclosure: &Enclosure, from: &Origin) -> Result<(), NotMailed> {
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
                self.mail_token(LetterKind::PasswordReset, &user, &email, enclosure).await?;
                self.audit(Event::new(Kind::PasswordResetRequested, Outcome::Success, from).about(user.id)).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Replaces the password of the user whom `proof` was sent to, and ends all their sessions, in one transaction. Their
    /// API keys end before it if they may be somebody else's.
    ///
    /// # Errors
    /// See [`PasswordResetError`].
    pub async fn reset_password(&self, proof: Proof<'_>, new: &str, from: &Origin) -> Result<(), PasswordResetError> {
        let is_guess = |error: &PasswordResetError| matches!(error, PasswordResetError::Refused);
        self.guessed(from, is_guess, self.reset_password_uncounted(proof, new, from)).await
    }

    async fn reset_password_uncounted(&self, proof: Proof<'_>, new: &str, from: &Origin) -> Result<(), PasswordResetError> {
        let found = self.examine(proof, OneTimeKind::PasswordReset).await?.ok_or(PasswordResetError::Refused)?;
        let user = self.user_of(&found.token).await?.ok_or(PasswordResetError::Refused)?;
        let names = [user.username.as_ref().map(Username::as_typed), user.email.as_ref().map(Email::as_typed)];
        let mut errors = Vec::new();
        let password = self.new_password("new_password", new, &names, &mut errors);
        let password = password.ok_or(PasswordResetError::Invalid(errors))?;
        let hash = match self.hashing.hash(password, self.random()).await {
            Err(HashingError::Refused(rule)) => {
                return Err(PasswordResetError::Invalid(vec![FieldError::new("new_password", rule)]));
            }
            hashed => hashed.map_err(Outage::from)?,
        };
        let now = self.now();
        self.redeem_found(&found, now).await?;
        let by = Actor::user(user.id, from);
        let unproved = user.email.as_ref().filter(|_| user.email_verified_at.is_none());
        if unproved.is_some() {
            // Before the token is spent: if this fails, it can be tried again.
            self.end_api_keys(user.id, &by).await?;
        }
        let ending = self.ending(now, vec![self.everything_before(user.id, now)]);
        let spent = self.one_time.spend_reset(&found.ticket, &hash, &ending).await.map_err(Outage::from)?;
        let (_, ended) = spent.ok_or(PasswordResetError::Refused)?;
        self.publish(&ended).await?;
        self.audit(Event::by(Kind::PasswordReset, &by).about(user.id)).await;
        if let Some(email) = unproved {
            // Again: until its sessions ended, whoever was there could make another.
            self.end_api_keys(user.id, &by).await?;
            self.note_proved(user.id, email, now, &by).await;
        }
        Ok(())
    }

    /// Notes that the user reads the mail of the address. The password is changed by now, whatever becomes of the note.
    async fn note_proved(&self, user: UserId, email: &Email, now: Timestamp, by: &Actor) {
        match self.users.set_email_verified(user, email, now).await {
            Ok(true) => self.audit(Event::by(Kind::EmailVerified, by).about(user)).await,
            Ok(false) => {}
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, %user, "an address that a password reset proved is not noted as verified");
            }
        }
    }

    /// The user whom a token was sent to, if they still have that address and may sign in.
    async fn user_of(&self, token: &OneTimeToken) -> Result<Option<User>, Outage> {
        let Some(user) = token.user else { return Ok(None) };
        let user = self.users.find(user).await?;
        let same = |user: &User| user.email.as_ref().map(Email::canonical) == token.email.as_ref().map(Email::canonical);
        Ok(user.filter(|user| same(user) && user.disabled_at.is_none()))
    }
}
