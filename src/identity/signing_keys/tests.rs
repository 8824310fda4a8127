//! Which keys are accepted, which of them signs, and what of them is published.

use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use base64::engine::general_purpose::STANDARD;

use super::*;

/// A throw-away key of 1,024 bits, made for this test: the library makes none so small.
const RSA_1024: &str = "MIICeAIBADANBgkqhkiG9w0BAQEFAASCAmIwggJeAgEAAoGBALEkpfXdheTs518Cl1NZZ3la0YnGfylhS00fuEvrYtIsJ3xL5BW8S/t6QSSlUau5FNg8L64eQwTTiLNo0PDvdBiPwOFFZDsw3Aq+fsdozcYrOOcAMnkfsttgME037hQMJvFQ98kfFufYbU0Ybu2YR2Dv+76MYEWq0YjKbQM0YWLlAgMBAAECgYEAopqfdMb5ZyBHaiE4wxuoLe89tJhulY9nzc22IIpbVc2OGTyYi5MitB6OuZK/G0Bzb+IfalcA8ecy7mzijqdfCr0clfOMgezI1bHkWawrg6eN6iGHiNO7w/c8YrqRQmoiUAnAMqi06w8buFO7+Lj60bo2/Lj6G4bs6752EwLRX6kCQQDhtSkIsZu2xrhICYSJB4uq+VbGXgR2/tl5AqyN5YZEFOh1s/DkzljgtXKGHioMeQ9/FL30BzcevSE0j44nHKIzAkEAyOrp//hqLQ5kZpFmcpL8KZVa1KunH5TIOpEWHGCwUkjjAhdBEeJGdFlKlgrARhyofH/sLXSn1T8GRAH/MoK+hwJBAIsQbm7f11v/Bi3ER3eSQZifNbrU1JVooh9v6VcoEtjBtRRIQOUIyjPxN9WwoiG7OTQIWJ0REQIMb3gN9vzcJIcCQDBrfK01ftEQ8N1PGTNvfNnApr0uCP6xanfC02NPYe7SpfKxC/t1XqlXg4QZXzEGYwxt/8sMnA3mPGpTWN8hZy0CQQDhN37iFVzRcsVFwhdKUvFFWEImQzlx++6aXj1Qj5fSBYd9dZFLNC8+GgF9L3dyxljKrAEXV2flWrnyIVSNPYDn";
const LATER: Duration = Duration::from_secs(600);
const TICK: Duration = Duration::from_nanos(1);

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a year of this century")
}

/// A key with this id whose first byte of secret is its id's, so that each is another key.
fn key(kid: &str, activates_at: Timestamp, retires_at: Option<Timestamp>) -> SigningKey {
    let secret = vec![kid.as_bytes()[0]; 32];
    SigningKey::import(Some(kid), Algorithm::Hs256, secret.into(), now(), activates_at, retires_at).expect("a good key")
}

fn import(algorithm: Algorithm, private: &[u8]) -> Result<SigningKey, KeyError> {
    SigningKey::import(None, algorithm, private.to_vec().into(), now(), now(), None)
}

fn signer(ring: &KeyRing, now: Timestamp) -> Option<&str> {
    ring.signer(now).map(|key| &*key.kid)
}

#[test]
fn an_algorithm_is_read_in_exactly_its_own_letters() {
    for algorithm in Algorithm::ALL {
        assert_eq!(algorithm.name().parse(), Ok(algorithm));
        assert!(Algorithm::parse(&algorithm.name().to_lowercase()).is_err());
    }
    assert!(Algorithm::parse("none").is_err_and(|error| error.to_string().contains("`none`")));
}

#[test]
fn a_key_survives_its_private_bytes() {
    for algorithm in Algorithm::ALL {
        let made = SigningKey::generate(algorithm, now(), now()).expect("generated");
        let read = import(algorithm, made.private_bytes().expose_secret()).expect("its own bytes");
        assert_eq!(made.kid, read.kid, "the id is the key's thumbprint");
        assert!(read.verify(b"message", &made.sign(b"message").expect("signed")), "{algorithm}");
        assert!(!read.verify(b"massage", &made.sign(b"message").expect("signed")), "{algorithm}");
        let stranger = SigningKey::generate(algorithm, now(), now()).expect("generated");
        assert!(!stranger.verify(b"message", &made.sign(b"message").expect("signed")), "{algorithm}");
        assert_ne!(made.kid, stranger.kid);
    }
}

// Cases 142 to 144, as far as own keys go.
#[test]
fn a_weak_or_foreign_key_is_refused() {
    let hmac = |bytes| import(Algorithm::Hs256, &vec![1; bytes]).err();
    assert_eq!((hmac(0), hmac(31), hmac(32)), (Some(KeyError::HmacTooShort), Some(KeyError::HmacTooShort), None));

    let small = STANDARD.decode(RSA_1024).expect("base64");
    assert_eq!(import(Algorithm::Rs256, &small).err(), Some(KeyError::Private(Algorithm::Rs256)));

    let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).and_then(|pair| pair.to_pkcs8v1()).expect("generated");
    assert_eq!(import(Algorithm::Es256, p384.as_ref()).err(), Some(KeyError::Private(Algorithm::Es256)));

    for made_for in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256] {
        let made = SigningKey::generate(made_for, now(), now()).expect("generated");
        for used_for in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256] {
            let read = import(used_for, made.private_bytes().expose_secret());
            assert_eq!(read.is_ok(), made_for == used_for, "{made_for} as {used_for}");
        }
        assert!(import(made_for, b"not PKCS#8").is_err());
    }
}

#[test]
fn a_key_id_stands_unescaped_in_a_header() {
    let with =
        |kid: &str| SigningKey::import(Some(kid), Algorithm::Hs256, vec![1; 32].into(), now(), now(), None).map(|key| key.kid);
    for kid in ["k", "2026-11", "urn:example:key/7", &"k".repeat(128)] {
        assert_eq!(with(kid).as_deref(), Ok(kid));
    }
    for kid in ["", "a b", "a\"b", "a\\b", "é", "a\n", &"k".repeat(129)] {
        assert_eq!(with(kid), Err(KeyError::Kid), "{kid:?}");
    }
}

#[test]
fn a_ring_has_keys_and_each_its_own_id() {
    assert_eq!(KeyRing::new(Vec::new()).err(), Some(KeyError::Empty));
    let twice = KeyRing::new(vec![key("a", now(), None), key("b", now(), None), key("a", now() + LATER, None)]);
    assert_eq!(twice.err(), Some(KeyError::DuplicateKid("a".into())));
}

#[test]
fn the_newest_active_key_signs() {
    let ring = KeyRing::new(vec![key("new", now() + LATER, None), key("old", now(), None)]).expect("two ids");
    for (instant, kid) in [
        (now() - TICK, "old"), // none is active: better the oldest than none
        (now(), "old"),
        (now() + LATER - TICK, "old"),
        (now() + LATER, "new"),
    ] {
        assert_eq!(signer(&ring, instant), Some(kid), "{instant}");
        assert!(ring.verifier("new").is_some() && ring.verifier("old").is_some(), "both verify at any time");
    }
    assert!(ring.verifier("ne").is_none() && ring.verifier("").is_none());
}

#[test]
fn a_retired_key_signs_no_more() {
    let end = now() + LATER;
    let ring = KeyRing::new(vec![key("old", now(), None), key("new", now() + TICK, Some(end))]).expect("two ids");
    assert_eq!((signer(&ring, end - TICK), signer(&ring, end)), (Some("new"), Some("old")));
    assert!(ring.verifier("new").is_some(), "it verifies what it signed");
    let ring = KeyRing::new(vec![key("only", now(), Some(end))]).expect("one id");
    assert_eq!((signer(&ring, end - TICK), signer(&ring, end)), (Some("only"), None));
}

#[test]
fn public_keys_are_published_and_secrets_never() {
    let made = |algorithm| SigningKey::generate(algorithm, now(), now() + LATER).expect("generated");
    let ring = KeyRing::new(Algorithm::ALL.map(made).into()).expect("four ids");
    let mut published: Vec<_> = ring
        .public_keys()
        .map(|key| (key.algorithm.name(), key.members.iter().map(|(name, _)| *name).collect::<Vec<_>>()))
        .collect();
    published.sort_unstable();
    assert_eq!(
        published,
        [("ES256", vec!["crv", "kty", "x", "y"]), ("EdDSA", vec!["crv", "kty", "x"]), ("RS256", vec!["e", "kty", "n"]),]
    );
}

// RFC 8037 appendix A.2 and A.3.
#[test]
fn the_thumbprint_is_that_of_the_standard() {
    let seed = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
    let prefix = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    let pkcs8 = [prefix.as_slice(), &URL_SAFE_NO_PAD.decode(seed).expect("base64url")].concat();
    let key = import(Algorithm::EdDsa, &pkcs8).expect("the key of the standard");
    assert_eq!(&*key.kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    let ring = KeyRing::new(vec![key]).expect("one key");
    let x = ring.public_keys().next().expect("one key").members.last().expect("three members").1.clone();
    assert_eq!(x, "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
}

#[test]
fn the_fingerprint_changes_with_what_verifies() {
    let ring = |keys| KeyRing::new(keys).expect("different ids").fingerprint();
    let one = || key("a", now(), None);
    let reference = ring(vec![one()]);
    assert_eq!(reference, ring(vec![one()]), "a reload without changes");
    assert_eq!(ring(vec![one(), key("b", now() + LATER, None)]), ring(vec![key("b", now() + LATER, None), one()]));
    assert_ne!(reference, ring(vec![one(), key("b", now(), None)]));
    assert_ne!(reference, ring(vec![key("ab", now(), None)]), "the same secret under another id");
    assert_ne!(reference, ring(vec![key("a", now(), Some(now()))]), "retired");
}

#[test]
fn nothing_secret_is_printed() {
    let secret = b"0123456789abcdef0123456789abcdef";
    let key = import(Algorithm::Hs256, secret).expect("long enough");
    let ring = KeyRing::new(vec![key]).expect("one key");
    let printed = format!("{ring:?}");
    assert!(
        !printed.contains("48, 49, 50") && !printed.contains("0123456789abcdef") && !printed.contains("MDEyMzQ1"),
        "{printed}"
    );
}
