//! The gateway as its clients and its upstreams see it: the real executable between sockets that a test holds
//! at both ends. Every test has a gateway, an upstream and a directory of its own; none knows a fixed port.

mod access;
mod admin;
mod admin_api;
mod api_keys;
mod audit;
mod compat;
mod hashing;
mod hostile_requests;
mod issuers;
mod lifecycle;
mod mail;
mod oauth;
mod openapi;
mod outages;
mod refresh;
mod reload;
mod revocation;
mod routes;
mod scopes;
mod secrets;
mod step_up;
mod streaming;
mod support;
mod throttle;
mod tls;
mod upgrade;
mod upstream_faults;
mod upstreams;
mod verify;
