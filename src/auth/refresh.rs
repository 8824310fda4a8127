//! Refresh: the current refresh token for its successor, exactly one of them, however many ask at once.
//!
//! The rotation is a compare-and-swap on the session's generation. Whoever loses it reads again and finds itself
//! the holder of the predecessor within the grace window: it is handed the winner's successor, which is computed
//! and so the same. A token from further back is a copy in someone else's hands (RFC 9700 §4.14.2): the session ends.
//!
//! Under terms that do not rotate, the refresh token stays good and its life begins anew.

use jiff::Timestamp;

use crate::identity::refresh_token::{PresentedRefreshToken, RefreshRefusal, Rotation};
use crate::identity::session::{Session, SessionId};
use crate::identity::user::User;
use crate::store::{Advance, Covers, Revocation, StoreError};

use super::audit::{Event, Kind, Outcome};
use super::outage::Outage;
use super::terms::{Renewal, SessionTerms};
use super::tokens::Tokens;
use super::{Auth, Origin};

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
pub(super) const ATTEMPTS_MAX: usize = 8;

impl Auth {
    /// Exchanges a refresh token for the next pair.
    ///
    /// # Errors
    /// See [`RefreshError`].
    pub async fn refresh(&self, token: &str, from: &Origin) -> Result<Tokens, RefreshError> {
        self.refresh_under(&self.settings.terms(), token, from).await
    }

    /// Exchanges a refresh token for what other terms than the gateway's own give.
    ///
    /// # Errors
    /// See [`RefreshError`]. A token that rotates is [`RefreshError::Forged`] where none does: there its use by a thief
    /// would leave no trace.
    pub async fn refresh_under(&self, terms: &SessionTerms, token: &str, from: &Origin) -> Result<Tokens, RefreshError> {
        let presented = PresentedRefreshToken::parse(token)?;
        for _ in 0..ATTEMPTS_MAX {
            let session = self.sessions.find(presented.session()).await.map_err(Outage::from)?.ok_or(RefreshError::Forged)?;
            // After the read: a rotation that it shows cannot lie in the future of this instant.
            let now = self.now();
            match presented.decide(&self.refresh_key, &session, now, self.settings.rotation_grace)? {
                Rotation::Reuse => {
                    self.revoke_access(terms, &session, now).await?;
                    self.end(session.id).await?;
                    let event = Event::new(Kind::RefreshReused, Outcome::Failure, from);
                    self.audit(event.about(session.user).within(session.id)).await;
                    return Err(RefreshError::Reused(session.id));
                }
                Rotation::Advance { .. } if terms.renewal == Renewal::Stand => {
                    if !presented.stands(&self.refresh_key, &session) {
                        return Err(RefreshError::Forged);
                    }
                    if let Some(tokens) = self.renew(terms, &session, now).await? {
                        return Ok(tokens);
                    }
                }
                // It rotated elsewhere, under other terms: what came of it cannot be told here.
                Rotation::Repeat if terms.renewal == Renewal::Stand => return Err(RefreshError::Ended),
                Rotation::Advance { to } => {
                    let advanced = advanced(terms, &session, to, now);
                    let user = self.holder(&session).await?;
                    // Before the swap: if it fails, the client still has its refresh token to try again with.
                    self.revoke_access(terms, &session, now).await?;
                    if self.swap(&session, &advanced).await? {
                        return Ok(self.issue(terms, &user, &advanced, now)?);
                    }
                }
                Rotation::Repeat => {
                    let user = self.holder(&session).await?;
                    return Ok(self.issue(terms, &user, &session, now)?);
                }
            }
        }
        let source = "the session's generation changed under every attempt".into();
        Err(Outage::from(StoreError::Unavailable { store: "sql", source }).into())
    }

    /// The user of a session, who may not be disabled: disabling ends sessions, and this holds where a session
    /// was missed, too.
    pub(super) async fn holder(&self, session: &Session) -> Result<User, RefreshError> {
        let user = self.users.find(session.user).await.map_err(Outage::from)?;
        user.filter(|user| user.disabled_at.is_none()).ok_or(RefreshError::Ended)
    }

    /// Lets the refresh token's life begin anew, with another access token; none if the session ended meanwhile.
    async fn renew(&self, terms: &SessionTerms, session: &Session, now: Timestamp) -> Result<Option<Tokens>, RefreshError> {
        let user = self.holder(session).await?;
        let (jti, until) = (self.random_id(), (now + terms.refresh_token).min(session.ends_at));
        if !self.sessions.touch(session.id, until, now, jti).await.map_err(Outage::from)? {
            return Ok(None);
        }
        let session = Session { refresh_expires_at: until.max(session.refresh_expires_at), ..session.clone() };
        Ok(Some(self.issue_as(terms, &user, &session, (jti, now), now)?))
    }

    /// Revokes the access token of the session's current generation where a refresh does that.
    async fn revoke_access(&self, terms: &SessionTerms, session: &Session, now: Timestamp) -> Result<(), Outage> {
        if terms.renewal != (Renewal::Rotate { revokes_access: true }) {
            return Ok(());
        }
        let covers = Covers::Token(self.current_jti(session).to_string().into());
        let revocation = [Revocation { covers, expires_at: self.access_until(now.max(session.rotated_at)) }];
        self.revocations.record(&revocation).await?;
        self.publish(&revocation).await
    }

    pub(super) async fn swap(&self, from: &Session, to: &Session) -> Result<bool, Outage> {
        let advance = Advance {
            session: from.id,
            from: from.generation,
            to: to.generation,
            jti: self.refresh_key.access_token_id(to.id, to.generation, &to.nonce),
            at: to.rotated_at,
            refresh_expires_at: to.refresh_expires_at,
            authenticated_at: (to.authenticated_at != from.authenticated_at).then_some(to.authenticated_at),
        };
        Ok(self.sessions.advance(&advance).await?)
    }
}

/// The session one generation on.
pub(super) fn advanced(terms: &SessionTerms, session: &Session, to: u32, now: Timestamp) -> Session {
    Session {
        generation: to,
        rotated_at: now,
        refresh_expires_at: (now + terms.refresh_token).min(session.ends_at),
        ..session.clone()
    }
}
