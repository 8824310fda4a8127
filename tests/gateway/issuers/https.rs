//! Key sets over HTTPS: fetched from whom the issuer's own authority vouches for, and from nobody else; and an authority that
//! is none, which is that issuer's trouble alone.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::provider::{Key, Provider, set};
use super::{passes, refusal, verdict};
use crate::support::eventually;
use crate::support::site::{Site, Store};
use crate::support::tls::{Authority, Issued};

/// A server with one key set, over TLS, until it is dropped.
struct Https {
    url: String,
    serving: JoinHandle<()>,
}

impl Https {
    async fn with(key: &Key, Issued { certificate, key: private }: &Issued) -> Self {
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<_, _>>().expect("PEM");
        let private = PrivateKeyDer::from_pem_slice(private.as_bytes()).expect("PEM");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("TLS");
        let acceptor =
            TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(chain, private).expect("a pair")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("https://localhost:{}/keys", listener.local_addr().expect("it is bound").port());
        let body = json!({"keys": [key.jwk()]}).to_string();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/jwk-set+json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("it listens");
                // Whoever does not believe the certificate goes away.
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut read = [0; 4096];
                if stream.read(&mut read).await.is_ok_and(|bytes| bytes > 0) {
                    drop(stream.write_all(answer.as_bytes()).await);
                    drop(stream.shutdown().await);
                }
            }
        });
        Self { url, serving }
    }
}

impl Drop for Https {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn table(name: &str, url: &str, ca: Option<PathBuf>) -> String {
    let ca = ca.map(|path| format!("ca = '{}'\n", path.display())).unwrap_or_default();
    format!(
        "[[issuers]]\nname = '{name}'\nissuer = 'https://{name}.example'\naudiences = ['api']\njwks_url = '{url}'\n\
         refresh_min = '1s'\nrefresh_max = '1s'\n{ca}"
    )
}

fn token(key: &Key, issuer: &str) -> String {
    key.token(&json!({"iss": format!("https://{issuer}.example"), "jti": "1"}))
}

/// Waits until the gateway says that it has no keys of this issuer, and that it has tried.
async fn missing(site: &Site, issuer: &str, said: &str) {
    eventually("the alarm", async || {
        let (_, metrics) = site.gateway.admin("/metrics").await?;
        let shown = metrics.contains(&format!(r#"portcullis_jwks_state{{issuer="{issuer}",state="missing"}} 1"#));
        (shown && site.gateway.output().contains(said)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn keys_come_from_a_server_whom_the_issuers_own_authority_vouches_for() {
    let (ours, others) = (Authority::new(), Authority::new());
    let (good, named) = (Key::new("good"), Key::new("named"));
    let right = Https::with(&good, &ours.issue(&["localhost"])).await;
    let wrong_name = Https::with(&named, &ours.issue(&["elsewhere.example"])).await;
    let tables = [
        table("good", &right.url, Some(ours.file())),
        table("another", &right.url, Some(others.file())),
        table("public", &right.url, None),
        table("named", &wrong_name.url, Some(ours.file())),
    ]
    .concat();
    let site = Site::changed(Store::Embedded, |gateway| gateway.table(&tables)).await;
    passes(&site, &token(&good, "good")).await;
    for (issuer, key) in [("another", &good), ("public", &good), ("named", &named)] {
        missing(&site, issuer, "the keys of an issuer are not renewed").await;
        assert_eq!(verdict(&site, &token(key, issuer)).await, refusal(503, "unavailable"), "{issuer}");
    }
}

#[tokio::test]
async fn an_authority_that_is_none_is_the_trouble_of_its_issuer_alone() {
    let directory = TempDir::new().expect("a writable temporary directory");
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("a writable directory");
        path
    };
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let (authority, key, other) = (Authority::new(), Key::new("k"), Key::new("k"));
    let server = Https::with(&key, &authority.issue(&["localhost"])).await;
    let good = Provider::with(set(&[&other])).await;
    let mended = file("mended.pem", broken);
    let tables = [
        table("broken", &server.url, Some(file("broken.pem", broken))),
        table("empty", &server.url, Some(file("empty.pem", "no certificate"))),
        table("absent", &server.url, Some(directory.path().join("absent.pem"))),
        table("mended", &server.url, Some(mended.clone())),
        good.table("good", ""),
    ]
    .concat();
    // It starts, and the others are heard.
    let site = Site::changed(Store::Embedded, |gateway| gateway.table(&tables)).await;
    passes(&site, &token(&other, "good")).await;
    let ada = site.registered("ada").await;
    site.lets_in(&ada).await;
    for issuer in ["broken", "empty", "absent", "mended"] {
        missing(&site, issuer, "an issuer cannot be spoken to").await;
        assert_eq!(verdict(&site, &token(&key, issuer)).await, refusal(503, "unavailable"), "{issuer}");
    }
    // Nor does it keep anything else from being reloaded; and a file that was put right is read.
    std::fs::copy(authority.file(), mended).expect("it is copied");
    site.gateway.write(site.gateway.written() + "\n[[routes]]\npath = \"/new\"\nupstream = \"app\"\naccess = \"public\"\n");
    let (status, told) = site.gateway.reload().await;
    assert_eq!(status, 200, "{told}");
    passes(&site, &token(&key, "mended")).await;
    assert_eq!(site.get("/new", "").await.status, 200);
    assert_eq!(verdict(&site, &token(&key, "broken")).await, refusal(503, "unavailable"));
    assert_eq!(verdict(&site, &token(&other, "good")).await.0, 200);
}
