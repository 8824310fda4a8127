//! How an ACME server finds out whether a host is its client's: it asks there, at every place where the host is found.

use std::net::SocketAddr;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::protocol::problem;
use super::{Shared, jws};
use crate::support::client::RawClient;

/// What a handshake showed: the certificate and the protocol that was agreed on.
pub(crate) struct Shown {
    pub(crate) certificate: Vec<u8>,
    pub(crate) protocol: Option<Vec<u8>>,
    /// What came after it, until the connection ended.
    pub(crate) rest: usize,
}

/// Asks at every place, as soon as there is one, and decides about the order.
pub(super) async fn ask(shared: Arc<Shared>, at: usize, kind: String) {
    let mut places = shared.places.subscribe();
    let Ok(places) = places.wait_for(|places| !places.is_empty()).await.map(|places| places.clone()) else { return };
    let (host, token, expected) = shared.state(|state| {
        let order = &state.orders[at];
        let expected = jws::key_authorization(&order.token, &state.accounts[order.account].key);
        (order.host.clone(), order.token.clone(), expected)
    });
    let mut found = Ok(());
    for place in places {
        found = found.and(match kind.as_str() {
            "http-01" => over_http(place, &host, &token, &expected).await,
            _ => by_handshake(place, &host, &expected).await,
        });
    }
    shared.state(|state| {
        let order = &mut state.orders[at];
        match found {
            Ok(()) => order.status = "ready",
            Err(what) => {
                order.status = "invalid";
                order.error = Some(problem("unauthorized", &what));
            }
        }
    });
}

/// RFC 8555 §8.3.
async fn over_http(place: SocketAddr, host: &str, token: &str, expected: &str) -> Result<(), String> {
    let mut client = RawClient::connect(place).await;
    let request = format!("GET /.well-known/acme-challenge/{token} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let answer = client.ask(request).await;
    if answer.status == 200 && answer.text() == expected {
        return Ok(());
    }
    Err(format!("{host} answers {} and {:?}", answer.status, answer.text()))
}

/// RFC 8737 §3.
async fn by_handshake(place: SocketAddr, host: &str, expected: &str) -> Result<(), String> {
    use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};
    let shown = shown(place, host, &["acme-tls/1"]).await.map_err(|error| format!("no handshake with {host}: {error}"))?;
    let (_, certificate) = X509Certificate::from_der(&shown.certificate).map_err(|error| error.to_string())?;
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map(|names| names.value.general_names.clone()).unwrap_or_default();
    let answer = [&[4, 32][..], digest(&SHA256, expected.as_bytes()).as_ref()].concat();
    let identifier = certificate.extensions().iter().find(|one| one.oid.to_id_string() == "1.3.6.1.5.5.7.1.31");
    let right = [
        (shown.protocol.as_deref() == Some(&b"acme-tls/1"[..]), "the protocol"),
        (matches!(names.as_slice(), [GeneralName::DNSName(name)] if *name == host), "the name"),
        (identifier.is_some_and(|one| one.critical && one.value == answer), "the answer"),
        (shown.rest == 0, "what comes afterwards"),
    ];
    right.iter().find(|(right, _)| !right).map_or(Ok(()), |(_, what)| Err(format!("{what} of {host} is wrong")))
}

/// A handshake that offers these protocols and believes any certificate.
pub(crate) async fn shown(place: SocketAddr, host: &str, protocols: &[&str]) -> std::io::Result<Shown> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let mut config = config.dangerous().with_custom_certificate_verifier(Arc::new(Credulous)).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(place).await?;
    let name = ServerName::try_from(host.to_owned()).expect("a host");
    let mut talk = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let connection = talk.get_ref().1;
    let certificate = connection.peer_certificates().expect("a certificate")[0].to_vec();
    let protocol = connection.alpn_protocol().map(<[u8]>::to_vec);
    let mut rest = Vec::new();
    if protocol.as_deref() == Some(b"acme-tls/1") {
        talk.read_to_end(&mut rest).await?;
    }
    Ok(Shown { certificate, protocol, rest: rest.len() })
}

/// Whoever asks whether a host is theirs cannot expect a certificate that is believed.
#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
