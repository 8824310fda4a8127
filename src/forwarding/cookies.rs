//! The gateway's own cookies, those of its dialects included: upstreams neither see them nor set them.
//!
//! On every route: browsers keep cookies by host, not by port, and by the path that the cookie names, so one that a
//! dialect sets comes along with requests that are not in it.

use http::header::{COOKIE, HeaderMap, HeaderValue, SET_COOKIE};

use super::HeaderEdits;

/// Every cookie of the gateway begins with it. `__Host-` keeps other hosts from setting one (RFC 6265bis §4.1.3).
pub const COOKIE_PREFIX: &str = "__Host-portcullis";

/// Which cookies are ours.
#[derive(Debug, Clone, Default)]
pub(super) struct OwnCookies {
    /// Names besides the prefix.
    pub(super) names: Box<[Box<str>]>,
}

impl OwnCookies {
    /// Whether `cookie`, from its name on, is one of ours.
    pub(super) fn has(&self, cookie: &[u8]) -> bool {
        // `=__Host-x=y` is a cookie without a name, and comes back as `__Host-x=y`.
        let start = cookie.iter().position(|b| !b" \t=".contains(b)).unwrap_or(cookie.len());
        let cookie = &cookie[start..];
        // Browsers compare the prefix without regard to case; so may an upstream, and names too.
        if cookie.get(..COOKIE_PREFIX.len()).is_some_and(|name| name.eq_ignore_ascii_case(COOKIE_PREFIX.as_bytes())) {
            return true;
        }
        let name = cookie.split(|&b| b == b'=' || b == b';').next().unwrap_or_default().trim_ascii_end();
        self.names.iter().any(|own| name.eq_ignore_ascii_case(own.as_bytes()))
    }
}

/// Leaves our cookies out, and joins the crumbs of HTTP/2 into one field (RFC 9113 §8.2.3).
pub(super) fn of_request(own: &OwnCookies, incoming: &HeaderMap, edits: &mut HeaderEdits) {
    let mut fields = incoming.get_all(COOKIE).iter();
    let Some(first) = fields.next() else { return };
    let cookies = |field: &'_ HeaderValue| field.as_bytes().split(|&b| b == b';').any(|cookie| own.has(cookie));
    if fields.next().is_none() && !cookies(first) {
        return;
    }
    let mut joined: Vec<u8> = Vec::new();
    for field in incoming.get_all(COOKIE) {
        for cookie in field.as_bytes().split(|&b| b == b';').map(<[u8]>::trim_ascii) {
            if cookie.is_empty() || own.has(cookie) {
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
pub(super) fn of_response(own: &OwnCookies, upstream: &HeaderMap, edits: &mut HeaderEdits) {
    edits.remove.push(SET_COOKIE);
    let others = upstream.get_all(SET_COOKIE).iter().filter(|field| !own.has(field.as_bytes()));
    edits.append.extend(others.map(|field| (SET_COOKIE, field.clone())));
}
