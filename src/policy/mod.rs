//! MAY: pure decisions about a request head. No I/O, no async, no clock.
//!
//! A head is looked at in this order: `head` refuses what has two readings, `host` and `path` find the one
//! reading of the rest, `route` finds who serves it (`pattern`, `conditions`), `bearer` finds the token (`subprotocol` in a
//! WebSocket), `access` makes the permit. `forward_auth` finds out which request another proxy asks about. `filters` is what
//! a route does besides: `cors`, `rewrite`, limits, edits of header fields.

pub mod access;
pub mod bearer;
pub mod conditions;
pub mod cors;
pub mod filters;
pub mod forward_auth;
pub mod head;
pub mod host;
pub mod path;
pub mod pattern;
pub mod reserved;
pub mod rewrite;
pub mod route;
pub mod subprotocol;

#[cfg(test)]
pub(crate) mod fixtures;
