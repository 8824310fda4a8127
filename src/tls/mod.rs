//! TLS towards clients: which certificate is shown for which name, swapped live, and which clients' certificates
//! are believed.
//!
//! No sockets here and no clock: whoever accepts connections takes a [`ServerConfig`] from [`server_config`], and
//! whoever looks after the files calls [`Keeper::look`] with the present.

mod challenge;
mod keeper;
mod names;
mod pair;
mod resolver;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};

pub use challenge::{challenge_config, challenged_host};
pub use keeper::{CertificateFiles, Event, Keeper, OpenError};
pub use names::{ClientName, client_names};
pub use pair::{Pair, PairError};
pub use resolver::Certificates;

/// What a client that speaks HTTP/2 agrees on (RFC 9113 §3.2).
pub const HTTP2: &[u8] = b"h2";
/// The protocols that are spoken above TLS, best first (RFC 7301). A client that offers none of them is refused by the
/// handshake.
const ALPN: &[&[u8]] = &[HTTP2, b"http/1.1"];

/// How listeners speak TLS.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    /// Refuse TLS 1.2, too. Older versions are refused in any case.
    pub tls13_only: bool,
    /// Speak HTTP/2 with clients that do.
    pub http2: bool,
    /// Whose certificates clients may show; none if they are not asked for one.
    pub clients: Option<ClientCertificates>,
}

/// Whose certificates clients may show.
#[derive(Debug, Clone)]
pub struct ClientCertificates {
    /// The certificates of the authorities, in PEM.
    pub authorities: Vec<u8>,
    /// Whether a client without a certificate is refused.
    pub required: bool,
}

/// Why TLS cannot be spoken as configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of the authorities is not PEM, or has no certificate that can be one.
    #[error("the client authorities cannot be used: {0}")]
    Authorities(String),
    /// The library refuses the combination.
    #[error("tls cannot be set up: {0}")]
    Library(#[from] rustls::Error),
}

/// What every handshake is made with. The certificates are asked for at each one, so that they can be swapped.
///
/// # Errors
/// The authorities cannot be used.
pub fn server_config(settings: &TlsSettings, certificates: Arc<Certificates>) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let versions: &[_] = if settings.tls13_only { &[&TLS13] } else { &[&TLS13, &TLS12] };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions)?;
    let verifier = match &settings.clients {
        Some(clients) => client_verifier(clients, provider)?,
        None => WebPkiClientVerifier::no_client_auth(),
    };
    let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(certificates);
    config.alpn_protocols =
        ALPN.iter().filter(|&&protocol| settings.http2 || protocol != HTTP2).map(|protocol| protocol.to_vec()).collect();
    if settings.clients.is_some() {
        // A resumed session is not asked for its certificate again: it would outlive the certificate's end.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    } else {
        // Sealed tickets instead of a table: nothing is kept for clients that do not return.
        config.ticketer = aws_lc_rs::Ticketer::new()?;
    }
    Ok(config)
}

fn client_verifier(clients: &ClientCertificates, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(&clients.authorities) {
        let authority = authority.map_err(|error| TlsError::Authorities(error.to_string()))?;
        roots.add(authority).map_err(|error| TlsError::Authorities(error.to_string()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = if clients.required { verifier } else { verifier.allow_unauthenticated() };
    verifier.build().map_err(|error| TlsError::Authorities(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_authorities_that_are_none_are_refused() {
        let settings = |authorities: &[u8]| TlsSettings {
            tls13_only: false,
            http2: true,
            clients: Some(ClientCertificates { authorities: authorities.to_vec(), required: true }),
        };
        let certificates = Arc::new(Certificates::default());
        let authority = rcgen::generate_simple_self_signed(["ca".to_owned()]).expect("a certificate").cert.pem();
        assert!(server_config(&settings(authority.as_bytes()), Arc::clone(&certificates)).is_ok());
        for broken in ["", "nothing", &authority[..authority.len() / 2]] {
            let refused = server_config(&settings(broken.as_bytes()), Arc::clone(&certificates));
            assert!(matches!(refused, Err(TlsError::Authorities(_))), "{broken:?}");
        }
    }
}
