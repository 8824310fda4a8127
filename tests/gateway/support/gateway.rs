//! The real executable, started with a configuration and a data directory of its own; killed when dropped.

use std::collections::HashSet;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, LazyLock, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::client::{Actor, RawClient};
use super::eventually;
use super::upstream::Upstream;

/// Between the moment a port is found free and the moment the gateway has it, somebody else may take it.
const TRIES_MAX: usize = 5;

/// Ports given to a gateway of this process. One that is still starting must not be mistaken for another one
/// that answers on the same port.
static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// What the gateway is to be started with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Builder {
    tables: String,
    sets: Vec<String>,
}

/// A running gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    child: Child,
    builder: Builder,
    directory: TempDir,
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
    output: Arc<Mutex<Vec<u8>>>,
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
        String::from_utf8_lossy(&self.output.lock().expect("the readers do not panic")).into_owned()
    }

    /// The status and the body of the admin listener's answer; none while it does not listen.
    pub(crate) async fn admin(&self, path: &str) -> Option<(u16, String)> {
        let response = reqwest::get(format!("http://{}{path}", self.admin)).await.ok()?;
        Some((response.status().as_u16(), response.text().await.ok()?))
    }

    /// SIGKILL: what a power failure leaves of the process.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the process is ours");
        self.child.wait().expect("the process is ours");
    }

    /// SIGTERM: the way orchestrators ask.
    pub(crate) fn terminate(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("the process is ours and was not waited for");
    }

    /// How the process ended.
    pub(crate) async fn exit(&mut self) -> ExitStatus {
        let child = &mut self.child;
        eventually("the gateway's end", async || child.try_wait().expect("the process is ours")).await
    }

    /// Starts the gateway again after its end, with the same data on the same ports.
    pub(crate) async fn restart(&mut self) {
        self.child = self.builder.spawn(&self.directory, &self.output);
        assert!(self.is_up().await, "the gateway did not start again:\n{}", self.output());
    }

    /// Waits until the gateway is ready; false if it ended instead.
    async fn is_up(&mut self) -> bool {
        let client = reqwest::Client::new();
        let ready = format!("http://{}/readyz", self.admin);
        let child = &mut self.child;
        eventually("the gateway's readiness", async || {
            if child.try_wait().expect("the process is ours").is_some() {
                return Some(false);
            }
            let answer = client.get(&ready).send().await.ok()?;
            answer.status().is_success().then_some(true)
        })
        .await
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
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

    /// Adds a `--set key=value`.
    pub(crate) fn set(mut self, assignment: &str) -> Self {
        self.sets.push(assignment.to_owned());
        self
    }

    /// Starts the gateway and waits until it is ready.
    ///
    /// # Panics
    /// It ended instead; the message holds what it wrote.
    pub(crate) async fn start(self) -> Gateway {
        let mut output = String::new();
        for _ in 0..TRIES_MAX {
            let directory = TempDir::new().expect("a writable temporary directory");
            let (address, admin) = (free_address(), free_address());
            let server = format!("[server]\nlisten = [\"{address}\"]\nadmin = \"{admin}\"\n");
            std::fs::write(directory.path().join("gateway.toml"), server + &self.tables).expect("a writable directory");
            let written = Arc::default();
            let child = self.spawn(&directory, &written);
            let mut gateway = Gateway { child, builder: self.clone(), directory, address, admin, output: written };
            if gateway.is_up().await {
                return gateway;
            }
            output = gateway.output();
            if !output.contains("cannot listen on") {
                break;
            }
        }
        panic!("the gateway did not start:\n{output}");
    }

    fn spawn(&self, directory: &TempDir, output: &Arc<Mutex<Vec<u8>>>) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.arg("run").arg("--config").arg(directory.path().join("gateway.toml"));
        command.arg("--data-dir").arg(directory.path().join("data"));
        for assignment in &self.sets {
            command.arg("--set").arg(assignment);
        }
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the gateway was built");
        collect(child.stdout.take().expect("it is piped"), Arc::clone(output));
        collect(child.stderr.take().expect("it is piped"), Arc::clone(output));
        child
    }
}

/// Copies a pipe to `output` until the process at its other end is gone.
fn collect(mut pipe: impl Read + Send + 'static, output: Arc<Mutex<Vec<u8>>>) {
    std::thread::spawn(move || {
        let mut piece = [0; 8192];
        while let Ok(read @ 1..) = pipe.read(&mut piece) {
            output.lock().expect("nobody panics while holding this").extend_from_slice(&piece[..read]);
        }
    });
}

fn free_address() -> SocketAddr {
    let mut given = GIVEN.lock().expect("nobody panics while holding this");
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        if given.insert(address.port()) {
            return address;
        }
    }
}
