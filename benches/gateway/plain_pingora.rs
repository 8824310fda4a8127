//! A proxy that checks nothing, on the same framework, allocator and listener settings as the gateway: what
//! pingora costs by itself, and so the floor that the gateway is measured against.
//!
//! `plain_pingora LISTEN UPSTREAM`, both as `address:port`. One proxy thread, like the gateway in these runs.

use async_trait::async_trait;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::prelude::*;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::configuration::ServerConf;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Sends every request to one upstream.
struct Plain {
    peer: HttpPeer,
}

#[async_trait]
impl ProxyHttp for Plain {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.peer.clone()))
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(listen), Some(upstream)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: plain_pingora LISTEN UPSTREAM");
        std::process::exit(64);
    };
    // The pool exceeds any concurrency that is measured: a handshake per request would drown everything else.
    let conf = ServerConf { threads: 1, upstream_keepalive_pool_size: 4096, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let plain = Plain { peer: HttpPeer::new(upstream.as_str(), false, String::new()) };
    let mut service = http_proxy_service(&server.configuration, plain);
    service.add_listener(ListenerConfig::tcp(listen).l4_buffer(L4BufferSettings::default().read(0)));
    server.add_service(service);
    server.run_forever();
}
