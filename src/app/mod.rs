//! The composition root: configuration → stores → services → listeners, and the way back down.
//!
//! One runtime of the application's own outlives the proxy's: SQL pools, Redis, password hashing and the
//! admin listener live there, so that nothing slow shares a thread with proxied requests.

mod drain;
mod services;
mod settings;
mod watch;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context as _;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server};
use pingora::services::listening::Service;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

pub use services::Services;

use crate::admin::Admin;
use crate::config::Config;
use crate::proxy::{ATTEMPTS_MAX, Proxy, ProxyParts, Upstreams};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::logging::{self, Format};
use crate::telemetry::metrics::Metrics;
use drain::{DrainTimes, StopAccepting, StopSignals};

/// Threads for SQL, Redis and the admin listener; hashing has bounded blocking threads of its own.
const APP_THREADS: usize = 2;
/// Upstream connections kept for reuse. Must exceed the concurrency, or every request pays a handshake.
const UPSTREAM_POOL: usize = 4096;
/// How long the proxy may take from its start to its first accepted connection, and how often to look.
const LISTENING_MAX: Duration = Duration::from_secs(10);
const LISTENING_POLL: Duration = Duration::from_millis(2);

/// The application's own runtime.
///
/// # Errors
/// The operating system gives no threads.
pub fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(APP_THREADS)
        .thread_name("app")
        .enable_all()
        .build()
        .context("starting the runtime")
}

/// Makes aws-lc the one crypto provider of the process. pingora's TLS would install another one first come,
/// first served.
pub fn install_crypto_provider() {
    // An error says that one is installed already, which is this one: nothing else installs any.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
}

/// Runs the gateway until it is told to stop: diagnostics to stderr, the access log to stdout.
///
/// # Errors
/// What keeps it from starting. Once it serves, it only ends by signal.
pub fn run(config: &Config) -> anyhow::Result<()> {
    install_crypto_provider();
    let format = if config.telemetry.json { Format::Json } else { Format::Text };
    let log = logging::init(format, config.telemetry.level).context("starting the log")?;
    let metrics = Arc::new(Metrics::new());
    log.count_lost_lines(&metrics);
    count_panics(Arc::clone(&metrics));
    // Both are flushed when they are dropped, after the last request.
    let (access_log, _flush) = AccessLog::start(std::io::stdout(), &metrics);
    let access_log = config.telemetry.access_log.then_some(access_log);

    for address in config.server.listen.iter().chain(&config.server.admin) {
        check_free(*address)?;
    }
    let runtime = runtime()?;
    runtime.block_on(serve(config, access_log, &metrics))?;
    // Requests that were cut off must not hold the process: pingora's threads end with it.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

/// A panic ends one request (its task); it must not end unseen.
fn count_panics(metrics: Arc<Metrics>) {
    std::panic::set_hook(Box::new(move |panic| {
        metrics.panicked();
        tracing::error!(location = panic.location().map(ToString::to_string), "a fault in the gateway: one request was lost");
    }));
}

async fn serve(config: &Config, access_log: Option<AccessLog>, metrics: &Arc<Metrics>) -> anyhow::Result<()> {
    let mut signals = StopSignals::new().context("listening for signals")?;
    let services = Services::open(config, metrics).await?;
    let upstreams = Arc::new(Upstreams::new(settings::upstreams(config)));
    upstreams.resolve_all().await;
    let draining = Arc::new(AtomicBool::new(false));
    let background = CancellationToken::new();
    watch::start(&services, config, &upstreams, &background);
    let stop_accepting = CancellationToken::new();
    let parts = settings::proxy_parts(config, &services, upstreams, access_log, metrics, &draining)?;
    start_proxy(config, parts, stop_accepting.clone())?;
    await_listening(&config.server.listen).await?;
    // Only now: whoever reads on `/readyz` that the gateway is ready may send it a request at once.
    start_admin(config, &services, &draining, metrics).await?;
    tracing::info!(listen = ?config.server.listen, admin = ?config.server.admin, "portcullis is listening");

    let signal = signals.next().await;
    tracing::info!(signal, "draining");
    let times = DrainTimes { delay: config.server.drain_delay, timeout: config.server.drain_timeout };
    let cut_off = drain::drain(&mut signals, times, &draining, &stop_accepting, metrics, services.finish_mail()).await;
    background.cancel();
    tracing::info!(cut_off, "stopped");
    Ok(())
}

/// pingora panics on an address it cannot have; an operator should read a sentence instead.
fn check_free(address: SocketAddr) -> anyhow::Result<()> {
    TcpListener::bind(address).map(drop).with_context(|| {
        format!("cannot listen on {address}: stop the program that uses it, or change `server.listen` or `server.admin`")
    })
}

/// pingora binds in threads of its own and tells nobody, so ask as a client would.
async fn await_listening(addresses: &[SocketAddr]) -> anyhow::Result<()> {
    let all = async {
        for address in addresses {
            while TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(LISTENING_POLL).await;
            }
        }
    };
    tokio::time::timeout(LISTENING_MAX, all).await.context("the proxy does not listen: see the log for what ended it")
}

async fn start_admin(
    config: &Config,
    services: &Services,
    draining: &Arc<AtomicBool>,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<()> {
    let Some(address) = config.server.admin else { return Ok(()) };
    let listener = tokio::net::TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let admin = Admin {
        probes: services.probes.clone(),
        draining: Arc::clone(draining),
        metrics: Arc::clone(metrics),
        reload: Arc::new(watch::Rereader::new(services)),
    };
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, admin.router()).await {
            tracing::error!(%error, "the admin listener ended");
        }
    });
    Ok(())
}

fn start_proxy(config: &Config, parts: ProxyParts, stop_accepting: CancellationToken) -> anyhow::Result<()> {
    let conf = ServerConf {
        threads: config.server.threads,
        max_retries: ATTEMPTS_MAX,
        upstream_keepalive_pool_size: UPSTREAM_POOL,
        // The application ends the process once the drain is over; pingora's own waiting must not end sooner.
        grace_period_seconds: Some(config.server.drain_timeout.as_secs() + 1),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = Service::new("gateway".to_owned(), Proxy::connections(parts, Arc::clone(&server.configuration)));
    for address in &config.server.listen {
        // pingora's default read buffer of 64 KiB is what an idle connection would cost.
        let buffers = L4BufferSettings::default().read(0);
        service.add_listener(ListenerConfig::tcp(address.to_string()).l4_buffer(buffers));
    }
    server.add_service(service);
    std::thread::Builder::new()
        .name("pingora".to_owned())
        .spawn(move || server.run(RunArgs { shutdown_signal: Box::new(StopAccepting(stop_accepting)) }))
        .context("starting the proxy")?;
    Ok(())
}
