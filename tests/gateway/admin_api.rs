//! Accounts over the API: what administrators may do, what takes effect before they are answered, what nobody may do.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::{Actor, PASSWORD};
use crate::support::site::{Site, Store};

/// Whoever registers may be an administrator here.
async fn site(store: Store) -> Site {
    Site::changed(store, |gateway| gateway.set("auth.self_assigned_roles=[\"admin\", \"editor\"]")).await
}

async fn administrator(site: &Site, name: &str) -> Actor {
    Actor::registered_with(site.gateway.address, name, json!({"roles": ["admin"]})).await
}

async fn id(actor: &Actor) -> String {
    actor.claim("sub").await
}

#[tokio::test]
async fn nobody_but_an_administrator_sees_or_changes_accounts() {
    let site = site(Store::Embedded).await;
    let root = administrator(&site, "root").await;
    let ada = site.registered("ada").await;
    let target = id(&root).await;
    for (method, path) in [
        (Method::GET, "/auth/users".to_owned()),
        (Method::POST, "/auth/users".to_owned()),
        (Method::GET, format!("/auth/users/{target}")),
        (Method::PATCH, format!("/auth/users/{target}")),
        (Method::DELETE, format!("/auth/users/{target}")),
        (Method::POST, format!("/auth/users/{target}/disable")),
        (Method::POST, format!("/auth/users/{target}/enable")),
        (Method::PUT, format!("/auth/users/{target}/roles")),
        (Method::GET, format!("/auth/users/{target}/sessions")),
        (Method::DELETE, format!("/auth/users/{target}/sessions")),
    ] {
        let (status, body) = ada.send(method.clone(), &path, &json!({})).await;
        assert_eq!((status, &body["code"]), (403, &json!("forbidden")), "{method} {path}");
        let (status, body) = site.gateway.anonymous().send(method.clone(), &path, &json!({})).await;
        assert_eq!((status, &body["code"]), (401, &json!("missing_token")), "{method} {path}");
    }
    site.lets_in(&root).await;
}

#[tokio::test]
async fn accounts_are_listed_page_by_page_and_never_with_a_hash() {
    let site = site(Store::Embedded).await;
    let root = administrator(&site, "root").await;
    for name in ["ada", "grace", "joan"] {
        site.registered(name).await;
    }
    let (mut names, mut query) = (Vec::new(), "limit=2".to_owned());
    loop {
        let (status, body) = root.get(&format!("/auth/users?{query}")).await;
        assert_eq!(status, 200, "{body}");
        assert!(!body.to_string().contains("argon2") && !body.to_string().contains("hash"), "{body}");
        names.extend(body["users"].as_array().expect("a list").iter().map(|user| user["username"].clone()));
        let Some(next) = body["next"].as_str() else { break };
        query = format!("limit=2&after={next}");
    }
    assert_eq!(Value::from(names), json!(["root", "ada", "grace", "joan"]));
    let (_, found) = root.get("/auth/users?name=GRACE").await;
    assert_eq!(found["users"][0]["username"], "grace");
    assert_eq!(root.get("/auth/users?name=nobody").await.1, json!({"users": []}));
    assert_eq!(root.get("/auth/users?limit=501").await.0, 400);
}

#[tokio::test]
async fn an_administrator_adds_shows_and_changes_a_user() {
    let site = site(Store::Embedded).await;
    let root = administrator(&site, "root").await;
    let new = json!({"username": "ada", "email": "ada@example.com", "password": PASSWORD, "roles": ["anything"]});
    let (status, added) = root.post("/auth/users", &new).await;
    assert_eq!((status, &added["roles"]), (201, &json!(["anything"])), "{added}");
    assert_eq!(root.post("/auth/users", &new).await.0, 409);
    assert_eq!(root.post("/auth/users", &json!({"username": "x", "password": "short"})).await.0, 400);

    let path = format!("/auth/users/{}", added["id"].as_str().expect("an id"));
    assert_eq!(root.get(&path).await, (200, added));
    let (status, changed) = root.send(Method::PATCH, &path, &json!({"given_name": "Ada"})).await;
    assert_eq!((status, &changed["given_name"]), (200, &json!("Ada")));
    assert_eq!(root.send(Method::PATCH, &path, &json!({"roles": ["admin"]})).await.0, 400);
    site.signed_in("ada").await;
    for nobody in ["/auth/users/x", "/auth/users/00000000-0000-4000-8000-000000000000"] {
        assert_eq!(root.get(nobody).await.0, 404);
        assert_eq!(root.send(Method::PATCH, nobody, &json!({})).await.0, 404);
        assert_eq!(root.delete(nobody).await.0, 404);
        assert_eq!(root.post(&format!("{nobody}/disable"), &json!({})).await.0, 404);
        assert_eq!(root.get(&format!("{nobody}/sessions")).await.0, 404);
    }
}

#[tokio::test]
async fn disabling_deleting_and_taking_a_role_are_true_before_they_are_answered() {
    for store in [Store::Embedded, Store::Redis] {
        let site = site(store).await;
        let root = administrator(&site, "root").await;
        for act in ["disable", "delete", "roles", "sessions"] {
            let user = Actor::registered_with(site.gateway.address, act, json!({"roles": ["editor"]})).await;
            let path = format!("/auth/users/{}", id(&user).await);
            site.lets_in(&user).await;
            let (status, body) = match act {
                "disable" => root.post(&format!("{path}/disable"), &json!({})).await,
                "delete" => root.delete(&path).await,
                "roles" => root.send(Method::PUT, &format!("{path}/roles"), &json!({"roles": []})).await,
                _ => root.delete(&format!("{path}/sessions")).await,
            };
            assert!(status == 204 || status == 200, "{act}: {body}");
            site.keeps_out(&user).await;
            assert_eq!(user.refresh().await.0, 401, "{act}");
        }
    }
}

#[tokio::test]
async fn a_role_that_is_added_ends_no_session() {
    let site = site(Store::Embedded).await;
    let root = administrator(&site, "root").await;
    let ada = site.registered("ada").await;
    let path = format!("/auth/users/{}/roles", id(&ada).await);
    let (status, user) = root.send(Method::PUT, &path, &json!({"roles": ["editor"]})).await;
    assert_eq!((status, &user["roles"]), (200, &json!(["editor"])));
    site.lets_in(&ada).await;
    assert_eq!(root.send(Method::PUT, &path, &json!({"roles": ["a,b"]})).await.0, 400);
}

#[tokio::test]
async fn a_disabled_user_comes_back_when_enabled_and_a_deleted_one_never() {
    let site = site(Store::Embedded).await;
    let root = administrator(&site, "root").await;
    let ada = site.registered("ada").await;
    let path = format!("/auth/users/{}", id(&ada).await);
    let credentials = json!({"username": "ada", "password": PASSWORD});
    let anyone = site.gateway.anonymous();
    root.post(&format!("{path}/disable"), &json!({})).await;
    assert_eq!(anyone.post("/auth/login", &credentials).await.0, 401);
    root.post(&format!("{path}/enable"), &json!({})).await;
    let again = site.signed_in("ada").await;
    let (_, sessions) = root.get(&format!("{path}/sessions")).await;
    assert_eq!(sessions["sessions"][0]["id"], again.claim("sid").await);

    assert_eq!(root.delete(&path).await.0, 204);
    assert_eq!(anyone.post("/auth/login", &credentials).await.0, 401);
    assert_eq!(root.get(&path).await.0, 404);
    assert_eq!(root.delete(&path).await.0, 404);
    // The name is free, and whoever takes it is somebody else.
    let other = site.registered("ada").await;
    assert!(!path.ends_with(&id(&other).await));
}

#[tokio::test]
async fn the_last_administrator_cannot_be_taken_away() {
    let site = site(Store::Embedded).await;
    let (root, other) = (administrator(&site, "root").await, administrator(&site, "other").await);
    let (mine, theirs) = (format!("/auth/users/{}", id(&root).await), format!("/auth/users/{}", id(&other).await));
    assert_eq!(root.post(&format!("{theirs}/disable"), &json!({})).await.0, 204, "there are two");
    for (status, body) in [
        root.delete(&mine).await,
        root.post(&format!("{mine}/disable"), &json!({})).await,
        root.send(Method::PUT, &format!("{mine}/roles"), &json!({"roles": ["editor"]})).await,
    ] {
        assert_eq!(status, 403, "{body}");
        assert!(body["detail"].as_str().expect("a sentence").contains("last administrator"), "{body}");
    }
    site.lets_in(&root).await;
    // One who is disabled may go, and with another one the last may go, too.
    assert_eq!(root.delete(&theirs).await.0, 204);
    administrator(&site, "third").await;
    assert_eq!(root.delete(&mine).await.0, 204);
}

#[tokio::test]
async fn two_administrators_who_remove_each_other_do_not_both_succeed() {
    let site = site(Store::Embedded).await;
    let (root, other) = (administrator(&site, "root").await, administrator(&site, "other").await);
    let (mine, theirs) = (format!("/auth/users/{}", id(&root).await), format!("/auth/users/{}", id(&other).await));
    let ((first, _), (second, _)) = tokio::join!(root.delete(&theirs), other.delete(&mine));
    let done = [first, second].iter().filter(|status| **status == 204).count();
    assert_eq!(done, 1, "{first} {second}");
}
