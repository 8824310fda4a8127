//! Every route of the five systems: what its example request tells the operation, and how success reads.

use super::*;

/// One request and its success.
struct Row {
    file: &'static str,
    port: u16,
    request: &'static str,
    fields: &'static [(&'static str, &'static str)],
    body: Value,
    /// What the operation is told.
    told: Value,
    /// The answer, byte for byte.
    answer: &'static str,
}

const BEARER: &[(&str, &str)] = &[("authorization", "Bearer a.b.c")];

/// Every value that any operation yields: each answer takes what it names.
fn answer(dialect: &Dialect, request: &str) -> String {
    let user = |id: &str, name: &str| UserValues {
        id: id.to_owned(),
        username: Some(name.to_owned()),
        email: Some(format!("{name}@example.com")),
        ..UserValues::default()
    };
    let users = [user("7", "ada"), user("8", "bob")];
    let claims = json!({"username": "ada", "type": "access", "iat": 1, "exp": 301});
    let metadata = json!({"roleId": 3});
    let values = Values {
        access_token: Some("ACCESS"),
        expires_in: Some(300),
        refresh_token: Some("REFRESH"),
        refresh_expires_in: Some(600),
        user: Some(&users[0]),
        users: &users,
        claims: Some(&claims),
        kind: Some("invitation"),
        metadata: Some(&metadata),
    };
    written(&route(dialect, request).expect("a route").render_ok(&values))
}

fn check(rows: impl IntoIterator<Item = Row>) {
    for row in rows {
        let dialects = shipped(row.file);
        let dialect = on_port(&dialects, row.port);
        let label = format!("{} {}", row.file, row.request);
        assert_eq!(told(dialect, row.request, row.fields, &row.body), Ok(row.told), "{label}");
        assert_eq!(answer(dialect, row.request), row.answer, "{label}");
    }
}

#[test]
fn auth_using_nodejs() {
    let row =
        |port, request, body, told, answer| Row { file: "auth-using-nodejs", port, request, fields: &[], body, told, answer };
    let login = || json!({"username": "ada", "password": "pw"});
    let credentials = || json!({"name": "ada", "is": "username", "password": "pw"});
    check([
        row(4000, "POST /login", login(), credentials(), r#"200 {"access_token":"ACCESS","refresh_token":"REFRESH"}"#),
        row(4000, "POST /token", json!({"refresh_token": "r"}), json!("r"), r#"200 {"access_token":"ACCESS"}"#),
        row(4000, "DELETE /logout", json!({"refresh_token": "r"}), json!("r"), "204"),
        row(3000, "POST /login", login(), credentials(), r#"200 "Login Successful""#),
        row(3000, "GET /users", json!(null), json!(null), r#"200 [{"name":"ada"},{"name":"bob"}]"#),
    ]);
}

#[test]
fn mstack_auth() {
    let row = |request, fields, body, told, answer| Row { file: "mstack-auth", port: 5000, request, fields, body, told, answer };
    let login = || json!({"username": "ada", "password": "pw"});
    let new_user = json!({
        "username": "ada", "email": null, "password": "pw", "given_name": null, "family_name": null, "roles": [], "ticket": null,
    });
    let signed_up = r#"200 {"success":true,"message":"User registered successfully"}"#;
    let tokens = r#"200 {"token":"ACCESS","refreshToken":"REFRESH"}"#;
    let credentials = json!({"name": "ada", "is": "username", "password": "pw"});
    let verified = r#"200 {"valid":true,"user":{"exp":301,"iat":1,"type":"access","username":"ada"}}"#;
    let lower_case = &[("authorization", "bearer a.b.c")];
    check([
        row("POST /auth/signup", &[], login(), new_user, signed_up),
        row("POST /auth/login", &[], login(), credentials, tokens),
        row("GET /auth/verify", BEARER, json!(null), json!("a.b.c"), verified),
        row("GET /auth/verify", lower_case, json!(null), json!("a.b.c"), verified),
        row("POST /auth/refresh", &[], json!({"refreshToken": "r"}), json!("r"), r#"200 {"token":"ACCESS"}"#),
        row("POST /auth/logout", &[], json!({"refreshToken": "r"}), json!("r"), r#"200 {"success":true,"message":"Logged out"}"#),
    ]);
}

#[test]
fn flowauth() {
    let row = |request, fields, body, told, answer| Row { file: "flowauth", port: 3001, request, fields, body, told, answer };
    let register = json!({"username": "ada", "email": "ada@example.com", "password": "pw"});
    let new_user = json!({
        "username": "ada", "email": "ada@example.com", "password": "pw", "given_name": null, "family_name": null, "roles": [],
        "ticket": null,
    });
    let login = json!({"email": "ada@example.com", "password": "pw"});
    let credentials = json!({"name": "ada@example.com", "is": "email", "password": "pw"});
    let user =
        r#"{"user":{"id":"7","username":"ada","email":"ada@example.com"},"accessToken":"ACCESS","refreshToken":"REFRESH"}"#;
    let (created, signed_in): (&str, &str) = (format!("201 {user}").leak(), format!("200 {user}").leak());
    check([
        row("POST /auth/register", &[], register, new_user, created),
        row("POST /auth/login", &[], login, credentials, signed_in),
        row(
            "POST /auth/refresh",
            &[],
            json!({"refreshToken": "r"}),
            json!("r"),
            r#"201 {"accessToken":"ACCESS","refreshToken":"REFRESH"}"#,
        ),
        row("POST /auth/logout", BEARER, json!(null), json!("a.b.c"), "200 text Logout successful"),
    ]);
}

#[test]
fn auth_service() {
    let row = |request, fields, body, told, answer| Row { file: "auth-service", port: 3002, request, fields, body, told, answer };
    let register = json!({
        "username": "ada", "email": "ada@example.com", "password": "pw", "confirmPassword": "pw", "roles": ["role1"],
    });
    let new_user = json!({
        "username": "ada", "email": "ada@example.com", "password": "pw", "given_name": null, "family_name": null,
        "roles": ["role1"], "ticket": null,
    });
    let credentials = json!({"name": "ada", "is": "username", "password": "pw"});
    let pair = r#"{"refreshToken":"REFRESH","accessToken":"ACCESS"}"#;
    let (created, signed_in): (&str, &str) = (format!("201 {pair}").leak(), format!("200 {pair}").leak());
    let renewed = r#"200 {"accessToken":"ACCESS"}"#;
    let both = &[("authorization", "Bearer a.b.c"), ("cookie", "jqt=r")];
    check([
        row("POST /register", &[], register, new_user, created),
        row("POST /login", &[], json!({"username": "ada", "password": "pw"}), credentials, signed_in),
        row("POST /logout", BEARER, json!(null), json!("a.b.c"), "204"),
        row("DELETE /logout", BEARER, json!(null), json!("a.b.c"), "204"),
        row("GET /token/authorize", BEARER, json!(null), json!("a.b.c"), "200 text OK"),
        row("POST /token/authorize", BEARER, json!(null), json!("a.b.c"), "200 text OK"),
        row("POST /token/renew", BEARER, json!(null), json!("a.b.c"), renewed),
        row("POST /token/renew", &[("cookie", "x=1; jqt=r")], json!(null), json!("r"), renewed),
        row("POST /token/renew", both, json!(null), json!("a.b.c"), renewed),
        row("GET /ping", &[], json!(null), json!(null), "200 text Ok"),
    ]);
}

#[test]
fn token_demo() {
    let row = |request, fields, body, told, answer| Row { file: "token-demo", port: 6000, request, fields, body, told, answer };
    let signup = || json!({"email": "a@b.c", "password": "Passw0rd", "fName": "Ada", "lName": "King"});
    let new_user = |roles: Value, ticket: Value| {
        json!({
            "username": null, "email": "a@b.c", "password": "Passw0rd", "given_name": "Ada", "family_name": "King",
            "roles": roles, "ticket": ticket,
        })
    };
    let login = json!({"email": "a@b.c", "password": "pw"});
    let credentials = json!({"name": "a@b.c", "is": "email", "password": "pw"});
    let create = json!({"tokenType": "invitation", "userId": "7", "metadata": {"email": "x@y.z"}});
    let created = json!({
        "kind": "invitation", "user_id": "7", "email": null, "metadata": {"email": "x@y.z"}, "access_token": "a.b.c",
    });
    let signed_up = r#"201 {"success":true,"message":"User created successfully"}"#;
    let signed_out = r#"200 {"success":true,"message":"User signed out successfully"}"#;
    let redeemed = r#"200 {"tokenType":"invitation","metadata":{"roleId":3}}"#;
    let cookie = &[("cookie", "refreshToken=r")];
    let ticket = &[("cookie", "refreshToken=r; one_time_token=t")];
    check([
        row("POST /api/auth/signup", &[], signup(), new_user(json!([]), json!(null)), signed_up),
        row("POST /api/auth/signup?role=guest", ticket, signup(), new_user(json!(["guest"]), json!("t")), signed_up),
        row(
            "POST /api/auth/signin",
            &[],
            login,
            credentials,
            r#"200 {"success":true,"message":"User signin successfully","accessToken":"ACCESS"}"#,
        ),
        row("POST /api/auth/refresh", cookie, json!(null), json!("r"), r#"200 {"success":true,"accessToken":"ACCESS"}"#),
        row("POST /api/auth/logout", cookie, json!(null), json!("r"), signed_out),
        row("POST /api/auth/signout", cookie, json!(null), json!("r"), signed_out),
        row(
            "POST /api/auth/create_token",
            BEARER,
            create,
            created,
            r#"201 {"success":true,"message":"One-time token created."}"#,
        ),
        row("GET /api/auth/validate_token?token=xxx", &[], json!(null), json!("xxx"), redeemed),
        row("POST /api/auth/validate_token", &[], json!({"token": "xxx"}), json!("xxx"), redeemed),
        row(
            "POST /api/auth/reset-password",
            ticket,
            json!({"password": "new"}),
            json!(["t", "new"]),
            r#"200 {"success":true,"message":"Password changed"}"#,
        ),
        row(
            "POST /api/auth/email-verified",
            ticket,
            json!(null),
            json!("t"),
            r#"200 {"success":true,"message":"Email verified"}"#,
        ),
    ]);
}

#[test]
fn every_route_of_the_five_is_in_these_tables() {
    let table = include_str!("requests.rs");
    let mut routes = 0;
    for name in ["auth-using-nodejs", "mstack-auth", "flowauth", "auth-service", "token-demo"] {
        for on in shipped(name).iter().flat_map(|dialect| &dialect.routes).flat_map(|route| &route.on) {
            routes += 1;
            assert!(table.contains(&format!("\"{on}")), "{name}: {on}");
        }
    }
    assert_eq!(routes, 32);
}
