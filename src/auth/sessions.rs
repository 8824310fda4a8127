//! The owner's list of devices, and the end of one of them.

use crate::identity::session::{Session, SessionId};
use crate::identity::user::UserId;
use crate::identity::{Caller, Credential};

use super::audit::{Event, Kind, Outcome};
use super::outage::Outage;
use super::{Auth, Origin};

/// Why a session was not ended.
#[derive(Debug, thiserror::Error)]
pub enum RevokeSessionError {
    /// The caller has no such session; whether anybody has is not said.
    #[error("there is no such session")]
    NotFound,
    /// Not the caller's fault.
    #[error(transparent)]
    Outage(#[from] Outage),
}

impl Auth {
    /// The caller's live sessions, newest first.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn live_sessions(&self, caller: &Caller) -> Result<Vec<Session>, Outage> {
        let Some(user) = self.owner(caller) else { return Ok(Vec::new()) };
        Ok(self.sessions.live(user, self.now()).await?)
    }

    /// Ends one of the caller's sessions. One that has ended already counts, so that a retry publishes what the
    /// first try could only record.
    ///
    /// # Errors
    /// See [`RevokeSessionError`].
    pub async fn revoke_session(&self, caller: &Caller, id: SessionId, from: &Origin) -> Result<(), RevokeSessionError> {
        let session = self.sessions.find(id).await.map_err(Outage::from)?;
        if session.is_none_or(|session| Some(session.user) != self.owner(caller)) {
            return Err(RevokeSessionError::NotFound);
        }
        self.end(id).await?;
        let event = Event::by_caller(Kind::SessionRevoked, Outcome::Success, caller, from);
        self.audit(event.with("revoked", id.to_string())).await;
        Ok(())
    }

    /// The user whom a caller's token names; none for callers vouched for by another issuer, who have no account
    /// here even if their subject happens to read like one of ours.
    pub(super) fn owner(&self, caller: &Caller) -> Option<UserId> {
        let principal = &caller.principal;
        // A client is no user, whatever it is called.
        let ours = principal.issuer == self.settings.tokens.issuer
            && !matches!(principal.credential, Credential::Client | Credential::Foreign);
        principal.subject.parse().ok().filter(|_| ours).map(UserId)
    }
}
