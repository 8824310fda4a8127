//! Which hosts are refused, what form the others get, and which routes are for them.

use proptest::prelude::*;

use super::*;

fn host(text: &str) -> Host {
    Host::parse(text, 443).expect("a valid host")
}

#[test]
fn every_spelling_of_a_host_has_one_canonical_form() {
    // Case 82.
    for (raw, authority, port) in [
        ("a.example", "a.example", 443),
        ("A.EXAMPLE", "a.example", 443),
        ("a.example.", "a.example", 443),
        ("a.example:443", "a.example", 443),
        ("A.Example.:443", "a.example", 443),
        ("a.example:80", "a.example:80", 80),
        ("localhost:8080", "localhost:8080", 8080),
        ("my_service", "my_service", 443),
        ("127.0.0.1:9000", "127.0.0.1:9000", 9000),
        ("[::1]", "[::1]", 443),
        ("[0:0:0:0:0:0:0:1]:443", "[::1]", 443),
        ("[2001:DB8::1]:8443", "[2001:db8::1]:8443", 8443),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", 443),
    ] {
        let host = host(raw);
        assert_eq!((host.authority(), host.port()), (authority, port), "{raw:?}");
    }
}

#[test]
fn a_host_with_no_single_reading_is_refused() {
    for (raw, error) in [
        // Case 81.
        ("", HostError::Empty),
        (".", HostError::Empty),
        (":80", HostError::Empty),
        ("a, b", HostError::Character),
        ("a b", HostError::Character),
        ("a\t", HostError::Character),
        ("a/", HostError::Character),
        ("a.example/x", HostError::Character),
        ("user@a.example", HostError::Character),
        ("user:pw@a.example", HostError::Port),
        ("a%2eexample", HostError::Character),
        ("a\\b", HostError::Character),
        ("bücher.example", HostError::Character),
        ("a?x", HostError::Character),
        // Case 82.
        ("a.example:99999", HostError::Port),
        ("a.example:65536", HostError::Port),
        ("a.example:", HostError::Port),
        ("a.example:0", HostError::Port),
        ("a.example:080", HostError::Port),
        ("a.example:+80", HostError::Port),
        // Case 84.
        ("a:443:80", HostError::Port),
        ("a..b", HostError::Label),
        (".a", HostError::Label),
        ("a.example..", HostError::Label),
        ("[::1", HostError::Address),
        ("[::1%25eth0]", HostError::Address),
        ("[v1.x]", HostError::Address),
        ("[127.0.0.1]", HostError::Address),
        ("[::1]x:80", HostError::Character),
        ("[::1]x", HostError::Address),
        ("127.1", HostError::Address),
        ("2130706433", HostError::Address),
        ("0x7f.0x1", HostError::Address),
        ("127.0.0.01", HostError::Address),
        ("1.2.3.4.5", HostError::Address),
    ] {
        assert_eq!(Host::parse(raw, 443), Err(error), "{raw:?}");
    }
    assert_eq!(Host::parse(b"a\xff", 443), Err(HostError::Character));
    assert_eq!(Host::parse(b"a\0", 443), Err(HostError::Character));
}

#[test]
fn labels_and_names_are_bounded() {
    let label = "x".repeat(63);
    assert!(Host::parse(&label, 80).is_ok());
    assert_eq!(Host::parse("x".repeat(64), 80), Err(HostError::Label));
    let longest = [label.as_str(), &label, &label, &"x".repeat(61)].join(".");
    assert_eq!(longest.len(), 253);
    assert!(Host::parse(format!("{longest}.:65535"), 80).is_ok());
    assert_eq!(Host::parse(format!("{longest}x"), 80), Err(HostError::TooLong));
}

#[test]
fn the_default_port_depends_on_the_scheme() {
    assert_eq!(Host::parse("a:80", 80).expect("valid").authority(), "a");
    assert_eq!(Host::parse("a:80", 443).expect("valid").authority(), "a:80");
    assert!(host("a").is_named_by(b"A.:443"));
    assert!(!host("a").is_named_by(b"a:80"));
    assert!(!host("a").is_named_by(b"user@a"));
}

#[test]
fn an_exact_pattern_matches_its_name_on_any_port() {
    let pattern = HostPattern::parse("API.Example.com.").expect("valid");
    assert_eq!(pattern.as_str(), "api.example.com");
    assert!(pattern.matches(&host("api.example.com")));
    assert!(pattern.matches(&host("api.example.com:8443")));
    assert!(!pattern.matches(&host("x.api.example.com")));
    assert!(!pattern.matches(&host("example.com")));
}

#[test]
fn a_wildcard_stands_for_one_or_more_whole_labels() {
    let pattern = HostPattern::parse("*.example.com").expect("valid");
    assert!(pattern.matches(&host("a.example.com")));
    assert!(pattern.matches(&host("a.b.example.com")));
    assert!(!pattern.matches(&host("example.com")));
    assert!(!pattern.matches(&host("aexample.com")));
    assert!(!pattern.matches(&host("example.com.evil.example")));
}

#[test]
fn a_pattern_that_could_not_match_is_refused() {
    for (text, error) in [
        ("*", HostPatternError::Wildcard),
        ("a.*.com", HostPatternError::Wildcard),
        ("*a.com", HostPatternError::Wildcard),
        ("*.*.com", HostPatternError::Wildcard),
        ("*.127.0.0.1", HostPatternError::Wildcard),
        ("a.example:443", HostPatternError::Port),
        ("", HostPatternError::Host(HostError::Empty)),
        ("*.", HostPatternError::Host(HostError::Empty)),
        ("https://a", HostPatternError::Port),
        ("a/b", HostPatternError::Host(HostError::Character)),
    ] {
        assert_eq!(HostPattern::parse(text), Err(error), "{text:?}");
    }
    assert_eq!(HostPattern::parse("bücher.example").expect("valid").as_str(), "xn--bcher-kva.example");
}

proptest! {
    #[test]
    fn canonicalisation_is_idempotent_and_never_panics(raw in proptest::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(host) = Host::parse(&raw, 80) {
            prop_assert_eq!(Host::parse(host.authority(), 80), Ok(host.clone()));
            prop_assert!(host.is_named_by(&raw));
        }
    }

    #[test]
    fn plausible_hosts_are_idempotent(raw in r"[a-zA-Z0-9_.\-\[\]:]{1,20}") {
        if let Ok(host) = Host::parse(&raw, 80) {
            prop_assert_eq!(Host::parse(host.authority(), 80), Ok(host));
        }
    }
}
