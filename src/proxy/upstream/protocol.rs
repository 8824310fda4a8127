//! Which HTTP is spoken to a server.
//!
//! With TLS it is agreed on (ALPN); without, it is what the configuration says: nothing is tried out, as what does not
//! understand the preface of HTTP/2 may take it for something else.

use pingora::protocols::ALPN;
use pingora::upstreams::peer::HttpPeer;

use super::settings::UpstreamHttp2;

/// Of an answer, between its server and a client that does not read. A connection's window has room for as much from each of
/// its streams: by pingora's own, eight megabytes for either, one client that does not read would hold up all others.
const STREAM_WINDOW_BYTES: u32 = 512 * 1024;
/// RFC 9113 §6.9.1.
const WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;

/// Has HTTP/2 spoken to this peer as configured. Comes after its TLS.
pub(super) fn apply(http2: Option<&UpstreamHttp2>, peer: &mut HttpPeer) {
    let Some(UpstreamHttp2 { only, streams, ping_interval }) = http2 else { return };
    let options = &mut peer.options;
    options.alpn = match (only, peer.scheme == pingora::upstreams::peer::Scheme::HTTPS) {
        (true, _) => ALPN::H2,
        (false, true) => ALPN::H2H1,
        (false, false) => return,
    };
    // 100 is what RFC 9113 §6.5.2 asks servers to allow at least; pingora's own default is one.
    options.max_h2_streams = usize::try_from(*streams).unwrap_or(usize::MAX);
    options.h2_ping_interval = *ping_interval;
    options.h2_stream_window_size = Some(STREAM_WINDOW_BYTES);
    options.h2_connection_window_size = Some(streams.saturating_mul(STREAM_WINDOW_BYTES).min(WINDOW_BYTES_MAX));
    // Where a server asks for HTTP/1.1, pingora remembers that for all peers that are the same to it: one that is spoken to
    // over HTTP/2 alone is another one.
    peer.group_key = peer.group_key << 1 | u64::from(*only);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn http_2_is_offered_with_tls_and_spoken_without_only_if_it_is_all_that_is_spoken() {
        let settings = |only| UpstreamHttp2 { only, streams: 7, ping_interval: Some(Duration::from_mins(6)) };
        for (only, https, alpn, streams) in [
            (Some(false), true, ALPN::H2H1, 7),
            (Some(false), false, ALPN::H1, 1),
            (Some(true), true, ALPN::H2, 7),
            (Some(true), false, ALPN::H2, 7),
            (None, true, ALPN::H1, 1),
        ] {
            let mut peer = HttpPeer::new("10.0.0.1:1", https, "app.internal".to_owned());
            apply(only.map(settings).as_ref(), &mut peer);
            assert_eq!((&peer.options.alpn, peer.options.max_h2_streams), (&alpn, streams), "{only:?} {https}");
        }
    }

    #[test]
    fn what_is_remembered_of_a_server_that_chooses_does_not_hold_where_there_is_no_choice() {
        let peer = |only| {
            let mut peer = HttpPeer::new("10.0.0.1:1", true, "app.internal".to_owned());
            apply(Some(&UpstreamHttp2 { only, streams: 100, ping_interval: None }), &mut peer);
            pingora::upstreams::peer::Peer::reuse_hash(&peer)
        };
        assert_ne!(peer(true), peer(false));
    }
}
