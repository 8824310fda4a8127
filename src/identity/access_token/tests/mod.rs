//! Hand-made tokens: each is genuine but for what its row says, so that the row's rule alone refuses it.

mod claims;
mod headers;
mod own_tokens;
mod signatures;

use std::sync::LazyLock;

use secrecy::SecretSlice;

use super::*;
use crate::identity::signing_keys::Algorithm;

const NOW: i64 = 1_800_000_000;
const SKEW: i64 = 5;
const LIFE_MAX: i64 = 900;

const HEADER: &str = r#"{"alg":"EdDSA","kid":"ed","typ":"at+jwt"}"#;
const PAYLOAD: &str = concat!(
    r#"{"iss":"https://gate.example","aud":"api","sub":"ada","sid":"00000000-0000-0000-0000-000000000001","jti":"j1","#,
    r#""iat":1800000000,"exp":1800000900,"auth_time":1800000000,"roles":["user"]}"#,
);
const SECRET: [u8; 32] = [7; 32];

/// One key of each algorithm; made once, because RSA keys take their time.
static RING: LazyLock<KeyRing> = LazyLock::new(|| {
    let generated = |algorithm| crate::identity::key_material::generate(algorithm).expect("generated");
    let key = |kid, algorithm, private| {
        let epoch = Timestamp::UNIX_EPOCH;
        SigningKey::import(Some(kid), algorithm, private, epoch, epoch, None).expect("a good key")
    };
    let keys = vec![
        key("ed", Algorithm::EdDsa, generated(Algorithm::EdDsa)),
        key("es", Algorithm::Es256, generated(Algorithm::Es256)),
        key("rs", Algorithm::Rs256, generated(Algorithm::Rs256)),
        key("hs", Algorithm::Hs256, SecretSlice::from(SECRET.to_vec())),
    ];
    KeyRing::new(keys).expect("four ids")
});

fn policy() -> TokenPolicy {
    TokenPolicy {
        issuer: "https://gate.example".into(),
        audience: "api".into(),
        skew: Duration::from_secs(SKEW.unsigned_abs()),
        life_max: Duration::from_secs(LIFE_MAX.unsigned_abs()),
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a year of this century")
}

fn check(token: &str) -> Result<(), TokenError> {
    verify(token, &RING, &policy(), at(NOW)).map(drop)
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn key(kid: &str) -> &'static SigningKey {
    RING.verifier(kid).expect("one of the four")
}

/// Signs any header and any payload with a key of the ring.
fn signed(kid: &str, header: &str, payload: impl AsRef<[u8]>) -> String {
    let message = format!("{}.{}", base64(header), base64(payload));
    let signature = key(kid).sign(message.as_bytes()).expect("signed");
    format!("{message}.{}", base64(signature))
}

/// A genuine token but for one replaced piece of its header.
fn with_header(old: &str, new: &str) -> String {
    assert!(HEADER.contains(old), "{old}");
    signed("ed", &HEADER.replace(old, new), PAYLOAD)
}

/// A genuine token but for one replaced piece of its claims.
fn with_claims(old: &str, new: &str) -> String {
    assert!(PAYLOAD.contains(old), "{old}");
    signed("ed", HEADER, PAYLOAD.replace(old, new))
}

#[test]
fn the_genuine_token_is_accepted_with_every_algorithm() {
    for (kid, algorithm) in [("ed", "EdDSA"), ("es", "ES256"), ("rs", "RS256"), ("hs", "HS256")] {
        let header = format!(r#"{{"alg":"{algorithm}","kid":"{kid}","typ":"at+jwt"}}"#);
        assert_eq!(check(&signed(kid, &header, PAYLOAD)), Ok(()), "{algorithm}");
    }
}
