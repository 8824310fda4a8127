//! Response fields that end at the gateway.

use http::StatusCode;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};

use super::HeaderEdits;
use super::cookies::{self, OwnCookies};

/// Leaves out what is not for the client. In one pass, as to look a field up is to hash its name; only what is rare is looked
/// at again.
pub(super) fn edit(status: StatusCode, upstream: &HeaderMap, own_cookies: &OwnCookies, edits: &mut HeaderEdits) {
    let (mut nominates, mut lengths, mut several, mut sets_ours) = (false, 0, false, false);
    for (name, value) in upstream {
        if *name == CONTENT_LENGTH {
            lengths += 1;
            several |= value.as_bytes().contains(&b',');
        } else if *name == SET_COOKIE {
            sets_ours |= own_cookies.has(value.as_bytes());
        } else {
            nominates |= *name == CONNECTION;
            // A field with several values comes once for each.
            if ends_here(status, name) && edits.remove.last() != Some(name) {
                edits.remove.push(name.clone());
            }
        }
    }
    if nominates {
        nominated(upstream, edits);
    }
    if lengths > 1 || several {
        one_length(upstream, edits);
    }
    if sets_ours {
        cookies::of_response(own_cookies, upstream, edits);
    }
}

/// Whether it concerns the upstream's connection only (RFC 9110 §7.6.1), or is the upstream's name and version.
fn ends_here(status: StatusCode, name: &HeaderName) -> bool {
    let switching = status == StatusCode::SWITCHING_PROTOCOLS;
    match name.as_str() {
        // The handshake of a WebSocket consists of them.
        "connection" | "upgrade" => !switching,
        "keep-alive" | "proxy-authenticate" | "proxy-authentication-info" | "proxy-connection" | "te" | "trailer" | "server" => {
            true
        }
        _ => false,
    }
}

/// Removes what `Connection` names. `Transfer-Encoding` stays: pingora frames by it.
fn nominated(upstream: &HeaderMap, edits: &mut HeaderEdits) {
    for field in upstream.get_all(CONNECTION) {
        for token in field.as_bytes().split(|&b| b == b',').map(<[u8]>::trim_ascii) {
            let Ok(name) = HeaderName::from_bytes(token) else { continue };
            let frames = matches!(name.as_str(), "connection" | "content-length" | "transfer-encoding" | "upgrade");
            if !frames && upstream.contains_key(&name) && !edits.remove.contains(&name) {
                edits.remove.push(name);
            }
        }
    }
}

/// Makes one `Content-Length` of equal ones (RFC 9110 §8.6); pingora has refused different ones.
fn one_length(upstream: &HeaderMap, edits: &mut HeaderEdits) {
    let mut fields = upstream.get_all(CONTENT_LENGTH).iter();
    let Some(field) = fields.next() else { return };
    let mut lengths = field.as_bytes().split(|&b| b == b',').map(<[u8]>::trim_ascii);
    let first = lengths.next().unwrap_or_default();
    if (lengths.next().is_some() || fields.next().is_some())
        && let Ok(length) = HeaderValue::from_bytes(first)
    {
        edits.set.push((CONTENT_LENGTH, length));
    }
}
