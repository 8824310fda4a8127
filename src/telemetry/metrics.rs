//! Every metric of the gateway, declared once, in a registry of its own.
//!
//! Callers use typed methods and handles. A handle ([`RouteMetrics`], [`UpstreamMetrics`],
//! [`RevocationMetrics`]) is obtained once and holds its time series: on the path of a request nothing is hashed
//! and no lock is taken, only atomics are added to. The table for operators is `deploy/prometheus/README.md`;
//! a test compares the two.

use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use tracing_appender::non_blocking::ErrorCounter;

use super::acme::AcmeFamilies;
use super::configuration::ConfigurationFamilies;
use super::issuers::{LogoutFamily, LogoutMetrics};
use super::labels::{
    AcmeOutcome, AcmeState, CheckMode, CheckVerdict, ConfigReload, EarlyRefusal, FeedGap, JwksState, Label, Log, MailResult,
    Outcome, RepublicationCause, StreamEnd, UnknownDecision,
};
use super::mirror::MirrorFamilies;
pub use super::mirror::MirrorState;
use super::streams::StreamFamilies;
use super::upstreams::{ServerMetrics, UpstreamFamilies};
use crate::reason::Reason;

/// The `Content-Type` of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The route label of requests that no route serves: refused heads, unknown paths, the gateway's own API.
pub const NO_ROUTE: &str = "-";

/// Seconds. From a cached answer next door to an upstream at its deadline.
const REQUEST_BUCKETS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Seconds. Around the default deadline of 50 ms; Redis next door answers within the first buckets.
const LOOKUP_BUCKETS: &[f64] = &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25];
/// Seconds. A hash takes tens of milliseconds by design; the rest is waiting for a worker.
const HASHING_BUCKETS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// All metrics. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_duration: Histogram,
    in_flight: IntGauge,
    connections_open: IntGauge,
    streams: StreamFamilies,
    denials: Counters<Reason>,
    refused_before_routing: Counters<EarlyRefusal>,
    upstream_duration: HistogramVec,
    upstreams: UpstreamFamilies,
    revocation_checks: IntCounterVec,
    revocation_check_duration: Histogram,
    redis_duration: Histogram,
    republications: Counters<RepublicationCause>,
    pending_publications: IntGauge,
    mirror: MirrorFamilies,
    hashing_queue: IntGauge,
    hashing_duration: Histogram,
    mail: Counters<MailResult>,
    mail_waiting: IntGauge,
    configuration: ConfigurationFamilies,
    jwks: JwksGauges,
    logouts: LogoutFamily,
    acme: AcmeFamilies,
    panics: IntCounter,
    log_lines_lost: Counters<Log>,
    lost: [OnceLock<ErrorCounter>; 2],
}

/// The time series of one route.
#[derive(Debug, Clone)]
pub struct RouteMetrics(Arc<RouteSeries>);

#[derive(Debug)]
struct RouteSeries {
    requests: IntCounterVec,
    name: Box<str>,
    // Made at first use: ten thousand routes that nobody calls should not fill every scrape with zeros.
    outcomes: [OnceLock<IntCounter>; Outcome::ALL.len()],
}

/// The time series of one upstream.
#[derive(Debug, Clone)]
pub struct UpstreamMetrics {
    duration: Histogram,
}

/// The time series of revocation checks in one mode.
#[derive(Debug, Clone)]
pub struct RevocationMetrics {
    checks: Counters<CheckVerdict>,
    duration: Histogram,
}

#[derive(Debug)]
struct JwksGauges {
    state: IntGaugeVec,
    fetched: IntGaugeVec,
}

/// The time series of one foreign issuer's keys.
#[derive(Debug, Clone)]
pub struct JwksMetrics {
    states: [IntGauge; JwksState::ALL.len()],
    fetched: IntGauge,
}

/// Counts one thing as present until it is dropped, on whatever path: return, error, panic or cancellation.
#[derive(Debug)]
#[must_use = "it counts until it is dropped"]
pub struct Present(IntGauge);

/// One counter per value of a closed label, all made at the start, so that a rate can see the first increment.
#[derive(Debug, Clone)]
pub(super) struct Counters<L> {
    children: Box<[IntCounter]>,
    label: PhantomData<L>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Declares every metric in a new registry: two gateways in one process (as in tests) share nothing.
    #[must_use]
    pub fn new() -> Self {
        let declare = Declare(Registry::new());
        declare.build_info();
        Self {
            requests: declare.counters(
                "portcullis_requests_total",
                "Requests that ended, by route and how.",
                &["route", Outcome::KEY],
            ),
            request_duration: declare.histogram(
                "portcullis_request_duration_seconds",
                "From the first byte of a request to the last of its answer.",
                REQUEST_BUCKETS,
            ),
            in_flight: declare.gauge("portcullis_requests_in_flight", "Requests being served."),
            connections_open: declare.gauge("portcullis_connections_open", "Client connections open."),
            streams: StreamFamilies::new(&declare),
            denials: declare.closed("portcullis_denials_total", "Requests refused or failed by the gateway, by reason."),
            refused_before_routing: declare.closed(
                "portcullis_refused_before_routing_total",
                "Connections ended before a request could be read from them, by cause.",
            ),
            upstream_duration: declare.histograms(
                "portcullis_upstream_duration_seconds",
                "From the request's hand-over to the first byte of the upstream's answer, by upstream.",
                REQUEST_BUCKETS,
                "upstream",
            ),
            upstreams: UpstreamFamilies::new(&declare),
            revocation_checks: declare.counters(
                "portcullis_revocation_checks_total",
                "Revocation checks, by where they look and what they found.",
                &[CheckMode::KEY, CheckVerdict::KEY],
            ),
            revocation_check_duration: declare.histogram(
                "portcullis_revocation_check_duration_seconds",
                "What a revocation check adds to a request.",
                LOOKUP_BUCKETS,
            ),
            redis_duration: declare.histogram(
                "portcullis_redis_duration_seconds",
                "One round trip to Redis; a batch of look-ups shares it.",
                LOOKUP_BUCKETS,
            ),
            republications: declare.closed(
                "portcullis_revocation_republications_total",
                "Times that every unexpired revocation was published again from SQL, by cause.",
            ),
            pending_publications: declare.gauge(
                "portcullis_revocation_pending_publications",
                "Revocations that are recorded in SQL and not yet in Redis.",
            ),
            mirror: MirrorFamilies::new(&declare),
            hashing_queue: declare.gauge("portcullis_hashing_queue", "Password hashes waiting for a worker."),
            hashing_duration: declare.histogram(
                "portcullis_hashing_duration_seconds",
                "One password hash or verification, waiting included.",
                HASHING_BUCKETS,
            ),
            mail: declare.closed("portcullis_mail_total", "Letters to people, by what became of them."),
            mail_waiting: declare.gauge("portcullis_mail_waiting", "Letters that no mail server has taken yet."),
            configuration: ConfigurationFamilies::new(&declare),
            jwks: JwksGauges::declare(&declare),
            logouts: LogoutFamily::new(&declare),
            acme: AcmeFamilies::new(&declare),
            panics: declare.counter("portcullis_panics_total", "Faults of the gateway's own code that were caught."),
            log_lines_lost: declare
                .closed("portcullis_log_lines_lost_total", "Log lines dropped because the writer could not keep up, by log."),
            lost: [const { OnceLock::new() }; 2],
            registry: declare.0,
        }
    }

    /// The handle of a route; obtain it once and keep it.
    #[must_use]
    pub fn route(&self, name: &str) -> RouteMetrics {
        RouteMetrics(Arc::new(RouteSeries {
            requests: self.requests.clone(),
            name: name.into(),
            outcomes: [const { OnceLock::new() }; Outcome::ALL.len()],
        }))
    }

    /// The handle of an upstream; obtain it once and keep it.
    #[must_use]
    pub fn upstream(&self, name: &str) -> UpstreamMetrics {
        UpstreamMetrics { duration: self.upstream_duration.with_label_values(&[name]) }
    }

    /// The handle of an upstream's servers; obtain it once and keep it.
    #[must_use]
    pub fn servers(&self, upstream: &str) -> ServerMetrics {
        self.upstreams.of(upstream)
    }

    /// The handle for revocation checks in `mode`; obtain it once and keep it.
    #[must_use]
    pub fn revocation(&self, mode: CheckMode) -> RevocationMetrics {
        RevocationMetrics {
            checks: Counters::new(&self.revocation_checks, Some(mode.word())),
            duration: self.revocation_check_duration.clone(),
        }
    }

    /// The handle of a foreign issuer's keys; obtain it once and keep it. `issuer` is its name in the configuration.
    #[must_use]
    pub fn jwks(&self, issuer: &str) -> JwksMetrics {
        JwksMetrics {
            states: std::array::from_fn(|index| self.jwks.state.with_label_values(&[issuer, JwksState::ALL[index].word()])),
            fetched: self.jwks.fetched.with_label_values(&[issuer]),
        }
    }

    /// The handle for the logout tokens of a foreign issuer; obtain it once and keep it.
    #[must_use]
    pub fn logouts(&self, issuer: &str) -> LogoutMetrics {
        self.logouts.of(issuer)
    }

    /// An issuer is none any more.
    pub fn issuer_gone(&self, issuer: &str) {
        // An error says that it had none.
        for state in JwksState::ALL {
            drop(self.jwks.state.remove_label_values(&[issuer, state.word()]));
        }
        drop(self.jwks.fetched.remove_label_values(&[issuer]));
        self.logouts.gone(issuer);
    }

    /// A request has begun; it is in flight until the guard is dropped.
    pub fn request_begun(&self) -> Present {
        Present::new(&self.in_flight)
    }

    /// How many requests are in flight.
    #[must_use]
    pub fn in_flight(&self) -> i64 {
        self.in_flight.get()
    }

    /// A client connection was accepted; it is open until the guard is dropped.
    pub fn connection_opened(&self) -> Present {
        Present::new(&self.connections_open)
    }

    /// So many streams of known callers are open.
    pub fn streams_open(&self, streams: usize) {
        self.streams.open.set(i64::try_from(streams).unwrap_or(i64::MAX));
    }

    /// Nobody could say whether a request's token was revoked.
    pub fn revocation_unknown(&self, decision: UnknownDecision) {
        self.mirror.unknown.of(decision).inc();
    }

    /// A stream was cut off.
    pub fn stream_killed(&self, why: StreamEnd) {
        self.streams.killed.of(why).inc();
    }

    /// A request has ended after `elapsed`.
    pub fn request_ended(&self, elapsed: Duration) {
        self.request_duration.observe(elapsed.as_secs_f64());
    }

    /// The gateway answered with `reason`.
    pub fn denied(&self, reason: Reason) {
        self.denials.of(reason).inc();
    }

    /// A connection ended before a request could be read from it.
    pub fn refused_before_routing(&self, cause: EarlyRefusal) {
        self.refused_before_routing.of(cause).inc();
    }

    /// A round trip to Redis took `elapsed`.
    pub fn redis_answered(&self, elapsed: Duration) {
        self.redis_duration.observe(elapsed.as_secs_f64());
    }

    /// Every unexpired revocation was published again.
    pub fn republished(&self, cause: RepublicationCause) {
        self.republications.of(cause).inc();
    }

    /// So many revocations wait to be published.
    pub fn publications_pending(&self, records: usize) {
        self.pending_publications.set(i64::try_from(records).unwrap_or(i64::MAX));
    }

    /// Following the feed of revocations had to begin again.
    pub fn feed_gap(&self, cause: FeedGap) {
        self.mirror.gaps.of(cause).inc();
    }

    /// How the mirror of the revoked set is.
    pub fn mirrored(&self, state: &MirrorState) {
        self.mirror.show(state);
    }

    /// So many password hashes wait for a worker.
    pub fn hashes_waiting(&self, hashes: usize) {
        self.hashing_queue.set(i64::try_from(hashes).unwrap_or(i64::MAX));
    }

    /// A password hash was computed `elapsed` after it was asked for.
    pub fn hashed(&self, elapsed: Duration) {
        self.hashing_duration.observe(elapsed.as_secs_f64());
    }

    /// A letter is to be sent; it waits until the guard is dropped.
    pub fn letter_waits(&self) -> Present {
        Present::new(&self.mail_waiting)
    }

    /// A letter was sent, or will not be.
    pub fn mailed(&self, result: MailResult) {
        self.mail.of(result).inc();
    }

    /// The configuration was read again.
    pub fn config_reloaded(&self, result: ConfigReload) {
        self.configuration.reloads.of(result).inc();
    }

    /// The configuration was read and found good at `now`.
    pub fn config_in_force_since(&self, now: Timestamp) {
        self.configuration.in_force_since.set(now.as_second());
    }

    /// The certificate that is shown under this name of the configuration expires then, in seconds since 1970.
    pub fn certificate_expires(&self, name: &str, at: i64) {
        self.configuration.certificate_expiry.with_label_values(&[name]).set(at);
    }

    /// So many certificates are older than what their files hold.
    pub fn certificates_are_stale(&self, certificates: usize) {
        self.configuration.certificates_stale.set(i64::try_from(certificates).unwrap_or(i64::MAX));
    }

    /// An order for a certificate came to an end.
    pub fn acme_ordered(&self, outcome: AcmeOutcome) {
        self.acme.orders.of(outcome).inc();
    }

    /// So many certificates that are ordered by themselves are in this state.
    pub fn acme_certificates(&self, state: AcmeState, certificates: i64) {
        self.acme.certificates[state.index()].set(certificates);
    }

    /// A panic was caught.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// From now on the lines that `log` loses are those that `lost` counts. Only the first call per log counts.
    pub fn watch_lost_lines(&self, log: Log, lost: ErrorCounter) {
        // A second writer of the same log would be a fault of start-up, and losing its count harms nobody.
        let _ = self.lost[log.index()].set(lost);
    }

    /// Everything in Prometheus' text format ([`CONTENT_TYPE`]).
    #[must_use]
    pub fn encode(&self) -> String {
        for (log, lost) in Log::ALL.iter().zip(&self.lost) {
            let counter = self.log_lines_lost.of(*log);
            let seen = lost.get().map_or(0, |lost| lost.dropped_lines() as u64);
            counter.inc_by(seen.saturating_sub(counter.get()));
        }
        // The encoder fails on families that are inconsistent in themselves; a registry lets none in.
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

impl RouteMetrics {
    /// A request to this route ended.
    pub fn ended(&self, outcome: Outcome) {
        let series = &self.0;
        series.outcomes[outcome.index()]
            .get_or_init(|| series.requests.with_label_values(&[&*series.name, outcome.word()]))
            .inc();
    }
}

impl UpstreamMetrics {
    /// The upstream began to answer `elapsed` after it was handed the request.
    pub fn answered(&self, elapsed: Duration) {
        self.duration.observe(elapsed.as_secs_f64());
    }
}

impl RevocationMetrics {
    /// A check found `verdict` within `elapsed`.
    pub fn checked(&self, verdict: CheckVerdict, elapsed: Duration) {
        self.checks.of(verdict).inc();
        self.duration.observe(elapsed.as_secs_f64());
    }
}

impl JwksGauges {
    fn declare(declare: &Declare) -> Self {
        Self {
            state: declare.gauges(
                "portcullis_jwks_state",
                "1 for what is known of an issuer's keys, by issuer: fresh, stale or missing.",
                &["issuer", JwksState::KEY],
            ),
            fetched: declare.gauges(
                "portcullis_jwks_fetched_timestamp_seconds",
                "When the keys of an issuer that are in force were last fetched; 0 if never.",
                &["issuer"],
            ),
        }
    }
}

impl JwksMetrics {
    /// This is what is known, from keys that were fetched at `fetched` (unix seconds).
    pub fn is(&self, state: JwksState, fetched: Option<i64>) {
        for (other, gauge) in JwksState::ALL.iter().zip(&self.states) {
            gauge.set(i64::from(*other == state));
        }
        self.fetched.set(fetched.unwrap_or(0));
    }
}

impl Present {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl<L: Label> Counters<L> {
    /// The children of `vec`, of which `first` is the value of the label before `L`, if there is one.
    fn new(vec: &IntCounterVec, first: Option<&'static str>) -> Self {
        let child = |label: &L| {
            let values: Vec<&str> = first.into_iter().chain([label.word()]).collect();
            vec.with_label_values(&values)
        };
        Self { children: L::ALL.iter().map(child).collect(), label: PhantomData }
    }

    pub(super) fn of(&self, label: L) -> &IntCounter {
        &self.children[label.index()]
    }
}

/// Makes metrics and registers them. Names are literals of this file, so that a fault shows in every test.
pub(super) struct Declare(Registry);

impl Declare {
    pub(super) fn register<C: Collector + Clone + 'static>(&self, metric: Result<C, prometheus::Error>) -> C {
        let metric = metric.expect("the names and labels in this file are valid");
        self.0.register(Box::new(metric.clone())).expect("each metric in this file is declared once");
        metric
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help))
    }

    pub(super) fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), labels))
    }

    pub(super) fn closed<L: Label>(&self, name: &str, help: &str) -> Counters<L> {
        Counters::new(&self.counters(name, help, &[L::KEY]), None)
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help))
    }

    pub(super) fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.register(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
    }

    fn histograms(&self, name: &str, help: &str, buckets: &[f64], label: &str) -> HistogramVec {
        self.register(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), &[label]))
    }

    fn build_info(&self) {
        let opts = Opts::new("portcullis_build_info", "Always 1; the label says which version runs.");
        self.register(IntGaugeVec::new(opts, &["version"])).with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_route_counts_by_outcome_and_shows_only_what_happened() {
        let metrics = Metrics::new();
        let route = metrics.route("orders");
        route.ended(Outcome::Forwarded);
        route.ended(Outcome::Forwarded);
        // The handle of the same route, obtained again after a reload, goes on counting where the first left off.
        metrics.route("orders").ended(Outcome::Forwarded);

        let text = metrics.encode();
        assert!(text.contains(r#"portcullis_requests_total{outcome="forwarded",route="orders"} 3"#), "{text}");
        assert!(!text.contains(r#"outcome="denied",route="orders""#), "{text}");
    }

    #[test]
    fn every_reason_is_visible_before_its_first_denial() {
        let metrics = Metrics::new();
        metrics.denied(Reason::RevokedToken);
        let text = metrics.encode();
        for reason in Reason::ALL {
            let count = u8::from(*reason == Reason::RevokedToken);
            let line = format!("portcullis_denials_total{{reason=\"{}\"}} {count}\n", reason.word());
            assert!(text.contains(&line), "no {line}");
        }
    }

    #[test]
    fn a_request_is_in_flight_until_its_guard_is_dropped_even_by_a_panic() {
        let metrics = Metrics::new();
        let guard = metrics.request_begun();
        assert_eq!(metrics.in_flight.get(), 1);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _guard = guard;
            panic!("a filter panicked");
        }));
        assert!(panicked.is_err());
        assert_eq!(metrics.in_flight.get(), 0);
    }

    #[test]
    fn checks_are_counted_under_their_mode() {
        let metrics = Metrics::new();
        metrics.revocation(CheckMode::Strict).checked(CheckVerdict::Unknown, Duration::from_millis(50));
        let text = metrics.encode();
        assert!(text.contains(r#"portcullis_revocation_checks_total{mode="strict",verdict="unknown"} 1"#), "{text}");
        assert!(text.contains(r#"portcullis_revocation_check_duration_seconds_bucket{le="0.05"} 1"#), "{text}");
        assert!(text.contains(r#"portcullis_revocation_check_duration_seconds_bucket{le="0.025"} 0"#), "{text}");
    }

    #[test]
    fn two_instances_share_nothing() {
        let (one, other) = (Metrics::new(), Metrics::new());
        one.panicked();
        assert!(one.encode().contains("portcullis_panics_total 1"));
        assert!(other.encode().contains("portcullis_panics_total 0"));
    }

    /// A writer that is stuck until told to go on.
    struct Stuck(mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lost_log_lines_are_counted_once_however_often_one_asks() {
        let (unblock, blocked) = mpsc::channel();
        let (mut writer, guard) =
            tracing_appender::non_blocking::NonBlockingBuilder::default().buffered_lines_limit(1).finish(Stuck(blocked));
        let metrics = Metrics::new();
        metrics.watch_lost_lines(Log::Access, writer.error_counter());
        // One line is being written, one waits, at least the third is lost.
        for _ in 0..3 {
            writer.write_all(b"line\n").expect("the queue never refuses, it drops");
        }
        let lost = writer.error_counter().dropped_lines();
        assert!(lost >= 1);
        drop(metrics.encode());
        assert!(metrics.encode().contains(&format!("portcullis_log_lines_lost_total{{log=\"access\"}} {lost}\n")));
        drop(unblock);
        drop(guard);
    }
}
