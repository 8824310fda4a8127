//! Who may pass which route, what the upstream is told of them, and whose tokens count (P2, P3).

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use serde_json::{Value, json};

use crate::support::client::{Actor, Response};
use crate::support::gateway::{Builder, Gateway};
use crate::support::site::{Site, Store};
use crate::support::wire::Head;

async fn site(change: impl FnOnce(Builder) -> Builder) -> Site {
    Site::changed(Store::Embedded, change).await
}

/// Status and code of the answer to a request with this start and these fields.
async fn answer(site: &Site, method: &str, host: &str, path: &str, token: &str) -> Response {
    let credential = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
    let mut client = site.gateway.connect().await;
    client.send(format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n{credential}\r\n")).await;
    client.response_to(method).await.expect("a response")
}

/// The head of the one request for `path` that reached the upstream.
fn forwarded(site: &Site, path: &str) -> Head {
    let requests = site.upstream.requests(&format!(" {path} "));
    assert_eq!(requests.len(), 1, "{requests:?}");
    requests[0].head.clone()
}

#[tokio::test]
async fn a_route_asks_for_a_token_unless_it_says_otherwise() {
    let site = site(|gateway| gateway).await;
    let ada = site.registered("ada").await.access_token;
    for (path, token, status, code) in [
        ("/api", "", 401, "missing_token"),
        ("/api", "no token", 401, "bad_token"),
        ("/api", "bm8.dG9r.ZW4", 401, "bad_token"),
        ("/api", ada.as_str(), 200, ""),
        ("/optional", "", 200, ""),
        ("/optional", "bm8.dG9r.ZW4", 401, "bad_token"),
        ("/optional", ada.as_str(), 200, ""),
        ("/public", "", 200, ""),
        ("/public", "bm8.dG9r.ZW4", 200, ""),
        ("/public", ada.as_str(), 200, ""),
    ] {
        let answer = site.get(path, token).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path} {token}");
        // RFC 6750 §3.1: whoever sent no token is not told that it is invalid.
        let challenge = (status == 401).then_some(match code {
            "missing_token" => r#"Bearer realm="portcullis""#,
            _ => r#"Bearer realm="portcullis", error="invalid_token""#,
        });
        assert_eq!(answer.head.one("www-authenticate"), challenge, "{path} {token}");
    }
}

#[tokio::test]
async fn a_route_that_asks_for_roles_lets_in_who_has_all_of_them() {
    let site = site(|gateway| {
        gateway
            .table("[auth]\nself_assigned_roles = [\"editor\", \"admin\"]\ndefault_roles = [\"member\"]")
            .route("path = \"/edit\"\nrequire = { roles = [\"editor\"] }")
            .route("path = \"/admin\"\nrequire = { roles = [\"editor\", \"admin\"] }")
            .route("path = \"/members\"\naccess = \"optional\"\nrequire = { roles = [\"member\"] }")
    })
    .await;
    let gateway = site.gateway.address;
    let member = site.registered("ada").await;
    let editor = Actor::registered_with(gateway, "grace", json!({"roles": ["editor"]})).await;
    let admin = Actor::registered_with(gateway, "joan", json!({"roles": ["admin", "editor"]})).await;
    for (path, expected) in [("/edit", [403, 200, 200]), ("/admin", [403, 403, 200]), ("/members", [200, 200, 200])] {
        for (actor, status) in [&member, &editor, &admin].into_iter().zip(expected) {
            let answer = site.get(path, &actor.access_token).await;
            let code = if status == 403 { "forbidden" } else { "" };
            assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path}");
        }
        let answer = site.get(path, "").await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "missing_token"), "{path}");
    }
    let refused = json!({"username": "eve", "password": "correct horse battery staple", "roles": ["root"]});
    assert_eq!(site.gateway.anonymous().post("/auth/register", &refused).await.0, 400, "not every role is for the taking");
}

#[tokio::test]
async fn what_no_route_serves_is_denied() {
    let site = site(|gateway| {
        gateway
            .route("path = \"/\"\nhost = \"exact.example\"\naccess = \"public\"")
            .route("path = \"/\"\nhost = \"*.wild.example\"\naccess = \"public\"")
            .route("path = \"/x\"\nhost = \"exact.example\"")
    })
    .await;
    let ada = site.registered("ada").await.access_token;
    for (host, path, status) in [
        ("a", "/nowhere", 404),
        ("a", "/", 404),
        ("a", "/publicity", 404),
        ("a", "/public/deeper/still", 200),
        ("exact.example", "/anything", 200),
        ("EXACT.example.", "/anything-else", 200),
        ("not.exact.example", "/anything-of-it", 404),
        ("a.wild.example", "/some", 200),
        ("a.b.wild.example", "/more", 200),
        ("wild.example", "/some-of-it", 404),
        ("exact.example", "/x", 401),
        // The path of another host's route is none of this host's.
        ("a", "/x", 404),
    ] {
        let answer = answer(&site, "GET", host, path, "").await;
        assert_eq!(answer.status, status, "{host}{path}");
        assert!(status != 404 || answer.code() == "not_found", "{host}{path}");
        assert_eq!(site.upstream.saw(&format!("GET {path} ")), status == 200, "{host}{path}");
    }
    assert_eq!(answer(&site, "GET", "a", "/nowhere", &ada).await.status, 404, "whoever asks");
}

#[tokio::test]
async fn a_method_that_no_route_lists_is_refused_with_those_that_are_listed() {
    let site = site(|gateway| {
        gateway
            .route("path = \"/orders\"\naccess = \"public\"\nmethods = [\"GET\"]")
            .route("path = \"/orders\"\nmethods = [\"POST\", \"DELETE\"]")
    })
    .await;
    let ada = site.registered("ada").await.access_token;
    assert_eq!(answer(&site, "GET", "a", "/orders/1", "").await.status, 200);
    assert_eq!(answer(&site, "HEAD", "a", "/orders/2", "").await.status, 200, "GET includes HEAD");
    assert_eq!(answer(&site, "DELETE", "a", "/orders/3", "").await.status, 401);
    assert_eq!(answer(&site, "DELETE", "a", "/orders/4", &ada).await.status, 200);
    for (method, token) in [("PUT", ""), ("PATCH", ada.as_str()), ("OPTIONS", "")] {
        let refused = answer(&site, method, "a", "/orders/5", token).await;
        assert_eq!((refused.status, refused.code().as_str()), (405, "method_not_allowed"), "{method}");
        let allowed = refused.head.one("allow").unwrap_or_default();
        let mut allowed: Vec<_> = allowed.split(", ").collect();
        allowed.retain(|method| *method != "HEAD");
        allowed.sort_unstable();
        assert_eq!(allowed, ["DELETE", "GET", "POST"], "{method}");
    }
    assert!(!site.upstream.saw("/orders/3") && !site.upstream.saw("/orders/5"));
}

#[tokio::test]
async fn an_upstream_is_told_who_calls_and_under_which_id_the_log_knows_the_request() {
    let site = site(|gateway| {
        gateway
            .table("[auth]\nissuer = \"https://id.example\"\ndefault_roles = [\"reader\", \"member\"]")
            .table("[identity_headers]\nusername = \"X-Remote-User\"")
            .route("path = \"/with-token\"\npass_token = true")
    })
    .await;
    let ada = Actor::registered_with(site.gateway.address, "ada", json!({"email": "ada@example.org"})).await;
    for path in ["/api", "/optional", "/with-token"] {
        assert_eq!(answer(&site, "GET", "a", path, &ada.access_token).await.status, 200);
        let told = forwarded(&site, path);
        assert_eq!(told.one("x-auth-subject"), Some(ada.claim("sub").await.as_str()));
        assert_eq!(told.one("x-auth-session"), Some(ada.claim("sid").await.as_str()));
        assert_eq!(told.one("x-remote-user"), Some("ada"));
        assert_eq!(told.one("x-auth-username"), None, "its name is another one");
        assert_eq!(told.one("x-auth-email"), Some("ada@example.org"));
        assert_eq!(told.one("x-auth-roles"), Some("member,reader"));
        assert_eq!(told.one("x-auth-issuer"), Some("https://id.example"));
        let token = format!("Bearer {}", ada.access_token);
        assert_eq!(told.one("authorization"), (path == "/with-token").then_some(token.as_str()), "{path}");
        let id = told.one("x-request-id").expect("every request has an id").to_owned();
        let logged = async || site.gateway.output().lines().find(|line| line.contains(&id)).map(str::to_owned);
        let line = crate::support::eventually("the line in the access log", logged).await;
        assert_eq!(serde_json::from_str::<Value>(&line).expect("it is JSON")["path"], path);
    }
    assert_eq!(answer(&site, "GET", "a", "/public", &ada.access_token).await.status, 200);
    let told = forwarded(&site, "/public");
    assert!(told.fields().all(|(name, _)| !name.to_ascii_lowercase().starts_with("x-auth-")), "{told:?}");
    assert!(told.one("authorization").is_none() && told.one("x-request-id").is_some());
}

#[tokio::test]
async fn every_algorithm_signs_tokens_that_others_can_verify_and_only_the_secret_one_is_not_published() {
    for algorithm in ["EdDSA", "ES256", "RS256", "HS256"] {
        let site = site(|gateway| gateway.set(&format!("auth.signing.algorithm={algorithm}"))).await;
        let ada = site.registered("ada").await;
        site.lets_in(&ada).await;
        let (status, keys) = site.gateway.anonymous().get("/.well-known/jwks.json").await;
        assert_eq!(status, 200, "{keys}");
        assert!(!["\"d\"", "\"k\"", "\"p\""].iter().any(|secret| keys.to_string().contains(secret)), "{keys}");
        let published: JwkSet = serde_json::from_value(keys).expect("a key set");
        let header = decode_header(&ada.access_token).expect("a token");
        assert_eq!((format!("{:?}", header.alg), header.typ.as_deref()), (algorithm.to_owned(), Some("at+jwt")));
        if algorithm == "HS256" {
            assert!(published.keys.is_empty());
        } else {
            let key = published.find(&header.kid.expect("a key id")).expect("the key is published");
            let mut validation = Validation::new(header.alg);
            validation.set_audience(&["portcullis"]);
            validation.set_issuer(&["portcullis"]);
            let key = DecodingKey::from_jwk(key).expect("a key");
            let claims = decode::<Value>(&ada.access_token, &key, &validation).expect("it is genuine").claims;
            assert_eq!(claims["sub"], ada.claim("sub").await);
        }
        ada.log_out().await;
        site.keeps_out(&ada).await;
    }
}

#[tokio::test]
async fn a_token_counts_only_where_its_key_and_its_audience_are_known() {
    let site = site(|gateway| gateway).await;
    let ada = site.registered("ada").await;
    // The same names and another key; further down, the same key and other names.
    let elsewhere = Gateway::in_front_of(&site.upstream).start().await;
    let refused = site.get_from(&elsewhere, "/api", &ada.access_token).await;
    assert_eq!((refused.status, refused.code().as_str()), (401, "bad_token"));
    let stranger = elsewhere.registered("ada").await;
    assert_eq!(site.verdict(&stranger).await, (401, "bad_token".to_owned()));
    site.lets_in(&ada).await;
    for names in ["auth.audience=other", "auth.issuer=other"] {
        let other = site.gateway.replica_with(names).await;
        let refused = site.get_from(&other, "/api", &ada.access_token).await;
        assert_eq!((refused.status, refused.code().as_str()), (401, "bad_token"), "{names}");
    }
}
