//! What is different about a request on its way to a server over HTTP/2, and about the trailers of the answer.
//!
//! pingora writes `Host` as `:authority`, drops what concerns one connection where the client speaks HTTP/1.1, and drops
//! the trailers of requests; the rest is done here. Trailers of requests never pass: there is no place where what only the
//! gateway may write could hide in them.

use http::{HeaderMap, HeaderName, header};
use pingora::http::RequestHeader;
use pingora::prelude::*;
use pingora::proxy::Session;

use super::grpc;

/// Fields that concern one connection, as far as an HTTP/2 message can have them at all.
const OF_ONE_CONNECTION: [HeaderName; 3] =
    [header::TRAILER, HeaderName::from_static("http2-settings"), HeaderName::from_static("proxy-authentication-info")];

/// Fields that change how a message is framed, routed or believed: no trailer may have them (RFC 9110 §6.5.1).
const NEVER_TRAILERS: [HeaderName; 10] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::SET_COOKIE,
    header::STRICT_TRANSPORT_SECURITY,
];

/// Prepares the head of a request for a server that is spoken to over HTTP/2.
///
/// # Errors
/// The client has gone.
pub(super) async fn prepare(session: &mut Session, upstream: &mut RequestHeader) -> Result<()> {
    OF_ONE_CONNECTION.iter().for_each(|name| drop(upstream.remove_header(name)));
    // What `TE` offers is for the next connection (RFC 9110 §10.1.4), which is the gateway's to offer: trailers, and only
    // where somebody awaits them (RFC 9113 §8.2.2). Servers of gRPC refuse requests without it.
    upstream.remove_header(&header::TE);
    if grpc::is_request(session.req_header()) {
        upstream.insert_header(header::TE, "trailers")?;
        // How often a client has something to say in a stream is between it and the server; the upstream's times hold.
        session.as_downstream_mut().set_read_timeout(None);
    }
    // Interim answers of servers do not come through from HTTP/2, so the client would wait for nothing.
    if upstream.remove_header(&header::EXPECT).is_some() {
        // Taken from the request, too: there may be a second attempt.
        let awaited = session.req_header_mut().remove_header(&header::EXPECT).is_some();
        if awaited {
            session.write_continue_response().await.map_err(|error| error.into_down())?;
        }
    }
    Ok(())
}

/// Takes out of the trailers of an answer what may not be there.
pub(super) fn clean_trailers(trailers: &mut HeaderMap) {
    NEVER_TRAILERS.iter().chain(&OF_ONE_CONNECTION).for_each(|name| drop(trailers.remove(name)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_keep_what_they_are_for_and_nothing_that_governs_the_message() {
        let mut trailers = HeaderMap::new();
        for name in ["grpc-status", "grpc-message", "x-checksum", "set-cookie", "content-length", "content-type", "trailer"] {
            trailers.append(HeaderName::from_static(name), http::HeaderValue::from_static("1"));
        }
        clean_trailers(&mut trailers);
        let left: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["grpc-status", "grpc-message", "x-checksum"]);
    }
}
