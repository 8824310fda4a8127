//! Answers that take their time: chunked bodies, server-sent events, WebSocket, calls of gRPC.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, Stream, StreamExt, stream};
use http::header::{CONNECTION, CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::{Body, echo, full};

/// `count` numbered lines, each after a `pause`, each a chunk of its own.
pub(crate) fn chunks(count: u64, pause: Duration) -> Response<Body> {
    let lines = numbered(pause).take(usize::try_from(count).unwrap_or(usize::MAX)).map(|number| format!("chunk {number}\n"));
    Response::new(streamed(lines))
}

/// A numbered event per `pause`, for ever.
pub(crate) fn events(pause: Duration) -> Response<Body> {
    let events = numbered(pause).map(|number| format!("id: {number}\ndata: tick\n\n"));
    let mut response = Response::new(streamed(events));
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("text/event-stream"));
    response
}

/// Says the identity once the connection is upgraded, then echoes until the client closes.
pub(crate) fn websocket(mut request: Request<Incoming>) -> anyhow::Result<Response<Body>> {
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) else {
        let mut refusal = Response::new(full("this path speaks WebSocket\n"));
        *refusal.status_mut() = StatusCode::UPGRADE_REQUIRED;
        return Ok(refusal);
    };
    let accept = derive_accept_key(key.as_bytes());
    let identity = Value::Object(echo::identity(request.headers())).to_string();
    tokio::spawn(async move {
        if let Err(error) = echo_messages(&mut request, identity).await {
            eprintln!("websocket ended: {error}");
        }
    });
    let switching = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(switching.body(full(Bytes::new()))?)
}

async fn echo_messages(request: &mut Request<Incoming>, greeting: String) -> anyhow::Result<()> {
    let connection = TokioIo::new(hyper::upgrade::on(request).await?);
    let mut socket = WebSocketStream::from_raw_socket(connection, Role::Server, None).await;
    socket.send(Message::text(greeting)).await?;
    while let Some(message) = socket.next().await {
        let message = message?;
        // Pings and the closing handshake are answered by the library.
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}

/// Whether the request is a call of gRPC, which is told by its content type.
pub(crate) fn is_grpc(request: &Request<Incoming>) -> bool {
    request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// The messages of a call back, whatever the method; that all went well is said in trailers.
pub(crate) async fn grpc(request: Request<Incoming>) -> anyhow::Result<Response<Body>> {
    let messages = request.into_body().collect().await?.to_bytes();
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
    let body = Full::new(messages).with_trailers(std::future::ready(Some(Ok(trailers))));
    Ok(Response::builder().header(CONTENT_TYPE, "application/grpc").body(body.boxed_unsync())?)
}

/// 1, 2, 3 … with a `pause` before each.
fn numbered(pause: Duration) -> impl Stream<Item = u64> + Send + 'static {
    stream::unfold(1, move |number| async move {
        tokio::time::sleep(pause).await;
        Some((number, number + 1))
    })
}

/// A body with one frame per text.
fn streamed(texts: impl Stream<Item = String> + Send + 'static) -> Body {
    StreamBody::new(texts.map(|text| Ok::<_, Infallible>(Frame::data(Bytes::from(text))))).boxed_unsync()
}
