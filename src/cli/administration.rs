//! What the administrative commands work with: the gateway's own stores and use cases, for one command.

use std::sync::Arc;

use crate::app::{self, Services};
use crate::auth::Auth;
use crate::auth::authenticate::Authenticator;
use crate::config::{self, Config, Source};
use crate::telemetry::metrics::Metrics;

use super::failure::Failure;
use super::running_gateway;

/// The gateway's services, opened for one command.
pub(super) struct Administration {
    config: Config,
    services: Services,
}

/// Opens the services and does `work` with them.
pub(super) fn administer(source: &Source, work: impl AsyncFnOnce(&Administration) -> Result<(), Failure>) -> Result<(), Failure> {
    let config = config::load(source)?;
    app::install_crypto_provider();
    app::runtime()?.block_on(async {
        let services = Services::open(&config, &Arc::new(Metrics::new())).await.map_err(Failure::of_opening)?;
        work(&Administration { config, services }).await
    })
}

impl Administration {
    /// What the command works with.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// The use cases.
    pub(super) fn auth(&self) -> &Auth {
        &self.services.auth
    }

    /// What asks other issuers about their tokens.
    pub(super) fn authenticator(&self) -> Result<&Authenticator, Failure> {
        app::know_issuers(&self.config, &self.services, &Arc::new(Metrics::new()))?;
        Ok(&self.services.authenticator)
    }

    /// Sends what mail there is, and tells whether a mail server took all of it. Nothing is tried twice: somebody waits.
    pub(super) async fn send_mail(&self) -> bool {
        self.services.finish_mail().await == 0
    }

    /// Makes endings that a use case reported done true in running gateways, too, before the command says so.
    ///
    /// With Redis they are: the use case has published them there. Without it a gateway keeps its revoked set in its
    /// own memory, which follows the database once a second, or at once when told.
    pub(super) async fn enforce(&self) -> Result<(), Failure> {
        match self.config.server.admin {
            Some(admin) if self.config.revocation.is_none() => running_gateway::take_over_revocations(admin).await,
            _ => Ok(()),
        }
    }
}
