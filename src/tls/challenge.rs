//! Handshakes by which a certificate authority finds out whether a host is ours (RFC 8737): told from all others by the
//! one protocol they offer, and made with a certificate that nobody else ever sees.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};

/// RFC 8737 §6.2.
const ACME_TLS: &[u8] = b"acme-tls/1";

/// The host that an authority asks about, in lower case; none if this is any other handshake.
#[must_use]
pub fn challenged_host(hello: &ClientHello<'_>) -> Option<String> {
    let mut protocols = hello.alpn()?;
    // RFC 8737 §3: this one and no other.
    let challenged = protocols.next() == Some(ACME_TLS) && protocols.next().is_none();
    if challenged { hello.server_name().map(str::to_ascii_lowercase) } else { None }
}

/// What such a handshake is made with: the certificate with the answer, and its key as PKCS#8.
///
/// # Errors
/// The library refuses the pair.
pub fn challenge_config(certificate: CertificateDer<'static>, key: Vec<u8>) -> Result<ServerConfig, rustls::Error> {
    let key = any_supported_type(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key)))?;
    // Not by `with_single_cert`: it reads the certificate and stumbles over the critical extension with the answer.
    let pair = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key));
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(pair));
    config.alpn_protocols = vec![ACME_TLS.to_vec()];
    // Nothing that is agreed on here may serve another connection.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
