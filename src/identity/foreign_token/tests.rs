//! What a foreign token may not say (group F of the catalogue, with somebody else's keys), and what becomes of what it says.

use std::sync::LazyLock;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::identity::Credential;
use crate::identity::signing_keys::{Algorithm, KeyRing};

const NOW: i64 = 1_800_000_100;
const HEADER: &str = r#"{"alg":"EdDSA","kid":"EdDSA","typ":"at+jwt"}"#;
const PAYLOAD: &str = concat!(
    r#"{"iss":"https://id.example","aud":["other","api"],"sub":"ada","sid":"s1","jti":"j1","iat":1800000000,"exp":1800000900,"#,
    r#""auth_time":1800000000,"preferred_username":"Ada","email":"ada@id.example","email_verified":true,"scope":"read write","#,
    r#""realm_access":{"roles":["billing","admin","admin"]}}"#,
);

/// The issuer's keys, and those of another issuer with the same ids.
pub(super) static RINGS: LazyLock<[KeyRing; 2]> = LazyLock::new(|| [ring(), ring()]);

fn ring() -> KeyRing {
    let epoch = Timestamp::UNIX_EPOCH;
    let key = |algorithm: Algorithm| {
        let private = crate::identity::key_material::generate(algorithm).expect("generated");
        SigningKey::import(Some(algorithm.name()), algorithm, private, epoch, epoch, None).expect("a good key")
    };
    KeyRing::new(vec![key(Algorithm::EdDsa), key(Algorithm::Es256), key(Algorithm::Rs256)]).expect("three ids")
}

fn jwks(ring: &KeyRing) -> String {
    let keys = ring.public_keys().map(|key| {
        let mut jwk: serde_json::Map<String, Value> = key.members.iter().map(|(n, v)| ((*n).to_owned(), json!(v))).collect();
        jwk.insert("kid".to_owned(), key.kid.into());
        Value::from(jwk)
    });
    json!({"keys": keys.collect::<Vec<_>>()}).to_string()
}

pub(super) fn keys() -> IssuerKeys {
    IssuerKeys::Public(PublicKeys::parse_usable(&jwks(&RINGS[0])).expect("a good set").0)
}

pub(super) fn path(text: &str) -> ClaimPath {
    ClaimPath::parse(text).expect("a path")
}

fn only(words: &[&str]) -> Taken {
    Taken::Only(words.iter().map(|&word| word.into()).collect())
}

pub(super) fn policy() -> ForeignPolicy {
    ForeignPolicy {
        issuer: "https://id.example".into(),
        audiences: vec!["api".into()],
        algorithms: VerificationAlgorithm::PUBLIC.to_vec(),
        types: vec!["at+jwt".into()],
        skew: Duration::from_secs(5),
        life_max: Duration::from_secs(900),
        mapping: Mapping {
            subject: path("sub"),
            username: path("preferred_username"),
            email: path("email"),
            roles: path("realm_access.roles"),
            scopes: path("scope"),
            taken_roles: only(&["billing"]),
            role_prefix: "corp:".into(),
            taken_scopes: only(&["read"]),
        },
    }
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a year of this century")
}

pub(super) fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn signed_by(ring: &KeyRing, kid: &str, header: &str, payload: &str) -> String {
    let message = format!("{}.{}", base64(header), base64(payload));
    let signature = ring.verifier(kid).expect("one of the three").sign(message.as_bytes()).expect("signed");
    format!("{message}.{}", base64(signature))
}

pub(super) fn signed(header: &str, payload: &str) -> String {
    signed_by(&RINGS[0], "EdDSA", header, payload)
}

fn check_at(token: &str, second: i64) -> Result<Caller, TokenError> {
    verify(token, &keys(), &policy(), at(second))
}

fn check(token: &str) -> Result<(), TokenError> {
    check_at(token, NOW).map(drop)
}

fn claims(old: &str, new: &str) -> String {
    assert!(PAYLOAD.contains(old), "{old}");
    PAYLOAD.replacen(old, new, 1)
}

#[test]
fn a_genuine_token_becomes_a_caller_with_what_the_mapping_takes() {
    let caller = check_at(&signed(HEADER, PAYLOAD), NOW).expect("genuine");
    let principal = &caller.principal;
    assert_eq!((&*principal.issuer, &*principal.subject), ("https://id.example", "ada"));
    assert_eq!((principal.username.as_deref(), principal.email.as_deref()), (Some("Ada"), Some("ada@id.example")));
    assert_eq!((principal.roles.concat(), principal.scopes.concat()), ("corp:billing".to_owned(), "read".to_owned()));
    assert_eq!((principal.credential, principal.auth_time), (Credential::Foreign, at(1_800_000_000)));
    // printf 'https://id.example\0j1' | sha256sum
    let id = "e5fdc5ab2f1ebbde0515e1d68625fac31d806aa39c5770e67067c05b93560dad";
    assert_eq!((&*caller.token.jti, caller.token.session), (id, principal.session));
    for (kid, algorithm) in [("ES256", "ES256"), ("RS256", "RS256")] {
        let header = format!(r#"{{"alg":"{algorithm}","kid":"{kid}","typ":"application/AT+JWT","x5t":"ignored"}}"#);
        assert_eq!(check(&signed_by(&RINGS[0], kid, &header, PAYLOAD)), Ok(()), "{kid}");
    }
}

// Cases 120 to 128 and 136.
#[test]
fn a_header_that_changes_how_the_token_is_read_is_refused() {
    let header = |old: &str, new: &str| signed(&HEADER.replacen(old, new, 1), PAYLOAD);
    let unsigned = |alg: &str| format!("{}.{}.", base64(HEADER.replacen("EdDSA", alg, 1)), base64(PAYLOAD));
    for (name, token, refusal) in [
        ("none", unsigned("none"), TokenError::Algorithm),
        ("NONE", unsigned("NONE"), TokenError::Algorithm),
        ("unsigned", unsigned("EdDSA"), TokenError::Signature),
        ("another algorithm", header(r#""alg":"EdDSA""#, r#""alg":"ES256""#), TokenError::Algorithm),
        ("HS256", header(r#""alg":"EdDSA""#, r#""alg":"HS256""#), TokenError::Algorithm),
        ("crit", header("{", r#"{"crit":["exp"],"#), TokenError::Header),
        ("crit empty", header("{", r#"{"crit":[],"#), TokenError::Header),
        ("b64", header("{", r#"{"b64":false,"#), TokenError::Header),
        ("zip", header("{", r#"{"zip":"DEF","#), TokenError::Header),
        ("cty", header("{", r#"{"cty":"JWT","#), TokenError::Header),
        ("jwk", header("{", r#"{"jwk":{},"#), TokenError::Header),
        ("jku", header("{", r#"{"jku":"https://evil.example","#), TokenError::Header),
        ("x5u", header("{", r#"{"x5u":"https://evil.example","#), TokenError::Header),
        ("x5c", header("{", r#"{"x5c":["AA"],"#), TokenError::Header),
        ("alg twice", header("{", r#"{"alg":"none","#), TokenError::Header),
        ("unknown twice", header("{", r#"{"a":1,"a":2,"#), TokenError::Header),
        ("kid null", header(r#""kid":"EdDSA""#, r#""kid":null"#), TokenError::Header),
        ("kid unknown", header(r#""kid":"EdDSA""#, r#""kid":"../k""#), TokenError::UnknownKey),
        ("kid of three missing", header(r#""kid":"EdDSA","#, ""), TokenError::UnknownKey),
        ("an ID token", header("at+jwt", "JWT"), TokenError::Type),
        ("no typ", header(r#","typ":"at+jwt""#, ""), TokenError::Type),
        ("9 KiB", "a".repeat(9 * 1024), TokenError::TooLong),
        ("two parts", "a.b".to_owned(), TokenError::Malformed),
    ] {
        assert_eq!(check(&token), Err(refusal), "{name}");
    }
}

// Case 121.
#[test]
fn a_public_key_is_no_secret_and_a_secret_no_public_key() {
    let header = r#"{"alg":"HS256","kid":"RS256","typ":"at+jwt"}"#;
    let mac = |secret: &[u8], header: &str| {
        let message = format!("{}.{}", base64(header), base64(PAYLOAD));
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        format!("{message}.{}", base64(mac))
    };
    assert_eq!(check(&mac(jwks(&RINGS[0]).as_bytes(), header)), Err(TokenError::Algorithm));
    let secret = [7; 32];
    let keys = IssuerKeys::secret(secret.to_vec().into()).expect("long enough");
    let policy = ForeignPolicy { algorithms: vec![VerificationAlgorithm::Hs256], ..policy() };
    let check = |token: &str| verify(token, &keys, &policy, at(NOW)).map(drop);
    assert_eq!(check(&mac(&secret, header)), Ok(()));
    assert_eq!(check(&mac(&[8; 32], header)), Err(TokenError::Signature));
    assert_eq!(check(&signed(HEADER, PAYLOAD)), Err(TokenError::Algorithm));
    assert!(IssuerKeys::secret(vec![7; 31].into()).is_err(), "case 143");
}

// Case 130.
#[test]
fn a_token_signed_with_another_issuers_key_is_refused() {
    for kid in ["EdDSA", "ES256", "RS256"] {
        let header = format!(r#"{{"alg":"{kid}","kid":"{kid}","typ":"at+jwt"}}"#);
        assert_eq!(check(&signed_by(&RINGS[1], kid, &header, PAYLOAD)), Err(TokenError::Signature), "{kid}");
    }
}

#[test]
fn only_the_algorithms_of_the_policy_are_accepted() {
    let policy = ForeignPolicy { algorithms: vec![VerificationAlgorithm::Es256], ..policy() };
    let refused = verify(&signed(HEADER, PAYLOAD), &keys(), &policy, at(NOW)).map(drop);
    assert_eq!(refused, Err(TokenError::Algorithm));
}

// Cases 129 to 139 and 148.
#[test]
fn claims_are_typed_once_and_for_us() {
    use TokenError::{Audience, Claims, Issuer, Life, NotYet};
    let iss = r#""iss":"https://id.example""#;
    for (name, payload, refusal) in [
        ("iss with a slash", claims(iss, r#""iss":"https://id.example/""#), Issuer),
        ("iss in upper case", claims(iss, r#""iss":"https://ID.example""#), Issuer),
        ("iss missing", claims(&format!("{iss},"), ""), Claims),
        ("iss a list", claims(iss, r#""iss":["https://id.example"]"#), Claims),
        ("aud another", claims(r#"["other","api"]"#, r#""apis""#), Audience),
        ("aud empty", claims(r#"["other","api"]"#, "[]"), Audience),
        ("aud mixed", claims(r#"["other","api"]"#, r#"["api",1]"#), Claims),
        ("aud missing", claims(r#""aud":["other","api"],"#, ""), Claims),
        ("aud null", claims(r#"["other","api"]"#, "null"), Claims),
        ("exp missing", claims(r#","exp":1800000900"#, ""), Claims),
        ("exp text", claims("1800000900", r#""1800000900""#), Claims),
        ("exp 1e30", claims("1800000900", "1e30"), Claims),
        ("exp null", claims("1800000900", "null"), Claims),
        ("exp u64", claims("1800000900", "18446744073709551615"), Claims),
        ("exp year 9999", claims("1800000900", "253402207000"), Life),
        ("exp before iat", claims("1800000900", "1700000000"), Life),
        ("a second too long", claims("1800000900", "1800000901"), Life),
        ("iat missing", claims(r#""iat":1800000000,"#, ""), Claims),
        ("iat ahead", claims("1800000000", "1800000106"), NotYet),
        ("nbf ahead", claims("{", r#"{"nbf":1800000106,"#), NotYet),
        ("nbf null", claims("{", r#"{"nbf":null,"#), Claims),
        ("auth_time ahead", claims(r#""auth_time":1800000000"#, r#""auth_time":1800000106"#), NotYet),
        ("jti empty", claims(r#""j1""#, r#""""#), Claims),
        ("jti number", claims(r#""j1""#, "1"), Claims),
        ("jti null", claims(r#""j1""#, "null"), Claims),
        ("jti long", claims("j1", &"j".repeat(129)), Claims),
        ("sub missing", claims(r#""sub":"ada","#, ""), Claims),
        ("sub number", claims(r#""ada""#, "1"), Claims),
        ("sub with a line feed", claims(r#""ada""#, r#""a\nb""#), Claims),
        ("sub long", claims(r#""ada""#, &format!("\"{}\"", "a".repeat(256))), Claims),
        ("sub twice", claims("{", r#"{"sub":"eve","#), Claims),
        ("a nested claim twice", claims(r#"{"roles":"#, r#"{"roles":["billing"],"roles":"#), Claims),
        ("roles a number", claims(r#"["billing","admin","admin"]"#, "1"), Claims),
        ("roles mixed", claims(r#"["billing","admin","admin"]"#, r#"["billing",1]"#), Claims),
        ("200 deep", claims("{", &format!(r#"{{"a":{}{},"#, "[".repeat(200), "]".repeat(200))), Claims),
        ("an array", "[]".to_owned(), Claims),
        ("trailing", format!("{PAYLOAD}x"), Claims),
    ] {
        assert_eq!(check(&signed(HEADER, &payload)), Err(refusal), "{name}");
    }
}

#[test]
fn a_token_is_good_until_its_expiry_and_the_skew() {
    let token = signed(HEADER, PAYLOAD);
    assert!(check_at(&token, 1_800_000_904).is_ok());
    assert_eq!(check_at(&token, 1_800_000_905).map(drop), Err(TokenError::Expired));
    assert!(check_at(&token, 1_799_999_995).is_ok());
    assert_eq!(check_at(&token, 1_799_999_994).map(drop), Err(TokenError::NotYet));
}

#[test]
fn what_is_not_there_is_not_made_up() {
    let read = |payload: &str| check_at(&signed(HEADER, payload), NOW).expect("genuine");
    assert_eq!(read(&claims("true", "false")).principal.email, None, "not verified");
    assert_eq!(read(&claims("true", r#""true""#)).principal.email, None, "said with another type");
    assert_eq!(read(&claims(r#","auth_time":1800000000"#, "")).principal.auth_time, Timestamp::UNIX_EPOCH);
    assert!(read(&claims("realm_access", "realm")).principal.roles.is_empty());
    assert!(read(&claims(r#"["billing","admin","admin"]"#, "null")).principal.roles.is_empty());
    let (with, without) = (read(PAYLOAD), read(&claims(r#","jti":"j1""#, "")));
    assert_eq!((without.token.jti.len(), with.token.session), (64, without.token.session), "the same sid");
    let other = read(&claims(r#","jti":"j1""#, r#","x":1"#));
    assert_ne!(without.token.jti, other.token.jti);
    let alone = |jti: &str| read(&claims(r#""sid":"s1","jti":"j1""#, &format!(r#""jti":"{jti}""#))).token.session;
    assert_ne!(alone("j1"), alone("j2"));
}

#[test]
fn a_token_is_revoked_by_what_only_its_issuer_can_say_of_it_and_never_by_its_text() {
    let id = |claims: &str, token: &str, policy: &ForeignPolicy| {
        let claims = json::object(claims.as_bytes()).expect("an object");
        claims::caller(&claims, Source::Introspected(token), policy, at(NOW)).expect("good").token.jti
    };
    let answer = |jti: &str| format!(r#"{{"aud":"api","sub":"ada","exp":1800000900{jti}}}"#);
    let (named, unnamed) = (answer(r#","jti":"j1""#), answer(""));
    let other = ForeignPolicy { issuer: "https://other.example".into(), ..policy() };
    assert_eq!(id(&named, "a", &policy()), id(&named, "b", &policy()), "the text does not matter where there is an id");
    assert_ne!(id(&named, "a", &policy()), id(&named, "a", &other), "no issuer has the ids of another");
    assert_ne!(id(&unnamed, "a", &policy()), id(&unnamed, "b", &policy()));
    // (r, s) and (r, n - s) are both good signatures of ECDSA.
    assert_eq!(id(&unnamed, "h.p.s1", &policy()), id(&unnamed, "h.p.s2", &policy()));
    let signed = signed(HEADER, &self::claims(r#","jti":"j1""#, ""));
    let (covered, _) = signed.rsplit_once('.').expect("a signature");
    let hash: String = digest(covered).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(*check_at(&signed, NOW).expect("genuine").token.jti, *hash);
    assert_eq!(*id(&unnamed, &signed, &policy()), *hash);
}

#[test]
fn every_algorithm_that_issuers_use_verifies_and_only_with_a_key_that_is_for_it() {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
    use aws_lc_rs::signature::{
        ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
        RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaKeyPair,
    };
    let random = SystemRandom::new();
    let (rsa, ec) = (RsaKeyPair::generate(KeySize::Rsa2048), EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING));
    let (rsa, ec) = (rsa.expect("generated"), ec.expect("generated"));
    let PublicKeyComponents::<Vec<u8>> { n, e } = rsa.public_key().into();
    let (x, y) = ec.public_key().as_ref()[1..].split_at(48);
    let rsa_jwk = json!({"kty": "RSA", "n": base64(n), "e": base64(e)});
    let ec_jwk = json!({"kty": "EC", "crv": "P-384", "x": base64(x), "y": base64(y)});
    let message = |alg: &str| format!("{}.{}", base64(format!(r#"{{"alg":"{alg}","typ":"at+jwt"}}"#)), base64(PAYLOAD));
    let by_rsa = |alg: &str, padding| {
        let (message, mut signature) = (message(alg), vec![0; rsa.public_modulus_len()]);
        rsa.sign(padding, &random, message.as_bytes(), &mut signature).expect("signed");
        (alg.to_owned(), format!("{message}.{}", base64(signature)))
    };
    let by_ec = message("ES384");
    let by_ec = format!("{by_ec}.{}", base64(ec.sign(&random, by_ec.as_bytes()).expect("signed")));
    let tokens = [
        by_rsa("RS256", &RSA_PKCS1_SHA256),
        by_rsa("RS384", &RSA_PKCS1_SHA384),
        by_rsa("RS512", &RSA_PKCS1_SHA512),
        by_rsa("PS256", &RSA_PSS_SHA256),
        by_rsa("PS384", &RSA_PSS_SHA384),
        by_rsa("PS512", &RSA_PSS_SHA512),
        ("ES384".to_owned(), by_ec),
    ];
    let verified = |jwk: &Value, token: &str, accepted: &[VerificationAlgorithm]| {
        let keys = IssuerKeys::Public(PublicKeys::parse_usable(&jwk.to_string()).expect("a good key").0);
        verify(token, &keys, &ForeignPolicy { algorithms: accepted.to_vec(), ..policy() }, at(NOW)).map(drop)
    };
    for (alg, token) in &tokens {
        let (own, other) = if alg == "ES384" { (&ec_jwk, &rsa_jwk) } else { (&rsa_jwk, &ec_jwk) };
        assert_eq!(verified(own, token, &VerificationAlgorithm::PUBLIC), Ok(()), "{alg}");
        assert_eq!(verified(other, token, &VerificationAlgorithm::PUBLIC), Err(TokenError::Algorithm), "{alg}");
        let others: Vec<_> = VerificationAlgorithm::PUBLIC.into_iter().filter(|accepted| accepted.name() != alg).collect();
        assert_eq!(verified(own, token, &others), Err(TokenError::Algorithm), "{alg} is not accepted");
        for (named, _) in &tokens {
            let mut jwk = own.clone();
            jwk["alg"] = json!(named);
            match PublicKeys::parse_usable(&jwk.to_string()) {
                Err(_) => assert_ne!(named == "ES384", alg == "ES384", "{named} {alg}"),
                Ok(_) if named == alg => assert_eq!(verified(&jwk, token, &VerificationAlgorithm::PUBLIC), Ok(())),
                Ok(_) => assert_eq!(verified(&jwk, token, &VerificationAlgorithm::PUBLIC), Err(TokenError::Algorithm)),
            }
        }
        // The signature of one algorithm under the name of another.
        let (_, rest) = token.split_once('.').expect("three parts");
        let renamed = if alg == "PS256" { "RS256" } else { "PS256" };
        let renamed = format!("{}.{rest}", base64(format!(r#"{{"alg":"{renamed}","typ":"at+jwt"}}"#)));
        assert!(verified(own, &renamed, &VerificationAlgorithm::PUBLIC).is_err(), "{alg}");
    }
}

#[test]
fn claims_are_found_by_name_or_by_path() {
    let mut policy = policy();
    policy.mapping.roles = path("https://id.example/roles");
    policy.mapping.taken_roles = Taken::All;
    policy.mapping.subject = path("user.id");
    let payload = claims("{", r#"{"https://id.example/roles":"a b/ c","user":{"id":"7"},"#);
    let caller = verify(&signed(HEADER, &payload), &keys(), &policy, at(NOW)).expect("genuine");
    assert_eq!((&*caller.token.subject, caller.principal.roles.join(" ")), ("7", "corp:a corp:c".to_owned()));
    assert!(ClaimPath::parse("a..b").is_none() && ClaimPath::parse("").is_none());
}

#[test]
fn an_answer_of_introspection_is_a_caller_a_refusal_or_nothing() {
    let ask = |answer: &str| introspected(answer.as_bytes(), "opaque", &policy(), at(NOW)).map(|verdict| verdict.map(drop));
    let active = r#"{"active":true,"aud":"api","sub":"ada","exp":1800000900}"#;
    assert_eq!(ask(active), Some(Ok(())));
    assert_eq!(ask(r#"{"active":false}"#), Some(Err(TokenError::Inactive)));
    for (old, new, refusal) in [
        (r#""api""#, r#""other""#, TokenError::Audience),
        (r#""aud":"api","#, "", TokenError::Claims),
        (r#","exp":1800000900"#, "", TokenError::Claims),
        ("1800000900", "1800000095", TokenError::Expired),
        ("1800000900", "1800001001", TokenError::Life),
        ("{", r#"{"iss":"https://id.example/","#, TokenError::Issuer),
    ] {
        assert_eq!(ask(&active.replacen(old, new, 1)), Some(Err(refusal)), "{new}");
    }
    for garbage in ["", "<html>", "[]", "{}", r#"{"active":"true"}"#, r#"{"active":1}"#, r#"{"active":false,"active":true}"#] {
        assert_eq!(ask(garbage), None, "{garbage}");
    }
}

#[test]
fn who_a_token_says_issued_it_is_read_without_trust() {
    assert_eq!(claimed_issuer(&signed(HEADER, PAYLOAD)).as_deref(), Some("https://id.example"));
    for token in ["opaque", "a.b.c", &signed(HEADER, "{}"), &signed(HEADER, r#"{"iss":1}"#), &"a".repeat(9 * 1024)] {
        assert_eq!(claimed_issuer(token), None, "{token}");
    }
}
