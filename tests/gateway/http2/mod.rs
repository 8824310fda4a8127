//! HTTP/2 as clients speak it, as attackers do, and as other programs do. The numbers are those of the catalogue of attacks
//! that this gateway was designed against.

mod ends;
mod floods;
mod heads;
mod malformed;
mod origins;
mod peers;
mod random;
mod requests;
mod times;

use std::net::SocketAddr;

use super::support::eventually;
use super::support::gateway::{Builder, Gateway};
use super::support::http2::Http2;
use super::support::tls::Authority;
use super::support::upstream::Upstream;

const HOST: &str = "a.example";

/// An authority with a certificate for `a.example`, an upstream that echoes, and a gateway that speaks TLS.
struct Site {
    authority: Authority,
    upstream: Upstream,
    gateway: Gateway,
}

impl Site {
    async fn start() -> Self {
        Self::changed(Upstream::echo().await, |gateway| gateway).await
    }

    async fn changed(upstream: Upstream, change: impl FnOnce(Builder) -> Builder) -> Self {
        let authority = Authority::new();
        authority.write("a", &authority.issue(&[HOST, "b.example"]));
        let builder = Gateway::in_front_of(&upstream).table(&authority.table("a")).listener("protocol = \"https\"");
        let gateway = change(builder).start().await;
        Self { authority, upstream, gateway }
    }

    fn address(&self) -> SocketAddr {
        *self.gateway.addresses.last().expect("a listener")
    }

    async fn connect(&self) -> Http2 {
        Http2::connect(&self.authority.client(), self.address(), HOST).await
    }
}
