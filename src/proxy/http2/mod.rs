//! HTTP/2 towards clients (RFC 9113): one connection, its limits, and a task for each request on it.
//!
//! The h2 crate frames and decodes, and bounds streams, windows and resets as it is told here. What it does not bound,
//! `watch` does: time for a header block, frames that are all overhead, writes that do not get through. A request becomes
//! a session of pingora's (`session`) in the reading that HTTP/1.1 has of it (`head`), so that whatever decides about
//! requests decides about these, too. Nothing here looks at routes or tokens.

mod exchange;
mod head;
mod incoming;
mod outgoing;
mod replay;
mod session;
mod ward;
mod watch;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason as H2Reason, RecvStream};
use http::Request;
use pingora::apps::HttpServerApp;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::protocols::{Digest, Stream};
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use pingora_timeout::{sleep, timeout};

pub(super) use exchange::{arrival, breaks_protocol, give_up_after, is_curtailed, says_why};

use self::exchange::Exchange;
use self::session::Session;
use self::ward::Ward;
use self::watch::Watched;
use super::Proxy;
use super::arrival::Arrival;
use super::snapshot::Snapshot;
use super::streams::{self, Below};
use crate::limit::RequestLimits;
use crate::reason::Reason;
use crate::telemetry::metrics::Present;

/// Of body bytes that a client may send ahead of being read, for one request. RFC 9113's own default.
const STREAM_WINDOW_BYTES: u32 = 65_535;
/// The same for a connection: eight requests whose bodies nobody reads yet do not hold up a ninth.
const CONNECTION_WINDOW_BYTES: u32 = 512 * 1024;
/// Of a response, between its upstream and a client that does not read.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// The smallest that RFC 9113 §4.2 allows, and the largest that a client may send.
const FRAME_BYTES: u32 = 16_384;
/// Requests that were begun and reset before anybody looked at them (CVE-2023-44487).
const UNSEEN_RESETS_MAX: usize = 16;
/// Requests that the protocol's rules made us reset (CVE-2025-8671), and requests refused as malformed.
const FAULTS_MAX: usize = 32;
/// Requests of a connection that are being served at once, for each that may be open (CVE-2023-44487).
const SERVED_PER_STREAM: usize = 4;
/// What HPACK's reckoning adds to a field (RFC 9113 §6.5.2), which ours does not.
const FIELD_OVERHEAD_BYTES: usize = 32;
/// Fields of a request that HTTP/1.1 has in its first line.
const PSEUDO_FIELDS: usize = 4;
/// Between the word that no more requests are wanted and the end of a connection that has none: some are on their way.
const PARTING: Duration = Duration::from_secs(1);

/// How HTTP/2 is spoken.
#[derive(Debug, Clone, Copy)]
pub struct Http2Settings {
    /// Requests at once on one connection.
    pub streams_max: u32,
}

/// Where the configuration in force is found.
pub(super) type SnapshotCache = arc_swap::Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>;

/// What a connection is served by.
pub(super) struct Service<'a> {
    pub(super) settings: Http2Settings,
    pub(super) http: &'a Arc<HttpProxy<Proxy>>,
    pub(super) snapshot: SnapshotCache,
    pub(super) shutdown: &'a ShutdownWatch,
}

/// How far a connection is on its way to its end.
enum Stage {
    Open,
    /// The client was told to send no more requests (RFC 9113 §6.8); those that come are served.
    Leaving {
        _in_flight: Option<Present>,
    },
    /// The client broke the rules: nothing it sends is looked at any more.
    Ended,
}

/// What happens to a connection.
enum Event {
    Request(Box<(Request<RecvStream>, SendResponse<Bytes>)>),
    Closed,
    Alarm(Reason),
    Stopping,
    Quiet,
}

/// Serves a connection to its end.
pub(super) async fn serve(mut service: Service<'_>, stream: Stream, arrival: Arc<Arrival>) {
    let digest = Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    });
    let snapshot = Arc::clone(service.snapshot.load());
    let ward = Arc::new(Ward::new(arrival, &digest, &snapshot.parts.trusted_proxies, Arc::clone(&snapshot.guard)));
    let watched = Watched::new(stream, Arc::clone(&ward), &snapshot.parts);
    let header_timeout = snapshot.parts.timeouts.header;
    let handshake = options(service.settings, &snapshot.parts.limits).handshake(watched);
    drop(snapshot);
    match timeout(header_timeout, handshake).await {
        Ok(Ok(connection)) => run(&mut service, connection, &ward, &digest).await,
        // Somebody who says "h2" and speaks something else, or leaves.
        Ok(Err(error)) => ended(&ward, &error),
        Err(_) => ward.record(Reason::RequestTimeout),
    }
}

/// pingora's bounds, lowered.
fn options(settings: Http2Settings, limits: &RequestLimits) -> H2Options {
    // What is larger than this gets a bare 431 from the library; what is only larger than our limits, one that says more.
    let fields = (limits.header_count_max + PSEUDO_FIELDS) * FIELD_OVERHEAD_BYTES;
    let header_list = limits.target_bytes_max + limits.header_bytes_max + fields;
    let mut options = default_h2_options();
    options
        .max_concurrent_streams(settings.streams_max)
        .max_header_list_size(u32::try_from(header_list).unwrap_or(u32::MAX))
        .max_frame_size(FRAME_BYTES)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_concurrent_reset_streams(UNSEEN_RESETS_MAX)
        .max_pending_accept_reset_streams(UNSEEN_RESETS_MAX)
        .max_local_error_reset_streams(Some(FAULTS_MAX));
    options
}

async fn run(service: &mut Service<'_>, mut connection: Connection<Watched, Bytes>, ward: &Arc<Ward>, digest: &Arc<Digest>) {
    let mut stopping = service.shutdown.clone();
    let mut stage = Stage::Open;
    // How long a connection that is to end has stood still.
    let mut still = Duration::ZERO;
    loop {
        let patience = match stage {
            Stage::Open => service.snapshot.load().parts.timeouts.idle,
            Stage::Leaving { .. } | Stage::Ended => PARTING,
        };
        match next(&mut connection, ward, &stage, patience, &mut stopping).await {
            Event::Request(request) => {
                still = Duration::ZERO;
                let snapshot = service.snapshot.load();
                if matches!(stage, Stage::Open) && snapshot.parts.draining.load(Ordering::Relaxed) {
                    stage = leave(&mut connection, Some(snapshot));
                }
                if !matches!(stage, Stage::Ended) {
                    begin(service, ward, digest, *request);
                }
            }
            Event::Alarm(reason) => {
                ward.record(reason);
                connection.abrupt_shutdown(H2Reason::ENHANCE_YOUR_CALM);
                stage = Stage::Ended;
            }
            Event::Stopping => stage = leave(&mut connection, Some(service.snapshot.load())),
            Event::Quiet if matches!(stage, Stage::Open) => stage = leave(&mut connection, None),
            // What was answered last may still be on its way to a client that reads slowly: for as long as a write may take, as
            // one that opens no window is not seen by what watches writes.
            Event::Quiet
                if matches!(stage, Stage::Leaving { .. })
                    && connection.has_streams()
                    && still < service.snapshot.load().parts.timeouts.body =>
            {
                still += PARTING;
            }
            Event::Quiet | Event::Closed => return,
        }
    }
}

/// Tells the client to send no more requests. Where the gateway stops, it waits until that is understood.
fn leave(connection: &mut Connection<Watched, Bytes>, stops: Option<&Arc<Snapshot>>) -> Stage {
    connection.graceful_shutdown();
    Stage::Leaving { _in_flight: stops.map(|snapshot| snapshot.parts.metrics.request_begun()) }
}

async fn next(
    connection: &mut Connection<Watched, Bytes>,
    ward: &Ward,
    stage: &Stage,
    patience: Duration,
    stopping: &mut ShutdownWatch,
) -> Event {
    let quiet = async {
        if !matches!(stage, Stage::Ended) {
            ward.idle().await;
        }
        sleep(patience).await;
    };
    tokio::select! {
        biased;
        reason = ward.alarm(), if !matches!(stage, Stage::Ended) => Event::Alarm(reason),
        // This is what reads and writes.
        accepted = connection.accept() => match accepted {
            Some(Ok(request)) => Event::Request(Box::new(request)),
            Some(Err(error)) => {
                ended(ward, &error);
                Event::Closed
            }
            None => Event::Closed,
        },
        // The sender ends with the process.
        _ = stopping.wait_for(|stopping| *stopping), if matches!(stage, Stage::Open) => Event::Stopping,
        () = quiet => Event::Quiet,
    }
}

/// Says why a connection ended that the library gave up. A client that leaves is not worth a word.
fn ended(ward: &Ward, error: &h2::Error) {
    tracing::debug!(client = ?ward.client(), %error, "an HTTP/2 connection ended");
    if error.is_library() {
        let calm = error.reason() == Some(H2Reason::ENHANCE_YOUR_CALM);
        ward.record(if calm { Reason::TooMany } else { Reason::Malformed });
    }
}

/// Has a request served in a task of its own.
fn begin(
    service: &mut Service<'_>,
    ward: &Arc<Ward>,
    digest: &Arc<Digest>,
    (request, mut respond): (Request<RecvStream>, SendResponse<Bytes>),
) {
    // Those that the client reset are none of its streams any more, and may be served all the same until somebody looks.
    if ward.open() >= SERVED_PER_STREAM * service.settings.streams_max as usize {
        respond.send_reset(H2Reason::REFUSED_STREAM);
        ward.record(Reason::TooMany);
        return;
    }
    let (mut head, body) = request.into_parts();
    let too_many = head::give_one_reading(&mut head, service.snapshot.load().parts.limits.header_count_max).err();
    let exchange = Arc::new(Exchange::begin(Arc::clone(ward), too_many));
    head.extensions.insert(Arc::clone(&exchange));
    let session = Session::new(head.into(), body, respond, Arc::clone(digest), Arc::clone(&exchange));
    let (http, shutdown) = (Arc::clone(service.http), service.shutdown.clone());
    let seat = service.snapshot.load().parts.streams.seat();
    tokio::spawn(async move {
        let request = http.process_new_http(ServerSession::new_custom(Box::new(session)), &shutdown);
        streams::serve(seat.slot(), Below::Bare(&|reason| exchange.cut_off(reason)), request).await;
    });
}
