//! `gateway.toml` as values that are already right.
//!
//! `document` is the text as written, with places; `overrides` lays `--set` and the environment over it; `schema`
//! checks names and types against `file`, the twin that serde reads; `validate` turns that into [`Config`]. Each
//! collects every problem on the way, and `problem` shows them; `secret` resolves `{ env = … }` and `{ file = … }`.
//! Only `app` and `cli` read this; components get settings of their own, so that none depends on the file's shape.

mod changes;
mod defaults;
mod document;
pub mod file;
pub mod issuers;
mod load;
mod overrides;
mod place;
pub mod problem;
mod redis;
mod schema;
pub mod secret;
mod server;
pub mod trial;
pub mod units;
mod upstreams;
mod validate;

pub use changes::{Changes, ISSUERS};
pub use file::listeners::{ClientIdentity, Protocol};
pub use load::{EXAMPLE, Source, load};
pub use problem::Report;
pub use redis::{Login, Redis, RedisLayout, RedisTls};
pub use schema::schema;
pub use secret::Environment;
pub use server::{Acme, Certificate, ExternalAccount, Http2, Listener, Server, Tls, TlsClients};
pub use upstreams::{
    Balance, Breaker, ClientCertificate, Ejection, HashBy, Health, Upstream, UpstreamHttp, UpstreamHttp2, UpstreamServer,
    UpstreamTls,
};

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use crate::dialect::{Dialects, Link};
use crate::identity::password::PasswordPolicy;
use crate::identity::scope::Scope;
use crate::identity::signing_keys::Algorithm;
use crate::identity::user::Role;
use crate::limit::attempts::Budget;
use crate::mail::Sender;
use crate::mail::templates::Templates;
use crate::policy::route::Route;

/// The whole configuration, valid.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[auth]`
    pub auth: Auth,
    /// `[store]`: the database URL; relative SQLite paths are already under the data directory.
    pub store: Store,
    /// `[revocation]`; none means the embedded set in memory.
    pub revocation: Option<Revocation>,
    /// `[upstreams.*]`, by name.
    pub upstreams: Vec<Upstream>,
    /// `[[routes]]`, in the order of the file.
    pub routes: Vec<Route>,
    /// `[[dialects]]`, in the order of the file.
    pub dialects: Dialects,
    /// `[[tests]]`, in the order of the file.
    pub tests: Vec<trial::Trial>,
    /// `[[issuers]]`, in the order of the file.
    pub issuers: Vec<issuers::Issuer>,
    /// `[identity_headers]`
    pub identity_headers: IdentityHeaders,
    /// `[telemetry]`
    pub telemetry: Telemetry,
    /// Where relative paths live.
    pub data_dir: PathBuf,
    /// What somebody should look at although it is accepted.
    pub warnings: Report,
    /// As it is written, to be compared with another one.
    written: Arc<file::File>,
}

/// `[auth]`
#[derive(Debug, Clone)]
pub struct Auth {
    /// Path prefix of the API, without trailing slash: `/auth`.
    pub prefix: String,
    /// `iss` of our tokens.
    pub issuer: String,
    /// `aud` of our tokens.
    pub audience: String,
    /// Life of an access token.
    pub access_token: Duration,
    /// Life of a refresh token.
    pub refresh_token: Duration,
    /// Life of a session, however often refreshed.
    pub session_max: Duration,
    /// How long the predecessor of a refresh token is answered with its successor.
    pub rotation_grace: Duration,
    /// Allowed difference between this clock and the issuer's.
    pub clock_skew: Duration,
    /// Who may register.
    pub registration: Registration,
    /// Roles that every new user gets.
    pub default_roles: BTreeSet<Role>,
    /// Roles that a new user may ask for.
    pub self_assigned_roles: BTreeSet<Role>,
    /// The role of administrators.
    pub admin_role: Role,
    /// Scopes of the tokens of users' sessions.
    pub session_scopes: BTreeSet<Scope>,
    /// Scheme and authority of an issuer that is the URL of a host, without trailing slash.
    pub issuer_origin: Option<String>,
    /// `[auth.api_keys]`; none where they are switched off.
    pub api_keys: Option<ApiKeys>,
    /// Rules and hashing parameters for passwords.
    pub password: PasswordPolicy,
    /// Parallel password hashes.
    pub hash_workers: usize,
    /// Hashes that may wait for a worker; beyond it, 503.
    pub hash_queue: usize,
    /// Algorithm for new signing keys.
    pub algorithm: Algorithm,
    /// The file that holds signing keys and the refresh key (mode 0600).
    pub keys: PathBuf,
    /// How long a rotated-in key is only published before it signs.
    pub key_activation: Duration,
    /// `[auth.throttle]`
    pub throttle: Throttle,
    /// `[auth.one_time]`
    pub one_time: OneTime,
    /// `[auth.links]`; none without `public_url`.
    pub links: Option<Links>,
    /// `[auth.mail]`; none if no mail is sent.
    pub mail: Option<Mail>,
    /// How long events of the audit log are kept.
    pub audit_keep: Duration,
}

/// `[auth.throttle]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Throttle {
    /// Whether attempts are counted at all.
    pub enabled: bool,
    /// Failures for one account from networks that are not known.
    pub account: Budget,
    /// Failures for one account from one network.
    pub account_network: Budget,
    /// Failures from one network.
    pub network: Budget,
    /// Accounts made from one network.
    pub register: Budget,
    /// How long a network stays known for an account after a login.
    pub known_for: Duration,
}

/// `[auth.one_time]`
#[derive(Debug, Clone)]
pub struct OneTime {
    /// Life of a password reset.
    pub password_reset: Duration,
    /// Life of an e-mail verification.
    pub email_verification: Duration,
    /// Life of an invitation.
    pub invitation: Duration,
    /// Life of a link that stands for the password of who is signed in.
    pub reauthentication: Duration,
}

/// `[auth.links]`: under `public_url` where they are written without a host.
#[derive(Debug, Clone)]
pub struct Links {
    /// To the form for a new password.
    pub password_reset: Link,
    /// To the page that has an address verified.
    pub email_verification: Link,
    /// To the form for registration.
    pub invitation: Link,
    /// To the page that signs in again who is signed in.
    pub reauthentication: Link,
}

/// `[auth.mail]`
#[derive(Debug, Clone)]
pub struct Mail {
    /// How mail leaves.
    pub transport: MailTransport,
    /// Whom it comes from.
    pub from: Sender,
    /// Its words.
    pub templates: Templates,
    /// What it calls the place that its links lead to: host and path of `public_url`.
    pub service: String,
    /// Letters that may wait.
    pub queue: usize,
    /// Letters to one address within any hour.
    pub per_address: usize,
}

/// How mail leaves.
#[derive(Debug, Clone)]
pub enum MailTransport {
    /// Over SMTP.
    Smtp {
        /// `smtp://…` or `smtps://…`.
        url: SecretString,
        /// Whether to speak in clear: to this very machine, or because the file insists.
        clear: bool,
        /// How long the server may take for one answer.
        timeout: Duration,
    },
    /// As files in this directory.
    Files(PathBuf),
}

/// `[auth.api_keys]`
#[derive(Debug, Clone)]
pub struct ApiKeys {
    /// Scopes that users may give their keys.
    pub scopes: BTreeSet<Scope>,
    /// The longest life of a key.
    pub life_max: Duration,
}

/// Who may register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// Anyone.
    Open,
    /// Whoever was invited.
    Invitation,
    /// Nobody: users are added by the command line.
    Closed,
}

/// `[store]`
#[derive(Debug, Clone)]
pub struct Store {
    /// `sqlite:…`, `postgres://…` or `mysql://…`.
    pub url: SecretString,
    /// Connections in the pool.
    pub connections_max: u32,
}

/// `[revocation]`
#[derive(Debug, Clone)]
pub struct Revocation {
    /// The servers, and how they are reached.
    pub redis: Redis,
    /// How many replicas must have what was published.
    pub replica_acks_min: usize,
    /// How long a look-up may take before the answer is "not known".
    pub deadline: Duration,
    /// Put before every key.
    pub prefix: String,
    /// The bounds of the mirror; none means that every request asks Redis.
    pub mirror: Option<Mirror>,
}

/// `[revocation]` with `check = "mirror"`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mirror {
    /// How old the proof may be that it lacks nothing.
    pub staleness_max: Duration,
    /// How many records it may hold.
    pub records_max: usize,
}

/// `[identity_headers]`: the header names, lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityHeaders {
    /// `sub`
    pub subject: String,
    /// User name as typed.
    pub username: String,
    /// Address as typed.
    pub email: String,
    /// Comma-separated roles.
    pub roles: String,
    /// Comma-separated scopes.
    pub scopes: String,
    /// `sid`
    pub session: String,
    /// `iss`
    pub issuer: String,
    /// Names of the client's certificate.
    pub client_certificate: String,
}

/// `[telemetry]`
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// Lines of JSON, or text for people.
    pub json: bool,
    /// `error`, `warn`, `info`, `debug`.
    pub level: tracing::level_filters::LevelFilter,
    /// One line per request.
    pub access_log: bool,
}

/// How many threads this machine runs at once; one if it does not say.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
