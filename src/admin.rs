//! The second listener, for operators and orchestrators: liveness, readiness, metrics, and the order to read
//! again what another process changed. It must never be reachable by clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;

use crate::store::Probe;
use crate::telemetry::metrics::Metrics;

/// A probe that has not answered by then counts as missing: orchestrators give up after a second or two.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// What the admin listener shows and does.
pub struct Admin {
    /// What must answer before the gateway is ready.
    pub probes: Vec<Arc<dyn Probe>>,
    /// Set once the gateway is about to stop.
    pub draining: Arc<AtomicBool>,
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// Reads revocations and keys again from their stores.
    pub reload: Arc<dyn Reload>,
}

/// Reads again what another process may have changed.
#[async_trait::async_trait]
pub trait Reload: Send + Sync {
    /// Resolves once every change that was committed before the call is in force.
    ///
    /// # Errors
    /// What could not be read.
    async fn reload_revocations(&self) -> Result<(), String>;
}

/// Something that must answer and does not.
#[derive(Debug, Serialize)]
struct Missing {
    what: &'static str,
    why: String,
}

#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    missing: Vec<Missing>,
}

impl Admin {
    /// The admin listener's routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/livez", get(async || "alive\n"))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/revocations/reload", post(reload_revocations))
            .with_state(Arc::new(self))
    }
}

async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    let mut missing = Vec::new();
    if admin.draining.load(Ordering::Relaxed) {
        missing.push(Missing { what: "gateway", why: "is stopping".to_owned() });
    }
    for probe in &admin.probes {
        let why = match tokio::time::timeout(PROBE_TIMEOUT, probe.probe()).await {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("did not answer within {PROBE_TIMEOUT:?}"),
        };
        missing.push(Missing { what: probe.name(), why });
    }
    let ready = missing.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, missing })).into_response()
}

async fn metrics(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], admin.metrics.encode())
}

async fn reload_revocations(State(admin): State<Arc<Admin>>) -> Response {
    match admin.reload.reload_revocations().await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}
