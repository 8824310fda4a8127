//! The port for sessions and their refresh chains.

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::{Revocation, StoreError};
use crate::identity::password::PasswordHash;
use crate::identity::session::{Session, SessionId};
use crate::identity::user::UserId;

/// How sessions end. Only the store knows, inside its transaction, which sessions end, so it writes their
/// revocations itself: a list made by the caller beforehand would miss a login that commits in between.
#[derive(Debug, Clone)]
pub struct Ending {
    /// When.
    pub at: Timestamp,
    /// When the last access token that may exist of a session ended now has expired, skew included: how long the
    /// revocations of the ended sessions are kept.
    pub access_until: Timestamp,
    /// Further records to write in the same transaction, such as a [`Covers::Principal`](super::Covers::Principal).
    pub revocations: Vec<Revocation>,
}

/// What became of a session that was to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "no token may be issued for a session that was refused"]
pub enum Opening {
    /// It is open.
    Opened,
    /// The user is gone or disabled, or all their sessions were ended after this login began: its credentials may
    /// have been checked against a password that has been replaced since.
    Refused,
}

/// A compare-and-swap on a session's generation.
#[derive(Debug, Clone)]
pub struct Advance {
    /// Which session.
    pub session: SessionId,
    /// The generation it must still have.
    pub from: u32,
    /// The generation it then has: `from + 1`.
    pub to: u32,
    /// The `jti` of the access token issued with `to`.
    pub jti: Uuid,
    /// When.
    pub at: Timestamp,
    /// When the new refresh token expires.
    pub refresh_expires_at: Timestamp,
    /// When the password was given again, if that is the occasion.
    pub authenticated_at: Option<Timestamp>,
}

/// Sessions and their refresh chains.
///
/// Every ending writes its revocations in the same transaction and returns all of them: they must be published to
/// the [`RevokedSet`](super::RevokedSet) before the ending is acknowledged to anyone.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Opens a session at generation 0, whose access token is `jti`.
    ///
    /// `session.created_at` must have been read *before* the user was: logins that raced with [`Self::end_all`] and
    /// its like are recognised by it.
    async fn open(&self, session: &Session, jti: Uuid) -> Result<Opening, StoreError>;
    /// The session, ended or not.
    async fn find(&self, id: SessionId) -> Result<Option<Session>, StoreError>;
    /// A user's live sessions at `now`, newest first.
    async fn live(&self, user: UserId, now: Timestamp) -> Result<Vec<Session>, StoreError>;
    /// Moves the generation; false if another caller moved it first or the session has ended.
    async fn advance(&self, advance: &Advance) -> Result<bool, StoreError>;
    /// Slides a live session's expiry at `at`, for refresh tokens that are not rotated: its current generation stays
    /// and is good until `refresh_expires_at`, never for less than before. `jti` is the access token issued with it.
    /// False if the session has ended or expired.
    async fn touch(&self, id: SessionId, refresh_expires_at: Timestamp, at: Timestamp, jti: Uuid) -> Result<bool, StoreError>;
    /// Ends one session. Idempotent: its revocation is (re)written even if it had ended or is no longer remembered.
    async fn end(&self, id: SessionId, ending: &Ending) -> Result<Vec<Revocation>, StoreError>;
    /// Ends all of a user's sessions except one, and refuses those whose login began before `ending.at`.
    async fn end_all(&self, user: UserId, except: Option<SessionId>, ending: &Ending) -> Result<Vec<Revocation>, StoreError>;
    /// Replaces the password and does what [`Self::end_all`] does, in one transaction. The excepted session is one in which
    /// the old password has just been given.
    async fn change_password(
        &self,
        user: UserId,
        password: &PasswordHash,
        except: Option<SessionId>,
        ending: &Ending,
    ) -> Result<Vec<Revocation>, StoreError>;
    /// Disables a user and does what [`Self::end_all`] does, in one transaction; or enables a user and ends nothing.
    /// `None` if there is no such user.
    async fn set_disabled(&self, user: UserId, disabled: bool, ending: &Ending) -> Result<Option<Vec<Revocation>>, StoreError>;
    /// Deletes a user with their roles, sessions, one-time tokens and API keys, and writes the revocations of all
    /// sessions and API keys, in one transaction. `None` if there is no such user.
    async fn delete_user(&self, user: UserId, ending: &Ending) -> Result<Option<Vec<Revocation>>, StoreError>;
    /// Forgets sessions (and their chains) that ended or expired before `before`, at most `limit`; returns how many.
    async fn purge(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;
}
