//! Redis servers that are set up in some way, or are several: with replicas, sentinels, or as a cluster. Each on free ports,
//! with a directory of its own, killed when the test ends.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::FromRedisValue;
use tempfile::TempDir;

use super::free_port;

/// What is said when clients are served.
const SERVES: &str = "Ready to accept connections";
/// The same by a sentinel.
const WATCHES: &str = "Sentinel ID is";
/// How long anything may take that servers agree on among themselves. Only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// For one command of a test: a server that is paused never answers.
const COMMAND: Duration = Duration::from_secs(5);
/// What sentinels call the primary.
pub(crate) const PRIMARY: &str = "main";
/// The prefix of keys in a cluster.
pub(crate) const TAG: &str = "{portcullis}:";

/// One server.
pub(crate) struct Server {
    /// Where clients are served.
    pub(crate) port: u16,
    /// A second port, for what needs one.
    pub(crate) other: u16,
    home: TempDir,
    options: Vec<String>,
    process: Option<Child>,
}

impl Server {
    /// Starts a server with further options, in which `{home}` is its directory and `{other}` its second port.
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::start_as(options, SERVES)
    }

    fn start_as(options: &[&str], ready: &str) -> Self {
        // Another process may take a port between its release and the server's bind: then there is another one.
        for _ in 0..10 {
            let home = TempDir::new().expect("a writable temporary directory");
            let options = options.iter().map(ToString::to_string).collect();
            let mut server = Self { port: free_port(), other: free_port(), home, options, process: None };
            if server.launch(&[], ready) {
                return server;
            }
        }
        panic!("redis-server did not start in ten attempts with {options:?}");
    }

    /// False if the process ended before it was ready.
    fn launch(&mut self, further: &[&str], ready: &str) -> bool {
        let mut command = Command::new("redis-server");
        let filled = |option: &String| option.replace("{home}", self.text_home()).replace("{other}", &self.other.to_string());
        if ready == WATCHES {
            let port = self.port.to_string();
            let lines: Vec<_> = self.options.iter().map(|line| filled(line).replace("{port}", &port)).collect();
            let path = self.home().join("sentinel.conf");
            std::fs::write(&path, lines.join("\n")).expect("a writable directory");
            command.arg(path).arg("--sentinel");
        } else {
            command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", "", "--appendonly", "no"]);
            command.args(["--dir", self.text_home(), "--repl-diskless-sync-delay", "0", "--enable-debug-command", "yes"]);
            command.args(self.options.iter().map(filled)).args(further);
        }
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut process = spawned.expect("redis-server is needed: apt-get install redis-server");
        let mut log = BufReader::new(process.stdout.take().expect("its output is piped")).lines();
        let mut seen = Vec::new();
        let is_ready = log.any(|line| {
            line.is_ok_and(|line| {
                seen.push(line);
                seen.last().is_some_and(|line| line.contains(ready))
            })
        });
        if !is_ready {
            process.wait().expect("the server was started by this process");
            assert!(seen.iter().any(|line| line.contains("in use")), "redis-server says: {seen:#?}");
            return false;
        }
        // Read on, or a full pipe would block the server.
        std::thread::spawn(move || log.for_each(drop));
        self.process = Some(process);
        true
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    fn text_home(&self) -> &str {
        self.home().to_str().expect("temporary directories have plain names")
    }

    /// `redis://` URL of the server.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills the server (SIGKILL) and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("the server was started by this process");
            process.wait().expect("the server was started by this process");
        }
    }

    /// Starts the server again with further options, and waits until it says this.
    pub(crate) fn restart_until(&mut self, further: &[&str], ready: &str) {
        self.kill();
        // A client that kept dialling the dead port can by chance have been given that very port as its own.
        assert!((0..50).any(|_| self.launch(further, ready)), "the port is free again");
    }

    /// SIGSTOP.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let process = self.process.as_ref().expect("the server runs");
        let sent = Command::new("kill").arg(signal).arg(process.id().to_string()).status().expect("kill is installed");
        assert!(sent.success(), "kill {signal} failed");
    }

    /// Runs one command on a connection of its own.
    ///
    /// # Panics
    /// The server refuses it.
    pub(crate) fn command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_command(words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// The same, for a server that may not be in a position to answer.
    pub(crate) fn try_command<T: FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let client = redis::Client::open(self.url()).expect("the URL is ours");
        let mut connection = client.get_connection_with_timeout(COMMAND)?;
        connection.set_read_timeout(Some(COMMAND))?;
        let (name, arguments) = words.split_first().expect("a command has a name");
        redis::cmd(name).arg(arguments).query(&mut connection)
    }

    /// Whether `INFO` has this line.
    pub(crate) fn shows(&self, line: &str) -> bool {
        self.try_command::<String>(&["INFO"]).is_ok_and(|info| info.lines().any(|shown| shown == line))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGKILL also ends a paused server.
        self.kill();
    }
}

/// Waits, without giving way to other tasks, until servers agree: only while a test sets them up.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let looks = PATIENCE.as_millis() / LOOK_EVERY.as_millis();
    let seen = (0..looks).any(|_| {
        let seen = is_so();
        if !seen {
            std::thread::sleep(LOOK_EVERY);
        }
        seen
    });
    assert!(seen, "not within {PATIENCE:?}: {what}");
}

/// A primary with replicas that have caught up with it.
pub(crate) fn replicated(replicas: usize) -> Vec<Server> {
    let primary = Server::start(&[]);
    let port = primary.port.to_string();
    let copies: Vec<_> = (0..replicas).map(|_| Server::start(&["--replicaof", "127.0.0.1", &port])).collect();
    until("replicas follow", || copies.iter().all(|replica| replica.shows("master_link_status:up")));
    until("replicas are online", || {
        (0..replicas).all(|at| {
            let info: String = primary.command(&["INFO", "replication"]);
            info.lines().any(|line| line.starts_with(&format!("slave{at}:")) && line.contains("state=online"))
        })
    });
    std::iter::once(primary).chain(copies).collect()
}

/// A primary and two replicas, watched over by three sentinels.
pub(crate) struct Watched {
    /// The primary at the start, then its replicas.
    pub(crate) servers: Vec<Server>,
    pub(crate) sentinels: Vec<Server>,
}

impl Watched {
    pub(crate) fn start() -> Self {
        let servers = replicated(2);
        let monitor = format!("sentinel monitor {PRIMARY} 127.0.0.1 {} 2", servers[0].port);
        let lines = [
            "port {port}",
            "bind 127.0.0.1",
            "dir {home}",
            &monitor,
            // Long enough for a machine that is busy with other tests.
            &format!("sentinel down-after-milliseconds {PRIMARY} 3000"),
            &format!("sentinel failover-timeout {PRIMARY} 20000"),
        ];
        let sentinels: Vec<_> = (0..3).map(|_| Server::start_as(&lines, WATCHES)).collect();
        let fleet = Self { servers, sentinels };
        until("sentinels know each other and the replicas", || {
            fleet.sentinels.iter().all(|sentinel| {
                let info = sentinel.try_command::<String>(&["INFO", "sentinel"]).unwrap_or_default();
                info.contains("status=ok") && info.contains("slaves=2") && info.contains("sentinels=3")
            })
        });
        fleet
    }

    /// The keys of `[revocation]` that lead to it.
    pub(crate) fn keys(&self) -> String {
        let urls: Vec<_> = self.sentinels.iter().map(Server::url).collect();
        format!("sentinel = {{ servers = {urls:?}, primary = \"{PRIMARY}\" }}")
    }

    /// The server that a majority of the sentinels names.
    pub(crate) fn primary(&self) -> Option<usize> {
        let named = |sentinel: &Server| {
            let answer = sentinel.try_command::<(String, u16)>(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", PRIMARY]);
            answer.ok().and_then(|(_, port)| self.servers.iter().position(|server| server.port == port))
        };
        let named: Vec<_> = self.sentinels.iter().filter_map(named).collect();
        (0..self.servers.len()).find(|at| named.iter().filter(|other| *other == at).count() >= 2)
    }
}

/// Three primaries, each with a replica.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Server>,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let options = ["--cluster-enabled", "yes", "--cluster-config-file", "{home}/nodes.conf", "--cluster-port", "{other}"];
        let further = ["--cluster-node-timeout", "3000", "--cluster-replica-validity-factor", "0"];
        let options: Vec<_> = options.into_iter().chain(further).collect();
        let nodes: Vec<_> = (0..6).map(|_| Server::start(&options)).collect();
        let addresses = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
        let created = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(addresses)
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .output()
            .expect("redis-cli is needed: apt-get install redis-server");
        let said = String::from_utf8_lossy(&created.stdout);
        assert!(created.status.success() && said.contains("All 16384 slots covered"), "{said}");
        let cluster = Self { nodes };
        until("the cluster is whole", || {
            cluster.nodes.iter().all(|node| {
                let knows = node.try_command::<String>(&["CLUSTER", "INFO"]).unwrap_or_default();
                knows.contains("cluster_state:ok") && (node.shows("role:master") || node.shows("master_link_status:up"))
            }) && cluster.nodes.iter().filter(|node| node.shows("role:master")).count() == 3
        });
        cluster
    }

    /// The keys of `[revocation]` that lead to it.
    pub(crate) fn keys(&self) -> String {
        let urls: Vec<_> = self.nodes.iter().map(Server::url).collect();
        format!("cluster = {urls:?}\nprefix = \"{TAG}\"")
    }

    /// The primary of the keys with the tag, if there is one that answers.
    pub(crate) fn holder(&self) -> Option<usize> {
        let key = format!("{TAG}revocation_epoch");
        let serves = |node: &Server| node.try_command::<i64>(&["EXISTS", &key]).is_ok() && node.shows("role:master");
        self.nodes.iter().position(serves)
    }
}
