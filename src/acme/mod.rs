//! Certificates by ACME (RFC 8555): ordered before they are needed, once for all replicas.
//!
//! SQL is where replicas meet: the account, orders under way, certificates, what the authority will ask for, and a lease
//! for each host. Whoever holds the lease orders; all others find the certificate in SQL and show it. A replica that dies
//! leaves an order that the next one goes on with. Private keys are sealed ([`seal`]) before they get there.
//!
//! [`Worker`] orders, on the application's runtime. [`Challenges`] answers the authority, at whichever replica it asks.

mod account;
mod challenges;
mod failure;
mod http;
mod order;
pub mod seal;
mod worker;

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use secrecy::SecretSlice;
use tokio::runtime::Handle;
use uuid::Uuid;

pub use self::challenges::Challenges;
pub use self::worker::Worker;

use self::seal::SealingKey;
use crate::clock::Clock;
use crate::outbound::Authorities;
use crate::store::{Acme, AcmeName};
use crate::telemetry::metrics::Metrics;

/// Certificates by ACME, as they were configured.
#[derive(Debug)]
pub struct AcmeSettings {
    /// Where the authority says what it offers (RFC 8555 §7.1.1).
    pub directory: String,
    /// One certificate each, in lower case.
    pub hosts: Vec<Box<str>>,
    /// Whom the authority may write to.
    pub contact: Vec<String>,
    /// How it is shown that a host is ours.
    pub proof: Proof,
    /// The only authorities of the directory's own certificate, as DER; empty for the public ones.
    pub authorities: Vec<Vec<u8>>,
    /// An account that the authority knows already (RFC 8555 §7.3.4).
    pub external_account: Option<ExternalAccount>,
}

/// How it is shown that a host is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// RFC 8555 §8.3: at port 80.
    Http,
    /// RFC 8737: at port 443.
    TlsAlpn,
}

/// An account that the authority knows already.
#[derive(Debug)]
pub struct ExternalAccount {
    /// What the authority calls it.
    pub key_id: String,
    /// The secret shared with the authority.
    pub key: SecretSlice<u8>,
}

/// What certificates by ACME are worked on with.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "ports have nothing to show")]
pub struct AcmeParts {
    /// Where replicas meet.
    pub store: Arc<dyn Acme>,
    /// What private keys are sealed with there.
    pub sealing: SealingKey,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// Where an operator sees how it goes.
    pub metrics: Arc<Metrics>,
    /// Where everything that waits is done.
    pub runtime: Handle,
}

/// The settings cannot be used: the authorities are none, or TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AcmeError(String);

/// Certificates by ACME for the hosts of one configuration.
pub struct Issuance {
    settings: AcmeSettings,
    parts: AcmeParts,
    authorities: Authorities,
    /// SHA-256 of the directory's URL.
    directory: [u8; 32],
    /// This replica.
    owner: Uuid,
    challenges: Arc<Challenges>,
}

impl fmt::Debug for Issuance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuance").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Issuance {
    /// Prepares everything; nothing is asked of the authority or of the store.
    ///
    /// # Errors
    /// The settings cannot be used.
    pub fn new(settings: AcmeSettings, parts: AcmeParts) -> Result<Self, AcmeError> {
        let own = settings.authorities.iter().map(|certificate| CertificateDer::from_slice(certificate));
        let public = settings.authorities.is_empty().then(Authorities::public);
        let authorities = public.map_or_else(|| Authorities::from_certificates(own), Ok).map_err(AcmeError)?;
        let directory = digest(&SHA256, settings.directory.as_bytes());
        let directory = directory.as_ref().try_into().expect("SHA-256 gives 32 bytes");
        let challenges = Arc::new(Challenges::new(&settings.hosts, &parts));
        Ok(Self { settings, parts, authorities, directory, owner: Uuid::new_v4(), challenges })
    }

    /// What answers the authority.
    #[must_use]
    pub fn challenges(&self) -> Arc<Challenges> {
        Arc::clone(&self.challenges)
    }

    fn name(&self, host: &str) -> AcmeName {
        AcmeName { directory: self.directory, host: host.into() }
    }
}
