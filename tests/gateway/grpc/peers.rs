//! A server and a client of gRPC, by tonic. Messages are bytes: what they mean is not the gateway's business.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes};
use futures_util::{Stream, StreamExt, future, stream};
use http::uri::PathAndQuery;
use http::{Request, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::client::TlsStream;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Response, Status, Streaming};
use tower::{Service, service_fn};

use crate::support::hyper_server::HyperServer;
use crate::support::in_time;

/// Messages as they are.
#[derive(Debug, Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// A server, without TLS, of these methods, in services of any name.
pub(super) async fn server() -> HyperServer {
    HyperServer::answering(None, serve).await
}

async fn serve(request: Request<Incoming>) -> http::Response<Body> {
    let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let mut grpc = tonic::server::Grpc::new(Raw);
    match &*method {
        "Who" => grpc.unary(service_fn(who), request).await,
        "Fail" => grpc.unary(service_fn(fail), request).await,
        "Hang" => grpc.unary(service_fn(hang), request).await,
        "Pause" => grpc.server_streaming(service_fn(pause), request).await,
        "Count" => grpc.server_streaming(service_fn(count), request).await,
        "Join" => grpc.client_streaming(service_fn(join), request).await,
        "Chat" => grpc.streaming(service_fn(chat), request).await,
        "HangUp" => grpc.streaming(service_fn(hang_up), request).await,
        _ => Status::unimplemented("no such method").into_http(),
    }
}

/// The metadata that arrived, a line for each.
async fn who(request: tonic::Request<Bytes>) -> Result<Response<Bytes>, Status> {
    let metadata = request.metadata().clone().into_headers();
    let lines = metadata.iter().map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    Ok(Response::new(lines.collect::<String>().into()))
}

async fn fail(_: tonic::Request<Bytes>) -> Result<Response<Bytes>, Status> {
    let mut metadata = MetadataMap::new();
    metadata.insert("x-hint", MetadataValue::from_static("look elsewhere"));
    metadata.insert_bin("x-detail-bin", MetadataValue::from_bytes(&[0, 255]));
    Err(Status::with_metadata(Code::FailedPrecondition, "100 % schön", metadata))
}

async fn hang(_: tonic::Request<Bytes>) -> Result<Response<Bytes>, Status> {
    future::pending().await
}

/// One message, and no end.
async fn pause(_: tonic::Request<Bytes>) -> Result<Response<Messages>, Status> {
    let begun = stream::iter([Ok(Bytes::from_static(b"begun"))]);
    Ok(Response::new(begun.chain(stream::pending()).boxed()))
}

/// As many messages as the request says, then OK; or one message and an error for a request that says nothing.
async fn count(request: tonic::Request<Bytes>) -> Result<Response<Messages>, Status> {
    let text = String::from_utf8_lossy(request.get_ref()).into_owned();
    let Ok(count) = text.parse::<u32>() else {
        let messages = [Ok(Bytes::from_static(b"0")), Err(Status::data_loss("no number"))];
        return Ok(Response::new(stream::iter(messages).boxed()));
    };
    Ok(Response::new(stream::iter(0..count).map(|number| Ok(number.to_string().into())).boxed()))
}

/// All messages in one.
async fn join(request: tonic::Request<Streaming<Bytes>>) -> Result<Response<Bytes>, Status> {
    let (mut messages, mut joined) = (request.into_inner(), Vec::new());
    while let Some(message) = messages.message().await? {
        joined.extend_from_slice(&message);
    }
    Ok(Response::new(joined.into()))
}

/// Each message back, as it comes.
async fn chat(request: tonic::Request<Streaming<Bytes>>) -> Result<Response<Messages>, Status> {
    Ok(Response::new(request.into_inner().boxed()))
}

/// Has enough after one message, whatever the client still has to say.
async fn hang_up(request: tonic::Request<Streaming<Bytes>>) -> Result<Response<Messages>, Status> {
    let first = request.into_inner().take(1);
    let enough = stream::iter([Err(Status::resource_exhausted("enough"))]);
    Ok(Response::new(first.chain(enough).boxed()))
}

/// One connection, as tonic wants it.
#[derive(Debug, Clone)]
struct Channel(SendRequest<Body>);

impl Service<Request<Body>> for Channel {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// Somebody who calls methods, on one connection.
#[derive(Debug, Clone)]
pub(super) struct Client {
    grpc: tonic::client::Grpc<Channel>,
    metadata: MetadataMap,
}

impl Client {
    pub(super) async fn over(stream: TlsStream<TcpStream>, host: &str) -> Self {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
        tokio::spawn(connection);
        let origin: Uri = format!("https://{host}").parse().expect("a host");
        Self { grpc: tonic::client::Grpc::with_origin(Channel(sender), origin), metadata: MetadataMap::new() }
    }

    /// The same connection with one more field in all its calls.
    pub(super) fn with(&self, name: &'static str, value: &str) -> Self {
        let mut other = self.clone();
        other.metadata.append(name, value.parse().expect("a field value"));
        other
    }

    /// The same connection for somebody with a token.
    pub(super) fn bearing(&self, token: &str) -> Self {
        self.with("authorization", &format!("Bearer {token}"))
    }

    fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        *request.metadata_mut() = self.metadata.clone();
        request
    }

    pub(super) async fn unary(&self, path: &'static str, message: &'static str) -> Result<Bytes, Status> {
        let mut grpc = self.grpc.clone();
        let call = grpc.unary(self.request(Bytes::from(message)), PathAndQuery::from_static(path), Raw);
        in_time("a call", call).await.map(Response::into_inner)
    }

    pub(super) async fn server_streaming(&self, path: &'static str, message: &'static str) -> Result<Streaming<Bytes>, Status> {
        let mut grpc = self.grpc.clone();
        let call = grpc.server_streaming(self.request(Bytes::from(message)), PathAndQuery::from_static(path), Raw);
        in_time("a call", call).await.map(Response::into_inner)
    }

    pub(super) async fn client_streaming(
        &self,
        path: &'static str,
        messages: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Bytes, Status> {
        let mut grpc = self.grpc.clone();
        let call = grpc.client_streaming(self.request(messages), PathAndQuery::from_static(path), Raw);
        in_time("a call", call).await.map(Response::into_inner)
    }

    pub(super) async fn streaming(
        &self,
        path: &'static str,
        messages: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Streaming<Bytes>, Status> {
        let mut grpc = self.grpc.clone();
        let call = grpc.streaming(self.request(messages), PathAndQuery::from_static(path), Raw);
        in_time("a call", call).await.map(Response::into_inner)
    }
}

/// What is said as it goes, and to whom.
pub(super) fn conversation() -> (mpsc::Sender<Bytes>, impl Stream<Item = Bytes> + Send + 'static) {
    let (say, said) = mpsc::channel(1);
    (say, stream::unfold(said, async |mut said: mpsc::Receiver<Bytes>| Some((said.recv().await?, said))))
}

/// Everything that comes, and how it ended.
pub(super) async fn all(mut messages: Streaming<Bytes>) -> (Vec<String>, Result<(), Status>) {
    let mut received = Vec::new();
    loop {
        match in_time("a message", messages.message()).await {
            Ok(Some(message)) => received.push(String::from_utf8_lossy(&message).into_owned()),
            Ok(None) => return (received, Ok(())),
            Err(status) => return (received, Err(status)),
        }
    }
}
