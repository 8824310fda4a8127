//! HTTPS towards services that the configuration names, issuers and certificate authorities: their certificates always
//! verified, no redirects, no proxies of the environment, every exchange bounded in time.

use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Whose certificates are believed.
#[derive(Debug, Clone)]
pub struct Authorities(Arc<RootCertStore>);

impl Authorities {
    /// The public ones.
    #[must_use]
    pub fn public() -> Self {
        Self(Arc::new(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()))
    }

    /// Those in a PEM text, of which there must be one.
    ///
    /// # Errors
    /// What is wrong with `ca`, for people.
    pub fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        Self::from_certificates(certificates.map_err(|error| format!("`ca` is not PEM: {error}"))?)
    }

    /// These, of which there must be one.
    ///
    /// # Errors
    /// What is wrong with `ca`, for people.
    pub fn from_certificates<'a>(certificates: impl IntoIterator<Item = CertificateDer<'a>>) -> Result<Self, String> {
        let mut store = RootCertStore::empty();
        for certificate in certificates {
            let added = store.add(certificate);
            added.map_err(|error| format!("`ca` has a certificate that is no authority: {error}"))?;
        }
        if store.is_empty() { Err("`ca` holds no certificate".to_owned()) } else { Ok(Self(Arc::new(store))) }
    }

    /// How to speak to whom they vouch for, every exchange within `timeout`.
    ///
    /// # Errors
    /// TLS cannot be set up, for people.
    pub fn client(&self, timeout: Duration) -> Result<ClientBuilder, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be set up: {error}"))?
            .with_root_certificates(Arc::clone(&self.0))
            .with_no_client_auth();
        let client = Client::builder().tls_backend_preconfigured(tls).redirect(Policy::none()).no_proxy();
        Ok(client.timeout(timeout).user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION"))))
    }
}

/// The client that was described.
///
/// # Errors
/// It cannot be made, for people.
pub fn build(client: ClientBuilder) -> Result<Client, String> {
    client.build().map_err(|error| format!("no HTTP client can be made: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_that_are_none_are_refused() {
        assert!(Authorities::from_certificates([CertificateDer::from_slice(b"nothing")]).is_err());
        for pem in [&b""[..], b"nothing", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(Authorities::from_pem(pem).is_err());
        }
        assert!(Authorities::public().client(Duration::from_secs(1)).and_then(build).is_ok());
    }
}
