//! A token in a WebSocket handshake: browsers let a page set no `Authorization` there, but name subprotocols.
//!
//! `Sec-WebSocket-Protocol: bearer, <token>, chat.v1` offers the credential first, then what the page really wants to
//! speak. It is the client's own, like `Authorization`: no other page's script has it, and browsers add it to nothing. The
//! pair is taken out of everything that is forwarded, as no server expects it and logs of servers have this field.

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::request::Parts;
use http::{Method, Version};

use super::bearer::{self, BearerError};

/// What stands before the token, and is what the gateway selects where the upstream selects nothing.
const MARK: &[u8] = b"bearer";

/// Whether a request opens a WebSocket (RFC 6455 §4.1): the one that pingora forwards as such, too.
#[must_use]
pub fn is_handshake(head: &Parts) -> bool {
    head.version == Version::HTTP_11
        && head.method == Method::GET
        && head.headers.get(UPGRADE).is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The token that a handshake offers; none if it offers no `bearer`. A handshake that has both is open to two readings.
///
/// # Errors
/// There is no token where one must be, more than one, or one beside an `Authorization`.
pub fn token(headers: &HeaderMap) -> Result<Option<&str>, BearerError> {
    let mut offered = offered(headers);
    if !offered.any(is_mark) {
        return Ok(None);
    }
    let token = offered.next().ok_or(BearerError::Empty)?;
    if offered.any(is_mark) || headers.contains_key(AUTHORIZATION) {
        return Err(BearerError::Repeated);
    }
    bearer::check(token).map(Some)
}

/// The name under which a client offered its token, as it spelt it: what it must be answered if nothing else is selected,
/// or browsers fail the handshake (RFC 6455 §4.1).
#[must_use]
pub fn mark(headers: &HeaderMap) -> Option<HeaderValue> {
    let mark = offered(headers).find(|name| is_mark(name))?;
    HeaderValue::from_bytes(mark).ok()
}

/// The field without the token and its mark; none if nothing is left of it, and the field itself if it has none.
#[must_use]
pub fn without_token(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut rest: Vec<u8> = Vec::new();
    let mut offered = offered(headers);
    while let Some(name) = offered.next() {
        if is_mark(name) {
            offered.next();
            continue;
        }
        if !rest.is_empty() {
            rest.extend_from_slice(b", ");
        }
        rest.extend_from_slice(name);
    }
    HeaderValue::from_bytes(&rest).ok().filter(|rest| !rest.is_empty())
}

/// The subprotocols in their order, of all fields together (RFC 6455 §11.3.4).
fn offered(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let fields = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let names = fields.flat_map(|field| field.as_bytes().split(|&b| b == b','));
    names.map(<[u8]>::trim_ascii).filter(|name| !name.is_empty())
}

fn is_mark(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect()
    }

    fn offering(fields: &[&str]) -> HeaderMap {
        headers(&fields.iter().map(|&value| ("sec-websocket-protocol", value)).collect::<Vec<_>>())
    }

    #[test]
    fn the_token_is_what_follows_the_mark_and_the_rest_stays() {
        for (fields, token, rest) in [
            (&["bearer, a.b-c_d"][..], Ok(Some("a.b-c_d")), None),
            (&["bearer,a.b,chat.v1"], Ok(Some("a.b")), Some("chat.v1")),
            (&["chat.v2, bearer, a.b, chat.v1"], Ok(Some("a.b")), Some("chat.v2, chat.v1")),
            (&["bearer", "a.b", "chat.v1"], Ok(Some("a.b")), Some("chat.v1")),
            (&["Bearer,, a.b ,"], Ok(Some("a.b")), None),
            (&["chat.v1"], Ok(None), Some("chat.v1")),
            (&["bearers, a.b"], Ok(None), Some("bearers, a.b")),
            (&[], Ok(None), None),
            (&["bearer"], Err(BearerError::Empty), None),
            (&["chat.v1, bearer"], Err(BearerError::Empty), Some("chat.v1")),
            (&["bearer, a b"], Err(BearerError::Malformed), None),
            (&["bearer, a, bearer, b"], Err(BearerError::Repeated), None),
        ] {
            let headers = offering(fields);
            assert_eq!(super::token(&headers), token, "{fields:?}");
            assert_eq!(without_token(&headers).as_ref().map(HeaderValue::as_bytes), rest.map(str::as_bytes), "{fields:?}");
        }
    }

    #[test]
    fn a_token_in_both_fields_is_one_too_many() {
        let both = headers(&[("sec-websocket-protocol", "bearer, a.b"), ("authorization", "Basic YTpi")]);
        assert_eq!(token(&both), Err(BearerError::Repeated));
        let one = headers(&[("sec-websocket-protocol", "chat.v1"), ("authorization", "Bearer a.b")]);
        assert_eq!(token(&one), Ok(None));
    }

    #[test]
    fn the_mark_is_answered_as_it_was_spelt() {
        assert_eq!(mark(&offering(&["chat, Bearer, a.b"])), Some(HeaderValue::from_static("Bearer")));
        assert_eq!(mark(&offering(&["chat"])), None);
    }

    #[test]
    fn a_handshake_is_a_get_over_http_1_1_for_a_websocket() {
        let head = |method: &str, version, upgrade: &str| {
            let request = http::Request::builder().method(method).version(version).header("upgrade", upgrade);
            request.body(()).expect("a request").into_parts().0
        };
        assert!(is_handshake(&head("GET", Version::HTTP_11, "WebSocket")));
        assert!(!is_handshake(&head("POST", Version::HTTP_11, "websocket")));
        assert!(!is_handshake(&head("GET", Version::HTTP_10, "websocket")));
        assert!(!is_handshake(&head("GET", Version::HTTP_11, "h2c")));
    }
}
