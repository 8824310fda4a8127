//! One request of HTTP/2 as a session of pingora's: the kind that pingora leaves to others to build.
//!
//! pingora's own for HTTP/2 has no time for reading, none for an exchange as a whole, and answers what it refuses by
//! itself, unseen by the gateway.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::*;
use pingora::protocols::Digest;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::custom::{self, CustomMessageWrite};
use pingora::protocols::l4::socket::SocketAddr;
use pingora_timeout::timeout;

use super::exchange::Exchange;
use super::incoming::Incoming;
use super::outgoing::Outgoing;

/// What messages of a custom protocol would be read from: there are none.
type MessageReader = Box<dyn futures_util::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

/// One request and its response.
pub(super) struct Session {
    head: RequestHeader,
    incoming: Incoming,
    outgoing: Outgoing,
    digest: Arc<Digest>,
    exchange: Arc<Exchange>,
    drain_timeout: Option<Duration>,
}

impl Session {
    pub(super) fn new(
        head: RequestHeader,
        body: RecvStream,
        respond: SendResponse<Bytes>,
        digest: Arc<Digest>,
        exchange: Arc<Exchange>,
    ) -> Self {
        let (incoming, outgoing) = (Incoming::new(body), Outgoing::new(respond));
        Self { head, incoming, outgoing, digest, exchange, drain_timeout: None }
    }

    /// Ready when there is no client any more, or no time.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Box<Error>> {
        if self.exchange.is_overdue(cx) {
            return Poll::Ready(Error::explain(ReadError, "the exchange takes too long"));
        }
        self.outgoing.poll_gone(cx)
    }
}

impl Drop for Session {
    /// Where pingora did not end the answer: one that is cut off says so if it can. The library resets whatever is incomplete.
    fn drop(&mut self) {
        if let Some((reason, id)) = self.exchange.last_words() {
            self.outgoing.break_off(reason, id);
        }
    }
}

/// Nobody is there any more to be answered. A breach of the rules is seen where the library answers it, in `watch`.
pub(super) fn broken(what: ErrorType, error: h2::Error) -> Box<Error> {
    Error::because(what, "on a request of HTTP/2", error).into_down()
}

#[async_trait]
impl custom::server::Session for Session {
    fn req_header(&self) -> &RequestHeader {
        &self.head
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.head
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        let pause = if self.outgoing.is_ended() {
            // Nobody wants the rest any more.
            self.drain_timeout
        } else if self.outgoing.written().is_some() {
            // An upstream listens that wants the request to go on, perhaps for ever: the times of upstreams hold.
            None
        } else {
            self.incoming.timeout
        };
        poll_fn(|cx| self.incoming.poll_read(cx, &self.exchange, pause)).await
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        let limit = self.drain_timeout;
        let all = async {
            while !self.is_body_done() {
                self.read_body_bytes().await?;
            }
            Ok(())
        };
        match limit {
            Some(limit) => {
                timeout(limit, all).await.unwrap_or_else(|_| Error::e_explain(ReadTimedout, "draining a request body"))
            }
            None => all.await,
        }
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.outgoing.head(head, end)
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        self.outgoing.head(Box::new(head.clone()), end)
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.outgoing.body(data, end, &self.exchange).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.outgoing.trailers(trailers)
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut ended = false;
        for task in tasks {
            ended |= match task {
                HttpTask::Header(head, end) => {
                    self.outgoing.head(head, end)?;
                    end
                }
                HttpTask::Body(data, end) => {
                    if let Some(data) = data.filter(|data| !data.is_empty()) {
                        self.outgoing.body(data, end, &self.exchange).await?;
                    }
                    end
                }
                HttpTask::Trailer(trailers) => {
                    trailers.map_or(Ok(()), |trailers| self.outgoing.trailers(*trailers))?;
                    true
                }
                HttpTask::Done => true,
                HttpTask::UpgradedBody(..) => return Error::e_explain(InternalError, "HTTP/2 has no upgrades"),
                HttpTask::Failed(error) => return Err(error),
            };
        }
        if ended {
            self.outgoing.end()?;
        }
        Ok(ended)
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.incoming.timeout = timeout;
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.incoming.timeout
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.outgoing.timeout = timeout;
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.outgoing.timeout
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.drain_timeout = timeout;
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.drain_timeout
    }

    /// Without the target, in whose query clients put tokens.
    fn request_summary(&self) -> String {
        format!("a {} request of HTTP/2", self.head.method)
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.outgoing.written()
    }

    async fn shutdown(&mut self, _code: u32, _ctx: &str) {
        self.outgoing.abandon();
    }

    fn is_body_done(&mut self) -> bool {
        self.incoming.is_done() || self.is_body_empty()
    }

    async fn finish(&mut self) -> Result<()> {
        self.outgoing.end()
    }

    fn is_body_empty(&mut self) -> bool {
        let announced = || self.head.headers.get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() == b"0");
        self.incoming.received() == 0 && (self.incoming.is_done() || announced())
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if no_body_expected || self.is_body_done() {
            return Err(poll_fn(|cx| self.poll_gone(cx)).await);
        }
        self.read_body_bytes().await
    }

    fn body_bytes_sent(&self) -> usize {
        self.outgoing.sent()
    }

    fn body_bytes_read(&self) -> usize {
        self.incoming.received()
    }

    fn digest(&self) -> Option<&Digest> {
        Some(&self.digest)
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        Arc::get_mut(&mut self.digest)
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.digest.socket_digest.as_ref()?.peer_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.digest.socket_digest.as_ref()?.local_addr()
    }

    /// Asked for subrequests only, which the gateway makes none of.
    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        Bytes::new()
    }

    fn enable_retry_buffering(&mut self) {
        self.incoming.keep();
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.incoming.kept().is_truncated()
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.incoming.kept().all()
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(&mut self) -> Option<MessageReader> {
        None
    }

    fn restore_custom_message_reader(&mut self, _reader: MessageReader) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _writer: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }
}
