//! Revival: an access token that has expired passes together with the live refresh token of the same session, for
//! systems whose browsers send both and were promised so. Nothing is issued, and nothing else about the token may be wrong.

use std::sync::Arc;

use crate::identity::access_token;
use crate::identity::refresh_token::{PresentedRefreshToken, RefreshRefusal, Rotation};
use crate::identity::session::Session;
use crate::identity::user::User;
use crate::identity::{Caller, Kept, TokenFacts};
use crate::revocation::verdict::{CheckRevocation as _, UnknownWhy, Verdict};

use super::Auth;
use super::outage::Outage;

/// Why an access token that has expired stays so.
#[derive(Debug, thiserror::Error)]
pub enum ReviveError {
    /// The refresh token has nothing to do with it.
    #[error("the refresh token is not one of the access token's session")]
    NotItsSession,
    /// The session has ended or expired, or the access token was revoked while it lived.
    #[error("the session is over")]
    Over,
    /// Whether the access token was revoked is not known.
    #[error("whether the token has been revoked is not known")]
    Unknown(UnknownWhy),
    /// Not the caller's fault.
    #[error(transparent)]
    Outage(#[from] Outage),
}

impl Auth {
    /// The caller whom an expired access token spoke for, as they are registered now, if `refresh_token` proves that the
    /// session lives. Roles and names are those of now: nobody gets back what they lost since.
    ///
    /// # Errors
    /// See [`ReviveError`].
    pub async fn revive(&self, expired: &str, refresh_token: &str) -> Result<Arc<Caller>, ReviveError> {
        let caller = access_token::verify_at_any_time(expired, &self.ring.load(), &self.settings.tokens);
        let caller = caller.map_err(|_| ReviveError::NotItsSession)?;
        let session = self.live_session(&caller.token, refresh_token).await?;
        match self.revocations.check(&caller.token).await {
            Verdict::Live => {}
            Verdict::Revoked(_) => return Err(ReviveError::Over),
            Verdict::Unknown(why) => return Err(ReviveError::Unknown(why)),
        }
        let user = self.users.find(session.user).await.map_err(Outage::from)?;
        let user: User = user.filter(|user| user.disabled_at.is_none()).ok_or(ReviveError::Over)?;
        Ok(Arc::new(Caller { principal: self.principal(&user, &session), token: caller.token, kept: Kept::default() }))
    }

    async fn live_session(&self, token: &TokenFacts, refresh_token: &str) -> Result<Session, ReviveError> {
        let presented = PresentedRefreshToken::parse(refresh_token).map_err(|_| ReviveError::NotItsSession)?;
        if presented.session() != token.session {
            return Err(ReviveError::NotItsSession);
        }
        let session = self.sessions.find(presented.session()).await.map_err(Outage::from)?.ok_or(ReviveError::Over)?;
        match presented.decide(&self.refresh_key, &session, self.now(), self.settings.rotation_grace) {
            Ok(Rotation::Advance { .. } | Rotation::Repeat) => Ok(session),
            // An old one does not end the session here: a browser may have requests on the way when another tab refreshes.
            Ok(Rotation::Reuse) | Err(RefreshRefusal::Forged) => Err(ReviveError::NotItsSession),
            Err(RefreshRefusal::Ended | RefreshRefusal::Expired) => Err(ReviveError::Over),
        }
    }
}
