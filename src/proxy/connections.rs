//! Client connections: each one guarded while a head is read, counted, and kept alive only as long as the
//! gateway itself stays.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Once};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arc_swap::Cache;
use async_trait::async_trait;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ServerApp};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use pingora_timeout::sleep;

use super::caps::Caps;
use super::entrance::Entrances;
use super::head_guard::HeadGuard;
use super::streams::{self, Below};
use super::{Live, Proxy, http2};
use crate::clock::Clock;
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

/// How much longer a connection may wait for a head to begin.
///
/// One alarm serves many waits: when it goes off, it is set again for what is left of the wait of then. A timer for each
/// would cost each request more than all that is decided about it.
struct Patience {
    over_at: Instant,
    alarm: Option<(Instant, Alarm)>,
}

type Alarm = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

impl Patience {
    fn until(over_at: Instant) -> Self {
        Self { over_at, alarm: None }
    }

    /// Another wait begins.
    fn renew(&mut self, over_at: Instant) {
        self.over_at = over_at;
        // An alarm that would come too late, after a longer wait.
        self.alarm.take_if(|(at, _)| *at > over_at);
    }

    fn poll_over(&mut self, cx: &mut Context<'_>, now: impl Fn() -> Instant) -> Poll<()> {
        let over_at = self.over_at;
        loop {
            let alarm = self.alarm.get_or_insert_with(|| {
                let left = over_at.saturating_duration_since(now());
                (over_at, Box::pin(sleep(left)))
            });
            std::task::ready!(alarm.1.as_mut().poll(cx));
            if now() >= over_at {
                return Poll::Ready(());
            }
            self.alarm = None;
        }
    }
}

/// Waits for the next head; false if the connection is to be closed instead.
async fn head_begins(
    guard: &mut HeadGuard,
    patience: &mut Patience,
    mut parting: Pin<&mut impl Future<Output = ()>>,
    clock: &dyn Clock,
) -> bool {
    poll_fn(|cx| {
        // Asked first: a request that has arrived is served even if the gateway is about to stop.
        if let Poll::Ready(begins) = guard.poll_head_begins(cx) {
            return Poll::Ready(begins);
        }
        let over = patience.poll_over(cx, || clock.monotonic()).is_ready() || parting.as_mut().poll(cx).is_ready();
        if over { Poll::Ready(false) } else { Poll::Pending }
    })
    .await
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
        let clock = Arc::clone(&snapshot.load().parts.clock);
        let (mut patience, mut kept) = (Patience::until(clock.monotonic() + guard.header_timeout()), None);
        // Once for all requests, like the alarm.
        let mut parting = pin!(parting(&mut stopping));
        loop {
            if !head_begins(&mut guard, &mut patience, parting.as_mut(), &*clock).await {
                return None;
            }
            let request = self.http.process_new_http(Self::session(guard, kept), shutdown);
            let next = streams::serve(seat.slot(), Below::Guarded, request).await??;
            let stream;
            (stream, kept) = next.consume();
            let snapshot = snapshot.load();
            guard = HeadGuard::rearm(stream, &snapshot.guard)?;
            patience.renew(clock.monotonic() + snapshot.parts.timeouts.idle);
        }
    }

    async fn cleanup(&self) {
        self.http.http_cleanup().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[tokio::test]
    async fn an_alarm_that_was_set_for_an_earlier_wait_ends_no_later_one() {
        let tick = Duration::from_millis(1);
        let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().expect("an instant"));
        let mut patience = Patience::until(clock.monotonic() + tick);
        let over = |cx: &mut Context<'_>, patience: &mut Patience| patience.poll_over(cx, || clock.monotonic());
        assert!(poll_fn(|cx| Poll::Ready(over(cx, &mut patience))).await.is_pending());
        patience.renew(clock.monotonic() + 2 * tick);
        let first = patience.alarm.as_ref().map(|(at, _)| *at);
        // It goes off, and another one is set.
        poll_fn(|cx| {
            assert!(over(cx, &mut patience).is_pending(), "the clock stands still");
            if patience.alarm.as_ref().map(|(at, _)| *at) == first { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        clock.advance(2 * tick);
        poll_fn(|cx| over(cx, &mut patience)).await;
    }

    #[tokio::test]
    async fn an_alarm_that_would_come_too_late_is_set_anew() {
        let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().expect("an instant"));
        let mut patience = Patience::until(clock.monotonic() + Duration::from_hours(1));
        assert!(poll_fn(|cx| Poll::Ready(patience.poll_over(cx, || clock.monotonic()))).await.is_pending());
        patience.renew(clock.monotonic());
        poll_fn(|cx| patience.poll_over(cx, || clock.monotonic())).await;
    }
}
