//! The API as clients see it: statuses, headers, bodies.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{PASSWORD, gate};

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

pub(crate) async fn send(router: &Router, request: Request<Body>) -> Answer {
    let (head, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    Answer { status: head.status, headers: head.headers, body }
}

pub(crate) fn request(method: Method, path: &str, token: Option<&str>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    request.body(Body::empty()).unwrap()
}

pub(crate) async fn post(router: &Router, path: &str, token: Option<&str>, body: Value) -> Answer {
    let mut request = request(Method::POST, path, token);
    request.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    *request.body_mut() = Body::from(body.to_string());
    send(router, request).await
}

async fn get(router: &Router, path: &str, token: Option<&str>) -> Answer {
    send(router, request(Method::GET, path, token)).await
}

async fn signed_in(router: &Router, name: &str) -> (String, String) {
    let credentials = json!({"username": name, "password": PASSWORD});
    assert_eq!(post(router, "/auth/register", None, credentials.clone()).await.status, StatusCode::CREATED);
    let login = post(router, "/auth/login", None, credentials).await;
    let text = |field: &str| login.body[field].as_str().unwrap().to_owned();
    (text("access_token"), text("refresh_token"))
}

#[tokio::test]
async fn a_user_registers_signs_in_refreshes_and_leaves() {
    let gate = gate().await;
    let router = gate.router();

    let registered = post(&router, "/auth/register", None, json!({"username": "ada", "password": PASSWORD})).await;
    assert_eq!(registered.status, StatusCode::CREATED);
    assert_eq!(registered.body["username"], "ada");
    assert_eq!(registered.body["roles"], json!(["user"]));
    assert!(!registered.body.to_string().contains("argon2"), "no hash ever leaves");

    for name in ["username", "identifier"] {
        assert_eq!(post(&router, "/auth/login", None, json!({name: "ada", "password": PASSWORD})).await.status, 200);
    }
    let login = post(&router, "/auth/login", None, json!({"username": "ada", "password": PASSWORD})).await;
    assert_eq!(login.headers[header::CACHE_CONTROL], "no-store");
    assert_eq!(login.body["token_type"], "Bearer");
    assert_eq!(login.body["expires_in"], 899, "the rest of 900 seconds that began at the last whole one");

    let refreshed = post(&router, "/auth/refresh", None, json!({"refresh_token": login.body["refresh_token"]})).await;
    assert_eq!(refreshed.status, StatusCode::OK);
    assert_eq!(refreshed.headers[header::CACHE_CONTROL], "no-store");
    let token = refreshed.body["access_token"].as_str().unwrap();
    let me = get(&router, "/auth/me", Some(token)).await;
    assert_eq!(me.body["id"], registered.body["id"]);

    let left = send(&router, request(Method::POST, "/auth/logout", Some(token))).await;
    assert_eq!((left.status, left.body), (StatusCode::NO_CONTENT, Value::Null));
    let refused = get(&router, "/auth/me", Some(token)).await;
    assert_eq!((refused.status, &refused.body["code"]), (StatusCode::UNAUTHORIZED, &json!("revoked_token")));
    let again = post(&router, "/auth/refresh", None, json!({"refresh_token": refreshed.body["refresh_token"]})).await;
    assert_eq!(again.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_unknown_user_and_a_wrong_password_get_the_same_answer() {
    let gate = gate().await;
    let router = gate.router();
    signed_in(&router, "ada").await;
    let wrong = post(&router, "/auth/login", None, json!({"username": "ada", "password": "not hers at all"})).await;
    let unknown = post(&router, "/auth/login", None, json!({"username": "bob", "password": "not hers at all"})).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert_eq!(wrong.body["code"], "credentials");
    assert_eq!((wrong.status, wrong.headers, wrong.body), (unknown.status, unknown.headers, unknown.body));
}

#[tokio::test]
async fn verify_says_who_a_token_speaks_for() {
    let gate = gate().await;
    let router = gate.router();
    let (token, refresh_token) = signed_in(&router, "ada").await;

    let verified = get(&router, "/auth/verify", Some(&token)).await;
    assert_eq!(verified.status, StatusCode::OK);
    assert_eq!(verified.body["preferred_username"], "ada");
    assert_eq!(verified.headers["x-auth-subject"].to_str().unwrap(), verified.body["sub"]);

    for (authorization, status, code, challenge) in [
        (None, 401, "missing_token", r#"Bearer realm="portcullis""#),
        (Some("Bearer".to_owned()), 401, "missing_token", r#"Bearer realm="portcullis""#),
        (Some("Basic YTpi".to_owned()), 401, "missing_token", r#"Bearer realm="portcullis""#),
        (Some("Bearer null".to_owned()), 401, "bad_token", r#"Bearer realm="portcullis", error="invalid_token""#),
        (Some(format!("Bearer  {token}")), 401, "bad_token", r#"Bearer realm="portcullis", error="invalid_token""#),
        (Some(format!("Bearer {refresh_token}")), 401, "bad_token", r#"Bearer realm="portcullis", error="invalid_token""#),
    ] {
        let mut request = request(Method::GET, "/auth/verify", None);
        if let Some(value) = &authorization {
            request.headers_mut().insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        let refused = send(&router, request).await;
        assert_eq!((refused.status.as_u16(), &refused.body["code"]), (status, &json!(code)), "{authorization:?}");
        assert_eq!(refused.headers[header::WWW_AUTHENTICATE], challenge, "{authorization:?}");
        assert_eq!(refused.headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(refused.headers[header::CACHE_CONTROL], "no-store");
    }
    let lower = Request::get("/auth/verify").header(header::AUTHORIZATION, format!("bearer {token}"));
    assert_eq!(send(&router, lower.body(Body::empty()).unwrap()).await.status, StatusCode::OK);
}

#[tokio::test]
async fn two_authorization_fields_are_malformed_and_a_token_in_the_query_is_none() {
    let gate = gate().await;
    let router = gate.router();
    let (token, _) = signed_in(&router, "ada").await;
    let mut twice = request(Method::GET, "/auth/verify", Some(&token));
    twice.headers_mut().append(header::AUTHORIZATION, "Bearer x".parse().unwrap());
    let refused = send(&router, twice).await;
    assert_eq!((refused.status, &refused.body["code"]), (StatusCode::BAD_REQUEST, &json!("malformed")));

    let in_query = get(&router, &format!("/auth/verify?access_token={token}"), None).await;
    assert_eq!(in_query.body["code"], "missing_token");
}

#[tokio::test]
async fn only_json_that_reads_one_way_is_a_body() {
    let gate = gate().await;
    let router = gate.router();
    let good = json!({"username": "ada", "password": PASSWORD}).to_string();
    let nested = format!(r#"{{"username":{}"#, "[".repeat(50_000));
    let huge = json!({"username": "ada", "password": "x".repeat(100_000)}).to_string();
    for (content_type, body, status, code) in [
        ("text/plain", good.as_str(), 415, "unsupported_media_type"),
        ("application/x-www-form-urlencoded", "username=ada", 415, "unsupported_media_type"),
        ("application/json", r#"{"username":"a","username":"b","password":"x"}"#, 400, "malformed"),
        ("application/json", r#"{"username":"a","password":"12345678"} x"#, 400, "malformed"),
        ("application/json", r#"{"username":"a\u0000","password":"12345678"}"#, 400, "malformed"),
        ("application/json", "", 400, "malformed"),
        ("application/json", r#"{"username":"a","password":"12345678","verified":true}"#, 400, "invalid"),
        ("application/json", r#"{"username":"a"}"#, 400, "invalid"),
        ("application/json", r#"{"username":"a","password":"1234567"}"#, 400, "invalid"),
        ("application/json", r#"{"username":"a","password":"12345678","roles":["admin"]}"#, 400, "invalid"),
        ("application/json", &nested, 400, "invalid"),
        ("application/json", &huge, 413, "body_too_large"),
    ] {
        let request = Request::post("/auth/register").header(header::CONTENT_TYPE, content_type);
        let refused = send(&router, request.body(Body::from(body.to_owned())).unwrap()).await;
        let shown = &body[..body.len().min(80)];
        assert_eq!((refused.status.as_u16(), &refused.body["code"]), (status, &json!(code)), "{content_type} {shown}");
    }
    let taken = json!({"username": "ada", "password": PASSWORD});
    assert_eq!(post(&router, "/auth/register", None, taken.clone()).await.status, StatusCode::CREATED);
    let conflict = post(&router, "/auth/register", None, taken).await;
    assert_eq!((conflict.status, &conflict.body["code"]), (StatusCode::CONFLICT, &json!("conflict")));
    assert_eq!(conflict.body["errors"][0]["field"], "username");
}

#[tokio::test]
async fn nobody_sets_of_themselves_what_is_not_theirs_to_set() {
    let gate = gate().await;
    let router = gate.router();
    let (token, _) = signed_in(&router, "ada").await;
    // Case 164: mass assignment.
    for further in ["id", "email_verified", "email_verified_at", "disabled_at", "created_at", "password_hash", "is_admin"] {
        let account = json!({"username": "eve", "password": PASSWORD, further: "2026-01-01T00:00:00Z"});
        let refused = post(&router, "/auth/register", None, account).await;
        assert_eq!((refused.status.as_u16(), &refused.body["code"]), (400, &json!("invalid")), "{further}");
    }
    for (method, path, body) in [
        (Method::PATCH, "/auth/me", json!({"given_name": "Ada", "roles": ["admin"]})),
        (Method::PATCH, "/auth/me", json!({"email": "eve@example.com"})),
        (Method::PATCH, "/auth/me", json!({"username": "root"})),
        (Method::PATCH, "/auth/me", json!({"email_verified": true})),
        (Method::POST, "/auth/api-keys", json!({"name": "x", "user": "7d44b7a5-0000-4000-8000-000000000000"})),
        (Method::POST, "/auth/api-keys", json!({"name": "x", "roles": ["admin"]})),
        (
            Method::POST,
            "/auth/password",
            json!({"current_password": PASSWORD, "new_password": "long enough, this", "user": "eve"}),
        ),
        (Method::POST, "/auth/password/forgot", json!({"email": "ada@example.com", "link": "https://evil.example"})),
        (Method::POST, "/auth/reauthenticate", json!({"password": PASSWORD, "auth_time": 0})),
    ] {
        let mut request = request(method, path, Some(&token));
        request.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
        *request.body_mut() = Body::from(body.to_string());
        let refused = send(&router, request).await;
        assert_eq!((refused.status.as_u16(), &refused.body["code"]), (400, &json!("invalid")), "{path} {body}");
    }
    let me = get(&router, "/auth/me", Some(&token)).await.body;
    assert_eq!((&me["roles"], &me["username"], &me["given_name"]), (&json!(["user"]), &json!("ada"), &Value::Null));
}

#[tokio::test]
async fn a_login_names_its_user_in_one_way() {
    let gate = gate().await;
    let router = gate.router();
    signed_in(&router, "ada").await;
    for body in [
        json!({"password": PASSWORD}),
        json!({"username": "ada", "identifier": "ada", "password": PASSWORD}),
        json!({"username": "ada", "email": "ada@example.com", "password": PASSWORD}),
    ] {
        let refused = post(&router, "/auth/login", None, body.clone()).await;
        assert_eq!((refused.status, &refused.body["code"]), (StatusCode::BAD_REQUEST, &json!("invalid")), "{body}");
    }
}

#[tokio::test]
async fn logging_out_is_idempotent_and_needs_some_token() {
    let gate = gate().await;
    let router = gate.router();
    let (token, refresh_token) = signed_in(&router, "ada").await;
    let nothing = send(&router, request(Method::POST, "/auth/logout", None)).await;
    assert_eq!((nothing.status, &nothing.body["code"]), (StatusCode::UNAUTHORIZED, &json!("missing_token")));

    for _ in 0..2 {
        let left = post(&router, "/auth/logout", None, json!({"refresh_token": refresh_token})).await;
        assert_eq!(left.status, StatusCode::NO_CONTENT);
        let left = send(&router, request(Method::POST, "/auth/logout", Some(&token))).await;
        assert_eq!(left.status, StatusCode::NO_CONTENT);
    }
    assert_eq!(post(&router, "/auth/logout", Some("x.y.z"), json!({"refresh_token": "?"})).await.status, 204);
    assert_eq!(get(&router, "/auth/verify", Some(&token)).await.body["code"], "revoked_token");
}

#[tokio::test]
async fn devices_are_listed_and_ended() {
    let gate = gate().await;
    let router = gate.router();
    let (phone, _) = signed_in(&router, "ada").await;
    let login = post(&router, "/auth/login", None, json!({"username": "ada", "password": PASSWORD})).await;
    let laptop = login.body["access_token"].as_str().unwrap();

    let listed = get(&router, "/auth/sessions", Some(laptop)).await;
    let sessions = listed.body["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    assert_eq!(sessions[0]["address"], "127.0.0.1");
    assert_eq!(sessions[0]["user_agent"], "test/1");
    let other = sessions.iter().find(|session| session["current"] == false).unwrap()["id"].as_str().unwrap();

    let ended = send(&router, request(Method::DELETE, &format!("/auth/sessions/{other}"), Some(laptop))).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    assert_eq!(get(&router, "/auth/verify", Some(&phone)).await.body["code"], "revoked_token");
    for unknown in ["7d44b7a5-0000-4000-8000-000000000000", "not-an-id", "%00"] {
        let refused = send(&router, request(Method::DELETE, &format!("/auth/sessions/{unknown}"), Some(laptop))).await;
        assert_eq!((refused.status, &refused.body["code"]), (StatusCode::NOT_FOUND, &json!("not_found")), "{unknown}");
    }
}

#[tokio::test]
async fn a_profile_and_a_password_are_changed_by_their_owner() {
    let gate = gate().await;
    let router = gate.router();
    let (token, _) = signed_in(&router, "ada").await;
    let mut patch = request(Method::PATCH, "/auth/me", Some(&token));
    patch.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    *patch.body_mut() = Body::from(r#"{"given_name":"Ada"}"#);
    assert_eq!(send(&router, patch).await.body["given_name"], "Ada");

    let change = |current: &str| json!({"current_password": current, "new_password": "another horse altogether"});
    let wrong = post(&router, "/auth/password", Some(&token), change("not my password")).await;
    assert_eq!((wrong.status, &wrong.body["code"]), (StatusCode::UNAUTHORIZED, &json!("credentials")));
    assert_eq!(post(&router, "/auth/password", Some(&token), change(PASSWORD)).await.status, StatusCode::NO_CONTENT);
    assert_eq!(get(&router, "/auth/verify", Some(&token)).await.status, StatusCode::OK);

    let everywhere = send(&router, request(Method::POST, "/auth/logout-all", Some(&token))).await;
    assert_eq!(everywhere.status, StatusCode::NO_CONTENT);
    assert_eq!(get(&router, "/auth/verify", Some(&token)).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_path_or_method_that_is_not_served_is_a_problem_too() {
    let gate = gate().await;
    let router = gate.router();
    for path in ["/auth", "/auth/", "/auth/nothing", "/auth/login/", "/nothing", "/auth/sessions/a/b"] {
        let refused = get(&router, path, None).await;
        assert_eq!((refused.status, &refused.body["code"]), (StatusCode::NOT_FOUND, &json!("not_found")), "{path}");
    }
    let refused = get(&router, "/auth/login", None).await;
    assert_eq!(refused.body["code"], "method_not_allowed");
    assert_eq!(refused.headers[header::ALLOW], "POST");
}

#[tokio::test]
async fn the_key_set_has_public_keys_only() {
    let gate = gate().await;
    let keys = get(&gate.router(), "/.well-known/jwks.json", None).await;
    let key = &keys.body["keys"][0];
    assert_eq!((&key["kty"], &key["alg"], &key["use"]), (&json!("OKP"), &json!("EdDSA"), &json!("sig")));
    assert!(key["x"].is_string() && key["kid"].is_string());
    assert!(key.get("d").is_none(), "the private half stays here");
    assert_eq!(keys.headers[header::CACHE_CONTROL], "public, max-age=60");
}
