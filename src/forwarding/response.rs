//! Response fields that end at the gateway.

use http::StatusCode;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};

use super::HeaderEdits;

/// Removes what concerns the upstream's connection only (RFC 9110 §7.6.1), and the upstream's name and version.
///
/// `Transfer-Encoding` stays, also when nominated: pingora frames by it.
pub(super) fn hop_by_hop(status: StatusCode, upstream: &HeaderMap, edits: &mut HeaderEdits) {
    let switching = status == StatusCode::SWITCHING_PROTOCOLS;
    let ends_here = |name: &HeaderName| match name.as_str() {
        // The handshake of a WebSocket consists of them.
        "connection" | "upgrade" => !switching,
        "keep-alive" | "proxy-authenticate" | "proxy-authentication-info" | "proxy-connection" | "te" | "trailer" | "server" => {
            true
        }
        _ => false,
    };
    edits.remove.extend(upstream.keys().filter(|name| ends_here(name)).cloned());
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
pub(super) fn one_length(upstream: &HeaderMap, edits: &mut HeaderEdits) {
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
