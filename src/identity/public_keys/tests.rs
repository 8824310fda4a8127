//! Which keys of a set are taken, and which sets are refused.

use std::sync::LazyLock;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::*;
use crate::identity::signing_keys::{Algorithm, KeyRing, SigningKey};

static RING: LazyLock<KeyRing> = LazyLock::new(|| {
    let key = |algorithm| SigningKey::generate(algorithm, Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH).expect("generated");
    KeyRing::new(vec![key(Algorithm::EdDsa), key(Algorithm::Es256), key(Algorithm::Rs256)]).expect("three ids")
});

/// 65537^123456789 modulo the product of the first primes, and a multiple of that product: no more is needed to be found.
const ROCA: &str = concat!(
    "gIGGAz1YvKQ-3fQtfL9_ywA2KIYOIf5GYjU4roKCv8gfVX4_8ruD9rEuaqJThaYDa_MsOYzaNKwm0bN8c-dIDooXxYXwGJpIz1nBDRN3Tvab5zzCWHvQPrj1",
    "YhNi5cSYyFCvhfKVTkVna6Mt8uRqhadv4Dn2XdhZQg-6FX3_BiBai-VkUlagWydHNdY_j5wkIlkImy_Pt7E2VtGLHaS5JT7KAEc3XlaQ8z2EA4oi1FHfh6Hl",
    "yC_3cy_7XMc0uDJKzy2ZEfHBeeGqkyURsTa1cH7uE-uyiuyaPkSJcX9FB9v6vZFC8b90OpBJhlf6HA-emdNzaZVoxfG7Urc43XeEeQ",
);

fn jwk(algorithm: Algorithm) -> Map<String, Value> {
    let key = RING.public_keys().find(|key| key.algorithm == algorithm).expect("one of the three");
    let members = key.members.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
    members.chain([("kid".to_owned(), json!(algorithm.name()))]).collect()
}

fn with(algorithm: Algorithm, member: &str, value: Value) -> String {
    let mut jwk = jwk(algorithm);
    jwk.insert(member.to_owned(), value);
    Value::from(jwk).to_string()
}

#[test]
fn each_key_of_a_set_verifies_with_its_own_algorithm_only() {
    let algorithms = [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256];
    let set = PublicKeys::parse(&json!({"keys": algorithms.map(jwk)}).to_string()).expect("a set");
    for algorithm in algorithms {
        let key = RING.keys().find(|key| key.algorithm == algorithm).expect("one of the three");
        let signature = key.sign(b"message").expect("signed");
        let single = PublicKeys::parse(&Value::from(jwk(algorithm)).to_string()).expect("a key");
        assert!(single.verify(None, algorithm.name(), b"message", &signature), "the only one need not be named");
        assert!(!set.verify(None, algorithm.name(), b"message", &signature), "which of the three?");
        for kid in algorithms.map(Algorithm::name) {
            for named in algorithms.map(Algorithm::name).into_iter().chain(["none", "HS256", "PS256"]) {
                let right = kid == algorithm.name() && named == algorithm.name();
                assert_eq!(set.verify(Some(kid), named, b"message", &signature), right, "{algorithm} {kid} {named}");
            }
        }
        assert!(!set.verify(Some(algorithm.name()), algorithm.name(), b"massage", &signature));
    }
}

#[test]
fn nobodys_keys_are_there_for_every_algorithm_and_verify_nothing() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256] {
        let key = RING.keys().find(|key| key.algorithm == algorithm).expect("one of the three");
        let signature = key.sign(b"message").expect("signed");
        assert!(nobody::key(algorithm.name()).is_some(), "{algorithm}");
        for kid in [None, Some("k")] {
            assert!(!PublicKeys::nobodys().verify(kid, algorithm.name(), b"message", &signature), "{algorithm}");
        }
    }
    assert!(nobody::key("HS256").is_none() && nobody::key("none").is_none());
}

// Cases 142 and 144.
#[test]
fn a_set_in_which_anything_is_amiss_is_refused_as_a_whole() {
    use PublicKeysError::*;
    let ed = || Value::from(jwk(Algorithm::EdDsa));
    let unnamed = |algorithm| {
        let mut jwk = jwk(algorithm);
        jwk.remove("kid");
        Value::from(jwk)
    };
    let short = URL_SAFE_NO_PAD.encode([0xff; 128]);
    for (what, json, error) in [
        ("text", "key".to_owned(), Malformed),
        ("an array", json!([ed()]).to_string(), Malformed),
        ("no key", json!({"keys": []}).to_string(), Size),
        ("17 keys", json!({"keys": vec![ed(); 17]}).to_string(), Size),
        ("the same id twice", json!({"keys": [ed(), ed()]}).to_string(), Kid),
        ("one of two without id", json!({"keys": [ed(), unnamed(Algorithm::Es256)]}).to_string(), Kid),
        ("a private key", with(Algorithm::EdDsa, "d", json!("AA")), Private),
        ("a secret", json!({"kty": "oct", "k": "AA"}).to_string(), Private),
        ("for encryption", with(Algorithm::EdDsa, "use", json!("enc")), Use),
        ("for encryption by its operations", with(Algorithm::EdDsa, "key_ops", json!(["encrypt"])), Use),
        ("of another algorithm", with(Algorithm::Rs256, "alg", json!("PS256")), Use),
        ("of another curve", with(Algorithm::Es256, "crv", json!("P-384")), Use),
        ("not on the curve", with(Algorithm::Es256, "x", json!(URL_SAFE_NO_PAD.encode([1; 32]))), Key),
        ("too short", with(Algorithm::EdDsa, "x", json!("AAAA")), Key),
        ("RSA of 1024 bits", with(Algorithm::Rs256, "n", json!(short)), Key),
        ("RSA by ROCA", with(Algorithm::Rs256, "n", json!(ROCA)), Key),
        ("RSA with exponent 1", with(Algorithm::Rs256, "e", json!("AQ")), Key),
        ("a member twice", r#"{"kty":"OKP","kty":"RSA"}"#.to_owned(), Malformed),
        ("kid null", with(Algorithm::EdDsa, "kid", Value::Null), Malformed),
        ("64 KiB", format!("{}{}", " ".repeat(BYTES_MAX), ed()), Size),
    ] {
        assert_eq!(PublicKeys::parse(&json).map(drop), Err(error), "{what}");
    }
    assert!(PublicKeys::parse(&with(Algorithm::EdDsa, "x5t", json!("ignored"))).is_ok());
}

// Cases 142 and 144, for a set that serves others, too.
#[test]
fn of_an_issuers_set_unusable_keys_are_left_out_and_careless_sets_refused() {
    let even = URL_SAFE_NO_PAD.encode([1, 0, 0]);
    let short = URL_SAFE_NO_PAD.encode([0xff; 128]);
    let bad = |algorithm, member: &str, value| -> Value {
        let mut jwk = jwk(algorithm);
        jwk.insert("kid".to_owned(), json!("bad"));
        jwk.insert(member.to_owned(), value);
        jwk.into()
    };
    let beside = |bad: &Value| json!({"keys": [jwk(Algorithm::EdDsa), bad]}).to_string();
    for (what, key, alone) in [
        ("for encryption", bad(Algorithm::Rs256, "use", json!("enc")), PublicKeysError::Use),
        ("key_ops", bad(Algorithm::Rs256, "key_ops", json!(["encrypt"])), PublicKeysError::Use),
        ("of another algorithm", bad(Algorithm::Rs256, "alg", json!("RSA-OAEP")), PublicKeysError::Use),
        ("of another curve", bad(Algorithm::Es256, "crv", json!("P-521")), PublicKeysError::Use),
        ("off the curve", bad(Algorithm::Es256, "x", json!(URL_SAFE_NO_PAD.encode([1; 32]))), PublicKeysError::Key),
        ("RSA of 1024 bits", bad(Algorithm::Rs256, "n", json!(short)), PublicKeysError::Key),
        ("RSA by ROCA", bad(Algorithm::Rs256, "n", json!(ROCA)), PublicKeysError::Key),
        ("an even exponent", bad(Algorithm::Rs256, "e", json!(even)), PublicKeysError::Key),
    ] {
        let (keys, left_out) = PublicKeys::parse_usable(&beside(&key)).expect(what);
        assert_eq!((left_out, keys.takes(Some("bad"), "EdDSA")), (1, None), "{what}");
        assert_eq!(keys.takes(Some("EdDSA"), "EdDSA"), Some(true), "{what}");
        assert_eq!(PublicKeys::parse_usable(&json!({"keys": [key]}).to_string()).map(drop), Err(alone), "{what}");
    }
    for (what, key, error) in [
        ("private", bad(Algorithm::EdDsa, "d", json!("AA")), PublicKeysError::Private),
        ("a secret", json!({"kty": "oct", "k": "AA", "kid": "bad"}), PublicKeysError::Private),
        ("the same id", bad(Algorithm::Es256, "kid", json!("EdDSA")), PublicKeysError::Kid),
    ] {
        assert_eq!(PublicKeys::parse_usable(&beside(&key)).map(drop), Err(error), "{what}");
    }
}
