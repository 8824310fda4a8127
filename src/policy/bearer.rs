//! Bearer tokens: how one is taken out of `Authorization` (RFC 6750 §2.1). The only other place where one is looked for is a
//! WebSocket handshake ([`super::subprotocol`]).
//!
//! A token in the query or in a form body is never looked at (RFC 9700 §4.3.2).

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue};

/// Longer tokens are refused before any work is done for them.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

const SCHEME: &[u8] = b"bearer";

/// Why an `Authorization` field is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BearerError {
    /// More than one field: which one counts differs from one reader to the next. A malformed request (400).
    #[error("there is more than one authorization field")]
    Repeated,
    /// The scheme alone. To be answered as if no token had been sent, never to be taken for anonymous.
    #[error("the bearer scheme has no token")]
    Empty,
    /// Anything but one space and one token (RFC 9110 §11.4, `token68`). A bad token (401).
    #[error("the bearer scheme is not followed by one space and one token")]
    Malformed,
    /// More than [`TOKEN_BYTES_MAX`]. A bad token (401).
    #[error("the token is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
}

/// The bearer token of a request; none when there is no `Authorization`, or one of another scheme, which is not
/// ours to judge.
///
/// # Errors
/// There is a bearer token that cannot be one.
pub fn extract(headers: &HeaderMap) -> Result<Option<&str>, BearerError> {
    find(headers)?.map(check).transpose()
}

/// The bytes that stand where a bearer token does: [`check`] says whether they are one. For those who know tokens by their
/// bytes, and need not look at each again.
///
/// # Errors
/// There is more than one such place, or nothing in it.
pub fn find(headers: &HeaderMap) -> Result<Option<&[u8]>, BearerError> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let Some(field) = fields.next() else { return Ok(None) };
    if fields.next().is_some() {
        return Err(BearerError::Repeated);
    }
    let Some(rest) = after_scheme(field) else { return Ok(None) };
    match rest {
        [] | [b' '] => Err(BearerError::Empty),
        [b' ', token @ ..] => Ok(Some(token)),
        _ => Err(BearerError::Malformed),
    }
}

/// Whether a field value is, or was meant to be, of the bearer scheme.
#[must_use]
pub fn is_bearer(field: &HeaderValue) -> bool {
    after_scheme(field).is_some()
}

/// What follows the scheme, whose case does not matter (RFC 9110 §11.1); none if it is another one.
fn after_scheme(field: &HeaderValue) -> Option<&[u8]> {
    let (scheme, rest) = field.as_bytes().split_at_checked(SCHEME.len())?;
    // `Bearer\tx` and `Bearer,x` were meant to be ours and are malformed; `BearerX x` is another scheme.
    let ends = rest.first().is_none_or(|&b| !(b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)));
    (ends && scheme.eq_ignore_ascii_case(SCHEME)).then_some(rest)
}

/// A bearer token.
///
/// # Errors
/// The bytes are none.
pub fn check(token: &[u8]) -> Result<&str, BearerError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(BearerError::TooLong);
    }
    let padding = token.iter().rev().take_while(|&&b| b == b'=').count();
    let body = &token[..token.len() - padding];
    // Every request pays for this loop once per byte of its token: without a branch the compiler does many bytes at once.
    let plain = body.iter().fold(true, |plain, &b| plain & is_token68(b));
    if body.is_empty() || !plain {
        return Err(BearerError::Malformed);
    }
    std::str::from_utf8(token).map_err(|_| BearerError::Malformed)
}

/// Whether a `token68` may have this byte, padding aside (RFC 9110 §11.2): letters, digits and `-._~+/`.
const fn is_token68(byte: u8) -> bool {
    let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
    // `-`, `.`, `/` and the digits follow each other in ASCII.
    let digit = byte.wrapping_sub(b'-') <= b'9' - b'-';
    letter | digit | (byte == b'_') | (byte == b'~') | (byte == b'+')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn extracted(fields: &[&[u8]]) -> Result<Option<String>, BearerError> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(field).expect("a field value"));
        }
        extract(&headers).map(|token| token.map(str::to_owned))
    }

    #[test]
    fn one_field_with_one_token_is_a_bearer_token() {
        // Case 112.
        for field in ["Bearer aB9-._~+/x==", "bearer aB9-._~+/x==", "BEARER aB9-._~+/x=="] {
            assert_eq!(extracted(&[field.as_bytes()]), Ok(Some("aB9-._~+/x==".to_owned())), "{field:?}");
        }
        // Case 114: a word like any other; verification refuses it.
        assert_eq!(extracted(&[b"Bearer null"]), Ok(Some("null".to_owned())));
    }

    #[test]
    fn a_token_has_letters_digits_and_six_other_bytes() {
        let expected = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
        assert!((0..=u8::MAX).all(|byte| is_token68(byte) == expected(byte)));
    }

    #[test]
    fn another_scheme_is_no_bearer_token() {
        // Case 114.
        for field in ["", "Basic YTpi", "Basic", "BearerX abc", "Bearer-Token abc", "Bear er", "DPoP abc", "abc"] {
            assert_eq!(extracted(&[field.as_bytes()]), Ok(None), "{field:?}");
        }
        assert_eq!(extracted(&[]), Ok(None));
    }

    #[test]
    fn anything_but_one_space_and_one_token_is_refused() {
        use BearerError::*;
        for (field, error) in [
            // Case 113.
            (&b"Bearer  x"[..], Malformed),
            (b"Bearer\tx", Malformed),
            (b"Bearer \tx", Malformed),
            (b"Bearer x ", Malformed),
            (b"Bearer x, Bearer y", Malformed),
            (b"Bearer x,y", Malformed),
            (b"Bearer x y", Malformed),
            (b"Bearer,x", Malformed),
            (b"Bearer=x", Malformed),
            (b"Bearer \"x\"", Malformed),
            (b"Bearer x=y", Malformed),
            (b"Bearer ==", Malformed),
            // Case 114.
            (b"Bearer", Empty),
            (b"bearer ", Empty),
            // Case 116.
            (b"Bearer caf\xc3\xa9", Malformed),
            (b"Bearer \xff", Malformed),
        ] {
            assert_eq!(extracted(&[field]), Err(error), "{:?}", field.escape_ascii().to_string());
        }
    }

    #[test]
    fn two_fields_are_refused_in_either_order() {
        // Case 109.
        for fields in [[&b"Bearer good"[..], b"Bearer bad"], [b"Basic YTpi", b"Bearer good"], [b"Bearer good", b"Basic YTpi"]] {
            assert_eq!(extracted(&fields), Err(BearerError::Repeated));
        }
    }

    #[test]
    fn a_token_is_refused_one_byte_beyond_the_limit() {
        // Case 115.
        let field = |bytes: usize| [b"Bearer ".to_vec(), vec![b'.'; bytes]].concat();
        assert!(extracted(&[&field(TOKEN_BYTES_MAX)]).is_ok());
        assert_eq!(extracted(&[&field(TOKEN_BYTES_MAX + 1)]), Err(BearerError::TooLong));
        assert_eq!(extracted(&[&field(1_000_000)]), Err(BearerError::TooLong));
    }

    proptest! {
        #[test]
        fn what_is_extracted_is_what_was_sent(field in "[Bb]earer[ a-z.=,\\-]{0,12}") {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(&field).expect("a field value"));
            if let Ok(Some(token)) = extract(&headers) {
                prop_assert_eq!(&field[7..], token);
                prop_assert!(!token.contains([' ', ',']));
            }
            prop_assert!(extract(&headers) == Ok(None) || is_bearer(&headers[AUTHORIZATION]));
        }
    }
}
