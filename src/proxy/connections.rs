//! Client connections: each one guarded while a head is read, counted, and kept alive only as long as the
//! gateway itself stays.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ServerApp};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use pingora_timeout::timeout;

use super::Proxy;
use super::head_guard::{GuardSettings, HeadGuard};
use crate::telemetry::metrics::Metrics;

/// What pingora hands accepted connections to.
pub struct Connections {
    http: Arc<HttpProxy<Proxy>>,
    guard: Arc<GuardSettings>,
    idle_timeout: Duration,
    metrics: Arc<Metrics>,
}

impl Connections {
    pub(super) fn new(http: HttpProxy<Proxy>, guard: GuardSettings, idle_timeout: Duration, metrics: Arc<Metrics>) -> Self {
        Self { http: Arc::new(http), guard: Arc::new(guard), idle_timeout, metrics }
    }

    /// The exchange whose head begins now.
    fn session(&self, guard: Box<HeadGuard>, kept: Option<HttpPersistentSettings>) -> ServerSession {
        let mut session = ServerSession::new_http1(guard);
        if let Some(kept) = kept {
            kept.apply_to_session(&mut session);
        }
        // pingora's own time for each read of a head, in whole seconds. It closes without a word, so it must not end
        // before the guard's deadline, which answers.
        session.set_keepalive(Some(self.guard.header_timeout.as_secs() + 1));
        session
    }
}

#[async_trait]
impl ServerApp for Connections {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let _open = self.metrics.connection_opened();
        let mut stopping = shutdown.clone();
        let mut guard = Box::new(HeadGuard::new(stream, Arc::clone(&self.guard)));
        let (mut patience, mut kept) = (self.guard.header_timeout, None);
        loop {
            let begins = tokio::select! {
                biased;
                // Asked first: a request that has arrived is served even if the gateway is about to stop.
                begins = timeout(patience, guard.head_begins()) => begins.unwrap_or(false),
                _ = stopping.wait_for(|stopping| *stopping) => false,
            };
            if !begins {
                return None;
            }
            let next = self.http.process_new_http(self.session(guard, kept), shutdown).await?;
            let stream;
            (stream, kept) = next.consume();
            guard = HeadGuard::rearm(stream)?;
            patience = self.idle_timeout;
        }
    }

    async fn cleanup(&self) {
        self.http.http_cleanup().await;
    }
}
