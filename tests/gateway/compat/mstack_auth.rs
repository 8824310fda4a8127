//! mstack-auth: everything under `/auth`. Its `tests/test.js` is the flow of the first test.

use serde_json::json;

use super::{Got, Stage, claims, logged};

const NAME: &str = "mstack-auth";
/// The one that its test script uses.
const PASSWORD: &str = "testpass";
const LOGGED_OUT: &str = r#"{"success":true,"message":"Logged out"}"#;
const UNVERIFIED: &str = r#"{"valid":false,"error":"Unauthorized"}"#;

impl Stage {
    async fn signup(&self, name: &str) -> Got {
        self.client.json("POST /auth/signup", &json!({"username": name, "password": PASSWORD})).await
    }

    /// Access and refresh token of somebody who signed up and in.
    async fn signed_in(&self, name: &str) -> (String, String) {
        self.signup(name).await.is_json(200, r#"{"success":true,"message":"User registered successfully"}"#);
        self.login(name).await
    }

    async fn login(&self, name: &str) -> (String, String) {
        let got = self.client.json("POST /auth/login", &json!({"username": name, "password": PASSWORD})).await;
        got.has_shape(200, r#"{"token":"*","refreshToken":"*"}"#);
        (got.text("token"), got.text("refreshToken"))
    }

    async fn refresh(&self, refresh_token: &str) -> Got {
        self.client.json("POST /auth/refresh", &json!({"refreshToken": refresh_token})).await
    }

    async fn verify(&self, token: &str) -> Got {
        self.client.bearer("GET /auth/verify", token).await
    }

    async fn log_out(&self, refresh_token: &str) {
        self.client.json("POST /auth/logout", &json!({"refreshToken": refresh_token})).await.is_json(200, LOGGED_OUT);
    }
}

#[tokio::test]
async fn the_flow_of_its_own_test_script_passes() {
    let stage = Stage::of(NAME).await;
    let (token, refresh_token) = stage.signed_in("ada").await;

    let verified = stage.verify(&token).await;
    assert_eq!((verified.status, verified.content_type.as_str()), (200, "application/json"));
    assert_eq!(verified.value()["valid"], true);
    assert_eq!(verified.value()["user"]["username"], "ada");
    assert_eq!(verified.value()["user"]["type"], "access");

    let renewed = stage.refresh(&refresh_token).await;
    let renewed = renewed.has_shape(200, r#"{"token":"*"}"#).text("token");
    assert_ne!(renewed, token);
    assert_eq!(stage.verify(&renewed).await.value()["valid"], true);

    stage.log_out(&refresh_token).await;
    stage.refresh(&refresh_token).await.is_json(401, r#"{"error":"Invalid refresh token"}"#);
}

#[tokio::test]
async fn an_access_token_says_who_and_what_it_is_and_lives_five_minutes() {
    let stage = Stage::of(NAME).await;
    let (token, refresh_token) = stage.signed_in("ada").await;
    let said = claims(&token);
    assert_eq!((&said["username"], &said["type"]), (&json!("ada"), &json!("access")));
    let life = |said: &serde_json::Value| said["exp"].as_i64().zip(said["iat"].as_i64()).map(|(exp, iat)| exp - iat);
    assert_eq!(life(&said), Some(300));

    let renewed = claims(&stage.refresh(&refresh_token).await.text("token"));
    assert_eq!((&renewed["username"], &renewed["type"], &renewed["sid"]), (&json!("ada"), &json!("access"), &said["sid"]));
    assert_eq!(life(&renewed), Some(300));
    assert_ne!(renewed["jti"], said["jti"]);
    assert_eq!(stage.verify(&token).await.value()["user"], said, "the whole payload is answered");
}

#[tokio::test]
async fn what_is_wrong_at_signup_is_answered_as_documented() {
    let stage = Stage::of(NAME).await;
    stage.signed_in("ada").await;
    stage.signup("ada").await.is_json(409, r#"{"error":"User already exists"}"#);
    stage.signup("ADA").await.is_json(409, r#"{"error":"User already exists"}"#);
    for body in
        [json!({}), json!({"username": "bob"}), json!({"password": PASSWORD}), json!({"username": "", "password": PASSWORD})]
    {
        let got = stage.client.json("POST /auth/signup", &body).await;
        got.is_json(400, r#"{"error":"Username and password required"}"#);
    }
    stage.client.plain("POST /auth/signup").await.is_json(400, r#"{"error":"Username and password required"}"#);
    stage.client.send("POST /auth/signup", &[], "{\"username\":").await.is_problem(400, "malformed");
}

#[tokio::test]
async fn an_unknown_user_and_a_wrong_password_are_answered_alike() {
    let stage = Stage::of(NAME).await;
    stage.signed_in("ada").await;
    for (username, password) in [("ada", "wrong-1234"), ("nobody", PASSWORD)] {
        let got = stage.client.json("POST /auth/login", &json!({"username": username, "password": password})).await;
        got.is_json(401, r#"{"error":"Invalid credentials"}"#);
    }
    logged(&stage.gateway, 401, "credentials").await;
}

#[tokio::test]
async fn verify_refuses_everything_but_a_live_access_token() {
    let stage = Stage::of(NAME).await;
    let (_, refresh_token) = stage.signed_in("ada").await;
    let none = stage.client.plain("GET /auth/verify").await;
    none.is_json(401, UNVERIFIED);
    // RFC 6750 §3.1: no `error` where no token was sent.
    assert_eq!(none.field("www-authenticate"), Some(r#"Bearer realm="portcullis""#));
    assert_eq!((none.field("cache-control"), none.field("x-content-type-options")), (Some("no-store"), Some("nosniff")));
    for token in ["garbage", "eyJhbGciOiJub25lIn0.e30.", &refresh_token] {
        stage.verify(token).await.is_json(401, UNVERIFIED);
    }
    logged(&stage.gateway, 401, "missing_token").await;
    logged(&stage.gateway, 401, "bad_token").await;
}

#[tokio::test]
async fn the_word_bearer_is_read_in_any_case_and_no_other_scheme_is() {
    let stage = Stage::of(NAME).await;
    let (token, _) = stage.signed_in("ada").await;
    for (scheme, status) in [("Bearer", 200), ("bearer", 200), ("BEARER", 200), ("Basic", 401), ("Token", 401)] {
        let got = stage.client.send("GET /auth/verify", &[("authorization", &format!("{scheme} {token}"))], "").await;
        assert_eq!(got.status, status, "{scheme}");
    }
}

#[tokio::test]
async fn an_access_token_expires() {
    let stage = Stage::changed(NAME, &["dialects.mstack-auth.ttl.access=1s", "auth.clock_skew=0s"]).await;
    let (token, refresh_token) = stage.signed_in("ada").await;
    stage.client.outlives("GET /auth/verify", &token).await.is_json(401, UNVERIFIED);
    stage.refresh(&refresh_token).await.has_shape(200, r#"{"token":"*"}"#);
    logged(&stage.gateway, 401, "expired_token").await;
}

#[tokio::test]
async fn a_refresh_token_is_good_again_and_again_and_no_access_token_is_one() {
    let stage = Stage::of(NAME).await;
    let (token, refresh_token) = stage.signed_in("ada").await;
    for _ in 0..3 {
        let renewed = stage.refresh(&refresh_token).await.text("token");
        assert_eq!(stage.verify(&renewed).await.status, 200);
    }
    assert_eq!(stage.verify(&token).await.status, 200, "the first access token lives on");
    stage.refresh(&token).await.is_json(401, r#"{"error":"Invalid refresh token"}"#);
    stage.refresh("garbage").await.is_json(401, r#"{"error":"Invalid refresh token"}"#);
    for body in [json!({}), json!({"refreshToken": ""}), json!({"refreshToken": null})] {
        let got = stage.client.json("POST /auth/refresh", &body).await;
        got.is_json(400, r#"{"error":"Refresh token required"}"#);
    }
}

#[tokio::test]
async fn logout_says_yes_to_unknown_tokens_and_to_none() {
    let stage = Stage::of(NAME).await;
    let (_, refresh_token) = stage.signed_in("ada").await;
    for body in [json!({}), json!({"refreshToken": "garbage"}), json!({"refreshToken": refresh_token})] {
        stage.client.json("POST /auth/logout", &body).await.is_json(200, LOGGED_OUT);
    }
    stage.log_out(&refresh_token).await;
}

#[tokio::test]
async fn defect_verify_stays_200_after_logout() {
    let stage = Stage::of(NAME).await;
    let (token, refresh_token) = stage.signed_in("ada").await;
    let (other, _) = stage.login("ada").await;
    let renewed = stage.refresh(&refresh_token).await.text("token");
    stage.log_out(&refresh_token).await;
    for token in [&token, &renewed] {
        stage.verify(token).await.is_json(401, UNVERIFIED);
        stage.client.bearer("GET /orders", token).await.is_json(401, r#"{"error":"Unauthorized"}"#);
    }
    assert!(!stage.upstream.saw("GET /orders"));
    assert_eq!(stage.verify(&other).await.status, 200, "another session is not touched");
    logged(&stage.gateway, 401, "revoked_token").await;
}

#[tokio::test]
async fn defect_tokens_of_both_kinds_are_told_apart_by_a_claim_only() {
    let stage = Stage::of(NAME).await;
    let (_, refresh_token) = stage.signed_in("ada").await;
    stage.client.bearer("GET /orders", &refresh_token).await.is_json(401, r#"{"error":"Unauthorized"}"#);
    assert!(!refresh_token.contains('.'), "it says nothing to whoever holds it");
}

#[tokio::test]
async fn defect_refresh_tokens_are_stored_in_clear() {
    let stage = Stage::of(NAME).await;
    let (_, refresh_token) = stage.signed_in("ada").await;
    stage.stores_nothing_of(&[&refresh_token, PASSWORD]);
}

#[tokio::test]
async fn a_setting_of_five_minutes_is_read_as_the_readme_writes_it() {
    // The original's README says `JWT_EXPIRY=5m`, with which the original refuses to start.
    let stage = Stage::changed(NAME, &["dialects.mstack-auth.ttl.access=5m"]).await;
    let said = claims(&stage.signed_in("ada").await.0);
    assert_eq!(said["exp"].as_i64().zip(said["iat"].as_i64()).map(|(exp, iat)| exp - iat), Some(300));
}

#[tokio::test]
async fn the_named_origin_may_read_every_answer_and_no_other_may() {
    let stage = Stage::of(NAME).await;
    stage.signed_in("ada").await;
    let wrong = json!({"username": "ada", "password": "wrong-1234"}).to_string();
    for request in ["POST /auth/login", "POST /auth/nowhere", "POST /orders"] {
        let ours = stage.client.send(request, &[("origin", "https://app.example")], &wrong).await;
        assert_eq!(ours.field("access-control-allow-origin"), Some("https://app.example"), "{request}");
        assert_eq!(ours.field("vary"), Some("origin"), "{request}");
        let theirs = stage.client.send(request, &[("origin", "https://evil.example")], &wrong).await;
        assert_eq!((theirs.field("access-control-allow-origin"), theirs.field("vary")), (None, Some("origin")), "{request}");
    }
}

#[tokio::test]
async fn what_an_upstream_says_about_origins_is_replaced() {
    use crate::support::upstream::{Answer, Upstream};
    let fields = "access-control-allow-origin: *\r\naccess-control-allow-credentials: true\r\nvary: accept\r\n";
    let head = format!("HTTP/1.1 200 OK\r\n{fields}content-length: 0\r\n\r\n");
    let stage = Stage::with(NAME, Upstream::answering(move |_| Answer::raw(&head)).await, |gateway| gateway).await;
    let (token, _) = stage.signed_in("ada").await;
    let bearer = format!("Bearer {token}");
    for (origin, allowed) in [("https://app.example", Some("https://app.example")), ("https://evil.example", None)] {
        let got = stage.client.send("GET /orders", &[("authorization", &bearer), ("origin", origin)], "").await;
        assert_eq!((got.status, got.field("access-control-allow-origin")), (200, allowed));
        assert_eq!(got.field("access-control-allow-credentials"), None);
        assert_eq!(got.response.head.all("vary"), ["accept", "origin"]);
    }
}

#[tokio::test]
async fn a_fault_is_no_refusal_and_reads_as_everywhere() {
    let stage = Stage::of(NAME).await;
    let (token, _) = stage.signed_in("ada").await;
    stage.upstream.stop();
    let bearer = format!("Bearer {token}");
    let fields = [("authorization", bearer.as_str()), ("origin", "https://app.example")];
    let got = stage.client.send("GET /orders", &fields, "").await;
    got.is_problem(502, "upstream_unreachable");
    assert_eq!(got.field("access-control-allow-origin"), Some("https://app.example"));
}

#[tokio::test]
async fn a_preflight_is_answered_before_anything_is_checked() {
    let stage = Stage::of(NAME).await;
    for path in ["/auth/login", "/orders"] {
        let asked = [
            ("origin", "https://app.example"),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,content-type"),
        ];
        let got = stage.client.send(&format!("OPTIONS {path}"), &asked, "").await;
        got.is_empty(204);
        assert_eq!(got.field("access-control-allow-methods"), Some("POST"));
        assert_eq!(got.field("access-control-allow-headers"), Some("authorization,content-type"));
    }
    assert_eq!(stage.upstream.connections(), 0);
}

#[tokio::test]
async fn a_body_that_a_page_can_send_unasked_is_not_read() {
    let stage = Stage::of(NAME).await;
    stage.signed_in("ada").await;
    let body = json!({"username": "ada", "password": PASSWORD}).to_string();
    let length = body.len().to_string();
    let fields = [("content-type", "text/plain"), ("content-length", length.as_str())];
    let mut client = crate::support::client::RawClient::connect(stage.gateway.address).await;
    let head: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let got = client.ask(format!("POST /auth/login HTTP/1.1\r\nhost: a\r\n{head}\r\n{body}")).await;
    assert_eq!((got.status, got.code()), (415, "unsupported_media_type".to_owned()));
}

#[tokio::test]
async fn what_is_not_the_dialects_is_the_gateways_own_api_or_an_upstreams() {
    let stage = Stage::of(NAME).await;
    let (token, _) = stage.signed_in("ada").await;
    let me = stage.client.bearer("GET /auth/me", &token).await;
    assert_eq!((me.status, me.value()["username"].as_str()), (200, Some("ada")));
    stage.client.plain("GET /auth/nowhere").await.is_problem(404, "not_found");
    stage.client.plain("GET /orders").await.is_json(401, r#"{"error":"Unauthorized"}"#);
    let orders = stage.client.bearer("GET /orders", &token).await;
    assert_eq!((orders.status, orders.body.as_str()), (200, "/orders"));
    let forwarded = stage.upstream.requests("GET /orders");
    assert_eq!(forwarded[0].head.one("x-auth-username"), Some("ada"));
    assert_eq!(forwarded[0].head.one("authorization"), None);
}
