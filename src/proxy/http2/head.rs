//! A request head of HTTP/2 in the reading that HTTP/1.1 has of it, so that one set of rules decides about both.
//!
//! The library has refused already what RFC 9113 §8.2 and §8.3 forbid: connection-specific fields, upper-case names,
//! pseudo-header fields that are unknown, repeated or late.

use bytes::{BufMut, Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Uri, header};

/// More fields than are allowed. They are forgotten: a byte on the wire can be a field, which is worth a hundred in memory,
/// and the request may wait long for its answer to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooManyFields;

/// Gives a head that reading. One that is beyond mending is left as it is: the rules refuse it.
pub(super) fn give_one_reading(head: &mut Parts, fields_max: usize) -> Result<(), TooManyFields> {
    move_authority(head);
    join_crumbs(&mut head.headers);
    if head.headers.len() <= fields_max {
        return Ok(());
    }
    head.headers = HeaderMap::new();
    Err(TooManyFields)
}

/// `:authority` is what `Host` is in HTTP/1.1 (RFC 9113 §8.3.1). With both, the rules compare them. `:scheme` is dropped
/// with it: what the client spoke is known from its connection.
fn move_authority(head: &mut Parts) {
    if head.headers.contains_key(header::HOST) {
        return;
    }
    let host = head.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    let target = head.uri.path_and_query().cloned();
    if let (Some(host), Some(target)) = (host, target) {
        head.uri = Uri::from(target);
        head.headers.insert(header::HOST, host);
    }
}

/// Clients may send each cookie in a field of its own; it is one field (RFC 9113 §8.2.3).
fn join_crumbs(headers: &mut HeaderMap) {
    let crumbs = headers.get_all(header::COOKIE);
    let mut values = crumbs.iter().map(HeaderValue::as_bytes);
    if values.by_ref().nth(1).is_none() {
        return;
    }
    // Inside a joined value, the rules would not see a white space at a crumb's end.
    if crumbs.iter().any(|crumb| crumb.as_bytes().trim_ascii() != crumb.as_bytes()) {
        return;
    }
    let mut joined = BytesMut::with_capacity(crumbs.iter().map(|crumb| crumb.len() + 2).sum());
    for crumb in crumbs {
        if !joined.is_empty() {
            joined.put_slice(b"; ");
        }
        joined.put_slice(crumb.as_bytes());
    }
    let joined = HeaderValue::from_maybe_shared(Bytes::from(joined));
    headers.insert(header::COOKIE, joined.expect("header values in a row are one, too"));
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn read(uri: &str, fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let mut head = request.body(()).expect("a request").into_parts().0;
        give_one_reading(&mut head, 5).expect("few fields");
        head
    }

    fn values<'a>(head: &'a Parts, name: &str) -> Vec<&'a str> {
        head.headers.get_all(name).iter().map(|value| value.to_str().expect("text")).collect()
    }

    #[test]
    fn the_authority_is_the_host_unless_there_is_one() {
        let head = read("https://a.example:8443/x?y=1", &[]);
        assert_eq!((head.uri.to_string().as_str(), values(&head, "host")), ("/x?y=1", vec!["a.example:8443"]));
        let head = read("https://a.example/x", &[("host", "b.example")]);
        assert_eq!((head.uri.authority().map(|a| a.as_str()), values(&head, "host")), (Some("a.example"), vec!["b.example"]));
        assert_eq!(values(&read("/x", &[]), "host"), Vec::<&str>::new());
    }

    #[test]
    fn crumbs_are_one_cookie_field() {
        for (crumbs, joined) in [
            (&["a=b"][..], &["a=b"][..]),
            (&["a=b", "c=d", "e=f"], &["a=b; c=d; e=f"]),
            (&["a=b; c=d", "e=f"], &["a=b; c=d; e=f"]),
            // Refused by the rules, as they are.
            (&["a=b", " c=d"], &["a=b", " c=d"]),
            (&["a=b ", "c=d"], &["a=b ", "c=d"]),
        ] {
            let fields: Vec<_> = crumbs.iter().map(|crumb| ("cookie", *crumb)).collect();
            assert_eq!(values(&read("/", &fields), "cookie"), joined, "{crumbs:?}");
        }
    }

    #[test]
    fn fields_beyond_the_limit_are_forgotten() {
        let read = |name: &str, fields: usize| {
            let request = (0..fields).fold(Request::builder().uri("/"), |request, _| request.header(name, "b"));
            let mut head = request.body(()).expect("a request").into_parts().0;
            (give_one_reading(&mut head, 5), head.headers.len())
        };
        assert_eq!([4, 5].map(|fields| read("a", fields)), [(Ok(()), 4), (Ok(()), 5)]);
        assert_eq!([6, 500].map(|fields| read("a", fields)), [(Err(TooManyFields), 0); 2]);
        // Crumbs count as what they are together.
        assert_eq!(read("cookie", 50), (Ok(()), 1));
    }
}
