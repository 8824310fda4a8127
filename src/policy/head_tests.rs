//! Which heads are refused, each beside one that differs in a byte and is not.

use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a field name");
        headers.append(name, HeaderValue::from_str(value).expect("a field value"));
    }
    headers
}

/// A POST over HTTP/1.1 with a host and these fields.
fn check(fields: &[(&str, &str)]) -> Result<(), HeadError> {
    let mut headers = headers(fields);
    headers.append(HOST, HeaderValue::from_static("a.example"));
    check_framing(&Method::POST, Version::HTTP_11, &headers)
}

#[test]
fn a_body_has_one_length_with_one_reading() {
    use HeadError::*;
    for (fields, expected) in [
        (&[][..], Ok(())),
        (&[("content-length", "0")], Ok(())),
        (&[("content-length", "5")], Ok(())),
        (&[("content-length", "9999999999999999999")], Ok(())),
        (&[("transfer-encoding", "chunked")], Ok(())),
        (&[("transfer-encoding", "Chunked")], Ok(())),
        // Case 1.
        (&[("content-length", "5"), ("transfer-encoding", "chunked")], Err(BothLengths)),
        // Case 3.
        (&[("transfer-encoding", "gzip, chunked")], Err(TransferEncoding)),
        // Case 4.
        (&[("transfer-encoding", "chunked, identity")], Err(TransferEncoding)),
        (&[("transfer-encoding", "identity")], Err(TransferEncoding)),
        (&[("transfer-encoding", "xchunked")], Err(TransferEncoding)),
        (&[("transfer-encoding", "chunked;q=1")], Err(TransferEncoding)),
        (&[("transfer-encoding", "")], Err(TransferEncoding)),
        // Case 5.
        (&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], Err(TransferEncoding)),
        (&[("transfer-encoding", "chunked, chunked")], Err(TransferEncoding)),
        // Case 6.
        (&[("transfer-encoding", "identity"), ("transfer-encoding", "chunked")], Err(TransferEncoding)),
        // Case 10.
        (&[("content-length", "2, 2")], Err(ContentLength)),
        // Case 11.
        (&[("content-length", "2"), ("content-length", "2")], Err(ContentLength)),
        // Case 12.
        (&[("content-length", "5"), ("content-length", "6")], Err(ContentLength)),
        (&[("content-length", "5, 6")], Err(ContentLength)),
        // Case 13.
        (&[("content-length", "+2")], Err(ContentLength)),
        (&[("content-length", "0x2")], Err(ContentLength)),
        (&[("content-length", "-1")], Err(ContentLength)),
        (&[("content-length", "")], Err(ContentLength)),
        (&[("content-length", "18446744073709551617")], Err(ContentLength)),
        (&[("content-length", "abc")], Err(ContentLength)),
        // Case 14.
        (&[("content-length", "002")], Err(ContentLength)),
        (&[("content-length", "00")], Err(ContentLength)),
    ] {
        assert_eq!(check(fields), expected, "{fields:?}");
    }
}

#[test]
fn a_transfer_coding_exists_only_in_http_1_1() {
    // Cases 9 and 48.
    let headers = headers(&[("host", "a"), ("transfer-encoding", "chunked")]);
    for (version, expected) in [
        (Version::HTTP_10, Err(HeadError::TransferEncoding)),
        (Version::HTTP_11, Ok(())),
        (Version::HTTP_2, Err(HeadError::TransferEncoding)),
    ] {
        assert_eq!(check_framing(&Method::POST, version, &headers), expected, "{version:?}");
    }
}

#[test]
fn the_raw_head_tells_whether_a_length_was_dropped() {
    // Case 1, as pingora leaves it.
    let head = |field: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{field}\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert!(raw_head_has_content_length(head("Content-Length: 5").as_bytes()));
    assert!(raw_head_has_content_length(head("cOnTENT-length:5").as_bytes()));
    assert!(raw_head_has_content_length(b"POST / HTTP/1.1\nContent-Length: 5\n\n"));
    assert!(!raw_head_has_content_length(head("X-Content-Length: 5").as_bytes()));
    assert!(!raw_head_has_content_length(head("X: content-length: 5").as_bytes()));
    assert!(!raw_head_has_content_length(b"content-length: / HTTP/1.1\r\n\r\n"));
    assert!(!raw_head_has_content_length(b""));
}

#[test]
fn another_spelling_of_a_framing_field_is_refused() {
    // Case 8.
    for name in ["transfer_encoding", "Transfer.Encoding", "content_length", "content!length", "keep_alive", "proxy_connection"] {
        assert_eq!(check(&[(name, "5")]), Err(HeadError::Alias), "{name}");
    }
    for name in ["content-lengths", "x-content_length", "contentlength", "accept_language"] {
        assert_eq!(check(&[(name, "5")]), Ok(()), "{name}");
    }
}

#[test]
fn the_only_expectation_is_100_continue() {
    // Cases 23 and 24.
    assert_eq!(check(&[("expect", "100-continue")]), Ok(()));
    assert_eq!(check(&[("expect", "100-Continue")]), Ok(()));
    for value in ["foo", "100-continue, foo", ""] {
        assert_eq!(check(&[("expect", value)]), Err(HeadError::Expectation), "{value:?}");
    }
    assert_eq!(check(&[("expect", "100-continue"), ("expect", "foo")]), Err(HeadError::Expectation));
}

#[test]
fn a_request_has_one_host() {
    // Cases 36, 79 and 80.
    let with_hosts = |version, hosts: &[(&str, &str)]| check_framing(&Method::GET, version, &headers(hosts));
    for version in [Version::HTTP_10, Version::HTTP_11] {
        assert_eq!(with_hosts(version, &[("host", "a")]), Ok(()));
        assert_eq!(with_hosts(version, &[]), Err(HeadError::HostMissing), "{version:?}");
        assert_eq!(with_hosts(version, &[("host", "a"), ("host", "a")]), Err(HeadError::HostRepeated), "{version:?}");
        assert_eq!(with_hosts(version, &[("host", "a"), ("host", "b")]), Err(HeadError::HostRepeated), "{version:?}");
    }
    assert_eq!(with_hosts(Version::HTTP_2, &[]), Ok(()));
    assert_eq!(with_hosts(Version::HTTP_2, &[("host", "a"), ("host", "a")]), Err(HeadError::HostRepeated));
    assert_eq!(with_hosts(Version::HTTP_09, &[("host", "a")]), Err(HeadError::Version));
}

#[test]
fn the_host_is_the_field_or_the_authority_or_both_if_they_agree() {
    let found = |uri: &str, fields: &[(&str, &str)]| {
        host(&uri.parse().expect("a URI"), &headers(fields), 443).map(|host| host.authority().to_owned())
    };
    assert_eq!(found("/", &[("host", "A.example")]), Ok("a.example".to_owned()));
    assert_eq!(found("https://A.example/", &[]), Ok("a.example".to_owned()));
    assert_eq!(found("https://a.example:443/", &[("host", "a.example.")]), Ok("a.example".to_owned()));
    // Case 52.
    assert_eq!(found("https://a.example/", &[("host", "b.example")]), Err(HeadError::HostMismatch));
    assert_eq!(found("https://user@a.example/", &[]), Err(HeadError::Host(HostError::Character)));
    // Cases 79, 80 and 81.
    assert_eq!(found("/", &[]), Err(HeadError::HostMissing));
    assert_eq!(found("/", &[("host", "a"), ("host", "a")]), Err(HeadError::HostRepeated));
    assert_eq!(found("/", &[("host", "")]), Err(HeadError::Host(HostError::Empty)));
}

#[test]
fn a_method_outside_the_list_is_not_implemented() {
    let headers = headers(&[("host", "a")]);
    let with = |method: &[u8]| check_framing(&Method::from_bytes(method).expect("a method"), Version::HTTP_11, &headers);
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        assert_eq!(with(method.as_bytes()), Ok(()), "{method}");
    }
    // Case 76.
    for method in ["get", "FOO-BAR!", "TRACE", "TRACK", "CONNECT", "PROPFIND", "GETX"] {
        assert_eq!(with(method.as_bytes()), Err(HeadError::MethodUnknown), "{method}");
    }
}

/// What pingora strips, and what makes it strip more: where none of them is, it is not asked to.
#[test]
fn what_ends_here_is_known_by_its_name() {
    for name in [
        "Connection",
        "HTTP2-Settings",
        "Keep-Alive",
        "Proxy-Authenticate",
        "Proxy-Authorization",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
    ] {
        assert!(has_hop_by_hop(&headers(&[("host", "a"), (name, ""), ("x-a", "x")])), "{name}");
    }
    assert!(!has_hop_by_hop(&headers(&[])));
    assert!(!has_hop_by_hop(&headers(&[("host", "a"), ("authorization", "x"), ("connections", "x"), ("content-length", "0")])));
}

#[test]
fn two_authorization_fields_are_refused() {
    // Case 109.
    assert_eq!(check(&[("authorization", "Bearer good")]), Ok(()));
    let fields = [("authorization", "Bearer good"), ("authorization", "Bearer bad")];
    assert_eq!(check(&fields), Err(HeadError::AuthorizationRepeated));
}

#[test]
fn white_space_at_the_ends_of_a_value_is_refused() {
    // Case 50.
    for value in [" x", "x ", "\tx", "x\t"] {
        assert_eq!(check(&[("x-a", value)]), Err(HeadError::Whitespace), "{value:?}");
    }
    assert_eq!(check(&[("x-a", "x \t y"), ("x-b", "")]), Ok(()));
}

proptest! {
    #[test]
    fn every_spelling_that_folds_onto_a_name_is_found(separator in "[!#$%&'*+.^_`|~-]", upper in any::<bool>()) {
        let spelled = format!("x{separator}user{separator}id");
        let spelled = if upper { spelled.to_ascii_uppercase() } else { spelled };
        let name = HeaderName::from_bytes(spelled.as_bytes()).expect("a field name");
        prop_assert!(folds_to(&name, "x-user-id"));
        prop_assert!(folds_into_family(&name, "x-user-"));
        prop_assert!(!folds_to(&name, "x-user-ids"));
        prop_assert!(!folds_into_family(&name, "x-user-id-"));
    }

    #[test]
    fn an_accepted_body_length_is_one_number(value in "[0-9+, x-]{0,4}") {
        if check(&[("content-length", &value)]).is_ok() {
            prop_assert_eq!(value.parse::<u64>().expect("a number").to_string(), value);
        }
    }
}
