//! What ends nothing: tokens that are no logout tokens of this issuer for this gateway, and requests that hold none.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::super::provider::written;
use super::*;

/// One claim changed; absent where it is `null` here.
fn changed(name: &str, value: Value) -> Value {
    let mut claims = claims(json!({"sid": "s1", "sub": "ada", "jti": name}));
    let members = claims.as_object_mut().expect("an object");
    if value.is_null() {
        members.remove(name)
    } else {
        members.insert(name.to_owned(), value)
    };
    claims
}

/// A claim of a good token, said differently or not at all.
fn saying(a: &Key, name: &str, value: Value) -> String {
    a.signed(&header(a), &changed(name, value))
}

/// Tokens that are not signed as this issuer's logout tokens are.
fn badly_signed(a: &Key, b: &Key) -> Vec<(&'static str, String)> {
    let good = claims(json!({"sid": "s1", "sub": "ada"}));
    let typed = |typ: &str| a.signed(&json!({"alg": "EdDSA", "kid": "k", "typ": typ}), &good);
    let x = a.jwk()["x"].as_str().expect("text").to_owned();
    let mac = |secret: &[u8]| {
        let message = written(&json!({"alg": "HS256", "kid": "k", "typ": "logout+jwt"}), &good);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    vec![
        ("none", format!("{}.", written(&json!({"alg": "none", "typ": "logout+jwt"}), &good))),
        ("HS256 by the public key", mac(&URL_SAFE_NO_PAD.decode(&x).expect("base64url"))),
        ("HS256 by the public key's text", mac(x.as_bytes())),
        ("HS256 by the key set", mac(json!({"keys": [a.jwk()]}).to_string().as_bytes())),
        ("by B's key", b.signed(&header(b), &good)),
        ("by an unknown key", a.signed(&json!({"alg": "EdDSA", "kid": "other"}), &good)),
        ("crit", a.signed(&json!({"alg": "EdDSA", "kid": "k", "crit": []}), &good)),
        ("an access token's type", typed("at+jwt")),
        ("another security event's type", typed("secevent+jwt")),
        ("damaged", logout(a, json!({"sid": "s1"})).replacen("eyJ", "eyK", 1)),
        ("no JWT", "s1".to_owned()),
        ("too long", "e".repeat(10_000)),
    ]
}

/// Tokens that say something else than a logout token of this issuer for this gateway says now.
fn badly_said(a: &Key) -> Vec<(&'static str, String)> {
    let expired = json!({"iat": now() - 20, "exp": now() - 10, "sid": "s1"});
    let mut id_token = changed("events", Value::Null);
    id_token["nonce"] = json!("n");
    vec![
        ("an ID token", a.signed(&json!({"alg": "EdDSA", "kid": "k", "typ": "JWT"}), &id_token)),
        ("nonce", saying(a, "nonce", json!("n"))),
        ("without iss", saying(a, "iss", Value::Null)),
        ("of another issuer", saying(a, "iss", json!("https://b.example"))),
        ("without aud", saying(a, "aud", Value::Null)),
        ("for the audience of access tokens", saying(a, "aud", json!("api"))),
        ("without iat", saying(a, "iat", Value::Null)),
        ("of the future", saying(a, "iat", json!(now() + 60))),
        ("eleven minutes old", saying(a, "iat", json!(now() - 660))),
        ("without exp", saying(a, "exp", Value::Null)),
        ("expired", logout(a, expired)),
        ("without jti", saying(a, "jti", Value::Null)),
        ("without events", saying(a, "events", Value::Null)),
        ("with another event", saying(a, "events", json!({"urn:other": {}}))),
        ("with an event that is no object", saying(a, "events", json!({EVENT: "yes"}))),
        ("of nobody", a.signed(&header(a), &claims(json!({})))),
        ("of a subject that is no text", saying(a, "sub", json!(["ada"]))),
        ("of a session that is no text", saying(a, "sid", json!(1))),
    ]
}

#[tokio::test]
async fn a_token_that_breaks_one_rule_is_answered_400_and_ends_nothing() {
    let (a, b) = (Key::new("k"), Key::new("k"));
    let tables = format!("[auth.throttle]\ninsecure_off = true\n{}{}", ending("a", &a, ""), ending("b", &b, ""));
    let site = Site::changed(Store::Redis, |gateway| gateway.table(&tables)).await;
    let live = access(&a, json!({"jti": "1", "sid": "s1", "iat": now() - 5}));
    let an_access_token = [("an access token", live.clone())];
    for (name, token) in badly_signed(&a, &b).into_iter().chain(badly_said(&a)).chain(an_access_token) {
        let answer = sent(&site.gateway, "a", &token).await;
        let body: Value = serde_json::from_str(&answer.text()).unwrap_or_else(|_| panic!("{name}: {}", answer.text()));
        assert_eq!((answer.status, &body["error"]), (400, &json!("invalid_request")), "{name}: {body}");
        assert!(body["error_description"].as_str().is_some_and(|text| !text.is_empty()), "{name}: {body}");
        assert_eq!(answer.head.one("cache-control"), Some("no-store"), "{name}");
        lets_in(&site, &[&live]).await;
    }
    // At another issuer's address, it is not for that one.
    let token = logout(&a, json!({"sid": "s1", "sub": "ada"}));
    assert_eq!(sent(&site.gateway, "b", &token).await.status, 400);
    lets_in(&site, &[&live]).await;
    assert_eq!(verdict(&site, &token).await, refusal(401, "bad_token"));
    acknowledged(&site.gateway, &token).await;
    keeps_out(&site, &[&live]).await;
}

#[tokio::test]
async fn what_ends_a_session_opens_none_whatever_an_issuer_writes_into_its_tokens() {
    let a = Key::new("k");
    // "JWT" into all of them, and one audience.
    let generic = "audiences = ['gate']\ntoken_types = ['JWT', '', 'logout+jwt']";
    let tables = ending("a", &a, "").replace("audiences = ['api']", generic);
    let site = Site::changed(Store::Redis, |gateway| gateway.table(&tables)).await;
    for typ in ["JWT", "logout+jwt"] {
        let header = json!({"alg": "EdDSA", "kid": "k", "typ": typ});
        let logout = claims(json!({"sub": "ada", "sid": typ, "jti": typ}));
        let mut access = logout.clone();
        access.as_object_mut().expect("an object").remove("events");
        let [logout, access] = [logout, access].map(|claims| a.signed(&header, &claims));
        lets_in(&site, &[&access]).await;
        assert_eq!(sent(&site.gateway, "a", &access).await.status, 400, "{typ}");
        assert_eq!(verdict(&site, &logout).await, refusal(401, "bad_token"), "{typ}");
        lets_in(&site, &[&access]).await;
        acknowledged(&site.gateway, &logout).await;
        keeps_out(&site, &[&access]).await;
    }
}

#[tokio::test]
async fn a_request_that_is_not_one_form_with_one_token_is_refused() {
    let (a, silent) = (Key::new("k"), Key::new("k"));
    let tables = format!("{}{}", ending("a", &a, ""), issuer("silent", &silent, ""));
    let site = Site::changed(Store::Embedded, |gateway| gateway.table(&tables)).await;
    let live = access(&a, json!({"jti": "1", "sid": "s1"}));
    let (token, other) = (logout(&a, json!({"sid": "s1"})), logout(&a, json!({"sid": "s2", "jti": "l2"})));
    let (path, gateway) = ("/auth/backchannel-logout/a", &site.gateway);
    let (good, json) = (format!("logout_token={token}"), json!({"logout_token": token}).to_string());
    let (typed, twice) = ("content-type: application/json\r\n", format!("{FORM}{FORM}"));
    let at = |path: &str| path.to_owned();
    let big = format!("x={}&{good}", "x".repeat(2 << 20));
    for (name, path, fields, body, status) in [
        ("no content type", at(path), "", good.clone(), 400),
        ("JSON", at(path), typed, json, 400),
        ("JSON's type", at(path), typed, good.clone(), 400),
        ("two content types", at(path), &twice, good.clone(), 400),
        ("multipart", at(path), "content-type: multipart/form-data; boundary=x\r\n", good.clone(), 400),
        ("nothing", at(path), FORM, String::new(), 400),
        ("an empty token", at(path), FORM, at("logout_token="), 400),
        ("another parameter", at(path), FORM, format!("token={token}"), 400),
        ("the token twice", at(path), FORM, format!("{good}&{good}"), 400),
        ("two tokens", at(path), FORM, format!("{good}&logout_token={other}"), 400),
        ("another parameter twice", at(path), FORM, format!("{good}&x=1&x=2"), 400),
        ("in the query", format!("{path}?{good}"), FORM, String::new(), 400),
        ("too large", at(path), FORM, big, 413),
        ("an issuer that may not", at("/auth/backchannel-logout/silent"), FORM, good.clone(), 404),
        ("an issuer that is none", at("/auth/backchannel-logout/nobody"), FORM, good.clone(), 404),
        ("by the issuer's URL", at("/auth/backchannel-logout/https%3A%2F%2Fa.example"), FORM, good.clone(), 404),
        ("no issuer", at("/auth/backchannel-logout"), FORM, good.clone(), 404),
        ("below", format!("{path}/x"), FORM, good.clone(), 404),
    ] {
        let answer = post(gateway, &path, fields, &body).await;
        // What is a second reading of a path may be refused as such.
        let expected = if name.starts_with("by") { matches!(answer.status, 400 | 404) } else { answer.status == status };
        assert!(expected, "{name}: {} {}", answer.status, answer.text());
        lets_in(&site, &[&live]).await;
    }
    for method in ["GET", "PUT", "DELETE"] {
        let request = format!("{method} {path}?{good} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(gateway.connect().await.ask(request).await.status, 405, "{method}");
    }
    lets_in(&site, &[&live]).await;
    // §2.5: what is not understood beside it is ignored, and so is a charset.
    let answer = post(gateway, path, &FORM.replace("\r\n", "; charset=UTF-8\r\n"), &format!("state=x&{good}")).await;
    assert_eq!(answer.status, 200);
    keeps_out(&site, &[&live]).await;
}

#[tokio::test]
async fn failures_are_counted_where_they_come_from_and_keep_no_issuer_from_being_heard() {
    let a = Key::new("k");
    let site = Site::changed(Store::Redis, |gateway| gateway.table(&ending("a", &a, ""))).await;
    let live = access(&a, json!({"jti": "1", "sid": "s1"}));
    lets_in(&site, &[&live]).await;
    let forged = logout(&Key::new("k"), json!({"sid": "s1"}));
    for _ in 0..30 {
        assert_eq!(sent(&site.gateway, "a", &forged).await.status, 400);
    }
    let refused = sent(&site.gateway, "a", &forged).await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert!(refused.head.one("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok_and(|seconds| seconds > 0)));
    assert_eq!((ended(&site, "refused").await, ended(&site, "throttled").await), (30.0, 1.0));
    // The same network, and a token that is one.
    for number in 0..40 {
        acknowledged(&site.gateway, &logout(&a, json!({"sid": "s1", "jti": number.to_string()}))).await;
    }
    keeps_out(&site, &[&live]).await;
}
