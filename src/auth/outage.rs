//! Why a use case could not be carried out through no fault of its caller. Nothing was acknowledged; trying again
//! later may work and is safe.

use crate::identity::access_token::SignError;
use crate::identity::password::PasswordError;
use crate::reason::Reason;
use crate::revocation::NotPublished;
use crate::store::StoreError;

use super::hashing::HashingError;

/// A fault on our side.
#[derive(Debug, thiserror::Error)]
pub enum Outage {
    /// More password work than the gateway takes on.
    #[error("every password hashing worker is busy and the queue is full")]
    Busy,
    /// More work for after an answer than the gateway takes on.
    #[error("too many mails are being prepared")]
    QueueFull,
    /// All of the user's sessions were ended while one was being opened, or by a clock that is ahead of this one.
    #[error("every session of the user was ended meanwhile")]
    Overtaken,
    /// A store could not do its part.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// SQL holds the ending, the revoked set does not yet: it is not true everywhere.
    #[error("the revocation is recorded but not published")]
    NotPublished(#[from] NotPublished),
    /// The process is at its end: nothing is begun any more.
    #[error("the gateway is stopping")]
    Stopping,
    /// A password hashing worker panicked.
    #[error("a password hashing worker was lost")]
    WorkerLost,
    /// The hasher refused what the rules had accepted.
    #[error("the password could not be hashed")]
    Hashing(#[source] PasswordError),
    /// Every signing key has retired.
    #[error("there is no signing key that has not retired")]
    NoSigningKey,
    /// No access token could be signed.
    #[error("no access token could be signed")]
    Signing(#[from] SignError),
}

impl Outage {
    /// The word for it, in answers, logs and metrics.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Busy
            | Self::QueueFull
            | Self::Overtaken
            | Self::Stopping
            | Self::Store(StoreError::Unavailable { .. })
            | Self::NotPublished(_) => Reason::Unavailable,
            Self::Store(StoreError::Conflict(_) | StoreError::Corrupt { .. })
            | Self::WorkerLost
            | Self::Hashing(_)
            | Self::NoSigningKey
            | Self::Signing(_) => Reason::Internal,
        }
    }
}

impl From<HashingError> for Outage {
    fn from(error: HashingError) -> Self {
        match error {
            HashingError::Busy => Self::Busy,
            HashingError::WorkerLost => Self::WorkerLost,
            HashingError::Stopping => Self::Stopping,
            HashingError::Refused(rule) => Self::Hashing(rule),
        }
    }
}
