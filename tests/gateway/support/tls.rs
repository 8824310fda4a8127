//! Certificates made for a test, and clients that speak TLS as programs do, by rustls.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use portcullis::clock::{Clock as _, SystemClock};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::client::Talk;
use super::in_time;

/// Versions of TLS that a client speaks.
pub(crate) type Versions = &'static [&'static SupportedProtocolVersion];
pub(crate) static ONLY_1_2: Versions = &[&TLS12];
pub(crate) static ONLY_1_3: Versions = &[&TLS13];

/// A certificate authority, with a directory for what it issues.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pub(crate) directory: TempDir,
}

/// A certificate with its key, both in PEM.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Authority of a test");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let directory = TempDir::new().expect("a writable temporary directory");
        std::fs::write(directory.path().join("authority.pem"), certificate.pem()).expect("a writable directory");
        Self { certificate: certificate.der().clone(), issuer: Issuer::new(params, key), directory }
    }

    /// A certificate for these hosts, valid today.
    pub(crate) fn issue(&self, hosts: &[&str]) -> Issued {
        self.issue_with(hosts, |_| {})
    }

    /// The same, changed.
    pub(crate) fn issue_with(&self, hosts: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(hosts).expect("host names");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Issued { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// The chain for a request (PKCS#10) that is for this host alone, valid from now on.
    pub(crate) fn sign(&self, request: &[u8], host: &str, life: Duration) -> Result<String, String> {
        let request = CertificateSigningRequestParams::from_der(&request.into()).map_err(|error| error.to_string())?;
        let mut request = request;
        let names = &request.params.subject_alt_names;
        if !matches!(names.as_slice(), [SanType::DnsName(name)] if name.as_str() == host) {
            return Err(format!("not for {host} alone: {names:?}"));
        }
        let now = Duration::from_secs(u64::try_from(SystemClock.now().as_second()).expect("after 1970"));
        request.params.not_before = date_time_ymd(1970, 1, 1) + now;
        request.params.not_after = request.params.not_before + life;
        let signed = request.signed_by(&self.issuer).map_err(|error| error.to_string())?;
        let own = std::fs::read_to_string(self.file()).map_err(|error| error.to_string())?;
        Ok(signed.pem() + &own)
    }

    /// A certificate of a client.
    pub(crate) fn issue_to(&self, common_name: &str, uri: &str) -> Issued {
        self.issue_with(&[], |params| {
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::OrganizationName, "Example");
            params.distinguished_name.push(DnType::CommonName, common_name);
            params.subject_alt_names = vec![SanType::URI(uri.try_into().expect("ASCII"))];
        })
    }

    /// The authority's own certificate, in PEM.
    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("authority.pem")
    }

    /// Writes a pair under a name, over what was there.
    pub(crate) fn write(&self, name: &str, Issued { certificate, key }: &Issued) {
        // As deployments do it: nobody sees half a file.
        let put = |suffix: &str, text: &str| {
            let path = self.directory.path().join(format!("{name}.{suffix}"));
            let new = path.with_extension("new");
            std::fs::write(&new, text).expect("a writable directory");
            std::fs::rename(new, path).expect("one directory");
        };
        put("crt", certificate);
        put("key", key);
    }

    /// The table of a pair that was written.
    pub(crate) fn table(&self, name: &str) -> String {
        let path = |suffix: &str| self.directory.path().join(format!("{name}.{suffix}"));
        format!(
            "[[server.tls.certificates]]\nname = \"{name}\"\ncertificate = \"{}\"\nkey = \"{}\"",
            path("crt").display(),
            path("key").display()
        )
    }

    /// Somebody who believes this authority.
    pub(crate) fn client(&self) -> TlsClient {
        TlsClient { authority: self.certificate.clone(), shows: None, versions: rustls::ALL_VERSIONS, kept: None }
    }
}

/// Somebody who speaks TLS.
#[derive(Debug, Clone)]
pub(crate) struct TlsClient {
    authority: CertificateDer<'static>,
    shows: Option<Issued>,
    versions: Versions,
    /// With the sessions of earlier connections.
    kept: Option<Arc<ClientConfig>>,
}

/// A client's connection.
pub(crate) type TlsTalk = Talk<TlsStream<TcpStream>>;

impl TlsClient {
    /// Shows this certificate to whoever asks for one.
    pub(crate) fn showing(self, certificate: Issued) -> Self {
        Self { shows: Some(certificate), ..self }
    }

    /// Speaks these versions only.
    pub(crate) fn speaking(self, versions: Versions) -> Self {
        Self { versions, ..self }
    }

    /// Goes on with sessions of earlier connections.
    pub(crate) fn resuming(self) -> Self {
        Self { kept: Some(Arc::new(self.config())), ..self }
    }

    /// What a handshake is made with.
    pub(crate) fn config(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(self.versions).expect("versions");
        let builder = builder.with_root_certificates(roots);
        match &self.shows {
            None => builder.with_no_client_auth(),
            Some(Issued { certificate, key }) => {
                let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate");
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
                builder.with_client_auth_cert(vec![certificate], key).expect("a pair")
            }
        }
    }

    /// Connects and asks for a host: the connection, or why there is none.
    pub(crate) async fn try_connect(&self, address: SocketAddr, host: &str) -> std::io::Result<TlsTalk> {
        self.try_connect_after(address, host, b"").await
    }

    /// The same after bytes in clear text.
    pub(crate) async fn try_connect_after(&self, address: SocketAddr, host: &str, first: &[u8]) -> std::io::Result<TlsTalk> {
        let mut stream = in_time("connecting to the gateway", TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        tokio::io::AsyncWriteExt::write_all(&mut stream, first).await?;
        let name = ServerName::try_from(host.to_owned()).expect("a host");
        let connector = TlsConnector::from(self.kept.clone().unwrap_or_else(|| Arc::new(self.config())));
        in_time("a handshake", connector.connect(name, stream)).await.map(Talk::over)
    }

    /// Connects and asks for a host.
    ///
    /// # Panics
    /// The handshake fails.
    pub(crate) async fn connect(&self, address: SocketAddr, host: &str) -> TlsTalk {
        self.try_connect(address, host).await.unwrap_or_else(|error| panic!("no handshake for {host}: {error}"))
    }

    /// The certificate that is shown for a host.
    pub(crate) async fn shown(&self, address: SocketAddr, host: &str) -> Vec<u8> {
        let mut talk = self.connect(address, host).await;
        let (_, connection) = talk.stream().get_ref();
        connection.peer_certificates().expect("the gateway's certificate")[0].to_vec()
    }
}

/// The first certificate of a file in PEM, as it is shown.
pub(crate) fn der(issued: &Issued) -> Vec<u8> {
    CertificateDer::from_pem_slice(issued.certificate.as_bytes()).expect("a certificate").to_vec()
}
