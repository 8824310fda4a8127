//! Clients of five existing systems, unchanged, at a gateway with the configuration that we ship for each: every flow
//! that the system documents, status by status and byte by byte, and none of its defects.

mod auth_service;
mod auth_using_nodejs;
mod flowauth;
mod mstack_auth;
mod shipped;
mod token_demo;
mod token_demo_mail;

use std::net::SocketAddr;

use serde_json::Value;

use crate::support::client::RawClient;
use crate::support::client::Response;
use crate::support::gateway::{Builder, Gateway};
use crate::support::upstream::Upstream;
use crate::support::{eventually, find};

/// A client that says what it is told and keeps no cookies.
#[derive(Debug, Clone, Copy)]
struct Client(SocketAddr);

/// A gateway with a configuration that we ship, the service behind it, and a client in front of it.
struct Stage {
    // Dropped first: nobody is told of the end of the other.
    gateway: Gateway,
    upstream: Upstream,
    client: Client,
}

impl Stage {
    /// The configuration as it is, but for its ports and its upstream's address.
    async fn of(name: &str) -> Self {
        Self::changed(name, &[]).await
    }

    /// The configuration with these values changed.
    async fn changed(name: &str, sets: &[&str]) -> Self {
        Self::with(name, Upstream::echo().await, |gateway| sets.iter().fold(gateway, |gateway, set| gateway.set(set))).await
    }

    /// The configuration in front of this service.
    async fn with(name: &str, upstream: Upstream, change: impl FnOnce(Builder) -> Builder) -> Self {
        let gateway = Gateway::shipped(&format!("examples/dialects/{name}.toml"), &dialects(name), &upstream);
        let gateway = change(gateway).start().await;
        let client = Client(gateway.address);
        Self { gateway, upstream, client }
    }

    /// # Panics
    /// One of these texts is in a file of the gateway's.
    fn stores_nothing_of(&self, secrets: &[&str]) {
        for entry in std::fs::read_dir(self.gateway.data()).expect("a directory") {
            let path = entry.expect("readable").path();
            let bytes = std::fs::read(&path).expect("readable");
            for secret in secrets {
                assert!(find(&bytes, secret.as_bytes()).is_none(), "{}", path.display());
            }
        }
    }

    /// # Panics
    /// The upstream saw something of a request for this path.
    fn forwarded_nothing(&self, path: &str) {
        assert!(!self.upstream.saw(&format!(" {path} ")), "{path} was forwarded");
    }
}

/// The dialects of a configuration that we ship, in the order of its listeners.
fn dialects(name: &str) -> Vec<&str> {
    if name == "auth-using-nodejs" { vec![name, "auth-using-nodejs-resource"] } else { vec![name] }
}

/// What a client got, as far as the original's clients look at it.
#[derive(Debug, Clone)]
struct Got {
    status: u16,
    content_type: String,
    body: String,
    response: Response,
}

impl Client {
    /// A request with these header fields and this body: JSON unless it is empty.
    async fn send(self, request: &str, fields: &[(&str, &str)], body: &str) -> Got {
        let (method, target) = request.split_once(' ').expect("a method and a target");
        let mut head = format!("{method} {target} HTTP/1.1\r\nhost: {}\r\n", self.0);
        for (name, value) in fields {
            head += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            head += &format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
        }
        let mut client = RawClient::connect(self.0).await;
        client.send(format!("{head}\r\n{body}")).await;
        let response = client.response_to(method).await.expect("a response");
        let content_type = response.head.one("content-type").unwrap_or_default().to_owned();
        Got { status: response.status, content_type, body: response.text(), response }
    }

    /// A request with a body.
    async fn json(self, request: &str, body: &Value) -> Got {
        self.send(request, &[], &body.to_string()).await
    }

    /// A request with a bearer token.
    async fn bearer(self, request: &str, token: &str) -> Got {
        self.send(request, &[("authorization", &format!("Bearer {token}"))], "").await
    }

    /// A request with nothing.
    async fn plain(self, request: &str) -> Got {
        self.send(request, &[], "").await
    }

    /// Waits until the answer to a request with this token is another one than 200: the token has expired.
    async fn outlives(self, request: &str, token: &str) -> Got {
        eventually("the end of the access token", async || {
            let got = self.bearer(request, token).await;
            (got.status != 200).then_some(got)
        })
        .await
    }
}

impl Got {
    /// # Panics
    /// It is another answer than this JSON, byte by byte.
    fn is_json(&self, status: u16, body: &str) -> &Self {
        let got = (self.status, self.content_type.as_str(), self.body.as_str());
        assert_eq!(got, (status, "application/json", body));
        self
    }

    /// # Panics
    /// It is another answer than this text.
    fn is_text(&self, status: u16, text: &str) -> &Self {
        let got = (self.status, self.content_type.as_str(), self.body.as_str());
        assert_eq!(got, (status, "text/plain; charset=utf-8", text));
        self
    }

    /// # Panics
    /// It has another status, or a body.
    fn is_empty(&self, status: u16) -> &Self {
        assert_eq!((self.status, self.content_type.as_str(), self.body.as_str()), (status, "", ""));
        self
    }

    /// # Panics
    /// It is another answer than a problem document with this code.
    fn is_problem(&self, status: u16, code: &str) -> &Self {
        let got = (self.status, self.content_type.as_str(), self.response.code());
        assert_eq!(got, (status, "application/problem+json", code.to_owned()), "{}", self.body);
        self
    }

    /// The body, which is JSON.
    fn value(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// A member of the body, which is text.
    fn text(&self, member: &str) -> String {
        self.value()[member].as_str().unwrap_or_else(|| panic!("no {member}: {} {}", self.status, self.body)).to_owned()
    }

    /// The one field of this name.
    fn field(&self, name: &str) -> Option<&str> {
        self.response.head.one(name)
    }

    /// The body with every text that looks like a token or an id of ours as `*`: the rest is compared byte by byte.
    fn shape(&self) -> String {
        let parts: Vec<_> = self.body.split('"').collect();
        let secret = |part: &&str| part.len() >= 36 && !part.contains(' ');
        parts.iter().map(|part| if secret(part) { "*" } else { part }).collect::<Vec<_>>().join("\"")
    }

    /// # Panics
    /// It is another answer than JSON of this shape.
    fn has_shape(&self, status: u16, shape: &str) -> &Self {
        let got = (self.status, self.content_type.as_str(), self.shape());
        assert_eq!(got, (status, "application/json", shape.to_owned()), "{}", self.body);
        self
    }
}

/// What an access token says, as any client can read it.
fn claims(token: &str) -> Value {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).expect("a JWT");
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).expect("base64url");
    serde_json::from_slice(&payload).expect("JSON")
}

/// # Panics
/// The access log has no line with this status and reason.
async fn logged(gateway: &Gateway, status: u16, reason: &str) {
    let needle = [format!("\"status\":{status},"), format!("\"reason\":\"{reason}\"")];
    eventually("a line of the access log", async || {
        gateway.output().lines().any(|line| needle.iter().all(|part| line.contains(part))).then_some(())
    })
    .await;
}
