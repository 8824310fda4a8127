//! A protected service: it trusts the identity headers that the gateway hands it, and shows them.
//!
//! ```text
//! cargo run --example upstream -- [--listen 127.0.0.1:3000]
//! ```
//!
//! | path | does |
//! |---|---|
//! | anything, `/whoami` | answers with method, path, headers and identity as JSON |
//! | `/slow?ms=` | waits first |
//! | `/fail?status=` | answers with that status |
//! | `/stream?chunks=&ms=` | a chunked body, with a pause before each chunk |
//! | `/sse` | server-sent events, one a second, until the client leaves |
//! | `/ws` | WebSocket: says the identity, then echoes |
//! | `/upload` | counts and hashes the body |
//! | `/close` | closes the connection without an answer |
//! | any, in gRPC | sends the messages of a call back, then `grpc-status` 0; speak HTTP/2 to it with `http = "2"` |
//! | `/posts`, `/protected` | what the services behind `examples/dialects` answer to a caller who may pass |
//!
//! It must be reachable through the gateway only: whoever can reach it directly can claim any identity.

mod echo;
mod streams;

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};

/// Any response body that this service sends.
type Body = UnsyncBoxBody<Bytes, Infallible>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen_address(std::env::args().skip(1))?).await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (connection, _) = listener.accept().await?;
        tokio::spawn(serve(connection));
    }
}

fn listen_address(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<String> {
    match (arguments.next().as_deref(), arguments.next(), arguments.next()) {
        (None, _, _) => Ok("127.0.0.1:3000".to_owned()),
        (Some("--listen"), Some(address), None) => Ok(address),
        _ => anyhow::bail!("usage: upstream [--listen ADDRESS:PORT]"),
    }
}

async fn serve(connection: TcpStream) {
    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    let answered = server.serve_connection_with_upgrades(TokioIo::new(connection), hyper::service::service_fn(answer)).await;
    if let Err(error) = answered {
        eprintln!("connection ended: {error}");
    }
}

async fn answer(request: Request<Incoming>) -> anyhow::Result<Response<Body>> {
    let query = |name, default| number(request.uri().query(), name).unwrap_or(default);
    match request.uri().path() {
        _ if streams::is_grpc(&request) => streams::grpc(request).await,
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(query("ms", 1_000))).await;
            Ok(echo::json(StatusCode::OK, &echo::seen(&request)))
        }
        "/fail" => {
            let status = u16::try_from(query("status", 500)).unwrap_or(500);
            Ok(echo::json(StatusCode::from_u16(status)?, &echo::seen(&request)))
        }
        "/stream" => Ok(streams::chunks(query("chunks", 5), Duration::from_millis(query("ms", 200)))),
        "/sse" => Ok(streams::events(Duration::from_secs(1))),
        "/ws" => streams::websocket(request),
        "/upload" => echo::upload(request).await,
        "/posts" => Ok(echo::posts()),
        "/protected" | "/api/auth/protected" => Ok(echo::protected()),
        // An error from a service makes hyper close the connection.
        "/close" => anyhow::bail!("closed, as asked"),
        _ => Ok(echo::json(StatusCode::OK, &echo::seen(&request))),
    }
}

/// The value of `name` in a query, if it is a whole number.
fn number(query: Option<&str>, name: &str) -> Option<u64> {
    let pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse().ok())
}

/// A whole body at once.
fn full(bytes: impl Into<Bytes>) -> Body {
    http_body_util::Full::new(bytes.into()).boxed_unsync()
}
