//! Orders to a gateway that runs, given at its admin listener.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The answer is a sentence.
const ANSWER_BYTES_MAX: usize = 4096;

/// Posts to `path`: the status and the text of the answer; none if nobody listens.
///
/// # Errors
/// It does not answer.
pub async fn post(admin: SocketAddr, path: &str) -> anyhow::Result<Option<(StatusCode, String)>> {
    let admin = reachable(admin);
    let stream = match TcpStream::connect(admin).await {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(None),
        Err(error) => return Err(error).context("cannot connect"),
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.context("cannot speak HTTP")?;
    // Whatever goes wrong with the connection, the request fails with it.
    tokio::spawn(connection);
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::HOST, admin.to_string())
        .body(Empty::<Bytes>::new())
        .context("no such path")?;
    let response = sender.send_request(request).await.context("no answer")?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let text = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
    Ok(Some((status, text)))
}

/// Where to connect to reach a listener: one on every address is also on the loopback.
pub(super) fn reachable(mut admin: SocketAddr) -> SocketAddr {
    match admin.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => admin.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => admin.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    admin
}
