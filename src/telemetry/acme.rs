//! Metrics of certificates that are ordered by ACME.

use prometheus::IntGauge;

use super::labels::{AcmeOutcome, AcmeState, Label as _};
use super::metrics::{Counters, Declare};

/// Orders, and how it stands with the certificates.
#[derive(Debug)]
pub(super) struct AcmeFamilies {
    pub(super) orders: Counters<AcmeOutcome>,
    /// In the order of [`AcmeState::ALL`].
    pub(super) certificates: [IntGauge; AcmeState::ALL.len()],
}

impl AcmeFamilies {
    pub(super) fn new(declare: &Declare) -> Self {
        let certificates = declare.gauges(
            "portcullis_acme_certificates",
            "Certificates that are ordered by ACME, by how it stands with them.",
            &[AcmeState::KEY],
        );
        Self {
            orders: declare.closed("portcullis_acme_orders_total", "Orders for certificates, by what became of them."),
            certificates: std::array::from_fn(|index| certificates.with_label_values(&[AcmeState::ALL[index].word()])),
        }
    }
}
