//! The port for one-time tokens: issued, redeemed for a ticket, spent. Each step is taken by one caller only.

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::{Ending, NewUser, Revocation, StoreError};
use crate::identity::one_time_token::{OneTimeKind, OneTimeToken, TokenHash};
use crate::identity::password::PasswordHash;
use crate::identity::user::{Email, UserId};

/// A one-time token that is to be issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOneTimeToken {
    /// Identifier, for lists and logs. Not a secret.
    pub id: Uuid,
    /// What it is good for.
    pub kind: OneTimeKind,
    /// SHA-256 of the token.
    pub token_hash: TokenHash,
    /// Whom it is for, if they are registered.
    pub user: Option<UserId>,
    /// The address it is sent to, or that it invites.
    pub email: Option<Email>,
    /// What goes with it, as JSON; at most 64 KiB.
    pub metadata: String,
    /// Who issues it, where a user does.
    pub created_by: Option<UserId>,
    /// When it is issued.
    pub created_at: Timestamp,
    /// From when on it cannot be redeemed any more.
    pub expires_at: Timestamp,
}

/// One-time tokens, known by the hashes of their secrets.
///
/// What cannot be redeemed or spent gives `None`, whatever the reason: unknown, expired, used, killed, of another
/// kind. Callers give one answer to all of them.
#[async_trait]
pub trait OneTimeTokens: Send + Sync {
    /// Issues a token. In the same transaction every older one of its kind for the same user (or, for nobody
    /// registered, the same address) dies, redeemed or not, unless it is spent. A token for neither kills nothing.
    /// False, and nothing is issued, if its user is gone.
    async fn issue(&self, new: &NewOneTimeToken) -> Result<bool, StoreError>;
    /// The token with this hash, in whatever state. Changes nothing.
    async fn find(&self, token: &TokenHash) -> Result<Option<OneTimeToken>, StoreError>;
    /// Redeems a token at `at` for the ticket whose hash is `ticket`. Of many callers at once one succeeds.
    async fn redeem(
        &self,
        token: &TokenHash,
        ticket: &TokenHash,
        ticket_expires_at: Timestamp,
        at: Timestamp,
    ) -> Result<Option<OneTimeToken>, StoreError>;
    /// The token that was redeemed for this ticket, in whatever state. Changes nothing.
    async fn by_ticket(&self, ticket: &TokenHash) -> Result<Option<OneTimeToken>, StoreError>;
    /// Spends a ticket of this kind. Of many callers at once one succeeds.
    async fn spend(&self, ticket: &TokenHash, kind: OneTimeKind, at: Timestamp) -> Result<Option<OneTimeToken>, StoreError>;
    /// Spends the ticket of a password reset at `ending.at`, replaces its user's password and ends all their sessions,
    /// in one transaction. Like every ending it returns what must be published before it is acknowledged.
    async fn spend_reset(
        &self,
        ticket: &TokenHash,
        password: &PasswordHash,
        ending: &Ending,
    ) -> Result<Option<(UserId, Vec<Revocation>)>, StoreError>;
    /// Spends the ticket of an invitation and adds its user, in one transaction: a [`StoreError::Conflict`] leaves
    /// the invitation good for another name.
    async fn spend_invitation(
        &self,
        ticket: &TokenHash,
        new: &NewUser,
        at: Timestamp,
    ) -> Result<Option<OneTimeToken>, StoreError>;
    /// Kills what a user has of this kind and has not spent; returns how many.
    async fn kill(&self, user: UserId, kind: OneTimeKind) -> Result<u64, StoreError>;
    /// Forgets tokens that expired before `before`, and their tickets with them, at most `limit`; returns how many.
    async fn purge(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;
}
