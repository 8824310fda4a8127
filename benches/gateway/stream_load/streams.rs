//! A stream as its client sees it: opened, and some time later ended, in one way or another.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::Request;
use portcullis::clock::{Clock as _, SystemClock};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::HOST;

/// What kind of stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    WebSocket,
    Events,
    Grpc,
}

/// A gateway.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gateway {
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
}

/// An open stream.
pub(crate) struct Open(Box<dyn Future<Output = Ended> + Send + Unpin>);

/// How a stream ended, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) at: Instant,
    /// In the way that is meant for its kind: close code 4401, `grpc-status` 16; for events, the end of the connection.
    pub(crate) well: bool,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::WebSocket, Self::Events, Self::Grpc];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Events => "events",
            Self::Grpc => "grpc",
        }
    }

    pub(crate) fn named(name: &str) -> anyhow::Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).with_context(|| format!("no kind of stream: {name}"))
    }

    /// Opens one, to its first message.
    pub(crate) async fn open(self, gateway: Gateway, token: &str, tls: &TlsConnector) -> anyhow::Result<Open> {
        match self {
            Self::WebSocket => http1(gateway.http, "/ws", "connection: upgrade\r\nupgrade: websocket\r\n", token).await,
            Self::Events => http1(gateway.http, "/events", "", token).await,
            Self::Grpc => grpc(gateway.https, token, tls).await,
        }
    }
}

impl Open {
    /// Waits for the end.
    pub(crate) async fn ended(self) -> Ended {
        self.0.await
    }
}

/// What believes the certificate in this file.
pub(crate) fn tls(certificate: &str) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).context("reading the certificate")?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn http1(gateway: SocketAddr, path: &str, fields: &str, token: &str) -> anyhow::Result<Open> {
    let mut stream = TcpStream::connect(gateway).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer {token}\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut received = Vec::with_capacity(512);
    while !received.windows(7).any(|window| window == b"welcome") {
        if stream.read_buf(&mut received).await? == 0 || received.starts_with(b"HTTP/1.1 4") {
            bail!("{path}: {}", String::from_utf8_lossy(&received));
        }
    }
    let is_websocket = path == "/ws";
    Ok(Open(Box::new(Box::pin(async move {
        let mut last = Vec::new();
        // The goodbye is the end for who receives it, not the end of the connection behind it.
        let well = loop {
            match stream.read_buf(&mut last).await {
                Ok(1..) if !is_websocket => {}
                Ok(1..) if last.len() < 4 => {}
                Ok(1..) => break last.starts_with(b"\x88") && last[2..4] == 4401_u16.to_be_bytes(),
                Ok(0) | Err(_) => break !is_websocket,
            }
        };
        Ended { at: SystemClock.monotonic(), well }
    }))))
}

async fn grpc(gateway: SocketAddr, token: &str, tls: &TlsConnector) -> anyhow::Result<Open> {
    let stream = TcpStream::connect(gateway).await?;
    stream.set_nodelay(true)?;
    let stream = tls.connect(ServerName::try_from(HOST)?, stream).await?;
    let (client, connection) = h2::client::handshake(stream).await?;
    tokio::spawn(connection);
    let request = Request::post(format!("https://{HOST}/test.Bench/Listen"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {token}"))
        .body(())?;
    let mut client = client.ready().await?;
    let (response, mut body) = client.send_request(request, false)?;
    body.send_data(Bytes::new(), false)?;
    let response = response.await?;
    let mut answer = response.into_body();
    let Some(first) = answer.data().await else { bail!("a call was refused") };
    answer.flow_control().release_capacity(first?.len())?;
    Ok(Open(Box::new(Box::pin(async move {
        // The connection lives as long as somebody can ask for more.
        let _client = (client, body);
        let rest = answer.data().await;
        let trailers = if rest.is_none() { answer.trailers().await.ok().flatten() } else { None };
        let well = trailers.is_some_and(|trailers| trailers.get("grpc-status").is_some_and(|status| status == "16"));
        Ended { at: SystemClock.monotonic(), well }
    }))))
}
