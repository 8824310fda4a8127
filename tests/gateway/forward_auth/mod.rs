//! Other proxies that ask before they forward: the verdict about a request is that of the proxied path, whoever asks and
//! in whichever words; and a real nginx that does.

mod corpus;
mod nginx;
mod questions;

use crate::support::client::Response;
use crate::support::gateway::Builder;
use crate::support::site::{Site, Store};

const TRUSTED: &str = "server.trusted_proxies=[\"127.0.0.0/8\"]";

/// In whose words a question is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// nginx as its documentation has it.
    NginxUri,
    /// nginx as ingress-nginx sets it up.
    NginxUrl,
    Traefik,
    Envoy,
}

const SPELLINGS: [Spelling; 4] = [Spelling::NginxUri, Spelling::NginxUrl, Spelling::Traefik, Spelling::Envoy];

/// A request that nobody has sent yet. `fields` are whole lines.
#[derive(Debug, Clone, Copy)]
struct Request<'a> {
    method: &'a str,
    host: &'a str,
    target: &'a str,
    fields: &'a str,
}

impl Spelling {
    /// The question about a request, as bytes.
    fn question(self, Request { method, host, target, fields }: Request<'_>) -> String {
        let at_verify = |host: &str, about: &str| format!("GET /auth/verify HTTP/1.1\r\nhost: {host}\r\n{about}{fields}\r\n");
        match self {
            Self::NginxUri => at_verify(host, &format!("x-original-method: {method}\r\nx-original-uri: {target}\r\n")),
            Self::NginxUrl => {
                at_verify("gateway:8080", &format!("x-original-method: {method}\r\nx-original-url: http://{host}{target}\r\n"))
            }
            Self::Traefik => at_verify(
                "gateway:8080",
                &format!(
                    "x-forwarded-method: {method}\r\nx-forwarded-uri: {target}\r\nx-forwarded-host: {host}\r\n\
                     x-forwarded-proto: http\r\n"
                ),
            ),
            Self::Envoy => {
                let about = "content-length: 0\r\n";
                format!("{method} /auth/verify{target} HTTP/1.1\r\nhost: {host}\r\n{about}{fields}\r\n")
            }
        }
    }

    async fn ask(self, site: &Site, request: Request<'_>) -> Response {
        let mut client = site.gateway.connect().await;
        client.send(self.question(request)).await;
        let method = if self == Self::Envoy { request.method } else { "GET" };
        client.response_to(method).await.expect("an answer to a question")
    }
}

/// A gateway that believes the proxies on this machine.
async fn site(change: impl FnOnce(Builder) -> Builder) -> Site {
    Site::changed(Store::Embedded, |gateway| change(gateway.set(TRUSTED))).await
}

/// A request without fields but a token's, if there is one.
fn bearer(token: &str) -> String {
    if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") }
}
