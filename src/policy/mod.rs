//! MAY: pure decisions about a request head. No I/O, no async, no clock.

pub mod access;
pub mod host;
pub mod path;
pub mod route;
