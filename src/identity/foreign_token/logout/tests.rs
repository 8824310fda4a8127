//! What ends somebody's sessions, and what must not: any token of the issuer that is no logout token, for us, in its time.

use proptest::prelude::*;
use secrecy::SecretSlice;
use serde_json::json;

use super::*;
use crate::identity::foreign_token::tests::{RINGS, at, base64, keys, path, policy, signed, signed_by};
use crate::identity::foreign_token::{self, Logout};

const NOW: i64 = 1_800_000_010;
const HEADER: &str = r#"{"alg":"EdDSA","kid":"EdDSA","typ":"logout+jwt"}"#;

fn rules() -> LogoutPolicy {
    LogoutPolicy { audiences: vec!["gate".into(), "gate-2".into()], age_max: Duration::from_mins(10), whole_subject: false }
}

/// The example of §2.4.1, more or less.
fn claims() -> Map<String, Value> {
    let claims = json!({
        "iss": "https://id.example", "sub": "ada", "aud": "gate", "iat": 1_800_000_000, "exp": 1_800_000_120,
        "jti": "bWJq", "sid": "s1", "events": {EVENT: {}},
    });
    claims.as_object().expect("an object").clone()
}

/// The same with one claim changed.
fn with(name: &str, value: Value) -> Map<String, Value> {
    let mut claims = claims();
    claims.insert(name.to_owned(), value);
    claims
}

fn without(names: &[&str]) -> Map<String, Value> {
    let mut claims = claims();
    claims.retain(|name, _| !names.contains(&name.as_str()));
    claims
}

fn token(claims: &Map<String, Value>) -> String {
    signed(HEADER, &Value::from(claims.clone()).to_string())
}

fn check_at(token: &str, second: i64) -> Result<Logout, TokenError> {
    verify_logout(token, &keys(), &policy(), &rules(), at(second))
}

fn check(claims: &Map<String, Value>) -> Result<Logout, TokenError> {
    check_at(&token(claims), NOW)
}

/// What the access token of this session and subject is known by.
fn access_token(second: i64) -> crate::identity::TokenFacts {
    let payload = json!({"iss": "https://id.example", "aud": "api", "sub": "ada", "sid": "s1", "jti": "j", "iat": second, "exp": second + 60});
    let token = signed(r#"{"alg":"EdDSA","kid":"EdDSA","typ":"at+jwt"}"#, &payload.to_string());
    foreign_token::verify(&token, &keys(), &policy(), at(second)).expect("genuine").token
}

#[test]
fn a_session_ends_by_the_id_that_its_access_tokens_have() {
    let logout = check(&claims()).expect("genuine");
    assert_eq!((logout.session, logout.subject), (Some(access_token(1_800_000_000).session), None));
    let other = check(&with("sid", json!("s2"))).expect("genuine");
    assert!(other.session.is_some() && other.session != logout.session);
    assert_eq!(check(&without(&["sub"])).map(|logout| logout.session), Ok(logout.session));
}

#[test]
fn a_subject_ends_with_the_second_of_the_logout_and_lives_from_the_next() {
    for claims in [without(&["sid"]), with("sid", Value::Null)] {
        let logout = check(&claims).expect("genuine");
        assert_eq!((logout.session, logout.subject.as_deref()), (None, Some("ada")));
        let covered = |second| access_token(second).issued_at < logout.not_before();
        assert_eq!([1_799_999_999, 1_800_000_000, 1_800_000_001].map(covered), [true, true, false]);
    }
}

#[test]
fn where_the_issuers_access_tokens_have_no_sessions_a_logout_ends_the_whole_subject() {
    let rules = LogoutPolicy { whole_subject: true, ..rules() };
    let check = |claims| verify_logout(&token(&claims), &keys(), &policy(), &rules, at(NOW));
    let logout = check(claims()).expect("genuine");
    assert!(logout.session.is_some() && logout.subject.as_deref() == Some("ada"));
    assert_eq!(check(without(&["sub"])), Err(TokenError::Claims), "whose sessions?");
}

#[test]
fn a_subject_is_known_by_the_claim_that_names_it_in_access_tokens() {
    let mut policy = policy();
    policy.mapping.subject = path("oid");
    let check = |claims| verify_logout(&token(&claims), &keys(), &policy, &rules(), at(NOW));
    let mut named = without(&["sid"]);
    assert_eq!(check(named.clone()), Err(TokenError::Claims), "a record of `sub` would cover nothing");
    named.insert("oid".to_owned(), json!("0-1"));
    assert_eq!(check(named).map(|logout| logout.subject), Ok(Some("0-1".into())));
    assert!(check(claims()).is_ok_and(|logout| logout.session.is_some()));
}

#[test]
fn its_type_may_be_missing_or_generic_and_nothing_else() {
    let header = |typ: &str| signed(&HEADER.replace(r#","typ":"logout+jwt""#, typ), &Value::from(claims()).to_string());
    for typ in ["", r#","typ":"JWT""#, r#","typ":"Logout+JWT""#, r#","typ":"application/logout+jwt""#] {
        assert!(check_at(&header(typ), NOW).is_ok(), "{typ}");
    }
    for typ in ["at+jwt", "secevent+jwt", "jose", "application/at+jwt", "text/logout+jwt"] {
        assert_eq!(check_at(&header(&format!(r#","typ":"{typ}""#)), NOW), Err(TokenError::Type), "{typ}");
    }
}

#[test]
fn only_the_issuers_own_signature_ends_anything() {
    let payload = Value::from(claims()).to_string();
    let header = |old: &str, new: &str| HEADER.replace(old, new);
    let unsigned =
        |alg: &str| format!("{}.{}.", base64(header(r#""EdDSA","kid""#, &format!(r#""{alg}","kid""#))), base64(&payload));
    // The public key, which everybody knows, as a secret.
    let public =
        RINGS[0].public_keys().next().expect("a key").members.iter().find(|(name, _)| *name == "x").expect("x").1.clone();
    let mac = |secret: &[u8]| {
        let message = format!("{}.{}", base64(header(r#""alg":"EdDSA""#, r#""alg":"HS256""#)), base64(&payload));
        let tag = aws_lc_rs::hmac::sign(&aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret), message.as_bytes());
        format!("{message}.{}", base64(tag))
    };
    for (name, token, refusal) in [
        ("none", unsigned("none"), TokenError::Algorithm),
        ("unsigned", unsigned("EdDSA"), TokenError::Signature),
        ("by a public key as a secret", mac(public.as_bytes()), TokenError::Algorithm),
        ("by another issuer's key", signed_by(&RINGS[1], "EdDSA", HEADER, &payload), TokenError::Signature),
        ("by an unknown key", signed(&header(r#""kid":"EdDSA""#, r#""kid":"other""#), &payload), TokenError::UnknownKey),
        ("of another algorithm", signed(&header(r#""alg":"EdDSA""#, r#""alg":"ES256""#), &payload), TokenError::Algorithm),
        ("crit", signed(&header("{", r#"{"crit":[],"#), &payload), TokenError::Header),
        ("jwk", signed(&header("{", r#"{"jwk":{},"#), &payload), TokenError::Header),
        ("no token", "logout".to_owned(), TokenError::Malformed),
        ("too long", "a".repeat(9000), TokenError::TooLong),
    ] {
        assert_eq!(check_at(&token, NOW), Err(refusal), "{name}");
    }
    let other = |kid: &str| signed_by(&RINGS[0], kid, &HEADER.replace("EdDSA", kid), &payload);
    assert!(check_at(&other("ES256"), NOW).is_ok() && check_at(&other("RS256"), NOW).is_ok());
    let narrow = ForeignPolicy { algorithms: vec![crate::identity::public_keys::VerificationAlgorithm::EdDsa], ..policy() };
    let refused = verify_logout(&other("RS256"), &keys(), &narrow, &rules(), at(NOW));
    assert_eq!(refused, Err(TokenError::Algorithm), "not one of `algorithms`");
}

#[test]
fn a_shared_secret_ends_sessions_as_it_opens_them() {
    let secret = [b's'; 32];
    let keys = IssuerKeys::secret(SecretSlice::from(secret.to_vec())).expect("long enough");
    let policy = ForeignPolicy { algorithms: vec![crate::identity::public_keys::VerificationAlgorithm::Hs256], ..policy() };
    let sign = |secret: &[u8]| {
        let message = format!("{}.{}", base64(r#"{"alg":"HS256"}"#), base64(Value::from(claims()).to_string()));
        let tag = aws_lc_rs::hmac::sign(&aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret), message.as_bytes());
        format!("{message}.{}", base64(tag))
    };
    let check = |token: String| verify_logout(&token, &keys, &policy, &rules(), at(NOW));
    assert!(check(sign(&secret)).is_ok());
    assert_eq!(check(sign(&[b't'; 32])), Err(TokenError::Signature));
}

#[test]
fn what_is_missing_or_wrong_is_refused_by_its_name() {
    let event = |value: Value| with("events", value);
    for (name, claims, refusal) in [
        ("iss missing", without(&["iss"]), TokenError::Claims),
        ("another iss", with("iss", json!("https://id.example/")), TokenError::Issuer),
        ("aud missing", without(&["aud"]), TokenError::Claims),
        ("the aud of access tokens", with("aud", json!("api")), TokenError::Audience),
        ("no aud", with("aud", json!([])), TokenError::Audience),
        ("an aud that is no text", with("aud", json!(["gate", 1])), TokenError::Claims),
        ("iat missing", without(&["iat"]), TokenError::Claims),
        ("exp missing", without(&["exp"]), TokenError::Claims),
        ("exp before iat", with("exp", json!(1_800_000_000)), TokenError::Life),
        ("jti missing", without(&["jti"]), TokenError::Claims),
        ("jti empty", with("jti", json!("")), TokenError::Claims),
        ("jti null", with("jti", Value::Null), TokenError::Claims),
        ("neither sub nor sid", without(&["sub", "sid"]), TokenError::Claims),
        ("sub that is no text", with("sub", json!(7)), TokenError::Claims),
        ("sid that is no text", with("sid", json!(["s1"])), TokenError::Claims),
        ("sid empty", with("sid", json!("")), TokenError::Claims),
        ("nonce", with("nonce", json!("n")), TokenError::Type),
        ("nonce null", with("nonce", Value::Null), TokenError::Type),
        ("events missing", without(&["events"]), TokenError::Type),
        ("events empty", event(json!({})), TokenError::Type),
        ("events a list", event(json!([EVENT])), TokenError::Type),
        ("events a text", event(json!(EVENT)), TokenError::Type),
        ("another event", event(json!({"http://schemas.openid.net/event/backchannel-logout/": {}})), TokenError::Type),
        ("an event that is no object", event(json!({EVENT: true})), TokenError::Type),
        ("an event that is null", event(json!({EVENT: null})), TokenError::Type),
        ("nbf in the future", with("nbf", json!(NOW + 6)), TokenError::NotYet),
    ] {
        assert_eq!(check(&claims), Err(refusal), "{name}");
    }
    for (name, claims) in [
        ("one aud among several", with("aud", json!(["other", "gate-2"]))),
        ("another event beside", event(json!({EVENT: {"x": 1}, "urn:other": {}}))),
        ("an unknown claim", with("trace_id", json!({}))),
    ] {
        assert!(check(&claims).is_ok(), "{name}");
    }
    let twice = Value::from(claims()).to_string().replacen('{', r#"{"sid":"s2","#, 1);
    assert_eq!(check_at(&signed(HEADER, &twice), NOW), Err(TokenError::Claims), "a claim that is there twice");
}

#[test]
fn it_is_good_from_its_beginning_to_its_end_and_no_longer_than_ten_minutes() {
    let token = token(&claims());
    for (second, verdict) in [
        (1_799_999_994, Err(TokenError::NotYet)),
        (1_799_999_995, Ok(())),
        (1_800_000_124, Ok(())),
        (1_800_000_125, Err(TokenError::Expired)),
    ] {
        assert_eq!(check_at(&token, second).map(drop), verdict, "{second}");
    }
    for exp in [1_800_086_400_i64, 253_402_207_200] {
        let lasting = self::token(&with("exp", json!(exp)));
        assert_eq!(check_at(&lasting, 1_800_000_604).map(drop), Ok(()));
        assert_eq!(check_at(&lasting, 1_800_000_605).map(drop), Err(TokenError::Expired));
        let logout = check_at(&lasting, NOW).expect("genuine");
        assert_eq!(logout.forgotten_at, at(1_800_000_611), "nobody accepts it then");
    }
}

#[test]
fn it_is_remembered_by_issuer_and_id_whatever_else_it_says() {
    let id = |claims: &Map<String, Value>| check(claims).expect("genuine").id;
    assert_eq!(id(&claims()), id(&with("sid", json!("s2"))));
    assert_ne!(id(&claims()), id(&with("jti", json!("other"))));
    let other = ForeignPolicy { issuer: "https://b.example".into(), ..policy() };
    let of_other = token(&with("iss", json!("https://b.example")));
    let of_other = verify_logout(&of_other, &keys(), &other, &rules(), at(NOW)).expect("genuine");
    assert_ne!(id(&claims()), of_other.id);
}

#[test]
fn an_access_token_and_an_id_token_end_nothing_and_a_logout_token_opens_nothing() {
    // An issuer that writes "JWT" and one audience for everything.
    let mut generic = policy();
    generic.types = vec!["JWT".into(), "".into(), "logout+jwt".into()];
    generic.audiences = vec!["gate".into()];
    let header = HEADER.replace("logout+jwt", "JWT");
    let opens = |claims: &Map<String, Value>, header: &str| {
        let token = signed(header, &Value::from(claims.clone()).to_string());
        foreign_token::verify(&token, &keys(), &generic, at(NOW)).map(drop)
    };
    let ends = |claims: &Map<String, Value>| {
        let token = signed(&header, &Value::from(claims.clone()).to_string());
        verify_logout(&token, &keys(), &generic, &rules(), at(NOW)).map(drop)
    };
    let access_token = without(&["events"]);
    let mut id_token = with("nonce", json!("n"));
    id_token.remove("events");
    for token in [&access_token, &id_token] {
        assert_eq!((opens(token, &header), ends(token)), (Ok(()), Err(TokenError::Type)));
    }
    assert_eq!((opens(&claims(), &header), ends(&claims())), (Err(TokenError::Type), Ok(())));
    assert_eq!(opens(&claims(), HEADER), Err(TokenError::Type), "whatever `token_types` says");
    let mut both = claims();
    both.insert("nonce".to_owned(), json!("n"));
    assert_eq!((opens(&both, &header), ends(&both)), (Err(TokenError::Type), Err(TokenError::Type)), "neither");
    // `events` of another kind are a claim like any other.
    let mut listed = claims();
    listed.insert("events".to_owned(), json!(["login"]));
    assert_eq!(opens(&listed, &header), Ok(()));
}

/// Any JSON, without much depth.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter_map("a number", |number| serde_json::Number::from_f64(number).map(Value::from)),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| {
        let object = prop::collection::btree_map(".{0,6}", inner.clone(), 0..3);
        prop_oneof![prop::collection::vec(inner, 0..3).prop_map(Value::from), object.prop_map(|map| map.into_iter().collect())]
    })
}

/// Whether a claim with this value means what it meant: then it is no fault.
fn is_as_good(name: &str, value: &Value) -> bool {
    match name {
        // Any id will do, and nothing is said by `null`, which leaves the other one.
        "sub" | "sid" => {
            value.is_null() || value.as_str().is_some_and(|text| !text.is_empty() && !text.chars().any(char::is_control))
        }
        "jti" => value.as_str().is_some_and(|text| !text.is_empty() && !text.chars().any(char::is_control)),
        "iat" => value.as_i64().is_some_and(|second| (NOW - 604..=NOW + 5).contains(&second)),
        "exp" => value.as_i64().is_some_and(|second| second > 1_800_000_000 && second + 5 > NOW),
        _ => false,
    }
}

proptest! {
    #[test]
    fn a_claim_with_any_other_value_is_refused(name in prop::sample::select(vec!["iss", "aud", "iat", "exp", "jti", "sub", "sid", "events", "nonce"]), value in anything()) {
        prop_assume!(!is_as_good(name, &value));
        prop_assert!(check(&with(name, value)).is_err());
    }

    #[test]
    fn a_token_with_any_other_character_is_refused(place in any::<prop::sample::Index>(), character in "[A-Za-z0-9_.=+/-]") {
        let good = token(&claims());
        let place = place.index(good.len());
        let mut bad = good.clone();
        bad.replace_range(place..=place, &character);
        prop_assume!(bad != good);
        prop_assert!(check_at(&bad, NOW).is_err());
    }
}
