//! `portcullis config`: what may stand in a configuration.

use clap::Subcommand;

use super::failure::Failure;
use super::output;
use crate::config;

/// The commands about the configuration itself.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print the reference configuration: every key, its default, and why one would change it
    Default,
    /// Print the JSON Schema of the configuration, for editors
    Schema,
}

impl ConfigCommand {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Default => output::print(config::EXAMPLE.trim_end()),
            Self::Schema => output::print_json(config::schema()),
        }
    }
}
