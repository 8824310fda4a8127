//! A database that takes nothing (212): accounts have to wait, whoever is signed in does not.

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
