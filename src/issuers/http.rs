//! HTTP towards issuers: certificates always verified, no redirects, no proxies of the environment, answers bounded in
//! time and size. Which URLs are spoken to is for the configuration alone to say.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CACHE_CONTROL, CONTENT_TYPE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// As much as is read of an answer.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Why an answer is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("{0}")]
    NoClient(String),
    #[error("it cannot be reached, or takes too long")]
    Transport(#[from] reqwest::Error),
    #[error("it answers with status {0}")]
    Status(u16),
    #[error("its answer is no JSON by its content type")]
    ContentType,
    #[error("its answer is larger than 64 KiB")]
    TooLarge,
}

/// Whose certificates are believed.
pub(super) struct Authorities(Arc<RootCertStore>);

impl Authorities {
    /// Those in the PEM text; the public ones without any.
    pub(super) fn new(pem: Option<&[u8]>) -> Result<Self, String> {
        let Some(pem) = pem else {
            return Ok(Self(Arc::new(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect())));
        };
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| format!("`ca` is not PEM: {error}"))?;
            store.add(certificate).map_err(|error| format!("`ca` has a certificate that is no authority: {error}"))?;
        }
        if store.is_empty() { Err("`ca` holds no certificate".to_owned()) } else { Ok(Self(Arc::new(store))) }
    }

    /// A client whose every exchange ends within `timeout`.
    pub(super) fn client(&self, timeout: Duration) -> Result<Client, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be set up: {error}"))?
            .with_root_certificates(Arc::clone(&self.0))
            .with_no_client_auth();
        Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(Policy::none())
            .no_proxy()
            .timeout(timeout)
            .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| format!("no HTTP client can be made: {error}"))
    }
}

/// The body of a 200 that says it is JSON.
pub(super) async fn json(mut response: Response) -> Result<Vec<u8>, HttpError> {
    if response.status() != reqwest::StatusCode::OK {
        return Err(HttpError::Status(response.status().as_u16()));
    }
    let media_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if media_type != "application/json" && !(media_type.starts_with("application/") && media_type.ends_with("+json")) {
        return Err(HttpError::ContentType);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(HttpError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// `max-age` of an answer (RFC 9111 §5.2.2.1).
pub(super) fn max_age(response: &Response) -> Option<Duration> {
    let directives = response.headers().get(CACHE_CONTROL)?.to_str().ok()?;
    let seconds = directives.split(',').find_map(|directive| directive.trim().strip_prefix("max-age="))?;
    seconds.parse().ok().map(Duration::from_secs)
}
