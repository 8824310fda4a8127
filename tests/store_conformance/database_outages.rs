//! Databases demoted, cut off, hung, killed and back (security cases 212, 214): the store says that it is unavailable,
//! soon, and works again by itself.

use std::time::Duration;

use portcullis::store::sql::SqlStore;
use portcullis::store::{NewUser, Probe, StoreError, Users};
use sea_orm::{ConnectionTrait as _, TransactionTrait as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::database::{Database, Place, on_mariadb, on_postgres, on_sqlite};
use super::services::databases::{Server, postgres};
use super::{eventually, secs, user};

/// Writes until it works, for as long as that is to be expected.
async fn works_again(store: &SqlStore, new: &NewUser) {
    eventually("the store works again", || async { store.add(new).await.ok() }).await;
}

#[track_caller]
fn assert_unavailable<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    assert!(matches!(answer, Err(StoreError::Unavailable { .. })), "{answer:?}");
}

/// Cuts every connection to this database but its own.
async fn cut_connections(place: &Place) {
    let connection = place.connect().await;
    if place.url.starts_with("postgres") {
        let cut = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        connection.execute_unprepared(cut).await.expect("an administrator may");
        return;
    }
    let others = "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()";
    let others = sea_orm::Statement::from_string(sea_orm::DbBackend::MySql, others);
    for row in connection.query_all_raw(others).await.expect("an administrator may") {
        let id: i64 = row.try_get("", "id").expect("a number");
        // It may have ended by itself meanwhile.
        let _ = connection.execute_unprepared(&format!("KILL HARD CONNECTION {id}")).await;
    }
}

async fn connections_that_were_cut_are_replaced(Database { store, place }: Database) {
    store.add(&user("ada")).await.expect("nobody has the name");
    cut_connections(&place).await;
    store.add(&user("bob")).await.expect("a cut connection is noticed before it is used");
    store.probe().await.expect("it answers");
}

#[tokio::test]
async fn connections_to_postgres_that_were_cut_are_replaced() {
    connections_that_were_cut_are_replaced(Database::at(on_postgres().await).await).await;
}

#[tokio::test]
async fn connections_to_mariadb_that_were_cut_are_replaced() {
    connections_that_were_cut_are_replaced(Database::at(on_mariadb().await).await).await;
}

/// Between a store and its server: what goes through it can be lost without a word.
struct Cable {
    port: u16,
    lost: watch::Sender<()>,
    used: watch::Sender<()>,
}

impl Cable {
    /// A cable to this port of this machine.
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("the loopback has a free port");
        let (lost, used) = (watch::Sender::new(()), watch::Sender::new(()));
        let cable = Self { port: listener.local_addr().expect("it is bound").port(), lost: lost.clone(), used: used.clone() };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (mut lost, used) = (lost.subscribe(), used.clone());
                tokio::spawn(async move {
                    let server = TcpStream::connect(("127.0.0.1", port)).await.expect("the server runs");
                    let (mut client, mut server) = (client.into_split(), server.into_split());
                    let carried = async {
                        tokio::join!(carry(&mut client.0, &mut server.1, &used), carry(&mut server.0, &mut client.1, &used))
                    };
                    tokio::select! {
                        _ = carried => {}
                        // Both ends stay open, and neither hears of the other again.
                        _ = lost.changed() => std::future::pending().await,
                    }
                });
            }
        });
        cable
    }

    /// Waits until nothing goes through any more. The pool looks after a connection for a moment after its use, and
    /// one that is lost in the last instant of it is missed until TCP gives it up.
    async fn calm(&self) {
        let mut used = self.used.subscribe();
        while tokio::time::timeout(Duration::from_millis(100), used.changed()).await.is_ok() {}
    }

    /// The connections of now answer nothing any more; later ones do.
    fn lose_connections(&self) {
        self.lost.send_replace(());
    }
}

async fn carry(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, used: &watch::Sender<()>) {
    let mut buffer = [0; 4096];
    while let Ok(bytes @ 1..) = from.read(&mut buffer).await {
        used.send_replace(());
        if to.write_all(&buffer[..bytes]).await.is_err() {
            break;
        }
    }
    // The other side may be gone already.
    let _ = to.shutdown().await;
}

/// A server that was replaced behind its address, or a firewall that forgot: nobody says that the connections are gone.
async fn connections_that_answer_nothing_are_replaced(place: Place) {
    let (start, end) = place.url.split_once("@127.0.0.1:").expect("a URL of ours");
    let (port, database) = end.split_once('/').expect("a URL of ours");
    let cable = Cable::to(port.parse().expect("a port")).await;
    let url = format!("{start}@127.0.0.1:{}/{database}", cable.port);
    let store = SqlStore::connect(&url.into(), 4).await.expect("the database opens");
    let users: Vec<_> = (0..4).map(|number| user(&format!("user{number}"))).collect();
    for added in futures_util::future::join_all(users.iter().map(|new| store.add(new))).await {
        added.expect("nobody has the name");
    }

    // All of them idle.
    cable.calm().await;
    cable.lose_connections();
    let more: Vec<_> = (4..8).map(|number| user(&format!("user{number}"))).collect();
    let adding = tokio::time::timeout(secs(3), futures_util::future::join_all(more.iter().map(|new| store.add(new))));
    for added in adding.await.expect("dead connections are given up soon") {
        added.expect("a new connection takes its place");
    }

    // All of them in use.
    let holder = place.connect().await;
    let transaction = holder.begin().await.expect("the database is there");
    for held in &users {
        let hold = format!("UPDATE users SET created_at = 0 WHERE id = '{}'", held.user.id);
        transaction.execute_unprepared(&hold).await.expect("the table is there");
    }
    let changes = users.iter().map(|new| store.set_roles(new.user.id, &new.user.roles));
    let lose = async {
        eventually("all wait", || async { (place.waiting().await == 4).then_some(()) }).await;
        cable.lose_connections();
    };
    let (changed, ()) = tokio::join!(futures_util::future::join_all(changes), lose);
    changed.into_iter().for_each(assert_unavailable);
    let added = tokio::time::timeout(secs(3), store.add(&user("late"))).await;
    added.expect("a dead connection is given up soon").expect("a new connection takes its place");
    transaction.rollback().await.expect("the database is there");
}

// Where each server takes seconds, all are tried at once.
#[tokio::test]
async fn connections_to_any_server_that_answer_nothing_are_replaced() {
    let (postgres, mariadb) = (on_postgres().await, on_mariadb().await);
    tokio::join!(connections_that_answer_nothing_are_replaced(postgres), connections_that_answer_nothing_are_replaced(mariadb));
}

/// What comes of a row that another transaction does not let go: for SQLite, of the file.
async fn a_database_that_hangs_is_unavailable_and_works_again(Database { store, place }: Database) {
    let ada = user("ada");
    store.add(&ada).await.expect("nobody has the name");
    let holder = place.connect().await;
    let transaction = holder.begin().await.expect("the database is there");
    transaction.execute_unprepared("UPDATE users SET created_at = 0").await.expect("the table is there");
    let waiting = tokio::time::timeout(secs(8), store.set_roles(ada.user.id, &ada.user.roles)).await;
    assert_unavailable(waiting.expect("the store gives up by itself"));
    transaction.rollback().await.expect("the database is there");
    assert!(store.set_roles(ada.user.id, &ada.user.roles).await.expect("there"));
}

#[tokio::test]
async fn any_database_that_hangs_is_unavailable_within_seconds_and_works_again() {
    let (sqlite, postgres, mariadb) = (on_sqlite().await, on_postgres().await, on_mariadb().await);
    tokio::join!(
        a_database_that_hangs_is_unavailable_and_works_again(Database::at(sqlite).await),
        a_database_that_hangs_is_unavailable_and_works_again(Database::at(postgres).await),
        a_database_that_hangs_is_unavailable_and_works_again(Database::at(mariadb).await),
    );
}

/// After a failover the old primary only reads; a pool that stays with it would refuse every login until somebody
/// restarts the gateway.
#[tokio::test]
async fn a_postgres_primary_that_was_demoted_is_left() {
    let Database { store, place } = Database::at(on_postgres().await).await;
    let ada = user("ada");
    store.add(&ada).await.expect("nobody has the name");
    let name = place.url.rsplit('/').next().expect("the URL ends with the database").to_owned();
    postgres().execute(&[&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")]).await;
    cut_connections(&place).await;
    for new in [user("bob"), user("eve")] {
        assert_unavailable(store.add(&new).await);
        assert!(store.find(ada.user.id).await.expect("what is there can be read").is_some());
    }
    // Connections that were made meanwhile stay read-only: what follows works only because they are given up.
    postgres().execute(&[&format!("ALTER DATABASE {name} RESET default_transaction_read_only")]).await;
    store.add(&user("bob")).await.expect("the first try comes to a server that writes");
}

#[tokio::test]
async fn a_mariadb_primary_that_was_demoted_is_left() {
    let server = Server::mariadb();
    let url = server.database().await.replace("root@", "gate@");
    // Administrators may write to a server that only reads.
    let grants = ["CREATE USER gate@'127.0.0.1'", "GRANT ALL ON gate_0.* TO gate@'127.0.0.1'"];
    server.execute(&grants).await;
    let store = SqlStore::connect(&url.into(), 4).await.expect("an empty database opens");
    let ada = user("ada");
    store.add(&ada).await.expect("nobody has the name");
    server.execute(&["SET GLOBAL read_only = ON"]).await;
    assert_unavailable(store.add(&user("bob")).await);
    assert!(store.find(ada.user.id).await.expect("what is there can be read").is_some());
    server.execute(&["SET GLOBAL read_only = OFF"]).await;
    store.add(&user("bob")).await.expect("it writes again");
}

async fn a_killed_server_is_unavailable_until_it_is_back(mut server: Server) {
    let url = server.database().await;
    let store = SqlStore::connect(&url.clone().into(), 4).await.expect("an empty database opens");
    let ada = user("ada");
    store.add(&ada).await.expect("nobody has the name");
    server.kill();
    let (bob, url) = (user("bob"), url.into());
    let (written, probed, opened) = tokio::join!(store.add(&bob), store.probe(), SqlStore::connect(&url, 1));
    assert_unavailable(written);
    assert_unavailable(probed);
    assert_unavailable(opened.map(drop));
    server.restart();
    works_again(&store, &bob).await;
    assert!(store.find(ada.user.id).await.expect("there").is_some(), "what was acknowledged is there");
}

#[tokio::test]
async fn any_killed_server_is_unavailable_until_it_is_back() {
    let (postgres, mariadb) = (Server::postgres(), Server::mariadb());
    tokio::join!(
        a_killed_server_is_unavailable_until_it_is_back(postgres),
        a_killed_server_is_unavailable_until_it_is_back(mariadb),
    );
}
