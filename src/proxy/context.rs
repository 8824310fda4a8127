//! What is known about one request while it passes through the phases of the proxy.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderMap, Method};

use super::arrival::Arrival;
use super::attempts::Held;
use super::snapshot::Snapshot;
use crate::admission::Destination;
use crate::dialect::Dialect;
use crate::policy::access::Permit;
use crate::policy::forward_auth::Asker;
use crate::reason::Reason;
use crate::revocation::streams::Bound;
use crate::telemetry::labels::StreamEnd;
use crate::telemetry::metrics::Present;

/// Request ids: unique among all replicas as far as the process part is random. Not secret.
#[derive(Debug)]
pub struct RequestIds {
    process: [u8; 16],
    next: AtomicU64,
}

/// The id of one request: 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RequestId([u8; 32]);

impl RequestIds {
    /// Ids that begin with 16 hexadecimal digits for this process.
    #[must_use]
    pub fn new(process: u64) -> Self {
        Self { process: digits(process), next: AtomicU64::new(1) }
    }

    pub(super) fn next(&self) -> RequestId {
        let mut id = [0; 32];
        id[..16].copy_from_slice(&self.process);
        id[16..].copy_from_slice(&digits(self.next.fetch_add(1, Ordering::Relaxed)));
        RequestId(id)
    }
}

/// By hand: every request has an id, and the general formatter takes ten times as long.
fn digits(number: u64) -> [u8; 16] {
    std::array::from_fn(|at| HEX_DIGITS[(number >> (60 - 4 * at)) as usize & 0xf])
}

impl std::ops::Deref for RequestId {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits are ASCII")
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self)
    }
}

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

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
    pub(super) id: RequestId,
    pub(super) started: Instant,
    pub(super) client: IpAddr,
    /// How its connection came to be; none for plain HTTP.
    pub(super) arrival: Option<Arc<Arrival>>,
    pub(super) destination: Option<Destination>,
    /// The proxy that reads the answer, if it asks about another request.
    pub(super) asker: Option<Asker>,
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
    /// Its place among what ends with what admitted it; none for strangers.
    pub(super) bound: Option<Bound>,
    /// For the line of a request that is dropped: afterwards nothing else is there to tell.
    pub(super) method: Method,
    pub(super) status: u16,
    pub(super) bytes_sent: u64,
    pub(super) recorded: bool,
    /// Counts the request as in flight until it is dropped, however it ends.
    _in_flight: Present,
}

impl Exchange {
    pub(super) fn new(id: RequestId, started: Instant, in_flight: Present, snapshot: Arc<Snapshot>) -> Self {
        Self {
            snapshot,
            id,
            started,
            client: super::outcome::NO_ADDRESS,
            arrival: None,
            destination: None,
            asker: None,
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
            bound: None,
            method: Method::GET,
            status: 0,
            bytes_sent: 0,
            recorded: false,
            _in_flight: in_flight,
        }
    }

    /// Why it was cut off; none for almost all.
    pub(super) fn cut_off(&self) -> Option<StreamEnd> {
        self.bound.as_ref()?.cut_off()
    }

    pub(super) fn permit(&self) -> Option<&Permit> {
        match &self.stage {
            Stage::Permitted(permit) => Some(permit),
            Stage::Arrived | Stage::Answered => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_process_and_a_number_in_hexadecimal() {
        let ids = RequestIds { process: *b"00000000000000ab", next: AtomicU64::new(0x0123_4567_89ab_cdef) };
        assert_eq!(&*ids.next(), "00000000000000ab0123456789abcdef");
        assert_eq!(&*ids.next(), "00000000000000ab0123456789abcdf0");
        assert_eq!(&*RequestIds::new(0xab).next(), "00000000000000ab0000000000000001");
    }
}
