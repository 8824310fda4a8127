//! `portcullis completions`: scripts that let a shell complete commands and options.

use clap_complete::Shell;

use super::failure::Failure;
use super::{command_line, output};

/// Where each shell looks for it.
pub(super) const AFTER_HELP: &str = "\
Examples:
  portcullis completions bash > /etc/bash_completion.d/portcullis
  portcullis completions zsh > /usr/share/zsh/site-functions/_portcullis
  portcullis completions fish > ~/.config/fish/completions/portcullis.fish";

/// Prints the script for `shell`.
pub(super) fn print(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command_line(), "portcullis", &mut script);
    output::print(String::from_utf8_lossy(&script).trim_end())
}
