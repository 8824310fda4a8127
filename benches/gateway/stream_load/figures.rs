//! Distributions, as one line of JSON.

use serde_json::{Value, json};

/// Median, 90th and 99th percentile, and extremes, of so many milliseconds.
pub(crate) fn distribution(mut millis: Vec<f64>) -> Value {
    millis.sort_by(f64::total_cmp);
    let Some(last) = millis.len().checked_sub(1) else { return json!({"count": 0}) };
    let at = |share: f64| (millis[(last as f64 * share).round() as usize] * 1000.0).round() / 1000.0;
    json!({"count": last + 1, "min": at(0.0), "median": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": at(1.0)})
}
