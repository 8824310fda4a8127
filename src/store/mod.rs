//! REMEMBER: what the rest of the gateway asks of a store, as traits, and the adapters that answer.
//!
//! Every method takes its instants as arguments: no adapter reads a clock, and no SQL uses `now()`. What a
//! method acknowledges is durable. Callers decide on [`StoreError`]'s kind and never see a database's type.
//! Instants are kept to the millisecond.

pub mod backoff;
pub mod key_file;
pub mod memory;
pub mod redis;
pub mod sql;

use std::collections::BTreeSet;
use std::error::Error;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use crate::identity::TokenFacts;
use crate::identity::password::PasswordHash;
use crate::identity::session::{Session, SessionId};
use crate::identity::user::{LoginName, Role, User, UserId};

/// What went wrong in a store, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not reachable, too slow, or full. Trying later may work.
    #[error("the {store} store is unavailable")]
    Unavailable {
        /// Which store: `sql`, `redis` or `memory`.
        store: &'static str,
        /// The driver's own error, for the log.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A uniqueness rule refused the write.
    #[error("{0} is taken")]
    Conflict(Unique),
    /// A row does not mean what this version expects; retrying cannot help.
    #[error("the {store} store holds data this version cannot read: {what}")]
    Corrupt {
        /// Which store.
        store: &'static str,
        /// Which row or value, without secrets.
        what: String,
    },
}

/// What must be unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unique {
    /// A user's canonical name.
    Username,
    /// A user's canonical address.
    Email,
}

impl std::fmt::Display for Unique {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Username => "the username",
            Self::Email => "the email",
        })
    }
}

/// One revocation as SQL remembers it and Redis publishes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// What is revoked.
    pub covers: Covers,
    /// When the record may be forgotten: every token it covers has expired by then, skew included.
    pub expires_at: Timestamp,
}

/// What a revocation covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Covers {
    /// One access token, by its `jti` (UUID text for our own tokens).
    Token(Box<str>),
    /// Every access token of a session.
    Session(SessionId),
    /// Every token of a subject issued (JWT `iat`) before an instant.
    Principal {
        /// JWT `iss`.
        issuer: Box<str>,
        /// JWT `sub`.
        subject: Box<str>,
        /// Tokens with `iat` strictly before this are revoked.
        before: Timestamp,
    },
}

/// Which kind of record a revoked token was found under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevokedBy {
    /// Its own `jti`.
    Token,
    /// Its session.
    Session,
    /// All of its subject's tokens up to an instant.
    Principal,
}

/// A user as it is registered, with the hash that never leaves the store except to be verified.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// The user.
    pub user: User,
    /// The password's hash.
    pub password: PasswordHash,
}

/// One page of a listing, in ascending order of id.
#[derive(Debug, Clone, Copy)]
pub struct Page<Id> {
    /// Only rows after this id.
    pub after: Option<Id>,
    /// At most this many rows.
    pub limit: u32,
}

/// Users and their password hashes.
#[async_trait]
pub trait Users: Send + Sync {
    /// Adds a user; [`StoreError::Conflict`] if its name or address is taken in any case.
    async fn add(&self, new: &NewUser) -> Result<(), StoreError>;
    /// The user with this id.
    async fn find(&self, id: UserId) -> Result<Option<User>, StoreError>;
    /// The user with this name or address, compared in canonical form, and their hash.
    async fn find_by_login(&self, login: &LoginName) -> Result<Option<(User, PasswordHash)>, StoreError>;
    /// The hash of this user's password.
    async fn password(&self, id: UserId) -> Result<Option<PasswordHash>, StoreError>;
    /// A page of users.
    async fn list(&self, page: Page<UserId>) -> Result<Vec<User>, StoreError>;
    /// Replaces the hash if it still equals `expected`; false if it changed meanwhile (an upgrade must not undo a change).
    async fn upgrade_password(&self, id: UserId, expected: &PasswordHash, upgraded: &PasswordHash) -> Result<bool, StoreError>;
    /// Replaces the roles; false if there is no such user.
    async fn set_roles(&self, id: UserId, roles: &BTreeSet<Role>) -> Result<bool, StoreError>;
    /// Changes the profile names; false if there is no such user.
    async fn set_names(&self, id: UserId, given_name: Option<&str>, family_name: Option<&str>) -> Result<bool, StoreError>;
}

/// How sessions end. Only the store knows, inside its transaction, which sessions end, so it writes their
/// revocations itself: a list made by the caller beforehand would miss a login that commits in between.
#[derive(Debug, Clone)]
pub struct Ending {
    /// When.
    pub at: Timestamp,
    /// When the last access token that may exist of a session ended now has expired, skew included: how long the
    /// revocations of the ended sessions are kept.
    pub access_until: Timestamp,
    /// Further records to write in the same transaction, such as a [`Covers::Principal`].
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
}

/// Sessions and their refresh chains.
///
/// Every ending writes its revocations in the same transaction and returns all of them: they must be published to
/// the [`RevokedSet`] before the ending is acknowledged to anyone.
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
    /// Ends one session. Idempotent: its revocation is (re)written even if it had ended or is no longer remembered.
    async fn end(&self, id: SessionId, ending: &Ending) -> Result<Vec<Revocation>, StoreError>;
    /// Ends all of a user's sessions except one, and refuses those whose login began before `ending.at`.
    async fn end_all(&self, user: UserId, except: Option<SessionId>, ending: &Ending) -> Result<Vec<Revocation>, StoreError>;
    /// Replaces the password and does what [`Self::end_all`] does, in one transaction.
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
    /// Forgets sessions (and their chains) that ended or expired before `before`, at most `limit`; returns how many.
    async fn purge(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;
}

/// The record of revocations: what Redis or memory is rebuilt from.
#[async_trait]
pub trait RevocationLog: Send + Sync {
    /// Remembers revocations that end no session (a single token).
    async fn record(&self, revocations: &[Revocation]) -> Result<(), StoreError>;
    /// Unexpired revocations with a sequence number greater than `after`, ascending, at most `limit`.
    async fn unexpired(&self, now: Timestamp, after: i64, limit: u32) -> Result<Vec<(i64, Revocation)>, StoreError>;
    /// Forgets what expired before `before`, at most `limit`; returns how many.
    async fn purge(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;
}

/// The fast copy of the revoked set, asked on every proxied request: Redis, or this process' memory.
#[async_trait]
pub trait RevokedSet: Send + Sync {
    /// Whether any record covers the token. At most one round trip.
    ///
    /// An error means "not known", never "not revoked": also when the set has lost its contents.
    async fn lookup(&self, token: &TokenFacts) -> Result<Option<RevokedBy>, StoreError>;
    /// Whether a record that is not found now was not revoked: what `/readyz` asks. At most one round trip.
    async fn probe_completeness(&self) -> Result<(), StoreError> {
        Ok(())
    }
    /// Adds records, each with the rest of its life at `now`; durable as far as the set can be.
    async fn publish(&self, revocations: &[Revocation], now: Timestamp) -> Result<(), StoreError>;
    /// Begins a rebuild: after it, the set's owner publishes every unexpired record, then calls `finish_rebuild`.
    async fn begin_rebuild(&self) -> Result<RebuildTicket, StoreError>;
    /// Declares the set complete again. Fails if the set lost its contents once more since `begin_rebuild`.
    async fn finish_rebuild(&self, ticket: RebuildTicket) -> Result<(), StoreError>;
    /// Resolves when the set is known to have lost its contents (or never had them) and needs a rebuild.
    async fn needs_rebuild(&self);
    /// Frees what expired before `before`, for sets that do not do so by themselves.
    fn forget_expired(&self, before: Timestamp) {
        let _ = before;
    }
}

/// Names one rebuild of a [`RevokedSet`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuildTicket(pub String);

/// Whether a store answers, for `/readyz`.
#[async_trait]
pub trait Probe: Send + Sync {
    /// The name shown when it is missing: `sql`, `redis`.
    fn name(&self) -> &'static str;
    /// Asks the store the cheapest question it has.
    async fn probe(&self) -> Result<(), StoreError>;
}
