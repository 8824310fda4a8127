//! The OAuth endpoints: clients, their tokens, revocation and introspection.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use portcullis::auth::Origin;
use portcullis::auth::audit::{Actor, Record, RecordFilter};
use portcullis::auth::clients::{ClientError, NewClient};
use serde_json::{Value, json};

use crate::api::{Answer, request, send};
use crate::support::{ACCESS_TOKEN, Gate, SKEW, access, gate, gate_with, refresh, role, scope, settings};
use axum::http::Method;
use portcullis::store::memory::MemorySet;
use secrecy::ExposeSecret as _;

const TOKEN: &str = "/auth/oauth/token";
const REVOKE: &str = "/auth/oauth/revoke";
const INTROSPECT: &str = "/auth/oauth/introspect";
const ASSERTION: &str = "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";

/// A client's own key.
struct ClientKey {
    jwk: String,
    signing: EncodingKey,
}

impl ClientKey {
    fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let jwk = json!({"kty": "EC", "crv": "P-256", "kid": "c1", "use": "sig", "x": x, "y": y}).to_string();
        Self { jwk, signing: EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref()) }
    }

    fn assertion(&self, exp_in: i64, jti: &str, aud: &str, now: Timestamp) -> String {
        let claims = json!({"iss": "signer", "sub": "signer", "aud": aud, "jti": jti, "exp": now.as_second() + exp_in});
        encode(&Header { kid: Some("c1".to_owned()), ..Header::new(Algorithm::ES256) }, &claims, &self.signing).unwrap()
    }
}

fn new_client(id: &str) -> NewClient {
    let scopes = BTreeSet::from([scope("invoices:read"), scope("invoices:write")]);
    NewClient { id: id.to_owned(), name: None, scopes, roles: BTreeSet::from([role("biller")]), public_keys: None }
}

/// A client with a secret.
async fn client(gate: &Gate, id: &str) -> String {
    let (_, secret) = gate.auth.add_client(new_client(id), &Actor::operator()).await.unwrap();
    secret.unwrap().text().expose_secret().to_owned()
}

/// Posts a form as it is written.
async fn post(router: &Router, path: &str, authorization: Option<&str>, form: &str) -> Answer {
    let mut request = Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    send(router, request.body(Body::from(form.to_owned())).unwrap()).await
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// A token of the client's own.
async fn granted(router: &Router, id: &str, secret: &str) -> String {
    let answer = post(router, TOKEN, Some(&basic(id, secret)), "grant_type=client_credentials").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["access_token"].as_str().unwrap().to_owned()
}

async fn verify(router: &Router, token: &str) -> Answer {
    send(router, request(Method::GET, "/auth/verify", Some(token))).await
}

async fn is_active(router: &Router, asker: &str, token: &str) -> bool {
    let answer = post(router, INTROSPECT, Some(asker), &format!("token={token}")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let active = answer.body["active"].as_bool().unwrap();
    assert!(active || answer.body == json!({"active": false}), "{}", answer.body);
    active
}

#[tokio::test]
async fn a_client_gets_a_token_of_its_own_with_the_scopes_that_it_asks_for() {
    let gate = gate().await;
    let router = gate.router();
    let secret = client(&gate, "billing").await;
    for (scope, granted) in [
        ("", "invoices:read invoices:write"),
        ("&scope=invoices:read", "invoices:read"),
        ("&scope=invoices:write+invoices:read+invoices:read", "invoices:read invoices:write"),
    ] {
        let form = format!("grant_type=client_credentials&client_id=billing&client_secret={secret}{scope}");
        let answer = post(&router, TOKEN, None, &form).await;
        assert_eq!((answer.status, &answer.body["scope"]), (StatusCode::OK, &json!(granted)), "{}", answer.body);
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
        assert_eq!((&answer.body["token_type"], &answer.body["expires_in"]), (&json!("Bearer"), &json!(899)));
        assert!(answer.body.get("refresh_token").is_none());
        let claims = verify(&router, answer.body["access_token"].as_str().unwrap()).await.body;
        assert_eq!((&claims["sub"], &claims["client_id"]), (&json!("billing"), &json!("billing")));
        assert_eq!((&claims["scope"], &claims["roles"]), (&json!(granted), &json!(["biller"])));
    }
    for scope in ["admin", "invoices:read+admin", "invoices:read++invoices:write", "%22"] {
        let form = format!("grant_type=client_credentials&client_id=billing&client_secret={secret}&scope={scope}");
        let answer = post(&router, TOKEN, None, &form).await;
        assert_eq!((answer.status.as_u16(), &answer.body["error"]), (400, &json!("invalid_scope")), "{scope}");
    }
}

#[tokio::test]
async fn who_is_not_recognised_as_a_client_learns_nothing_else() {
    let gate = gate().await;
    let router = gate.router();
    let secret = client(&gate, "billing").await;
    let other = client(&gate, "other").await;
    client(&gate, "disabled").await;
    gate.auth.set_client_disabled("disabled", true, &Actor::operator()).await.unwrap();
    let key = NewClient { public_keys: Some(ClientKey::new().jwk), ..new_client("with-key") };
    gate.auth.add_client(key, &Actor::operator()).await.unwrap();
    let no_secret = format!("Basic {}", STANDARD.encode("billing"));
    let mut answers = Vec::new();
    for authorization in [
        basic("billing", &other),
        basic("billing", &secret[1..]),
        basic("billing", ""),
        basic("nobody", &secret),
        basic("Billing", &secret),
        basic("disabled", &secret),
        basic("with-key", &secret),
        basic(&"x".repeat(5000), &secret),
    ] {
        let answer = post(&router, TOKEN, Some(&authorization), "grant_type=client_credentials").await;
        assert_eq!((answer.status.as_u16(), &answer.body["error"]), (401, &json!("invalid_client")), "{authorization}");
        assert_eq!(answer.headers[header::WWW_AUTHENTICATE], r#"Basic realm="portcullis", charset="UTF-8""#);
        answers.push((answer.headers, answer.body));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    for authorization in [no_secret.as_str(), "Basic", "Basic x y", "Basic ????", "Digest x", "Basic Y2Fm6Q=="] {
        let answer = post(&router, TOKEN, Some(authorization), "grant_type=client_credentials").await;
        assert_eq!((answer.status.as_u16(), &answer.body["error"]), (401, &json!("invalid_client")), "{authorization}");
    }
    assert_eq!(post(&router, TOKEN, None, "grant_type=client_credentials&client_id=billing").await.status, 401);
    let percent_encoded = basic("%62illing", &secret);
    assert_eq!(post(&router, TOKEN, Some(&percent_encoded), "grant_type=client_credentials").await.status, 200);
}

#[tokio::test]
async fn a_request_that_can_be_read_two_ways_is_refused() {
    let gate = gate().await;
    let router = gate.router();
    let secret = client(&gate, "billing").await;
    let basic = basic("billing", &secret);
    let grant = "grant_type=client_credentials";
    for (authorization, form, error) in [
        (Some(basic.as_str()), String::new(), "invalid_request"),
        (Some(&*basic), "grant_type=".to_owned(), "invalid_request"),
        (Some(&*basic), format!("{grant}&{grant}"), "invalid_request"),
        (Some(&*basic), format!("{grant}&x=1&x=2"), "invalid_request"),
        (Some(&*basic), format!("{grant}&client_secret={secret}"), "invalid_request"),
        (Some(&*basic), format!("{grant}&client_id=other"), "invalid_request"),
        (None, format!("{grant}&client_secret={secret}"), "invalid_request"),
        (None, format!("{grant}&client_assertion=a.b.c"), "invalid_request"),
        (None, format!("{grant}&client_assertion_type=x&client_assertion=a.b.c"), "invalid_request"),
        (None, "grant_type=refresh_token".to_owned(), "invalid_request"),
        (None, "grant_type=password&username=ada&password=x".to_owned(), "unsupported_grant_type"),
        (None, "grant_type=authorization_code&code=x".to_owned(), "unsupported_grant_type"),
    ] {
        let answer = post(&router, TOKEN, authorization, &form).await;
        assert_eq!((answer.status.as_u16(), &answer.body["error"]), (400, &json!(error)), "{form}");
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    }
    assert_eq!(post(&router, TOKEN, Some(&basic), &format!("{grant}&client_id=billing&scope=&x=1")).await.status, 200);
    for content_type in ["application/json", "text/plain"] {
        let request = Request::post(TOKEN).header(header::CONTENT_TYPE, content_type).header(header::AUTHORIZATION, &basic);
        let answer = send(&router, request.body(Body::from(grant)).unwrap()).await;
        assert_eq!((answer.status.as_u16(), &answer.body["error"]), (400, &json!("invalid_request")), "{content_type}");
    }
    let large = post(&router, TOKEN, None, &format!("grant_type={}", "x".repeat(100_000))).await;
    assert_eq!((large.status.as_u16(), &large.body["error"]), (413, &json!("invalid_request")));
    let in_query = post(&router, &format!("{TOKEN}?{grant}&client_id=billing&client_secret={secret}"), None, "a=1").await;
    assert_eq!(in_query.body["error"], "invalid_request", "the query is not read");
}

// One database refuses a NUL, another cuts at it, and a third keeps it.
#[tokio::test]
async fn a_nul_in_a_form_is_refused_before_anybody_reads_it() {
    let gate = gate().await;
    let router = gate.router();
    let secret = client(&gate, "billing").await;
    let grant = format!("grant_type=client_credentials&client_secret={secret}");
    for (path, form) in [
        (TOKEN, format!("{grant}&client_id=billing%00")),
        (TOKEN, format!("{grant}%00&client_id=billing")),
        (TOKEN, format!("{grant}&client_id=billing&scope=invoices:read%00")),
        (TOKEN, format!("{grant}&client_id=billing&unknown=%00")),
        (TOKEN, format!("{grant}&client_id=billing&%00=x")),
        (TOKEN, format!("{grant}&client_id=billing\0")),
        (TOKEN, "grant_type=refresh_token&refresh_token=%00".to_owned()),
        (REVOKE, "token=%00".to_owned()),
        (REVOKE, "token=x&token_type_hint=a%00".to_owned()),
        (INTROSPECT, format!("client_id=billing&client_secret={secret}&token=x%00y")),
    ] {
        let answer = post(&router, path, None, &form).await;
        assert_eq!((answer.status.as_u16(), &answer.body["error"]), (400, &json!("invalid_request")), "{path} {form}");
    }
    for nul in [format!("Basic {}", STANDARD.encode("billing\0:x")), basic("billing%00", &secret)] {
        assert_eq!(post(&router, TOKEN, Some(&nul), "grant_type=client_credentials").await.status, 401);
    }
}

#[tokio::test]
async fn secrets_of_clients_are_not_guessed_for_long_and_nobody_else_is_stopped() {
    let gate = gate().await;
    let router = gate.router();
    let (secret, other) = (client(&gate, "billing").await, client(&gate, "other").await);
    let ask = async |path: &str, id: &str, secret: &str| {
        post(&router, path, Some(&basic(id, secret)), "grant_type=client_credentials&token=x").await
    };
    for id in ["billing", "nobody"] {
        for attempt in 0..30 {
            // Whichever endpoint is asked, it is one budget.
            let path = [TOKEN, REVOKE, INTROSPECT][attempt % 3];
            assert_eq!(ask(path, id, &other).await.status, 401, "{attempt}");
        }
        for (path, secret) in [(TOKEN, &secret), (REVOKE, &other), (INTROSPECT, &other)] {
            let refused = ask(path, id, secret).await;
            assert_eq!((refused.status.as_u16(), &refused.body["error"]), (429, &json!("temporarily_unavailable")), "{path}");
            let secs: u64 = refused.headers[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
            assert!((600..=700).contains(&secs), "ten minutes, and what is left of a slot: {secs}");
            assert_eq!(refused.headers[header::CACHE_CONTROL], "no-store");
        }
    }
    assert_eq!(ask(TOKEN, "other", &other).await.status, 200, "another client");
    gate.clock.advance(Duration::from_secs(700));
    for _ in 0..100 {
        assert_eq!(ask(TOKEN, "billing", &secret).await.status, 200, "what is right is not counted");
    }
    let burst = futures_util::future::join_all((0..200).map(|_| ask(TOKEN, "billing", &secret))).await;
    assert!(burst.iter().all(|answer| answer.status == 200), "however many come at once");
}

#[tokio::test]
async fn a_secret_in_the_place_of_the_client_id_is_not_on_record() {
    let gate = gate().await;
    let router = gate.router();
    let secret = client(&gate, "billing").await;
    let mistaken = [
        (Some(basic(&secret, "billing")), "grant_type=client_credentials".to_owned()),
        (Some(basic("billing", "wrong")), "grant_type=client_credentials".to_owned()),
        (None, format!("grant_type=client_credentials&client_id={secret}&client_secret=billing")),
    ];
    for (authorization, form) in mistaken {
        assert_eq!(post(&router, TOKEN, authorization.as_deref(), &form).await.status, 401, "{form}");
    }
    let filter = RecordFilter { kind: Some("client_failed".to_owned()), ..Default::default() };
    let events = gate.auth.audit_events(&filter, None, 10).await.unwrap();
    let client = |event: &Record| serde_json::from_str::<Value>(&event.detail).unwrap()["client"].as_str().unwrap().to_owned();
    let mut named: Vec<String> = events.iter().map(client).collect();
    named.sort_unstable();
    // It has the letters of an id, and is no longer than one may be.
    assert_eq!(named, ["billing", "pc…", "pc…"]);
}

#[tokio::test]
async fn assertions_are_counted_like_secrets() {
    let gate = gate().await;
    let router = gate.router();
    let (key, wrong) = (ClientKey::new(), ClientKey::new());
    gate.auth
        .add_client(NewClient { public_keys: Some(key.jwk.clone()), ..new_client("signer") }, &Actor::operator())
        .await
        .unwrap();
    let ask = async |key: &ClientKey, jti: usize| {
        let assertion = key.assertion(60, &jti.to_string(), "https://gate.example", gate.now());
        post(&router, TOKEN, None, &format!("grant_type=client_credentials&{ASSERTION}&client_assertion={assertion}"))
            .await
            .status
    };
    for jti in 0..30 {
        assert_eq!(ask(&wrong, jti).await, 401);
    }
    assert_eq!(ask(&key, 30).await, 429);
    gate.clock.advance(Duration::from_secs(700));
    assert_eq!(ask(&key, 30).await, 200, "what was not looked at is not used up");
}

#[tokio::test]
async fn a_refresh_token_is_rotated_as_at_refresh_and_its_reuse_ends_the_session() {
    let mut settings = settings();
    settings.session_scopes = BTreeSet::from([scope("mail")]);
    let gate = gate_with(settings, MemorySet::new()).await;
    let router = gate.router();
    let tokens = gate.signed_in("ada").await;
    let form = format!("grant_type=refresh_token&refresh_token={}", refresh(&tokens));
    for scope in ["", "&scope=mail", "&client_id=spa"] {
        let answer = post(&router, TOKEN, Some("Bearer stale"), &format!("{form}{scope}")).await;
        assert_eq!((answer.status.as_u16(), &answer.body["scope"]), (200, &json!("mail")), "{}", answer.body);
        assert!(answer.body["refresh_token"].is_string());
    }
    assert_eq!(post(&router, TOKEN, None, &format!("{form}&scope=other")).await.body["error"], "invalid_scope");
    let wrong = post(&router, TOKEN, Some(&basic("nobody", "x")), &form).await;
    assert_eq!(wrong.body["error"], "invalid_client", "a client that says who it is must say the truth");

    let first = post(&router, TOKEN, None, &form).await.body;
    gate.clock.advance(Duration::from_secs(11));
    let reused = post(&router, TOKEN, None, &form).await;
    assert_eq!((reused.status.as_u16(), &reused.body["error"]), (400, &json!("invalid_grant")));
    let successor = format!("grant_type=refresh_token&refresh_token={}", first["refresh_token"].as_str().unwrap());
    for ended in [successor.as_str(), "grant_type=refresh_token&refresh_token=nonsense"] {
        let answer = post(&router, TOKEN, None, ended).await;
        assert_eq!((answer.status.as_u16(), &answer.body["error"]), (400, &json!("invalid_grant")));
    }
}

#[tokio::test]
async fn an_assertion_by_the_clients_key_is_good_once() {
    let gate = gate().await;
    let router = gate.router();
    let key = ClientKey::new();
    gate.auth
        .add_client(NewClient { public_keys: Some(key.jwk.clone()), ..new_client("signer") }, &Actor::operator())
        .await
        .unwrap();
    let ask = async |assertion: &str, further: &str| {
        let form = format!("grant_type=client_credentials&{ASSERTION}&client_assertion={assertion}{further}");
        post(&router, TOKEN, None, &form).await.status.as_u16()
    };
    let issuer = "https://gate.example";
    let genuine = key.assertion(60, "j1", issuer, gate.now());
    assert_eq!(ask(&genuine, "&client_id=other").await, 401);
    assert_eq!(ask(&genuine, "").await, 200, "a refused try used nothing up");
    assert_eq!(ask(&genuine, "").await, 401, "the second time");
    assert_eq!(ask(&key.assertion(60, "j2", issuer, gate.now()), "&client_id=signer").await, 200);
    for (refused, why) in [
        (key.assertion(60, "j3", "https://evil.example", gate.now()), "for somebody else"),
        (key.assertion(306, "j4", issuer, gate.now()), "for too long"),
        (key.assertion(-60, "j5", issuer, gate.now()), "expired"),
    ] {
        assert_eq!(ask(&refused, "").await, 401, "{why}");
    }
    let parallel = key.assertion(60, "j6", issuer, gate.now());
    let tries = futures_util::future::join_all((0..16).map(|_| ask(&parallel, ""))).await;
    assert_eq!(tries.iter().filter(|&&status| status == 200).count(), 1, "{tries:?}");
    gate.auth.set_client_disabled("signer", true, &Actor::operator()).await.unwrap();
    assert_eq!(ask(&key.assertion(60, "j7", issuer, gate.now()), "").await, 401);
}

#[tokio::test]
async fn disabling_or_deleting_a_client_ends_its_tokens_at_once() {
    let gate = gate().await;
    let router = gate.router();
    let secret = client(&gate, "billing").await;
    let bystander = client(&gate, "other").await;
    let other = granted(&router, "other", &bystander).await;
    let token = granted(&router, "billing", &secret).await;
    assert_eq!(verify(&router, &token).await.status, 200);
    gate.auth.set_client_disabled("billing", true, &Actor::operator()).await.unwrap();
    assert_eq!(verify(&router, &token).await.body["code"], "revoked_token");
    assert_eq!(post(&router, TOKEN, Some(&basic("billing", &secret)), "grant_type=client_credentials").await.status, 401);

    gate.auth.set_client_disabled("billing", false, &Actor::operator()).await.unwrap();
    gate.clock.advance(SKEW + Duration::from_secs(2));
    assert_eq!(verify(&router, &token).await.body["code"], "revoked_token", "the old one stays dead");
    let token = granted(&router, "billing", &secret).await;
    assert_eq!(verify(&router, &token).await.status, 200, "a new one lives");
    gate.auth.delete_client("billing", &Actor::operator()).await.unwrap();
    assert_eq!(verify(&router, &token).await.body["code"], "revoked_token");
    assert!(matches!(gate.auth.delete_client("billing", &Actor::operator()).await, Err(ClientError::NoSuchClient)));
    assert_eq!(verify(&router, &other).await.status, 200);
    // Until the very last instant at which a token issued by a clock that is ahead might still be accepted.
    gate.clock.advance(ACCESS_TOKEN - Duration::from_secs(1));
    assert_ne!(verify(&router, &token).await.status, 200);
}

#[tokio::test]
async fn a_client_is_no_user() {
    let gate = gate().await;
    let router = gate.router();
    let ada = gate.register("ada").await;
    assert!(matches!(gate.auth.add_client(new_client(&ada.id.to_string()), &Actor::operator()).await, Err(ClientError::Name(_))));
    let secret = client(&gate, "billing").await;
    assert!(matches!(gate.auth.add_client(new_client("billing"), &Actor::operator()).await, Err(ClientError::Taken)));
    let token = granted(&router, "billing", &secret).await;
    for (method, path) in [
        (Method::GET, "/auth/me"),
        (Method::GET, "/auth/sessions"),
        (Method::POST, "/auth/logout-all"),
        (Method::GET, "/auth/api-keys"),
    ] {
        let answer = send(&router, request(method, path, Some(&token))).await;
        assert_eq!((answer.status.as_u16(), &answer.body["code"]), (403, &json!("forbidden")), "{path}");
    }
    assert_eq!(send(&router, request(Method::POST, "/auth/logout", Some(&token))).await.status, 204);
    assert_eq!(verify(&router, &token).await.body["code"], "revoked_token", "its holder may end it");
}

#[tokio::test]
async fn a_revoked_token_is_not_accepted_any_more_and_an_unknown_one_was_not_before() {
    let gate = gate().await;
    let router = gate.router();
    let secret = client(&gate, "billing").await;
    let of_client = granted(&router, "billing", &secret).await;
    let tokens = gate.signed_in("ada").await;
    let revoke = async |token: &str| post(&router, REVOKE, None, &format!("token={token}&token_type_hint=x")).await;
    for _ in 0..2 {
        let answer = revoke(&of_client).await;
        assert_eq!((answer.status, answer.body), (StatusCode::OK, Value::Null));
        assert_eq!(verify(&router, &of_client).await.body["code"], "revoked_token");
    }
    assert_eq!(revoke(access(&tokens)).await.status, 200);
    assert_eq!(verify(&router, access(&tokens)).await.body["code"], "revoked_token");
    assert!(gate.refreshes(&tokens).await, "the access token alone");

    let tokens = gate.login("ada").await;
    assert_eq!(revoke(refresh(&tokens)).await.status, 200);
    assert_eq!(verify(&router, access(&tokens)).await.body["code"], "revoked_token", "with its access tokens");
    assert!(!gate.refreshes(&tokens).await);

    let forged = format!("{}x", &of_client[..of_client.len() - 1]);
    for unknown in ["nonsense", forged.as_str(), "pck_abcdefgh_x"] {
        assert_eq!(revoke(unknown).await.status, 200, "{unknown}");
    }
    assert_eq!(post(&router, REVOKE, None, "").await.body["error"], "invalid_request");
    let wrong = post(&router, REVOKE, Some(&basic("billing", "wrong")), &format!("token={of_client}")).await;
    assert_eq!((wrong.status.as_u16(), &wrong.body["error"]), (401, &json!("invalid_client")));
    // To the end of its life and beyond, it stays dead.
    gate.clock.advance(ACCESS_TOKEN);
    assert_ne!(verify(&router, &of_client).await.status, 200);
}

#[tokio::test]
async fn whoever_may_ask_learns_what_a_live_token_says_and_of_others_nothing() {
    let mut settings = settings();
    settings.self_assigned_roles = BTreeSet::from([role("introspect")]);
    let gate = gate_with(settings, MemorySet::new()).await;
    let router = gate.router();
    let asker = basic("asker", &client(&gate, "asker").await);
    let tokens = gate.signed_in("ada").await;
    let answer = post(&router, INTROSPECT, Some(&asker), &format!("token={}", access(&tokens))).await;
    let claims = verify(&router, access(&tokens)).await.body;
    for name in ["sub", "sid", "jti", "exp", "iat", "iss", "roles"] {
        assert_eq!(answer.body[name], claims[name], "{name}");
    }
    assert_eq!((&answer.body["active"], &answer.body["username"]), (&json!(true), &json!("ada")));
    assert_eq!((&answer.body["aud"], &answer.body["token_type"]), (&json!("api"), &json!("Bearer")));
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");

    let forged = format!("{}x", &access(&tokens)[..access(&tokens).len() - 1]);
    for dead in [refresh(&tokens), forged.as_str(), "nonsense", "pck_abcdefgh_x"] {
        assert!(!is_active(&router, &asker, dead).await, "{dead}");
    }
    gate.auth.revoke_token(refresh(&tokens), &Origin::default()).await.unwrap();
    assert!(!is_active(&router, &asker, access(&tokens)).await, "its session has ended");
    let tokens = gate.login("ada").await;
    assert!(is_active(&router, &asker, access(&tokens)).await);
    gate.clock.advance(ACCESS_TOKEN + SKEW);
    assert!(!is_active(&router, &asker, access(&tokens)).await, "it has expired");

    let ada = gate.login("ada").await;
    let mut account = crate::support::account("grace");
    account.roles = vec!["introspect".to_owned()];
    gate.auth.register(account, &Origin::default()).await.unwrap();
    let grace = gate.login("grace").await;
    let form = format!("token={}", access(&ada));
    for (authorization, status, error) in [
        (None, 401, "invalid_client"),
        (Some(basic("asker", "wrong")), 401, "invalid_client"),
        (Some("Bearer nonsense".to_owned()), 401, "invalid_token"),
        (Some("Bearer".to_owned()), 401, "invalid_token"),
        (Some(format!("Bearer {}", access(&ada))), 403, "insufficient_scope"),
    ] {
        let answer = post(&router, INTROSPECT, authorization.as_deref(), &form).await;
        assert_eq!((answer.status.as_u16(), &answer.body["error"]), (status, &json!(error)), "{authorization:?}");
        assert!(answer.headers.contains_key(header::WWW_AUTHENTICATE), "{authorization:?}");
    }
    assert!(is_active(&router, &format!("Bearer {}", access(&grace)), access(&ada)).await, "the role may ask");
}

#[tokio::test]
async fn the_metadata_name_endpoints_of_the_configuration_whatever_the_host_says() {
    let gate = gate().await;
    let request = Request::get("/.well-known/oauth-authorization-server").header(header::HOST, "evil.example");
    let answer = send(&gate.router(), request.body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status, &answer.body["issuer"]), (StatusCode::OK, &json!("https://gate.example")));
    assert_eq!(answer.body["token_endpoint"], "https://gate.example/auth/oauth/token");
    assert_eq!(answer.body["jwks_uri"], "https://gate.example/.well-known/jwks.json");
    assert!(!answer.body.to_string().contains("evil") && !answer.body.to_string().contains("\"password\""));
}
