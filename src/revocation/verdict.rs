//! What a look-up in the revoked set can answer, and the port through which it is asked.
//!
//! Three answers, not two: a set that cannot say whether a token was revoked says so, and the caller of the
//! port refuses the request. "Not known" must never be readable as "not revoked".

use async_trait::async_trait;

use crate::identity::TokenFacts;
use crate::store::RevokedBy;
use crate::telemetry::labels::CheckVerdict;

/// Whether a token was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// No record covers it, and the set is complete.
    Live,
    /// A record covers it.
    Revoked(RevokedBy),
    /// It cannot be known now: refuse, fail closed.
    Unknown(UnknownWhy),
}

/// Why a look-up has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnknownWhy {
    /// The set did not answer within the deadline.
    Deadline,
    /// The set cannot be reached, or answered with an error.
    Unavailable,
    /// The set lost its contents, and its negatives mean nothing until it is rebuilt.
    Rebuilding,
    /// The set does not answer, and what this process remembers of it may cover the token: refused whatever else is let
    /// pass.
    Suspected,
}

impl Verdict {
    pub(super) const fn label(self) -> CheckVerdict {
        match self {
            Self::Live => CheckVerdict::Live,
            Self::Revoked(_) => CheckVerdict::Revoked,
            Self::Unknown(_) => CheckVerdict::Unknown,
        }
    }
}

impl UnknownWhy {
    /// The word for logs and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Unavailable => "unavailable",
            Self::Rebuilding => "rebuilding",
            Self::Suspected => "suspected",
        }
    }
}

/// Asks the revoked set about a token whose signature was verified.
#[async_trait]
pub trait CheckRevocation: Send + Sync {
    /// The verdict, if it is at hand without asking anybody: nothing is allocated for it. To be asked first; none says
    /// nothing.
    fn at_hand(&self, token: &TokenFacts) -> Option<Verdict> {
        let _ = token;
        None
    }
    /// The verdict on this token, within the set's own deadline.
    async fn check(&self, token: &TokenFacts) -> Verdict;
}
