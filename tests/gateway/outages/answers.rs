//! Every answer with which Redis says that it cannot serve, and every way in which it does not answer: whoever needs a token
//! is refused and told when to come back, nothing of their requests reaches a service, and the gateway goes on by itself
//! when Redis does (203, 207, 208, 210). The servers are real; what they do not do of their own accord, a network does.

use std::time::Duration;

use super::redis_site::beside;
use super::*;
use crate::support::fault_proxy::{Fault, FaultProxy};
use crate::support::services::redis_servers::{Server, until};

/// A gateway and its Redis, somebody who stays, somebody who has left, and somebody who is about to.
struct Scene {
    site: Site,
    server: Server,
    staying: Actor,
    leaving: Actor,
    later: Actor,
}

impl Scene {
    async fn new() -> Self {
        Self::with(|server| format!("url = \"{}\"", server.url())).await
    }

    async fn with(keys: impl FnOnce(&Server) -> String) -> Self {
        let server = Server::start(&[]);
        let site = beside(&keys(&server)).await;
        Self::at(site, server).await
    }

    async fn at(site: Site, server: Server) -> Self {
        let (staying, leaving, later) = (site.registered("ada").await, site.signed_in("ada").await, site.signed_in("ada").await);
        leaving.log_out().await;
        site.lets_in(&staying).await;
        site.keeps_out(&leaving).await;
        Self { site, server, staying, leaving, later }
    }

    /// # Panics
    /// Somebody is let in without knowing, or somebody is refused about whom nothing has to be known.
    async fn nobody_knows(&self) {
        let Self { site, staying, leaving, .. } = self;
        for _ in 0..3 {
            site.cannot_know(staying).await;
            assert!(matches!(site.verdict(leaving).await.0, 401 | 503));
            assert_eq!(site.get("/public", "").await.status, 200);
            assert_eq!(site.get("/public", &staying.access_token).await.status, 200);
            assert_eq!(site.get("/optional", "").await.status, 200);
        }
        assert_eq!(site.gateway.admin("/livez").await.expect("it listens").0, 200, "a restart would not help");
        assert!(!site.gateway.is_ready().await, "whoever may ask another replica should");
    }

    /// Waits for what is found by looking, once a second: for each connection, and requests have one of their own.
    async fn is_noticed(&self) {
        let noticed = async || {
            let refused = self.site.verdict(&self.staying).await.0 == 503;
            (refused && !self.site.gateway.is_ready().await).then_some(())
        };
        eventually("the server is refused", noticed).await;
    }

    async fn all_is_well_again(&self) {
        self.site.lets_in_again(&self.staying).await;
        self.site.keeps_out_again(&self.leaving).await;
        self.site.gateway.ready().await;
        self.site.logs_out_again(&self.later).await;
        self.site.keeps_out_again(&self.later).await;
        self.site.lets_in_again(&self.staying).await;
    }

    /// Has everybody connect anew.
    fn hangs_up(&self) {
        let _: i64 = self.server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    }
}

#[tokio::test]
async fn refused() {
    let mut scene = Scene::new().await;
    scene.server.kill();
    scene.nobody_knows().await;
    scene.site.cannot_log_out(&scene.later).await;
    scene.server.restart_until(&[], "Ready to accept connections");
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn noauth() {
    let scene = Scene::new().await;
    let _: String = scene.server.command(&["ACL", "SETUSER", "test", "on", "nopass", "+@all", "~*", "&*"]);
    let _: String = scene.server.command(&["CONFIG", "SET", "requirepass", "sesame"]);
    let test_itself = |words: &[&str]| {
        let client = redis::Client::open(format!("redis://test:any@127.0.0.1:{}", scene.server.port)).expect("a URL");
        let mut connection = client.get_connection().expect("the server runs");
        redis::cmd(words[0]).arg(&words[1..]).query::<redis::Value>(&mut connection).expect("the server takes the command")
    };
    test_itself(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    scene.nobody_knows().await;
    scene.site.cannot_log_out(&scene.later).await;
    test_itself(&["CONFIG", "SET", "requirepass", ""]);
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn wrongpass() {
    let user =
        |password: &str| ["ACL", "SETUSER", "gateway", "on", "resetpass", password, "+@all", "~*", "&*"].map(str::to_owned);
    let set = |server: &Server, password: &str| {
        let words = user(password);
        let _: String = server.command(&words.each_ref().map(String::as_str));
    };
    let scene = Scene::with(|server| {
        set(server, ">right");
        format!("url = \"{}\"\nusername = \"gateway\"\npassword = \"right\"", server.url())
    })
    .await;
    set(&scene.server, ">changed");
    scene.hangs_up();
    scene.nobody_knows().await;
    scene.site.cannot_log_out(&scene.later).await;
    set(&scene.server, ">right");
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn noperm() {
    let scene = Scene::new().await;
    let _: String = scene.server.command(&["ACL", "SETUSER", "default", "-mget"]);
    scene.nobody_knows().await;
    let _: String = scene.server.command(&["ACL", "SETUSER", "default", "+mget"]);
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn loading() {
    let mut scene = Scene::new().await;
    let _: String = scene.server.command(&["DEBUG", "POPULATE", "20000"]);
    let _: String = scene.server.command(&["SAVE"]);
    // For minutes, unless somebody has it go on.
    let slowly = ["--key-load-delay", "10000", "--loading-process-events-interval-bytes", "1024"];
    scene.server.restart_until(&slowly, "Server initialized");
    until("it is loading", || scene.server.shows("loading:1"));
    scene.nobody_knows().await;
    scene.site.cannot_log_out(&scene.later).await;
    let _: String = scene.server.command(&["CONFIG", "SET", "key-load-delay", "0"]);
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn busy() {
    let scene = Scene::new().await;
    let _: String = scene.server.command(&["CONFIG", "SET", "busy-reply-threshold", "1"]);
    let url = scene.server.url();
    let script = std::thread::spawn(move || {
        let mut connection = redis::Client::open(url).expect("a URL").get_connection().expect("the server runs");
        redis::cmd("EVAL").arg("while true do end").arg(0).query::<()>(&mut connection)
    });
    let is_busy = || scene.server.try_command::<String>(&["PING"]).is_err_and(|error| error.code() == Some("BUSY"));
    until("it is busy", is_busy);
    scene.nobody_knows().await;
    scene.site.cannot_log_out(&scene.later).await;
    let _: String = scene.server.command(&["SCRIPT", "KILL"]);
    assert!(script.join().expect("no panic").is_err(), "the script was killed");
    scene.all_is_well_again().await;
}

/// A primary that was demoted without a word is neither written nor asked, and taken again once it leads (208).
#[tokio::test]
async fn readonly() {
    let scene = Scene::new().await;
    let other = Server::start(&[]);
    let _: String = scene.server.command(&["REPLICAOF", "127.0.0.1", &other.port.to_string()]);
    // READONLY
    scene.site.cannot_log_out(&scene.later).await;
    scene.site.keeps_out(&scene.later).await;
    scene.is_noticed().await;
    scene.nobody_knows().await;
    let _: String = scene.server.command(&["REPLICAOF", "NO", "ONE"]);
    scene.all_is_well_again().await;
}

/// It can be read, and holds all that was acknowledged; what cannot be written is not acknowledged.
#[tokio::test]
async fn oom() {
    let scene = Scene::new().await;
    let _: String = scene.server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    scene.site.cannot_log_out(&scene.later).await;
    scene.site.keeps_out(&scene.later).await;
    scene.site.keeps_out(&scene.leaving).await;
    scene.site.lets_in(&scene.staying).await;
    // Whoever comes new cannot complete the set, and believes nothing.
    let replica = scene.site.gateway.unready_replica_with("revocation.prefix=other:").await;
    assert_eq!(scene.site.get_from(&replica, "/api", &scene.staying.access_token).await.status, 503);
    assert_eq!(scene.site.get_from(&replica, "/api", &scene.leaving.access_token).await.status, 503);
    let _: String = scene.server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    replica.ready().await;
    scene.all_is_well_again().await;
}

#[tokio::test]
async fn misconf() {
    let scene = Scene::new().await;
    // A snapshot cannot take the place of a directory.
    let place = scene.server.home().join("dump.rdb");
    std::fs::create_dir(&place).expect("a writable directory");
    let _: String = scene.server.command(&["CONFIG", "SET", "save", "3600 1"]);
    let _: String = scene.server.command(&["BGSAVE"]);
    until("the snapshot fails", || scene.server.shows("rdb_last_bgsave_status:err"));
    scene.site.cannot_log_out(&scene.later).await;
    scene.site.keeps_out(&scene.later).await;
    scene.site.keeps_out(&scene.leaving).await;
    scene.site.lets_in(&scene.staying).await;
    std::fs::remove_dir(&place).expect("it is empty");
    let _: String = scene.server.command(&["BGSAVE"]);
    until("a snapshot succeeds", || scene.server.shows("rdb_last_bgsave_status:ok"));
    scene.all_is_well_again().await;
}

/// Revocations may have been thrown away (206).
#[tokio::test]
async fn eviction() {
    let scene = Scene::new().await;
    let _: String = scene.server.command(&["CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", "allkeys-lru"]);
    scene.is_noticed().await;
    scene.nobody_knows().await;
    let _: String = scene.server.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    scene.all_is_well_again().await;
}

/// A scene with a network between the gateway and its Redis.
async fn behind_a_network(deadline: &str) -> (Scene, FaultProxy) {
    let server = Server::start(&[]);
    let network = FaultProxy::before(server.port).await;
    let table = format!("[revocation]\nurl = \"redis://{}\"\ndeadline = \"{deadline}\"", network.address);
    let site = Site::changed(Store::Embedded, |gateway| gateway.table(&table)).await;
    (Scene::at(site, server).await, network)
}

#[tokio::test]
async fn black_holed() {
    nobody_knows_while(Fault::Silence).await;
}

#[tokio::test]
async fn slow() {
    nobody_knows_while(Fault::Slow(Duration::from_secs(3))).await;
}

#[tokio::test]
async fn garbage() {
    nobody_knows_while(Fault::Garbage).await;
}

async fn nobody_knows_while(fault: Fault) {
    let (scene, network) = behind_a_network("1s").await;
    network.does(fault);
    scene.nobody_knows().await;
    scene.site.cannot_log_out(&scene.later).await;
    network.does(Fault::None);
    scene.all_is_well_again().await;
}

/// Answers come after the request that asked for them was refused, on a connection that is used on (207).
#[tokio::test]
async fn a_late_answer_is_nobody_elses() {
    const SESSIONS: usize = 12;
    const KNOWN: usize = 25;
    let (scene, network) = behind_a_network("200ms").await;
    let mut sessions = Vec::new();
    for number in 0..SESSIONS {
        let actor = scene.site.signed_in("ada").await;
        if number % 2 == 1 {
            scene.site.logs_out_again(&actor).await;
        }
        sessions.push(actor);
    }
    network.does(Fault::Hiccups);
    let ask = async |number: usize| {
        let (mut known, mut unknown) = (0, 0);
        while known < KNOWN {
            match (number % 2, scene.site.verdict(&sessions[number]).await) {
                (0, (200, _)) | (1, (401, _)) => known += 1,
                (_, (503, code)) if code == "revocation_unknown" => unknown += 1,
                (_, other) => panic!("session {number} got the answer of another one: {other:?}"),
            }
        }
        unknown
    };
    let unknown: Vec<usize> = futures_util::future::join_all((0..SESSIONS).map(ask)).await;
    assert!(unknown.iter().sum::<usize>() > 0, "no look-up was given up: nothing was tried");
    network.does(Fault::None);
    scene.all_is_well_again().await;
}
