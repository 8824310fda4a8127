//! What the tests of the running gateway are written in: the gateway, the upstream behind it, the client in
//! front of it, and the one way to wait for something.

pub(crate) mod acme;
pub(crate) mod cable;
pub(crate) mod client;
pub(crate) mod fault_proxy;
pub(crate) mod gateway;
pub(crate) mod h2_upstream;
pub(crate) mod http2;
pub(crate) mod hyper_server;
pub(crate) mod mail_server;
pub(crate) mod process;
#[path = "../../support/services.rs"]
pub(crate) mod services;
pub(crate) mod site;
pub(crate) mod tls;
pub(crate) mod upstream;
pub(crate) mod websocket;
pub(crate) mod wire;

use std::time::Duration;

/// How long anything may take that happens by itself. Only a failing test ever waits that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks again and again until there is something to see.
///
/// # Panics
/// It did not happen in time; `what` says what was awaited.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    in_time(what, looking).await
}

/// Awaits what must end soon.
///
/// # Panics
/// It did not.
pub(crate) async fn in_time<T>(what: &str, awaited: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, awaited).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// Replaces every `{name}` of a template of bytes.
pub(crate) fn fill(template: &[u8], values: &[(&str, &str)]) -> Vec<u8> {
    let mut filled = template.to_vec();
    for (name, value) in values {
        let placeholder = format!("{{{name}}}").into_bytes();
        while let Some(at) = find(&filled, &placeholder) {
            filled.splice(at..at + placeholder.len(), value.bytes());
        }
    }
    filled
}

/// Where `needle` begins.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// A number by which whoever starts a test says how long it is to be.
#[expect(clippy::disallowed_methods, reason = "whoever starts it says how long it takes")]
pub(crate) fn number_from_environment(name: &str, otherwise: u64) -> u64 {
    let number = std::env::var(name).ok().filter(|text| !text.is_empty());
    number.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}
