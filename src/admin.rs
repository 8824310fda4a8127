//! The second listener, for operators and orchestrators: liveness, readiness, metrics, and the orders to read
//! again what another process changed: revocations and the configuration. It must never be reachable by clients.

use std::error::Error as _;
use std::fmt;
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
    /// Does what it is told.
    pub orders: Arc<dyn Orders>,
}

/// What the gateway can be told to do.
#[async_trait::async_trait]
pub trait Orders: Send + Sync {
    /// Resolves once every change that was committed before the call is in force.
    ///
    /// # Errors
    /// What could not be read.
    async fn reload_revocations(&self) -> Result<(), String>;

    /// Puts the configuration in force as it is written now. Returns the keys that have changed.
    ///
    /// # Errors
    /// Everything that is wrong with it; the one in force stays.
    async fn reload_configuration(&self) -> Result<Vec<String>, Vec<Fault>>;

    /// Hands the listening sockets over to a new process, and stops.
    ///
    /// # Errors
    /// Nobody waits for them; the gateway goes on.
    async fn hand_over(&self) -> Result<(), String>;
}

/// Something that is wrong with a configuration.
#[derive(Debug, Clone, Serialize)]
pub struct Fault {
    /// "error" or "warning".
    pub severity: &'static str,
    /// The key, like `routes[2].path`; empty for the file as a whole.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// `file:line:column`, both from 1.
    pub location: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, message, help, location, .. } = self;
        let words = [location.as_deref(), Some(key.as_str()).filter(|key| !key.is_empty()), Some(message)];
        f.write_str(&words.into_iter().flatten().collect::<Vec<_>>().join(": "))?;
        help.as_ref().map_or(Ok(()), |help| write!(f, " ({help})"))
    }
}

#[derive(Debug, Serialize)]
struct Reloaded {
    changed: Vec<String>,
}

#[derive(Debug, Serialize)]
struct NotReloaded {
    error: &'static str,
    problems: Vec<Fault>,
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
            .route("/reload", post(reload_configuration))
            .route("/upgrade", post(hand_over))
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
            Ok(Err(error)) => error.source().map_or_else(|| error.to_string(), |why| format!("{error}: {why}")),
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
    match admin.orders.reload_revocations().await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn reload_configuration(State(admin): State<Arc<Admin>>) -> Response {
    match admin.orders.reload_configuration().await {
        Ok(changed) => Json(Reloaded { changed }).into_response(),
        Err(problems) => {
            let error = "the configuration was not reloaded; the one in force stays";
            (StatusCode::UNPROCESSABLE_ENTITY, Json(NotReloaded { error, problems })).into_response()
        }
    }
}

async fn hand_over(State(admin): State<Arc<Admin>>) -> Response {
    match admin.orders.hand_over().await {
        Ok(()) => (StatusCode::ACCEPTED, "handing over\n").into_response(),
        Err(why) => (StatusCode::CONFLICT, format!("{why}\n")).into_response(),
    }
}
