//! The port for rate limits that replicas share.

use async_trait::async_trait;

use super::StoreError;
use crate::limit::rate::{Rate, Taken};

/// Buckets of rate limits. What is in them may be lost without harm: a lost bucket is a full one.
#[async_trait]
pub trait SharedRates: Send + Sync {
    /// Takes one request out of every bucket, or out of none if one of them is empty: one step, so that parallel requests
    /// cannot all take the last one. One answer for each bucket, in their order; `now` is in Unix microseconds.
    async fn take(&self, buckets: &[(String, Rate)], now: i64) -> Result<Vec<Taken>, StoreError>;
}
