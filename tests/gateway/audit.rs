//! The record of who did what: what enters it, what never does, who may read it, and when it is forgotten.

use serde_json::{Value, json};

use crate::support::client::{Actor, PASSWORD};
use crate::support::eventually;
use crate::support::site::{Site, Store};

/// Whoever registers may be an administrator here.
async fn site() -> Site {
    Site::changed(Store::Embedded, |gateway| gateway.set("auth.self_assigned_roles=[\"admin\"]")).await
}

async fn administrator(site: &Site) -> Actor {
    Actor::registered_with(site.gateway.address, "root", json!({"roles": ["admin"]})).await
}

async fn events(administrator: &Actor, query: &str) -> Vec<Value> {
    let (status, body) = administrator.get(&format!("/auth/audit?{query}")).await;
    assert_eq!(status, 200, "{body}");
    body["events"].as_array().expect("a list").clone()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["kind"].as_str().expect("a word")).collect()
}

#[tokio::test]
async fn what_happens_to_an_account_is_on_record_newest_first() {
    let site = site().await;
    let root = administrator(&site).await;
    let ada = site.registered("ada").await;
    let id = ada.claim("sub").await;
    let anyone = site.gateway.anonymous();
    anyone.post("/auth/login", &json!({"username": "ADA", "password": "not it, not at all"})).await;
    let other = site.signed_in("ada").await;
    assert_eq!(ada.delete(&format!("/auth/sessions/{}", other.claim("sid").await)).await.0, 204);
    let change = json!({"current_password": PASSWORD, "new_password": "battery staple correct horse"});
    assert_eq!(ada.post("/auth/password", &change).await.0, 204);
    assert_eq!(ada.send(reqwest::Method::PATCH, "/auth/me", &json!({"given_name": "Ada"})).await.0, 200);
    ada.log_out().await;

    let events = events(&root, &format!("user={id}")).await;
    let expected =
        ["logout", "user_changed", "password_changed", "session_revoked", "login", "login_failed", "login", "register"];
    assert_eq!(kinds(&events), expected);
    let failed = &events[5];
    assert_eq!((&failed["outcome"], &failed["address"]), (&json!("failure"), &json!("127.0.0.1")));
    assert_eq!(failed["detail"], json!({"name": "ADA", "why": "wrong password"}));
    assert_eq!((&events[6]["actor"], &events[6]["user"]), (&json!(id), &json!(id)));
    assert!(events[6]["session"].is_string());
}

#[tokio::test]
async fn no_password_and_no_token_is_on_record_wherever_it_was_typed() {
    let site = site().await;
    let root = administrator(&site).await;
    let ada = site.registered("ada").await;
    let anyone = site.gateway.anonymous();
    for name in ["my secret passphrase", "ada"] {
        anyone.post("/auth/login", &json!({"username": name, "password": "another secret passphrase"})).await;
    }
    // An `@` makes no address.
    for field in ["username", "email", "identifier"] {
        anyone.post("/auth/login", &json!({field: "s3cr@t-passw0rd", "password": "x"})).await;
    }
    ada.log_out().await;
    let record = Value::from(events(&root, "limit=500").await).to_string();
    for secret in ["secret passphrase", "s3cr@t", PASSWORD, ada.access_token.as_str(), ada.refresh_token.as_str()] {
        assert!(!record.contains(secret), "{secret} in {record}");
    }
    assert!(record.contains("unknown name"));
}

#[tokio::test]
async fn a_flood_that_is_refused_unseen_leaves_one_line() {
    let site = site().await;
    let root = administrator(&site).await;
    let wrong = json!({"username": "ada", "password": "not it, not at all"});
    for _ in 0..30 {
        site.gateway.anonymous().post("/auth/login", &wrong).await;
    }
    assert_eq!(events(&root, "kind=login_failed").await.len(), 10);
    let throttled = events(&root, "kind=login_throttled").await;
    assert!((1..=2).contains(&throttled.len()), "{throttled:?}");
}

#[tokio::test]
async fn a_stolen_refresh_token_is_on_record() {
    let site = Site::changed(Store::Embedded, |gateway| {
        gateway.set("auth.self_assigned_roles=[\"admin\"]").set("auth.rotation_grace=0s")
    })
    .await;
    let root = administrator(&site).await;
    let ada = site.registered("ada").await;
    assert_eq!(ada.refresh().await.0, 200);
    assert_eq!(ada.refresh().await.0, 401);
    let reused = events(&root, "kind=refresh_reused").await;
    assert_eq!((reused.len(), &reused[0]["outcome"]), (1, &json!("failure")));
}

#[tokio::test]
async fn the_record_is_read_page_by_page_and_by_filter() {
    let site = site().await;
    let root = administrator(&site).await;
    for name in ["ada", "grace", "joan"] {
        site.registered(name).await;
    }
    let all = events(&root, "limit=500").await;
    let (mut pages, mut query) = (Vec::new(), "limit=3".to_owned());
    loop {
        let (_, body) = root.get(&format!("/auth/audit?{query}")).await;
        pages.extend(body["events"].as_array().expect("a list").clone());
        let Some(next) = body["next"].as_str() else { break };
        query = format!("limit=3&after={next}");
    }
    assert_eq!(pages, all);
    assert_eq!(events(&root, "kind=register").await.len(), 4);
    let at = all[2]["at"].as_str().expect("an instant");
    assert!(events(&root, &format!("since={at}")).await.len() >= 3);
    assert!(events(&root, &format!("until={at}")).await.iter().all(|event| event["at"].as_str() < Some(at)));
    for refused in ["limit=0", "limit=501", "kind=nonsense", "user=ada", "since=yesterday", "limit=1&limit=2", "x=1"] {
        let (status, body) = root.get(&format!("/auth/audit?{refused}")).await;
        assert_eq!((status, &body["code"]), (400, &json!("invalid")), "{refused}");
    }
}

#[tokio::test]
async fn only_administrators_read_the_record() {
    let site = site().await;
    let ada = site.registered("ada").await;
    assert_eq!(ada.get("/auth/audit").await.0, 403);
    assert_eq!(site.gateway.anonymous().get("/auth/audit").await.0, 401);
    // Another role may be the one.
    let site = Site::changed(Store::Embedded, |gateway| {
        gateway.set("auth.self_assigned_roles=[\"admin\", \"auditor\"]").set("auth.admin_role=auditor")
    })
    .await;
    assert_eq!(administrator(&site).await.get("/auth/audit").await.0, 403);
    let auditor = Actor::registered_with(site.gateway.address, "ada", json!({"roles": ["auditor"]})).await;
    assert_eq!(auditor.get("/auth/audit").await.0, 200);
}

#[tokio::test]
async fn events_are_forgotten_when_they_have_been_kept_long_enough() {
    let site = site().await;
    let root = administrator(&site).await;
    let url = format!("sqlite:{}", site.gateway.data().join("portcullis.db").display());
    let store = portcullis::store::sql::SqlStore::connect(&url.into(), 1).await.expect("the gateway's database");
    let old = |id: &str, at: &str| portcullis::store::AuditEvent {
        id: id.parse().expect("an id"),
        at: at.parse().expect("an instant"),
        kind: "login".to_owned(),
        outcome: "success".to_owned(),
        actor: None,
        subject: None,
        session: None,
        address: None,
        agent: None,
        detail: "{}".to_owned(),
    };
    let event = old("018cc251-f400-7000-8000-000000000000", "2024-01-01T00:00:00Z");
    portcullis::store::AuditLog::write(&store, &event).await.expect("it is written");
    assert_eq!(events(&root, "until=2024-02-01T00:00:00Z").await.len(), 1);
    let replica = site.gateway.replica().await;
    eventually("the old event is forgotten", async || {
        events(&root.at(replica.address), "until=2024-02-01T00:00:00Z").await.is_empty().then_some(())
    })
    .await;
}
