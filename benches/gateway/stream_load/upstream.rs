//! The service behind the gateways: it begins whatever stream it is asked for, and then says nothing until the other side ends it.

use std::convert::Infallible;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, server};
use http::{Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const WEBSOCKET: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n\x81\x07welcome";
const EVENTS: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: welcome\n\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
/// A message of gRPC.
const MESSAGE: &[u8] = b"\0\0\0\0\x07welcome";

/// Serves for ever.
pub(crate) async fn serve(http1: u16, http2: u16) -> anyhow::Result<()> {
    let listeners = [TcpListener::bind(("127.0.0.1", http1)).await?, TcpListener::bind(("127.0.0.1", http2)).await?];
    let [http1, http2] = listeners;
    tokio::spawn(async move {
        while let Ok((stream, _)) = http2.accept().await {
            tokio::spawn(calls(stream));
        }
    });
    loop {
        let (stream, _) = http1.accept().await?;
        tokio::spawn(requests(stream));
    }
}

/// Requests of HTTP/1.1, of which a stream is the last. None at the end of the connection.
async fn requests(mut stream: TcpStream) -> Option<Infallible> {
    stream.set_nodelay(true).ok()?;
    let mut received = Vec::with_capacity(1024);
    loop {
        let head = loop {
            if let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") {
                break received.drain(..end + 4).collect::<Vec<u8>>();
            }
            stream.read_buf(&mut received).await.ok().filter(|read| *read > 0)?;
        };
        let answer = if head.starts_with(b"GET /ws ") {
            WEBSOCKET
        } else if head.starts_with(b"GET /events ") {
            EVENTS
        } else {
            ANSWER
        };
        stream.write_all(answer).await.ok()?;
    }
}

async fn calls(stream: TcpStream) -> Option<Infallible> {
    stream.set_nodelay(true).ok()?;
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(200);
    let mut connection = builder.handshake(stream).await.ok()?;
    loop {
        let (request, respond) = connection.accept().await?.ok()?;
        tokio::spawn(call(request, respond));
    }
}

async fn call(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Option<Infallible> {
    let mut head = Response::new(());
    head.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
    let mut answer = respond.send_response(head, false).ok()?;
    answer.send_data(Bytes::from_static(MESSAGE), false).ok()?;
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.data().await {}
    std::future::poll_fn(|cx| answer.poll_reset(cx)).await.ok()?;
    None
}
