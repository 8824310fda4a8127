//! auth-using-NodeJs: an auth server that signs up whoever logs in, and a resource server beside it, on another port.

use serde_json::{Value, json};

use super::{Client, Got, Stage, claims, logged};
use crate::support::in_time;
use crate::support::upstream::{Answer, Upstream};

const NAME: &str = "auth-using-nodejs";
const PASSWORD: &str = "pass-1234";
const REQUIRED: &str = r#"{"error":"Username and Password Required"}"#;
const POSTS: &str = "<h1>Welcome</h1>";

/// What the original's resource server serves itself.
async fn posts() -> Upstream {
    let length = POSTS.len();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {length}\r\n\r\n");
    Upstream::answering(move |_| Answer::raw(format!("{head}{POSTS}"))).await
}

async fn stage(sets: &[&str]) -> Stage {
    Stage::with(NAME, posts().await, |gateway| sets.iter().fold(gateway, |gateway, set| gateway.set(set))).await
}

impl Stage {
    /// The other listener.
    fn resource(&self) -> Client {
        Client(self.gateway.addresses[1])
    }

    async fn enters(&self, name: &str, password: &str) -> Got {
        self.client.json("POST /login", &json!({"username": name, "password": password})).await
    }

    /// Access and refresh token.
    async fn entered(&self, name: &str) -> (String, String) {
        let got = self.enters(name, PASSWORD).await;
        got.has_shape(200, r#"{"access_token":"*","refresh_token":"*"}"#);
        (got.text("access_token"), got.text("refresh_token"))
    }

    async fn token(&self, refresh_token: &str) -> Got {
        self.client.json("POST /token", &json!({"refresh_token": refresh_token})).await
    }

    async fn leaves(&self, refresh_token: &str) -> Got {
        self.client.json("DELETE /logout", &json!({"refresh_token": refresh_token})).await
    }

    async fn reads_posts(&self, token: &str) -> Got {
        self.resource().bearer("GET /posts", token).await
    }
}

#[tokio::test]
async fn the_documented_flow_passes() {
    let stage = stage(&[]).await;
    let (token, refresh_token) = stage.entered("ada").await;
    let posts = stage.reads_posts(&token).await;
    assert_eq!((posts.status, posts.content_type.as_str(), posts.body.as_str()), (200, "text/html; charset=utf-8", POSTS));

    let renewed = stage.token(&refresh_token).await.has_shape(200, r#"{"access_token":"*"}"#).text("access_token");
    assert_eq!(stage.reads_posts(&renewed).await.status, 200);
    stage.resource().plain("GET /users").await.is_json(200, r#"[{"name":"ada"}]"#);
    let login = stage.resource().json("POST /login", &json!({"username": "ada", "password": PASSWORD})).await;
    login.is_json(200, r#""Login Successful""#);

    stage.leaves(&refresh_token).await.is_empty(204);
    stage.token(&refresh_token).await.is_text(403, "Forbidden");
}

#[tokio::test]
async fn a_login_under_an_unknown_name_makes_a_user_and_a_known_one_must_prove_itself() {
    let stage = stage(&[]).await;
    stage.entered("ada").await;
    stage.entered("ada").await;
    stage.enters("ada", "wrong-1234").await.is_json(401, r#"{"error":"Invalid Credentials"}"#);
    stage.entered("bob").await;
    let names = stage.resource().plain("GET /users").await;
    names.is_json(200, r#"[{"name":"ada"},{"name":"bob"}]"#);
}

#[tokio::test]
async fn first_logins_that_race_make_one_user_and_all_succeed() {
    let stage = stage(&[]).await;
    let logins = (0..8).map(|_| {
        let client = stage.client;
        tokio::spawn(async move { client.json("POST /login", &json!({"username": "ada", "password": PASSWORD})).await.status })
    });
    for login in logins.collect::<Vec<_>>() {
        assert_eq!(in_time("a login", login).await.expect("no panic"), 200);
    }
    stage.resource().plain("GET /users").await.is_json(200, r#"[{"name":"ada"}]"#);
}

#[tokio::test]
async fn name_and_password_are_required() {
    let stage = stage(&[]).await;
    for body in [json!({}), json!({"username": "ada"}), json!({"password": PASSWORD}), json!({"username": "", "password": ""})] {
        stage.client.json("POST /login", &body).await.is_json(400, REQUIRED);
    }
    // The original answered this with a stack trace.
    stage.client.plain("POST /login").await.is_json(400, REQUIRED);
    stage.client.send("POST /login", &[], "{\"username\"").await.is_problem(400, "malformed");
}

#[tokio::test]
async fn an_access_token_carries_the_name_and_lives_fifteen_seconds() {
    let stage = stage(&[]).await;
    let said = claims(&stage.entered("ada").await.0);
    assert_eq!(said["name"], "ada");
    assert_eq!(said["exp"].as_i64().zip(said["iat"].as_i64()).map(|(exp, iat)| exp - iat), Some(15));
}

#[tokio::test]
async fn a_refresh_needs_a_refresh_token() {
    let stage = stage(&[]).await;
    let (token, refresh_token) = stage.entered("ada").await;
    stage.client.json("POST /token", &json!({})).await.is_text(401, "Unauthorized");
    stage.client.plain("POST /token").await.is_text(401, "Unauthorized");
    for bad in ["garbage", &token] {
        stage.token(bad).await.is_text(403, "Forbidden");
    }
    for _ in 0..3 {
        stage.token(&refresh_token).await.has_shape(200, r#"{"access_token":"*"}"#);
    }
    logged(&stage.gateway, 403, "bad_token").await;
}

#[tokio::test]
async fn the_resource_server_asks_for_a_good_access_token() {
    let stage = stage(&["dialects.auth-using-nodejs.ttl.access=1s", "auth.clock_skew=0s"]).await;
    let (token, refresh_token) = stage.entered("ada").await;
    stage.resource().plain("GET /posts").await.is_text(401, "Unauthorized");
    for bad in ["garbage", &refresh_token] {
        stage.reads_posts(bad).await.is_text(403, "Forbidden");
    }
    let resource = stage.resource();
    resource.outlives("GET /posts", &token).await.is_text(403, "Forbidden");
    logged(&stage.gateway, 403, "expired_token").await;
}

#[tokio::test]
async fn logout_says_nothing_about_what_it_does_not_know() {
    let stage = stage(&[]).await;
    let (_, refresh_token) = stage.entered("ada").await;
    for body in [json!({}), json!({"refresh_token": "garbage"}), json!({"refresh_token": refresh_token})] {
        stage.client.json("DELETE /logout", &body).await.is_empty(204);
    }
    stage.client.plain("DELETE /logout").await.is_empty(204);
}

#[tokio::test]
async fn the_resource_server_compares_passwords_and_makes_nobody() {
    let stage = stage(&[]).await;
    stage.entered("ada").await;
    for (name, password) in [("nobody", PASSWORD), ("ada", "wrong-1234")] {
        let got = stage.resource().json("POST /login", &json!({"username": name, "password": password})).await;
        got.is_json(401, r#"{"Error":"Invalid Credentials"}"#);
    }
    stage.resource().plain("GET /users").await.is_json(200, r#"[{"name":"ada"}]"#);
}

#[tokio::test]
async fn the_two_servers_do_not_share_their_paths() {
    let stage = stage(&[]).await;
    let (_, refresh_token) = stage.entered("ada").await;
    let elsewhere = stage.resource().json("POST /token", &json!({"refresh_token": refresh_token})).await;
    elsewhere.is_text(401, "Unauthorized");
    stage.client.plain("GET /users").await.is_text(401, "Unauthorized");
    stage.forwarded_nothing("/token");
    stage.forwarded_nothing("/users");
}

#[tokio::test]
async fn users_are_for_administrators_unless_the_list_is_public() {
    let upstream = posts().await;
    let stage = Stage::with(NAME, upstream, |gateway| gateway.without("public = true\n")).await;
    let (token, _) = stage.entered("ada").await;
    stage.resource().plain("GET /users").await.is_text(401, "Unauthorized");
    stage.resource().bearer("GET /users", &token).await.is_text(403, "Forbidden");
    logged(&stage.gateway, 403, "forbidden").await;
}

#[tokio::test]
async fn defect_any_password_logs_in() {
    let stage = stage(&[]).await;
    stage.entered("ada").await;
    for password in ["x", "pass-12345", "PASS-1234"] {
        stage.enters("ada", password).await.is_json(401, r#"{"error":"Invalid Credentials"}"#);
    }
    logged(&stage.gateway, 401, "credentials").await;
}

#[tokio::test]
async fn defect_logout_does_nothing() {
    let stage = stage(&[]).await;
    let (token, refresh_token) = stage.entered("ada").await;
    stage.leaves(&refresh_token).await.is_empty(204);
    stage.token(&refresh_token).await.is_text(403, "Forbidden");
    stage.reads_posts(&token).await.is_text(403, "Forbidden");
    stage.forwarded_nothing("/posts");
    logged(&stage.gateway, 403, "revoked_token").await;
}

#[tokio::test]
async fn defect_hashes_are_published() {
    let stage = stage(&[]).await;
    stage.entered("ada").await;
    let users = stage.resource().plain("GET /users").await;
    assert_eq!(users.value(), json!([{"name": "ada"}]));
    assert!(!users.body.contains('$') && !users.body.contains("password"));
}

#[tokio::test]
async fn defect_addresses_are_no_names_to_publish() {
    // Somebody who registered with the gateway's own API and has an address only.
    let stage = stage(&[]).await;
    let account = json!({"email": "eve@example.com", "password": "correct horse battery staple"});
    assert_eq!(stage.client.json("POST /auth/register", &account).await.status, 201);
    stage.resource().plain("GET /users").await.is_json(200, "[]");
}

#[tokio::test]
async fn defect_any_scheme_is_accepted() {
    let stage = stage(&[]).await;
    let (token, _) = stage.entered("ada").await;
    for scheme in ["Basic", "Token", "JWT"] {
        let got = stage.resource().send("GET /posts", &[("authorization", &format!("{scheme} {token}"))], "").await;
        got.is_text(401, "Unauthorized");
    }
    stage.forwarded_nothing("/posts");
}

#[tokio::test]
async fn defect_a_wrong_password_is_answered_with_200_by_the_resource_server() {
    let stage = stage(&[]).await;
    stage.entered("ada").await;
    let got = stage.resource().json("POST /login", &json!({"username": "ada", "password": "wrong-1234"})).await;
    got.is_json(401, r#"{"Error":"Invalid Credentials"}"#);
}

#[tokio::test]
async fn defect_errors_show_stack_traces() {
    let stage = stage(&[]).await;
    for request in ["POST /login", "POST /token", "DELETE /logout"] {
        for body in ["", "{", "[]", "\"x\""] {
            let got = stage.client.send(request, &[], body).await;
            assert!(got.status < 500 && !got.body.contains("    at "), "{request} {body}: {} {}", got.status, got.body);
        }
    }
}

#[tokio::test]
async fn defect_two_logins_in_one_second_yield_the_same_refresh_token() {
    let stage = stage(&[]).await;
    let (first, second) = (stage.entered("ada").await.1, stage.entered("ada").await.1);
    assert_ne!(first, second);
    stage.leaves(&first).await.is_empty(204);
    assert_eq!(stage.token(&second).await.status, 200);
    let _: Value = stage.token(&second).await.value();
}
