//! The port for the record of who did what: written by the use cases, read by administrators.

use std::net::IpAddr;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::{Page, StoreError};
use crate::identity::session::SessionId;
use crate::identity::user::UserId;

/// Something that happened to an account. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// A UUID of version 7 made at `at`, so that order of id is order of time.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// What: a word of a closed list, at most 64 bytes.
    pub kind: String,
    /// How it ended: a word of a closed list, at most 32 bytes.
    pub outcome: String,
    /// Who did it: a user's id, a client's id, or what somebody typed in order to sign in. Cut to 256 bytes.
    pub actor: Option<String>,
    /// To whom it was done. They may be gone.
    pub subject: Option<UserId>,
    /// In which session.
    pub session: Option<SessionId>,
    /// From where.
    pub address: Option<IpAddr>,
    /// The `User-Agent`, cut to 256 bytes.
    pub agent: Option<String>,
    /// What else is to be known, as JSON; at most 64 KiB.
    pub detail: String,
}

/// Which events to list: those that every given part fits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Done to this user.
    pub subject: Option<UserId>,
    /// Of this kind.
    pub kind: Option<String>,
    /// At this instant or later.
    pub since: Option<Timestamp>,
    /// Before this instant.
    pub until: Option<Timestamp>,
}

/// The record of who did what.
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// Writes an event. NUL characters become U+FFFD and what is too long is cut: what somebody typed must not keep
    /// an event out of the record.
    async fn write(&self, event: &AuditEvent) -> Result<(), StoreError>;
    /// A page of events, newest first.
    async fn list(&self, filter: &AuditFilter, page: Page<Uuid>) -> Result<Vec<AuditEvent>, StoreError>;
    /// Forgets events from before `before`, at most `limit`; returns how many.
    async fn purge(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;
}
