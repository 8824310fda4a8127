//! The port for clients: programs that sign in as themselves (RFC 6749 §4.4).

use std::collections::BTreeSet;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Ending, Page, Revocation, StoreError};
use crate::identity::one_time_token::TokenHash;
use crate::identity::user::Role;

/// A client as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// `client_id`, at most 128 bytes; compared byte by byte.
    pub id: String,
    /// What people call it, at most 128 bytes.
    pub name: String,
    /// SHA-256 of its secret, if it has one.
    pub secret_hash: Option<TokenHash>,
    /// Its public keys for `private_key_jwt` (RFC 7523), a JWK set as JSON; at most 64 KiB.
    pub public_keys: Option<String>,
    /// What it may ask for (RFC 6749 §3.3: without white space).
    pub scopes: Vec<String>,
    /// What its tokens may do.
    pub roles: BTreeSet<Role>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// Set while it is refused.
    pub disabled_at: Option<Timestamp>,
}

/// Clients, and the assertions they have used.
#[async_trait]
pub trait Clients: Send + Sync {
    /// Registers a client; [`StoreError::Conflict`] if its id is taken.
    async fn add(&self, client: &Client) -> Result<(), StoreError>;
    /// The client with this id.
    async fn find(&self, id: &str) -> Result<Option<Client>, StoreError>;
    /// A page of clients, ascending by the bytes of their ids.
    async fn list(&self, page: Page<&str>) -> Result<Vec<Client>, StoreError>;
    /// Disables a client at `ending.at` and writes the revocations of `ending`, in one transaction; or enables it and
    /// writes nothing. `None` if there is no such client.
    async fn set_disabled(&self, id: &str, disabled: bool, ending: &Ending) -> Result<Option<Vec<Revocation>>, StoreError>;
    /// Forgets a client and writes the revocations of `ending`, in one transaction. `None` if there is no such client.
    async fn delete(&self, id: &str, ending: &Ending) -> Result<Option<Vec<Revocation>>, StoreError>;
    /// Remembers that an assertion was used (RFC 7523 §3: its `jti` is good once); false if it had been. `assertion` is a
    /// SHA-256 over client and `jti`; what expired by `expires_at` may be forgotten.
    async fn use_assertion(&self, assertion: &TokenHash, expires_at: Timestamp) -> Result<bool, StoreError>;
    /// Whether [`Self::use_assertion`] was told so. Also of the logout tokens of other issuers, which are good once, too.
    async fn assertion_was_used(&self, assertion: &TokenHash) -> Result<bool, StoreError>;
    /// Forgets assertions that expired before `before`, at most `limit`; returns how many.
    async fn purge_assertions(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;
}
