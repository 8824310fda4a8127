//! What a certificate authority asks to find out whether a host is ours: answered before anything else, at whichever
//! listener it comes to.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, header};
use pingora::prelude::*;
use pingora::protocols::Stream;
use pingora::proxy::Session;
use rustls::server::Acceptor;
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

use super::arrival::ACME_CHALLENGE;
use super::context::{Exchange, Stage};
use super::{Proxy, denial};
use crate::acme::Challenges;
use crate::forwarding::Scheme;
use crate::tls;

/// A handshake with a client; none if it was an authority's, which was answered and is over (RFC 8737 §3).
pub(super) async fn handshake(
    acceptor: &TlsAcceptor,
    challenges: Option<&Challenges>,
    stream: Stream,
) -> std::io::Result<Option<TlsStream<Stream>>> {
    let Some(challenges) = challenges else { return acceptor.accept(stream).await.map(Some) };
    let begun = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    if let Some(host) = tls::challenged_host(&begun.client_hello())
        && let Some(config) = challenges.handshake(&host).await
    {
        begun.into_stream(config).await?.shutdown().await?;
        return Ok(None);
    }
    begun.into_stream(Arc::clone(acceptor.config())).await.map(Some)
}

impl Proxy {
    /// Answers what an authority asks over HTTP in clear text; none if that is not what this request is, or nothing is to
    /// be said: then the routes are asked, as for any other path.
    pub(super) async fn answer_challenge(
        &self,
        session: &mut Session,
        ctx: &mut Exchange,
        challenges: &Challenges,
    ) -> Option<Result<bool>> {
        let destination = ctx.destination.as_ref()?;
        // RFC 8555 §8.3: byte by byte, and nothing behind it.
        let token = destination.target.path_and_query().strip_prefix(ACME_CHALLENGE)?;
        let clear = ctx.arrival.as_ref().is_none_or(|arrival| arrival.scheme() == Scheme::Http);
        if !clear || !matches!(session.req_header().method, Method::GET | Method::HEAD) {
            return None;
        }
        let answer = challenges.key_authorization(destination.host.name(), token).await?;
        ctx.stage = Stage::Answered;
        let mut response = Response::new(Bytes::from(answer));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Some(denial::write(session, response, ctx).await.map(|()| true))
    }
}
