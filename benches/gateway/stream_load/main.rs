//! The sockets of `make bench-streams` and `make bench-revocation`, both ends of them: ten thousand are too many for a script.
//!
//! `stream_load upstream HTTP1 HTTP2` serves streams without end on two ports. `stream_load certificate DIR` makes what the
//! gateways show. `stream_load client FILE` reads addresses and tokens from a file of JSON, does what the lines of its standard
//! input say, and answers each with a line of JSON: `open KIND COUNT`, `end COUNT PER_SECOND`, `left`. `stream_load enforce FILE
//! TRIALS` measures how soon another replica refuses.

mod client;
mod enforce;
mod figures;
mod streams;
mod upstream;

use std::path::Path;

use anyhow::Context as _;
use rcgen::{CertificateParams, KeyPair};

/// Whom the certificate is for.
const HOST: &str = "bench.example";

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Runtime::new()?;
    match words[..] {
        ["upstream", http1, http2] => runtime.block_on(upstream::serve(http1.parse()?, http2.parse()?)),
        ["certificate", directory] => certificate(Path::new(directory)),
        ["client", file] => runtime.block_on(client::run(Path::new(file))),
        ["enforce", file, trials] => runtime.block_on(enforce::run(Path::new(file), trials.parse()?)),
        _ => anyhow::bail!("usage: stream_load upstream PORT PORT | certificate DIR | client FILE | enforce FILE TRIALS"),
    }
}

fn certificate(directory: &Path) -> anyhow::Result<()> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new([HOST.to_owned()])?.self_signed(&key)?;
    std::fs::write(directory.join("bench.crt"), certificate.pem()).context("writing the certificate")?;
    std::fs::write(directory.join("bench.key"), key.serialize_pem()).context("writing its key")
}
