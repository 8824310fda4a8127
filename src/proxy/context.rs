//! What is known about one request while it passes through the phases of the proxy.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::HeaderMap;

use super::arrival::Arrival;
use super::attempts::Held;
use super::snapshot::Snapshot;
use crate::admission::Destination;
use crate::dialect::Dialect;
use crate::policy::access::Permit;
use crate::reason::Reason;
use crate::telemetry::metrics::Present;

/// Request ids: unique among all replicas as far as the process part is random. Not secret.
#[derive(Debug)]
pub struct RequestIds {
    process: u64,
    next: AtomicU64,
}

impl RequestIds {
    /// Ids that begin with 16 hexadecimal digits for this process.
    #[must_use]
    pub fn new(process: u64) -> Self {
        Self { process, next: AtomicU64::new(1) }
    }

    pub(super) fn next(&self) -> String {
        format!("{:016x}{:016x}", self.process, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// How far a request has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// Nothing is decided.
    Arrived,
    /// It may be forwarded.
    Permitted(Permit),
    /// The gateway answered it itself.
    Answered,
}

/// One request.
pub struct Exchange {
    /// What it is served by, to its end: a reload is for the requests that come after it.
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) id: String,
    pub(super) started: Instant,
    pub(super) client: IpAddr,
    /// How its connection came to be; none for plain HTTP.
    pub(super) arrival: Option<Arc<Arrival>>,
    pub(super) destination: Option<Destination>,
    /// Whose wire format it is in, if any.
    pub(super) dialect: Option<Arc<Dialect>>,
    /// CORS fields, for whatever answer it gets.
    pub(super) cors: HeaderMap,
    /// Fields about rate limits, for whatever answer it gets.
    pub(super) limits: Option<Box<HeaderMap>>,
    pub(super) stage: Stage,
    /// Why it failed or was refused, once it was.
    pub(super) reason: Option<Reason>,
    /// What exactly, for the log alone.
    pub(super) detail: Option<&'static str>,
    /// Bytes of the request body that passed.
    pub(super) body_bytes: u64,
    /// What it holds of its upstream.
    pub(super) held: Held,
    /// When it is given up, where its route says so.
    pub(super) deadline: Option<Instant>,
    /// Connection attempts to the upstream.
    pub(super) attempts: u32,
    /// When the first attempt began.
    pub(super) upstream_started: Option<Instant>,
    /// Until the upstream's response head arrived.
    pub(super) upstream_waited: Option<Duration>,
    /// Counts the request as in flight until it is dropped, however it ends.
    _in_flight: Present,
}

impl Exchange {
    pub(super) fn new(id: String, started: Instant, in_flight: Present, snapshot: Arc<Snapshot>) -> Self {
        Self {
            snapshot,
            id,
            started,
            client: super::outcome::NO_ADDRESS,
            arrival: None,
            destination: None,
            dialect: None,
            cors: HeaderMap::new(),
            limits: None,
            stage: Stage::Arrived,
            reason: None,
            detail: None,
            body_bytes: 0,
            held: Held::default(),
            deadline: None,
            attempts: 0,
            upstream_started: None,
            upstream_waited: None,
            _in_flight: in_flight,
        }
    }

    pub(super) fn permit(&self) -> Option<&Permit> {
        match &self.stage {
            Stage::Permitted(permit) => Some(permit),
            Stage::Arrived | Stage::Answered => None,
        }
    }
}
