//! How refusals read in the five systems, byte for byte, on each route and of proxied requests.

use super::*;

/// The answer to a refusal; `canonical` for the gateway's own.
fn refusal(file: &str, port: u16, request: Option<&str>, code: &str, faults: &[InputFault]) -> String {
    let dialects = shipped(file);
    let dialect = on_port(&dialects, port);
    let route = request.map(|request| route(dialect, request).expect("a route"));
    let answer = dialect.render_err(route, code, &ErrorValues { message: None, faults });
    answer.as_ref().map_or_else(|| "canonical".to_owned(), written)
}

/// Asserts what each request answers to each code; no request means a proxied one.
fn check(file: &str, port: u16, rows: &[(Option<&str>, &str, &str)]) {
    for (request, code, expected) in rows {
        assert_eq!(refusal(file, port, *request, code, &[]), *expected, "{file} {request:?} {code}");
    }
}

#[test]
fn auth_using_nodejs() {
    let login = Some("POST /login");
    check(
        "auth-using-nodejs",
        4000,
        &[
            (login, "invalid", r#"400 {"error":"Username and Password Required"}"#),
            (login, "credentials", r#"401 {"error":"Invalid Credentials"}"#),
            (login, "malformed", "canonical"),
            (Some("POST /token"), "missing_token", "401 text Unauthorized"),
            (Some("POST /token"), "bad_token", "403 text Forbidden"),
            (Some("POST /token"), "revoked_token", "403 text Forbidden"),
            (Some("DELETE /logout"), "bad_token", "204"),
            (Some("DELETE /logout"), "missing_token", "204"),
            (Some("DELETE /logout"), "unavailable", "canonical"),
            (Some("DELETE /logout"), "internal", "canonical"),
        ],
    );
    check(
        "auth-using-nodejs",
        3000,
        &[
            (login, "credentials", r#"401 {"Error":"Invalid Credentials"}"#),
            (None, "missing_token", "401 text Unauthorized"),
            (None, "bad_token", "403 text Forbidden"),
            (None, "expired_token", "403 text Forbidden"),
            (None, "not_found", "canonical"),
            (None, "revocation_unknown", "canonical"),
        ],
    );
}

#[test]
fn mstack_auth() {
    let unauthorized = r#"401 {"valid":false,"error":"Unauthorized"}"#;
    check(
        "mstack-auth",
        5000,
        &[
            (Some("POST /auth/signup"), "invalid", r#"400 {"error":"Username and password required"}"#),
            (Some("POST /auth/signup"), "conflict", r#"409 {"error":"User already exists"}"#),
            (Some("POST /auth/signup"), "internal", r#"500 {"error":"Something went wrong"}"#),
            (Some("POST /auth/login"), "credentials", r#"401 {"error":"Invalid credentials"}"#),
            (Some("GET /auth/verify"), "missing_token", unauthorized),
            (Some("GET /auth/verify"), "expired_token", unauthorized),
            (Some("GET /auth/verify"), "internal", r#"500 {"error":"Something went wrong"}"#),
            (Some("POST /auth/refresh"), "missing_token", r#"400 {"error":"Refresh token required"}"#),
            (Some("POST /auth/refresh"), "revoked_token", r#"401 {"error":"Invalid refresh token"}"#),
            (Some("POST /auth/logout"), "missing_token", r#"200 {"success":true,"message":"Logged out"}"#),
            (Some("POST /auth/logout"), "bad_token", r#"200 {"success":true,"message":"Logged out"}"#),
            (Some("POST /auth/logout"), "internal", r#"500 {"error":"Something went wrong"}"#),
            (None, "revoked_token", r#"401 {"error":"Unauthorized"}"#),
        ],
    );
}

#[test]
fn flowauth() {
    check(
        "flowauth",
        3001,
        &[
            (Some("POST /auth/register"), "conflict", r#"400 {"message":"User already exists"}"#),
            (Some("POST /auth/login"), "credentials", r#"401 {"message":"Invalid email or password"}"#),
            (Some("POST /auth/login"), "invalid", r#"400 {"message":"The request body is invalid"}"#),
            (Some("POST /auth/refresh"), "missing_token", r#"400 {"message":"Refresh token not provided"}"#),
            (Some("POST /auth/refresh"), "expired_token", r#"400 {"message":"Refresh token expired"}"#),
            (Some("POST /auth/refresh"), "revoked_token", r#"400 {"message":"Refresh token revoked"}"#),
            (Some("POST /auth/refresh"), "bad_token", r#"400 {"message":"Refresh token not found"}"#),
            (Some("POST /auth/logout"), "missing_token", r#"401 {"message":"Unauthorized"}"#),
            (None, "revoked_token", r#"401 {"message":"Unauthorized"}"#),
        ],
    );
    let missing = [InputFault::new("email", "cannot be missing or empty")];
    let answer = refusal("flowauth", 3001, Some("POST /auth/register"), "invalid", &missing);
    assert_eq!(answer, r#"400 {"message":"Email cannot be missing or empty"}"#);
}

#[test]
fn auth_service() {
    let header = r#"403 {"error":{"message":"Missing authorization header","status":403,"code":4000,"data":{"header":"An authorization header must be provided"}}}"#;
    check(
        "auth-service",
        3002,
        &[
            (Some("POST /login"), "credentials", r#"401 {"error":{"message":"Incorrect credentials","status":401}}"#),
            (Some("POST /logout"), "missing_token", header),
            (
                Some("GET /token/authorize"),
                "bad_token",
                r#"403 {"error":{"message":"Token must be a valid jwt token","status":403,"code":4002}}"#,
            ),
            (
                Some("GET /token/authorize"),
                "expired_token",
                r#"403 {"error":{"message":"Token has expired","status":403,"code":4004}}"#,
            ),
            (
                Some("POST /token/renew"),
                "revoked_token",
                r#"403 {"error":{"message":"Are you logged in?","status":403,"code":4001}}"#,
            ),
            (None, "forbidden", r#"403 {"error":{"message":"Not Authorized","status":403,"code":4003}}"#),
            (None, "malformed", "canonical"),
        ],
    );
    let taken = [InputFault::new("username", "is already taken")];
    assert_eq!(
        refusal("auth-service", 3002, Some("POST /register"), "conflict", &taken),
        r#"400 {"error":{"message":"Bad input","status":400,"data":{"username":["Username is already taken"]}}}"#,
    );
    let differ = [InputFault::new("password", "Passwords must match"), InputFault::new("password_again", "Passwords must match")];
    assert_eq!(
        refusal("auth-service", 3002, Some("POST /register"), "invalid", &differ),
        r#"400 {"error":{"message":"Bad input","status":400,"data":{"confirmPassword":["Passwords must match"],"password":["Passwords must match"]}}}"#,
    );
}

#[test]
fn token_demo() {
    let envelope = |status: u16, message: &str| format!(r#"{status} {{"success":false,"message":"{message}"}}"#);
    let refresh = Some("POST /api/auth/refresh");
    let logout = Some("POST /api/auth/signout");
    for (request, code, status, message) in [
        (Some("POST /api/auth/signup"), "conflict", 409, "An account with this email already exists"),
        (Some("POST /api/auth/signup"), "invalid", 400, "Invalid input"),
        (Some("POST /api/auth/signin"), "credentials", 401, "Invalid email or password"),
        (refresh, "missing_token", 401, "Missing refresh token"),
        (refresh, "bad_token", 403, "Invalid or expired refresh token"),
        (refresh, "revoked_token", 403, "Invalid or expired refresh token"),
        (logout, "missing_token", 401, "Missing refresh token"),
        (logout, "bad_token", 404, "Refresh token not found or already revoked"),
        (Some("GET /api/auth/validate_token"), "bad_ticket", 400, "Invalid or expired token"),
        (Some("POST /api/auth/reset-password"), "bad_ticket", 401, "Invalid or expired token"),
        (Some("POST /api/auth/create_token"), "forbidden", 403, "Forbidden"),
        (None, "missing_token", 401, "Unauthorized"),
        (None, "bad_token", 401, "Unauthorized"),
        (None, "expired_token", 401, "Access token expired, please refresh"),
        (None, "revoked_token", 403, "Session expired or token revoked, please log in again"),
    ] {
        assert_eq!(refusal("token-demo", 6000, request, code, &[]), envelope(status, message), "{request:?} {code}");
    }
}

#[test]
fn no_refusal_of_any_system_answers_2xx_but_a_logout() {
    for file in ["auth-using-nodejs", "mstack-auth", "flowauth", "auth-service", "token-demo"] {
        for dialect in shipped(file).iter() {
            let routes = dialect.routes.iter().map(|route| Some(&**route)).chain([None]);
            for (route, code) in routes.flat_map(|route| errors::words().map(move |code| (route, code))) {
                let Some(answer) = dialect.render_err(route, code, &ErrorValues::default()) else { continue };
                let logout = route.is_some_and(|route| route.operation == Operation::Logout);
                let nothing_to_end = logout && errors::covered(code);
                assert!(answer.status.as_u16() >= 400 || nothing_to_end, "{file} {code}: {}", answer.status);
            }
        }
    }
}
