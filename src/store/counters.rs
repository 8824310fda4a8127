//! The port for counters of attempts, shared by replicas.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::StoreError;
use crate::limit::attempts::{Budget, Slot};

/// One attempt that is to be counted against several budgets at once.
///
/// Which budgets depends on a mark that an earlier success may have left: those who are known have budgets of their
/// own, so that strangers cannot spend them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptCounters {
    /// Whose presence chooses `known` instead of `strangers`; none chooses `strangers`.
    pub mark: Option<String>,
    /// The counters and budgets of those who are not known. No key twice.
    pub strangers: Vec<(String, Budget)>,
    /// The counters and budgets of those who are.
    pub known: Vec<(String, Budget)>,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counted {
    /// Counted against every budget.
    Taken(Vec<(String, Slot)>),
    /// Counted against none, because one of them is spent.
    Spent {
        /// The spent counter.
        key: String,
        /// Until when it certainly is.
        retry_after: Duration,
    },
}

/// Counters of attempts. What is in them may be lost without harm: they are counted anew.
#[async_trait]
pub trait Counters: Send + Sync {
    /// Counts one attempt against every budget, or against none if one of them is spent: one step, so that parallel
    /// attempts cannot all find the same last place free.
    async fn take(&self, attempt: &AttemptCounters, now: Timestamp) -> Result<Counted, StoreError>;
    /// Takes a counted attempt back, and leaves the mark, if there is one, for so long.
    async fn give_back(&self, taken: &[(String, Slot)], mark: Option<(&str, Duration)>, now: Timestamp)
    -> Result<(), StoreError>;
}
