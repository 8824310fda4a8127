//! REMEMBER: what the rest of the gateway asks of a store, as traits, and the adapters that answer.
//!
//! Every method takes its instants as arguments: no adapter reads a clock, and no SQL uses `now()`. What a
//! method acknowledges is durable. Callers decide on [`StoreError`]'s kind and never see a database's type.
//! Instants are kept to the millisecond. Secrets are looked up by their SHA-256; no store ever sees one.

mod acme;
mod api_keys;
mod audit;
pub mod backoff;
mod clients;
mod counters;
mod feed;
pub mod key_file;
pub mod memory;
mod one_time;
mod rates;
pub mod redis;
mod revoked;
mod sessions;
pub mod sql;
mod users;

use std::error::Error;

use async_trait::async_trait;

pub use self::acme::{Acme, AcmeAccount, AcmeCertificate, AcmeChallenge, AcmeName, AcmeOrder};
pub use self::api_keys::{ApiKey, ApiKeys};
pub use self::audit::{AuditEvent, AuditFilter, AuditLog};
pub use self::clients::{Client, Clients};
pub use self::counters::{AttemptCounters, Counted, Counters};
pub use self::feed::{FeedEntry, FeedId, FeedPage, NotAFeedId, RevocationFeed};
pub use self::one_time::{NewOneTimeToken, OneTimeTokens};
pub use self::rates::SharedRates;
pub use self::revoked::{Covers, RebuildTicket, Revocation, RevocationLog, RevokedBy, RevokedSet};
pub use self::sessions::{Advance, Ending, Opening, Sessions};
pub use self::users::{NewUser, Users};

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
    /// A client's identifier.
    Client,
}

impl std::fmt::Display for Unique {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Username => "the username",
            Self::Email => "the email",
            Self::Client => "the client id",
        })
    }
}

/// One page of a listing, which is in order of id.
#[derive(Debug, Clone, Copy)]
pub struct Page<Id> {
    /// Only rows that the listing has after this id; the row itself need not exist any more.
    pub after: Option<Id>,
    /// At most this many rows.
    pub limit: u32,
}

/// Whether a store answers, for `/readyz`.
#[async_trait]
pub trait Probe: Send + Sync {
    /// The name shown when it is missing: `sql`, `redis`.
    fn name(&self) -> &'static str;
    /// Asks the store the cheapest question it has.
    async fn probe(&self) -> Result<(), StoreError>;
}
