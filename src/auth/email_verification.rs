//! E-mail verification: a link by mail that proves, when it comes back, that the user reads this address' mail.
//! It proves nothing about an address that the user has had since.

use crate::identity::Caller;
use crate::identity::one_time_token::OneTimeKind;
use crate::mail::LetterKind;

use super::audit::{Event, Kind, Outcome};
use super::mail::{Enclosure, NotSent};
use super::one_time::{OneTimeError, Proof};
use super::outage::Outage;
use super::{Auth, Origin};

impl Auth {
    /// Sends the caller a link that verifies their address.
    ///
    /// # Errors
    /// See [`NotSent`].
    pub async fn send_verification(&self, caller: &Caller, enclosure: &Enclosure) -> Result<(), NotSent> {
        let (user, email) = self.addressee(caller).await?;
        if user.email_verified_at.is_some() {
            return Err(NotSent::Verified);
        }
        Ok(self.mail_token(LetterKind::EmailVerification, &user, &email, enclosure).await?)
    }

    /// Notes that the user whom `proof` was sent to reads the mail of that address.
    ///
    /// # Errors
    /// See [`OneTimeError`].
    pub async fn verify_email(&self, proof: Proof<'_>, from: &Origin) -> Result<(), OneTimeError> {
        self.guessed(from, |error| matches!(error, OneTimeError::Refused), self.verify_email_uncounted(proof, from)).await
    }

    async fn verify_email_uncounted(&self, proof: Proof<'_>, from: &Origin) -> Result<(), OneTimeError> {
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
        if !noted {
            return Err(OneTimeError::Refused);
        }
        let event = Event::new(Kind::EmailVerified, Outcome::Success, from).about(user);
        self.audit(event.actor(&user.to_string())).await;
        Ok(())
    }
}
