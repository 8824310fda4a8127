//! Three gateways, one database, and two hundred clients that present the same refresh token in the same moment: one
//! rotation, and every one of them hears of the same successor; also when the gateway that made it dies before it
//! could tell. For each kind of database.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use sea_orm::{ConnectionTrait as _, DatabaseConnection};
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::{has_no_successor, next};
use crate::support::client::{Actor, RawClient};
use crate::support::gateway::Gateway;
use crate::support::services::databases::{mariadb, postgres};
use crate::support::site::{Site, Store};
use crate::support::{PATIENCE, eventually, number_from_environment};

const CROWD: usize = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sqlite,
    Postgres,
    Mariadb,
}

/// Three gateways that share keys, Redis and database; beside them, a look into the database.
struct Replicas {
    /// The first one is its gateway.
    site: Site,
    others: [Gateway; 2],
    database: DatabaseConnection,
}

impl Replicas {
    async fn on(kind: Kind, grace: &str) -> Self {
        let server = match kind {
            Kind::Sqlite => None,
            Kind::Postgres => Some(postgres().database().await),
            Kind::Mariadb => Some(mariadb().database().await),
        };
        let site = Site::changed(Store::Redis, |gateway| {
            let gateway = gateway.set(&format!("auth.rotation_grace={grace}"));
            match &server {
                Some(url) => gateway.table(&format!("[store]\nurl = \"{url}\"")),
                None => gateway,
            }
        })
        .await;
        let others = [site.gateway.replica().await, site.gateway.replica().await];
        let file = || format!("sqlite:{}", site.gateway.data().join("portcullis.db").display());
        let database = sea_orm::Database::connect(server.unwrap_or_else(file)).await.expect("the gateways have it, too");
        Self { site, others, database }
    }

    fn addresses(&self) -> [SocketAddr; 3] {
        [self.site.gateway.address, self.others[0].address, self.others[1].address]
    }

    /// The `jti` of all access tokens that this session was ever given, the oldest first.
    async fn issued(&self, session: &str) -> Vec<String> {
        let query = format!("SELECT jti FROM refresh_tokens WHERE session_id = '{session}' ORDER BY generation");
        let statement = sea_orm::Statement::from_string(self.database.get_database_backend(), query);
        let rows = self.database.query_all_raw(statement).await.expect("the database can be read");
        rows.iter().map(|row| row.try_get("", "jti").expect("a text")).collect()
    }

    /// # Panics
    /// One of the gateways lets somebody in.
    async fn all_keep_out(&self, actor: &Actor) {
        for gateway in [&self.site.gateway, &self.others[0], &self.others[1]] {
            let answer = self.site.get_from(gateway, "/api", &actor.access_token).await;
            assert_eq!((answer.status, answer.code().as_str()), (401, "revoked_token"));
        }
    }
}

/// Everybody connects first, so that all of them ask in the same moment. What each hears: none if the connection ended.
fn ask_at_once(token: &str, gateways: &[SocketAddr], crowd: usize) -> JoinSet<Option<(u16, Value)>> {
    let all_connected = Arc::new(Barrier::new(crowd));
    let body = json!({"refresh_token": token}).to_string();
    let mut answers = JoinSet::new();
    for &gateway in gateways.iter().cycle().take(crowd) {
        let all_connected = Arc::clone(&all_connected);
        let head = "POST /auth/refresh HTTP/1.1\r\nhost: a\r\ncontent-type: application/json";
        let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        answers.spawn(async move {
            let mut client = RawClient::connect(gateway).await;
            all_connected.wait().await;
            client.send(request).await;
            let answer = client.response().await?;
            Some((answer.status, serde_json::from_slice(&answer.body).unwrap_or_default()))
        });
    }
    answers
}

/// The refresh token and the access token of an answer that has some.
///
/// # Panics
/// It is a refusal.
fn tokens((status, body): (u16, Value)) -> (String, String) {
    assert_eq!(status, 200, "{body}");
    let text = |member: &str| body[member].as_str().unwrap_or_else(|| panic!("no {member}: {body}")).to_owned();
    (text("refresh_token"), text("access_token"))
}

async fn the_crowd_gets_one_successor(kind: Kind) {
    let replicas = Replicas::on(kind, "60s").await;
    let ada = replicas.site.registered("ada").await;
    let session = ada.claim("sid").await;
    let answers = ask_at_once(&ada.refresh_token, &replicas.addresses(), CROWD).join_all().await;
    assert_eq!(answers.len(), CROWD);
    let answers: BTreeSet<_> = answers.into_iter().map(|answer| tokens(answer.expect("no gateway hangs up"))).collect();
    assert_eq!(answers.len(), 1, "successors: {answers:?}");
    let mut second = ada.clone();
    (second.refresh_token, second.access_token) = answers.first().expect("there is one").clone();
    replicas.site.lets_in(&second).await;
    assert_eq!(replicas.issued(&session).await, [ada.claim("jti").await, second.claim("jti").await], "one rotation");

    // The successor is used by somebody; then the first token is of nobody who is up to date.
    let mut third = second.at(replicas.others[0].address);
    third.take(&next(&third).await);
    replicas.site.lets_in(&third).await;
    has_no_successor(&ada.at(replicas.others[1].address), "revoked_token").await;
    replicas.all_keep_out(&ada).await;
    replicas.all_keep_out(&third).await;
    for gateway in replicas.addresses() {
        has_no_successor(&third.at(gateway), "revoked_token").await;
    }
    assert_eq!(replicas.issued(&session).await.len(), 3, "nothing was issued after the end");
}

/// The rotation is in the database, and the process that wrote it is gone: whoever heard nothing asks the next gateway.
async fn a_crowd_that_asks_again_gets_the_successor_of_the_dead(kind: Kind) {
    let mut replicas = Replicas::on(kind, "60s").await;
    let ada = replicas.site.registered("ada").await;
    let (session, first) = (ada.claim("sid").await, ada.claim("jti").await);
    // Only one gateway is asked, so it is the one that writes.
    let crowd = ask_at_once(&ada.refresh_token, &[replicas.site.gateway.address], CROWD);
    let committed = async {
        loop {
            if let [_, successor] = &replicas.issued(&session).await[..] {
                return successor.clone();
            }
        }
    };
    let successor = tokio::time::timeout(PATIENCE, committed).await.expect("one rotation");
    replicas.site.gateway.kill();
    let heard: Vec<_> = crowd.join_all().await.into_iter().flatten().map(tokens).collect();
    assert!(heard.len() < CROWD, "the gateway died after its last answer: nobody had to ask again");

    let again = ask_at_once(&ada.refresh_token, &replicas.addresses()[1..], CROWD).join_all().await;
    let again = again.into_iter().map(|answer| tokens(answer.expect("the others live")));
    let answers: BTreeSet<_> = heard.into_iter().chain(again).collect();
    assert_eq!(answers.len(), 1, "successors: {answers:?}");
    let mut second = ada.at(replicas.others[0].address);
    (second.refresh_token, second.access_token) = answers.first().expect("there is one").clone();
    assert_eq!(second.claim("jti").await, successor, "the one that was written before the death");
    assert_eq!(replicas.issued(&session).await, [first, successor], "one rotation");
    replicas.site.gateway.restart().await;
    replicas.site.lets_in(&second).await;
}

async fn after_the_grace_the_predecessor_ends_the_session_everywhere(kind: Kind) {
    let replicas = Replicas::on(kind, "1s").await;
    let ada = replicas.site.registered("ada").await;
    let other_session = replicas.site.signed_in("ada").await;
    let mut second = ada.clone();
    second.take(&next(&ada).await);
    let late = ada.at(replicas.others[0].address);
    eventually("the end of the grace", async || match late.refresh().await {
        (200, tokens) => {
            assert_eq!(tokens["refresh_token"], json!(second.refresh_token));
            None
        }
        (status, body) => {
            assert_eq!((status, &body["code"]), (401, &json!("revoked_token")), "{body}");
            Some(())
        }
    })
    .await;
    replicas.all_keep_out(&ada).await;
    replicas.all_keep_out(&second).await;
    for gateway in replicas.addresses() {
        has_no_successor(&second.at(gateway), "revoked_token").await;
    }
    replicas.site.lets_in(&other_session).await;
}

/// Crowds of every size between two and 64, one after the other, each with the successor that the one before got.
async fn every_crowd_gets_one_successor(kind: Kind, sizes: impl Iterator<Item = usize>) {
    let replicas = Replicas::on(kind, "60s").await;
    let mut ada = replicas.site.registered("ada").await;
    let session = ada.claim("sid").await;
    let (mut crowds, mut asked) = (0, 0);
    for size in sizes {
        let answers = ask_at_once(&ada.refresh_token, &replicas.addresses(), size).join_all().await;
        assert_eq!(answers.len(), size);
        let answers: BTreeSet<_> = answers.into_iter().map(|answer| tokens(answer.expect("no gateway hangs up"))).collect();
        assert_eq!(answers.len(), 1, "successors for a crowd of {size}: {answers:?}");
        (ada.refresh_token, ada.access_token) = answers.first().expect("there is one").clone();
        (crowds, asked) = (crowds + 1, asked + size);
    }
    replicas.site.lets_in(&ada).await;
    assert_eq!(replicas.issued(&session).await.len(), crowds + 1, "one rotation for each crowd");
    println!("{kind:?}: {crowds} crowds, {asked} requests, {crowds} successors");
}

async fn crowds_of_some_sizes_get_one_successor_each(kind: Kind) {
    every_crowd_gets_one_successor(kind, [2, 3, 5, 8, 16, 32, 64].into_iter()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make soak"]
async fn crowds_of_every_size_get_one_successor_each() {
    let crowds = usize::try_from(number_from_environment("SOAK_CROWDS", 1000)).expect("a usize has 64 bits");
    for kind in [Kind::Sqlite, Kind::Postgres, Kind::Mariadb] {
        every_crowd_gets_one_successor(kind, (0..crowds).map(|crowd| 2 + crowd % 63)).await;
    }
}

/// Each of these facts, on each of the databases.
macro_rules! on_each_database {
    ($($fact:ident)+) => {$(
        mod $fact {
            use super::Kind;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                super::$fact(Kind::Sqlite).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                super::$fact(Kind::Postgres).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_mariadb() {
                super::$fact(Kind::Mariadb).await;
            }
        }
    )+};
}

on_each_database! {
    the_crowd_gets_one_successor
    crowds_of_some_sizes_get_one_successor_each
    a_crowd_that_asks_again_gets_the_successor_of_the_dead
    after_the_grace_the_predecessor_ends_the_session_everywhere
}
