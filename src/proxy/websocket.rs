//! WebSockets: what is different about a request that opens one. It has no body and no end that HTTP knows of, so the times
//! for both do not count; and its client may be owed an answer to the token that it offered as a subprotocol.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use pingora::http::ResponseHeader;
use pingora::prelude::*;
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;

use super::attempts;
use super::context::Exchange;
use super::head_guard::HeadGuard;
use super::held::HeldConnections;
use crate::policy::subprotocol;

/// Held connections are never kept for others: what they are to pingora's pool.
const HELD: u64 = 1;

/// Makes ready what a handshake is sent by. An upstream's silence ends a WebSocket no sooner than the client's does; until the
/// upstream agrees to open it, the request has the time that any other has for its response head. A route's own
/// `timeouts.read` stays.
pub(super) fn prepare(session: &Session, ctx: &mut Exchange, peer: &mut HttpPeer) {
    let Some(route) = ctx.permit().map(|permit| permit.route()) else { return };
    if !route.websocket || !subprotocol::is_handshake(session.req_header()) {
        return;
    }
    peer.options.custom_l4 = Some(Arc::new(HeldConnections));
    (peer.options.idle_timeout, peer.group_key) = (Some(Duration::ZERO), HELD);
    if route.timeouts.is_none_or(|timeouts| timeouts.read.is_none()) {
        let head = peer.options.read_timeout.replace(ctx.snapshot.parts.timeouts.websocket);
        attempts::await_head(session, ctx, head);
    }
}

/// The upstream has agreed.
pub(super) fn opened(session: &mut Session, response: &mut ResponseHeader, ctx: &Exchange) -> Result<()> {
    if response.status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(());
    }
    if !response.headers.contains_key(SEC_WEBSOCKET_PROTOCOL)
        && let Some(mark) = subprotocol::mark(&session.req_header().headers)
    {
        response.insert_header(SEC_WEBSOCKET_PROTOCOL, mark)?;
    }
    let downstream = session.as_downstream_mut();
    // Begins anew whenever anything passes, in either direction.
    downstream.set_read_timeout(Some(ctx.snapshot.parts.timeouts.websocket));
    if let Some(stream) = downstream.stream() {
        HeadGuard::upgraded(stream);
    }
    Ok(())
}
