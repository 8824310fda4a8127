//! Step-up: the password again, within a session, or a link that was mailed to its user. The session stays; its next
//! tokens say when it was (`auth_time`), so that a route may ask for a recent proof (RFC 9470).

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

use crate::identity::Caller;
use crate::identity::one_time_token::OneTimeKind;
use crate::identity::password::Password;
use crate::identity::session::{Session, SessionId};
use crate::identity::user::UserId;
use crate::mail::LetterKind;
use crate::store::StoreError;

use super::audit::{Event, Kind, Outcome};
use super::mail::{Enclosure, NotSent};
use super::one_time::Proof;
use super::outage::Outage;
use super::refresh::{ATTEMPTS_MAX, RefreshError, advanced};
use super::throttle::Throttled;
use super::tokens::Tokens;
use super::{Auth, FieldError, Origin};

/// Why the session has no fresher tokens.
#[derive(Debug, thiserror::Error)]
pub enum ReauthenticateError {
    /// It cannot be anybody's password.
    #[error("a field is invalid")]
    Invalid(Vec<FieldError>),
    /// The password is wrong.
    #[error("the password is wrong")]
    Credentials,
    /// The one-time token or ticket is of no use, or somebody else's. Never says why.
    #[error("the one-time token or ticket is not valid")]
    Refused,
    /// The session has ended or expired, or its user is disabled.
    #[error("the session has ended")]
    Ended,
    /// Too many wrong ones in this session, or from this network.
    #[error(transparent)]
    Throttled(#[from] Throttled),
    /// Not the caller's fault.
    #[error(transparent)]
    Outage(#[from] Outage),
}

/// What shows that it is still the user who is signed in.
#[derive(Debug)]
pub enum Evidence<'a> {
    /// Their password.
    Password(&'a SecretString),
    /// A token that was mailed to them.
    Mailed(Proof<'a>),
}

impl Auth {
    /// Sends the caller a link that stands for their password, once.
    ///
    /// # Errors
    /// See [`NotSent`].
    pub async fn send_reauthentication(&self, caller: &Caller, enclosure: &Enclosure) -> Result<(), NotSent> {
        let (user, email) = self.addressee(caller).await?;
        Ok(self.mail_token(LetterKind::Reauthentication, &user, &email, enclosure).await?)
    }

    /// New tokens of the caller's session, for a fresh proof. The refresh token before is used by it.
    ///
    /// # Errors
    /// See [`ReauthenticateError`].
    pub async fn reauthenticate(
        &self,
        caller: &Caller,
        evidence: Evidence<'_>,
        from: &Origin,
    ) -> Result<Tokens, ReauthenticateError> {
        let user = self.owner(caller).ok_or(ReauthenticateError::Credentials)?;
        // Read before the evidence is examined: a login is no younger than the moment it began.
        let proved_at = self.now();
        let shown = match evidence {
            Evidence::Password(typed) => self.shows_password(caller, user, typed).await,
            Evidence::Mailed(proof) => {
                let is_guess = |error: &ReauthenticateError| matches!(error, ReauthenticateError::Refused);
                self.guessed(from, is_guess, self.shows_mail(user, proof, proved_at)).await
            }
        };
        if let Err(error @ (ReauthenticateError::Credentials | ReauthenticateError::Refused)) = shown {
            self.audit(Event::by_caller(Kind::Reauthenticated, Outcome::Failure, caller, from)).await;
            return Err(error);
        }
        shown?;
        let tokens = self.freshen(caller.principal.session, proved_at).await?;
        self.audit(Event::by_caller(Kind::Reauthenticated, Outcome::Success, caller, from)).await;
        Ok(tokens)
    }

    async fn shows_password(&self, caller: &Caller, user: UserId, typed: &SecretString) -> Result<(), ReauthenticateError> {
        let password = Password::new(typed.expose_secret());
        let password = password.map_err(|rule| ReauthenticateError::Invalid(vec![FieldError::new("password", rule)]))?;
        let proves = self.proves_password::<ReauthenticateError>(caller, user, password).await?;
        if proves { Ok(()) } else { Err(ReauthenticateError::Credentials) }
    }

    async fn shows_mail(&self, user: UserId, proof: Proof<'_>, now: Timestamp) -> Result<(), ReauthenticateError> {
        let kind = OneTimeKind::Reauthentication;
        let found = self.examine(proof, kind).await?.filter(|found| found.token.user == Some(user));
        let found = found.ok_or(ReauthenticateError::Refused)?;
        self.redeem_found(&found, now).await?;
        let spent = self.one_time.spend(&found.ticket, kind, now).await.map_err(Outage::from)?;
        spent.map(drop).ok_or(ReauthenticateError::Refused)
    }

    /// The next generation of a live session, whose user gave proof at `proved_at`.
    async fn freshen(&self, id: SessionId, proved_at: Timestamp) -> Result<Tokens, ReauthenticateError> {
        let terms = self.terms();
        for _ in 0..ATTEMPTS_MAX {
            let session = self.sessions.find(id).await.map_err(Outage::from)?.ok_or(ReauthenticateError::Ended)?;
            let now = self.now();
            let is_live = session.ended_at.is_none() && session.ends_at.min(session.refresh_expires_at) > now;
            let to = session.generation.checked_add(1).filter(|_| is_live).ok_or(ReauthenticateError::Ended)?;
            let fresh = Session { authenticated_at: proved_at, ..advanced(&terms, &session, to, now) };
            let user = self.holder(&session).await.map_err(|error| match error {
                RefreshError::Outage(outage) => ReauthenticateError::Outage(outage),
                _ => ReauthenticateError::Ended,
            })?;
            // Lost to a refresh of the same session: its successor is the one to follow.
            if self.swap(&session, &fresh).await? {
                return Ok(self.issue(&terms, &user, &fresh, now)?);
            }
        }
        let source = "the session's generation changed under every attempt".into();
        Err(Outage::from(StoreError::Unavailable { store: "sql", source }).into())
    }
}
