//! The composition root: configuration → stores → services → listeners, and the way back down.
//!
//! One runtime of the application's own outlives the proxy's: SQL pools, Redis, password hashing and the
//! admin listener live there, so that nothing slow shares a thread with proxied requests.

mod acme;
pub mod certificates;
mod config_file;
mod drain;
mod inspect;
mod issuers;
pub mod order;
mod orders;
mod reload;
mod services;
mod settings;
mod shared_set;
mod trial;
mod upgrade;
mod upstreams;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use pingora::listeners::{L4BufferSettings, ListenerConfig, TcpSocketOptions};
use pingora::protocols::TcpKeepalive;
use pingora::server::configuration::{Opt, ServerConf};
use pingora::server::{RunArgs, Server};
use pingora::services::listening::Service;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use config_file::Sighting;
pub use inspect::inspect;
pub(crate) use issuers::know as know_issuers;
pub use services::Services;

use crate::admin::Admin;
use crate::config::{Config, Source};
use crate::proxy::{ATTEMPTS_MAX, EntranceParts, Live, Proxy, SystemResolver, Upstreams};
use crate::revocation::Revocations;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::logging::{self, Format};
use crate::telemetry::metrics::Metrics;
use drain::{DrainTimes, StopAccepting, StopSignals};
use issuers::Followed;
use orders::Commanded;
use reload::{Reloader, Trigger};
use settings::Shared;
use upgrade::HandOver;

/// Threads for SQL, Redis and the admin listener; hashing has bounded blocking threads of its own.
const APP_THREADS: usize = 2;
/// Upstream connections kept for reuse. Must exceed the concurrency, or every request pays a handshake.
const UPSTREAM_POOL: usize = 4096;
/// When a client is asked whether it is still there, which only TCP can: a WebSocket may be silent for long. Gone after two
/// minutes at most. A balancer in between forgets silent connections after minutes, too, and these packets keep them.
const CLIENT_KEEPALIVE: TcpKeepalive = TcpKeepalive {
    idle: Duration::from_secs(60),
    interval: Duration::from_secs(15),
    count: 4,
    #[cfg(target_os = "linux")]
    user_timeout: Duration::ZERO,
};
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

/// Where a configuration came from, so that it can be read again.
pub struct Origin {
    /// What it was read from.
    pub source: Source,
    /// The file, as it was before it was read.
    pub seen: Option<Sighting>,
    /// Whether to take the place of a gateway that runs, if there is one.
    pub upgrade: bool,
}

/// Runs the gateway until it is told to stop: diagnostics to stderr, the access log to stdout.
///
/// # Errors
/// What keeps it from starting. Once it serves, it only ends by signal.
pub fn run(config: &Config, origin: Origin) -> anyhow::Result<()> {
    install_crypto_provider();
    let format = if config.telemetry.json { Format::Json } else { Format::Text };
    let log = logging::init(format, config.telemetry.level).context("starting the log")?;
    let metrics = Arc::new(Metrics::new());
    log.count_lost_lines(&metrics);
    count_panics(Arc::clone(&metrics));
    // Both are flushed when they are dropped, after the last request.
    let (access_log, _flush) = AccessLog::start(std::io::stdout(), &metrics);

    let predecessor = origin.upgrade && upgrade::predecessor(config.server.admin, &config.data_dir)?;
    if !predecessor {
        for address in config.server.listen.iter().chain(&config.server.admin) {
            check_free(*address)?;
        }
    }
    let runtime = runtime()?;
    runtime.block_on(serve(config, origin, Arc::new(Shared::new(access_log, metrics)), predecessor))?;
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

async fn serve(config: &Config, origin: Origin, shared: Arc<Shared>, predecessor: bool) -> anyhow::Result<()> {
    let metrics = &shared.metrics;
    let mut signals = StopSignals::new().context("listening for signals")?;
    // From now on: at an earlier one the process would end.
    let hangups = signal(SignalKind::hangup()).context("listening for signals")?;
    let services = Arc::new(Services::open(config, metrics).await?);
    let clock = Arc::clone(&services.clock);
    let upstreams = Arc::new(Upstreams::new(upstreams::settings(config), Arc::new(SystemResolver), clock, metrics));
    upstreams.resolve_all().await;
    let live = Live::new(settings::proxy_parts(config, &services, upstreams, &shared)?);
    let background = CancellationToken::new();
    watch::start(&services, config, &live, &background);
    let issuers = Followed::new(&services.authenticator, issuers::parts(config, &services, metrics), &background);
    issuers.follow(issuers::settings(config)?);
    let entrances = open_certificates(config, &services, metrics, &background).await?;
    let (stop_accepting, hand_over) = (CancellationToken::new(), HandOver::new(&config.data_dir, Arc::clone(&shared.stopping)));
    let begun = hand_over.begun();
    let Listening { server, admin } = listen(config, predecessor, &services).await?;
    let phases = server.watch_execution_phase();
    let stop = StopAccepting { stop: stop_accepting.clone(), hand_over: begun.clone() };
    start_proxy(server, config, (live.clone(), entrances), (metrics, &services.revocations), stop)?;
    await_listening(&config.server.listen).await?;
    let configuration =
        Arc::new(Reloader::new(origin.source, Arc::clone(&services), Arc::clone(&shared), (live, issuers), config.clone()));
    reload_on_demand(&configuration, hangups, origin.seen, &background);
    // Only now: whoever reads on `/readyz` that the gateway is ready may send it a request at once.
    let orders = Commanded { revocations: Arc::clone(&services.revocations), configuration, hand_over };
    let admin = start_admin(admin, &services, &shared, orders);
    tracing::info!(listen = ?config.server.listen, admin = ?config.server.admin, "portcullis is listening");

    let mut times = DrainTimes { delay: config.server.drain_delay, timeout: config.server.drain_timeout, deaf: false };
    tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "draining");
            shared.stopping.store(true, Ordering::Relaxed);
        }
        () = begun.cancelled() => {
            tracing::info!("handing over to a new process");
            // Ready all the same: the new process answers for both.
            shared.draining.store(true, Ordering::Relaxed);
            upgrade::handed_over(phases).await;
            // The new process waits for its address.
            admin.abort();
            drop(admin.await);
            (times.delay, times.deaf) = (Duration::ZERO, true);
        }
    }
    let cut_off = drain::drain(&mut signals, times, &shared.draining, &stop_accepting, metrics, services.finish_mail()).await;
    background.cancel();
    tracing::info!(cut_off, "stopped");
    Ok(())
}

/// What the gateway will be reached by.
struct Listening {
    /// It has the sockets of the process before it, if there is one, and will open the others.
    server: Server,
    admin: Option<TcpListener>,
}

async fn listen(config: &Config, predecessor: bool, services: &Services) -> anyhow::Result<Listening> {
    let server = server(config, predecessor);
    match config.server.admin {
        Some(address) if predecessor => {
            let (server, admin) = upgrade::take_over(address, &config.data_dir, server).await?;
            // What the process before this one revoked meanwhile.
            services.revocations.follow_now().await.context("reading the revocations again")?;
            Ok(Listening { server, admin: Some(admin) })
        }
        Some(address) => {
            let admin = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
            Ok(Listening { server, admin: Some(admin) })
        }
        None => Ok(Listening { server, admin: None }),
    }
}

/// pingora panics on an address it cannot have; an operator should read a sentence instead.
fn check_free(address: SocketAddr) -> anyhow::Result<()> {
    std::net::TcpListener::bind(address).map(drop).with_context(|| {
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

/// Serves operators until the returned task is aborted.
fn start_admin(listener: Option<TcpListener>, services: &Services, shared: &Shared, orders: Commanded) -> JoinHandle<()> {
    let admin = Admin {
        probes: services.probes.clone(),
        draining: Arc::clone(&shared.stopping),
        metrics: Arc::clone(&shared.metrics),
        orders: Arc::new(orders),
    };
    tokio::spawn(async move {
        let Some(listener) = listener else { return };
        if let Err(error) = axum::serve(listener, admin.router()).await {
            tracing::error!(%error, "the admin listener ended");
        }
    })
}

/// Reads the certificates, follows their files, and orders those that the gateway orders by itself.
async fn open_certificates(
    config: &Config,
    services: &Services,
    metrics: &Arc<Metrics>,
    until: &CancellationToken,
) -> anyhow::Result<EntranceParts> {
    let certificates = certificates::open(config)?;
    let challenges = services.acme.as_ref().map(|acme| acme.challenges());
    let entrances = settings::entrances(config, certificates.certificates(), challenges)?;
    acme::start(services.acme.as_ref(), certificates.certificates(), until).await;
    let watching = certificates::watch(certificates, Arc::clone(&services.clock), Arc::clone(metrics));
    tokio::spawn(until.clone().run_until_cancelled_owned(watching));
    Ok(entrances)
}

/// Reads the configuration again at SIGHUP, and when its file is no longer the one that was `seen`.
fn reload_on_demand(reloader: &Arc<Reloader>, mut hangups: Signal, seen: Option<Sighting>, until: &CancellationToken) {
    let by_signal = Arc::clone(reloader);
    tokio::spawn(until.clone().run_until_cancelled_owned(async move {
        while hangups.recv().await.is_some() {
            // What it says is logged.
            drop(by_signal.reload(Trigger::Signal).await);
        }
    }));
    if reloader.follows_file() {
        tokio::spawn(until.clone().run_until_cancelled_owned(config_file::follow(seen, Arc::clone(reloader))));
    }
}

/// pingora's server, which is to receive its sockets if there is a process that has them.
fn server(config: &Config, upgrade: bool) -> Server {
    let conf = ServerConf {
        threads: config.server.threads,
        max_retries: ATTEMPTS_MAX,
        upstream_keepalive_pool_size: UPSTREAM_POOL,
        // The application ends the process once the drain is over; pingora's own waiting must not end sooner.
        grace_period_seconds: Some(config.server.drain_timeout.as_secs() + 1),
        graceful_shutdown_timeout_seconds: Some(0),
        upgrade_sock: upgrade::socket(&config.data_dir).display().to_string(),
        ..ServerConf::default()
    };
    Server::new_with_opt_and_conf(Opt { upgrade, ..Opt::default() }, conf)
}

fn start_proxy(
    mut server: Server,
    config: &Config,
    (live, entrances): (Live, EntranceParts),
    (metrics, revocations): (&Arc<Metrics>, &Arc<Revocations>),
    stop: StopAccepting,
) -> anyhow::Result<()> {
    server.bootstrap();
    let revocations = Arc::clone(revocations);
    let begin = move || revocations.serve_here();
    let connections = Proxy::connections(live, entrances, Arc::clone(metrics), Arc::clone(&server.configuration), begin);
    let mut service = Service::new("gateway".to_owned(), connections);
    for address in &config.server.listen {
        // pingora's default read buffer of 64 KiB is what an idle connection would cost.
        let buffers = L4BufferSettings::default().read(0);
        let mut options = TcpSocketOptions::default();
        options.tcp_keepalive = Some(CLIENT_KEEPALIVE);
        service.add_listener(ListenerConfig::tcp(address.to_string()).l4_buffer(buffers).tcp_socket_options(options));
    }
    server.add_service(service);
    std::thread::Builder::new()
        .name("pingora".to_owned())
        .spawn(move || server.run(RunArgs { shutdown_signal: Box::new(stop) }))
        .context("starting the proxy")?;
    Ok(())
}
