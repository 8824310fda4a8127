//! What upstreams and clients get to see, whatever the other side sends.

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, COOKIE, SET_COOKIE};
use http::{HeaderName, StatusCode};
use proptest::prelude::*;

use super::*;
use crate::identity::Caller;
use crate::policy::access::{self, Access};
use crate::policy::fixtures::{self, ISSUER};
use crate::policy::route::Route;

fn name(text: &str) -> HeaderName {
    HeaderName::from_bytes(text.as_bytes()).expect("a field name")
}

fn names() -> IdentityHeaderNames {
    IdentityHeaderNames {
        subject: name("x-user-id"),
        username: name("x-auth-username"),
        email: name("x-auth-email"),
        roles: name("x-auth-roles"),
        scopes: name("x-auth-scopes"),
        session: name("x-auth-session"),
        issuer: name("x-auth-issuer"),
        client_certificate: name("x-auth-client-certificate"),
    }
}

fn forwarding() -> Forwarding {
    Forwarding::new(ForwardingSettings { identity_headers: names(), issuer: ISSUER.into(), own_cookies: vec!["jqt".into()] })
        .expect("usable names")
}

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    fields.iter().map(|&(field, value)| (name(field), HeaderValue::from_str(value).expect("a field value"))).fold(
        HeaderMap::new(),
        |mut headers, (field, value)| {
            headers.append(field, value);
            headers
        },
    )
}

fn edited(mut headers: HeaderMap, edits: HeaderEdits) -> HeaderMap {
    for name in &edits.remove {
        headers.remove(name);
    }
    for (name, value) in edits.set {
        headers.insert(name, value);
    }
    for (name, value) in edits.append {
        headers.append(name, value);
    }
    headers
}

fn permit(route: Route, caller: Option<Caller>) -> Permit {
    access::decide(Arc::new(route), caller.map(Arc::new), || jiff::Timestamp::UNIX_EPOCH).expect("allowed")
}

fn authenticated() -> Permit {
    permit(fixtures::route(None, "/"), Some(fixtures::caller(&["admin", "billing"])))
}

fn public() -> Permit {
    permit(Route { access: Access::Public, ..fixtures::route(None, "/") }, None)
}

/// What the upstream gets for a request from 192.0.2.7 over TLS.
fn at_upstream(incoming: HeaderMap, permit: &Permit) -> HeaderMap {
    let host = Host::parse("A.Example:443", 443).expect("a valid host");
    let facts = RequestFacts {
        client: "192.0.2.7".parse().expect("an address"),
        scheme: Scheme::Https,
        host: &host,
        request_id: "req-1",
        client_certificate: None,
    };
    let edits = forwarding().request_edits(&incoming, permit, &facts);
    edited(incoming, edits)
}

fn values<'a>(headers: &'a HeaderMap, field: &str) -> Vec<&'a str> {
    headers.get_all(name(field)).iter().map(|value| value.to_str().expect("visible ASCII")).collect()
}

#[test]
fn an_upstream_is_told_who_is_calling() {
    let upstream = at_upstream(headers(&[("host", "a.example")]), &authenticated());
    for (field, expected) in [
        ("x-user-id", "ada-id"),
        ("x-auth-username", "ada"),
        ("x-auth-email", "ada@example.com"),
        ("x-auth-roles", "admin,billing"),
        ("x-auth-session", "00000000-0000-0000-0000-000000000007"),
        ("x-auth-issuer", ISSUER),
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-host", "a.example"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "req-1"),
        ("host", "a.example"),
    ] {
        assert_eq!(values(&upstream, field), [expected], "{field}");
    }
}

#[test]
fn forged_identity_is_replaced_or_removed_on_every_route() {
    // Cases 89 and 90.
    let forged = [
        ("X-User-Id", "root"),
        ("X_User_Id", "root"),
        ("x-user_id", "root"),
        ("X.User.Id", "root"),
        ("X!User!Id", "root"),
        ("X-Auth-Roles", "root"),
        ("X_Auth.Scopes", "everything"),
        ("X_Auth_Roles", "root"),
        ("Gateway-Identity", "root"),
    ];
    let upstream = at_upstream(headers(&forged), &authenticated());
    assert_eq!(values(&upstream, "x-user-id"), ["ada-id"]);
    assert!(upstream.values().all(|value| value != "root"), "{upstream:?}");
    let upstream = at_upstream(headers(&forged), &public());
    assert!(upstream.values().all(|value| value != "root"), "{upstream:?}");
    assert!(!upstream.contains_key("x-user-id"));
}

#[test]
fn what_the_token_does_not_say_is_not_left_to_the_client() {
    // Case 95.
    let mut caller = fixtures::caller(&[]);
    caller.principal.email = None;
    let permit = permit(fixtures::route(None, "/"), Some(caller));
    let upstream = at_upstream(headers(&[("x-auth-email", "root@example.com"), ("x-auth-roles", "root")]), &permit);
    assert_eq!(values(&upstream, "x-auth-email"), [""; 0]);
    assert_eq!(values(&upstream, "x-auth-roles"), [""; 0]);
    assert_eq!(values(&upstream, "x-auth-username"), ["ada"]);
}

#[test]
fn a_value_that_a_field_cannot_carry_is_percent_encoded() {
    // Cases 37 and 96.
    for (subject, expected) in [
        ("ada", "ada"),
        ("a\r\nX-Role: admin", "a%0D%0AX-Role:%20admin"),
        ("a,b", "a%2Cb"),
        ("\0\u{7f}", "%00%7F"),
        ("Zoë", "Zo%C3%AB"),
        ("100%", "100%25"),
        ("", ""),
    ] {
        let mut caller = fixtures::caller(&["a,b", "ü"]);
        caller.principal.subject = subject.into();
        caller.principal.issuer = "https://other.example".into();
        let upstream = at_upstream(HeaderMap::new(), &permit(fixtures::route(None, "/"), Some(caller)));
        assert_eq!(values(&upstream, "x-user-id"), [expected], "{subject:?}");
        assert_eq!(values(&upstream, "x-auth-roles"), ["a%2Cb,%C3%BC"]);
        assert_eq!(values(&upstream, "x-auth-issuer"), ["https://other.example"]);
    }
    assert_eq!(carried(&"é".repeat(4096)).len(), 6 * 4096);
}

#[test]
fn fields_that_speak_for_the_gateway_are_rebuilt_or_removed() {
    for field in [
        // Case 98.
        "forwarded",
        "x-forwarded",
        "x-forwarded-for",
        "x_forwarded_for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x.forwarded.anything",
        // Case 74.
        "x-forwarded-uri",
        "x-original-url",
        "x_original_url",
        "x-rewrite-url",
        "x-envoy-original-path",
        // Case 75.
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        // Case 97.
        "x-real-ip",
        "x-request-id",
        "true-client-ip",
        // Case 101.
        "proxy-authorization",
        "proxy-connection",
        "proxy",
    ] {
        let upstream = at_upstream(headers(&[(field, "forged"), (field, "twice"), ("accept", "*/*")]), &public());
        assert!(upstream.values().all(|value| value != "forged" && value != "twice"), "{field}: {upstream:?}");
        assert_eq!(values(&upstream, "accept"), ["*/*"]);
    }
}

#[test]
fn other_fields_pass() {
    let fields =
        [("x-forward", "1"), ("x-user", "1"), ("proxies", "1"), ("x-trace_id", "1"), ("user-agent", "1"), ("origin", "1")];
    let upstream = at_upstream(headers(&fields), &authenticated());
    for (field, value) in fields {
        assert_eq!(values(&upstream, field), [value], "{field}");
    }
}

#[test]
fn a_bearer_token_reaches_only_upstreams_of_routes_that_pass_it() {
    // Case 119.
    let sent =
        |value, permit: &Permit| !values(&at_upstream(headers(&[("authorization", value)]), permit), "authorization").is_empty();
    let passing = Route { pass_token: true, ..fixtures::route(None, "/") };
    let optional = Route { access: Access::Optional, ..fixtures::route(None, "/") };
    assert!(!sent("Bearer x", &authenticated()));
    assert!(!sent("bearer x", &public()));
    assert!(!sent("Bearer\tx", &public()));
    assert!(sent("Bearer x", &permit(passing, Some(fixtures::caller(&[])))));
    // The upstream's own affair.
    assert!(sent("Basic YTpi", &public()));
    assert!(sent("Basic YTpi", &permit(optional, None)));
}

#[test]
fn our_cookies_do_not_reach_upstreams_and_crumbs_are_joined() {
    for (sent, expected) in [
        (&["a=1; b=2"][..], &["a=1; b=2"][..]),
        (&["__Host-portcullis-refresh=s; a=1"], &["a=1"]),
        (&["a=1;__host-PORTCULLIS=s;b=2"], &["a=1; b=2"]),
        (&["=__Host-portcullis=s; a=1"], &["a=1"]),
        (&["__Host-portcullis=s"], &[]),
        (&["__Host-other=1"], &["__Host-other=1"]),
        // One that a dialect sets.
        (&["a=1; jqt=s; xjqt=1; jqtx=2; JQT =s; =jqt=s; jqt"], &["a=1; xjqt=1; jqtx=2"]),
        // Case 55.
        (&["a=1", "b=2"], &["a=1; b=2"]),
        (&["a=1", "__Host-portcullis=s"], &["a=1"]),
    ] {
        let fields: Vec<_> = sent.iter().map(|&value| ("cookie", value)).collect();
        assert_eq!(values(&at_upstream(headers(&fields), &authenticated()), COOKIE.as_str()), expected, "{sent:?}");
    }
}

#[test]
fn a_response_loses_what_concerns_one_connection() {
    // Case 103.
    let upstream = headers(&[
        ("connection", "keep-alive, X-Foo"),
        ("connection", "content-type, transfer-encoding, \"x\""),
        ("keep-alive", "timeout=5"),
        ("x-foo", "1"),
        ("content-type", "text/plain"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("proxy-authenticate", "Basic"),
        ("trailer", "x"),
        ("server", "nginx/1.2.3"),
        ("etag", "1"),
    ]);
    let client = edited(upstream.clone(), forwarding().response_edits(StatusCode::OK, &upstream));
    let mut left: Vec<_> = client.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["etag", "transfer-encoding"]);
    let plain = headers(&[("content-type", "text/plain"), ("content-length", "5")]);
    assert_eq!(forwarding().response_edits(StatusCode::OK, &plain), HeaderEdits::default());
}

#[test]
fn the_handshake_of_a_websocket_survives() {
    let upstream = headers(&[("connection", "Upgrade"), ("upgrade", "websocket"), ("server", "x")]);
    let edits = forwarding().response_edits(StatusCode::SWITCHING_PROTOCOLS, &upstream);
    assert_eq!(edits.remove, [name("server")]);
}

#[test]
fn an_upstream_cannot_set_our_cookies() {
    // Case 102.
    let upstream = headers(&[
        ("set-cookie", "a=1; Path=/"),
        ("set-cookie", "__Host-portcullis-refresh=evil; Path=/; Secure"),
        ("set-cookie", "__HOST-Portcullis=evil"),
        ("set-cookie", "jqt=evil; Path=/"),
        ("set-cookie", "jqt"),
        ("set-cookie", "=__Host-portcullis=evil"),
        ("set-cookie", "b=__Host-portcullis"),
    ]);
    let client = edited(upstream.clone(), forwarding().response_edits(StatusCode::OK, &upstream));
    assert_eq!(values(&client, SET_COOKIE.as_str()), ["a=1; Path=/", "b=__Host-portcullis"]);
}

#[test]
fn equal_lengths_of_a_response_become_one() {
    for fields in [&[("content-length", "5"), ("content-length", "5")][..], &[("content-length", "5, 5")]] {
        let upstream = headers(fields);
        let client = edited(upstream.clone(), forwarding().response_edits(StatusCode::OK, &upstream));
        assert_eq!(values(&client, CONTENT_LENGTH.as_str()), ["5"]);
    }
}

#[test]
fn an_identity_header_with_another_meaning_is_refused() {
    let with_subject = |subject: &str| {
        let identity_headers = IdentityHeaderNames { subject: name(subject), ..names() };
        Forwarding::new(ForwardingSettings { identity_headers, issuer: ISSUER.into(), own_cookies: Vec::new() }).map(|_| ())
    };
    for taken in ["host", "authorization", "content_length", "x-forwarded-for", "x-request-id"] {
        assert_eq!(with_subject(taken), Err(ForwardingError::Taken(name(taken))), "{taken}");
    }
    assert_eq!(with_subject("x_auth_email"), Err(ForwardingError::Same(name("x_auth_email"), name("x-auth-email"))));
    assert_eq!(with_subject("x-forwarded-user"), Ok(()));
}

/// A name of ours or one near it, spelt in any way that a field name can be.
fn spelling() -> impl Strategy<Value = String> {
    let base = prop::sample::select(vec!["x-user-id", "x-auth-roles", "x-forwarded-for", "x-request-id", "x-user", "accept"]);
    (base, prop::collection::vec("[!#$%&'*+.^_`|~-]", 4), any::<u16>()).prop_map(|(base, separators, upper)| {
        let mut separators = separators.into_iter();
        let spelt = |(at, c): (usize, char)| match c {
            '-' => separators.next().expect("no name has more than four separators"),
            c if upper >> (at % 16) & 1 == 1 => c.to_ascii_uppercase().to_string(),
            c => c.to_string(),
        };
        base.chars().enumerate().map(spelt).collect()
    })
}

proptest! {
    #[test]
    fn an_upstream_sees_each_reserved_field_once_or_never_and_only_ours(
        spellings in prop::collection::vec(spelling(), 0..8),
        is_public in any::<bool>(),
    ) {
        let fields: Vec<_> = spellings.iter().map(|spelling| (spelling.as_str(), "forged")).collect();
        let upstream = at_upstream(headers(&fields), &if is_public { public() } else { authenticated() });
        for (reserved, ours, expected) in [
            ("x-user-id", "ada-id", usize::from(!is_public)),
            ("x-auth-roles", "admin,billing", usize::from(!is_public)),
            ("x-forwarded-for", "192.0.2.7", 1),
            ("x-request-id", "req-1", 1),
        ] {
            let seen: Vec<_> = upstream.iter().filter(|(name, _)| folds_to(name, reserved)).collect();
            prop_assert_eq!(seen.len(), expected, "{}: {:?}", reserved, seen);
            prop_assert!(seen.iter().all(|(_, value)| *value == ours));
        }
    }

    #[test]
    fn decoding_an_identity_value_gives_the_original(text in any::<String>()) {
        let value = carried(&text);
        let decoded = percent_encoding::percent_decode(value.as_bytes()).decode_utf8().expect("UTF-8");
        prop_assert_eq!(decoded, text);
    }
}

#[test]
fn names_that_a_reload_changed_hold_for_callers_seen_before() {
    let renamed = IdentityHeaderNames { subject: name("x-subject"), ..names() };
    let renamed = ForwardingSettings { identity_headers: renamed, issuer: ISSUER.into(), own_cookies: Vec::new() };
    let renamed = Forwarding::new(renamed).expect("usable names");
    let caller = fixtures::caller(&["admin"]);
    let told = |by: &Forwarding| {
        let mut headers = Vec::new();
        by.tell_caller(&caller, &mut headers);
        headers
    };
    let before = told(&forwarding());
    assert_eq!(before, forwarding().identity_headers(&caller.principal));
    assert_eq!(told(&forwarding()), before);
    assert_eq!(told(&renamed), renamed.identity_headers(&caller.principal));
}

proptest! {
    #[test]
    fn an_address_is_written_as_everybody_writes_it(four: [u8; 4], six: [u8; 16]) {
        for client in [IpAddr::from(four), IpAddr::from(six)] {
            prop_assert_eq!(address(client), client.to_string());
        }
    }
}
