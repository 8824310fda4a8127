//! Real PostgreSQL and MariaDB servers for tests: one of each per process, started when a test first asks, with a
//! database of its own for every test; or one that a test has for itself, to kill it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sea_orm::{ConnectionTrait as _, Database};

use super::free_port;

/// Runs a server and outlives the test process by a moment: when its standard input ends, however the tests ended, it
/// kills the server and removes the directory, unless there is a file `keep` in it.
const KEEPER: &str = r#"
home=$1 signal=$2; shift 2
exec 3<&0
"$@" 3<&- </dev/null & server=$!
exec 2>/dev/null
{ read -r _ <&3; kill -s "$signal" "$server"; } & watch=$!
wait "$server"
kill "$watch"
[ -e "$home/keep" ] || rm -rf "$home"
"#;

/// Enough for the data directories of several servers.
const MEMORY_KIB_MIN: u64 = 2 * 1024 * 1024;

/// What is particular to a kind of server.
struct Kind {
    /// Of its URLs; also the name of the database that each has for its administrators.
    scheme: &'static str,
    superuser: &'static str,
    /// What it logs when it accepts connections.
    ready: &'static str,
    /// Ends it at once without leaving shared memory behind.
    kill: &'static str,
    /// Makes the directory of its data.
    install: fn(home: &Path) -> Vec<String>,
    /// Runs it.
    run: fn(home: &Path, port: u16) -> Vec<String>,
}

static POSTGRES: Kind = POSTGRES_KIND;
/// Follows another one, and only reads until it is promoted.
static STANDBY: Kind = Kind { ready: "ready to accept read-only connections", ..POSTGRES_KIND };

const POSTGRES_KIND: Kind = Kind {
    scheme: "postgres",
    superuser: "postgres",
    ready: "ready to accept connections",
    kill: "QUIT",
    install: |home| {
        let data = home.join("data");
        let options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"];
        words(&[&postgres_program("initdb"), "-D", text(&data)], &options)
    },
    run: |home, port| {
        let data = home.join("data");
        // A crash of the server, but not of the machine, must lose nothing acknowledged: that is for the gateway to ask.
        let options = ["fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=400"];
        let place = ["-D", text(&data), "-k", text(home), "-h", "127.0.0.1", "-p", &port.to_string()];
        let mut command = words(&[&postgres_program("postgres")], &place);
        command.extend(options.iter().flat_map(|option| ["-c".to_owned(), (*option).to_owned()]));
        command
    },
};

/// Its texts are compared as they come: without case, accents or final spaces.
static MARIADB: Kind = Kind {
    scheme: "mysql",
    superuser: "root",
    ready: "ready for connections",
    kill: "KILL",
    install: |home| {
        let data = format!("--datadir={}", home.join("data").display());
        let options = ["--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-log-file-size=8M"];
        words(&[&mariadb_program("mariadb-install-db"), "--no-defaults", &data], &options)
    },
    run: |home, port| {
        let place = |option: &str, file: &str| format!("--{option}={}", home.join(file).display());
        let place = [place("datadir", "data"), place("socket", "socket"), place("pid-file", "pid"), format!("--port={port}")];
        let mut command = words(&[&mariadb_program("mariadbd"), "--no-defaults"], &place.each_ref().map(String::as_str));
        let network = ["--skip-networking=0", "--bind-address=127.0.0.1", "--skip-name-resolve", "--max-connections=400"];
        let disk = ["--innodb-flush-log-at-trx-commit=2", "--innodb-log-file-size=8M", "--skip-log-bin"];
        let texts = ["--character-set-server=utf8mb4", "--collation-server=utf8mb4_general_ci"];
        command.extend(words(&network, &disk));
        command.extend(words(&texts, &[]));
        command
    },
};

/// A server. It ends with this process at the latest.
pub(crate) struct Server {
    kind: &'static Kind,
    home: PathBuf,
    port: u16,
    databases: AtomicU32,
    /// Its standard input is what keeps the server alive.
    keeper: Option<Child>,
}

/// The PostgreSQL server that this process' tests share.
pub(crate) fn postgres() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::postgres)
}

/// The MariaDB server that this process' tests share.
pub(crate) fn mariadb() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::mariadb)
}

impl Server {
    /// A PostgreSQL server for one test.
    pub(crate) fn postgres() -> Self {
        Self::start(&POSTGRES)
    }

    /// A MariaDB server for one test.
    pub(crate) fn mariadb() -> Self {
        Self::start(&MARIADB)
    }

    /// A PostgreSQL server that has everything that this one acknowledges from now on, and only reads until it is
    /// promoted. This one acknowledges nothing any more that the other does not have.
    pub(crate) async fn standby(&self) -> Self {
        let (home, port) = (home(), self.port.to_string());
        let (program, data) = (postgres_program("pg_basebackup"), home.join("data"));
        let options = ["-U", "postgres", "-h", "127.0.0.1", "-X", "stream", "-c", "fast", "-R", "--no-sync"];
        let place = [&program, "-p", &port, "-D", text(&data)];
        run(unprivileged(&home, words(&place, &options)));
        let standby = Self::start_at(&STANDBY, home);
        self.execute(&["ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"]).await;
        standby
    }

    /// Makes the primary of a standby, which has everything that its primary acknowledged.
    pub(crate) async fn promote(&mut self) {
        self.execute(&["SELECT pg_promote()"]).await;
        self.kind = &POSTGRES;
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> std::net::SocketAddr {
        std::net::SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    fn start(kind: &'static Kind) -> Self {
        let home = home();
        run(unprivileged(&home, (kind.install)(&home)));
        Self::start_at(kind, home)
    }

    fn start_at(kind: &'static Kind, home: PathBuf) -> Self {
        // Another process may take the port between its release and the server's bind: then there is another port.
        let started = (0..10).find_map(|_| {
            let port = free_port();
            Some((port, keep(kind, &home, port)?))
        });
        let (port, keeper) = started.unwrap_or_else(|| panic!("the {} server did not start in ten attempts", kind.scheme));
        Self { kind, home, port, databases: AtomicU32::new(0), keeper: Some(keeper) }
    }

    /// URL of a new, empty database.
    pub(crate) async fn database(&self) -> String {
        let name = format!("gate_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.execute(&[&format!("CREATE DATABASE {name}")]).await;
        self.url(&name)
    }

    /// Executes statements as an administrator would, on a connection of its own.
    pub(crate) async fn execute(&self, statements: &[&str]) {
        let connection = Database::connect(self.url(self.kind.scheme)).await.expect("the server runs");
        for statement in statements {
            connection.execute_unprepared(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        connection.close().await.expect("a connection can be closed");
    }

    /// Kills the server and waits until it is gone. Its data stay.
    pub(crate) fn kill(&mut self) {
        fs::write(self.home.join("keep"), "").expect("the directory is there");
        self.end();
    }

    /// Starts the server again on the same port, with the data it had.
    pub(crate) fn restart(&mut self) {
        // A client that kept dialling the dead port can by chance have been given that very port as its own.
        self.keeper = (0..50).find_map(|_| keep(self.kind, &self.home, self.port));
        assert!(self.keeper.is_some(), "the port is free again");
    }

    fn end(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            keeper.wait().expect("the keeper was started by this process");
        }
    }

    fn url(&self, database: &str) -> String {
        let Kind { scheme, superuser, .. } = self.kind;
        format!("{scheme}://{superuser}@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Starts the server and waits until it says that it is ready. None if it ended before.
fn keep(kind: &Kind, home: &Path, port: u16) -> Option<Child> {
    let mut keeper = Command::new("sh");
    // Should the attempt fail, the next one needs the directory.
    fs::write(home.join("keep"), "").expect("the directory is there");
    keeper.args(["-c", KEEPER, "keeper"]).arg(home).arg(kind.kill).args(unprivileged(home, (kind.run)(home, port)));
    keeper.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut keeper = keeper.spawn().expect("sh is there");
    let mut log = BufReader::new(keeper.stderr.take().expect("its output is piped")).lines().map_while(Result::ok);
    let mut said = String::new();
    let ready = log.any(|line| {
        said += &format!("{line}\n");
        line.contains(kind.ready)
    });
    if !ready {
        eprintln!("{said}");
        keeper.wait().expect("the keeper was started by this process");
        return None;
    }
    fs::remove_file(home.join("keep")).expect("it was just written");
    // Read on, or a full pipe would block the server.
    std::thread::spawn(move || log.for_each(drop));
    Some(keeper)
}

/// A directory for a server, in memory where there is enough of it: these servers need not survive a power cut.
fn home() -> PathBuf {
    let memory = "/dev/shm";
    let free = run(words(&["df", "-k", "--output=avail", memory], &[]));
    let free = String::from_utf8_lossy(&free.stdout).lines().last().and_then(|line| line.trim().parse::<u64>().ok());
    let parent = if free.is_some_and(|kib| kib >= MEMORY_KIB_MIN) { memory.into() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("gate-").tempdir_in(parent).expect("a temporary directory").keep()
}

/// The command as it is run by whoever may run a database server: not by root.
fn unprivileged(home: &Path, command: Vec<String>) -> Vec<String> {
    if !rustix::process::getuid().is_root() {
        return command;
    }
    let id = |flag: &str| {
        let id = run(words(&["id", flag, "nobody"], &[]));
        String::from_utf8_lossy(&id.stdout).trim().parse::<u32>().expect("nobody has an id")
    };
    let (user, group) = (id("-u"), id("-g"));
    chown(home, Some(user), Some(group)).expect("root may give a directory away");
    let mut all = words(&["setpriv", "--clear-groups"], &[&format!("--reuid={user}"), &format!("--regid={group}")]);
    all.extend(command);
    all
}

/// Runs a command to its end.
fn run(command: Vec<String>) -> Output {
    let (program, arguments) = command.split_first().expect("a command has a name");
    let output = Command::new(program).args(arguments).current_dir("/").stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn words(some: &[&str], more: &[&str]) -> Vec<String> {
    some.iter().chain(more).map(|word| (*word).to_owned()).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of programs and temporary files are UTF-8")
}

/// Debian keeps each version's programs in a directory of its own, on nobody's path.
fn postgres_program(name: &str) -> String {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest =
        installed.map(|entry| entry.path()).filter(|path| path.join("bin/postgres").exists()).max_by_key(|path| version(path));
    let found = newest.map(|path| path.join("bin").join(name)).or_else(|| on_path(name));
    text(&found.unwrap_or_else(|| panic!("{name} is needed: apt-get install postgresql"))).to_owned()
}

fn mariadb_program(name: &str) -> String {
    text(&on_path(name).unwrap_or_else(|| panic!("{name} is needed: apt-get install mariadb-server"))).to_owned()
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Servers are often where only root looks for programs.
    let directories = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
    let executable = |file: &PathBuf| file.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0);
    directories.map(|directory| directory.join(program)).find(executable)
}
