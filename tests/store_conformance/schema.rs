//! The schema's changes (security case 215): made once whoever starts at once, begun again after an interruption,
//! invisible to the version before, and never undone by an older version.

use portcullis::identity::user::LoginName;
use portcullis::store::sql::SqlStore;
use portcullis::store::{Client, Clients, StoreError, Users};

use super::database::{Database, Place, on_every_database};
use super::{now, user};

/// What undoes the second migration, in an order that foreign keys allow.
const BEFORE_ACCOUNTS: [&str; 7] = [
    "DROP TABLE one_time_tokens",
    "DROP TABLE audit_events",
    "DROP TABLE api_keys",
    "DROP TABLE clients",
    "DROP TABLE client_assertions",
    "ALTER TABLE users DROP COLUMN email_verified_at",
    "DELETE FROM seaql_migrations WHERE version = 'm20260201_000002_accounts'",
];

fn client() -> Client {
    let (name, scopes, roles) = ("Billing".to_owned(), Vec::new(), Default::default());
    Client {
        id: "billing".to_owned(),
        name,
        secret_hash: None,
        public_keys: None,
        scopes,
        roles,
        created_at: now(),
        disabled_at: None,
    }
}

/// What is left then, in an order that foreign keys allow.
const BEFORE_EVERYTHING: [&str; 11] = [
    "DROP TABLE acme_accounts",
    "DROP TABLE acme_certificates",
    "DROP TABLE acme_orders",
    "DROP TABLE acme_leases",
    "DROP TABLE acme_challenges",
    "DROP TABLE refresh_tokens",
    "DROP TABLE sessions",
    "DROP TABLE user_roles",
    "DROP TABLE users",
    "DROP TABLE revocations",
    "DROP TABLE seaql_migrations",
];

/// Starts six, after which the schema is what it should be.
async fn start_at_once(place: &Place) {
    let starts = (0..6).map(|_| {
        let url = place.url.clone().into();
        tokio::spawn(async move { SqlStore::connect(&url, 2).await.map(drop) })
    });
    for start in starts.collect::<Vec<_>>() {
        start.await.expect("no panic").expect("each finds a complete schema");
    }
    Clients::add(&place.open().await, &client()).await.expect("the schema is complete");
}

async fn processes_that_start_at_once_make_the_schema_one_after_the_other(Database { place, .. }: Database) {
    place.execute(&BEFORE_ACCOUNTS).await;
    place.execute(&BEFORE_EVERYTHING).await;
    start_at_once(&place).await;
}

async fn processes_that_start_at_once_change_the_schema_one_after_the_other(Database { place, .. }: Database) {
    place.execute(&BEFORE_ACCOUNTS).await;
    start_at_once(&place).await;
}

async fn what_was_there_before_a_change_is_there_after_it(Database { store, place }: Database) {
    let ada = user("ada");
    Users::add(&store, &ada).await.expect("nobody has the name");
    place.execute(&BEFORE_ACCOUNTS).await;
    let store = place.open().await;
    assert_eq!(Users::find(&store, ada.user.id).await.expect("there"), Some(ada.user));
}

async fn an_interrupted_change_is_made_whole(Database { place, .. }: Database) {
    // MySQL and MariaDB commit each statement by itself: this is what a process that died half-way leaves.
    place.execute(&["DROP TABLE clients", BEFORE_ACCOUNTS[6]]).await;
    let store = place.open().await;
    Clients::add(&store, &client()).await.expect("the schema is complete");
}

async fn the_version_before_goes_on_while_replicas_are_updated(Database { store, place }: Database) {
    let old_columns = "INSERT INTO users (id, username, username_canonical, password_hash, created_at, sessions_from)
        VALUES ('018f3f7e-0000-7000-8000-000000000001', 'old', NULL, '$argon2id$', 0, 0)";
    place.execute(&[old_columns]).await;
    let listed = Users::list(&store, portcullis::store::Page { after: None, limit: 10 }).await.expect("there");
    assert_eq!(listed.len(), 1);
    assert!(store.find_by_login(&LoginName::parse("old").expect("a name")).await.expect("there").is_none());
}

async fn a_newer_schema_is_refused_and_left_alone(Database { place, .. }: Database) {
    place.execute(&["INSERT INTO seaql_migrations (version, applied_at) VALUES ('m29990101_000001_from_the_future', 0)"]).await;
    for _ in 0..2 {
        let refused = SqlStore::connect(&place.url.clone().into(), 1).await.map(drop);
        assert!(matches!(&refused, Err(StoreError::Corrupt { what, .. }) if what.contains("from_the_future")), "{refused:?}");
    }
}

on_every_database! {
    processes_that_start_at_once_make_the_schema_one_after_the_other,
    processes_that_start_at_once_change_the_schema_one_after_the_other,
    what_was_there_before_a_change_is_there_after_it,
    an_interrupted_change_is_made_whole,
    the_version_before_goes_on_while_replicas_are_updated,
    a_newer_schema_is_refused_and_left_alone,
}
