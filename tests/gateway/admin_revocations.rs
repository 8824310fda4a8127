//! What administrators and operators revoke, by whatever they have of it, is refused from the next request on; what they
//! mistype is refused to them.

use serde_json::{Value, json};

use crate::support::client::Actor;
use crate::support::site::{Site, Store};

const PATH: &str = "/auth/admin/revocations";
const STORES: [Store; 3] = [Store::Embedded, Store::Redis, Store::Mirror];

/// A gateway, and an administrator of it.
async fn site(store: Store) -> (Site, Actor) {
    let site = Site::changed(store, |gateway| {
        gateway.set("auth.self_assigned_roles=[\"admin\"]").table("[auth.api_keys]\nscopes = [\"a\"]")
    });
    let site = site.await;
    let root = Actor::registered_with(site.gateway.address, "root", json!({"roles": ["admin"]})).await;
    (site, root)
}

async fn revokes(root: &Actor, what: Value) {
    let (status, body) = root.post(PATH, &what).await;
    assert_eq!(status, 204, "{what}: {body}");
}

async fn api_key(owner: &Actor) -> (String, String) {
    let (status, made) = owner.post("/auth/api-keys", &json!({"name": "nightly", "scopes": []})).await;
    assert_eq!(status, 201, "{made}");
    (made["key"].as_str().expect("text").to_owned(), made["id"].as_str().expect("text").to_owned())
}

#[tokio::test]
async fn a_token_is_refused_on_its_next_request_and_its_session_goes_on() {
    for store in STORES {
        let (site, root) = site(store).await;
        let (whole, by_id, staying) = (site.registered("ada").await, site.signed_in("ada").await, site.signed_in("ada").await);
        for session in [&whole, &by_id, &staying] {
            site.lets_in(session).await;
        }
        revokes(&root, json!({"token": whole.access_token})).await;
        site.keeps_out(&whole).await;
        site.lets_in(&by_id).await;
        // Ids are looked up in lower case, however somebody writes them.
        revokes(&root, json!({"jti": by_id.claim("jti").await.to_uppercase()})).await;
        site.keeps_out(&by_id).await;
        // Twice is no error.
        revokes(&root, json!({"token": whole.access_token})).await;
        for mut session in [whole, by_id] {
            let (status, tokens) = session.refresh().await;
            assert_eq!(status, 200, "{tokens}");
            session.take(&tokens);
            site.lets_in(&session).await;
        }
        site.lets_in(&staying).await;
        site.lets_in(&root).await;
    }
}

#[tokio::test]
async fn a_session_and_a_user_are_refused_on_their_next_request() {
    for store in STORES {
        let (site, root) = site(store).await;
        let (by_id, by_refresh_token) = (site.registered("ada").await, site.signed_in("ada").await);
        let (staying, bystander) = (site.signed_in("ada").await, site.registered("grace").await);
        revokes(&root, json!({"session": by_id.claim("sid").await})).await;
        revokes(&root, json!({"token": by_refresh_token.refresh_token})).await;
        for ended in [&by_id, &by_refresh_token] {
            site.keeps_out(ended).await;
            assert_eq!(ended.refresh().await.0, 401);
        }
        site.lets_in(&staying).await;
        let id = staying.claim("sub").await;
        revokes(&root, json!({"user": "Ada"})).await;
        site.keeps_out(&staying).await;
        let again = site.signed_in("ada").await;
        revokes(&root, json!({"user": id, "token": null})).await;
        site.keeps_out(&again).await;
        site.lets_in(&bystander).await;
    }
}

#[tokio::test]
async fn an_api_key_is_revoked_by_itself_and_by_its_id() {
    let (site, root) = site(Store::Redis).await;
    let ada = site.registered("ada").await;
    let ((first, _), (second, id)) = (api_key(&ada).await, api_key(&ada).await);
    revokes(&root, json!({"token": first})).await;
    assert_eq!(site.get("/api", &first).await.code(), "revoked_token");
    assert_eq!(site.get("/api", &second).await.status, 200);
    revokes(&root, json!({"session": id})).await;
    assert_eq!(site.get("/api", &second).await.code(), "revoked_token");
    site.lets_in(&ada).await;
}

#[tokio::test]
async fn only_an_administrator_in_a_session_revokes() {
    let (site, root) = site(Store::Embedded).await;
    let ada = site.registered("ada").await;
    let client: Value =
        serde_json::from_str(&site.gateway.command(&["client", "add", "billing", "--role", "admin", "--json"])).expect("JSON");
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "billing"),
        ("client_secret", client["client_secret"].as_str().expect("it is shown once")),
    ];
    let (_, granted) = site.gateway.anonymous().form("/auth/oauth/token", &form).await;
    let mut program = site.gateway.anonymous();
    let what = json!({"user": "root"});
    for token in [ada.access_token.clone(), api_key(&root).await.0, granted["access_token"].as_str().expect("text").to_owned()] {
        program.access_token = token;
        let (status, body) = program.post(PATH, &what).await;
        assert_eq!((status, &body["code"]), (403, &json!("forbidden")), "{body}");
    }
    let (status, body) = site.gateway.anonymous().post(PATH, &what).await;
    assert_eq!((status, &body["code"]), (401, &json!("missing_token")));
    site.lets_in(&root).await;
}

#[tokio::test]
async fn what_cannot_be_revoked_is_refused_and_changes_nothing() {
    let (site, root) = site(Store::Embedded).await;
    let ada = site.registered("ada").await;
    let (signed, signature) = ada.access_token.rsplit_once('.').expect("three parts");
    let first = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{signed}.{first}{}", &signature[1..]);
    let sid = ada.claim("sid").await;
    for what in [
        json!({}),
        json!({"token": null}),
        json!({"user": "ada", "session": sid}),
        json!({"user": "ada", "because": "x"}),
        json!({"jti": "4711"}),
        json!({"jti": ada.access_token}),
        json!({"token": forged}),
        json!({"token": "pck_nothing"}),
        json!({"token": ""}),
        json!({"session": "here"}),
    ] {
        let (status, body) = root.post(PATH, &what).await;
        assert_eq!((status, &body["code"]), (400, &json!("invalid")), "{what}: {body}");
        assert!(!body.to_string().contains(signature), "{body}");
    }
    let nobody = "00000000-0000-4000-8000-000000000000";
    // The second is of the kind that sessions of other issuers have, and there are none.
    let foreign = "00000000-0000-8000-8000-000000000000";
    for what in [json!({"session": nobody}), json!({"session": foreign}), json!({"user": "eve"}), json!({"user": nobody})] {
        let (status, body) = root.post(PATH, &what).await;
        assert_eq!((status, &body["code"]), (404, &json!("not_found")), "{what}: {body}");
    }
    site.lets_in(&ada).await;
}

#[tokio::test]
async fn who_revoked_what_is_on_record() {
    let (site, root) = site(Store::Embedded).await;
    let ada = site.registered("ada").await;
    let jti = ada.claim("jti").await;
    revokes(&root, json!({"token": ada.access_token})).await;
    let (_, log) = root.get("/auth/audit?kind=token_revoked").await;
    let event = &log["events"][0];
    assert_eq!(event["detail"]["revoked"], json!(jti), "{log}");
    assert_eq!((&event["actor"], &event["user"]), (&json!(root.claim("sub").await), &json!(site_user(&root, "ada").await)));
    assert!(!log.to_string().contains(&ada.access_token));
}

async fn site_user(root: &Actor, name: &str) -> String {
    root.get(&format!("/auth/users?name={name}")).await.1["users"][0]["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn a_revocation_that_redis_does_not_take_is_no_success_and_its_repetition_is() {
    let (mut site, root) = site(Store::Redis).await;
    let replica = site.gateway.replica().await;
    let ada = site.registered("ada").await;
    // It answers look-ups and takes nothing new: a primary without the replicas that it must have.
    let _: String = site.redis().command(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let body = json!({"token": ada.access_token}).to_string();
    let request = format!(
        "POST {PATH} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        root.access_token,
        body.len()
    );
    let answer = site.gateway.connect().await.ask(&request).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"));
    assert!(answer.head.one("retry-after").is_some());
    // In force where it was asked for, whatever becomes of it.
    site.keeps_out(&ada).await;

    let _: String = site.redis().command(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    revokes(&root, json!({"token": ada.access_token})).await;
    let refused = site.get_from(&replica, "/api", &ada.access_token).await;
    assert_eq!((refused.status, refused.code().as_str()), (401, "revoked_token"));
}

#[tokio::test]
async fn what_the_command_line_revokes_a_running_gateway_refuses_at_once() {
    for store in [Store::Embedded, Store::Redis] {
        let (site, root) = site(store).await;
        let (by_id, whole) = (site.registered("ada").await, site.signed_in("ada").await);
        let (by_session, by_user) = (site.signed_in("ada").await, site.registered("grace").await);
        for session in [&by_id, &whole, &by_session, &by_user] {
            site.lets_in(session).await;
        }
        let file = site.gateway.data().join("leaked.jwt");
        std::fs::write(&file, format!("{}\n", whole.access_token)).expect("a writable directory");
        site.gateway.command(&["revoke", "--token", &by_id.claim("jti").await]);
        site.keeps_out(&by_id).await;
        site.lets_in(&whole).await;
        site.gateway.command(&["revoke", "--token", &format!("@{}", file.display())]);
        site.keeps_out(&whole).await;
        site.gateway.command(&["revoke", "--session", &by_session.claim("sid").await]);
        site.keeps_out(&by_session).await;
        site.gateway.command(&["revoke", "--user", "grace"]);
        site.keeps_out(&by_user).await;
        site.lets_in(&root).await;
    }
}
