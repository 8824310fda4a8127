//! What a header may not say, and texts that are no token at all.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::KeyPair as _;
use secrecy::ExposeSecret as _;

use super::*;

// Case 120.
#[test]
fn an_unsigned_token_is_refused_in_every_spelling() {
    for none in ["none", "None", "NONE", "nOnE", "noNE", ""] {
        let header = HEADER.replace("EdDSA", none);
        let unsigned = format!("{}.{}.", base64(&header), base64(PAYLOAD));
        assert_eq!(check(&unsigned), Err(TokenError::Algorithm), "{none} without a signature");
        assert_eq!(check(&signed("ed", &header, PAYLOAD)), Err(TokenError::Algorithm), "{none} with one");
    }
    let unsigned = format!("{}.{}.", base64(HEADER), base64(PAYLOAD));
    assert_eq!(check(&unsigned), Err(TokenError::Signature));
}

// Case 121.
#[test]
fn a_public_key_is_no_hmac_secret() {
    let pair = RsaKeyPair::from_pkcs8(key("rs").private_bytes().expose_secret()).expect("the ring's own");
    let der: PublicKeyX509Der<'_> = pair.public_key().as_der().expect("encodable");
    let jwk = format!("{:?}", RING.public_keys().map(|key| key.members).collect::<Vec<_>>());
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", URL_SAFE_NO_PAD.encode(der.as_ref()));
    let newline = format!("{pem}\n");
    for secret in [der.as_ref(), pair.public_key().as_ref(), jwk.as_bytes(), pem.as_bytes(), newline.as_bytes(), b""] {
        for kid in ["ed", "es", "rs"] {
            let header = format!(r#"{{"alg":"HS256","kid":"{kid}","typ":"at+jwt"}}"#);
            let message = format!("{}.{}", base64(header), base64(PAYLOAD));
            let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
            assert_eq!(check(&format!("{message}.{}", base64(mac))), Err(TokenError::Algorithm), "{kid}");
        }
    }
}

// Case 122.
#[test]
fn a_key_has_one_algorithm_whatever_the_token_says() {
    for (kid, own) in [("ed", "EdDSA"), ("es", "ES256"), ("rs", "RS256"), ("hs", "HS256")] {
        for claimed in
            ["HS256", "HS384", "HS512", "RS256", "RS384", "PS256", "ES256", "ES384", "ES256K", "EdDSA", "Ed25519", "eddsa"]
        {
            let header = format!(r#"{{"alg":"{claimed}","kid":"{kid}","typ":"at+jwt"}}"#);
            let verdict = if claimed == own { Ok(()) } else { Err(TokenError::Algorithm) };
            assert_eq!(check(&signed(kid, &header, PAYLOAD)), verdict, "{claimed} for {own}");
        }
    }
}

// Cases 123 to 126, 128, 136 and 137: what a header may not say.
#[test]
fn a_header_says_alg_kid_and_typ_once_and_nothing_else() {
    let traversal = with_header(r#""kid":"ed""#, r#""kid":"../../dev/null""#);
    let injection = with_header(r#""kid":"ed""#, r#""kid":"' OR 1=1--""#);
    for (case, name, token, refusal) in [
        (123, "crit unknown", with_header("{", r#"{"crit":["foo"],"#), TokenError::Header),
        (123, "crit empty", with_header("{", r#"{"crit":[],"#), TokenError::Header),
        (123, "crit known", with_header("{", r#"{"crit":["exp"],"exp":1,"#), TokenError::Header),
        (124, "b64", with_header("{", r#"{"b64":false,"#), TokenError::Header),
        (124, "b64 critical", with_header("{", r#"{"crit":["b64"],"b64":false,"#), TokenError::Header),
        (124, "zip", with_header("{", r#"{"zip":"DEF","#), TokenError::Header),
        (124, "cty", with_header("{", r#"{"cty":"JWT","#), TokenError::Header),
        (125, "jwk", with_header("{", r#"{"jwk":{"kty":"OKP","crv":"Ed25519","x":"AA"},"#), TokenError::Header),
        (125, "jku", with_header("{", r#"{"jku":"https://evil.example/jwks","#), TokenError::Header),
        (125, "x5u", with_header("{", r#"{"x5u":"https://evil.example/x","#), TokenError::Header),
        (125, "x5c", with_header("{", r#"{"x5c":["AA"],"#), TokenError::Header),
        (126, "kid a path", traversal, TokenError::UnknownKey),
        (126, "kid an injection", injection, TokenError::UnknownKey),
        (126, "kid in another case", with_header(r#""ed""#, r#""ED""#), TokenError::UnknownKey),
        (126, "kid empty", with_header(r#""ed""#, r#""""#), TokenError::UnknownKey),
        (126, "kid a number", with_header(r#""ed""#, "1"), TokenError::Header),
        (126, "kid null", with_header(r#""ed""#, "null"), TokenError::Header),
        (126, "kid missing", with_header(r#""kid":"ed","#, ""), TokenError::Header),
        (126, "kid of 1 MiB", with_header(r#""ed""#, &format!(r#""{}""#, "k".repeat(1 << 20))), TokenError::TooLong),
        (128, "an ID token", with_header("at+jwt", "JWT"), TokenError::Type),
        (128, "a refresh token", with_header("at+jwt", "refresh+jwt"), TokenError::Type),
        (128, "a logout token", with_header("at+jwt", "logout+jwt"), TokenError::Type),
        (128, "a longer type", with_header("at+jwt", "at+jwtx"), TokenError::Type),
        (128, "typ empty", with_header("at+jwt", ""), TokenError::Type),
        (128, "typ missing", with_header(r#","typ":"at+jwt""#, ""), TokenError::Header),
        (128, "typ a list", with_header(r#""at+jwt""#, r#"["at+jwt"]"#), TokenError::Header),
        (136, "kid twice", with_header("{", r#"{"kid":"ed","#), TokenError::Header),
        (136, "kid twice, once escaped", with_header("{", r#"{"\u006bid":"ed","#), TokenError::Header),
        (136, "alg twice", with_header("{", r#"{"alg":"none","#), TokenError::Header),
        (137, "200 deep", with_header(r#""ed""#, &"[".repeat(200)), TokenError::Header),
        (138, "not an object", signed("ed", r#"["EdDSA","ed","at+jwt"]"#, PAYLOAD), TokenError::Header),
        (138, "trailing garbage", with_header("}", "}x"), TokenError::Header),
    ] {
        assert_eq!(check(&token), Err(refusal), "case {case}: {name}");
    }
}

// Cases 115, 116, 140 and 174: texts that are not three parts of canonical base64url.
#[test]
fn a_token_has_one_spelling() {
    let token = signed("ed", HEADER, PAYLOAD);
    let parts: Vec<&str> = token.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    // 64 signature bytes leave four bits of the last character unused: any other value of them is another text.
    let last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".find(&signature[85..]).expect("base64url");
    let stray = char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last + 1]);
    for (name, text) in [
        ("empty", String::new()),
        ("one part", header.to_owned()),
        ("two parts", format!("{header}.{payload}")),
        ("four parts", format!("{token}.{signature}")),
        ("five parts, a JWE", format!("{token}.{signature}.{signature}")),
        ("an extra dot", format!("{token}.")),
        ("a leading dot", format!(".{token}")),
        ("three dots", "...".to_owned()),
        ("padding", format!("{token}==")),
        ("a space", format!("{token} ")),
        ("a line feed", format!("{header}\n.{payload}.{signature}")),
        ("stray bits", format!("{header}.{payload}.{}{stray}", &signature[..85])),
        ("standard alphabet", format!("{header}.{payload}.+/{}", &signature[2..])),
        ("not ASCII", format!("{header}.{payload}.é{signature}")),
        ("NUL", format!("{token}\0")),
        ("JSON serialisation", format!(r#"{{"protected":"{header}","payload":"{payload}","signature":"{signature}"}}"#)),
        ("JSON and compact, python-jwt's way", format!(r#"{{"  {header}.{payload}.{signature}":1}}"#)),
        ("a refresh token", "A".repeat(70)),
    ] {
        assert_eq!(check(&text), Err(TokenError::Malformed), "{name}");
    }
    for (name, text) in [("900 KiB", "a".repeat(900 * 1024)), ("a million dots", ".".repeat(1_000_000))] {
        assert_eq!(check(&text), Err(TokenError::TooLong), "{name}");
    }
    assert_eq!(check(&".".repeat(TOKEN_BYTES_MAX)), Err(TokenError::Malformed));
    assert_eq!(check(".."), Err(TokenError::Header), "three empty parts");
    // An unsigned change of the payload's spelling is a change of what was signed.
    assert_eq!(check(&format!("{header}.{payload}=.{signature}")), Err(TokenError::Signature));
}
