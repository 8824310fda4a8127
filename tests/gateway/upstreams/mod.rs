//! Several servers behind one gateway: who gets a request, who is done without, what is refused at once, and for how
//! long anything is waited for. What single servers do wrong is `upstream_faults`.

mod balance;
mod breaker;
mod health;
mod http2;
mod retries;
mod times;
mod tls;
mod tls_server;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::client::Response;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::upstream::{Answer, Upstream};

const GET: &str = "GET /public/x HTTP/1.1\r\nhost: a\r\n\r\n";
const POST: &str = "POST /public/x HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

fn problem(response: &Response) -> (u16, String) {
    (response.status, response.code())
}

/// Requests for `/public/x` that arrived there.
fn asked(upstream: &Upstream) -> usize {
    upstream.requests("/public/x").len()
}

/// The value of a time series; none while nothing has it.
async fn metric(gateway: &Gateway, series: &str) -> Option<usize> {
    let (_, text) = gateway.admin("/metrics").await?;
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

/// Waits until so many servers of `app` are in this state.
async fn servers_are(gateway: &Gateway, state: &str, count: usize) {
    let series = format!("portcullis_upstream_servers{{state=\"{state}\",upstream=\"app\"}}");
    eventually("servers in a state", async || (metric(gateway, &series).await == Some(count)).then_some(())).await;
}

/// An upstream that echoes while it is well, and otherwise says 503 to everything.
async fn moody() -> (Upstream, Arc<AtomicBool>) {
    let well = Arc::new(AtomicBool::new(true));
    let mood = Arc::clone(&well);
    let answer = move |head: &_| if mood.load(Ordering::SeqCst) { Answer::echo(head) } else { Answer::raw(UNAVAILABLE) };
    (Upstream::answering(answer).await, well)
}
