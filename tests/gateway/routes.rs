//! What routes do besides deciding: matching by more than host and path, rewrites, redirects, edits of fields, CORS, rate
//! limits.

mod cors;
mod limits;
mod matching;
mod rewriting;

use crate::support::client::Response;
use crate::support::gateway::Builder;
use crate::support::site::{Site, Store};
use crate::support::wire::Head;

async fn site(change: impl FnOnce(Builder) -> Builder) -> Site {
    Site::changed(Store::Embedded, change).await
}

/// The answer to a request with these fields, each with its line end.
async fn ask(site: &Site, method: &str, target: &str, fields: &str) -> Response {
    let mut client = site.gateway.connect().await;
    client.send(format!("{method} {target} HTTP/1.1\r\nhost: a\r\n{fields}\r\n")).await;
    client.response_to(method).await.expect("a response")
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

/// The one request that reached the upstream since the last look.
fn only(site: &Site) -> Head {
    let requests = site.upstream.take_requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    requests[0].head.clone()
}
