//! gRPC through the gateway, with a real client and a real server: every kind of call, whom the server believes to speak
//! to, and refusals that a client understands.

mod calls;
mod ends;
mod metadata;
mod peers;
mod refusals;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::support::gateway::{Builder, Gateway};
use super::support::http2::Http2;
use super::support::hyper_server::HyperServer;
use super::support::in_time;
use super::support::tls::Authority;
use peers::Client;

const HOST: &str = "a.example";

/// A server of gRPC behind a gateway: `/test.Open` for everybody, `/test.Echo` for callers with a token, `/test.Admin` for
/// some of them.
struct Site {
    authority: Authority,
    server: HyperServer,
    gateway: Gateway,
}

impl Site {
    async fn start() -> Self {
        Self::changed(|builder| builder).await
    }

    async fn changed(change: impl FnOnce(Builder) -> Builder) -> Self {
        let (authority, server) = (Authority::new(), peers::server().await);
        authority.write("a", &authority.issue(&[HOST]));
        let builder = Gateway::in_front_of_servers(&[server.address], "http = \"2\"")
            .route("path = \"/test.Open\"\naccess = \"public\"")
            .route("path = \"/test.Echo\"")
            .route("path = \"/test.Admin\"\nrequire = { roles = [\"admin\"] }");
        let builder = builder.table(&authority.table("a")).listener("protocol = \"https\"");
        let gateway = change(builder).start().await;
        Self { authority, server, gateway }
    }

    fn address(&self) -> SocketAddr {
        *self.gateway.addresses.last().expect("a listener")
    }

    /// Somebody without a token.
    async fn client(&self) -> Client {
        let mut config = self.authority.client().config();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = in_time("connecting to the gateway", TcpStream::connect(self.address())).await.expect("it listens");
        stream.set_nodelay(true).expect("a TCP socket has this option");
        let connecting = TlsConnector::from(Arc::new(config)).connect(HOST.try_into().expect("a host"), stream);
        Client::over(in_time("a handshake", connecting).await.expect("a handshake"), HOST).await
    }

    /// A client that can send anything.
    async fn by_hand(&self) -> Http2 {
        Http2::connect(&self.authority.client(), self.address(), HOST).await
    }
}

/// The fields that a call begins with.
fn call<'a>(path: &'a str, content_type: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", HOST),
        (":path", path),
        ("content-type", content_type),
        ("te", "trailers"),
    ]
}
