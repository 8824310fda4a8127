//! Refresh: the current refresh token for its successor, exactly one of them, however many ask at once.
//!
//! The rotation is a compare-and-swap on the session's generation. Whoever loses it reads again and finds itself
//! the holder of the predecessor within the grace window: it is handed the winner's successor, which is computed
//! and so the same. A token from further back is a copy in someone else's hands (RFC 9700 §4.14.2): the session ends.

use jiff::Timestamp;

use crate::identity::refresh_token::{PresentedRefreshToken, RefreshRefusal, Rotation};
use crate::identity::session::{Session, SessionId};
use crate::identity::user::User;
use crate::store::{Advance, StoreError};

use super::Auth;
use super::outage::Outage;
use super::tokens::Tokens;

/// Why a refresh token gets no successor.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// Not a token of this gateway.
    #[error("not a refresh token of this gateway")]
    Forged,
    /// The token or its session reached its end.
    #[error("the refresh token has expired")]
    Expired,
    /// The session was ended, or its user disabled.
    #[error("the session has ended")]
    Ended,
    /// An old token of this session was used again: someone holds a copy. The session has been ended.
    #[error("a used refresh token of session {0} came back: the session has been ended")]
    Reused(SessionId),
    /// Not the caller's fault.
    #[error(transparent)]
    Outage(#[from] Outage),
}

impl From<RefreshRefusal> for RefreshError {
    fn from(refusal: RefreshRefusal) -> Self {
        match refusal {
            RefreshRefusal::Forged => Self::Forged,
            RefreshRefusal::Ended => Self::Ended,
            RefreshRefusal::Expired => Self::Expired,
        }
    }
}

/// A caller that loses the swap finds it decided at its next look. One that loses this often meets a store that
/// says "somebody else was first" and then shows no trace of it.
const ATTEMPTS_MAX: usize = 8;

impl Auth {
    /// Exchanges a refresh token for the next pair.
    ///
    /// # Errors
    /// See [`RefreshError`].
    pub async fn refresh(&self, token: &str) -> Result<Tokens, RefreshError> {
        let presented = PresentedRefreshToken::parse(token)?;
        for _ in 0..ATTEMPTS_MAX {
            let session = self.sessions.find(presented.session()).await.map_err(Outage::from)?.ok_or(RefreshError::Forged)?;
            // After the read: a rotation that it shows cannot lie in the future of this instant.
            let now = self.now();
            match presented.decide(&self.refresh_key, &session, now, self.settings.rotation_grace)? {
                Rotation::Advance { to } => {
                    let advanced = self.advanced(&session, to, now);
                    let user = self.holder(&session).await?;
                    if self.swap(&session, &advanced).await? {
                        return Ok(self.issue(&user, &advanced, now)?);
                    }
                }
                Rotation::Repeat => {
                    let user = self.holder(&session).await?;
                    return Ok(self.issue(&user, &session, now)?);
                }
                Rotation::Reuse => {
                    self.end(session.id).await?;
                    return Err(RefreshError::Reused(session.id));
                }
            }
        }
        let source = "the session's generation changed under every attempt".into();
        Err(Outage::from(StoreError::Unavailable { store: "sql", source }).into())
    }

    /// The user of a session, who may not be disabled: disabling ends sessions, and this holds where a session
    /// was missed, too.
    async fn holder(&self, session: &Session) -> Result<User, RefreshError> {
        let user = self.users.find(session.user).await.map_err(Outage::from)?;
        user.filter(|user| user.disabled_at.is_none()).ok_or(RefreshError::Ended)
    }

    /// The session one generation on.
    fn advanced(&self, session: &Session, to: u32, now: Timestamp) -> Session {
        Session {
            generation: to,
            rotated_at: now,
            refresh_expires_at: (now + self.settings.refresh_token).min(session.ends_at),
            ..session.clone()
        }
    }

    async fn swap(&self, from: &Session, to: &Session) -> Result<bool, Outage> {
        let advance = Advance {
            session: from.id,
            from: from.generation,
            to: to.generation,
            jti: self.refresh_key.access_token_id(to.id, to.generation, &to.nonce),
            at: to.rotated_at,
            refresh_expires_at: to.refresh_expires_at,
        };
        Ok(self.sessions.advance(&advance).await?)
    }
}
