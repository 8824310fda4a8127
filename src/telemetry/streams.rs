//! The metrics of streams that outlast ordinary requests.

use prometheus::IntGauge;

use super::labels::StreamEnd;
use super::metrics::{Counters, Declare};

/// How many there are, and what became of them.
#[derive(Debug)]
pub(super) struct StreamFamilies {
    pub(super) open: IntGauge,
    pub(super) killed: Counters<StreamEnd>,
}

impl StreamFamilies {
    pub(super) fn new(declare: &Declare) -> Self {
        Self {
            open: declare.gauge(
                "portcullis_streams_open",
                "WebSockets, event streams and other answers of more than a second that known callers are being sent.",
            ),
            killed: declare
                .closed("portcullis_streams_killed_total", "Streams cut off because what had admitted them ended, by cause."),
        }
    }
}
