//! Foreign issuers, built from the configuration: at the start, and again whenever it is read again.

use std::sync::{Arc, Mutex, PoisonError};

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

/// The issuers whose tokens are accepted, and what fetches their keys.
pub(super) struct Followed {
    authenticator: Arc<Authenticator>,
    parts: IssuerParts,
    /// When the gateway stops.
    end: CancellationToken,
    /// Stops fetching for those in force.
    until: Mutex<CancellationToken>,
}

impl Followed {
    /// None yet. Keys are fetched until `end` is cancelled.
    pub(super) fn new(authenticator: &Arc<Authenticator>, parts: IssuerParts, end: &CancellationToken) -> Self {
        let (authenticator, until) = (Arc::clone(authenticator), Mutex::new(end.child_token()));
        Self { authenticator, parts, end: end.clone(), until }
    }

    /// Has the tokens of these issuers accepted, and of no others. Keys that are known stay known.
    pub(super) fn follow(&self, settings: Vec<IssuerSettings>) {
        let until = self.end.child_token();
        let before = std::mem::replace(&mut *self.until.lock().unwrap_or_else(PoisonError::into_inner), until.clone());
        before.cancel();
        self.authenticator.use_issuers(|before| {
            let issuers = Issuers::new(settings, &self.parts, before);
            before.leave(&issuers, &self.parts.metrics);
            issuers.start(&self.parts.runtime, &until);
            issuers
        });
    }
}

/// Has a command's services know the issuers of the configuration, so that these can be asked about their tokens. Their keys
/// are not fetched. Called on the runtime that does the asking.
///
/// # Errors
/// As [`settings`].
pub(crate) fn know(config: &Config, services: &Services, metrics: &Arc<Metrics>) -> anyhow::Result<()> {
    let settings = settings(config)?;
    services.authenticator.use_issuers(|before| Issuers::new(settings, &parts(config, services, metrics), before));
    Ok(())
}

/// The issuers of a configuration.
///
/// # Errors
/// Keys that stand in it cannot be used.
pub(super) fn settings(config: &Config) -> anyhow::Result<Vec<IssuerSettings>> {
    config.issuers.iter().map(of_issuer).collect()
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

fn of_issuer(issuer: &Issuer) -> anyhow::Result<IssuerSettings> {
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
        logout: issuer.logout.clone(),
        authorities: issuer.authorities.clone(),
    })
}
