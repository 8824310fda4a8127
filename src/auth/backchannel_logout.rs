//! Another issuer says that somebody is signed out there (OpenID Connect Back-Channel Logout 1.0): whatever its tokens open
//! here ends, with the promise of every other ending.
//!
//! The token is verified before anything is counted, and only what is refused counts: nobody can use up what the issuer has.

use crate::identity::access_token::TokenError;
use crate::identity::foreign_token::Logout;
use crate::issuers::IssuerOutage;
use crate::issuers::logout::{LogoutEnd, LogoutReceiver};
use crate::store::{Covers, Revocation};

use super::audit::{Event, Kind, Outcome};
use super::outage::Outage;
use super::throttle::{Kind as Attempted, Throttled};
use super::{Auth, Origin};

/// Why nothing is known to have ended.
#[derive(Debug, thiserror::Error)]
pub enum BackchannelLogoutError {
    /// It is no logout token of the issuer for this gateway.
    #[error("the logout token is not accepted: {0}")]
    Refused(TokenError),
    /// Too many that were not accepted came from this network.
    #[error(transparent)]
    Throttled(#[from] Throttled),
    /// Whether it is one cannot be said: the issuer's keys are not known, or it may have new ones.
    #[error(transparent)]
    Keys(#[from] IssuerOutage),
    /// It could not be made true everywhere. Sending it again is safe.
    #[error(transparent)]
    Outage(#[from] Outage),
}

impl BackchannelLogoutError {
    const fn end(&self) -> LogoutEnd {
        match self {
            Self::Refused(_) => LogoutEnd::Refused,
            Self::Throttled(_) => LogoutEnd::Throttled,
            Self::Keys(_) | Self::Outage(_) => LogoutEnd::Unavailable,
        }
    }
}

impl Auth {
    /// Ends what a logout token names. Idempotent: a token that comes again ends nothing that began after it, and the
    /// repetition of one that could only be recorded makes it true.
    ///
    /// # Errors
    /// See [`BackchannelLogoutError`].
    pub async fn backchannel_logout(
        &self,
        at: &LogoutReceiver,
        token: &str,
        from: &Origin,
    ) -> Result<(), BackchannelLogoutError> {
        let ended = self.take_logout(at, token, from).await;
        at.count(match &ended {
            Ok(end) => *end,
            Err(error) => error.end(),
        });
        ended.map(drop)
    }

    async fn take_logout(&self, at: &LogoutReceiver, token: &str, from: &Origin) -> Result<LogoutEnd, BackchannelLogoutError> {
        let logout = match at.verify(token, self.now())? {
            Ok(logout) => logout,
            Err(error) => self.doubt_logout(at, token, error, from).await?,
        };
        if self.clients.assertion_was_used(&logout.id).await.map_err(Outage::from)? {
            return Ok(LogoutEnd::Repeated);
        }
        let records = self.ended_by(&logout, at);
        self.revocations.record(&records).await.map_err(Outage::from)?;
        self.publish(&records).await?;
        // Last: a token of which not everything is true yet must do its work when it comes again.
        let first = self.clients.use_assertion(&logout.id, logout.forgotten_at).await.map_err(Outage::from)?;
        if !first {
            // It came twice at the same time.
            return Ok(LogoutEnd::Repeated);
        }
        let event = Event::new(Kind::BackchannelLogout, Outcome::Success, from).with("issuer", &*at.policy().issuer);
        let ended =
            [("session", logout.session.map(|id| id.to_string())), ("subject", logout.subject.as_deref().map(str::to_owned))];
        let ended = ended.into_iter().filter_map(|(name, id)| Some((name, id?)));
        self.audit(ended.fold(event, |event, (name, id)| event.with(name, id))).await;
        Ok(if logout.subject.is_some() { LogoutEnd::Subject } else { LogoutEnd::Session })
    }

    fn ended_by(&self, logout: &Logout, at: &LogoutReceiver) -> Vec<Revocation> {
        let policy = at.policy();
        let expires_at = self.foreign_until(policy);
        let session = logout.session.map(Covers::Session);
        let subject = logout.subject.clone().map(|subject| Covers::Principal {
            issuer: (*policy.issuer).into(),
            subject,
            before: logout.not_before(),
        });
        session.into_iter().chain(subject).map(|covers| Revocation { covers, expires_at }).collect()
    }

    /// What becomes of a token that breaks a rule: counted against where it came from, and looked at once more where the
    /// issuer may have a key since that is not known.
    async fn doubt_logout(
        &self,
        at: &LogoutReceiver,
        token: &str,
        error: TokenError,
        from: &Origin,
    ) -> Result<Logout, BackchannelLogoutError> {
        let attempt = self.throttle.check_network(Attempted::LogoutToken, from.address).await?;
        let verified = match error {
            TokenError::UnknownKey => {
                // Counted even if nobody answers: made-up key ids must not hold any number of requests open.
                at.look_for_keys().await?;
                at.verify(token, self.now())?
            }
            error => Err(error),
        };
        match verified {
            Ok(logout) => {
                attempt.give_back().await;
                Ok(logout)
            }
            Err(error) => {
                attempt.failed();
                let why = error.reason_detail();
                tracing::warn!(issuer = at.name(), why, "a logout token is not accepted: its subject stays signed in here");
                let event = Event::new(Kind::BackchannelLogout, Outcome::Failure, from);
                self.audit(event.with("issuer", &*at.policy().issuer).with("why", why)).await;
                Err(BackchannelLogoutError::Refused(error))
            }
        }
    }
}
