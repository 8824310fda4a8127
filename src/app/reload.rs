//! Another configuration for a gateway that runs: read and checked like the first one, then put in force at once and as
//! a whole, or not at all.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::issuers::{self, Followed};
use super::settings::{self, Shared};
use super::upstreams;
use super::{Services, inspect};
use crate::admin::Fault;
use crate::config::problem::{Problem, Severity};
use crate::config::{Config, ISSUERS, Report, Source};
use crate::proxy::Live;
use crate::telemetry::labels::{ConfigReload, Label as _};

/// Who asked for a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trigger {
    /// SIGHUP.
    Signal,
    /// The file changed.
    File,
    /// `POST /reload` on the admin listener.
    Order,
}

/// Reads the configuration again.
pub(super) struct Reloader {
    source: Source,
    services: Arc<Services>,
    shared: Arc<Shared>,
    live: Live,
    issuers: Followed,
    follows_file: bool,
    /// What is in force. Locked during a reload: one after the other.
    running: Mutex<Config>,
}

impl Trigger {
    fn word(self) -> &'static str {
        match self {
            Self::Signal => "SIGHUP",
            Self::File => "file",
            Self::Order => "admin listener",
        }
    }
}

impl Reloader {
    /// Reads `source` again on demand; `live` serves `running`, with these issuers.
    pub(super) fn new(
        source: Source,
        services: Arc<Services>,
        shared: Arc<Shared>,
        (live, issuers): (Live, Followed),
        running: Config,
    ) -> Self {
        shared.metrics.config_in_force_since(services.clock.now());
        Self { follows_file: running.server.watch_config, source, services, shared, live, issuers, running: Mutex::new(running) }
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.source.path
    }

    /// Whether a change of the file is reason enough.
    pub(super) fn follows_file(&self) -> bool {
        self.follows_file
    }

    /// Puts the configuration in force as it is written now. Returns the keys that have changed.
    ///
    /// # Errors
    /// Every reason why it was not; the running one is as it was.
    pub(super) async fn reload(&self, trigger: Trigger) -> Result<Vec<String>, Vec<Fault>> {
        let mut running = self.running.lock().await;
        let trigger = trigger.word();
        let outcome = self.replace(&mut running).await;
        let result = match &outcome {
            Ok(changed) if changed.is_empty() => ConfigReload::Unchanged,
            Ok(_) => ConfigReload::Applied,
            Err(_) => ConfigReload::Refused,
        };
        self.shared.metrics.config_reloaded(result);
        match &outcome {
            Ok(changed) => {
                self.shared.metrics.config_in_force_since(self.services.clock.now());
                tracing::info!(trigger, outcome = result.word(), changed = changed.join(" "), "configuration read again");
            }
            Err(faults) => {
                let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
                let problems = faults.join("; ");
                tracing::error!(trigger, outcome = result.word(), problems, "configuration not reloaded; the old one stays");
            }
        }
        outcome
    }

    async fn replace(&self, running: &mut Config) -> Result<Vec<String>, Vec<Fault>> {
        let source = self.source.clone();
        let read = tokio::task::spawn_blocking(move || inspect(&source)).await;
        let config = read.map_err(|error| vec![fault(format!("the configuration was not read: {error}"))])?;
        let config = config.map_err(|report| faults(&report))?;
        let changes = config.changes_from(running);
        if !changes.restart.is_empty() {
            let refused = |key: String| Fault {
                severity: "error",
                message: "cannot be changed while the gateway runs".to_owned(),
                help: Some("restart to change it; nothing was applied".to_owned()),
                key,
                location: None,
            };
            return Err(changes.restart.into_iter().map(refused).collect());
        }
        if !changes.is_empty() {
            let failed = |error| vec![fault(format!("{error:#}"))];
            let issuers = changes.live.iter().any(|key| key == ISSUERS).then(|| issuers::settings(&config)).transpose();
            let issuers = issuers.map_err(failed)?;
            let upstreams = self.live.upstreams().renewed(upstreams::settings(&config), &self.shared.metrics).await;
            let parts = settings::proxy_parts(&config, &self.services, Arc::new(upstreams), &self.shared);
            self.live.replace(parts.map_err(failed)?);
            // Who is believed is not part of a snapshot: from now on it holds for every request.
            issuers.into_iter().for_each(|issuers| self.issuers.follow(issuers));
        }
        if !config.warnings.is_empty() {
            let warnings: Vec<_> = faults(&config.warnings).iter().map(ToString::to_string).collect();
            tracing::warn!(warnings = warnings.join("; "), "the configuration has something to look at");
        }
        *running = config;
        Ok(changes.live)
    }
}

fn fault(message: String) -> Fault {
    Fault { severity: "error", key: String::new(), message, help: None, location: None }
}

fn faults(report: &Report) -> Vec<Fault> {
    let fault = |problem: &Problem| Fault {
        severity: match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        key: problem.path.clone(),
        message: problem.message.clone(),
        help: problem.help.clone(),
        location: report.location(problem),
    };
    report.problems().iter().map(fault).collect()
}
