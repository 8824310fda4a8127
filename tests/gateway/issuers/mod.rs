//! Tokens of other issuers at the real gateway: whose keys are where, what happens when they are not, and what a foreign
//! caller may not do.

mod backchannel;
mod entrances;
mod https;
mod introspection;
mod keys;
mod provider;
mod revocation;
mod streams;

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::support::eventually;
use crate::support::site::{Site, Store};
use provider::{Behaviour, Key, Provider, message, set};

/// Status and code of a request with this token.
async fn verdict(site: &Site, token: &str) -> (u16, String) {
    let answer = site.get("/api", token).await;
    (answer.status, answer.code())
}

fn refusal(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// Waits until a token passes.
async fn passes(site: &Site, token: &str) {
    eventually("the token's acceptance", async || (site.get("/api", token).await.status == 200).then_some(())).await;
}

/// A gateway that knows two issuers by keys that never change.
async fn two_issuers(store: Store, first: &Key, second: &Key) -> Site {
    let table = |name: &str, key: &Key| {
        let jwks = json!({"keys": [key.jwk()]});
        format!("[[issuers]]\nname = '{name}'\nissuer = 'https://{name}.example'\naudiences = ['api']\njwks = '{jwks}'\n")
    };
    let tables = format!(
        "{}accept_roles = ['billing', 'admin']\nrole_prefix = 'a:'\nclaims = {{ roles = 'realm_access.roles' }}\n{}",
        table("a", first),
        table("b", second)
    );
    Site::changed(store, |gateway| gateway.table(&tables).route("path = \"/bill\"\nrequire = { roles = [\"a:billing\"] }")).await
}

#[tokio::test]
async fn a_foreign_caller_is_told_to_upstreams_with_the_issuer() {
    let (a, b) = (Key::new("k"), Key::new("k"));
    let site = two_issuers(Store::Embedded, &a, &b).await;
    let roles = json!({"roles": ["admin", "billing", "other"]});
    let claims = json!({"iss": "https://a.example", "jti": "1", "preferred_username": "Ada", "realm_access": roles});
    assert_eq!(site.get("/bill", &a.token(&claims)).await.status, 200);
    let told = &site.upstream.requests("GET /bill/")[0].head;
    let told = ["x-auth-issuer", "x-auth-subject", "x-auth-username", "x-auth-roles"]
        .map(|name| told.one(name).unwrap_or_default().to_owned());
    assert_eq!(told, ["https://a.example", "ada", "Ada", "a:admin,a:billing"]);
    // The other issuer gives no roles: none are taken.
    let claims = json!({"iss": "https://b.example", "jti": "1", "roles": ["a:billing"]});
    let refused = site.get("/bill", &b.token(&claims)).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "forbidden"));
    // Ours pass as before.
    let ada = site.registered("ada").await;
    site.lets_in(&ada).await;
    site.lets_in(&ada).await;
}

#[tokio::test]
async fn a_token_is_good_only_by_its_own_issuers_key() {
    let (a, b) = (Key::new("k"), Key::new("k"));
    let site = two_issuers(Store::Embedded, &a, &b).await;
    let bad = refusal(401, "bad_token");
    let claims = |issuer: &str| json!({"iss": issuer, "jti": "1"});
    assert_eq!(verdict(&site, &a.token(&claims("https://a.example"))).await.0, 200);
    assert_eq!(verdict(&site, &b.token(&claims("https://b.example"))).await.0, 200);
    for (name, token) in [
        ("of A by B's key", b.token(&claims("https://a.example"))),
        ("of B by A's key", a.token(&claims("https://b.example"))),
        ("with a slash", a.token(&claims("https://a.example/"))),
        ("of us by A's key", a.token(&claims("portcullis"))),
        ("of nobody", a.token(&json!({"jti": "1"}))),
        ("an ID token", a.token_with(&json!({"alg": "EdDSA", "kid": "k", "typ": "JWT"}), &claims("https://a.example"))),
        ("for another audience", a.token(&json!({"iss": "https://a.example", "jti": "1", "aud": "portcullis"}))),
    ] {
        assert_eq!(verdict(&site, &token).await, bad, "{name}");
    }
    // Cases 120 and 121.
    let x = a.jwk()["x"].as_str().expect("text").to_owned();
    let decoded = URL_SAFE_NO_PAD.decode(&x).expect("base64url");
    let unsigned = message(&json!({"alg": "HS256", "kid": "k", "typ": "at+jwt"}), &claims("https://a.example"));
    for secret in [decoded.as_slice(), x.as_bytes(), a.jwk().to_string().as_bytes()] {
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), unsigned.as_bytes());
        assert_eq!(verdict(&site, &format!("{unsigned}.{}", URL_SAFE_NO_PAD.encode(mac))).await, bad);
    }
    let none = message(&json!({"alg": "none", "typ": "at+jwt"}), &claims("https://a.example"));
    assert_eq!(verdict(&site, &format!("{none}.")).await, bad);
    let expired =
        a.token(&json!({"iss": "https://a.example", "jti": "1", "iat": provider::now() - 600, "exp": provider::now() - 60}));
    assert_eq!(verdict(&site, &expired).await, refusal(401, "expired_token"));
}

#[tokio::test]
async fn a_foreign_token_is_revoked_by_its_id_and_with_its_subject() {
    let (a, b) = (Key::new("k"), Key::new("k"));
    let mut site = two_issuers(Store::Redis, &a, &b).await;
    let token = |key: &Key, issuer: &str, jti: &str| key.token(&json!({"iss": issuer, "jti": jti}));
    let (by_id, by_subject) = (token(&a, "https://a.example", "id-1"), token(&a, "https://a.example", "id-2"));
    let other = token(&b, "https://b.example", "id-3");
    for token in [&by_id, &by_subject, &other] {
        assert_eq!(verdict(&site, token).await.0, 200);
    }
    let _: String = site.redis().command(&["SET", "revoked_jti:id-1", "1", "EX", "600"]);
    assert_eq!(verdict(&site, &by_id).await.0, 200, "an id alone is nobody's: another issuer could have given it, too");
    let id = digest::digest(&digest::SHA256, b"https://a.example\0id-1");
    let id: String = id.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let _: String = site.redis().command(&["SET", &format!("revoked_jti:{id}"), "1", "EX", "600"]);
    assert_eq!(verdict(&site, &by_id).await, refusal(401, "revoked_token"));
    assert_eq!(verdict(&site, &by_subject).await.0, 200);
    let hash = digest::digest(&digest::SHA256, b"https://a.example");
    let hash: String = hash.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let before = (provider::now() + 60) * 1000;
    let _: String = site.redis().command(&["SET", &format!("revoked_before:{hash}:ada"), &before.to_string(), "EX", "600"]);
    assert_eq!(verdict(&site, &by_subject).await, refusal(401, "revoked_token"));
    assert_eq!(verdict(&site, &other).await.0, 200, "the same subject of another issuer");
}

#[tokio::test]
async fn issuers_come_change_and_go_while_the_gateway_runs() {
    let (key, other) = (Key::new("k"), Key::new("k"));
    let provider = Provider::with(set(&[&key])).await;
    let site = Site::changed(Store::Embedded, |gateway| gateway).await;
    let token = key.token(&json!({"iss": "https://corp.example", "jti": "1"}));
    let foreign = other.token(&json!({"iss": "https://b.example", "jti": "1"}));
    let bad = refusal(401, "bad_token");
    assert_eq!(verdict(&site, &token).await, bad);
    let before = site.gateway.written();
    let corp = provider.table("corp", "refresh_min = '1h'\nrefresh_max = '1h'\n");
    let reloaded = async |text: String| {
        site.gateway.write(text);
        let (status, told) = site.gateway.reload().await;
        assert_eq!(status, 200, "{told}");
    };
    reloaded(format!("{before}{corp}")).await;
    passes(&site, &token).await;
    // Another one comes, and the keys of this one are still known: they were fetched a moment ago, and are not again
    // before an hour has passed, but for the one look that a beginning is.
    provider.now_serves(Behaviour::Silent);
    let jwks = json!({"keys": [other.jwk()]});
    let b = format!("[[issuers]]\nname = 'b'\nissuer = 'https://b.example'\naudiences = ['api']\njwks = '{jwks}'\n");
    reloaded(format!("{before}{corp}{b}")).await;
    assert_eq!((verdict(&site, &token).await.0, verdict(&site, &foreign).await.0), (200, 200));
    reloaded(format!("{before}{b}")).await;
    assert_eq!((verdict(&site, &token).await, verdict(&site, &foreign).await.0), (bad.clone(), 200));
    let (_, metrics) = site.gateway.admin("/metrics").await.expect("it listens");
    assert!(!metrics.contains(r#"issuer="corp""#), "what is gone is no more shown:\n{metrics}");
    reloaded(before).await;
    assert_eq!(verdict(&site, &foreign).await, bad);
    let ada = site.registered("ada").await;
    site.lets_in(&ada).await;
}

#[tokio::test]
async fn a_foreign_caller_has_no_account_here() {
    let (a, b) = (Key::new("k"), Key::new("k"));
    let site = two_issuers(Store::Embedded, &a, &b).await;
    let ada = site.registered("ada").await;
    let sub = ada.claim("sub").await;
    let roles = json!({"roles": ["admin"]});
    let token = a.token(&json!({"iss": "https://a.example", "jti": "1", "sub": sub, "roles": ["admin"], "realm_access": roles}));
    assert_eq!(verdict(&site, &token).await.0, 200);
    let client = reqwest::Client::new();
    let address = site.gateway.address;
    for (method, path) in [
        ("GET", "/auth/me"),
        ("GET", "/auth/sessions"),
        ("GET", "/auth/users"),
        ("GET", "/auth/audit"),
        ("GET", "/auth/api-keys"),
        ("POST", "/auth/api-keys"),
        ("POST", "/auth/password"),
        ("POST", "/auth/logout-all"),
        ("DELETE", &format!("/auth/users/{sub}")),
    ] {
        let method: reqwest::Method = method.parse().expect("a method");
        let request = client.request(method.clone(), format!("http://{address}{path}")).bearer_auth(&token);
        let status = request.header("content-type", "application/json").body("{}").send().await.expect("an answer").status();
        assert!(matches!(status.as_u16(), 403..=405), "{method} {path}: {status}");
    }
    let logout = client.post(format!("http://{address}/auth/logout")).bearer_auth(&token).send().await.expect("an answer");
    assert!(logout.status().is_success(), "case 178: {}", logout.status());
    site.lets_in(&ada).await;
}

#[tokio::test]
async fn an_issuer_that_is_not_there_keeps_nobody_else_waiting() {
    let (key, nobody) = (Key::new("k"), crate::support::upstream::nobody().await);
    let good = Provider::with(set(&[&key])).await;
    let dead = format!(
        "[[issuers]]\nname = 'dead'\nissuer = 'https://dead.example'\naudiences = ['api']\njwks_url = 'http://{nobody}/keys'\n"
    );
    let tables = format!("{dead}{}", good.table("good", ""));
    let site = Site::changed(Store::Embedded, |gateway| gateway.table(&tables)).await;
    passes(&site, &key.token(&json!({"iss": "https://good.example", "jti": "1"}))).await;
    let refused = verdict(&site, &key.token(&json!({"iss": "https://dead.example", "jti": "1"}))).await;
    assert_eq!(refused, refusal(503, "unavailable"));
    let ada = site.registered("ada").await;
    site.lets_in(&ada).await;
    let (_, metrics) = site.gateway.admin("/metrics").await.expect("it listens");
    for line in [
        r#"portcullis_jwks_state{issuer="dead",state="missing"} 1"#,
        r#"portcullis_jwks_state{issuer="good",state="fresh"} 1"#,
        r#"portcullis_jwks_fetched_timestamp_seconds{issuer="dead"} 0"#,
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
    good.now_serves(Behaviour::Silent);
}
