//! `gateway.toml` as it is written: names, types and defaults, nothing checked beyond them.
//!
//! Serde reads it, schemars makes the JSON Schema of it that editors and the structural check use. Every field
//! has a default here, also those that the schema requires (`extend`): a value that is missing or wrong is reported, and
//! the rest of the file is still checked against it. Documentation comments become the schema's descriptions.

pub mod acme;
pub mod dialects;
pub mod issuers;
pub mod listeners;
mod revocation;
pub mod routes;
mod upstreams;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use revocation::{RedisTls, Sentinel};
pub use upstreams::{Balance, Breaker, Ejection, Health, RouteTimeouts, UpstreamHttp, UpstreamHttp2, UpstreamTls};

use super::secret::SecretText;
use super::units::{DurationText, RateText, SizeText};

/// The configuration of a Portcullis gateway.
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["routes"]))]
pub struct File {
    /// Listeners, limits and timeouts towards clients.
    pub server: Server,
    /// The gateway's own API, sessions and tokens.
    pub auth: Auth,
    /// The database of users, sessions and revocations.
    pub store: Store,
    /// The set of revoked tokens that every request is checked against.
    pub revocation: Revocation,
    /// The services behind the gateway, by name.
    pub upstreams: BTreeMap<String, Upstream>,
    /// Which request goes where, and who may send it.
    pub routes: Vec<Route>,
    /// The wire formats of existing systems, for their clients.
    pub dialects: Vec<dialects::Dialect>,
    /// Requests of which the configuration must say what is expected; tried by `check` and before every reload.
    pub tests: Vec<Test>,
    /// Other issuers whose tokens are accepted.
    pub issuers: Vec<issuers::Issuer>,
    /// The headers that tell an upstream who is calling.
    pub identity_headers: IdentityHeaders,
    /// Logs.
    pub telemetry: Telemetry,
}

/// `[server]`
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Addresses for clients, each `IP:PORT`.
    pub listen: Vec<String>,
    /// Address of the admin listener (health, metrics), or "off".
    pub admin: String,
    /// Proxy threads; as many as there are cores unless set.
    #[schemars(range(min = 1, max = 1024))]
    pub threads: Option<u16>,
    /// Further addresses for clients, for more than plain HTTP.
    pub listeners: Vec<listeners::Listener>,
    /// TLS, for listeners that speak it.
    pub tls: listeners::Tls,
    /// HTTP/2, over TLS.
    pub http2: listeners::Http2,
    /// Certificates that the gateway orders by itself.
    pub acme: acme::Acme,
    /// Networks whose `X-Forwarded-For` and PROXY headers are believed, in CIDR notation.
    pub trusted_proxies: Vec<String>,
    /// From the first byte awaited to the end of the header section.
    pub header_timeout: DurationText,
    /// How long a client connection may stay idle between requests.
    pub idle_timeout: DurationText,
    /// The longest pause within a request body, and within a response that the client reads.
    pub body_timeout: DurationText,
    /// How long a WebSocket may be silent in both directions.
    pub websocket_idle_timeout: DurationText,
    /// After SIGTERM: how long to keep serving while `/readyz` says no.
    pub drain_delay: DurationText,
    /// After that: how long requests in flight may take.
    pub drain_timeout: DurationText,
    /// Whether a change of this file is put in force by itself.
    pub watch_config: bool,
    /// Sizes beyond which a request is refused.
    pub limits: Limits,
}

/// `[server.limits]`
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The longest request target (path and query); longer is 414.
    pub target: SizeText,
    /// The largest header section; larger is 431.
    pub headers: SizeText,
    /// The most header fields; more is 431.
    #[schemars(range(min = 1, max = 4096))]
    pub header_count: u16,
    /// The largest request body, unless its route says otherwise; larger is 413.
    pub body: SizeText,
    /// The largest body of the gateway's own API; larger is 413.
    pub auth_body: SizeText,
    /// The most client connections at a time; more are closed at once.
    #[schemars(range(min = 1))]
    pub connections: u32,
    /// The most of them from one IPv4 address, or one IPv6 /64.
    #[schemars(range(min = 1))]
    pub connections_per_address: u32,
}

/// `[auth]`
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Path prefix of the gateway's own API.
    pub prefix: String,
    /// `iss` of our tokens.
    pub issuer: String,
    /// `aud` of our tokens.
    pub audience: String,
    /// Life of an access token.
    pub access_token: DurationText,
    /// Life of a refresh token.
    pub refresh_token: DurationText,
    /// Life of a session, however often it is refreshed.
    pub session_max: DurationText,
    /// How long the predecessor of a refresh token is answered with its successor.
    pub rotation_grace: DurationText,
    /// How far the clocks of two replicas may differ.
    pub clock_skew: DurationText,
    /// Who may register.
    pub registration: Registration,
    /// Roles that every new user gets.
    pub default_roles: Vec<String>,
    /// Roles that whoever registers may ask for.
    pub self_assigned_roles: Vec<String>,
    /// The role of administrators, who may see and change every account.
    pub admin_role: String,
    /// Scopes of the tokens of users' sessions.
    pub session_scopes: Vec<String>,
    /// Keys that users make for programs of theirs.
    pub api_keys: ApiKeys,
    /// Rules and hashing for passwords.
    pub password: Password,
    /// Signing keys.
    pub signing: Signing,
    /// How often passwords may be guessed.
    pub throttle: Throttle,
    /// Where people reach this gateway; links in mail are under it.
    pub public_url: Option<String>,
    /// Lives of one-time tokens.
    pub one_time: OneTime,
    /// Where the links that carry one-time tokens lead.
    pub links: Links,
    /// Mail to users.
    pub mail: Mail,
    /// The record of who did what.
    pub audit: Audit,
}

/// `[auth.audit]`
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// How long events are kept.
    pub keep: DurationText,
}

/// `[auth.throttle]`
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Throttle {
    /// Failures for one account from all networks that are not known to be its owner's.
    pub account: RateText,
    /// Failures for one account from one network.
    pub account_network: RateText,
    /// Failures from one network, whoever's the accounts.
    pub network: RateText,
    /// Accounts made from one network.
    pub register: RateText,
    /// How long a network stays known for an account after a login.
    pub known_for: DurationText,
    /// Count nothing and refuse nothing: passwords may be guessed as fast as they are hashed.
    pub insecure_off: bool,
}

/// `[auth.one_time]`
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OneTime {
    /// Life of a password reset.
    pub password_reset: DurationText,
    /// Life of an e-mail verification.
    pub email_verification: DurationText,
    /// Life of an invitation.
    pub invitation: DurationText,
    /// Life of a link that stands for the password of who is signed in.
    pub reauthentication: DurationText,
}

/// `[auth.links]`
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Links {
    /// To the form for a new password; `$token` is replaced.
    pub password_reset: String,
    /// To the page that has an address verified; `$token` is replaced.
    pub email_verification: String,
    /// To the form for registration; `$token` is replaced.
    pub invitation: String,
    /// To the page that signs in again who is signed in; `$token` is replaced.
    pub reauthentication: String,
}

/// `[auth.mail]`
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Mail {
    /// How mail leaves.
    pub transport: MailTransport,
    /// `smtp://user:password@host` (STARTTLS) or `smtps://…`.
    pub url: Option<SecretText>,
    /// Whom mail comes from: an address, or a name with an address in angle brackets.
    pub from: Option<String>,
    /// `transport = "file"`: the directory of the mail; relative to the data directory.
    pub directory: PathBuf,
    /// A directory of templates that replace the built-in ones; relative to the data directory.
    pub templates: Option<PathBuf>,
    /// How long the mail server may take for one answer.
    pub timeout: DurationText,
    /// Letters that may wait to be sent; beyond it they are dropped.
    #[schemars(range(min = 1, max = 100_000))]
    pub queue: u32,
    /// Letters to one address within any hour.
    #[schemars(range(min = 1, max = 1000))]
    pub per_address: u32,
    /// Speak to a mail server on another machine without TLS: whoever listens reads the links and the password.
    pub insecure_plaintext: bool,
}

/// How mail leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum MailTransport {
    /// Over SMTP.
    Smtp,
    /// As files, for development and for programs that send them on.
    File,
    /// Not at all.
    None,
}

/// `[auth.api_keys]`
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ApiKeys {
    /// Whether users may make keys, and whether keys are accepted.
    pub enabled: bool,
    /// Scopes that users may give their keys.
    pub scopes: Vec<String>,
    /// The longest life of a key, and its life unless a shorter one is asked for.
    pub life_max: DurationText,
}

/// Who may register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Registration {
    /// Anyone.
    Open,
    /// Whoever was invited, with `portcullis invite` or by a user with the role `invite`.
    Invitation,
    /// Nobody: users are added with `portcullis user add`.
    Closed,
}

/// `[auth.password]`
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Password {
    /// How new passwords are hashed.
    pub algorithm: PasswordAlgorithm,
    /// The fewest characters.
    pub min_length: u32,
    /// Whether the most common passwords are refused.
    pub refuse_common: bool,
    /// A file with passwords that nobody may choose besides the common ones, one per line; relative to the data directory.
    pub block_list: Option<PathBuf>,
    /// argon2id: memory per hash.
    pub argon2_memory: SizeText,
    /// argon2id: passes over the memory.
    pub argon2_passes: u32,
    /// argon2id: lanes.
    pub argon2_lanes: u32,
    /// bcrypt: log2 of the rounds.
    pub bcrypt_cost: u32,
    /// Hashes computed at the same time; half the cores unless set.
    #[schemars(range(min = 1, max = 1024))]
    pub workers: Option<u16>,
    /// Hashes that may wait for a worker; beyond it, 503.
    #[schemars(range(min = 1, max = 65535))]
    pub queue: u32,
}

/// How new passwords are hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum PasswordAlgorithm {
    /// RFC 9106.
    Argon2id,
    /// For databases whose hashes other systems must read.
    Bcrypt,
}

/// `[auth.signing]`
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Signing {
    /// Algorithm for new signing keys.
    pub algorithm: SigningAlgorithm,
    /// The file that holds signing keys and the refresh key; relative to the data directory.
    pub keys: PathBuf,
    /// How long a new key is only published before it signs.
    pub activation: DurationText,
}

/// JWS algorithms (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum SigningAlgorithm {
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// ECDSA on P-256.
    #[serde(rename = "ES256")]
    Es256,
    /// RSA PKCS#1 v1.5.
    #[serde(rename = "RS256")]
    Rs256,
    /// HMAC: whoever can verify can also sign.
    #[serde(rename = "HS256")]
    Hs256,
}

/// `[store]`
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// `sqlite:FILE`, `postgres://…` or `mysql://…`.
    pub url: SecretText,
    /// Connections in the pool.
    #[schemars(range(min = 1, max = 1000))]
    pub connections_max: u32,
}

/// `[revocation]`
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Revocation {
    /// `redis://…` or `rediss://…`; unset, the set is kept in this process' memory.
    pub url: Option<SecretText>,
    /// Instead of `url`: sentinels, which say where the primary is.
    pub sentinel: Option<Sentinel>,
    /// Instead of `url`: all nodes of a Redis Cluster, each `redis://HOST:PORT` or `rediss://HOST:PORT`.
    pub cluster: Vec<String>,
    /// The user of Redis' access control list, unless it stands in `url`.
    pub username: Option<String>,
    /// The password, unless it stands in `url`.
    pub password: Option<SecretText>,
    /// Whose certificates are believed of servers with `rediss://`, and which one is shown to them.
    pub tls: Option<RedisTls>,
    /// How many replicas of Redis must have a revocation before anybody is told that it is in force.
    #[schemars(range(max = 16))]
    pub min_replica_acks: u32,
    /// Where a request asks whether its token was revoked.
    pub check: RevocationCheck,
    /// How old the proof may be that the mirror lacks nothing; after that Redis is asked.
    pub max_staleness: DurationText,
    /// Records that the mirror may hold; beyond it Redis is asked on every request.
    #[schemars(range(min = 1000, max = 100_000_000))]
    pub max_records: u32,
    /// How long a look-up may take; after that the request is refused with 503.
    pub deadline: DurationText,
    /// Put before every key in Redis.
    pub prefix: String,
    /// Accept a shared database without Redis: replicas would not see each other's logouts.
    pub insecure_single_replica: bool,
}

/// `[upstreams.NAME]`
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["servers"]))]
pub struct Upstream {
    /// Its servers, each `http://HOST[:PORT]` or `https://HOST[:PORT]`; every address of a name is one.
    pub servers: Vec<String>,
    /// How much of the traffic each of `servers` gets, in their order; 1 for each unless set.
    #[schemars(inner(range(min = 1, max = 100)))]
    pub weights: Vec<u16>,
    /// Which server gets a request.
    pub balance: Balance,
    /// For `hash`: "client" (its address), "subject" (who calls), or "header:NAME".
    pub hash_by: String,
    /// Which HTTP is spoken to its servers.
    pub http: UpstreamHttp,
    /// Over HTTP/2: how its connections are used.
    pub http2: Option<UpstreamHttp2>,
    /// TLS towards `https://` servers.
    pub tls: Option<UpstreamTls>,
    /// TCP and TLS handshake.
    pub connect_timeout: DurationText,
    /// The longest wait for the next bytes of a response.
    pub read_timeout: DurationText,
    /// The longest wait for the upstream to accept bytes.
    pub write_timeout: DurationText,
    /// How long an unused connection is kept.
    pub idle_timeout: DurationText,
    /// Retries of a request that no server has acted upon.
    #[schemars(range(max = 1))]
    pub retries: u8,
    /// The most retries, in percent of the requests of the last seconds.
    #[schemars(range(max = 100))]
    pub retry_share: u32,
    /// Asking each server whether it is well.
    pub health: Option<Health>,
    /// Doing without servers that fail.
    pub ejection: Ejection,
    /// How much may be asked of it at once; what is beyond is refused without waiting.
    pub breaker: Breaker,
}

/// `[[routes]]`
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["path"]))]
pub struct Route {
    /// The label in logs, metrics and `--set routes.NAME.key=value`; host and path unless set.
    pub name: Option<String>,
    /// `api.example.com`, or `*.example.com` for any name under it; any host unless set.
    pub host: Option<String>,
    /// Path prefix; whole segments must match. `{name}` stands for any one segment.
    pub path: Option<String>,
    /// Whether nothing below the path is served.
    pub exact: bool,
    /// Which methods; any that the gateway knows unless set. GET includes HEAD.
    pub methods: Vec<Method>,
    /// What else a request must have.
    pub r#match: routes::Match,
    /// Which of `[upstreams]` serves it.
    pub upstream: Option<String>,
    /// Where clients are sent instead.
    pub redirect: Option<routes::Redirect>,
    /// Whether the upstream is sent the path without that of the route.
    pub strip_prefix: bool,
    /// Another path or host for the upstream.
    pub rewrite: Option<routes::Rewrite>,
    /// Changes to what the upstream is sent.
    pub request_headers: routes::HeaderEdits,
    /// Changes to what the upstream answers.
    pub response_headers: routes::HeaderEdits,
    /// Which pages of other origins may call.
    pub cors: Option<routes::Cors>,
    /// How often it may be asked.
    pub rate_limits: Vec<routes::RateLimit>,
    /// Whether a token is needed.
    pub access: Access,
    /// What a caller must have besides a valid token.
    pub require: Require,
    /// What becomes of a token while nobody can say whether it was revoked.
    pub on_unknown: routes::OnUnknown,
    /// Whether the bearer token is forwarded; as `identity_headers.pass_token` says unless set.
    pub pass_token: Option<bool>,
    /// Whether WebSocket upgrades may pass.
    pub websocket: bool,
    /// Pages of which origins may open WebSockets; any unless set.
    pub origins: Vec<String>,
    /// The largest request body; `server.limits.body` unless set.
    pub body_max: Option<SizeText>,
    /// Times after which the upstream is given up.
    pub timeouts: RouteTimeouts,
}

/// The methods that the gateway knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
#[expect(missing_docs, reason = "the names are RFC 9110's and RFC 5789's")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

/// Whether a route needs a token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Access {
    /// A valid token is required.
    #[default]
    Authenticated,
    /// A token is checked when there is one.
    Optional,
    /// No token is looked at.
    Public,
}

/// `require` of a route.
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Require {
    /// Every one of these roles.
    pub roles: Vec<String>,
    /// How long ago the password may have been given at most.
    pub max_age: Option<DurationText>,
    /// Every one of these scopes.
    pub scopes: Vec<String>,
}

/// `[[tests]]`
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["path", "expect"]))]
pub struct Test {
    /// What reports call it; method, host and path unless set.
    pub name: Option<String>,
    /// The method; GET unless set.
    pub method: Option<Method>,
    /// The host; "localhost" unless set.
    pub host: Option<String>,
    /// The port that it arrives at; the first listener's unless set.
    pub port: Option<u16>,
    /// Path and query, as a client sends them.
    pub path: Option<String>,
    /// Further header fields.
    pub headers: BTreeMap<String, String>,
    /// Who asks, with a valid token; nobody unless set.
    pub caller: Option<TestCaller>,
    /// What is to become of it.
    pub expect: Expect,
}

/// `caller` of a test.
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TestCaller {
    /// The caller's roles.
    pub roles: Vec<String>,
    /// The scopes of the caller's token.
    pub scopes: Vec<String>,
}

/// `expect` of a test: at least one of these.
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Expect {
    /// "allow", "answered" (by the gateway itself), or the code of a refusal, like "missing_token".
    pub decision: Option<String>,
    /// The name of the route.
    pub route: Option<String>,
    /// The name of the upstream.
    pub upstream: Option<String>,
    /// Path and query as the upstream receives them.
    pub path: Option<String>,
}

/// `[identity_headers]`
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IdentityHeaders {
    /// The user's id (`sub`).
    pub subject: String,
    /// The user's name.
    pub username: String,
    /// The user's address.
    pub email: String,
    /// The user's roles, separated by commas.
    pub roles: String,
    /// The scopes of the token or API key, separated by commas.
    pub scopes: String,
    /// The session's id (`sid`).
    pub session: String,
    /// Who issued the token (`iss`).
    pub issuer: String,
    /// The names of the client's own certificate.
    pub client_certificate: String,
    /// Whether bearer tokens are forwarded, on routes that do not say.
    pub pass_token: bool,
}

/// `[telemetry]`
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Lines for people, or one JSON object per line for programs.
    pub format: LogFormat,
    /// The least severe messages that are logged.
    pub level: LogLevel,
    /// One line per request.
    pub access_log: bool,
}

/// Where a request asks whether its token was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum RevocationCheck {
    /// In Redis.
    Strict,
    /// In this process, which follows Redis; what is not certain there, in Redis.
    Mirror,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Severities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum LogLevel {
    /// Someone must act.
    Error,
    /// The gateway carried on worse.
    Warn,
    /// Life-cycle.
    Info,
    /// Single requests.
    Debug,
}
