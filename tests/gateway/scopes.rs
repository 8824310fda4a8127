//! Routes that ask for scopes: what passes, and what the others are told (RFC 6750 §3.1).

use crate::support::site::{Site, Store};

async fn site(scopes: &str) -> Site {
    let auth = format!("[auth]\nsession_scopes = {scopes}");
    Site::changed(Store::Embedded, |gateway| {
        gateway
            .table(&auth)
            .route("path = \"/reports\"\nrequire = { scopes = [\"reports:read\"] }")
            .route("path = \"/both\"\naccess = \"optional\"\nrequire = { scopes = [\"reports:write\", \"reports:read\"] }")
            .route("path = \"/admin\"\nrequire = { roles = [\"admin\"], scopes = [\"nobody:has\"] }")
    })
    .await
}

#[tokio::test]
async fn a_token_passes_where_it_is_good_for_every_scope() {
    let site = site("[\"reports:read\", \"mail\"]").await;
    let ada = site.registered("ada").await;
    assert_eq!(site.get("/reports", &ada.access_token).await.status, 200);
    let requests = site.upstream.requests("GET /reports/");
    assert_eq!(requests[0].head.one("x-auth-scopes"), Some("mail,reports:read"));
    assert_eq!(ada.claim("scope").await, "mail reports:read");

    let refused = site.get("/both", &ada.access_token).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "forbidden"));
    let challenge = r#"Bearer realm="portcullis", error="insufficient_scope", scope="reports:read reports:write""#;
    assert_eq!(refused.head.one("www-authenticate"), Some(challenge));
    let anonymous = site.get("/both", "").await;
    assert_eq!((anonymous.status, anonymous.code().as_str()), (401, "missing_token"));
    let without_role = site.get("/admin", &ada.access_token).await;
    assert_eq!((without_role.status, without_role.head.one("www-authenticate")), (403, None), "a role is no scope");
}

#[tokio::test]
async fn a_token_without_scopes_passes_only_where_none_is_asked_for() {
    let site = site("[]").await;
    let ada = site.registered("ada").await;
    site.lets_in(&ada).await;
    assert!(site.upstream.requests("GET /api/")[0].head.one("x-auth-scopes").is_none());
    assert_eq!(site.get("/reports", &ada.access_token).await.status, 403);
}
