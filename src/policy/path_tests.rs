//! What paths are refused, what form the others get, and that it is the only one.

use http::uri::PathAndQuery;
use proptest::prelude::*;

use super::*;

fn host() -> Host {
    Host::parse("a.example", 80).expect("a valid host")
}

fn parse(raw: &str) -> Result<String, TargetError> {
    Target::parse(raw.as_bytes(), &host()).map(|target| target.path_and_query().to_owned())
}

fn matches(prefix: &str, path: &str) -> bool {
    let host = host();
    let target = Target::parse(path.as_bytes(), &host).expect("a valid target");
    PathPrefix::parse(prefix).expect("a valid prefix").matches(&target.path())
}

#[test]
fn a_target_with_two_readings_is_refused() {
    use TargetError::*;
    for (raw, error) in [
        // Case 61.
        ("admin/secret", Form),
        ("\\admin", Form),
        ("a.example:80", Form),
        ("urn:x", Form),
        ("", Form),
        ("?x=/", Form),
        // Case 53.
        ("*", Form),
        // Case 62.
        ("/public/..%2fadmin", EncodedSlash),
        ("/public/%2e%2e/admin", DotSegment),
        ("/public/../admin", DotSegment),
        ("/public/.%2E/admin", DotSegment),
        ("/..", DotSegment),
        ("/.", DotSegment),
        // Case 73: the path is decided on as it will be sent.
        ("/api/../internal", DotSegment),
        ("/a/./b", DotSegment),
        ("/a/.../b", DotSegment),
        ("/a/%20/b", DotSegment),
        ("/a/..%20/b", DotSegment),
        // Case 63.
        ("//admin", EmptySegment),
        ("/public//../admin", EmptySegment),
        ("///x", EmptySegment),
        ("//", EmptySegment),
        ("/a//", EmptySegment),
        // Case 64.
        ("/;admin", DotSegment),
        ("/public/..;/admin", DotSegment),
        ("/public/..;x=1/admin", DotSegment),
        ("/public/.;/admin", DotSegment),
        ("/public/..%3b/admin", DotSegment),
        ("/public/%2e.;/admin", DotSegment),
        // Case 65.
        ("/admin%00", Control),
        ("/admin%0d%0aX:1", Control),
        ("/admin%09", Control),
        ("/admin%7f", Control),
        ("/admin%c2%85", Control),
        ("/admin%5cx", EncodedSlash),
        ("/admin%5Cx", EncodedSlash),
        ("/admin%2Fx", EncodedSlash),
        ("/a\\b", Character),
        ("/a\u{7f}", Character),
        ("/a\0", Character),
        // Case 66.
        ("/admin%", Percent),
        ("/admin%2", Percent),
        ("/admin%zz", Percent),
        ("/admin%+1", Percent),
        ("/%c0%ae%c0%ae/admin", NotUtf8),
        ("/%ff", NotUtf8),
        ("/%ed%a0%80", NotUtf8),
    ] {
        assert_eq!(parse(raw), Err(error), "{raw:?}");
    }
}

#[test]
fn a_byte_that_must_be_encoded_is_refused() {
    use TargetError::Character;
    for raw in [
        // Case 34, as far as the parser leaves it to us: it turns a bare space into `%20`.
        "/pub lic",
        "/a\tb",
        "/a?x y",
        "/a?x=\u{7f}",
        "/é",
        "/a?é",
        // Cases 54 and 71.
        "/admin#/public/",
        "/admin?x#/public/",
        "/a<b>",
        "/a[0]",
        "/a|b",
        "/a^b`{}\"",
        "/a?x=\"",
    ] {
        assert_eq!(parse(raw), Err(Character), "{raw:?}");
    }
    assert_eq!(Target::parse(b"/\xff", &host()), Err(Character));
    assert_eq!(Target::parse(b"/?\xff", &host()), Err(Character));
}

#[test]
fn an_absolute_target_is_for_the_same_host() {
    use TargetError::*;
    for (raw, error) in [
        // Cases 83 and 84.
        ("http://other.example/x", OtherHost),
        ("http://a.example:81/x", OtherHost),
        ("http://user@a.example/x", OtherHost),
        ("http:///x", OtherHost),
        ("http://a.example:443:80/", OtherHost),
        ("http:/\\b", Form),
        ("http:/a.example/x", Form),
        ("http://a.example\\x", Form),
        ("http://a.example?x", Form),
        ("ftp://a.example/x", Form),
        ("http://a.example//x", EmptySegment),
    ] {
        assert_eq!(parse(raw), Err(error), "{raw:?}");
    }
}

#[test]
fn a_target_is_forwarded_in_its_canonical_form() {
    for (raw, forwarded) in [
        ("/", "/"),
        ("/?", "/?"),
        ("/a/b/", "/a/b/"),
        ("/a?x=/../&y[]=%zz|`{}\\", "/a?x=/../&y[]=%zz|`{}\\"),
        ("/%61dmin", "/admin"),
        ("/a%2d%2E%5f%7Eb", "/a-._~b"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/a%20b", "/a%20b"),
        ("/a%3fb%23", "/a%3Fb%23"),
        // Case 67: decoded once, never twice.
        ("/%252e%252e%252fadmin", "/%252e%252e%252fadmin"),
        ("/%25%32%65", "/%252e"),
        // Case 64.
        ("/admin;x=1", "/admin;x=1"),
        ("/users/@me:1,2;v=(a)*'!$&+=", "/users/@me:1,2;v=(a)*'!$&+="),
        ("/.well-known/jwks.json", "/.well-known/jwks.json"),
        ("/a..b/c...d", "/a..b/c...d"),
        // Case 83.
        ("http://a.example/x?y", "/x?y"),
        ("HTTP://A.EXAMPLE.:80/%61", "/a"),
        ("https://a.example", "/"),
    ] {
        assert_eq!(parse(raw).as_deref(), Ok(forwarded), "{raw:?}");
    }
}

#[test]
fn a_canonical_target_is_borrowed() {
    for raw in ["/", "/api/users/42?page=2", "/caf%C3%A9", "http://a.example/x"] {
        let host = host();
        let target = Target::parse(raw.as_bytes(), &host).expect("a valid target");
        assert!(matches!(target.path_and_query, Cow::Borrowed(_)), "{raw:?}");
        assert_eq!(target.clone().into_owned(), target);
    }
}

#[test]
fn the_query_takes_no_part_in_the_path() {
    // Case 70.
    let host = host();
    let target = Target::parse(b"/admin?x=/public/", &host).expect("a valid target");
    assert_eq!(target.path().as_str(), "/admin");
    assert_eq!(target.query(), Some("x=/public/"));
    assert!(!matches("/public", "/admin?x=/public/"));
    assert_eq!(Target::parse(b"/admin", &host).expect("a valid target").query(), None);
}

#[test]
fn a_prefix_matches_whole_segments() {
    for (prefix, path, expected) in [
        ("/", "/", true),
        ("/", "/anything/at/all", true),
        ("/admin", "/admin", true),
        ("/admin/", "/admin", true),
        ("/admin", "/admin/users", true),
        ("/admin/users", "/admin", false),
        // Case 72.
        ("/pub", "/publicadmin", false),
        ("/pub", "/pub/licadmin", true),
        // Case 68: paths are case-sensitive.
        ("/admin", "/ADMIN", false),
        ("/admin", "/Admin/", false),
        // Case 69.
        ("/admin", "/admin/", true),
        ("/admin", "/admin.", true),
        ("/admin", "/admin...", true),
        ("/admin", "/admin%20", true),
        ("/admin", "/admin.%20./users", true),
        // Case 64.
        ("/admin", "/admin;x=1", true),
        ("/admin", "/admin;x=1/users", true),
        ("/admin/users", "/admin;/users;v=2", true),
        ("/admin", "/admin%3Bx", true),
        ("/admin", "/admin.;x", true),
        ("/admin", "/admi;n", false),
        // One name, however it is encoded.
        ("/admin", "/%61dmin", true),
        ("/a@b", "/a%40b", true),
        ("/a%40b", "/a@b", true),
        ("/caf%c3%a9", "/caf%C3%A9", true),
        ("/a%20b", "/a%20b", true),
        // Case 67.
        ("/admin", "/%2561dmin", false),
    ] {
        assert_eq!(matches(prefix, path), expected, "{prefix} {path}");
    }
}

#[test]
fn a_route_path_that_no_request_could_match_is_refused() {
    for (text, error) in [
        ("", PathPrefixError::Form),
        ("api", PathPrefixError::Form),
        ("/api/*", PathPrefixError::Wildcard),
        ("/api?x", PathPrefixError::Target(TargetError::Character)),
        ("/api;v=1", PathPrefixError::Ignored),
        ("/api%3bv", PathPrefixError::Ignored),
        ("/api.", PathPrefixError::Ignored),
        ("/api%20/x", PathPrefixError::Ignored),
        ("//", PathPrefixError::Target(TargetError::EmptySegment)),
        ("/a/../b", PathPrefixError::Target(TargetError::DotSegment)),
        ("/a b", PathPrefixError::Target(TargetError::Character)),
        ("/a%2fb", PathPrefixError::Target(TargetError::EncodedSlash)),
    ] {
        assert_eq!(PathPrefix::parse(text), Err(error), "{text:?}");
    }
    assert_eq!(PathPrefix::parse("/%61pi/").expect("valid").as_str(), "/api");
    assert_eq!(PathPrefix::parse("/").expect("valid").as_str(), "/");
}

/// Pieces from which tricks are made, so that random targets come near the rules.
fn tricky() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-z]{1,3}",
        "%[0-9a-fA-F]{2}",
        prop::sample::select(vec![
            "/", "/", ".", "..", ";", "%2e", "%2f", "%5c", "%25", "%3b", "%c3%a9", "%20", "\\", "?", "@", "\0"
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #[test]
    fn random_bytes_never_panic(raw in prop::collection::vec(any::<u8>(), 0..64)) {
        let host = host();
        if let Ok(target) = Target::parse(&raw, &host) {
            prop_assert!(target.path_and_query().starts_with('/'));
        }
    }

    // Case 88: what is decided on is what is sent, and any reader of it finds the same.
    #[test]
    fn the_canonical_form_is_its_own_canonical_form(raw in tricky()) {
        let host = host();
        if let Ok(target) = Target::parse(raw.as_bytes(), &host) {
            let again = Target::parse(target.path_and_query().as_bytes(), &host);
            prop_assert_eq!(again.as_ref(), Ok(&target));
            let as_uri: PathAndQuery = target.path_and_query().parse().expect("a canonical target is a valid URI");
            prop_assert_eq!(as_uri.as_str(), target.path_and_query());
            prop_assert_eq!(as_uri.path(), target.path().as_str());
            prop_assert_eq!(as_uri.query(), target.query());
        }
    }

    #[test]
    fn no_accepted_path_leaves_its_place_however_it_is_decoded(raw in tricky()) {
        let host = host();
        if let Ok(target) = Target::parse(raw.as_bytes(), &host) {
            let path = target.path().as_str();
            let decoded = percent_decode_str(path).decode_utf8().expect("accepted paths are UTF-8");
            prop_assert_eq!(decoded.matches('/').count(), path.matches('/').count(), "no hidden separator");
            prop_assert!(!decoded.contains('\\') && !decoded.contains("//"));
            for segment in decoded.split('/') {
                let name = segment.split(';').next().expect("split yields at least one");
                prop_assert!(name != "." && name != "..", "{}", path);
            }
        }
    }

    #[test]
    fn a_path_matches_itself_as_a_prefix(raw in tricky()) {
        let host = host();
        if let Ok(target) = Target::parse(raw.as_bytes(), &host)
            && let Ok(prefix) = PathPrefix::parse(target.path().as_str())
        {
            prop_assert!(prefix.matches(&target.path()));
        }
    }
}
