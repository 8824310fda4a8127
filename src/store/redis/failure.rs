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
    #[error("no majority says where the primary is: {0}")]
    NoMajority(String),
    #[error("no majority has lately said that the server is the primary")]
    NotVouchedFor,
    #[error("another server is the primary now")]
    Replaced,
    #[error("only {acks} of {needed} replicas have the revocations")]
    TooFewReplicas { acks: usize, needed: usize },
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
    /// that a server which became a replica (`READONLY`), or serves the keys no longer (`MOVED` and its like), would go on
    /// answering so, or from stale data, for ever.
    pub(super) fn poisons_connection(&self) -> bool {
        match self {
            Self::TimedOut(_) => true,
            Self::Driver(error) => {
                use redis::ErrorKind;
                match error.kind() {
                    ErrorKind::Server(kind) => is_elsewhere(kind),
                    ErrorKind::Extension => false,
                    _ => true,
                }
            }
            Self::NotConnected(_)
            | Self::Overloaded
            | Self::Incomplete
            | Self::Unsuitable(_)
            | Self::NotAnInstant(_)
            | Self::Stopping
            | Self::NoMajority(_)
            | Self::NotVouchedFor
            | Self::Replaced
            | Self::TooFewReplicas { .. } => false,
        }
    }
}

/// Whether a server says that the primary of the keys has to be looked for anew.
fn is_elsewhere(kind: redis::ServerErrorKind) -> bool {
    use redis::ServerErrorKind::{Ask, ClusterDown, MasterDown, Moved, ReadOnly, TryAgain};
    matches!(kind, ReadOnly | Moved | Ask | TryAgain | ClusterDown | MasterDown)
}

#[cfg(test)]
mod tests {
    use redis::{ErrorKind, RedisError, ServerErrorKind};

    use super::*;

    #[test]
    fn a_connection_is_given_up_where_it_is_out_of_step_or_leads_elsewhere() {
        let poisons = |kind: ErrorKind| Failure::from(RedisError::from((kind, "made up"))).poisons_connection();
        for kind in [ServerErrorKind::ReadOnly, ServerErrorKind::Moved, ServerErrorKind::ClusterDown, ServerErrorKind::MasterDown]
        {
            assert!(poisons(kind.into()), "{kind:?}");
        }
        for kind in [ServerErrorKind::ResponseError, ServerErrorKind::BusyLoading, ServerErrorKind::NoPerm] {
            assert!(!poisons(kind.into()), "{kind:?}");
        }
        assert!(poisons(ErrorKind::Io) && poisons(ErrorKind::Parse));
        assert!(Failure::TimedOut(std::time::Duration::ZERO).poisons_connection());
        assert!(!Failure::TooFewReplicas { acks: 0, needed: 1 }.poisons_connection());
    }
}
