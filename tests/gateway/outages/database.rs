//! A database that takes nothing, or has no room (212): accounts have to wait, whoever is signed in does not.

use std::process::Command;

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection};
use serde_json::json;

use crate::support::client::PASSWORD;
use crate::support::gateway::Gateway;
use crate::support::site::{Site, Store};

/// Another program's transaction that keeps everybody from writing until it is rolled back.
pub(crate) async fn locked(gateway: &Gateway) -> DatabaseConnection {
    let mut options = ConnectOptions::new(format!("sqlite:{}", gateway.data().join("portcullis.db").display()));
    options.max_connections(1);
    let database = Database::connect(options).await.expect("the file is there");
    database.execute_unprepared("BEGIN IMMEDIATE").await.expect("nobody else writes now");
    database
}

#[tokio::test]
async fn while_nothing_can_be_written_nothing_is_acknowledged_and_requests_go_on() {
    let site = Site::with(Store::Embedded).await;
    let ada = site.registered("ada").await;
    let database = locked(&site.gateway).await;
    let account = json!({"username": "grace", "password": PASSWORD});
    let sign_in = json!({"username": "ada", "password": PASSWORD});
    let nothing = json!({});
    let anonymous = site.gateway.anonymous();
    let (logout, everywhere, register, login, refresh, ()) = tokio::join!(
        ada.post("/auth/logout", &nothing),
        ada.post("/auth/logout-all", &nothing),
        anonymous.post("/auth/register", &account),
        anonymous.post("/auth/login", &sign_in),
        ada.refresh(),
        site.lets_in(&ada),
    );
    for (status, body) in [logout, everywhere, register, login, refresh] {
        assert_eq!((status, &body["code"]), (503, &json!("unavailable")), "{body}");
        assert!(!body.to_string().contains("lock"), "what is wrong is the operator's business: {body}");
    }
    site.lets_in(&ada).await;

    database.execute_unprepared("ROLLBACK").await.expect("it was begun");
    assert_eq!(anonymous.post("/auth/register", &account).await.0, 201, "nothing of it was left behind");
    let (status, tokens) = ada.refresh().await;
    assert_eq!(status, 200, "{tokens}");
    ada.log_out().await;
    site.keeps_out(&ada).await;
}

/// Limits how large the gateway's files may become.
fn limit_files(gateway: &Gateway, bytes: &str) {
    let pid = gateway.pid().as_raw_nonzero().to_string();
    let limited = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:unlimited")]).status();
    assert!(limited.expect("prlimit is installed: it is part of util-linux").success());
}

/// What a full disk is to SQLite, where nobody may mount one: a write that fails half-way. With a disk, and three
/// gateways: `history::when_the_disk_of_sqlite_is_full`.
///
/// After a commit that failed, the driver took later transactions for parts of the one that was over: they were
/// acknowledged and never written.
#[tokio::test]
async fn a_database_that_cannot_grow_acknowledges_nothing_and_forgets_nothing_that_it_acknowledges_later() {
    let mut site = Site::changed(Store::Embedded, |gateway| gateway.outliving_limits()).await;
    let (ada, leaving) = (site.registered("ada").await, site.signed_in("ada").await);
    limit_files(&site.gateway, "4096");
    let account = json!({"username": "grace", "password": PASSWORD});
    let sign_in = json!({"username": "ada", "password": PASSWORD});
    let anonymous = site.gateway.anonymous();
    // As often as there are connections in the pool, and more.
    for _ in 0..5 {
        for (status, body) in [
            leaving.post("/auth/logout", &json!({})).await,
            leaving.post("/auth/logout-all", &json!({})).await,
            anonymous.post("/auth/register", &account).await,
            anonymous.post("/auth/login", &sign_in).await,
            ada.refresh().await,
        ] {
            assert_eq!((status, &body["code"]), (503, &json!("unavailable")), "{body}");
            assert_eq!(body["detail"], json!(null), "what is wrong is the operator's business: {body}");
        }
        site.lets_in(&ada).await;
        site.lets_in(&leaving).await;
    }

    limit_files(&site.gateway, "unlimited");
    assert_eq!(anonymous.post("/auth/register", &account).await.0, 201, "nothing of it was left behind");
    let (status, tokens) = ada.refresh().await;
    assert_eq!(status, 200, "{tokens}");
    leaving.log_out().await;
    site.gateway.kill();
    site.gateway.restart().await;
    site.keeps_out(&leaving).await;
    site.lets_in(&ada).await;
    site.signed_in("grace").await;
}
