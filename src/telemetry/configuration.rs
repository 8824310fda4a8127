//! Metrics of what the gateway was told to be: its configuration and its certificates.

use prometheus::{IntGauge, IntGaugeVec};

use super::labels::ConfigReload;
use super::metrics::{Counters, Declare};

/// Reloads, and the certificates that are shown.
#[derive(Debug)]
pub(super) struct ConfigurationFamilies {
    pub(super) reloads: Counters<ConfigReload>,
    pub(super) in_force_since: IntGauge,
    pub(super) certificate_expiry: IntGaugeVec,
    pub(super) certificates_stale: IntGauge,
}

impl ConfigurationFamilies {
    pub(super) fn new(declare: &Declare) -> Self {
        Self {
            reloads: declare
                .closed("portcullis_config_reload_total", "Times that the configuration was read again, by what became of it."),
            in_force_since: declare.gauge(
                "portcullis_config_last_reload_success_timestamp_seconds",
                "When the configuration was last read and found good, since 1970.",
            ),
            certificate_expiry: declare.gauges(
                "portcullis_certificate_expiry_timestamp_seconds",
                "When the certificate that is shown expires, in seconds since 1970.",
                &["certificate"],
            ),
            certificates_stale: declare.gauge(
                "portcullis_certificates_stale",
                "Certificates whose files changed to something that cannot be used: what is shown is older.",
            ),
        }
    }
}
