//! An upstream that speaks TLS, and the authorities that vouch for it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use crate::support::find;

/// An authority is known by its name: two of the same name would be one with two keys.
static AUTHORITIES: AtomicUsize = AtomicUsize::new(0);

/// Somebody who issues certificates.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

/// A certificate and its key.
pub(super) struct Certified {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

/// A TLS server that answers 200 to everything; gone when dropped.
pub(super) struct TlsServer {
    pub(super) address: SocketAddr,
    accepting: AbortHandle,
    handshakes: Arc<AtomicUsize>,
    names: Arc<Mutex<Vec<String>>>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = format!("authority {} under test", AUTHORITIES.fetch_add(1, Ordering::SeqCst));
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        Self { issuer, directory: TempDir::new().expect("a writable temporary directory") }
    }

    pub(super) fn issue(&self, name: &str) -> Certified {
        self.issue_until(name, 2100)
    }

    /// A certificate that is valid from 2000 until the beginning of a year.
    pub(super) fn issue_until(&self, name: &str, year: i32) -> Certified {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(year, 1, 1));
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Certified { certificate, key }
    }

    /// A PEM file with the authority's own certificate.
    pub(super) fn file(&self) -> PathBuf {
        self.write("ca.pem", &self.issuer.pem())
    }

    /// PEM files with a certificate and its key.
    pub(super) fn files(&self, certified: &Certified) -> (PathBuf, PathBuf) {
        let certificate = self.write("client.pem", &certified.certificate.pem());
        (certificate, self.write("client.key", &certified.key.serialize_pem()))
    }

    fn write(&self, name: &str, pem: &str) -> PathBuf {
        let path: &Path = self.directory.path();
        std::fs::write(path.join(name), pem).expect("a writable directory");
        path.join(name)
    }
}

impl Certified {
    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.der().clone()]
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()))
    }

    /// What a server shows it with that speaks these protocols above TLS; none is agreed on if there is none.
    pub(super) fn config(&self, protocols: &[&str]) -> rustls::ServerConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().expect("the provider has them").with_no_client_auth();
        let mut config = builder.with_single_cert(self.chain(), self.key()).expect("they belong together");
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config
    }
}

impl TlsServer {
    /// Shows this certificate; with `clients`, asks for one that this authority issued.
    pub(super) async fn showing(certified: &Certified, clients: Option<&Authority>) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().expect("the provider has them");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.issuer.der().clone()).expect("a certificate");
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().expect("an authority"))
            }
        };
        let config = builder.with_single_cert(certified.chain(), certified.key()).expect("they belong together");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let (handshakes, names) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::default()));
        let serving = serve(listener, TlsAcceptor::from(Arc::new(config)), Arc::clone(&handshakes), Arc::clone(&names));
        Self { address, accepting: tokio::spawn(serving).abort_handle(), handshakes, names }
    }

    /// Handshakes that succeeded.
    pub(super) fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::SeqCst)
    }

    /// The names that were asked for.
    pub(super) fn names(&self) -> Vec<String> {
        self.names.lock().expect("no test panics while it holds this").clone()
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, handshakes: Arc<AtomicUsize>, names: Arc<Mutex<Vec<String>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, handshakes, names) = (acceptor.clone(), Arc::clone(&handshakes), Arc::clone(&names));
        tokio::spawn(async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            handshakes.fetch_add(1, Ordering::SeqCst);
            let name = stream.get_ref().1.server_name().unwrap_or_default().to_owned();
            names.lock().expect("no test panics while it holds this").push(name);
            let mut unread = Vec::new();
            while stream.read_buf(&mut unread).await.is_ok_and(|read| read > 0) {
                while let Some(end) = find(&unread, b"\r\n\r\n") {
                    unread.drain(..end + 4);
                    let _sent = stream.write_all(super::OK.as_bytes()).await;
                }
            }
        });
    }
}
