//! What operators see: metrics, the access log and the diagnostic log.
//!
//! Deciding code never comes here: it returns a reason, and the edge counts and logs it. Nothing in this module
//! decides anything, reads a clock, or can make a request wait: a full queue loses lines and counts them.

pub mod access_log;
mod acme;
mod configuration;
#[cfg(test)]
mod fixtures;
pub mod issuers;
pub mod labels;
pub mod logging;
pub mod metrics;
mod mirror;
mod streams;
pub mod upstreams;
