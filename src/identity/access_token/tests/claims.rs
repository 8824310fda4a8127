//! What claims may not say, and payloads that are none.

use super::*;

// Cases 129, 130, 135, 136, 139 and 148: who, for whom, and which token.
#[test]
fn a_token_names_its_issuer_audience_subject_session_and_itself() {
    use TokenError::{Audience, Claims, Issuer};
    let long = |bytes: usize| format!(r#""jti":"{}""#, "j".repeat(bytes));
    let (iss, aud, sub, jti) = (r#""https://gate.example""#, r#""aud":"api""#, r#""sub":"ada""#, r#""jti":"j1""#);
    let sid = r#""sid":"00000000-0000-0000-0000-000000000001""#;
    for (case, name, old, new, verdict) in [
        (129, "aud missing", r#""aud":"api","#, "", Err(Claims)),
        (129, "aud a number", aud, r#""aud":1"#, Err(Claims)),
        (129, "aud an object", aud, r#""aud":{"api":1}"#, Err(Claims)),
        (129, "aud null", aud, r#""aud":null"#, Err(Claims)),
        (129, "aud wrong", aud, r#""aud":"api2""#, Err(Audience)),
        (129, "aud in another case", aud, r#""aud":"API""#, Err(Audience)),
        (129, "aud empty list", aud, r#""aud":[]"#, Err(Audience)),
        (129, "aud others", aud, r#""aud":["a","b"]"#, Err(Audience)),
        (129, "aud mixed list", aud, r#""aud":["api",1]"#, Err(Claims)),
        (129, "aud list with ours", aud, r#""aud":["other","api"]"#, Ok(())),
        (130, "iss missing", r#""iss":"https://gate.example","#, "", Err(Claims)),
        (130, "iss a number", iss, "1", Err(Claims)),
        (130, "iss a list", iss, r#"["https://evil.example","https://gate.example"]"#, Err(Claims)),
        (130, "iss another", iss, r#""https://evil.example""#, Err(Issuer)),
        (148, "iss with a slash", iss, r#""https://gate.example/""#, Err(Issuer)),
        (148, "iss with an upper-case host", iss, r#""https://GATE.example""#, Err(Issuer)),
        (148, "iss with a port", iss, r#""https://gate.example:443""#, Err(Issuer)),
        (135, "jti missing", r#""jti":"j1","#, "", Err(Claims)),
        (135, "jti empty", jti, r#""jti":"""#, Err(Claims)),
        (135, "jti a number", jti, r#""jti":1"#, Err(Claims)),
        (135, "jti null", jti, r#""jti":null"#, Err(Claims)),
        (135, "jti of 128 bytes", jti, &long(128), Ok(())),
        (135, "jti of 129 bytes", jti, &long(129), Err(Claims)),
        (135, "jti of 10 KiB", jti, &long(10_240), Err(TokenError::TooLong)),
        (135, "jti with a line feed", jti, r#""jti":"a\nb""#, Err(Claims)),
        (136, "sub twice", sub, r#""sub":"ada","sub":"bob""#, Err(Claims)),
        (136, "exp twice", r#""exp""#, r#""exp":1800000900,"exp""#, Err(Claims)),
        (136, "roles twice", r#""roles""#, r#""roles":["admin"],"roles""#, Err(Claims)),
        (136, "roles twice, once escaped", r#""roles""#, r#""r\u006fles":["admin"],"roles""#, Err(Claims)),
        (136, "an unknown claim twice", "{", r#"{"x":1,"x":2,"#, Err(Claims)),
        (136, "unknown claims", "{", r#"{"x":1,"y":{"x":[1]},"#, Ok(())),
        (139, "sub missing", r#""sub":"ada","#, "", Err(Claims)),
        (139, "sub a number", sub, r#""sub":1"#, Err(Claims)),
        (139, "sub empty", sub, r#""sub":"""#, Err(Claims)),
        (139, "sub with NUL", sub, r#""sub":"ada\u0000""#, Err(Claims)),
        (139, "sub with CRLF", sub, r#""sub":"ada\r\nX-Auth-Roles: admin""#, Err(Claims)),
        (139, "sub with C1", sub, r#""sub":"ada\u0085""#, Err(Claims)),
        (139, "sub of four-byte letters", sub, r#""sub":"🦀""#, Ok(())),
        (139, "sub of 256 bytes", sub, &format!(r#""sub":"{}""#, "s".repeat(256)), Err(Claims)),
        (139, "username with a tab", sub, r#""sub":"ada","preferred_username":"a\tb""#, Err(Claims)),
        (139, "username null", sub, r#""sub":"ada","preferred_username":null"#, Err(Claims)),
        (139, "email with LF", sub, r#""sub":"ada","email":"a@b.c\n""#, Err(Claims)),
        (139, "role with a comma", r#"["user"]"#, r#"["user,admin"]"#, Err(Claims)),
        (139, "roles a string", r#"["user"]"#, r#""admin""#, Err(Claims)),
        (139, "scope a list", "{", r#"{"scope":["a"],"#, Err(Claims)),
        (139, "scope empty", "{", r#"{"scope":"","#, Err(Claims)),
        (139, "scope null", "{", r#"{"scope":null,"#, Err(Claims)),
        (139, "scope with a quote", "{", r#"{"scope":"a\"b","#, Err(Claims)),
        (136, "scope twice", "{", r#"{"scope":"a","scope":"b","#, Err(Claims)),
        (139, "two scopes", "{", r#"{"scope":"b a","#, Ok(())),
        (139, "client_id that is not the subject", "{", r#"{"client_id":"bob","#, Err(Claims)),
        (139, "client_id null", "{", r#"{"client_id":null,"#, Err(Claims)),
        (139, "client_id of the subject", "{", r#"{"client_id":"ada","#, Ok(())),
        (139, "sid missing", r#""sid":"00000000-0000-0000-0000-000000000001","#, "", Err(Claims)),
        (139, "sid without hyphens", sid, r#""sid":"00000000000000000000000000000001""#, Err(Claims)),
        (139, "sid a URN", sid, r#""sid":"urn:uuid:00000000-0000-0000-0000-000000000001""#, Err(Claims)),
        (139, "auth_time missing", r#""auth_time":1800000000,"#, "", Err(Claims)),
    ] {
        assert_eq!(check(&with_claims(old, new)), verdict, "case {case}: {name}");
    }
}

// Cases 131 to 134: every instant a token could claim.
#[test]
fn a_token_has_a_beginning_and_an_end_of_the_right_type() {
    use TokenError::{Claims, Life, NotYet};
    let exp = r#""exp":1800000900"#;
    let iat = r#""iat":1800000000"#;
    for (case, name, old, new, verdict) in [
        (131, "exp missing", r#""exp":1800000900,"#, "", Err(Claims)),
        (131, "exp null", exp, r#""exp":null"#, Err(Claims)),
        (131, "exp a string", exp, r#""exp":"1800000900""#, Err(Claims)),
        (131, "exp negative", exp, r#""exp":-1"#, Err(Life)),
        (131, "exp 1e30", exp, r#""exp":1e30"#, Err(Claims)),
        (131, "exp a fraction", exp, r#""exp":1800000900.5"#, Err(Claims)),
        (131, "exp a bool", exp, r#""exp":true"#, Err(Claims)),
        (131, "exp a list", exp, r#""exp":[1800000900]"#, Err(Claims)),
        (132, "exp u64::MAX", exp, r#""exp":18446744073709551615"#, Err(Claims)),
        (132, "exp i64::MAX", exp, r#""exp":9223372036854775807"#, Err(Claims)),
        (132, "exp 1e18", exp, r#""exp":1000000000000000000"#, Err(Claims)),
        (132, "exp in the year 9999", exp, r#""exp":253402207200"#, Err(Life)),
        (132, "exp one second too late", exp, r#""exp":1800000901"#, Err(Life)),
        (132, "exp equal to iat", exp, r#""exp":1800000000"#, Err(Life)),
        (133, "nbf within the skew", exp, r#""exp":1800000900,"nbf":1800000005"#, Ok(())),
        (133, "nbf beyond the skew", exp, r#""exp":1800000900,"nbf":1800000006"#, Err(NotYet)),
        (133, "nbf a string", exp, r#""exp":1800000900,"nbf":"1800000000""#, Err(Claims)),
        (133, "nbf null", exp, r#""exp":1800000900,"nbf":null"#, Err(Claims)),
        (134, "iat missing", r#""iat":1800000000,"#, "", Err(Claims)),
        (134, "iat a string", iat, r#""iat":"1800000000""#, Err(Claims)),
        (134, "iat i64::MIN", iat, r#""iat":-9223372036854775808"#, Err(Claims)),
        (134, "iat within the skew", iat, r#""iat":1800000005"#, Ok(())),
        (134, "iat beyond the skew", iat, r#""iat":1800000006"#, Err(NotYet)),
    ] {
        assert_eq!(check(&with_claims(old, new)), verdict, "case {case}: {name}");
    }
    // Case 132: no leeway overflows.
    let endless = TokenPolicy { skew: Duration::MAX, life_max: Duration::MAX, ..policy() };
    let far = with_claims(exp, r#""exp":253402207200"#);
    assert!(verify(&far, &RING, &endless, Timestamp::MAX).is_ok());
}

#[test]
fn a_token_is_accepted_until_the_instant_it_expires() {
    let token = signed("ed", HEADER, PAYLOAD);
    let end = NOW + LIFE_MAX + SKEW;
    for (now, verdict) in [
        (at(NOW - SKEW - 1), Err(TokenError::NotYet)),
        (at(NOW - SKEW), Ok(())),
        (at(end - 1), Ok(())),
        (at(end) - Duration::from_nanos(1), Ok(())),
        (at(end), Err(TokenError::Expired)),
        (at(end + 1), Err(TokenError::Expired)),
    ] {
        assert_eq!(verify(&token, &RING, &policy(), now).map(drop), verdict, "{now}");
        assert!(verify_at_any_time(&token, &RING, &policy()).is_ok());
    }
    let forged = with_claims("ada", "bob").replace(&base64(PAYLOAD.replace("ada", "bob")), &base64(PAYLOAD));
    assert_eq!(verify_at_any_time(&forged, &RING, &policy()).map(drop), Err(TokenError::Signature));
}

// Cases 137 and 138: payloads that are not an object of claims.
#[test]
fn a_payload_is_one_shallow_json_object() {
    let deep = |levels: usize| PAYLOAD.replacen('{', &format!(r#"{{"x":{}{},"#, "[".repeat(levels), "]".repeat(levels)), 1);
    assert_eq!(check(&signed("ed", HEADER, deep(100))), Ok(()));
    for (case, name, payload, refusal) in [
        (137, "200 deep", deep(200).into_bytes(), TokenError::Claims),
        (137, "2,000 deep", deep(2_000).into_bytes(), TokenError::Claims),
        (137, "100,000 deep", deep(100_000).into_bytes(), TokenError::TooLong),
        (138, "trailing garbage", [PAYLOAD.as_bytes(), b"x"].concat(), TokenError::Claims),
        (138, "two objects", [PAYLOAD.as_bytes(), PAYLOAD.as_bytes()].concat(), TokenError::Claims),
        (138, "byte order mark", ["\u{feff}".as_bytes(), PAYLOAD.as_bytes()].concat(), TokenError::Claims),
        (138, "lone surrogate", PAYLOAD.replace("ada", r"\ud800").into_bytes(), TokenError::Claims),
        (138, "not UTF-8", PAYLOAD.as_bytes().iter().map(|&b| if b == b'd' { 0xff } else { b }).collect(), TokenError::Claims),
        (138, "the claims' values in an array", br#"["https://gate.example","api","ada"]"#.to_vec(), TokenError::Claims),
        (138, "an array", format!("[{PAYLOAD}]").into_bytes(), TokenError::Claims),
        (138, "a number", b"1".to_vec(), TokenError::Claims),
        (138, "nothing", Vec::new(), TokenError::Claims),
    ] {
        assert_eq!(check(&signed("ed", HEADER, payload)), Err(refusal), "case {case}: {name}");
    }
}
