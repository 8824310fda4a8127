//! Real servers for tests: started on a free port, killed when the test ends, however it ends. Databases are next
//! door.
//!
//! Used by several test binaries: `#[path = "support/services.rs"] mod services;`.
#![allow(dead_code, reason = "no test binary uses every helper")]

pub(crate) mod databases;
pub(crate) mod redis_servers;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

/// A `redis-server` without persistence: what a restart finds is an empty set.
pub(crate) struct Redis {
    port: u16,
    /// What it is started with beside the usual.
    options: Vec<String>,
    server: Option<Child>,
}

impl Redis {
    /// Starts a server and waits until it accepts connections.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with further options, which overrule the usual ones.
    pub(crate) fn start_with(options: &[&str]) -> Self {
        let options: Vec<_> = options.iter().map(|&option| option.to_owned()).collect();
        // Another process may take the port between its release and the server's bind: then there is another port.
        for _ in 0..10 {
            let port = free_port();
            if let Some(server) = spawn(port, &options) {
                return Self { port, options, server: Some(server) };
            }
        }
        panic!("redis-server found no free port in ten attempts");
    }

    /// `redis://` URL of the server.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Kills the server (SIGKILL) and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().expect("the server was started by this process");
            server.wait().expect("the server was started by this process");
        }
    }

    /// Starts the server again on the same port, empty unless its options have it keep its data.
    pub(crate) fn restart(&mut self) {
        self.kill();
        // A client that kept dialling the dead port can by chance have been given that very port as its own.
        let server = (0..50).find_map(|_| spawn(self.port, &self.options));
        self.server = Some(server.expect("the port is free again"));
    }

    /// Stops the server's execution (SIGSTOP): it accepts connections and answers nothing.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets the server go on after [`Self::pause`].
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    /// Removes everything.
    pub(crate) fn flush_all(&self) {
        let _: String = self.command(&["FLUSHALL"]);
    }

    /// Runs one command on a connection of its own, like another program would.
    pub(crate) fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let client = redis::Client::open(self.url()).expect("the URL is ours");
        let mut connection = client.get_connection().expect("the server runs");
        let (name, arguments) = words.split_first().expect("a command has a name");
        redis::cmd(name).arg(arguments).query(&mut connection).expect("the server takes the command")
    }

    /// The same for a command that the server may refuse.
    pub(crate) fn try_command(&self, words: &[&str]) -> bool {
        let client = redis::Client::open(self.url()).expect("the URL is ours");
        let mut connection = client.get_connection().expect("the server runs");
        let (name, arguments) = words.split_first().expect("a command has a name");
        redis::cmd(name).arg(arguments).query::<redis::Value>(&mut connection).is_ok()
    }

    fn signal(&self, signal: &str) {
        let server = self.server.as_ref().expect("the server runs");
        let sent = Command::new("kill").arg(signal).arg(server.id().to_string()).status().expect("kill is installed");
        assert!(sent.success(), "kill {signal} failed");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // SIGKILL also ends a paused server.
        self.kill();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the loopback has a free port");
    listener.local_addr().expect("a bound listener has an address").port()
}

/// None if the server ended before it was ready.
fn spawn(port: u16, options: &[String]) -> Option<Child> {
    let mut server = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"])
        .args(options)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is needed: apt-get install redis-server");
    let mut log = BufReader::new(server.stdout.take().expect("its output is piped")).lines();
    let ready = log.any(|line| line.is_ok_and(|line| line.contains("Ready to accept connections")));
    if !ready {
        server.wait().expect("the server was started by this process");
        return None;
    }
    // Read on, or a full pipe would block the server.
    std::thread::spawn(move || log.for_each(drop));
    Some(server)
}
