//! A WebSocket handshake that carries a token among its subprotocols: what the upstream sees of it.

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue, SEC_WEBSOCKET_PROTOCOL};

use super::HeaderEdits;
use crate::policy::access::Permit;
use crate::policy::subprotocol;

/// Takes the token and its mark out, on every route and in every request: a server takes the field for names, and logs it.
/// Where the route passes tokens, it is passed where upstreams look for one.
pub(super) fn of_request(incoming: &HeaderMap, permit: &Permit, edits: &mut HeaderEdits) {
    if subprotocol::mark(incoming).is_none() {
        return;
    }
    match subprotocol::without_token(incoming) {
        Some(rest) => edits.set.push((SEC_WEBSOCKET_PROTOCOL, rest)),
        None => edits.remove.push(SEC_WEBSOCKET_PROTOCOL),
    }
    // Only the token that was checked: on other routes, and beside an `Authorization`, this one was looked at by nobody.
    let route = permit.route();
    let checked = route.pass_token && route.websocket && permit.caller().is_some();
    if checked
        && let Ok(Some(token)) = subprotocol::token(incoming)
        && let Ok(mut value) = HeaderValue::try_from(format!("Bearer {token}"))
    {
        value.set_sensitive(true);
        edits.set.push((AUTHORIZATION, value));
    }
}
