//! HTTP/2 towards servers: which one speaks it, what a request looks like there, what a server may say that has no
//! equivalent in HTTP/1.1, and that what holds for other servers holds for these.

mod faults;
mod heads;
mod negotiation;
mod service;

use crate::support::gateway::{Builder, Gateway};
use crate::support::h2_upstream::H2Upstream;

/// A gateway in front of one server that is spoken to over HTTP/2 without TLS, with these further keys of its upstream.
fn in_front_of(upstream: &H2Upstream, keys: &str) -> Builder {
    Gateway::in_front_of_servers(&[upstream.address], &format!("http = \"2\"\n{keys}"))
}
