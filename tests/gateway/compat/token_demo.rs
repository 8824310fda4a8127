//! Token-Based Authentication Demo: everything under `/api/auth`, the refresh token in a cookie. Its browser client goes by
//! the status: 401 means “refresh”, 403 means “log out”.

use serde_json::{Value, json};

use super::{Got, Stage, claims, logged};
use crate::support::eventually;

const NAME: &str = "token-demo";
const PASSWORD: &str = "Passw0rd!";
const CREATED: &str = r#"{"success":true,"message":"User created successfully"}"#;
const SIGNED_IN: &str = r#"{"success":true,"message":"User signin successfully","accessToken":"*"}"#;
const SIGNED_OUT: &str = r#"{"success":true,"message":"User signed out successfully"}"#;
const RENEWED: &str = r#"{"success":true,"accessToken":"*"}"#;
const NO_REFRESH: &str = r#"{"success":false,"message":"Missing refresh token"}"#;
const BAD_REFRESH: &str = r#"{"success":false,"message":"Invalid or expired refresh token"}"#;
const UNAUTHORIZED: &str = r#"{"success":false,"message":"Unauthorized"}"#;
const EXPIRED: &str = r#"{"success":false,"message":"Access token expired, please refresh"}"#;
const OVER: &str = r#"{"success":false,"message":"Session expired or token revoked, please log in again"}"#;
const UNKNOWN: &str = r#"{"success":false,"message":"Refresh token not found or already revoked"}"#;
const INVALID: &str = r#"{"success":false,"message":"Invalid input"}"#;
const CLEARED: [&str; 2] = [
    "refreshToken=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/; HttpOnly; Secure; SameSite=Strict",
    "one_time_token=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/; HttpOnly; Secure; SameSite=Strict",
];
/// Access tokens that are soon over.
const SHORT: [&str; 2] = ["dialects.token-demo.ttl.access=1s", "auth.clock_skew=0s"];

/// What a browser holds after signing in.
struct Browser {
    access: String,
    refresh: String,
}

impl Browser {
    fn of(got: &Got) -> Self {
        let cookie = got.field("set-cookie").expect("a cookie");
        let (value, attributes) = cookie.strip_prefix("refreshToken=").and_then(|rest| rest.split_once(';')).expect(cookie);
        assert_eq!(attributes, " Max-Age=604800; Path=/; HttpOnly; Secure; SameSite=Strict");
        Self { access: got.text("accessToken"), refresh: value.to_owned() }
    }

    fn cookie(&self) -> String {
        format!("refreshToken={}", self.refresh)
    }
}

fn account(email: &str) -> Value {
    json!({"email": email, "password": PASSWORD, "fName": "Ada", "lName": "Lovelace"})
}

impl Stage {
    async fn signs_up(&self, email: &str) -> Got {
        self.client.json("POST /api/auth/signup", &account(email)).await
    }

    async fn signs_in_by_email(&self, email: &str, password: &str) -> Got {
        self.client.json("POST /api/auth/signin", &json!({"email": email, "password": password})).await
    }

    /// Somebody with an account who signed in.
    async fn browser(&self) -> Browser {
        self.signs_up("ada@example.com").await.is_json(201, CREATED);
        self.another_browser().await
    }

    async fn another_browser(&self) -> Browser {
        let got = self.signs_in_by_email("ada@example.com", PASSWORD).await;
        Browser::of(got.has_shape(200, SIGNED_IN))
    }

    async fn with_cookie(&self, request: &str, cookie: &str) -> Got {
        self.client.send(request, &[("cookie", cookie)], "").await
    }

    async fn visits(&self, token: &str, cookie: &str) -> Got {
        let fields = [("authorization", format!("Bearer {token}")), ("cookie", cookie.to_owned())];
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.client.send("GET /protected", &fields, "").await
    }
}

#[tokio::test]
async fn the_documented_flow_passes() {
    let stage = Stage::of(NAME).await;
    let created = stage.signs_up("ada@example.com").await;
    created.is_json(201, CREATED);
    assert_eq!(created.field("set-cookie"), None);

    let browser = stage.another_browser().await;
    assert_eq!(stage.visits(&browser.access, &browser.cookie()).await.status, 200);
    let renewed = stage.with_cookie("POST /api/auth/refresh", &browser.cookie()).await;
    renewed.has_shape(200, RENEWED);
    assert_eq!(renewed.field("set-cookie"), None, "the cookie is untouched");
    assert_eq!(stage.visits(&renewed.text("accessToken"), &browser.cookie()).await.status, 200);

    let out = stage.with_cookie("POST /api/auth/logout", &browser.cookie()).await;
    out.is_json(200, SIGNED_OUT);
    assert_eq!(out.response.head.all("set-cookie"), CLEARED);
    stage.visits(&browser.access, "").await.is_json(403, OVER);
    stage.with_cookie("POST /api/auth/refresh", &browser.cookie()).await.is_json(403, BAD_REFRESH);
}

#[tokio::test]
async fn both_names_of_the_logout_are_answered() {
    let stage = Stage::of(NAME).await;
    let browser = stage.browser().await;
    stage.with_cookie("POST /api/auth/signout", &browser.cookie()).await.is_json(200, SIGNED_OUT);
    let browser = stage.another_browser().await;
    stage.with_cookie("POST /api/auth/logout", &browser.cookie()).await.is_json(200, SIGNED_OUT);
}

#[tokio::test]
async fn a_logout_without_a_session_says_so_and_clears_the_cookies() {
    let stage = Stage::of(NAME).await;
    let browser = stage.browser().await;
    stage.client.plain("POST /api/auth/logout").await.is_json(401, NO_REFRESH);
    stage.with_cookie("POST /api/auth/logout", &browser.cookie()).await.is_json(200, SIGNED_OUT);
    for cookie in [browser.cookie(), "refreshToken=garbage".to_owned(), format!("refreshToken={}", browser.access)] {
        let got = stage.with_cookie("POST /api/auth/logout", &cookie).await;
        if cookie.contains('.') {
            // An access token in the cookie is a token of the session all the same: it had ended already.
            assert_eq!(got.status, 404);
            continue;
        }
        got.is_json(404, UNKNOWN);
        // The client was told by a 403 to come here and get rid of them.
        assert_eq!(got.response.head.all("set-cookie"), CLEARED);
    }
}

#[tokio::test]
async fn a_signup_is_checked() {
    let stage = Stage::of(NAME).await;
    stage.browser().await;
    let message = r#"{"success":false,"message":"An account with this email already exists"}"#;
    stage.signs_up("ADA@example.com").await.is_json(409, message);
    for member in ["email", "password", "fName", "lName"] {
        let mut body = account("bob@example.com");
        body.as_object_mut().expect("members").remove(member);
        stage.client.json("POST /api/auth/signup", &body).await.is_json(400, INVALID);
    }
    for (password, allowed) in
        [("Passw0r", false), ("password", false), ("passw0rd", false), ("PASSWORD1", false), ("passw0r!", true)]
    {
        let mut body = account("bob@example.com");
        body["password"] = password.into();
        let got = stage.client.json("POST /api/auth/signup", &body).await;
        if allowed {
            got.is_json(201, CREATED)
        } else {
            got.is_json(400, INVALID)
        };
    }
}

#[tokio::test]
async fn an_unknown_user_and_a_wrong_password_are_answered_alike() {
    let stage = Stage::of(NAME).await;
    stage.browser().await;
    for (email, password) in [("ada@example.com", "Wrong-1234"), ("nobody@example.com", PASSWORD)] {
        let got = stage.signs_in_by_email(email, password).await;
        got.is_json(401, r#"{"success":false,"message":"Invalid email or password"}"#);
        assert_eq!(got.field("set-cookie"), None);
    }
    stage.client.json("POST /api/auth/signin", &json!({})).await.is_json(400, INVALID);
    logged(&stage.gateway, 401, "credentials").await;
}

#[tokio::test]
async fn a_refresh_needs_the_cookie() {
    let stage = Stage::of(NAME).await;
    let browser = stage.browser().await;
    stage.client.plain("POST /api/auth/refresh").await.is_json(401, NO_REFRESH);
    stage.with_cookie("POST /api/auth/refresh", "refreshToken=").await.is_json(401, NO_REFRESH);
    for value in ["garbage", &browser.access] {
        let got = stage.with_cookie("POST /api/auth/refresh", &format!("refreshToken={value}")).await;
        got.is_json(403, BAD_REFRESH);
    }
    let twice = format!("{}; refreshToken=theirs", browser.cookie());
    stage.with_cookie("POST /api/auth/refresh", &twice).await.is_problem(400, "malformed");
    // The bearer token is no cookie.
    stage.client.bearer("POST /api/auth/refresh", &browser.refresh).await.is_json(401, NO_REFRESH);
}

#[tokio::test]
async fn two_cookies_of_one_name_are_refused_in_either_order_and_on_two_lines() {
    let stage = Stage::of(NAME).await;
    let (mine, theirs) = (stage.browser().await.cookie(), stage.another_browser().await.cookie());
    // Case 194: a sibling host can set the second one.
    for (first, second) in [(&mine, &theirs), (&theirs, &mine), (&mine, &mine)] {
        for path in ["POST /api/auth/refresh", "POST /api/auth/logout"] {
            stage.with_cookie(path, &format!("{first}; {second}")).await.is_problem(400, "malformed");
            let lines = [("cookie", first.as_str()), ("cookie", second.as_str())];
            stage.client.send(path, &lines, "").await.is_problem(400, "malformed");
        }
    }
    stage.with_cookie("POST /api/auth/refresh", &mine).await.has_shape(200, RENEWED);
}

#[tokio::test]
async fn a_cookie_that_somebody_set_before_the_login_is_replaced() {
    let stage = Stage::of(NAME).await;
    let theirs = stage.browser().await;
    let body = json!({"email": "ada@example.com", "password": PASSWORD}).to_string();
    let got = stage.client.send("POST /api/auth/signin", &[("cookie", &theirs.cookie())], &body).await;
    let mine = Browser::of(got.has_shape(200, SIGNED_IN));
    // Case 180: another session, which the one who chose the cookie knows nothing of.
    assert_ne!(mine.refresh, theirs.refresh);
    assert_ne!(claims(&mine.access)["sid"], claims(&theirs.access)["sid"]);
}

#[tokio::test]
async fn a_page_of_another_site_cannot_use_the_cookie() {
    let stage = Stage::changed(NAME, &["dialects.token-demo.cors.origins=[\"https://app.example\"]"]).await;
    let host = format!("http://{}", stage.gateway.address);
    let browser = stage.browser().await;
    let asks = async |path: &str, fields: &[(&str, &str)]| {
        let cookie = browser.cookie();
        let fields: Vec<_> = fields.iter().copied().chain([("cookie", cookie.as_str())]).collect();
        stage.client.send(path, &fields, "").await
    };
    // Case 196.
    for fields in [
        &[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")][..],
        &[("sec-fetch-site", "same-site"), ("origin", "https://evil.example")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "")],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", "https://app.example.evil.example")],
        &[("origin", "https://app.example"), ("origin", "https://evil.example")],
    ] {
        asks("POST /api/auth/refresh", fields).await.is_json(403, BAD_REFRESH);
        let out = asks("POST /api/auth/logout", fields).await;
        out.is_json(404, UNKNOWN);
        assert_eq!(out.field("set-cookie"), None, "{fields:?}");
    }
    logged(&stage.gateway, 404, "forbidden").await;
    for fields in [
        &[][..],
        &[("sec-fetch-site", "same-origin"), ("origin", "https://behind.a.proxy.example")],
        &[("sec-fetch-site", "none")],
        &[("sec-fetch-site", "cross-site"), ("origin", "https://app.example")],
        &[("origin", "https://app.example")],
        &[("origin", host.as_str())],
    ] {
        asks("POST /api/auth/refresh", fields).await.has_shape(200, RENEWED);
    }
}

#[tokio::test]
async fn an_access_token_carries_the_profile_and_lives_five_minutes() {
    let stage = Stage::of(NAME).await;
    let said = claims(&stage.browser().await.access);
    let profile = (&said["email"], &said["firstName"], &said["lastName"]);
    assert_eq!(profile, (&json!("ada@example.com"), &json!("Ada"), &json!("Lovelace")));
    assert_eq!(said["exp"].as_i64().zip(said["iat"].as_i64()).map(|(exp, iat)| exp - iat), Some(300));
}

#[tokio::test]
async fn a_valid_access_token_needs_no_cookie() {
    let stage = Stage::of(NAME).await;
    let browser = stage.browser().await;
    assert_eq!(stage.client.bearer("GET /protected", &browser.access).await.status, 200);
    stage.client.plain("GET /protected").await.is_json(401, UNAUTHORIZED);
    stage.with_cookie("GET /protected", &browser.cookie()).await.is_json(401, UNAUTHORIZED);
}

#[tokio::test]
async fn an_expired_access_token_passes_with_the_live_cookie_of_its_session_only() {
    let stage = Stage::changed(NAME, &SHORT).await;
    let (mine, other) = (stage.browser().await, stage.another_browser().await);
    stage.client.outlives("GET /protected", &mine.access).await.is_json(401, EXPIRED);

    let revived = stage.visits(&mine.access, &mine.cookie()).await;
    assert_eq!((revived.status, revived.body.as_str()), (200, "/protected"));
    let forwarded = stage.upstream.requests("GET /protected");
    let forwarded = &forwarded.last().expect("a request").head;
    assert_eq!(forwarded.one("x-auth-email"), Some("ada@example.com"));
    assert_eq!((forwarded.one("cookie"), forwarded.one("authorization")), (None, None));

    let twice = format!("{}; {}", mine.cookie(), mine.cookie());
    for cookie in [other.cookie(), "refreshToken=garbage".to_owned(), format!("refreshToken={}", mine.access), twice] {
        stage.visits(&mine.access, &cookie).await.is_json(401, EXPIRED);
    }
    logged(&stage.gateway, 401, "expired_token").await;
}

#[tokio::test]
async fn the_cookie_of_an_ended_session_revives_nothing() {
    let stage = Stage::changed(NAME, &SHORT).await;
    let browser = stage.browser().await;
    stage.client.outlives("GET /protected", &browser.access).await.is_json(401, EXPIRED);
    stage.with_cookie("POST /api/auth/logout", &browser.cookie()).await.is_json(200, SIGNED_OUT);
    let before = stage.upstream.requests("GET /protected").len();
    stage.visits(&browser.access, &browser.cookie()).await.is_json(403, OVER);
    assert_eq!(stage.upstream.requests("GET /protected").len(), before);
    logged(&stage.gateway, 403, "revoked_token").await;
}

#[tokio::test]
async fn a_cookie_revives_no_bad_and_no_revoked_token() {
    let stage = Stage::of(NAME).await;
    let browser = stage.browser().await;
    let mut forged = browser.access.clone();
    let last = forged.pop().expect("text");
    forged.push(if last == 'A' { 'B' } else { 'A' });
    for token in ["garbage", &forged, &browser.refresh] {
        stage.visits(token, &browser.cookie()).await.is_json(401, UNAUTHORIZED);
    }
    stage.with_cookie("POST /api/auth/logout", &browser.cookie()).await.is_json(200, SIGNED_OUT);
    stage.visits(&browser.access, &browser.cookie()).await.is_json(403, OVER);
    stage.forwarded_nothing("/protected");
}

#[tokio::test]
async fn a_cookie_revives_for_what_the_user_may_do_now() {
    let upstream = crate::support::upstream::Upstream::echo().await;
    let stage = Stage::with(NAME, upstream, |gateway| {
        let gateway = SHORT.iter().fold(gateway, |gateway, set| gateway.set(set));
        gateway.table("[[routes]]\npath = \"/office\"\nupstream = \"app\"\nrequire = { roles = [\"staff\"] }")
    });
    let stage = stage.await;
    let browser = stage.browser().await;
    stage.client.outlives("GET /protected", &browser.access).await;
    let fields = [("authorization", format!("Bearer {}", browser.access)), ("cookie", browser.cookie())];
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let got = stage.client.send("GET /office", &fields, "").await;
    got.is_json(403, r#"{"success":false,"message":"Forbidden"}"#);
    stage.forwarded_nothing("/office");
}

#[tokio::test]
async fn the_cookie_never_reaches_the_service() {
    let stage = Stage::of(NAME).await;
    let browser = stage.browser().await;
    let cookies = format!("theme=dark; {}; one_time_token=x", browser.cookie());
    assert_eq!(stage.visits(&browser.access, &cookies).await.status, 200);
    assert_eq!(stage.upstream.requests("GET /protected")[0].head.one("cookie"), Some("theme=dark"));
}

#[tokio::test]
async fn nobody_gives_themselves_a_role_by_asking() {
    let stage = Stage::of(NAME).await;
    let got = stage.client.json("POST /api/auth/signup?role=admin", &account("eve@example.com")).await;
    got.is_json(400, INVALID);
    let got = stage.signs_in_by_email("eve@example.com", PASSWORD).await;
    assert_eq!(got.status, 401);
}

#[tokio::test]
async fn the_session_records_where_it_came_from() {
    let stage = Stage::of(NAME).await;
    stage.signs_up("ada@example.com").await;
    let body = json!({"email": "ada@example.com", "password": PASSWORD}).to_string();
    let got = stage.client.send("POST /api/auth/signin", &[("user-agent", "curl/8")], &body).await;
    let sessions = stage.client.bearer("GET /auth/sessions", &Browser::of(&got).access).await.value();
    let session = &sessions["sessions"][0];
    assert_eq!((&session["address"], &session["user_agent"]), (&json!("127.0.0.1"), &json!("curl/8")));
}

#[tokio::test]
async fn defect_a_refresh_token_is_accepted_as_an_access_token() {
    let stage = Stage::of(NAME).await;
    let browser = stage.browser().await;
    stage.visits(&browser.refresh, &browser.cookie()).await.is_json(401, UNAUTHORIZED);
    stage.forwarded_nothing("/protected");
}

#[tokio::test]
async fn defect_a_refresh_never_looks_at_the_session() {
    let stage = Stage::of(NAME).await;
    let browser = stage.browser().await;
    let access = format!("Bearer {}", browser.access);
    let out = stage.client.send("POST /auth/logout-all", &[("authorization", &access)], "").await;
    assert_eq!(out.status, 204);
    stage.with_cookie("POST /api/auth/refresh", &browser.cookie()).await.is_json(403, BAD_REFRESH);
}

#[tokio::test]
async fn defect_a_refresh_outlives_its_session() {
    let ttl = "dialects.token-demo.ttl={access=\"1s\", refresh=\"1s\"}";
    let stage = Stage::changed(NAME, &[ttl, "auth.clock_skew=0s"]).await;
    let browser = stage.browser().await;
    // Only looked at through what does not prolong it.
    let over = eventually("the session's end", async || {
        let got = stage.visits(&browser.access, &browser.cookie()).await;
        (got.status == 403).then_some(got)
    });
    over.await.is_json(403, OVER);
    stage.with_cookie("POST /api/auth/refresh", &browser.cookie()).await.is_json(403, BAD_REFRESH);
}

#[tokio::test]
async fn defect_refresh_tokens_are_stored_in_clear() {
    let stage = Stage::of(NAME).await;
    let browser = stage.browser().await;
    stage.stores_nothing_of(&[&browser.refresh, PASSWORD]);
}

#[tokio::test]
async fn defect_every_origin_may_call_and_so_no_cookie_is_sent() {
    let origins = "dialects.token-demo.cors={origins=[\"https://your-app.com\"]}";
    let stage = Stage::changed(NAME, &[origins]).await;
    let browser = stage.browser().await;
    for (origin, allowed) in [("https://your-app.com", true), ("https://evil.example", false)] {
        let fields = [("origin", origin), ("cookie", &browser.cookie())];
        let got = stage.client.send("POST /api/auth/refresh", &fields, "").await;
        assert_eq!(got.field("access-control-allow-origin"), allowed.then_some(origin));
        assert_eq!(got.field("access-control-allow-credentials"), allowed.then_some("true"));
    }
}
