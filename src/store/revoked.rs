//! The ports for what was revoked: the record in SQL, and the fast copy that every proxied request asks.

use async_trait::async_trait;
use jiff::Timestamp;

use super::StoreError;
use crate::identity::TokenFacts;
use crate::identity::session::SessionId;

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
    /// Adds records that SQL remembers already and nobody waits for: what a rebuild reads. Followers of a feed are only told
    /// what is news.
    async fn restore(&self, revocations: &[Revocation], now: Timestamp) -> Result<(), StoreError> {
        self.publish(revocations, now).await
    }
    /// Has look-ups answered within the runtime that this is called in, so that a request's need not change threads.
    fn serve_here(&self) {}
    /// Begins a rebuild: after it, the set's owner restores every unexpired record, then calls `finish_rebuild`.
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
