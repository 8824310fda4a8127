//! Requests that a page of another site makes in its visitor's name: the browser adds the cookie, the visitor knows nothing.
//!
//! `SameSite` keeps most of them from being sent with a cookie at all, but a dialect may need `none`, and pages of sibling
//! hosts count as the same site. So where a cookie is all that speaks for the caller, the browser's own word about the
//! page decides (Fetch Metadata; RFC 6454 §7 for browsers without it). A client that says neither is no browser.

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, header};

use crate::dialect::{Dialect, DialectRoute};

const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Whether a cookie would be used for a page that may not use it.
pub(super) fn borrows_a_cookie(dialect: &Dialect, route: &DialectRoute, head: &Parts) -> bool {
    let headers = &head.headers;
    let changes_nothing = matches!(head.method, Method::GET | Method::HEAD);
    let cookie_speaks = headers.contains_key(header::COOKIE) && !headers.contains_key(header::AUTHORIZATION);
    if changes_nothing || !cookie_speaks || !route.reads_cookie() {
        return false;
    }
    let Ok(site) = only(headers, SEC_FETCH_SITE) else { return true };
    let Ok(origin) = only(headers, header::ORIGIN.as_str()) else { return true };
    let listed = origin.is_some_and(|origin| dialect.cors.as_ref().is_some_and(|cors| cors.lets_use_cookies(origin)));
    match (site.map(HeaderValue::as_bytes), origin) {
        // By the page itself, or by the user: a bookmark, the address bar.
        (Some(b"same-origin" | b"none"), _) | (None, None) => false,
        (Some(_), _) => !listed,
        (None, Some(origin)) => !listed && !is_of_this_host(origin, head),
    }
}

/// The field; an error if there are two.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a HeaderValue>, ()> {
    let mut fields = headers.get_all(name).iter();
    let first = fields.next();
    if fields.next().is_some() { Err(()) } else { Ok(first) }
}

/// Whether the page comes from where the request goes. Of the scheme nothing is known here: TLS may end before us.
fn is_of_this_host(origin: &HeaderValue, head: &Parts) -> bool {
    let host = head.headers.get(header::HOST).map(HeaderValue::as_bytes);
    let host = host.or_else(|| head.uri.authority().map(|authority| authority.as_str().as_bytes()));
    let page = origin.as_bytes();
    let page = page.strip_prefix(b"https://").or_else(|| page.strip_prefix(b"http://"));
    page.zip(host).is_some_and(|(page, host)| page.eq_ignore_ascii_case(host))
}
