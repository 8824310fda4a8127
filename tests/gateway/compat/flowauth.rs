//! FlowAuth: everything under `/auth`. Refresh tokens rotate, and a refresh revokes the access token before it.

use serde_json::{Value, json};

use super::{Got, Stage, claims, logged};
use crate::support::services::Redis;
use crate::support::upstream::Upstream;

const NAME: &str = "flowauth";
const PASSWORD: &str = "pass-1234";
const UNAUTHORIZED: &str = r#"{"message":"Unauthorized"}"#;
const WRONG: &str = r#"{"message":"Invalid email or password"}"#;

/// The tokens of one sign-in.
struct Pair {
    access: String,
    refresh: String,
}

impl Pair {
    fn of(got: &Got) -> Self {
        Self { access: got.text("accessToken"), refresh: got.text("refreshToken") }
    }
}

impl Stage {
    async fn registers(&self, name: &str) -> Got {
        let account = json!({"username": name, "email": format!("{name}@example.com"), "password": PASSWORD});
        self.client.json("POST /auth/register", &account).await
    }

    async fn logs_in(&self, email: &str, password: &str) -> Got {
        self.client.json("POST /auth/login", &json!({"email": email, "password": password})).await
    }

    async fn refreshes(&self, refresh_token: &str) -> Got {
        self.client.json("POST /auth/refresh", &json!({"refreshToken": refresh_token})).await
    }

    async fn protected(&self, token: &str) -> Got {
        self.client.bearer("GET /protected", token).await
    }
}

/// What both registering and signing in answer with.
fn shape(name: &str) -> String {
    format!(r#"{{"user":{{"id":"*","username":"{name}","email":"{name}@example.com"}},"accessToken":"*","refreshToken":"*"}}"#)
}

#[tokio::test]
async fn the_documented_flow_passes() {
    let stage = Stage::of(NAME).await;
    let registered = stage.registers("ada").await;
    registered.has_shape(201, &shape("ada"));
    assert_eq!(stage.protected(&registered.text("accessToken")).await.status, 200);

    let login = stage.logs_in("ada@example.com", PASSWORD).await;
    let first = Pair::of(login.has_shape(200, &shape("ada")));
    assert_eq!(stage.protected(&first.access).await.status, 200);

    let refreshed = stage.refreshes(&first.refresh).await;
    let second = Pair::of(refreshed.has_shape(201, r#"{"accessToken":"*","refreshToken":"*"}"#));
    assert_ne!(second.refresh, first.refresh);
    assert_eq!(stage.protected(&second.access).await.status, 200);

    stage.client.bearer("POST /auth/logout", &second.access).await.is_text(200, "Logout successful");
    stage.protected(&second.access).await.is_json(401, UNAUTHORIZED);
    stage.refreshes(&second.refresh).await.is_json(400, r#"{"message":"Refresh token revoked"}"#);
    assert_eq!(stage.protected(&registered.text("accessToken")).await.status, 200, "another session is not touched");
}

#[tokio::test]
async fn an_access_token_dies_when_its_refresh_token_is_used() {
    let stage = Stage::of(NAME).await;
    let first = Pair::of(&stage.registers("ada").await);
    let second = Pair::of(&stage.refreshes(&first.refresh).await);
    stage.protected(&first.access).await.is_json(401, UNAUTHORIZED);
    assert_eq!(stage.protected(&second.access).await.status, 200);
    let third = Pair::of(&stage.refreshes(&second.refresh).await);
    stage.protected(&second.access).await.is_json(401, UNAUTHORIZED);
    assert_eq!(stage.protected(&third.access).await.status, 200);
    logged(&stage.gateway, 401, "revoked_token").await;
}

#[tokio::test]
async fn a_repeated_refresh_gets_the_same_answer_and_revokes_nothing_new() {
    let stage = Stage::of(NAME).await;
    let first = Pair::of(&stage.registers("ada").await);
    let second = Pair::of(&stage.refreshes(&first.refresh).await);
    let again = Pair::of(&stage.refreshes(&first.refresh).await);
    assert_eq!((&again.refresh, &again.access), (&second.refresh, &second.access));
    assert_eq!(stage.protected(&second.access).await.status, 200);
}

#[tokio::test]
async fn a_replayed_refresh_token_ends_its_session_and_no_other() {
    let stage = Stage::changed(NAME, &["auth.rotation_grace=0s"]).await;
    let first = Pair::of(&stage.registers("ada").await);
    let other = Pair::of(&stage.logs_in("ada@example.com", PASSWORD).await);
    let second = Pair::of(&stage.refreshes(&first.refresh).await);
    stage.refreshes(&first.refresh).await.is_json(400, r#"{"message":"Refresh token revoked"}"#);
    stage.protected(&second.access).await.is_json(401, UNAUTHORIZED);
    stage.refreshes(&second.refresh).await.is_json(400, r#"{"message":"Refresh token revoked"}"#);
    assert_eq!(stage.protected(&other.access).await.status, 200);
}

#[tokio::test]
async fn refusals_of_a_refresh_are_told_apart() {
    let stage = Stage::changed(NAME, &["dialects.flowauth.ttl={access=\"1s\", refresh=\"2s\"}"]).await;
    let pair = Pair::of(&stage.registers("ada").await);
    for body in [json!({}), json!({"refreshToken": ""})] {
        let got = stage.client.json("POST /auth/refresh", &body).await;
        got.is_json(400, r#"{"message":"Refresh token not provided"}"#);
    }
    for token in ["garbage", &pair.access] {
        stage.refreshes(token).await.is_json(400, r#"{"message":"Refresh token not found"}"#);
    }
    let expired = crate::support::eventually("the refresh token's end", async || {
        // A token of its own each time: a refresh that succeeds would begin another life.
        let got = stage.refreshes(&pair.refresh).await;
        (got.status != 201).then_some(got)
    });
    // Within the grace, the first one is answered with its successor again and again, until that has expired.
    expired.await.is_json(400, r#"{"message":"Refresh token expired"}"#);
}

#[tokio::test]
async fn an_access_token_names_the_user_and_its_own_id_and_lives_fifteen_minutes() {
    let stage = Stage::of(NAME).await;
    let registered = stage.registers("ada").await;
    let said = claims(&registered.text("accessToken"));
    assert_eq!(said["id"], registered.value()["user"]["id"]);
    assert!(said["jti"].is_string());
    assert_eq!(said["exp"].as_i64().zip(said["iat"].as_i64()).map(|(exp, iat)| exp - iat), Some(900));
}

#[tokio::test]
async fn a_bad_token_is_refused_everywhere_and_none_is_the_services_to_judge() {
    let stage = Stage::of(NAME).await;
    let pair = Pair::of(&stage.registers("ada").await);
    let hello = stage.client.plain("GET /").await;
    assert_eq!((hello.status, hello.body.as_str()), (200, "/"));
    for token in ["garbage", &pair.refresh] {
        for path in ["/hello", "/protected"] {
            stage.client.bearer(&format!("GET {path}"), token).await.is_json(401, UNAUTHORIZED);
            stage.forwarded_nothing(path);
        }
    }
    stage.client.plain("GET /protected").await.is_json(401, UNAUTHORIZED);
    stage.forwarded_nothing("/protected");
    assert_eq!(stage.client.bearer("GET /hello", &pair.access).await.status, 200);
}

#[tokio::test]
async fn an_expired_access_token_is_refused() {
    let stage = Stage::changed(NAME, &["dialects.flowauth.ttl.access=1s", "auth.clock_skew=0s"]).await;
    let pair = Pair::of(&stage.registers("ada").await);
    stage.client.outlives("GET /protected", &pair.access).await.is_json(401, UNAUTHORIZED);
    logged(&stage.gateway, 401, "expired_token").await;
}

#[tokio::test]
async fn a_logout_needs_a_token_of_a_live_session() {
    let stage = Stage::of(NAME).await;
    let pair = Pair::of(&stage.registers("ada").await);
    stage.client.plain("POST /auth/logout").await.is_json(401, UNAUTHORIZED);
    stage.client.bearer("POST /auth/logout", "garbage").await.is_json(401, UNAUTHORIZED);
    stage.client.bearer("POST /auth/logout", &pair.access).await.is_text(200, "Logout successful");
    stage.client.bearer("POST /auth/logout", &pair.access).await.is_json(401, UNAUTHORIZED);
}

#[tokio::test]
async fn services_that_look_up_the_jti_by_themselves_learn_of_logouts_and_refreshes() {
    let redis = Redis::start();
    let stage = Stage::with(NAME, Upstream::echo().await, |gateway| gateway.redis(&redis)).await;
    let revoked = |token: &str| {
        let key = format!("revoked_jti:{}", claims(token)["jti"].as_str().expect("text"));
        let (exists, life) = (redis.command::<i64>(&["EXISTS", &key]), redis.command::<i64>(&["TTL", &key]));
        assert_eq!(exists == 1, life > 0, "a record that never expires, or none: {life}");
        exists == 1
    };
    let first = Pair::of(&stage.registers("ada").await);
    assert!(!revoked(&first.access));
    let second = Pair::of(&stage.refreshes(&first.refresh).await);
    assert!(revoked(&first.access) && !revoked(&second.access));
    assert_eq!(stage.client.bearer("POST /auth/logout", &second.access).await.status, 200);
    assert!(revoked(&second.access));
}

#[tokio::test]
async fn what_is_missing_at_registration_is_said() {
    let stage = Stage::of(NAME).await;
    for (body, message) in [
        (json!({"username": "ada", "password": PASSWORD}), "Email cannot be missing or empty"),
        (json!({"username": "ada", "email": "ada@example.com"}), "Password cannot be missing or empty"),
        (json!({"username": "ada", "email": "ada", "password": PASSWORD}), "Email must be a valid email address"),
        (json!({"username": 7, "email": "ada@example.com", "password": PASSWORD}), "Username must be a string"),
    ] {
        let got = stage.client.json("POST /auth/register", &body).await;
        got.is_json(400, &json!({"message": message}).to_string());
    }
    stage.client.send("POST /auth/register", &[], "{").await.is_problem(400, "malformed");
}

#[tokio::test]
async fn defect_any_password_logs_in() {
    let stage = Stage::of(NAME).await;
    stage.registers("ada").await;
    for password in ["wrong-1234", "x", "pass-12345", "PASS-1234"] {
        stage.logs_in("ada@example.com", password).await.is_json(401, WRONG);
    }
    logged(&stage.gateway, 401, "credentials").await;
}

#[tokio::test]
async fn defect_users_can_be_enumerated() {
    let stage = Stage::of(NAME).await;
    stage.registers("ada").await;
    stage.logs_in("nobody@example.com", PASSWORD).await.is_json(401, WRONG);
    stage.logs_in("ada@example.com", "wrong-1234").await.is_json(401, WRONG);
    // A user name is no address.
    stage.logs_in("ada", PASSWORD).await.is_json(401, WRONG);
}

#[tokio::test]
async fn defect_the_database_speaks_to_clients() {
    let stage = Stage::of(NAME).await;
    stage.registers("ada").await;
    for (username, email) in [("ada", "other@example.com"), ("other", "ada@example.com"), ("ADA", "ADA@example.com")] {
        let body = json!({"username": username, "email": email, "password": PASSWORD});
        stage.client.json("POST /auth/register", &body).await.is_json(400, r#"{"message":"User already exists"}"#);
    }
}

#[tokio::test]
async fn defect_passwords_and_refresh_tokens_are_stored_in_clear() {
    let stage = Stage::of(NAME).await;
    let pair = Pair::of(&stage.registers("ada").await);
    stage.stores_nothing_of(&[PASSWORD, &pair.refresh, &pair.access]);
}

#[tokio::test]
async fn defect_a_refresh_by_post_cannot_be_done() {
    let stage = Stage::of(NAME).await;
    let pair = Pair::of(&stage.registers("ada").await);
    assert_eq!(stage.refreshes(&pair.refresh).await.status, 201);
}

#[tokio::test]
async fn defect_helpers_for_tests_show_refresh_tokens_and_revoked_ids() {
    let stage = Stage::of(NAME).await;
    let pair = Pair::of(&stage.registers("ada").await);
    for path in ["/auth/refresh-tokens", "/auth/invoked-jti"] {
        stage.client.bearer(&format!("GET {path}"), &pair.access).await.is_problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_flood_of_members_that_nobody_asks_for_is_ignored() {
    let stage = Stage::of(NAME).await;
    let account =
        json!({"username": "ada", "email": "ada@example.com", "password": PASSWORD, "roles": ["admin"], "isAdmin": true});
    let registered = stage.client.json("POST /auth/register", &account).await;
    assert_eq!(registered.status, 201);
    assert!(
        !claims(&registered.text("accessToken"))["roles"].as_array().is_some_and(|roles| roles.contains(&Value::from("admin")))
    );
}
