//! Tricks that are played with requests, one row each: the case numbers A to E of the catalogue of attacks that
//! this gateway was designed against. A row is the bytes that are sent, and what must become of them.
//!
//! Not here, and why:
//! - B (39–60): HTTP/2, which the cleartext listener does not speak: `http2`.
//! - 37: a subject with a line break can only come from a foreign issuer; `identity::access_token` refuses it.
//!   What a user may type is tested here.
//! - 73: rewrites have tests of their own (`routes::rewriting`). 85: there is one audience. 86: server names belong to TLS.
//! - 77 (preflight): `routes::cors`; `OPTIONS` is a method like any other here. 107, 110 (cookie): browser mode.
//! - 99: the PROXY protocol is not spoken; that its preamble is refused is tested here.
//! - 106: the lifetime of an upgraded connection belongs to the tests of WebSockets.

mod bearer;
mod framing;
mod hop_by_hop;
mod identity_headers;
mod one_path;
mod pairing;
mod responses;
mod sizes;
mod table;
mod targets;
mod times;
