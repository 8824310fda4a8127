//! API keys: made, used, and refused from the moment on in which they should be.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use portcullis::auth::Origin;
use portcullis::auth::audit::Actor;
use portcullis::auth::authenticate::{ApiKeyRefusal, AuthenticateError};
use portcullis::identity::Credential;
use portcullis::identity::user::UserId;
use portcullis::store::{RevokedBy, Users as _};
use serde_json::{Value, json};

use crate::api::{Answer, request, send};
use crate::support::{API_KEY_MAX, Gate, access, gate, role};

async fn post(router: &Router, path: &str, token: &str, body: Value) -> Answer {
    let mut request = request(Method::POST, path, Some(token));
    request.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    *request.body_mut() = Body::from(body.to_string());
    send(router, request).await
}

/// Ada, her session's access token, and a key of hers with its id.
async fn ada(gate: &Gate) -> (UserId, String, String, String) {
    let user = gate.register("ada").await.id;
    let token = access(&gate.login("ada").await).to_owned();
    let made = post(&gate.router(), "/auth/api-keys", &token, json!({"name": "nightly", "scopes": ["write", "read"]})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    let text = |name: &str| made.body[name].as_str().unwrap().to_owned();
    (user, token, text("key"), text("id"))
}

async fn refusal(gate: &Gate, key: &str) -> Option<AuthenticateError> {
    gate.authenticator.authenticate(key).await.err()
}

#[tokio::test]
async fn a_key_speaks_for_its_owner_with_its_own_scopes() {
    let gate = gate().await;
    let (user, token, key, id) = ada(&gate).await;
    let caller = gate.authenticator.authenticate(&key).await.unwrap();
    assert_eq!((&*caller.principal.subject, caller.principal.credential), (&*user.to_string(), Credential::ApiKey));
    assert_eq!(caller.principal.scopes.join(" "), "read write");
    assert_eq!(caller.principal.roles.concat(), "user");
    assert_eq!(caller.principal.session.to_string(), id);

    let router = gate.router();
    let verified = send(&router, request(Method::GET, "/auth/verify", Some(&key))).await;
    assert_eq!((verified.status, &verified.body["sid"]), (StatusCode::OK, &json!(id)));
    assert_eq!(verified.headers["x-auth-subject"].to_str().unwrap(), user.to_string());
    assert_eq!(verified.body["iat"], json!(gate.now().as_second()), "when it was made");

    let listed = send(&router, request(Method::GET, "/auth/api-keys", Some(&token))).await;
    let listed = &listed.body["api_keys"][0];
    assert_eq!((&listed["name"], &listed["scopes"]), (&json!("nightly"), &json!(["read", "write"])));
    assert!(key.starts_with(listed["prefix"].as_str().unwrap()));
    assert!(!listed.to_string().contains(&key[12..]), "it is shown once");
}

#[tokio::test]
async fn a_key_keeps_within_the_rules() {
    let gate = gate().await;
    let (_, token, _, _) = ada(&gate).await;
    let router = gate.router();
    let most = API_KEY_MAX.as_secs();
    for (body, status) in [
        (json!({"name": "x", "expires_in": 1}), 201),
        (json!({"name": "x", "expires_in": most}), 201),
        (json!({"name": "x", "expires_in": most + 1}), 400),
        (json!({"name": "x", "expires_in": 0}), 400),
        (json!({"name": "x", "expires_in": -1}), 400),
        (json!({"name": ""}), 400),
        (json!({"name": "a\nb"}), 400),
        (json!({"name": "x".repeat(129)}), 400),
        (json!({"name": "x", "scopes": ["admin"]}), 400),
        (json!({"name": "x", "scopes": ["read", "read"]}), 400),
        (json!({"name": "x", "roles": ["admin"]}), 400),
        (json!({}), 400),
    ] {
        assert_eq!(post(&router, "/auth/api-keys", &token, body.clone()).await.status.as_u16(), status, "{body}");
    }
    assert_eq!(send(&router, request(Method::POST, "/auth/api-keys", None)).await.status, 401);
}

#[tokio::test]
async fn a_user_has_a_hundred_live_keys_and_no_more() {
    let gate = gate().await;
    let (_, token, key, id) = ada(&gate).await;
    let router = gate.router();
    let make = async || post(&router, "/auth/api-keys", &token, json!({"name": "x"})).await;
    for _ in 1..100 {
        assert_eq!(make().await.status, StatusCode::CREATED);
    }
    let refused = make().await;
    assert_eq!((refused.status.as_u16(), &refused.body["code"]), (403, &json!("forbidden")));
    assert_eq!(refusal(&gate, &key).await, None);
    let revoked = send(&router, request(Method::DELETE, &format!("/auth/api-keys/{id}"), Some(&token))).await;
    assert_eq!((revoked.status, make().await.status), (StatusCode::NO_CONTENT, StatusCode::CREATED), "one in, one out");
}

#[tokio::test]
async fn a_key_manages_neither_sessions_nor_passwords_nor_keys() {
    let gate = gate().await;
    let (_, _, key, id) = ada(&gate).await;
    let router = gate.router();
    let own = format!("/auth/api-keys/{id}");
    for (method, path) in [
        (Method::GET, "/auth/me"),
        (Method::GET, "/auth/sessions"),
        (Method::DELETE, "/auth/sessions/x"),
        (Method::POST, "/auth/logout"),
        (Method::POST, "/auth/logout-all"),
        (Method::POST, "/auth/password"),
        (Method::GET, "/auth/api-keys"),
        (Method::POST, "/auth/api-keys"),
        (Method::DELETE, &own),
    ] {
        let answer = send(&router, request(method, path, Some(&key))).await;
        assert_eq!((answer.status.as_u16(), &answer.body["code"]), (403, &json!("forbidden")), "{path}");
    }
    assert_eq!(refusal(&gate, &key).await, None);
}

#[tokio::test]
async fn a_revoked_key_is_refused_from_the_answer_on() {
    let gate = gate().await;
    let (_, token, key, id) = ada(&gate).await;
    assert_eq!(refusal(&gate, &key).await, None, "it is remembered now");
    let router = gate.router();
    gate.register("eve").await;
    let eve = access(&gate.login("eve").await).to_owned();
    let path = format!("/auth/api-keys/{id}");
    assert_eq!(send(&router, request(Method::DELETE, &path, Some(&eve))).await.status, 404, "somebody else's");
    assert_eq!(refusal(&gate, &key).await, None);
    for _ in 0..2 {
        assert_eq!(send(&router, request(Method::DELETE, &path, Some(&token))).await.status, 204);
        assert_eq!(refusal(&gate, &key).await, Some(AuthenticateError::Revoked(RevokedBy::Session)));
    }
    // Long after the revoked set has forgotten it, the database has not.
    gate.clock.advance(Duration::from_secs(3600));
    assert_eq!(refusal(&gate, &key).await, Some(AuthenticateError::ApiKey(ApiKeyRefusal::Revoked)));
}

#[tokio::test]
async fn whoever_holds_a_key_may_revoke_it() {
    let gate = gate().await;
    let (_, _, key, _) = ada(&gate).await;
    gate.auth.revoke_token(&key, &Origin::default()).await.unwrap();
    assert!(refusal(&gate, &key).await.is_some());
}

#[tokio::test]
async fn a_key_expires_to_the_instant_even_while_it_is_remembered() {
    let gate = gate().await;
    let (_, token, _, _) = ada(&gate).await;
    let made = post(&gate.router(), "/auth/api-keys", &token, json!({"name": "short", "expires_in": 10})).await;
    let key = made.body["key"].as_str().unwrap();
    gate.clock.advance(Duration::from_secs(10) - Duration::from_millis(1));
    assert_eq!(refusal(&gate, key).await, None);
    gate.clock.advance(Duration::from_millis(1));
    assert_eq!(refusal(&gate, key).await, Some(AuthenticateError::ApiKey(ApiKeyRefusal::Expired)));
    gate.clock.advance(Duration::from_secs(60));
    assert_eq!(refusal(&gate, key).await, Some(AuthenticateError::ApiKey(ApiKeyRefusal::Expired)));
}

#[tokio::test]
async fn what_ends_the_owners_tokens_makes_a_remembered_key_be_read_again() {
    let gate = gate().await;
    let (user, _, key, _) = ada(&gate).await;
    let roles = async || gate.authenticator.authenticate(&key).await.map(|caller| caller.principal.roles.join(","));
    assert_eq!(roles().await.unwrap(), "user");
    gate.auth.set_user_roles(user, &[].into(), &Actor::operator()).await.unwrap();
    assert_eq!(roles().await.unwrap(), "", "a role that was taken away is gone at once");
    gate.store.set_roles(user, &[role("added")].into()).await.unwrap();
    gate.clock.advance(Duration::from_secs(7));
    let _ = roles().await;
    gate.auth.set_user_roles(user, &[role("added"), role("more")].into(), &Actor::operator()).await.unwrap();
    gate.clock.advance(Duration::from_secs(30));
    assert_eq!(roles().await.unwrap(), "added,more", "one that was added shows within the cache's life");

    gate.auth.set_user_disabled(user, true, &Actor::operator()).await.unwrap();
    assert_eq!(refusal(&gate, &key).await, Some(AuthenticateError::ApiKey(ApiKeyRefusal::Owner)));
    gate.clock.advance(Duration::from_secs(3600));
    assert_eq!(refusal(&gate, &key).await, Some(AuthenticateError::ApiKey(ApiKeyRefusal::Owner)), "and stays so");
    gate.auth.set_user_disabled(user, false, &Actor::operator()).await.unwrap();
    assert_eq!(refusal(&gate, &key).await, None, "the key is the owner's again");

    gate.auth.end_user_sessions(user, &Actor::operator()).await.unwrap();
    assert_eq!(refusal(&gate, &key).await, None, "a key is no session");
}

#[tokio::test]
async fn what_is_no_key_is_refused_without_asking_anybody() {
    let gate = gate().await;
    let (_, _, key, _) = ada(&gate).await;
    let other = if key.as_bytes()[20] == b'x' { 'y' } else { 'x' };
    let mistyped = format!("{}{other}{}", &key[..20], &key[21..]);
    let well_formed = portcullis::identity::machine_secret::MachineSecret::new(
        portcullis::identity::machine_secret::SecretKind::ApiKey,
        [1; 8],
        [2; 32],
    );
    let unknown = secrecy::ExposeSecret::expose_secret(well_formed.text());
    for text in ["pck_", mistyped.as_str(), unknown, &key.to_uppercase().replacen("PCK", "pck", 1)] {
        assert_eq!(refusal(&gate, text).await, Some(AuthenticateError::ApiKey(ApiKeyRefusal::Unknown)), "{text}");
    }
}
