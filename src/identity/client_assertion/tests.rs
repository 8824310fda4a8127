//! Hand-made assertions: each is genuine but for what its row says.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;
use crate::identity::signing_keys::{Algorithm, KeyRing, SigningKey};

const NOW: i64 = 1_800_000_000;
const HEADER: &str = r#"{"alg":"EdDSA","kid":"k1","typ":"JWT"}"#;

static RING: LazyLock<KeyRing> = LazyLock::new(|| {
    let epoch = Timestamp::UNIX_EPOCH;
    KeyRing::new(vec![SigningKey::generate(Algorithm::EdDsa, epoch, epoch).expect("generated")]).expect("one key")
});

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a year of this century")
}

fn keys() -> PublicKeys {
    let x = &RING.public_keys().next().expect("one").members[2].1;
    PublicKeys::parse(&json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "k1"}).to_string()).expect("a key")
}

fn policy() -> AssertionPolicy {
    let audiences = vec!["https://gate.example".into(), "https://gate.example/auth/oauth/token".into()];
    AssertionPolicy { audiences, skew: Duration::from_secs(5) }
}

fn claims() -> Value {
    json!({"iss": "worker", "sub": "worker", "aud": "https://gate.example", "jti": "j1", "exp": NOW + 60})
}

fn signed(header: &str, payload: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = RING.keys().next().expect("one").sign(message.as_bytes()).expect("signed");
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn checked(header: &str, payload: &str) -> Result<Assertion, AssertionError> {
    verify(&signed(header, payload), "worker", &keys(), &policy(), at(NOW))
}

#[test]
fn a_genuine_assertion_names_its_client_and_what_may_be_used_once() {
    let assertion = signed(HEADER, &claims().to_string());
    assert_eq!(claimed_client(&assertion).as_deref(), Some("worker"));
    let used = verify(&assertion, "worker", &keys(), &policy(), at(NOW)).expect("genuine");
    assert_eq!(used.expires_at, at(NOW + 60 + 10));
    let mut another = claims();
    another["jti"] = json!("j2");
    assert_ne!(checked(HEADER, &another.to_string()).expect("genuine").id, used.id);
    assert_eq!(verify(&assertion, "other", &keys(), &policy(), at(NOW)), Err(AssertionError::Client));
}

#[test]
fn a_header_has_an_algorithm_and_perhaps_a_key_and_a_type() {
    use AssertionError::*;
    let payload = claims().to_string();
    for (header, expected) in [
        (HEADER, Ok(())),
        (r#"{"alg":"EdDSA"}"#, Ok(())),
        (r#"{"alg":"EdDSA","typ":"client-authentication+jwt"}"#, Ok(())),
        (r#"{"alg":"EdDSA","kid":"k2"}"#, Err(Signature)),
        (r#"{"alg":"none"}"#, Err(Signature)),
        (r#"{"alg":"HS256"}"#, Err(Signature)),
        (r#"{"alg":"ES256"}"#, Err(Signature)),
        (r#"{"alg":"EdDSA","typ":"at+jwt"}"#, Err(Malformed)),
        (r#"{"alg":"EdDSA","jwk":{}}"#, Err(Malformed)),
        (r#"{"alg":"EdDSA","crit":["exp"]}"#, Err(Malformed)),
        (r#"{"alg":"EdDSA","b64":false}"#, Err(Malformed)),
        (r#"{"alg":"EdDSA","alg":"EdDSA"}"#, Err(Malformed)),
        (r#"{"alg":"EdDSA","kid":null}"#, Err(Malformed)),
        (r#"{"kid":"k1"}"#, Err(Malformed)),
        (r#"["EdDSA","k1","JWT"]"#, Err(Malformed)),
    ] {
        assert_eq!(checked(header, &payload).map(drop), expected, "{header}");
    }
}

#[test]
fn claims_are_refused_one_by_one() {
    use AssertionError::*;
    let endpoint = "https://gate.example/auth/oauth/token";
    for (claim, value, expected) in [
        ("iss", json!("other"), Err(Client)),
        ("sub", json!("other"), Err(Client)),
        ("aud", json!(endpoint), Ok(())),
        ("aud", json!(["https://gate.example"]), Ok(())),
        ("aud", json!(["https://gate.example", endpoint]), Ok(())),
        ("aud", json!([]), Err(Audience)),
        ("aud", json!("https://evil.example"), Err(Audience)),
        ("aud", json!("https://gate.example/"), Err(Audience)),
        ("aud", json!(["https://gate.example", "https://evil.example"]), Err(Audience)),
        ("aud", json!(7), Err(Claims)),
        ("jti", json!(""), Err(Claims)),
        ("jti", json!("j".repeat(128)), Ok(())),
        ("jti", json!("j".repeat(129)), Err(Claims)),
        ("jti", json!(1), Err(Claims)),
        ("exp", json!("1"), Err(Claims)),
        ("exp", json!(1e30), Err(Claims)),
        ("exp", json!(i64::MAX), Err(Time)),
        ("exp", json!(i64::MIN), Err(Time)),
        ("exp", json!(NOW - 4), Ok(())),
        ("exp", json!(NOW - 5), Err(Time)),
        ("exp", json!(NOW + 305), Ok(())),
        ("exp", json!(NOW + 306), Err(Time)),
        ("iat", json!(NOW + 5), Ok(())),
        ("iat", json!(NOW + 6), Err(Time)),
        ("iat", json!(null), Err(Claims)),
        ("nbf", json!(NOW + 6), Err(Time)),
        ("nbf", json!(i64::MAX), Err(Time)),
        ("whatever", json!({"a": 1}), Ok(())),
    ] {
        let mut changed = claims();
        changed[claim] = value.clone();
        assert_eq!(checked(HEADER, &changed.to_string()).map(drop), expected, "{claim}: {value}");
    }
    for missing in ["iss", "sub", "aud", "jti", "exp"] {
        let mut changed = claims();
        changed.as_object_mut().expect("members").remove(missing);
        assert_eq!(checked(HEADER, &changed.to_string()), Err(Claims), "{missing}");
    }
    let twice = claims().to_string().replacen('{', r#"{"sub":"worker","#, 1);
    assert_eq!(checked(HEADER, &twice), Err(Claims));
}

#[test]
fn what_was_changed_or_never_signed_proves_nothing() {
    let genuine = signed(HEADER, &claims().to_string());
    let unsigned = format!("{}.", genuine.rsplit_once('.').expect("three parts").0);
    let tampered = format!("{}{}", &genuine[..genuine.len() - 2], if genuine.ends_with("AA") { "BA" } else { "AA" });
    for text in
        ["", "a.b.c", "..", unsigned.as_str(), tampered.as_str(), &genuine[1..], &format!("{genuine}="), &"a".repeat(9000)]
    {
        assert!(verify(text, "worker", &keys(), &policy(), at(NOW)).is_err(), "{text}");
    }
}
