//! The tables as SeaORM sees them: rows and columns, no behaviour. Domain types are made from them next door.
//!
//! Instants are unix milliseconds, identifiers 36-character lower-case UUID text, and whatever is compared for
//! uniqueness is bytes, because the default collation of MySQL and MariaDB ignores case and accents.
#![expect(unreachable_pub, reason = "SeaORM's derives generate public items, which must not expose narrower ones")]

pub(super) mod acme_accounts;
pub(super) mod acme_certificates;
pub(super) mod acme_challenges;
pub(super) mod acme_leases;
pub(super) mod acme_orders;
pub(super) mod api_keys;
pub(super) mod audit_events;
pub(super) mod client_assertions;
pub(super) mod clients;
pub(super) mod one_time_tokens;
pub(super) mod refresh_tokens;
pub(super) mod revocations;
pub(super) mod sessions;
pub(super) mod user_roles;
pub(super) mod users;
