//! The gateway's own cookies: upstreams neither see them nor set them.

use http::header::{COOKIE, HeaderMap, HeaderValue, SET_COOKIE};

use super::HeaderEdits;

/// Every cookie of the gateway begins with it. `__Host-` keeps other hosts from setting one (RFC 6265bis §4.1.3).
pub const COOKIE_PREFIX: &str = "__Host-portcullis";

/// Whether `cookie`, from its name on, is one of ours.
fn is_ours(cookie: &[u8]) -> bool {
    // `=__Host-x=y` is a cookie without a name, and comes back as `__Host-x=y`.
    let start = cookie.iter().position(|b| !b" \t=".contains(b)).unwrap_or(cookie.len());
    // Browsers compare the prefix without regard to case; so may an upstream.
    cookie[start..].get(..COOKIE_PREFIX.len()).is_some_and(|name| name.eq_ignore_ascii_case(COOKIE_PREFIX.as_bytes()))
}

/// Leaves our cookies out, and joins the crumbs of HTTP/2 into one field (RFC 9113 §8.2.3).
pub(super) fn of_request(incoming: &HeaderMap, edits: &mut HeaderEdits) {
    let mut fields = incoming.get_all(COOKIE).iter();
    let Some(first) = fields.next() else { return };
    let cookies = |field: &'_ HeaderValue| field.as_bytes().split(|&b| b == b';').any(is_ours);
    if fields.next().is_none() && !cookies(first) {
        return;
    }
    let mut joined: Vec<u8> = Vec::new();
    for field in incoming.get_all(COOKIE) {
        for cookie in field.as_bytes().split(|&b| b == b';').map(<[u8]>::trim_ascii) {
            if cookie.is_empty() || is_ours(cookie) {
                continue;
            }
            if !joined.is_empty() {
                joined.extend_from_slice(b"; ");
            }
            joined.extend_from_slice(cookie);
        }
    }
    if joined.is_empty() {
        edits.remove.push(COOKIE);
    } else {
        edits.set.push((COOKIE, HeaderValue::try_from(joined).expect("parts of field values make a field value")));
    }
}

/// Leaves out what an upstream sets under our names: it could fix or end the sessions of others.
pub(super) fn of_response(upstream: &HeaderMap, edits: &mut HeaderEdits) {
    let fields = || upstream.get_all(SET_COOKIE).iter();
    if fields().any(|field| is_ours(field.as_bytes())) {
        edits.remove.push(SET_COOKIE);
        edits.append.extend(fields().filter(|field| !is_ours(field.as_bytes())).map(|field| (SET_COOKIE, field.clone())));
    }
}
