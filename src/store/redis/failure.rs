//! What goes wrong between this process and Redis. Cloned to every look-up of a batch.

use crate::store::StoreError;

/// The name of this store in errors and in `/readyz`.
pub(super) const STORE: &str = "redis";

#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Failure {
    #[error("not connected: {0}")]
    NotConnected(String),
    #[error("no answer within {0:?}")]
    TimedOut(std::time::Duration),
    #[error("too many look-ups are waiting")]
    Overloaded,
    #[error("the revoked set has lost its contents or never had them")]
    Incomplete,
    #[error("the server cannot hold the revoked set: {0}")]
    Unsuitable(String),
    #[error("the value of {0:?} is not a number of milliseconds")]
    NotAnInstant(String),
    #[error("the gateway is stopping")]
    Stopping,
    #[error(transparent)]
    Driver(#[from] redis::RedisError),
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        Self::Unavailable { store: STORE, source: Box::new(failure) }
    }
}

impl Failure {
    /// Whether the connection must not be used again. An error that the server *answered* leaves it in step, except
    /// that a server which became a replica (`READONLY`) would go on answering from stale data for ever.
    pub(super) fn poisons_connection(&self) -> bool {
        match self {
            Self::TimedOut(_) => true,
            Self::Driver(error) => {
                use redis::{ErrorKind, ServerErrorKind};
                !matches!(error.kind(), ErrorKind::Server(kind) if kind != ServerErrorKind::ReadOnly)
                    && error.kind() != ErrorKind::Extension
            }
            Self::NotConnected(_)
            | Self::Overloaded
            | Self::Incomplete
            | Self::Unsuitable(_)
            | Self::NotAnInstant(_)
            | Self::Stopping => false,
        }
    }
}
