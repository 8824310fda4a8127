//! The one word that the command line has with a gateway that runs beside it: "read the revocations again, now".

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::failure::Failure;
use super::output;

/// A gateway reads a handful of new rows; one that takes longer is in trouble.
const PATIENCE: Duration = Duration::from_secs(5);
/// The answer is a sentence.
const ANSWER_BYTES_MAX: usize = 4096;

/// Has the gateway whose admin listener is at `admin` enforce what the database records. No gateway is fine: the
/// next one reads everything when it starts.
pub(super) async fn take_over_revocations(admin: SocketAddr) -> Result<(), Failure> {
    let answered = tokio::time::timeout(PATIENCE, reload(reachable(admin))).await;
    let failed = |error: anyhow::Error| {
        let error = error.context(format!("recorded, but the gateway at {admin} has not confirmed that it enforces it"));
        Failure::new(error, "it tries again every second; run the same command again to be sure, which is safe")
    };
    match answered {
        Ok(Ok(None | Some((StatusCode::NO_CONTENT, _)))) => Ok(()),
        Ok(Ok(Some((StatusCode::SERVICE_UNAVAILABLE, why)))) => Err(failed(anyhow::anyhow!("{}", output::shown(why.trim())))),
        Ok(Ok(Some((status, _)))) => {
            // It has the address, so no gateway with this configuration runs on this machine.
            eprintln!("warning: {admin} (`server.admin`) answers {status}: it is another program, or another version");
            Ok(())
        }
        Ok(Err(error)) => Err(failed(error)),
        Err(_) => Err(failed(anyhow::anyhow!("no answer within {PATIENCE:?}"))),
    }
}

/// The status and the text of the answer; none if nobody listens.
async fn reload(admin: SocketAddr) -> anyhow::Result<Option<(StatusCode, String)>> {
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
        .uri("/revocations/reload")
        .header(header::HOST, admin.to_string())
        .body(Empty::<Bytes>::new())
        .context("the request is a constant")?;
    let response = sender.send_request(request).await.context("no answer")?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let text = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
    Ok(Some((status, text)))
}

/// Where to connect to reach a listener: one on every address is also on the loopback.
fn reachable(mut admin: SocketAddr) -> SocketAddr {
    match admin.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => admin.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => admin.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    admin
}
