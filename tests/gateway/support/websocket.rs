//! Both ends of a WebSocket: a server that greets, and clients that ask the gateway for it.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server;
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::tungstenite::{self, http};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, client_async};

use super::in_time;

/// A client's end.
pub(crate) type Socket = WebSocketStream<TcpStream>;

/// A WebSocket server that greets, echoes, selects the subprotocol `chat.v1` if it is offered, and reports the heads of its
/// handshakes.
pub(crate) async fn websocket_server() -> (SocketAddr, mpsc::UnboundedReceiver<http::HeaderMap>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let (report, heads) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let report = report.clone();
            tokio::spawn(async move {
                let Ok(mut socket) = accept_hdr_async(stream, |request: &_, answer| Ok(agree(request, answer, &report))).await
                else {
                    return;
                };
                drop(socket.send(Message::text("welcome")).await);
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_text() || message.is_binary() {
                        drop(socket.send(message).await);
                    }
                }
            });
        }
    });
    (address, heads)
}

fn agree(
    request: &server::Request,
    mut answer: server::Response,
    report: &mpsc::UnboundedSender<http::HeaderMap>,
) -> server::Response {
    drop(report.send(request.headers().clone()));
    let offered = request.headers().get("sec-websocket-protocol").and_then(|offered| offered.to_str().ok());
    if offered.is_some_and(|offered| offered.split(", ").any(|name| name == "chat.v1")) {
        answer.headers_mut().insert("sec-websocket-protocol", http::HeaderValue::from_static("chat.v1"));
    }
    answer
}

/// What comes of a handshake with a token in `Authorization`.
pub(crate) async fn open(gateway: SocketAddr, path: &str, token: &str) -> Result<Socket, (u16, String)> {
    let bearer = format!("Bearer {token}");
    let fields = [("authorization", bearer.as_str())];
    open_with(gateway, path, if token.is_empty() { &[] } else { &fields }).await.map(|(socket, _)| socket)
}

/// What comes of a handshake with these fields: the connection and the subprotocol, or status and body of a refusal.
///
/// # Panics
/// The answer is none that a browser would take.
pub(crate) async fn open_with(
    gateway: SocketAddr,
    path: &str,
    fields: &[(&'static str, &str)],
) -> Result<(Socket, Option<String>), (u16, String)> {
    let mut request = format!("ws://{gateway}{path}").into_client_request().expect("a URL");
    for (name, value) in fields {
        request.headers_mut().append(*name, value.parse().expect("a field value"));
    }
    let stream = TcpStream::connect(gateway).await.expect("the gateway listens");
    match in_time("a handshake", client_async(request, stream)).await {
        Ok((socket, answer)) => {
            let selected = answer.headers().get("sec-websocket-protocol");
            Ok((socket, selected.map(|name| name.to_str().expect("visible").to_owned())))
        }
        Err(tungstenite::Error::Http(response)) => {
            let body = response.body().clone().unwrap_or_default();
            Err((response.status().as_u16(), String::from_utf8_lossy(&body).into_owned()))
        }
        Err(other) => panic!("{other}"),
    }
}

/// The next message.
///
/// # Panics
/// There is none.
pub(crate) async fn next(socket: &mut Socket) -> Message {
    in_time("a message", socket.next()).await.expect("a message instead of the end").expect("a message")
}

/// A connection from another address of this machine.
pub(crate) async fn connect_from(client: &str, gateway: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(format!("{client}:0").parse().expect("an address")).expect("an address of the loopback");
    socket.connect(gateway).await.expect("the gateway listens")
}
