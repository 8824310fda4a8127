//! The real executable, started with a configuration and a data directory of its own; killed when dropped.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};

use rustix::process::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::client::{Actor, RawClient};
use super::eventually;
use super::process::{self, Output, Process};
use super::services::Redis;
use super::upstream::Upstream;

/// Between the moment a port is found free and the moment the gateway has it, somebody else may take it.
const TRIES_MAX: usize = 5;
/// What the admin listener says yes to once the gateway listens, and once all that it needs is there, too.
const ALIVE: &str = "/livez";
const READY: &str = "/readyz";

/// Ports for gateways: below those that the system gives to whoever asks for any, or an upstream of another test would now and
/// then be taken for a gateway that is still starting. Each is given once, from a place that is this process' own.
static NEXT: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(std::process::id().wrapping_mul(509)));
const PORTS: std::ops::Range<u32> = 11_000..32_000;

/// What the gateway is to be started with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Builder {
    /// The configuration, without what is said about listeners.
    tables: String,
    sets: Vec<String>,
    /// What its environment has beside that of the tests.
    environment: Vec<(String, String)>,
    /// Whether a write beyond a limit on the sizes of files fails, instead of ending the process.
    outlives_limits: bool,
    /// Further listeners, without their addresses.
    listeners: Vec<String>,
    /// For a configuration with listeners of its own: the dialect of each of them. They are moved to free ports.
    dialects: Vec<String>,
}

/// A running gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    process: Process,
    builder: Builder,
    /// Holds the data, which replicas share.
    directory: Arc<TempDir>,
    config: PathBuf,
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    /// All addresses where clients connect, in the order of the configuration, further listeners last.
    pub(crate) addresses: Vec<SocketAddr>,
    admin: SocketAddr,
    output: Output,
}

impl Gateway {
    /// A gateway in front of one upstream, `app`, with the routes that most tests need: `/public`, `/optional`,
    /// and `/api` for callers with a token. Nothing else is served.
    pub(crate) fn in_front_of(upstream: &Upstream) -> Builder {
        Self::in_front_of_servers(&[upstream.address], "")
    }

    /// The same for several servers, with further keys of `[upstreams.app]`.
    pub(crate) fn in_front_of_servers(servers: &[SocketAddr], keys: &str) -> Builder {
        let servers: Vec<_> = servers.iter().map(|address| format!("http://{address}")).collect();
        Builder::default()
            .table(&format!("[upstreams.app]\nservers = {servers:?}\n{keys}"))
            .route("path = \"/public\"\naccess = \"public\"")
            .route("path = \"/optional\"\naccess = \"optional\"")
            .route("path = \"/api\"")
    }

    /// A gateway with a configuration that we ship, in front of one upstream, `app`. Its listeners, one for each of the
    /// dialects, are moved to free ports.
    pub(crate) fn shipped(file: &str, dialects: &[&str], upstream: &Upstream) -> Builder {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let tables = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let dialects = dialects.iter().map(|&name| name.to_owned()).collect();
        Builder { tables, dialects, ..Builder::default() }.set(&format!("upstreams.app.servers=http://{}", upstream.address))
    }

    /// A connection on which anything can be sent.
    pub(crate) async fn connect(&self) -> RawClient {
        RawClient::connect(self.address).await
    }

    /// Somebody without an account.
    pub(crate) fn anonymous(&self) -> Actor {
        Actor::anonymous(self.address)
    }

    /// Somebody who registered by this name and signed in.
    pub(crate) async fn registered(&self, username: &str) -> Actor {
        Actor::registered(self.address, username).await
    }

    /// Everything that the gateway has written so far, log and access log, from all its lives.
    pub(crate) fn output(&self) -> String {
        process::text(&self.output)
    }

    /// Where its database and its keys are.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The status and the body of the admin listener's answer; none while it does not listen.
    pub(crate) async fn admin(&self, path: &str) -> Option<(u16, String)> {
        let response = reqwest::get(format!("http://{}{path}", self.admin)).await.ok()?;
        Some((response.status().as_u16(), response.text().await.ok()?))
    }

    /// Whether it says that all that it needs is there.
    pub(crate) async fn is_ready(&self) -> bool {
        self.admin(READY).await.is_some_and(|(status, _)| status == 200)
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(&self) {
        eventually("readiness", async || self.is_ready().await.then_some(())).await;
    }

    /// What a command prints on standard output, with this gateway's configuration and data.
    ///
    /// # Panics
    /// It failed.
    pub(crate) fn command(&self, words: &[&str]) -> String {
        let mut command = self.builder.command(&self.config, &self.directory);
        let done = command.args(words).output().expect("the gateway was built");
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    /// The file with its configuration.
    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// The text of its configuration.
    pub(crate) fn written(&self) -> String {
        std::fs::read_to_string(&self.config).expect("the configuration is there")
    }

    /// Puts another configuration in the place of the one that is written, in one step.
    pub(crate) fn write(&self, text: impl AsRef<[u8]>) {
        let new = self.config.with_extension("new");
        std::fs::write(&new, text).expect("a writable directory");
        std::fs::rename(&new, &self.config).expect("a writable directory");
    }

    /// SIGHUP: the way to have the configuration read again.
    pub(crate) fn hang_up(&self) {
        self.process.hang_up();
    }

    /// The running process, whatever takes its place.
    pub(crate) fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// How much of its memory is in use, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid().as_raw_nonzero()));
        let status = status.expect("the process is there");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        resident.and_then(|size| size.trim().trim_end_matches(" kB").parse().ok()).expect("the kernel says it")
    }

    /// Where `POST /reload` goes.
    pub(crate) fn reload_url(&self) -> String {
        format!("http://{}/reload", self.admin)
    }

    /// The answer to `POST /reload`.
    pub(crate) async fn reload(&self) -> (u16, Value) {
        let answer = reqwest::Client::new().post(self.reload_url()).send().await.expect("the admin listener answers");
        (answer.status().as_u16(), answer.json().await.expect("it answers with JSON"))
    }

    /// The value of a time series.
    pub(crate) async fn metric(&self, series: &str) -> Option<f64> {
        let (_, text) = self.admin("/metrics").await?;
        text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    /// Starts a process that takes the place of this one, and waits until it has and this one is gone: how it ended.
    pub(crate) async fn upgrade(&mut self) -> ExitStatus {
        let mut command = self.builder.command(&self.config, &self.directory);
        let successor = Process::start(command.args(["run", "--upgrade"]), &self.output);
        let mut predecessor = std::mem::replace(&mut self.process, successor);
        let status = predecessor.exit().await;
        assert!(self.is_up(READY).await, "the new process did not start:\n{}", self.output());
        status
    }

    /// How `check` ends with this configuration, and what it says.
    pub(crate) fn check(&self) -> (Option<i32>, String) {
        let done = self.builder.command(&self.config, &self.directory).arg("check").output().expect("the gateway was built");
        (done.status.code(), format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr)))
    }

    /// SIGKILL: what a power failure leaves of the process.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGSTOP: it does nothing, until [`Self::resume`].
    pub(crate) fn pause(&self) {
        self.process.pause();
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) {
        self.process.resume();
    }

    /// SIGTERM: the way orchestrators ask.
    pub(crate) fn terminate(&self) {
        self.process.terminate();
    }

    /// How the process ended, once everything that it wrote was read.
    pub(crate) async fn exit(&mut self) -> ExitStatus {
        self.process.exit().await
    }

    /// Starts the gateway again after its end, with the same data on the same ports.
    pub(crate) async fn restart(&mut self) {
        self.process = self.builder.spawn(&self.config, &self.directory, &self.output);
        assert!(self.is_up(READY).await, "the gateway did not start again:\n{}", self.output());
    }

    /// Starts the gateway again after its end, when it must not come up: how it ended, and what it wrote in all its lives.
    pub(crate) async fn start_in_vain(&self) -> (ExitStatus, String) {
        let status = self.builder.spawn(&self.config, &self.directory, &self.output).exit().await;
        (status, self.output())
    }

    /// Starts another gateway on the same data, with ports of its own.
    pub(crate) async fn replica(&self) -> Self {
        self.builder.start_on(&self.directory, READY).await
    }

    /// The same with one more `--set`.
    pub(crate) async fn replica_with(&self, assignment: &str) -> Self {
        self.builder.clone().set(assignment).start_on(&self.directory, READY).await
    }

    /// The same, changed further.
    pub(crate) async fn replica_changed(&self, change: impl FnOnce(Builder) -> Builder) -> Self {
        change(self.builder.clone()).start_on(&self.directory, READY).await
    }

    /// The same, not waiting until all that it needs is there.
    pub(crate) async fn unready_replica_with(&self, assignment: &str) -> Self {
        self.builder.clone().set(assignment).start_on(&self.directory, ALIVE).await
    }

    /// Waits until the admin listener says yes to `path`; false if the process ended instead.
    async fn is_up(&mut self, path: &str) -> bool {
        let client = reqwest::Client::new();
        let url = format!("http://{}{path}", self.admin);
        let process = &mut self.process;
        eventually("the gateway's start", async || {
            if process.has_ended() {
                return Some(false);
            }
            let answer = client.get(&url).send().await.ok()?;
            answer.status().is_success().then_some(true)
        })
        .await
    }
}

impl Builder {
    /// Adds a `[[routes]]` entry to the upstream `app`.
    pub(crate) fn route(self, keys: &str) -> Self {
        self.table(&format!("[[routes]]\nupstream = \"app\"\n{keys}"))
    }

    /// Adds a table as written.
    pub(crate) fn table(mut self, table: &str) -> Self {
        self.tables.push_str(table);
        self.tables.push('\n');
        self
    }

    /// Adds a `[[server.listeners]]` entry, with a free address: the next one in `Gateway::addresses`.
    pub(crate) fn listener(mut self, keys: &str) -> Self {
        self.listeners.push(keys.to_owned());
        self
    }

    /// Leaves these words of the configuration out.
    pub(crate) fn without(mut self, words: &str) -> Self {
        assert!(self.tables.contains(words), "the configuration does not say {words:?}");
        self.tables = self.tables.replace(words, "");
        self
    }

    /// Adds a `--set key=value`.
    pub(crate) fn set(mut self, assignment: &str) -> Self {
        self.sets.push(assignment.to_owned());
        self
    }

    /// Has a write beyond a limit on the sizes of files (RLIMIT_FSIZE) fail, instead of ending the process.
    pub(crate) fn outliving_limits(self) -> Self {
        Self { outlives_limits: true, ..self }
    }

    /// Gives the process a variable of its environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|(other, _)| other != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Has the revoked tokens kept in this Redis.
    pub(crate) fn redis(self, redis: &Redis) -> Self {
        // A machine that runs other tests too may be slower than the deadline that fits production.
        self.table(&format!("[revocation]\nurl = \"{}\"\ndeadline = \"1s\"", redis.url()))
    }

    /// Starts the gateway and waits until it is ready.
    ///
    /// # Panics
    /// It ended instead; the message holds what it wrote.
    pub(crate) async fn start(self) -> Gateway {
        self.start_on(&a_directory(), READY).await
    }

    /// Starts the gateway and waits until it listens, whether or not all that it needs is there.
    ///
    /// # Panics
    /// It ended instead; the message holds what it wrote.
    pub(crate) async fn start_unready(self) -> Gateway {
        self.start_on(&a_directory(), ALIVE).await
    }

    /// Starts a gateway that must not come up: how it ended, and what it wrote.
    pub(crate) async fn refused(self) -> (ExitStatus, String) {
        let (directory, output) = (a_directory(), Output::default());
        let config = self.write_config(&directory, &self.free_addresses(), free_address());
        let status = self.spawn(&config, &directory, &output).exit().await;
        (status, process::text(&output))
    }

    async fn start_on(&self, directory: &Arc<TempDir>, until: &str) -> Gateway {
        let mut written = String::new();
        for _ in 0..TRIES_MAX {
            let (addresses, admin) = (self.free_addresses(), free_address());
            let builder = self.clone().listening_on(&addresses, admin);
            let (config, output) = (builder.write_config(directory, &addresses, admin), Output::default());
            let process = builder.spawn(&config, directory, &output);
            let (directory, address) = (Arc::clone(directory), addresses[0]);
            let mut gateway = Gateway { process, builder, directory, config, address, addresses, admin, output };
            if gateway.is_up(until).await {
                return gateway;
            }
            written = gateway.output();
            if !written.contains("cannot listen on") {
                break;
            }
        }
        panic!("the gateway did not start:\n{written}");
    }

    /// One address, or one for each dialect of a configuration that we ship, and one for each further listener.
    fn free_addresses(&self) -> Vec<SocketAddr> {
        (0..self.dialects.len().max(1) + self.listeners.len()).map(|_| free_address()).collect()
    }

    /// Moves the listeners of a configuration that we ship, and what goes by their ports.
    fn listening_on(mut self, addresses: &[SocketAddr], admin: SocketAddr) -> Self {
        if self.dialects.is_empty() {
            return self;
        }
        for (name, address) in std::iter::zip(&self.dialects, addresses) {
            self.sets.push(format!("dialects.{name}.match.port={}", address.port()));
        }
        let listen: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        self.set(&format!("server.listen={}", listen.join(","))).set(&format!("server.admin={admin}"))
    }

    fn write_config(&self, directory: &TempDir, addresses: &[SocketAddr], admin: SocketAddr) -> PathBuf {
        let path = directory.path().join(format!("gateway-{}.toml", addresses[0].port()));
        let shipped = !self.dialects.is_empty();
        let server =
            if shipped { String::new() } else { format!("[server]\nlisten = [\"{}\"]\nadmin = \"{admin}\"\n", addresses[0]) };
        let further = std::iter::zip(&self.listeners, &addresses[addresses.len() - self.listeners.len()..]);
        let further: String =
            further.map(|(keys, address)| format!("[[server.listeners]]\naddress = \"{address}\"\n{keys}\n")).collect();
        std::fs::write(&path, server + &self.tables + &further).expect("a writable directory");
        path
    }

    fn spawn(&self, config: &Path, directory: &TempDir, output: &Output) -> Process {
        Process::start(self.command(config, directory).arg("run"), output)
    }

    /// The executable with the configuration, to be told what to do.
    fn command(&self, config: &Path, directory: &TempDir) -> Command {
        let gateway = env!("CARGO_BIN_EXE_portcullis");
        let mut command = Command::new(if self.outlives_limits { "env" } else { gateway });
        if self.outlives_limits {
            command.args(["--ignore-signal=XFSZ", gateway]);
        }
        command.arg("--config").arg(config).arg("--data-dir").arg(directory.path().join("data"));
        for assignment in &self.sets {
            command.arg("--set").arg(assignment);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

fn a_directory() -> Arc<TempDir> {
    Arc::new(TempDir::new().expect("a writable temporary directory"))
}

fn free_address() -> SocketAddr {
    loop {
        let port = PORTS.start + NEXT.fetch_add(1, Ordering::Relaxed) % (PORTS.end - PORTS.start);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(port).expect("of 16 bits")));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
