//! Users, sessions and tokens over a real SQLite database: the use cases (`flows`, `endings`, `rotation`) and the
//! HTTP API on top of them (`api`, `document`).

#![expect(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod api;
mod api_keys;
mod document;
mod endings;
mod flows;
mod invitations;
mod mailed_links;
mod oauth;
mod one_time;
mod rotation;
mod support;
mod terms;
