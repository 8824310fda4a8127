//! E-mail verification: a link by mail that proves, when it comes back, that the user reads this address' mail.
//! It proves nothing about an address that the user has had since.

use crate::dialect::Link;
use crate::identity::Caller;
use crate::identity::one_time_token::OneTimeKind;
use crate::mail::LetterKind;

use super::Auth;
use super::mail::NotMailed;
use super::one_time::{OneTimeError, Proof};
use super::outage::Outage;

/// Why no link was sent.
#[derive(Debug, thiserror::Error)]
pub enum SendVerificationError {
    /// The token's subject has no account here.
    #[error("there is no such user")]
    NotFound,
    /// The user has no address.
    #[error("the user has no e-mail address")]
    NoAddress,
    /// It is verified already.
    #[error("the e-mail address is verified already")]
    Verified,
    /// No letter was sent.
    #[error(transparent)]
    NotMailed(#[from] NotMailed),
}

impl From<Outage> for SendVerificationError {
    fn from(outage: Outage) -> Self {
        Self::NotMailed(outage.into())
    }
}

impl Auth {
    /// Sends the caller a link that verifies their address. `link` overrides the configured one.
    ///
    /// # Errors
    /// See [`SendVerificationError`].
    pub async fn send_verification(&self, caller: &Caller, link: Option<&Link>) -> Result<(), SendVerificationError> {
        let id = self.owner(caller).ok_or(SendVerificationError::NotFound)?;
        let user = self.users.find(id).await.map_err(Outage::from)?.ok_or(SendVerificationError::NotFound)?;
        let email = user.email.clone().ok_or(SendVerificationError::NoAddress)?;
        if user.email_verified_at.is_some() {
            return Err(SendVerificationError::Verified);
        }
        Ok(self.mail_token(LetterKind::EmailVerification, &user, &email, link).await?)
    }

    /// Notes that the user whom `proof` was sent to reads the mail of that address.
    ///
    /// # Errors
    /// See [`OneTimeError`].
    pub async fn verify_email(&self, proof: Proof<'_>) -> Result<(), OneTimeError> {
        let kind = OneTimeKind::EmailVerification;
        let found = self.examine(proof, kind).await?.ok_or(OneTimeError::Refused)?;
        let (Some(user), Some(email)) = (found.token.user, &found.token.email) else { return Err(OneTimeError::Refused) };
        let now = self.now();
        self.redeem_found(&found, now).await?;
        if self.one_time.spend(&found.ticket, kind, now).await.map_err(Outage::from)?.is_none() {
            return Err(OneTimeError::Refused);
        }
        // A fault between the two costs the user a link, not a wrong note.
        let noted = self.users.set_email_verified(user, email, now).await.map_err(Outage::from)?;
        if noted { Ok(()) } else { Err(OneTimeError::Refused) }
    }
}
