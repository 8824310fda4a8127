//! Routes that let a genuine token pass while nobody can say whether it was revoked: what passes there, and what does not.

use super::*;
use crate::support::client::Response;

const ALLOWED: &str = r#"portcullis_revocation_unknown_total{decision="allowed"}"#;
const DENIED: &str = r#"portcullis_revocation_unknown_total{decision="denied"}"#;

async fn site(store: Store, further: &[&str]) -> Site {
    Site::changed(store, |gateway| {
        let gateway = gateway
            .route("path = \"/lenient\"\non_unknown = \"insecure_allow\"")
            .route("path = \"/reading\"\nwebsocket = true\non_unknown = \"insecure_allow_safe_methods\"")
            .route("path = \"/optional-reading\"\naccess = \"optional\"\non_unknown = \"insecure_allow_safe_methods\"")
            .route("path = \"/strict-below\"")
            .route("path = \"/around\"\nrewrite = { prefix = \"/\" }\non_unknown = \"insecure_allow\"")
            .table("[auth.api_keys]\nscopes = [\"a\"]");
        further.iter().fold(gateway, |gateway, assignment| gateway.set(assignment))
    })
    .await
}

impl Site {
    async fn asked(&self, method: &str, path: &str, further: &str, token: &str) -> Response {
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-length: 0\r\n{further}");
        let mut client = self.gateway.connect().await;
        client.send(format!("{head}\r\n")).await;
        client.response_to(method).await.expect("an answer")
    }

    async fn code(&self, path: &str, token: &str) -> (u16, String) {
        let answer = self.get(path, token).await;
        (answer.status, answer.code())
    }
}

fn unknown() -> (u16, String) {
    (503, "revocation_unknown".to_owned())
}

#[tokio::test]
async fn without_redis_a_genuine_token_passes_where_the_route_says_so_and_nowhere_else() {
    let mut site = site(Store::Redis, &[]).await;
    let ada = site.registered("ada").await;
    let token = &ada.access_token;
    for path in ["/lenient", "/reading", "/optional-reading", "/api"] {
        assert_eq!(site.get(path, token).await.status, 200, "{path}");
    }
    assert_eq!(site.gateway.metric(ALLOWED).await, Some(0.0), "Redis answers");
    site.redis().kill();

    for path in ["/lenient", "/reading", "/optional-reading"] {
        assert_eq!(site.get(path, token).await.status, 200, "{path}");
    }
    let told = &site.upstream.requests("GET /lenient/")[1].head;
    assert!(told.one("x-auth-subject").is_some(), "as the caller, not as nobody");
    for method in ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"] {
        let passes = matches!(method, "GET" | "HEAD" | "OPTIONS");
        for path in ["/reading/x", "/optional-reading/x"] {
            assert_eq!(site.asked(method, path, "", token).await.status, if passes { 200 } else { 503 }, "{method} {path}");
        }
        assert_eq!(site.asked(method, "/lenient/x", "", token).await.status, 200, "{method}");
    }
    let handshake = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    assert_eq!(site.asked("GET", "/reading/x", handshake, token).await.status, 503, "whatever may be said there");
    site.cannot_know(&ada).await;
    let around = site.asked("GET", "/around/strict-below/x", "", token).await;
    assert_eq!((around.status, around.code()), unknown(), "led around no other route");
    assert_eq!(ada.get("/auth/me").await.0, 503, "the gateway's own API");

    // Nothing else than the doubt is forgiven.
    let forged = format!("{token}x");
    assert_eq!(site.code("/lenient", &forged).await, (401, "bad_token".to_owned()));
    assert_eq!(site.code("/lenient", "").await, (401, "missing_token".to_owned()));
    // Three and seven; and two routes with three methods each.
    assert_eq!(site.gateway.metric(ALLOWED).await, Some(3.0 + 7.0 + 6.0));
    assert!(site.gateway.metric(DENIED).await.expect("it is counted") >= 10.0);
    let logged =
        |line: &&str| line.contains(r#""detail":"revocation_unknown_allowed""#) && line.contains(r#""outcome":"forwarded""#);
    eventually("the log", async || (site.gateway.output().lines().filter(logged).count() == 16).then_some(())).await;
}

#[tokio::test]
async fn what_this_process_knows_to_be_revoked_stays_refused() {
    let mut site = site(Store::Redis, &[]).await;
    let (staying, leaving) = (site.registered("ada").await, site.signed_in("ada").await);
    site.redis().kill();
    assert_eq!(site.get("/lenient", &leaving.access_token).await.status, 200);
    assert_eq!(leaving.post("/auth/logout", &json!({})).await.0, 503, "recorded, not yet published");
    assert_eq!(site.code("/lenient", &leaving.access_token).await, (401, "revoked_token".to_owned()));
    assert_eq!(site.get("/lenient", &staying.access_token).await.status, 200);
    site.redis().restart();
    site.lets_in_again(&staying).await;
    site.keeps_out_again(&leaving).await;
}

#[tokio::test]
async fn a_mirror_knows_what_was_revoked_before_redis_was_gone() {
    let mut site = site(Store::Mirror, &[]).await;
    let (staying, leaving) = (site.registered("ada").await, site.signed_in("ada").await);
    leaving.log_out().await;
    site.redis().kill();
    eventually("the end of what the mirror may say", async || {
        (site.code("/api", &staying.access_token).await == unknown()).then_some(())
    })
    .await;
    assert_eq!(site.get("/lenient", &staying.access_token).await.status, 200);
    assert_eq!(site.code("/lenient", &leaving.access_token).await, unknown());
}

#[tokio::test]
async fn an_expired_token_is_refused_while_nobody_knows() {
    let mut site = site(Store::Redis, &["auth.access_token=2s", "auth.clock_skew=0s"]).await;
    let ada = site.registered("ada").await;
    site.redis().kill();
    let refused = eventually("the expiry", async || match site.code("/lenient", &ada.access_token).await {
        (200, _) => None,
        refused => Some(refused),
    })
    .await;
    assert_eq!(refused, (401, "expired_token".to_owned()));
}

/// The database is asked about keys, and knows.
#[tokio::test]
async fn a_revoked_api_key_is_refused_while_nobody_else_knows() {
    let mut site = site(Store::Redis, &[]).await;
    let ada = site.registered("ada").await;
    let mut keys = Vec::new();
    for name in ["kept", "revoked"] {
        let (status, made) = ada.post("/auth/api-keys", &json!({"name": name, "scopes": []})).await;
        assert_eq!(status, 201, "{made}");
        let text = |name: &str| made[name].as_str().expect("text").to_owned();
        assert_eq!(site.get("/lenient", &text("key")).await.status, 200);
        keys.push((text("key"), text("id")));
    }
    assert_eq!(ada.delete(&format!("/auth/api-keys/{}", keys[1].1)).await.0, 204);
    site.redis().kill();
    assert_eq!(site.get("/lenient", &keys[0].0).await.status, 200);
    assert_eq!(site.code("/lenient", &keys[1].0).await, (401, "revoked_token".to_owned()));
    assert_eq!(site.code("/api", &keys[0].0).await, unknown());
}
