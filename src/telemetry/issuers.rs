//! Metrics of what other issuers tell this gateway.

use prometheus::IntCounterVec;

use super::labels::{Label as _, LogoutEnd};
use super::metrics::Declare;

/// Logout tokens, by issuer and what became of them.
#[derive(Debug)]
pub(super) struct LogoutFamily(IntCounterVec);

/// The time series of one issuer. Before its first logout token there are none to see.
#[derive(Debug, Clone)]
pub struct LogoutMetrics {
    counters: IntCounterVec,
    issuer: Box<str>,
}

impl LogoutFamily {
    pub(super) fn new(declare: &Declare) -> Self {
        Self(declare.counters(
            "portcullis_backchannel_logouts_total",
            "Logout tokens of other issuers, by issuer and what became of them.",
            &["issuer", LogoutEnd::KEY],
        ))
    }

    pub(super) fn of(&self, issuer: &str) -> LogoutMetrics {
        LogoutMetrics { counters: self.0.clone(), issuer: issuer.into() }
    }

    /// An issuer is none any more.
    pub(super) fn gone(&self, issuer: &str) {
        for end in LogoutEnd::ALL {
            // An error says that there was none.
            drop(self.0.remove_label_values(&[issuer, end.word()]));
        }
    }
}

impl LogoutMetrics {
    /// This became of a logout token.
    pub fn ended(&self, end: LogoutEnd) {
        self.counters.with_label_values(&[&self.issuer, end.word()]).inc();
    }
}
