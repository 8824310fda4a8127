//! Tokens of our own making: read back as they were written, by us and by others.

use jsonwebtoken::jwk::Jwk;
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value, json};

use super::*;
use crate::identity::session::SessionId;

fn claims(roles: &[&str]) -> Claims {
    let principal = Principal {
        issuer: policy().issuer,
        subject: "ada".into(),
        username: Some("Ada \"L\" 🦀".into()),
        email: Some("ada@example.com".into()),
        roles: roles.iter().map(|&role| role.into()).collect(),
        session: SessionId(Uuid::from_u128(1)),
        scopes: Box::default(),
        auth_time: at(NOW - 60),
        credential: Credential::Session,
    };
    let issued_at = at(NOW) + Duration::from_millis(999);
    Claims {
        principal,
        audience: "api".into(),
        jti: Uuid::from_u128(2),
        issued_at,
        expires_at: issued_at + Duration::from_secs(900),
        further: Map::new(),
    }
}

#[test]
fn further_claims_are_carried_and_replace_none_of_ours() {
    let mut claims = claims(&["user"]);
    let further = json!({
        "firstName": "Ada", "type": "access", "nested": {"a": [1, null]}, "sub": "eve", "roles": ["admin"], "nbf": 9, "exp": 9,
        "iss": "evil", "aud": "evil", "sid": "x", "jti": "x", "iat": 1, "auth_time": 1, "preferred_username": "eve", "email": "e@e",
    });
    claims.further = further.as_object().expect("an object").clone();
    let token = sign(&claims, key("ed")).expect("signed");
    let caller = verify(token.expose_secret(), &RING, &policy(), at(NOW)).expect("genuine, and nothing in it twice");
    assert_eq!(caller.principal, claims.principal);
    let said = payload_of_verified(token.expose_secret()).expect("JSON");
    assert_eq!((&said["firstName"], &said["type"], &said["nested"]["a"][0]), (&json!("Ada"), &json!("access"), &json!(1)));
    assert_eq!((&said["sub"], &said["roles"], said.get("nbf")), (&json!("ada"), &json!(["user"]), None));
}

#[test]
fn what_is_signed_is_what_is_verified() {
    for kid in ["ed", "es", "rs", "hs"] {
        let claims = claims(&["admin", "user"]);
        let token = sign(&claims, key(kid)).expect("signed");
        let caller = verify(token.expose_secret(), &RING, &policy(), at(NOW)).expect("genuine");
        assert_eq!(caller.principal, claims.principal, "{kid}");
        assert_eq!(*caller.token.jti, *claims.jti.to_string());
        // Whole seconds, rounded down.
        assert_eq!((caller.token.issued_at, caller.token.expires_at), (at(NOW), at(NOW + 900)));
    }
}

#[test]
fn roles_are_read_sorted_and_once() {
    let token = with_claims(r#"["user"]"#, r#"["user","admin","user"]"#);
    let caller = verify(&token, &RING, &policy(), at(NOW)).expect("genuine");
    assert_eq!(caller.principal.roles.iter().map(|role| &**role).collect::<Vec<_>>(), ["admin", "user"]);
}

#[test]
fn a_token_says_what_it_may_be_used_for_and_whether_it_speaks_for_a_client() {
    let mut written = claims(&[]);
    written.principal.scopes = ["a".into(), "b".into()].into();
    written.principal.credential = Credential::Client;
    let token = sign(&written, key("ed")).expect("signed");
    let payload = URL_SAFE_NO_PAD.decode(token.expose_secret().split('.').nth(1).expect("a payload")).expect("base64url");
    let payload: Value = serde_json::from_slice(&payload).expect("JSON");
    assert_eq!((&payload["scope"], &payload["client_id"]), (&json!("a b"), &json!("ada")));
    let read = verify(token.expose_secret(), &RING, &policy(), at(NOW)).expect("genuine").principal;
    assert_eq!(read, written.principal);

    let read = verify(&with_claims("{", r#"{"scope":"b a b","#), &RING, &policy(), at(NOW)).expect("genuine").principal;
    assert_eq!((read.scopes.concat(), read.credential), ("ab".to_owned(), Credential::Session));
}

#[test]
fn a_token_that_would_be_refused_for_its_length_is_not_made() {
    let role = "r".repeat(64);
    let fits = claims(&vec![role.as_str(); 80]);
    assert!(sign(&fits, key("ed")).is_ok_and(|token| check(token.expose_secret()).is_ok()));
    let bursts = claims(&vec![role.as_str(); 100]);
    assert_eq!(sign(&bursts, key("ed")).err(), Some(SignError::TooLong));
}

#[test]
fn a_retired_key_verifies_only_what_it_signed_in_time() {
    let retired = |second| {
        let (epoch, private) = (Timestamp::UNIX_EPOCH, key("ed").private_bytes().expose_secret().to_vec());
        let key = SigningKey::import(Some("ed"), Algorithm::EdDsa, private.into(), epoch, epoch, Some(at(second)));
        KeyRing::new(vec![key.expect("a good key")]).expect("one key")
    };
    let token = signed("ed", HEADER, PAYLOAD);
    let verdict = |second| verify(&token, &retired(second), &policy(), at(NOW)).map(drop);
    assert_eq!(verdict(NOW + 1), Ok(()));
    assert_eq!(verdict(NOW - SKEW + 1), Ok(()), "another replica's clock may be behind");
    assert_eq!(verdict(NOW - SKEW), Err(TokenError::UnknownKey));
}

#[test]
fn every_refusal_has_a_word_of_its_own() {
    use TokenError::*;
    let all =
        [TooLong, Malformed, Header, Type, UnknownKey, Algorithm, Signature, Claims, Issuer, Audience, Life, NotYet, Expired];
    let words: std::collections::HashSet<_> = all.iter().map(|error| error.reason_detail()).collect();
    assert_eq!(words.len(), all.len());
}

/// The JWK that a JWKS would publish, and for HS256 the secret.
fn decoding_key(kid: &str) -> jsonwebtoken::DecodingKey {
    let Some(public) = RING.public_keys().find(|key| key.kid == kid) else {
        return jsonwebtoken::DecodingKey::from_secret(key(kid).private_bytes().expose_secret());
    };
    let members: Map<String, Value> = public.members.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let jwk: Jwk = serde_json::from_value(Value::Object(members)).expect("a JWK");
    jsonwebtoken::DecodingKey::from_jwk(&jwk).expect("a usable JWK")
}

#[test]
fn another_library_verifies_our_tokens_with_our_published_keys() {
    for (kid, algorithm) in [
        ("ed", jsonwebtoken::Algorithm::EdDSA),
        ("es", jsonwebtoken::Algorithm::ES256),
        ("rs", jsonwebtoken::Algorithm::RS256),
        ("hs", jsonwebtoken::Algorithm::HS256),
    ] {
        let token = sign(&claims(&["admin"]), key(kid)).expect("signed");
        let mut validation = jsonwebtoken::Validation::new(algorithm);
        validation.set_issuer(&["https://gate.example"]);
        validation.set_audience(&["api"]);
        // The other library reads the machine's clock, which a test must not depend on.
        validation.validate_exp = false;
        let read = jsonwebtoken::decode::<Value>(token.expose_secret(), &decoding_key(kid), &validation).expect("genuine");
        assert_eq!(read.header.typ.as_deref(), Some("at+jwt"));
        assert_eq!(
            read.claims,
            json!({
                "iss": "https://gate.example", "aud": "api", "sub": "ada",
                "sid": "00000000-0000-0000-0000-000000000001", "jti": "00000000-0000-0000-0000-000000000002",
                "iat": NOW, "exp": NOW + 900, "auth_time": NOW - 60, "roles": ["admin"],
                "preferred_username": "Ada \"L\" 🦀", "email": "ada@example.com",
            })
        );
    }
}
