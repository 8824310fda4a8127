//! MAY: pure decisions about a request head. No I/O, no async, no clock.
//!
//! A head is looked at in this order: `head` refuses what has two readings, `host` and `path` find the one
//! reading of the rest, `route` finds who serves it, `bearer` finds the token, `access` makes the permit.

pub mod access;
pub mod bearer;
pub mod head;
pub mod host;
pub mod path;
pub mod route;

#[cfg(test)]
pub(crate) mod fixtures;
