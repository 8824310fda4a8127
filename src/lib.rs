//! Portcullis, an authenticating edge gateway: the map of the crate in reading order.
//!
//! `proxy` enforces what `policy` decides about the caller whom `auth` recognised, from facts that
//! `store` remembers; `identity` says what those facts mean. Only `proxy` speaks pingora, only `store`
//! speaks SQL and Redis, only `app` and `cli` know everyone. Who may import whom is a table in
//! ARCHITECTURE.md, checked by `tests/architecture.rs`.

pub mod identity;

pub mod policy;

pub mod dialect;

pub mod store;

pub mod revocation;

pub mod mail;

pub mod issuers;

pub mod auth;

pub mod admission;
pub mod forwarding;

pub mod api;

pub mod tls;

pub mod acme;

pub mod proxy;

pub mod admin;

pub mod config;

pub mod client_addr;
pub mod clock;
pub mod limit;
pub mod outbound;
pub mod reason;
pub mod telemetry;

pub mod app;
pub mod cli;
