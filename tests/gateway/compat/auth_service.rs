//! auth-service: the README's answers, and what the code accepted. Refresh tokens come as bearer tokens or in a cookie,
//! and an expired token has another code than a bad one.

use serde_json::{Value, json};

use super::{Got, Stage, claims, logged};

const NAME: &str = "auth-service";
const PASSWORD: &str = "pass-1234";
const MISSING: &str = r#"{"error":{"message":"Missing authorization header","status":403,"code":4000,"data":{"header":"An authorization header must be provided"}}}"#;
const REVOKED: &str = r#"{"error":{"message":"Are you logged in?","status":403,"code":4001}}"#;
const BAD: &str = r#"{"error":{"message":"Token must be a valid jwt token","status":403,"code":4002}}"#;
const EXPIRED: &str = r#"{"error":{"message":"Token has expired","status":403,"code":4004}}"#;
const INCORRECT: &str = r#"{"error":{"message":"Incorrect credentials","status":401}}"#;
const BOTH_TOKENS: &str = r#"{"refreshToken":"*","accessToken":"*"}"#;

struct Pair {
    access: String,
    refresh: String,
}

impl Pair {
    fn of(got: &Got) -> Self {
        Self { access: got.text("accessToken"), refresh: got.text("refreshToken") }
    }
}

fn account(name: &str) -> Value {
    json!({"username": name, "email": format!("{name}@example.com"), "password": PASSWORD, "confirmPassword": PASSWORD})
}

/// The same with one member changed, or left out.
fn account_with(member: &str, value: Option<Value>) -> Value {
    let mut account = account("ada");
    let members = account.as_object_mut().expect("members");
    match value {
        Some(value) => members.insert(member.to_owned(), value),
        None => members.remove(member),
    };
    account
}

fn bad_input(data: &Value) -> String {
    format!(r#"{{"error":{{"message":"Bad input","status":400,"data":{data}}}}}"#)
}

impl Stage {
    async fn joins(&self, name: &str) -> Pair {
        let got = self.client.json("POST /register", &account(name)).await;
        Pair::of(got.has_shape(201, BOTH_TOKENS))
    }

    async fn signs_in(&self, name: &str, password: &str) -> Got {
        self.client.json("POST /login", &json!({"username": name, "password": password})).await
    }

    async fn authorize(&self, token: &str) -> Got {
        self.client.bearer("GET /token/authorize", token).await
    }

    async fn renew(&self, token: &str) -> Got {
        self.client.bearer("POST /token/renew", token).await
    }
}

#[tokio::test]
async fn the_documented_flow_passes() {
    let stage = Stage::of(NAME).await;
    let registered = stage.joins("ada").await;
    stage.authorize(&registered.access).await.is_text(200, "OK");

    let pair = Pair::of(stage.signs_in("ada", PASSWORD).await.has_shape(200, BOTH_TOKENS));
    stage.authorize(&pair.access).await.is_text(200, "OK");
    stage.client.bearer("POST /token/authorize", &pair.access).await.is_text(200, "OK");

    let renewed = stage.renew(&pair.refresh).await.has_shape(200, r#"{"accessToken":"*"}"#).text("accessToken");
    stage.authorize(&renewed).await.is_text(200, "OK");
    assert_eq!(stage.client.bearer("GET /orders", &renewed).await.body, "/orders");

    stage.client.bearer("POST /logout", &pair.refresh).await.is_empty(204);
    stage.authorize(&renewed).await.is_json(403, REVOKED);
    stage.renew(&pair.refresh).await.is_json(403, REVOKED);
    stage.authorize(&registered.access).await.is_text(200, "OK");
}

#[tokio::test]
async fn the_service_answers_a_ping() {
    let stage = Stage::of(NAME).await;
    stage.client.plain("GET /ping").await.is_text(200, "Ok");
    let head = stage.client.plain("HEAD /ping").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[tokio::test]
async fn logout_takes_either_token_by_either_method() {
    let stage = Stage::of(NAME).await;
    stage.joins("ada").await;
    for (method, by_refresh) in [("POST", true), ("POST", false), ("DELETE", true), ("DELETE", false)] {
        let pair = Pair::of(&stage.signs_in("ada", PASSWORD).await);
        let token = if by_refresh { &pair.refresh } else { &pair.access };
        stage.client.bearer(&format!("{method} /logout"), token).await.is_empty(204);
        stage.authorize(&pair.access).await.is_json(403, REVOKED);
        stage.renew(&pair.refresh).await.is_json(403, REVOKED);
    }
    stage.client.plain("POST /logout").await.is_json(403, MISSING);
    stage.client.bearer("DELETE /logout", "garbage").await.is_json(403, BAD);
}

#[tokio::test]
async fn an_expired_token_has_another_code_than_a_bad_one() {
    let stage = Stage::changed(NAME, &["dialects.auth-service.ttl.access=1s", "auth.clock_skew=0s"]).await;
    let pair = stage.joins("ada").await;
    stage.client.outlives("GET /token/authorize", &pair.access).await.is_json(403, EXPIRED);
    for bad in ["garbage", &pair.refresh] {
        stage.authorize(bad).await.is_json(403, BAD);
    }
    stage.client.plain("GET /token/authorize").await.is_json(403, MISSING);
    for (path, token, answer) in [("/orders", pair.access.as_str(), EXPIRED), ("/orders", "garbage", BAD)] {
        stage.client.bearer(&format!("GET {path}"), token).await.is_json(403, answer);
        stage.forwarded_nothing(path);
    }
    stage.client.plain("GET /orders").await.is_json(403, MISSING);
    for reason in ["expired_token", "bad_token", "missing_token"] {
        logged(&stage.gateway, 403, reason).await;
    }
}

#[tokio::test]
async fn the_refresh_token_also_comes_in_a_cookie_that_only_renewing_sees() {
    let stage = Stage::of(NAME).await;
    let login = stage.joins_with_cookie().await;
    let (pair, cookie) = (Pair::of(&login), login.field("set-cookie").expect("a cookie").to_owned());
    assert_eq!(cookie, format!("jqt={}; Path=/token/renew; HttpOnly; SameSite=Lax", pair.refresh));

    let sent = format!("theme=dark; jqt={}", pair.refresh);
    let renewed = stage.client.send("POST /token/renew", &[("cookie", &sent)], "").await;
    renewed.has_shape(200, r#"{"accessToken":"*"}"#);
    assert_eq!(renewed.field("set-cookie"), None, "the refresh token is as before");
    // The bearer token is read first, and a cookie does not make up for a bad one.
    let both = [("authorization", "Bearer garbage"), ("cookie", sent.as_str())];
    stage.client.send("POST /token/renew", &both, "").await.is_json(403, BAD);

    let out = stage.client.bearer("POST /logout", &pair.refresh).await;
    let cleared = "jqt=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/token/renew; HttpOnly; SameSite=Lax";
    assert_eq!((out.status, out.field("set-cookie")), (204, Some(cleared)));
}

impl Stage {
    async fn joins_with_cookie(&self) -> Got {
        self.joins("ada").await;
        self.signs_in("ada", PASSWORD).await
    }
}

#[tokio::test]
async fn the_cookie_never_reaches_the_service_and_the_service_cannot_set_it() {
    use crate::support::upstream::{Answer, Upstream};
    let upstream = Upstream::answering(|_| {
        Answer::raw("HTTP/1.1 200 OK\r\nset-cookie: jqt=evil; Path=/\r\nset-cookie: theme=dark\r\ncontent-length: 0\r\n\r\n")
    });
    let stage = Stage::with(NAME, upstream.await, |gateway| gateway).await;
    let pair = stage.joins("ada").await;
    let fields = [("authorization", format!("Bearer {}", pair.access)), ("cookie", format!("jqt={}; theme=x", pair.refresh))];
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let got = stage.client.send("GET /orders", &fields, "").await;
    assert_eq!((got.status, got.field("set-cookie")), (200, Some("theme=dark")));
    let forwarded = stage.upstream.requests("GET /orders");
    assert_eq!(forwarded[0].head.one("cookie"), Some("theme=x"));
    assert!(!stage.upstream.saw(&pair.refresh));
}

#[tokio::test]
async fn an_access_token_carries_name_address_and_roles_and_lives_ten_minutes() {
    let stage = Stage::of(NAME).await;
    let body = account_with("roles", Some(json!(["role1", "role2"])));
    let said = claims(&stage.client.json("POST /register", &body).await.text("accessToken"));
    assert_eq!((&said["username"], &said["email"]), (&json!("ada"), &json!("ada@example.com")));
    assert_eq!(said["roles"], json!(["role1", "role2"]));
    assert_eq!(said["exp"].as_i64().zip(said["iat"].as_i64()).map(|(exp, iat)| exp - iat), Some(600));
}

#[tokio::test]
async fn every_broken_rule_of_a_registration_is_told_by_field() {
    let stage = Stage::of(NAME).await;
    let required = |label: &str| format!("{label} cannot be missing or empty");
    for (body, data) in [
        (account_with("username", None), json!({"username": [required("Username")]})),
        (account_with("username", Some(json!(7))), json!({"username": ["Username must be a string"]})),
        (account_with("email", Some(json!(""))), json!({"email": [required("Email")]})),
        (account_with("email", Some(json!("ada"))), json!({"email": ["Email must be a valid email address"]})),
        (account_with("password", None), json!({"password": [required("Password")]})),
        (account_with("confirmPassword", None), json!({"confirmPassword": [required("Confirm password")]})),
        (
            account_with("confirmPassword", Some(json!("other-1234"))),
            json!({"password": ["Passwords must match"], "confirmPassword": ["Passwords must match"]}),
        ),
    ] {
        let got = stage.client.json("POST /register", &body).await;
        assert_eq!((got.status, got.content_type.as_str()), (400, "application/json"), "{body}");
        assert_eq!(got.value()["error"]["data"], data, "{body}");
        assert!(got.body.starts_with(r#"{"error":{"message":"Bad input","status":400,"data":{"#), "{}", got.body);
    }
    let login = stage.client.json("POST /login", &json!({})).await;
    let data = json!({"password": ["Password cannot be missing or empty"], "username": ["Username cannot be missing or empty"]});
    login.is_json(400, &bad_input(&data));
}

#[tokio::test]
async fn a_name_or_an_address_that_is_taken_is_told_by_field() {
    let stage = Stage::of(NAME).await;
    stage.joins("ada").await;
    let got = stage.client.json("POST /register", &account_with("email", Some(json!("other@example.com")))).await;
    got.is_json(400, &bad_input(&json!({"username": ["Username is already taken"]})));
    // The original answered this with a stack trace.
    let got = stage.client.json("POST /register", &account_with("username", Some(json!("other")))).await;
    got.is_json(400, &bad_input(&json!({"email": ["Email is already taken"]})));
    logged(&stage.gateway, 400, "conflict").await;
}

#[tokio::test]
async fn an_unknown_user_and_a_wrong_password_are_answered_alike() {
    let stage = Stage::of(NAME).await;
    stage.joins("ada").await;
    for (name, password) in [("ada", "wrong-1234"), ("nobody", PASSWORD), ("ada@example.com", PASSWORD)] {
        stage.signs_in(name, password).await.is_json(401, INCORRECT);
    }
    logged(&stage.gateway, 401, "credentials").await;
}

#[tokio::test]
async fn a_refresh_token_is_good_again_and_again_and_a_second_login_does_not_end_it() {
    let stage = Stage::of(NAME).await;
    let first = stage.joins("ada").await;
    stage.signs_in("ada", PASSWORD).await;
    for _ in 0..3 {
        stage.renew(&first.refresh).await.has_shape(200, r#"{"accessToken":"*"}"#);
    }
    stage.renew(&first.access).await.is_json(403, BAD);
    stage.client.plain("POST /token/renew").await.is_json(403, MISSING);
}

#[tokio::test]
async fn an_active_client_keeps_its_session_beyond_the_life_of_one_refresh_token() {
    let ttl = "dialects.auth-service.ttl={access=\"1s\", refresh=\"3s\"}";
    let stage = Stage::changed(NAME, &[ttl, "auth.clock_skew=0s"]).await;
    let pair = stage.joins("ada").await;
    let mut access = pair.access;
    // Four lives of an access token are longer than one of a refresh token.
    for _ in 0..4 {
        stage.client.outlives("GET /token/authorize", &access).await.is_json(403, EXPIRED);
        access = stage.renew(&pair.refresh).await.text("accessToken");
    }
    stage.authorize(&access).await.is_text(200, "OK");
}

#[tokio::test]
async fn an_idle_refresh_token_expires() {
    let stage = Stage::changed(NAME, &["dialects.auth-service.ttl={access=\"1s\", refresh=\"1s\"}", "auth.clock_skew=0s"]).await;
    let pair = stage.joins("ada").await;
    // Seen from another session, because using the token would begin its life anew.
    let login = stage.client.json("POST /auth/login", &json!({"username": "ada", "password": PASSWORD})).await;
    let watching = login.text("access_token");
    crate::support::eventually("the end of the refresh token", async || {
        let live = stage.client.bearer("GET /auth/sessions", &watching).await.value();
        (live["sessions"].as_array().map(Vec::len) == Some(1)).then_some(())
    })
    .await;
    stage.renew(&pair.refresh).await.is_json(403, EXPIRED);
}

#[tokio::test]
async fn a_password_change_ends_every_other_session() {
    let stage = Stage::of(NAME).await;
    let other = stage.joins("ada").await;
    let mine = Pair::of(&stage.signs_in("ada", PASSWORD).await);
    let body = json!({"current_password": PASSWORD, "new_password": "another-1234"}).to_string();
    let fields = [("authorization", format!("Bearer {}", mine.access))];
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(stage.client.send("POST /auth/password", &fields, &body).await.status, 204);
    stage.renew(&other.refresh).await.is_json(403, REVOKED);
    stage.authorize(&other.access).await.is_json(403, REVOKED);
    stage.signs_in("ada", PASSWORD).await.is_json(401, INCORRECT);
    assert_eq!(stage.signs_in("ada", "another-1234").await.status, 200);
}

#[tokio::test]
async fn defect_anyone_may_register_as_an_administrator() {
    let stage = Stage::of(NAME).await;
    for roles in [json!(["admin"]), json!(["role1", "admin"]), json!("admin")] {
        let got = stage.client.json("POST /register", &account_with("roles", Some(roles))).await;
        got.is_json(400, &bad_input(&json!({"roles": ["Roles may not include `admin`"]})));
    }
    stage.signs_in("ada", PASSWORD).await.is_json(401, INCORRECT);
}

#[tokio::test]
async fn defect_a_bad_body_is_echoed_with_the_password_in_it() {
    let stage = Stage::of(NAME).await;
    let got = stage.client.send("POST /login", &[], r#"{"username":"ada","password":"secret-1234""#).await;
    got.is_problem(400, "malformed");
    assert!(!got.body.contains("secret-1234"));
}

#[tokio::test]
async fn defect_a_logout_leaves_the_access_token_alive() {
    let stage = Stage::of(NAME).await;
    let pair = stage.joins("ada").await;
    stage.client.bearer("POST /logout", &pair.refresh).await.is_empty(204);
    stage.client.bearer("GET /orders", &pair.access).await.is_json(403, REVOKED);
    stage.forwarded_nothing("/orders");
    logged(&stage.gateway, 403, "revoked_token").await;
}
