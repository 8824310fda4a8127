//! All that is looked at before a configuration is put to work, at the start and at every reload.

use crate::config::problem::Severity;
use crate::config::{self, Config, Report, Source};
use crate::identity::signing_keys::KeyRing;
use crate::store::key_file;

use super::{certificates, trial};
use crate::clock::SystemClock;

/// Reads the configuration, tries its `[[tests]]`, and reads the certificates, and the key file if there is one. Connects to nothing and
/// creates nothing.
///
/// # Errors
/// Everything that is wrong.
pub fn inspect(source: &Source) -> Result<Config, Report> {
    let mut config = trial::try_all(config::load(source)?)?;
    let of_certificates = certificates::problems(&config, &SystemClock);
    let refused = of_certificates.iter().any(|problem| problem.severity == Severity::Error);
    config.warnings = of_certificates.into_iter().rev().fold(config.warnings, Report::with);
    if refused {
        return Err(config.warnings);
    }
    let path = &config.auth.keys;
    // Whether it exists may be impossible to tell, which loading then says.
    if path.try_exists().is_ok_and(|exists| !exists) {
        return Ok(config);
    }
    let keys = key_file::load(path).map_err(anyhow::Error::from);
    match keys.and_then(|keys| Ok(KeyRing::new(keys.signing)?)) {
        Ok(_) => Ok(config),
        Err(error) => Err(config.warnings.with_error("auth.signing.keys", format!("{error:#}"))),
    }
}
