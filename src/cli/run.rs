//! `portcullis run`: the gateway itself.

use clap::Args;

use super::failure::Failure;
use super::output;
use crate::app::{self, Origin, Sighting};
use crate::config::Source;

const AFTER_HELP: &str = "\
SIGTERM and SIGINT drain and stop; a second one stops at once. SIGHUP reads the configuration again, as does a change of
its file (server.watch_config).

Examples:
  portcullis run --config /etc/portcullis/gateway.toml
  portcullis run --upgrade     another version takes over from the one that runs, which then ends by itself";

/// What `run` takes.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Run {
    /// Take over the listening sockets of the gateway that runs with this configuration and data directory, if there is
    /// one, without losing a request
    #[arg(long)]
    upgrade: bool,
}

impl Run {
    /// Runs the gateway until it is told to stop. What `check` refuses does not start.
    pub(super) fn run(self, source: &Source) -> Result<(), Failure> {
        // Looked at before it is read: what is written meanwhile is a change.
        let seen = Sighting::of(&source.path);
        let config = app::inspect(source)?;
        if !config.warnings.is_empty() {
            eprintln!("{}", config.warnings.render(output::in_colour(&std::io::stderr(), &source.environment)));
        }
        Ok(app::run(&config, Origin { source: source.clone(), seen, upgrade: self.upgrade })?)
    }
}
