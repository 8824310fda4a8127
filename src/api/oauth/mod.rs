//! `/oauth` and `/backchannel-logout`: the endpoints for machines, in OAuth's own media types and errors (RFC 6749 §5, 7009,
//! 7662, 8414).

pub(super) mod backchannel_logout;
pub(super) mod client;
pub(super) mod error;
pub(super) mod form;
pub(super) mod introspect;
pub(super) mod metadata;
pub(super) mod revoke;
pub(super) mod token;
