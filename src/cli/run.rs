//! `portcullis run`: the gateway itself.

use super::check;
use super::failure::Failure;
use super::output;
use crate::app;
use crate::config::Source;

/// Runs the gateway until it is told to stop. What `check` refuses does not start.
pub(super) fn run(source: &Source) -> Result<(), Failure> {
    let config = check::inspect(source)?;
    if !config.warnings.is_empty() {
        eprintln!("{}", config.warnings.render(output::in_colour(&std::io::stderr(), &source.environment)));
    }
    Ok(app::run(&config)?)
}
