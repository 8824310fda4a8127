//! API keys at the real gateway: a program passes with one, and not any more once it is revoked.

use serde_json::json;

use crate::support::client::Actor;
use crate::support::site::{Site, Store};

async fn site(store: Store) -> Site {
    Site::changed(store, |gateway| {
        gateway
            .table("[auth]\ndefault_roles = [\"member\"]\n[auth.api_keys]\nscopes = [\"reports:read\", \"mail\"]")
            .route("path = \"/reports\"\nrequire = { roles = [\"member\"], scopes = [\"reports:read\"] }")
    })
    .await
}

/// A key of somebody's, and its id.
async fn key(owner: &Actor, scopes: &[&str]) -> (String, String) {
    let (status, made) = owner.post("/auth/api-keys", &json!({"name": "nightly", "scopes": scopes})).await;
    assert_eq!(status, 201, "{made}");
    let text = |name: &str| made[name].as_str().expect("text").to_owned();
    (text("key"), text("id"))
}

async fn a_key_passes_until_it_is_revoked(store: Store) {
    let site = site(store).await;
    let ada = site.registered("ada").await;
    let (reader, id) = key(&ada, &["reports:read"]).await;
    let (mailer, other_id) = key(&ada, &["mail"]).await;
    assert_eq!(site.get("/reports", &reader).await.status, 200);
    let told = &site.upstream.requests("GET /reports/")[0].head;
    assert_eq!(told.one("x-auth-subject"), Some(ada.claim("sub").await.as_str()));
    assert_eq!(told.one("x-auth-session"), Some(id.as_str()));
    assert_eq!((told.one("x-auth-scopes"), told.one("authorization")), (Some("reports:read"), None));
    let refused = site.get("/reports", &mailer).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "forbidden"));
    assert_eq!(site.get("/api", &mailer).await.status, 200);

    assert_eq!(ada.delete(&format!("/auth/api-keys/{id}")).await.0, 204);
    let refused = site.get("/reports", &reader).await;
    assert_eq!((refused.status, refused.code().as_str()), (401, "revoked_token"));
    site.gateway.command(&["api-key", "revoke", &other_id]);
    assert_eq!(site.get("/api", &mailer).await.status, 401);
    assert!(site.gateway.command(&["api-key", "list", "ada"]).contains("nightly"));
    site.lets_in(&ada).await;
}

#[tokio::test]
async fn a_key_passes_until_it_is_revoked_in_memory() {
    a_key_passes_until_it_is_revoked(Store::Embedded).await;
}

#[tokio::test]
async fn a_key_passes_until_it_is_revoked_in_redis() {
    a_key_passes_until_it_is_revoked(Store::Redis).await;
}

async fn a_key_is_out_with_its_owner(store: Store) {
    let site = site(store).await;
    let ada = site.registered("ada").await;
    let (key, _) = key(&ada, &["reports:read"]).await;
    assert_eq!(site.get("/reports", &key).await.status, 200);
    assert_eq!(ada.post("/auth/logout-all", &json!({})).await.0, 204);
    site.keeps_out(&ada).await;
    assert_eq!(site.get("/reports", &key).await.status, 200, "a key is no session");
    site.gateway.command(&["user", "roles", "ada", "--clear"]);
    assert_eq!(site.get("/reports", &key).await.status, 403, "the role is gone from the next request on");
    site.gateway.command(&["user", "disable", "ada"]);
    assert_eq!(site.get("/api", &key).await.status, 401);
    site.gateway.command(&["user", "enable", "ada"]);
    assert_eq!(site.get("/api", &key).await.status, 200);
}

#[tokio::test]
async fn a_key_is_out_with_its_owner_in_memory() {
    a_key_is_out_with_its_owner(Store::Embedded).await;
}

#[tokio::test]
async fn a_key_is_out_with_its_owner_in_redis() {
    a_key_is_out_with_its_owner(Store::Redis).await;
}

#[tokio::test]
async fn nothing_passes_when_revocation_cannot_be_checked_or_keys_are_off() {
    let mut site = site(Store::Redis).await;
    let ada = site.registered("ada").await;
    let (key, _) = key(&ada, &[]).await;
    assert_eq!(site.get("/api", &key).await.status, 200);
    let without = site.gateway.replica_with("auth.api_keys.enabled=false").await;
    assert_eq!(site.get_from(&without, "/api", &key).await.status, 401);
    let refused = ada.at(without.address).post("/auth/api-keys", &json!({"name": "x"})).await;
    assert_eq!(refused.0, 403, "{}", refused.1);
    site.redis().kill();
    let refused = site.get("/api", &key).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "revocation_unknown"));
}
