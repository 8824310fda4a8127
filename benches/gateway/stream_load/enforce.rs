//! How soon a replica refuses what another one has acknowledged the end of.

use std::path::Path;

use anyhow::{Context as _, bail};
use portcullis::clock::{Clock as _, SystemClock};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::HOST;
use crate::client::{Stage, log_out};
use crate::figures::distribution;

/// A connection on which one request follows another.
struct Asking {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Asking {
    async fn status(&mut self, token: &str) -> anyhow::Result<u16> {
        let request = format!("GET /x HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer {token}\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        self.received.clear();
        loop {
            if self.stream.read_buf(&mut self.received).await? == 0 {
                bail!("the gateway closed a connection");
            }
            let Some(end) = self.received.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let head = std::str::from_utf8(&self.received[..end])?.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
            if self.received.len() >= end + 4 + length {
                return head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status");
            }
        }
    }
}

/// Asks one gateway again and again after another one has acknowledged a logout. From the acknowledgement to the first refusal,
/// its round trip included, and how many requests passed between.
pub(crate) async fn run(file: &Path, trials: usize) -> anyhow::Result<()> {
    let stage = Stage::read(file)?;
    let [here, .., there] = stage.gateways[..] else { bail!("two gateways are needed") };
    let stream = TcpStream::connect(there.http).await?;
    stream.set_nodelay(true)?;
    let mut asking = Asking { stream, received: Vec::new() };
    let (mut refused, mut round_trips, mut passed) = (Vec::new(), Vec::new(), 0);
    for token in stage.tokens.iter().take(trials) {
        let asked = SystemClock.monotonic();
        let status = asking.status(token).await?;
        anyhow::ensure!(status == 200, "a live token was answered {status}");
        round_trips.push((SystemClock.monotonic() - asked).as_secs_f64() * 1000.0);
        let acknowledged = log_out(here, token).await?;
        loop {
            match asking.status(token).await? {
                200 => passed += 1,
                401 => break,
                other => bail!("a revoked token was answered {other}"),
            }
        }
        refused.push((SystemClock.monotonic() - acknowledged).as_secs_f64() * 1000.0);
    }
    println!(
        "{}",
        json!({"first_refusal_ms": distribution(refused), "round_trip_ms": distribution(round_trips), "passed": passed})
    );
    Ok(())
}
