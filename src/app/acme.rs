//! Certificates by ACME, from the configuration.

use std::sync::Arc;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use crate::acme::seal::SealingKey;
use crate::acme::{AcmeParts, AcmeSettings, ExternalAccount, Issuance, Proof, Worker};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::file::acme::AcmeChallenge;
use crate::identity::refresh_token::RefreshKey;
use crate::store::Acme;
use crate::telemetry::metrics::Metrics;
use crate::tls::Certificates;

/// Of the key file's key, the part that keys in the database are sealed with.
const PURPOSE: &[u8] = b"portcullis acme keys at rest v1";

/// Shows what is in the database, and looks after it until `until` is cancelled.
pub(super) async fn start(issuance: Option<&Arc<Issuance>>, shown: Arc<Certificates>, until: &CancellationToken) {
    let Some(issuance) = issuance else { return };
    let mut worker = Worker::new(Arc::clone(issuance), shown);
    worker.open().await;
    tokio::spawn(until.clone().run_until_cancelled_owned(worker.run()));
}

/// What certificates are ordered with, if any are. Called on the application's runtime.
///
/// # Errors
/// They cannot be ordered as configured.
pub(super) fn issuance(
    config: &Config,
    store: Arc<dyn Acme>,
    key: &RefreshKey,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Option<Arc<Issuance>>> {
    let Some(acme) = &config.server.acme else { return Ok(None) };
    let settings = AcmeSettings {
        directory: acme.directory.clone(),
        hosts: acme.hosts.clone(),
        contact: acme.contact.clone(),
        proof: match acme.challenge {
            AcmeChallenge::Http01 => Proof::Http,
            AcmeChallenge::TlsAlpn01 => Proof::TlsAlpn,
        },
        authorities: acme.authorities.clone(),
        external_account: acme
            .external_account
            .as_ref()
            .map(|account| ExternalAccount { key_id: account.key_id.clone(), key: account.key.clone() }),
    };
    let parts = AcmeParts {
        store,
        sealing: SealingKey::new(&key.derived(PURPOSE)),
        clock: Arc::clone(clock),
        metrics: Arc::clone(metrics),
        runtime: tokio::runtime::Handle::current(),
    };
    Ok(Some(Arc::new(Issuance::new(settings, parts).context("`server.acme` cannot be used")?)))
}
