//! Tokens of other issuers, revoked here by whoever administers this gateway.

use serde_json::json;

use super::provider::Key;
use super::{refusal, two_issuers, verdict};
use crate::support::client::Actor;
use crate::support::site::Store;

#[tokio::test]
async fn an_administrator_revokes_a_foreign_token_by_all_of_it_and_its_session_by_the_id_that_services_see() {
    let (a, b) = (Key::new("k"), Key::new("k"));
    let site = two_issuers(Store::Redis, &a, &b).await;
    Actor::registered_with(site.gateway.address, "root", json!({})).await;
    site.gateway.command(&["user", "roles", "root", "--add", "admin"]);
    let root = site.signed_in("root").await;
    let token = |jti: &str, sid: &str| a.token(&json!({"iss": "https://a.example", "jti": jti, "sid": sid}));
    let (first, second, staying) = (token("1", "s1"), token("2", "s2"), token("3", "s3"));
    // Another issuer's with the same ids, and one that has none.
    let other = b.token(&json!({"iss": "https://b.example", "jti": "1", "sid": "s2"}));
    let nameless = b.token(&json!({"iss": "https://b.example", "sub": "nameless"}));
    let revoked = refusal(401, "revoked_token");
    for token in [&first, &second, &staying, &other, &nameless] {
        assert_eq!(verdict(&site, token).await.0, 200);
    }
    for token in [&first, &nameless] {
        assert_eq!(root.post("/auth/admin/revocations", &json!({"token": token})).await.0, 204);
        assert_eq!(verdict(&site, token).await, revoked);
    }
    assert_eq!(site.get("/api/second", &second).await.status, 200);
    let told = &site.upstream.requests("GET /api/second/")[0].head;
    let session = told.one("x-auth-session").expect("it is told").to_owned();
    assert_eq!(root.post("/auth/admin/revocations", &json!({"session": session})).await.0, 204);
    assert_eq!(verdict(&site, &second).await, revoked);
    for token in [&staying, &other] {
        assert_eq!(verdict(&site, token).await.0, 200);
    }
    let stranger = Key::new("k").token(&json!({"iss": "https://stranger.example", "jti": "1"}));
    assert_eq!(root.post("/auth/admin/revocations", &json!({"token": stranger})).await.0, 400);
}
