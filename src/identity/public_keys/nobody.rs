//! Keys whose private halves were thrown away: what a signature is checked with for want of the right key.
//!
//! A client that there is not, one without keys, and one whose assertion names another key are then refused after the
//! same work as one whose signature is wrong, so that time does not tell which clients there are.

use std::sync::LazyLock;

use aws_lc_rs::signature::ParsedPublicKey;

use super::{PublicKey, PublicKeys};

/// One for each algorithm that clients may sign with.
static KEYS: LazyLock<[PublicKey; 3]> = LazyLock::new(|| {
    let key = |json: &str| {
        let PublicKeys(mut keys) = PublicKeys::parse(json).expect("this file's keys are well-formed");
        keys.pop().expect("a set has a key")
    };
    [key(ED25519), key(P256), key(RSA)]
});

const ED25519: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"qsLEJNN2C5CoxJqcpqQs0CBD1eoup5v_CJFTDmoS6yc"}"#;
pub(super) const P256: &str = concat!(
    r#"{"kty":"EC","crv":"P-256","x":"YDKkDngIZ0OZIZMmt9JuamKoMSvZApoK703Y7Y9zBcY","#,
    r#""y":"VJrGX-w4dWSwHOKkVYeFcNdhTCHu2Jd8A0PSOA_F6hY"}"#,
);
const RSA: &str = concat!(
    r#"{"kty":"RSA","e":"AQAB","n":""#,
    "r6fP6fx2cPcZGdqOHEchTAxOIFwl3UzgRrjDgWIMzc4KNk90a0P6jh9Hl-",
    "ytvkx7d2kn9cA04KxPBDnVpYr6LwT1qKQwdmn2idmTyeZDVAl_od9-w8wgtFXSlrsdxMnKlKj41rEnMpuLY9gv8WVCvSW-",
    "lpcjIIkefe41DHFyo-SoWjWSiVOHpqjFHyl0IxnB4WecqVoviT7SngyY7IC1Lyf5fyiTNPxylcE-1Ow9zcYApJpZPWdj-",
    "S8jICaATmiZOxUawWiDXiJv5G1VHhifoPz2sU9lrJ2kxwU5zB390w0R-",
    "zIL2RN1FIr2epijF27OmEGUmeKmKU9qvUxvXORedw",
    r#""}"#,
);

/// Nobody's key for this algorithm; none for one that no client's key has.
pub(super) fn key(algorithm: &str) -> Option<&'static ParsedPublicKey> {
    KEYS.iter().find_map(|key| key.with(algorithm))
}
