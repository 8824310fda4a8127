//! Three gateways that share a database and a Redis, with a cable to Redis for each of them and one to the database,
//! and people who use them meanwhile: where faults are played.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::load::Crowd;
use super::oracle::{History, Outcome, Report, Request, TokenId, judge};
use crate::support::cable::Cable;
use crate::support::client::Actor;
use crate::support::gateway::{Builder, Gateway};
use crate::support::services::Redis;
use crate::support::services::databases::{Server, mariadb, postgres};
use crate::support::upstream::Upstream;

pub(super) const GATEWAYS: usize = 3;
/// `max_staleness`, unless set.
const STALENESS_MAX: Duration = Duration::from_secs(1);
/// How long anything may take that happens by itself, on a machine that is busy with worlds.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Requests that each gateway answers between one event and the next.
const PACE: usize = 20;
/// Each world is four servers and a crowd.
static TURNS: Semaphore = Semaphore::const_new(2);

/// How a gateway looks revocations up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    Strict,
    Mirror,
}

/// What the gateways share their accounts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sql {
    Sqlite,
    /// The server that all tests share.
    Postgres,
    Mariadb,
    /// A server of its own, to be broken.
    OwnPostgres,
    OwnMariadb,
    /// A file on a disk of its own that is soon full. Only root may make one.
    SmallDisk,
}

/// What a world is made of.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) checks: [Check; GATEWAYS],
    pub(super) sql: Sql,
    /// Whether the gateways' clocks can be set, and their refusals of what their clocks say is over are expected.
    pub(super) clocks: bool,
    pub(super) seed: u64,
}

impl Plan {
    /// Gateways of both kinds on a SQLite file.
    pub(super) fn of(checks: [Check; GATEWAYS]) -> Self {
        Self { checks, sql: Sql::Sqlite, clocks: false, seed: 1 }
    }

    pub(super) fn on(self, sql: Sql) -> Self {
        Self { sql, ..self }
    }

    pub(super) fn with_clocks(self) -> Self {
        Self { clocks: true, ..self }
    }

    pub(super) fn seeded(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    fn bounds(&self) -> [Duration; GATEWAYS] {
        self.checks.map(|check| if check == Check::Strict { Duration::ZERO } else { STALENESS_MAX })
    }
}

/// The gateways, what they need, and what happened.
pub(super) struct World {
    plan: Plan,
    // Dropped first: nobody is told of the end of the others.
    pub(super) gateways: Vec<Gateway>,
    pub(super) cables: Vec<Cable>,
    pub(super) sql_cable: Option<Cable>,
    pub(super) redis: Redis,
    pub(super) database: Option<Server>,
    pub(super) disk: Option<SmallDisk>,
    upstream: Upstream,
    pub(super) history: Arc<History>,
    crowd: Crowd,
    /// Clocks, and what Redis keeps.
    directory: TempDir,
    _turn: SemaphorePermit<'static>,
}

/// Looks again and again until there is something to see.
///
/// # Panics
/// It did not happen in time.
pub(super) async fn patiently<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

impl World {
    /// Everything there and ready, and nobody at work yet.
    pub(super) async fn new(plan: Plan) -> Self {
        let turn = TURNS.acquire().await.expect("nobody closes it");
        let directory = TempDir::new().expect("a writable temporary directory");
        let redis = persistent_redis(directory.path().join("redis-0"));
        let upstream = Upstream::echo().await;
        let mut cables = Vec::new();
        for _ in 0..GATEWAYS {
            cables.push(Cable::to(redis.address()).await);
        }
        let (database, mut url, sql_cable) = database(plan.sql).await;
        let disk = (plan.sql == Sql::SmallDisk).then(|| SmallDisk::mount(directory.path().join("disk")));
        if let Some(disk) = &disk {
            url = Some(format!("sqlite:{}", disk.0.join("portcullis.db").display()));
        }
        let gateway = |builder: Builder, number: usize| {
            let mirror = plan.checks[number] == Check::Mirror;
            let builder = builder.set(&format!("revocation.url=redis://{}", cables[number].address)).set(if mirror {
                "revocation.check=mirror"
            } else {
                "revocation.check=strict"
            });
            if plan.clocks { with_clock(builder, &clock_file(&directory, number)) } else { builder }
        };
        let builder = Gateway::in_front_of(&upstream)
            // A machine that runs other tests too may be slower than the deadline that fits production.
            .table("[revocation]\ndeadline = \"1s\"")
            .set("auth.self_assigned_roles=[\"admin\"]")
            // Whoever repeats a refresh for as long as an outage lasts is no thief.
            .set("auth.rotation_grace=60s");
        let builder = if let Some(url) = url { builder.table(&format!("[store]\nurl = \"{url}\"")) } else { builder };
        (0..GATEWAYS).for_each(|number| set_clock(&directory, number, 0));
        let mut gateways = vec![gateway(builder, 0).start().await];
        for number in 1..GATEWAYS {
            gateways.push(gateways[0].replica_changed(|builder| gateway(builder, number)).await);
        }
        let root = Actor::registered_with(gateways[0].address, "root", json!({"roles": ["admin"]})).await;
        let history = Arc::new(History::default());
        let addresses: Vec<SocketAddr> = gateways.iter().map(|gateway| gateway.address).collect();
        let crowd = Crowd::gather(Arc::clone(&history), addresses, root, plan.seed, plan.clocks).await;
        Self { plan, gateways, cables, sql_cable, redis, database, disk, upstream, history, crowd, directory, _turn: turn }
    }

    /// Lets people use the gateways until [`Self::end`].
    pub(super) async fn begin(&mut self) {
        self.crowd.begin();
        self.goes_on("the first revocations").await;
    }

    /// Sends everybody home and judges what happened.
    ///
    /// # Panics
    /// Something happened that must not, or too little to prove anything.
    pub(super) async fn end(mut self) -> Report {
        self.goes_on("the last revocations").await;
        self.crowd.end().await;
        let explained: &[&str] = if self.plan.clocks { &["expired_token", "bad_token", "revoked_token"] } else { &[] };
        let forwarded: BTreeSet<usize> = self.upstream.take_requests().iter().filter_map(number_of).collect();
        let report = judge(&self.history.records(), &self.plan.bounds(), &forwarded, explained);
        println!("{:?} on {:?}\n{report}", self.plan.checks, self.plan.sql);
        assert_eq!(report.violations, [], "seed {}:\n{report}", self.plan.seed);
        let Report { acknowledged, allowed, revoked, refused, .. } = report;
        assert!(acknowledged >= 6 && allowed >= 100 && revoked >= 30 && refused >= 10, "that proves nothing:\n{report}");
        assert!(report.trials() >= acknowledged, "each at two other gateways, unless they were away:\n{report}");
        report
    }

    /// Sets the clock of a gateway: seconds by which it is ahead of this one's.
    pub(super) fn set_clock(&self, gateway: usize, ahead_secs: i64) {
        assert!(self.plan.clocks, "the world was made without clocks");
        set_clock(&self.directory, gateway, ahead_secs);
    }

    /// An empty Redis that keeps its data, in a directory of its own.
    pub(super) fn another_redis(&self) -> Redis {
        let taken = std::fs::read_dir(self.directory.path()).expect("it is ours").count();
        persistent_redis(self.directory.path().join(format!("redis-{taken}")))
    }

    /// Has Redis forget what it wrote to its disk.
    pub(super) fn wipe_redis(&self) {
        for entry in std::fs::read_dir(self.directory.path()).expect("it is ours").filter_map(Result::ok) {
            if entry.file_name().to_string_lossy().starts_with("redis-") {
                std::fs::remove_dir_all(entry.path().join("appendonlydir")).ok();
            }
        }
    }

    /// How many requests were answered so far.
    pub(super) fn mark(&self) -> usize {
        self.history.records().requests.len()
    }

    /// Whether something like this was answered since a mark.
    pub(super) fn happened_since(&self, mark: usize, like: impl Fn(&Request) -> bool) -> bool {
        self.history.records().requests[mark..].iter().any(like)
    }

    /// Some more of everything, at each of these gateways.
    pub(super) async fn pass_at(&self, gateways: &[usize]) {
        let mark = self.mark();
        for gateway in gateways {
            patiently("further answers", async || {
                let answered =
                    self.history.records().requests[mark..].iter().filter(|request| request.gateway == *gateway).count();
                (answered >= PACE).then_some(())
            })
            .await;
        }
    }

    pub(super) async fn pass(&self) {
        self.pass_at(&[0, 1, 2]).await;
    }

    /// Nobody can know at these gateways: at once, or when the mirror's bound is over.
    pub(super) async fn cannot_know_at(&self, gateways: &[usize]) {
        let mark = self.mark();
        for gateway in gateways {
            let unknown = |request: &Request| request.gateway == *gateway && request.outcome == Outcome::Unknown;
            patiently("a refusal because nobody knows", async || self.happened_since(mark, unknown).then_some(())).await;
        }
    }

    pub(super) async fn cannot_know(&self) {
        self.cannot_know_at(&[0, 1, 2]).await;
    }

    /// Requests with valid tokens are let in at each of these gateways, and the upstream answers.
    pub(super) async fn lets_in_at(&self, gateways: &[usize]) {
        let mark = self.mark();
        let start = tokio::time::Instant::now();
        for gateway in gateways {
            let allowed = |request: &Request| {
                request.gateway == *gateway && request.outcome == Outcome::Allowed && request.started >= start
            };
            patiently("somebody is let in", async || self.happened_since(mark, allowed).then_some(())).await;
        }
    }

    /// So many more revocations are acknowledged, with no less than this number in a minute.
    pub(super) async fn acknowledges(&self, more: usize) {
        let until = self.history.acknowledgements() + more;
        patiently("revocations", async || (self.history.acknowledgements() >= until).then_some(())).await;
    }

    /// Another few revocations are acknowledged.
    pub(super) async fn goes_on(&self, what: &str) {
        let until = self.history.acknowledgements() + 3;
        patiently(what, async || (self.history.acknowledgements() >= until).then_some(())).await;
    }

    /// All gateways are ready by themselves, let people in, and have revocations acknowledged.
    pub(super) async fn recovers(&self) {
        for gateway in &self.gateways {
            patiently("readiness", async || gateway.is_ready().await.then_some(())).await;
        }
        self.lets_in_at(&[0, 1, 2]).await;
        self.goes_on("revocations after the fault").await;
    }

    /// Has people use the token of somebody else, too: how it is called in the history.
    pub(super) fn joins(&self, actor: &Actor) -> TokenId {
        self.crowd.joins(actor)
    }
}

/// What gateways called a fault of their own, for whoever reads why a test failed.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (number, gateway) in self.gateways.iter().enumerate() {
                let output = gateway.output();
                let faults = output.lines().filter(|line| line.contains(" ERROR portcullis") || line.contains("panicked"));
                faults.for_each(|line| println!("gateway {number}: {line}"));
            }
        }
    }
}

/// A disk of a few megabytes.
pub(super) struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(place: PathBuf) -> Self {
        std::fs::create_dir(&place).expect("a writable directory");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(&place).status();
        assert!(mounted.expect("mount is installed").success(), "whoever may not mount must not ask");
        Self(place)
    }

    /// Leaves no room.
    pub(super) fn fill(&self) {
        let mut filler = std::fs::File::create(self.0.join("filler")).expect("there is room for a name");
        while filler.write(&[0; 4096]).is_ok_and(|written| written > 0) {}
    }

    pub(super) fn make_room(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("it was made");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: what still has a file there may end later.
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}

fn number_of(request: &crate::support::upstream::Captured) -> Option<usize> {
    request.head.word(1).strip_prefix("/api/")?.parse().ok()
}

/// What it acknowledges survives SIGKILL.
fn persistent_redis(directory: PathBuf) -> Redis {
    std::fs::create_dir(&directory).expect("a writable directory");
    let directory = directory.to_str().expect("temporary directories have names in UTF-8");
    Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0", "--dir", directory])
}

/// The server that is the world's own, if it has one; the URL for the gateways, through the cable if there is one.
async fn database(sql: Sql) -> (Option<Server>, Option<String>, Option<Cable>) {
    let own = match sql {
        Sql::Sqlite | Sql::SmallDisk => return (None, None, None),
        Sql::Postgres => return (None, Some(postgres().database().await), None),
        Sql::Mariadb => return (None, Some(mariadb().database().await), None),
        Sql::OwnPostgres => Server::postgres(),
        Sql::OwnMariadb => Server::mariadb(),
    };
    let (url, cable) = (own.database().await, Cable::to(own.address()).await);
    let url = url.replace(&format!(":{}/", own.address().port()), &format!(":{}/", cable.address.port()));
    (Some(own), Some(url), Some(cable))
}

fn clock_file(directory: &TempDir, gateway: usize) -> String {
    directory.path().join(format!("clock-{gateway}")).display().to_string()
}

fn set_clock(directory: &TempDir, gateway: usize, ahead_secs: i64) {
    let file = clock_file(directory, gateway);
    // In one step: it is read again and again.
    std::fs::write(format!("{file}.new"), format!("{ahead_secs:+}\n")).expect("a writable directory");
    std::fs::rename(format!("{file}.new"), file).expect("a writable directory");
}

/// Has a gateway read the time of day as this file says; its monotonic clock is that of the machine.
fn with_clock(builder: Builder, file: &str) -> Builder {
    let library = ["/usr/lib", "/usr/lib64"].iter().flat_map(|place| {
        let triple = format!("{place}/{}-linux-gnu/faketime", std::env::consts::ARCH);
        [triple, format!("{place}/faketime")]
    });
    let library = library.map(|place| format!("{place}/libfaketimeMT.so.1")).find(|file| std::path::Path::new(file).exists());
    let library = library.expect("libfaketime is needed: apt-get install faketime");
    builder
        .env("LD_PRELOAD", &library)
        .env("FAKETIME_TIMESTAMP_FILE", file)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
}
