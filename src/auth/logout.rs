//! Logout: any genuine token of a session ends it, the expired ones included; and "everywhere".

use crate::identity::Caller;
use crate::identity::access_token;
use crate::identity::refresh_token::{PresentedRefreshToken, RefreshRefusal};
use crate::identity::session::SessionId;
use crate::identity::user::UserId;
use crate::store::{Covers, Revocation};

use super::audit::{Event, Kind, Outcome};
use super::outage::Outage;
use super::{Auth, Origin};

/// Why there was nothing to log out of.
#[derive(Debug, thiserror::Error)]
pub enum LogoutError {
    /// Not a token of this gateway.
    #[error("not a token of this gateway")]
    Forged,
    /// The session had ended, and is over now in any case.
    #[error("the session had ended")]
    Ended,
    /// Not the caller's fault.
    #[error(transparent)]
    Outage(#[from] Outage),
}

impl Auth {
    /// Ends the sessions that these tokens prove to belong to; there is nothing to end for tokens that are not ours,
    /// and that is success: logging out twice, or after everything has expired, is no error.
    ///
    /// # Errors
    /// The ending could not be made true everywhere. Trying again is safe.
    pub async fn logout(&self, access_token: Option<&str>, refresh_token: Option<&str>, from: &Origin) -> Result<(), Outage> {
        let by_access = access_token.and_then(|token| self.session_of_access_token(token));
        let by_refresh = match refresh_token {
            Some(token) => self.session_of_refresh_token(token).await?,
            None => None,
        };
        let by_refresh = by_refresh.map(|(session, user)| (session, user.to_string().into()));
        let other = by_refresh.filter(|(session, _)| by_access.as_ref().is_none_or(|(first, _)| first != session));
        for (session, subject) in by_access.into_iter().chain(other) {
            self.end(session).await?;
            // A token of an ended session stays genuine: what it can have written is bounded.
            if self.throttle.is_news("logout", &session.to_string()) {
                // A client's token names no user, and is its own session.
                let user = subject.parse().ok().map(UserId);
                let event = Event::new(Kind::Logout, Outcome::Success, from).about(user).within(session);
                self.audit(event.actor(&subject)).await;
            }
        }
        Ok(())
    }

    /// Ends the session that a token, access or refresh, proves to belong to, and says if there was none to end: for
    /// systems whose answer tells. The access token is also revoked by itself, for services that look up `jti` only.
    ///
    /// # Errors
    /// See [`LogoutError`].
    pub async fn logout_strictly(&self, token: &str, from: &Origin) -> Result<(), LogoutError> {
        let access = access_token::verify_at_any_time(token, &self.ring.load(), &self.settings.tokens).ok();
        let id = match &access {
            Some(caller) => Some(caller.principal.session),
            None => self.session_of_refresh_token(token).await?.map(|(session, _)| session),
        };
        let id = id.ok_or(LogoutError::Forged)?;
        let session = self.sessions.find(id).await.map_err(Outage::from)?;
        let now = self.now();
        let until = self.access_until(now);
        let token = access.map(|caller| Revocation { covers: Covers::Token(caller.token.jti), expires_at: until });
        let ending = self.ending(now, token.into_iter().collect());
        let ended = self.sessions.end(id, &ending).await.map_err(Outage::from)?;
        self.publish(&ended).await?;
        // Said last: what an earlier logout could only record was published by this one.
        let session = session.filter(|session| session.ended_at.is_none()).ok_or(LogoutError::Ended)?;
        let event = Event::new(Kind::Logout, Outcome::Success, from).about(session.user).within(id);
        self.audit(event.actor(&session.user.to_string())).await;
        Ok(())
    }

    /// Ends every session of the caller's user, this one included.
    ///
    /// # Errors
    /// The ending could not be made true everywhere. Trying again is safe.
    pub async fn logout_all(&self, caller: &Caller, from: &Origin) -> Result<(), Outage> {
        let Some(user) = self.owner(caller) else { return Ok(()) };
        let now = self.now();
        let ending = self.ending(now, vec![self.everything_before(user, now)]);
        let ended = self.sessions.end_all(user, None, &ending).await?;
        self.publish(&ended).await?;
        self.audit(Event::by_caller(Kind::LogoutAll, Outcome::Success, caller, from)).await;
        Ok(())
    }

    /// Ends one session. Idempotent: a retry publishes again what the first try could only record.
    pub(super) async fn end(&self, session: SessionId) -> Result<(), Outage> {
        let ended = self.sessions.end(session, &self.ending(self.now(), Vec::new())).await?;
        self.publish(&ended).await
    }

    /// The session of a genuinely signed access token, and its subject. Revoked ones count: the retry of a logout that was recorded
    /// but not published must publish it.
    fn session_of_access_token(&self, token: &str) -> Option<(SessionId, Box<str>)> {
        let caller = access_token::verify_at_any_time(token, &self.ring.load(), &self.settings.tokens).ok()?;
        Some((caller.principal.session, caller.principal.subject))
    }

    /// The session of a genuine refresh token, current or not, and its user.
    pub(super) async fn session_of_refresh_token(&self, token: &str) -> Result<Option<(SessionId, UserId)>, Outage> {
        let Ok(presented) = PresentedRefreshToken::parse(token) else { return Ok(None) };
        let Some(session) = self.sessions.find(presented.session()).await? else { return Ok(None) };
        let decided = presented.decide(&self.refresh_key, &session, self.now(), self.settings.rotation_grace);
        Ok(match decided {
            Ok(_) | Err(RefreshRefusal::Ended | RefreshRefusal::Expired) => Some((session.id, session.user)),
            Err(RefreshRefusal::Forged) => None,
        })
    }
}
