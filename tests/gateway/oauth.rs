//! Clients and their tokens at the real gateway: whoever is disabled is out from the next request on (RFC 6749 §4.4,
//! 7009, 7662).

use serde_json::{Value, json};

use crate::support::gateway::Gateway;
use crate::support::site::{Site, Store};

async fn site(store: Store) -> Site {
    Site::changed(store, |gateway| {
        gateway
            .table("[auth]\nissuer = \"https://id.example\"\nsession_scopes = []")
            .route("path = \"/invoices\"\nrequire = { roles = [\"biller\"], scopes = [\"invoices:read\"] }")
    })
    .await
}

fn add_client(site: &Site, id: &str) -> String {
    let added = site.gateway.command(&["client", "add", id, "--scope", "invoices:read", "--role", "biller", "--json"]);
    let added: Value = serde_json::from_str(&added).expect("JSON");
    added["client_secret"].as_str().expect("it is shown once").to_owned()
}

async fn token(site: &Site, id: &str, secret: &str) -> (u16, String) {
    let form = [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret)];
    let (status, body) = site.gateway.anonymous().form("/auth/oauth/token", &form).await;
    (status, body["access_token"].as_str().unwrap_or_default().to_owned())
}

async fn disabling_a_client_ends_its_tokens_from_the_next_request_on(store: Store) {
    let site = site(store).await;
    let (billing, other) = (add_client(&site, "billing"), add_client(&site, "other"));
    let (_, bystander) = token(&site, "other", &other).await;
    let (status, live) = token(&site, "billing", &billing).await;
    assert_eq!(status, 200);
    assert_eq!(site.get("/invoices", &live).await.status, 200);
    let told = &site.upstream.requests("GET /invoices/")[0].head;
    assert_eq!((told.one("x-auth-subject"), told.one("x-auth-issuer")), (Some("billing"), Some("https://id.example")));
    assert_eq!((told.one("x-auth-scopes"), told.one("x-auth-roles")), (Some("invoices:read"), Some("biller")));
    assert!(told.one("x-auth-session").is_some());
    for of_users in ["x-auth-username", "x-auth-email", "authorization"] {
        assert_eq!(told.one(of_users), None, "{of_users}");
    }

    for end in ["disable", "delete"] {
        site.gateway.command(&["client", end, "billing"]);
        let refused = site.get("/invoices", &live).await;
        assert_eq!((refused.status, refused.code().as_str()), (401, "revoked_token"), "{end}");
        assert_eq!(token(&site, "billing", &billing).await.0, 401, "{end}");
        let asked = [("token", live.as_str()), ("client_id", "other"), ("client_secret", &other)];
        let (status, verdict) = site.gateway.anonymous().form("/auth/oauth/introspect", &asked).await;
        assert_eq!((status, verdict), (200, json!({"active": false})), "{end}");
    }
    assert_eq!(site.get("/invoices", &bystander).await.status, 200);
}

#[tokio::test]
async fn disabling_a_client_ends_its_tokens_in_memory() {
    disabling_a_client_ends_its_tokens_from_the_next_request_on(Store::Embedded).await;
}

#[tokio::test]
async fn disabling_a_client_ends_its_tokens_in_redis() {
    disabling_a_client_ends_its_tokens_from_the_next_request_on(Store::Redis).await;
}

// Every replica counts in the same Redis, before it looks at the secret.
#[tokio::test]
async fn secrets_are_guessed_no_more_often_at_two_replicas_than_at_one() {
    let site = site(Store::Redis).await;
    let secret = add_client(&site, "billing");
    let replica = site.gateway.replica_with("auth.session_scopes=[]").await;
    let ask = async |gateway: &Gateway, secret: &str| {
        let form = [("grant_type", "client_credentials"), ("client_id", "billing"), ("client_secret", secret)];
        gateway.anonymous().form("/auth/oauth/token", &form).await
    };
    for _ in 0..15 {
        for gateway in [&site.gateway, &replica] {
            assert_eq!(ask(gateway, "wrong").await.0, 401);
        }
    }
    for gateway in [&site.gateway, &replica] {
        let (status, body) = ask(gateway, &secret).await;
        assert_eq!((status, &body["error"]), (429, &json!("temporarily_unavailable")));
    }
}

async fn a_revoked_token_is_out_from_the_next_request_on(store: Store) {
    let mut site = site(store).await;
    let ada = site.registered("ada").await;
    site.lets_in(&ada).await;
    let form = [("token", ada.access_token.as_str())];
    assert_eq!(site.gateway.anonymous().form("/auth/oauth/revoke", &form).await.0, 200);
    site.keeps_out(&ada).await;
    let ada = site.signed_in("ada").await;
    let form = [("token", ada.refresh_token.as_str()), ("token_type_hint", "refresh_token")];
    assert_eq!(site.gateway.anonymous().form("/auth/oauth/revoke", &form).await.0, 200);
    site.keeps_out(&ada).await;
    assert_eq!(ada.refresh().await.0, 401);
    if store == Store::Redis {
        let ada = site.signed_in("ada").await;
        site.redis().kill();
        let form = [("token", ada.access_token.as_str())];
        let (status, body) = site.gateway.anonymous().form("/auth/oauth/revoke", &form).await;
        assert_eq!((status, &body["error"]), (503, &json!("temporarily_unavailable")), "no success that is not true");
    }
}

#[tokio::test]
async fn a_revoked_token_is_out_in_memory() {
    a_revoked_token_is_out_from_the_next_request_on(Store::Embedded).await;
}

#[tokio::test]
async fn a_revoked_token_is_out_in_redis() {
    a_revoked_token_is_out_from_the_next_request_on(Store::Redis).await;
}

#[tokio::test]
async fn the_metadata_are_at_the_root_and_name_what_the_configuration_says() {
    let site = site(Store::Embedded).await;
    let path = "/.well-known/oauth-authorization-server";
    let (status, metadata) = site.gateway.anonymous().get(path).await;
    assert_eq!((status, &metadata["issuer"]), (200, &json!("https://id.example")), "{metadata}");
    assert_eq!(metadata["introspection_endpoint"], "https://id.example/auth/oauth/introspect");
    let nameless = site.gateway.replica_with("auth.issuer=portcullis").await;
    assert_eq!(nameless.anonymous().get(path).await.0, 404);
}
