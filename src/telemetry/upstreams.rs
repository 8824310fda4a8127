//! The metrics of upstreams: how many servers serve, and what was done about those that do not.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};

use super::labels::{BreakerLimit, Label, Retry, ServerState};
use super::metrics::Declare;

/// The metrics of all upstreams.
#[derive(Debug)]
pub(super) struct UpstreamFamilies {
    servers: IntGaugeVec,
    ejections: IntCounterVec,
    retries: IntCounterVec,
    refusals: IntCounterVec,
}

/// The time series of one upstream's servers.
#[derive(Debug, Clone)]
pub struct ServerMetrics {
    servers: Box<[IntGauge]>,
    ejections: IntCounter,
    retries: Box<[IntCounter]>,
    refusals: Box<[IntCounter]>,
}

impl UpstreamFamilies {
    pub(super) fn new(declare: &Declare) -> Self {
        let servers = Opts::new("portcullis_upstream_servers", "Addresses of an upstream, by what they are good for now.");
        Self {
            servers: declare.register(IntGaugeVec::new(servers, &["upstream", ServerState::KEY])),
            ejections: declare.counters(
                "portcullis_upstream_ejections_total",
                "Servers taken out of service because requests to them failed.",
                &["upstream"],
            ),
            retries: declare.counters(
                "portcullis_upstream_retries_total",
                "Requests that could be tried again, by whether they were.",
                &["upstream", Retry::KEY],
            ),
            refusals: declare.counters(
                "portcullis_upstream_breaker_refusals_total",
                "Requests refused because the upstream has enough, by the limit that was reached.",
                &["upstream", BreakerLimit::KEY],
            ),
        }
    }

    pub(super) fn of(&self, upstream: &str) -> ServerMetrics {
        fn each<L: Label, T>(make: impl Fn(&'static str) -> T) -> Box<[T]> {
            L::ALL.iter().map(|label| make(label.word())).collect()
        }
        ServerMetrics {
            servers: each::<ServerState, _>(|word| self.servers.with_label_values(&[upstream, word])),
            ejections: self.ejections.with_label_values(&[upstream]),
            retries: each::<Retry, _>(|word| self.retries.with_label_values(&[upstream, word])),
            refusals: each::<BreakerLimit, _>(|word| self.refusals.with_label_values(&[upstream, word])),
        }
    }
}

impl ServerMetrics {
    /// So many servers are in this state.
    pub fn servers(&self, state: ServerState, count: usize) {
        self.servers[state.index()].set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A server was ejected.
    pub fn ejected(&self) {
        self.ejections.inc();
    }

    /// A request could be tried again.
    pub fn retry(&self, retry: Retry) {
        self.retries[retry.index()].inc();
    }

    /// A request was refused because of this limit.
    pub fn refused(&self, limit: BreakerLimit) {
        self.refusals[limit.index()].inc();
    }
}
