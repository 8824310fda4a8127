//! The port for API keys: long-lived secrets of a user's programs, known by their hash.

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::{Ending, Revocation, StoreError};
use crate::identity::one_time_token::TokenHash;
use crate::identity::user::UserId;

/// An API key as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Identifier; the `sid` of access tokens that are issued for the key, so that revoking it covers them.
    pub id: Uuid,
    /// Whose it is.
    pub user: UserId,
    /// What its owner calls it, at most 128 bytes.
    pub name: String,
    /// Its first characters, shown in lists so that its owner recognises it. At most 16 bytes.
    pub prefix: String,
    /// SHA-256 of the key.
    pub hash: TokenHash,
    /// What it may be used for (RFC 6749 §3.3: without white space).
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, about.
    pub last_used_at: Option<Timestamp>,
    /// Since when it is refused.
    pub revoked_at: Option<Timestamp>,
}

/// API keys.
#[async_trait]
pub trait ApiKeys: Send + Sync {
    /// Adds a key; false if its user is gone.
    async fn add(&self, key: &ApiKey) -> Result<bool, StoreError>;
    /// The key with this hash, revoked or expired or not.
    async fn find(&self, hash: &TokenHash) -> Result<Option<ApiKey>, StoreError>;
    /// The key with this id, revoked or expired or not.
    async fn find_by_id(&self, id: Uuid) -> Result<Option<ApiKey>, StoreError>;
    /// A user's keys, newest first, revoked and expired ones included.
    async fn list(&self, user: UserId) -> Result<Vec<ApiKey>, StoreError>;
    /// Revokes a user's key and, in the same transaction, writes the revocation of the tokens issued for it and those
    /// of `ending`. Idempotent: the records are (re)written if it was revoked before. `None` if the user has no such key.
    async fn revoke(&self, user: UserId, id: Uuid, ending: &Ending) -> Result<Option<Vec<Revocation>>, StoreError>;
    /// Remembers that a key was used at `at`; an instant earlier than the one remembered changes nothing.
    async fn touch(&self, id: Uuid, at: Timestamp) -> Result<(), StoreError>;
    /// Forgets keys that expired or were revoked before `before`, at most `limit`; returns how many.
    async fn purge(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;
}
