//! Stopping without losing a request: not ready → keep serving → stop accepting → finish → exit.
//!
//! pingora's own sequence closes its listeners at once and then always sleeps the whole grace period. Here the
//! application decides when pingora hears of the end, and leaves as soon as nothing is in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::telemetry::metrics::Metrics;

/// How often the number of requests in flight is looked at while draining.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long each step may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct DrainTimes {
    /// Accepting while not ready, so that load balancers notice.
    pub(super) delay: Duration,
    /// Finishing what is in flight.
    pub(super) timeout: Duration,
    /// Whether nobody has asked for the end yet, so that the first signal only asks for what is happening already.
    pub(super) deaf: bool,
}

/// Tells pingora to close its listeners when `stop` is cancelled, and to hand them over first when `hand_over` is.
pub(super) struct StopAccepting {
    pub(super) stop: CancellationToken,
    pub(super) hand_over: CancellationToken,
}

#[async_trait]
impl ShutdownSignalWatch for StopAccepting {
    async fn recv(&self) -> ShutdownSignal {
        tokio::select! {
            () = self.stop.cancelled() => ShutdownSignal::GracefulTerminate,
            () = self.hand_over.cancelled() => ShutdownSignal::GracefulUpgrade,
        }
    }
}

/// Waits for SIGTERM or SIGINT.
pub(super) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Runs the sequence, and then what requests left to be done afterwards, within the same time; a second signal ends it at once. Returns how many requests were cut off.
pub(super) async fn drain(
    signals: &mut StopSignals,
    times: DrainTimes,
    draining: &AtomicBool,
    stop_accepting: &CancellationToken,
    metrics: &Arc<Metrics>,
    afterwards: impl Future<Output = usize>,
) -> i64 {
    draining.store(true, Ordering::Relaxed);
    let finish = async {
        tokio::time::sleep(times.delay).await;
        stop_accepting.cancel();
        let nothing_left = async {
            while metrics.in_flight() > 0 {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            let lost = afterwards.await;
            if lost > 0 {
                tracing::warn!(lost, "letters that no mail server took are lost");
            }
        };
        // Requests that take longer than promised are cut off: the orchestrator would do it less gently.
        drop(tokio::time::timeout(times.timeout, nothing_left).await);
    };
    let impatience = async {
        if times.deaf {
            signals.next().await;
        }
        signals.next().await
    };
    tokio::select! {
        () = finish => {}
        signal = impatience => tracing::warn!(signal, "second signal: stopping at once"),
    }
    stop_accepting.cancel();
    metrics.in_flight()
}
