//! What only SQLite has: a file.

use std::os::unix::fs::PermissionsExt as _;

use portcullis::store::sql::SqlStore;
use portcullis::store::{Probe, Users};

use super::user;

#[tokio::test]
async fn the_file_and_its_directory_are_created_for_their_owner_only() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("data/deep/gate.db");
    let store = SqlStore::connect(&format!("sqlite:{}", file.display()).into(), 2).await.expect("it is created");
    store.probe().await.expect("it answers");
    store.add(&user("ada")).await.expect("it takes users");
    let mode = |path: &std::path::Path| path.metadata().expect("it exists").permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(&file.with_extension("db-wal")), 0o600);
    assert_eq!(mode(file.parent().expect("it has a directory")), 0o700);
}

#[tokio::test]
async fn what_was_written_is_there_after_reopening() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let url = format!("sqlite:{}", directory.path().join("gate.db").display()).into();
    let ada = user("ada");
    SqlStore::connect(&url, 2).await.expect("it is created").add(&ada).await.expect("nobody has the name");
    let reopened = SqlStore::connect(&url, 2).await.expect("it opens again");
    assert_eq!(reopened.find(ada.user.id).await.expect("there"), Some(ada.user));
}

#[tokio::test]
async fn a_url_of_no_known_database_is_refused_without_being_repeated() {
    let refused = SqlStore::connect(&"oracle://scott:tiger@db".into(), 1).await.map(drop);
    let shown = format!("{refused:?}");
    assert!(refused.is_err() && !shown.contains("tiger"), "{shown}");
}

#[tokio::test]
async fn a_database_in_memory_serves_one_process() {
    let store = SqlStore::connect(&"sqlite::memory:".into(), 4).await.expect("memory is there");
    store.add(&user("ada")).await.expect("nobody has the name");
    assert_eq!(Users::list(&store, portcullis::store::Page { after: None, limit: 10 }).await.expect("there").len(), 1);
}
