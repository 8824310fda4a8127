//! Client connections: each one guarded while a head is read, counted, and kept alive only as long as the
//! gateway itself stays.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, ReusedHttpStream, ServerApp};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;

use super::Proxy;
use super::head_guard::{GuardSettings, HeadGuard};
use crate::telemetry::metrics::Metrics;

/// What pingora hands accepted connections to.
pub struct Connections {
    http: Arc<HttpProxy<Proxy>>,
    guard: Arc<GuardSettings>,
    metrics: Arc<Metrics>,
}

impl Connections {
    pub(super) fn new(http: HttpProxy<Proxy>, guard: GuardSettings, metrics: Arc<Metrics>) -> Self {
        Self { http: Arc::new(http), guard: Arc::new(guard), metrics }
    }

    fn first_session(&self, stream: Stream, shutdown: &ShutdownWatch) -> ServerSession {
        let mut session = ServerSession::new_http1(Box::new(HeadGuard::new(stream, Arc::clone(&self.guard))));
        // Until the first byte, pingora's own per-read timeout applies; it counts whole seconds. It closes without a
        // word, so it must not end together with the guard's deadline, which answers.
        let wait = self.guard.header_timeout.as_secs() + 1;
        session.set_keepalive((!*shutdown.borrow()).then_some(wait));
        session
    }
}

#[async_trait]
impl ServerApp for Connections {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let _open = self.metrics.connection_opened();
        let mut next = self.http.process_new_http(self.first_session(stream, shutdown), shutdown).await;
        while let Some((stream, kept)) = next.map(ReusedHttpStream::consume) {
            let mut session = ServerSession::new_http1(HeadGuard::rearm(stream)?);
            if let Some(kept) = kept {
                kept.apply_to_session(&mut session);
            }
            next = self.http.process_new_http(session, shutdown).await;
        }
        None
    }

    async fn cleanup(&self) {
        self.http.http_cleanup().await;
    }
}
