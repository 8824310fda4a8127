//! Foreign issuers, built from the configuration: at the start, and again whenever it is read again.

use std::sync::Arc;

use anyhow::Context as _;
use secrecy::ExposeSecret as _;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::Services;
use crate::auth::authenticate::Authenticator;
use crate::config::Config;
use crate::config::issuers::{Introspection, Issuer, IssuerKeySource};
use crate::identity::foreign_token::IssuerKeys;
use crate::identity::public_keys::PublicKeys;
use crate::issuers::introspection::IntrospectionSettings;
use crate::issuers::jwks::JwksSettings;
use crate::issuers::{IssuerParts, IssuerSettings, Issuers, KeySource};
use crate::telemetry::metrics::Metrics;

/// Where fetched keys are kept, in the data directory.
pub(super) const DIRECTORY: &str = "issuers";

/// Has `authenticator` accept the tokens of the issuers of `config`, and no others, and has their keys fetched until
/// `until` is cancelled. To be called again with another configuration; the earlier `until` is the caller's to cancel.
///
/// # Errors
/// One cannot be spoken to as it is configured; nothing has changed then.
pub(super) fn follow(
    config: &Config,
    authenticator: &Authenticator,
    parts: &IssuerParts,
    until: &CancellationToken,
) -> anyhow::Result<()> {
    let settings = config.issuers.iter().map(settings).collect::<anyhow::Result<_>>()?;
    let issuers = Issuers::new(settings, parts).context("the foreign issuers cannot be used")?;
    issuers.start(&parts.runtime, until);
    authenticator.use_issuers(issuers);
    Ok(())
}

/// What the issuers of a running gateway work with. Called on the application's runtime.
pub(super) fn parts(config: &Config, services: &Services, metrics: &Arc<Metrics>) -> IssuerParts {
    IssuerParts {
        clock: Arc::clone(&services.clock),
        metrics: Arc::clone(metrics),
        runtime: Handle::current(),
        directory: config.data_dir.join(DIRECTORY),
    }
}

fn settings(issuer: &Issuer) -> anyhow::Result<IssuerSettings> {
    let keys = match &issuer.keys {
        None => None,
        Some(IssuerKeySource::Url { url, every_min, every_max, keep_for, timeout }) => Some(KeySource::Fetched(JwksSettings {
            url: url.clone(),
            every_min: *every_min,
            every_max: *every_max,
            keep_for: *keep_for,
            timeout: *timeout,
        })),
        Some(IssuerKeySource::Set(jwks)) => {
            let (keys, _) = PublicKeys::parse_usable(jwks).context("`jwks` of an issuer cannot be used")?;
            Some(KeySource::Static(IssuerKeys::Public(keys)))
        }
        Some(IssuerKeySource::Secret(secret)) => {
            let secret = secret.expose_secret().as_bytes().to_vec();
            let keys = IssuerKeys::secret(secret.into()).context("`secret` of an issuer cannot be used")?;
            Some(KeySource::Static(keys))
        }
    };
    let introspection = issuer.introspection.as_ref().map(|endpoint| {
        let Introspection { url, client_id, client_secret, token_prefix, timeout, cache_for } = endpoint.clone();
        IntrospectionSettings { url, client_id, client_secret, token_prefix, timeout, cache_for }
    });
    Ok(IssuerSettings {
        name: issuer.name.as_str().into(),
        policy: issuer.policy.clone(),
        keys,
        introspection,
        authorities: issuer.authorities.clone(),
    })
}
