//! Client connections: each one guarded while a head is read, counted, and kept alive only as long as the
//! gateway itself stays.

use std::sync::{Arc, Once};
use std::time::Duration;

use arc_swap::Cache;
use async_trait::async_trait;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ServerApp};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use pingora_timeout::{sleep, timeout};

use super::caps::Caps;
use super::entrance::Entrances;
use super::head_guard::HeadGuard;
use super::streams::{self, Below};
use super::{Live, Proxy, http2};
use crate::telemetry::metrics::Metrics;

/// A client's request is on its way for so long at most, with all the waiting of a loaded machine.
const PARTING: Duration = Duration::from_secs(1);

/// What pingora hands accepted connections to.
pub struct Connections {
    http: Arc<HttpProxy<Proxy>>,
    live: Live,
    entrances: Entrances,
    caps: Arc<Caps>,
    metrics: Arc<Metrics>,
    /// Done with the first connection.
    begin: (Once, Box<dyn Fn() + Send + Sync>),
}

impl Connections {
    pub(super) fn new(
        http: HttpProxy<Proxy>,
        live: Live,
        entrances: Entrances,
        metrics: Arc<Metrics>,
        begin: Box<dyn Fn() + Send + Sync>,
    ) -> Self {
        Self { http: Arc::new(http), live, entrances, caps: Arc::default(), metrics, begin: (Once::new(), begin) }
    }

    /// The exchange whose head begins now.
    fn session(guard: Box<HeadGuard>, kept: Option<HttpPersistentSettings>) -> ServerSession {
        let header_timeout = guard.header_timeout();
        let mut session = ServerSession::new_http1(guard);
        if let Some(kept) = kept {
            kept.apply_to_session(&mut session);
        }
        // pingora's own time for each read of a head, in whole seconds. It closes without a word, so it must not end
        // before the guard's deadline, which answers.
        session.set_keepalive(Some(header_timeout.as_secs() + 1));
        session
    }
}

/// Until an idle connection is closed because the gateway stops: a request may be on its way, sent before its client could
/// know. It is answered with `Connection: close`.
async fn parting(stopping: &mut ShutdownWatch) {
    // The sender ends with the process.
    drop(stopping.wait_for(|stopping| *stopping).await);
    sleep(PARTING).await;
}

#[async_trait]
impl ServerApp for Connections {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let _open = self.metrics.connection_opened();
        self.begin.0.call_once(&self.begin.1);
        let mut stopping = shutdown.clone();
        // One look at a pointer per request, while nothing was reloaded.
        let mut snapshot = Cache::new(self.live.cell());
        let (stream, arrival, _place) = {
            let parts = &snapshot.load().parts;
            // Not logged: whoever opens connections must not fill a disk.
            let refused = |cause| self.metrics.refused_before_routing(cause);
            let place = self.caps.enter(parts.connections).map_err(refused).ok()?;
            self.entrances.enter(stream, place, parts.connections, &parts.trusted_proxies).await?
        };
        if let (Some(settings), Some(arrival)) = (self.entrances.http2(arrival.as_deref()), &arrival) {
            let service = http2::Service { settings, http: &self.http, snapshot, shutdown };
            // In a box of its own, like the handshake.
            Box::pin(http2::serve(service, stream, Arc::clone(arrival))).await;
            return None;
        }
        // For one request after the other.
        let seat = snapshot.load().parts.streams.seat();
        let (place, settings) = (Arc::clone(seat.slot()), Arc::clone(&snapshot.load().guard));
        let mut guard = Box::new(HeadGuard::new(stream, arrival, place, settings));
        let (mut patience, mut kept) = (guard.header_timeout(), None);
        loop {
            let begins = tokio::select! {
                biased;
                // Asked first: a request that has arrived is served even if the gateway is about to stop.
                begins = timeout(patience, guard.head_begins()) => begins.unwrap_or(false),
                () = parting(&mut stopping) => false,
            };
            if !begins {
                return None;
            }
            let request = self.http.process_new_http(Self::session(guard, kept), shutdown);
            let next = streams::serve(seat.slot(), Below::Guarded, request).await??;
            let stream;
            (stream, kept) = next.consume();
            let snapshot = snapshot.load();
            guard = HeadGuard::rearm(stream, &snapshot.guard)?;
            patience = snapshot.parts.timeouts.idle;
        }
    }

    async fn cleanup(&self) {
        self.http.http_cleanup().await;
    }
}
