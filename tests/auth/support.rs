//! A gateway's `Auth` with everything real but the clock: SQLite in a temporary directory, revocations in memory.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use portcullis::api::context::RequestContext;
use portcullis::api::{self, ApiSettings, Endpoints};
use portcullis::auth::api_keys::ApiKeySettings;
use portcullis::auth::authenticate::{ApiKeyParts, Authenticator};
use portcullis::auth::hashing::Hasher;
use portcullis::auth::one_time::{Links, OneTimeSettings};
use portcullis::auth::register::NewAccount;
use portcullis::auth::throttle::{Throttle, ThrottleSettings};
use portcullis::auth::tokens::Tokens;
use portcullis::auth::{Auth, AuthParts, AuthSettings, Origin, Registration};
use portcullis::clock::{Clock, ManualClock, SystemEntropy};
use portcullis::dialect::Link;
use portcullis::identity::Caller;
use portcullis::identity::access_token::TokenPolicy;
use portcullis::identity::client_assertion::AssertionPolicy;
use portcullis::identity::password::PasswordPolicy;
use portcullis::identity::refresh_token::RefreshKey;
use portcullis::identity::scope::Scope;
use portcullis::identity::signing_keys::{Algorithm, KeyRing, SigningKey};
use portcullis::identity::user::{Role, User};
use portcullis::mail::Sender;
use portcullis::mail::files::Files;
use portcullis::mail::outbox::{Outbox, OutboxParts, OutboxSettings};
use portcullis::mail::templates::Templates;
use portcullis::revocation::{Mode, Revocations};
use portcullis::store::RevokedSet;
use portcullis::store::memory::MemorySet;
use portcullis::store::sql::SqlStore;
use portcullis::telemetry::metrics::Metrics;
use secrecy::{ExposeSecret as _, SecretString};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) const PASSWORD: &str = "correct horse battery staple";
pub(crate) const ACCESS_TOKEN: Duration = Duration::from_secs(900);
pub(crate) const REFRESH_TOKEN: Duration = Duration::from_secs(30 * 86_400);
pub(crate) const SESSION_MAX: Duration = Duration::from_secs(90 * 86_400);
pub(crate) const API_KEY_MAX: Duration = Duration::from_secs(365 * 86_400);
pub(crate) const GRACE: Duration = Duration::from_secs(10);
pub(crate) const SKEW: Duration = Duration::from_secs(5);

pub(crate) struct Gate {
    pub(crate) auth: Arc<Auth>,
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) store: Arc<SqlStore>,
    outbox: Arc<Outbox>,
    pub(crate) data: TempDir,
    _upkeep: DropGuard,
}

pub(crate) fn role(text: &str) -> Role {
    Role::parse(text).unwrap()
}

pub(crate) fn scope(text: &str) -> Scope {
    Scope::parse(text).unwrap()
}

pub(crate) fn settings() -> AuthSettings {
    AuthSettings {
        tokens: TokenPolicy { issuer: "https://gate.example".into(), audience: "api".into(), skew: SKEW, life_max: ACCESS_TOKEN },
        access_token: ACCESS_TOKEN,
        refresh_token: REFRESH_TOKEN,
        session_max: SESSION_MAX,
        rotation_grace: GRACE,
        registration: Registration::Open,
        default_roles: BTreeSet::from([role("user")]),
        self_assigned_roles: BTreeSet::from([role("beta")]),
        one_time: OneTimeSettings {
            password_reset: Duration::from_secs(3600),
            email_verification: Duration::from_secs(86_400),
            invitation: Duration::from_secs(7 * 86_400),
            reauthentication: Duration::from_secs(600),
            links: Some(Links {
                password_reset: Link::parse("https://app.example/reset#$token").unwrap(),
                email_verification: Link::parse("https://app.example/verify#$token").unwrap(),
                invitation: Link::parse("https://app.example/join#$token").unwrap(),
                reauthentication: Link::parse("https://app.example/again#$token").unwrap(),
            }),
        },
        admin_role: role("admin"),
        session_scopes: BTreeSet::new(),
        assertions: AssertionPolicy { audiences: vec!["https://gate.example".into()], skew: SKEW },
        api_keys: Some(ApiKeySettings { scopes: BTreeSet::from([scope("read"), scope("write")]), life_max: API_KEY_MAX }),
    }
}

pub(crate) async fn gate() -> Gate {
    gate_with(settings(), MemorySet::new()).await
}

pub(crate) async fn gate_with(settings: AuthSettings, set: Arc<dyn RevokedSet>) -> Gate {
    let data = tempfile::tempdir().unwrap();
    let url = SecretString::from(format!("sqlite:{}", data.path().join("gate.db").display()));
    let store = Arc::new(SqlStore::connect(&url, 4).await.unwrap());
    // Not on a whole second, so that rounding shows.
    let start: Timestamp = "2026-11-21T07:30:00.400Z".parse().unwrap();
    let clock = Arc::new(ManualClock::at(start));
    let key = SigningKey::generate(Algorithm::EdDsa, start, start).unwrap();
    let ring = Arc::new(ArcSwap::from_pointee(KeyRing::new(vec![key]).unwrap()));
    let deadline = Duration::from_secs(1);
    let revocations = Arc::new(Revocations::new(set, store.clone(), deadline, clock.clone(), Mode::Embedded));
    let upkeep = CancellationToken::new();
    tokio::spawn(Arc::clone(&revocations).maintain(upkeep.clone()));
    while revocations.ready().is_err() {
        tokio::task::yield_now().await;
    }
    let outbox = Arc::new(outbox(&clock, data.path().join("mail")));
    let authenticator = Authenticator::new(Arc::clone(&ring), settings.tokens.clone(), revocations.clone(), clock.clone(), 1024);
    let api_keys = ApiKeyParts {
        keys: store.clone(),
        users: store.clone(),
        runtime: tokio::runtime::Handle::current(),
        access_token: settings.access_token,
    };
    let authenticator = authenticator.with_api_keys(api_keys);
    let auth = Auth::new(AuthParts {
        users: store.clone(),
        sessions: store.clone(),
        revocations,
        ring,
        refresh_key: RefreshKey::new(&[9; 32]),
        clock: clock.clone(),
        entropy: Arc::new(SystemEntropy),
        hashing: Arc::new(Hasher::new(PasswordPolicy::default(), 2, 256)),
        settings,
        throttle: Arc::new(Throttle::new(None, clock.clone(), ThrottleSettings::default())),
        one_time: store.clone(),
        mail: outbox.clone(),
        audit: store.clone(),
        api_keys: store.clone(),
        clients: store.clone(),
    });
    let (auth, authenticator) = (Arc::new(auth), Arc::new(authenticator));
    Gate { auth, authenticator, clock, store, outbox, data, _upkeep: upkeep.drop_guard() }
}

/// Mail as files.
fn outbox(clock: &Arc<ManualClock>, directory: PathBuf) -> Outbox {
    let settings = OutboxSettings {
        sender: Sender::parse("gate@app.example").unwrap(),
        templates: Templates::built_in(),
        service: "app.example".to_owned(),
        letters_max: 100,
        each_hourly_max: 5,
    };
    let (transport, clock) = (Arc::new(Files::new(directory)), Arc::clone(clock));
    let (entropy, metrics) = (Arc::new(SystemEntropy), Arc::new(Metrics::new()));
    Outbox::new(OutboxParts { transport, clock, entropy, metrics, settings })
}

/// A mail that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mailed {
    pub(crate) to: String,
    /// The secret in its link.
    pub(crate) token: String,
}

pub(crate) fn account(username: &str) -> NewAccount {
    NewAccount {
        username: Some(username.to_owned()),
        email: None,
        password: PASSWORD.into(),
        given_name: None,
        family_name: None,
        roles: Vec::new(),
    }
}

impl Gate {
    pub(crate) async fn register(&self, username: &str) -> User {
        self.auth.register(account(username), &Origin::default()).await.unwrap()
    }

    pub(crate) async fn login(&self, username: &str) -> Tokens {
        self.auth.login(username, PASSWORD, &Origin::default()).await.unwrap()
    }

    /// Registers a user and signs them in.
    pub(crate) async fn signed_in(&self, username: &str) -> Tokens {
        self.register(username).await;
        self.login(username).await
    }

    pub(crate) async fn caller(&self, tokens: &Tokens) -> Arc<Caller> {
        self.authenticator.authenticate(access(tokens)).await.unwrap()
    }

    pub(crate) async fn accepts(&self, tokens: &Tokens) -> bool {
        self.authenticator.authenticate(access(tokens)).await.is_ok()
    }

    pub(crate) async fn refreshes(&self, tokens: &Tokens) -> bool {
        self.auth.refresh(refresh(tokens), &Origin::default()).await.is_ok()
    }

    /// Every mail that was asked for so far, in no order.
    pub(crate) async fn mails(&self) -> Vec<Mailed> {
        self.auth.finish_errands().await;
        self.outbox.finish().await;
        let Ok(files) = std::fs::read_dir(self.data.path().join("mail")) else { return Vec::new() };
        let read = |file: std::io::Result<std::fs::DirEntry>| {
            // Quoted-printable (RFC 2045 §6.7) breaks long lines, and the link with them.
            let mail = std::fs::read_to_string(file.unwrap().path()).unwrap().replace("=\r\n", "");
            let to = mail.lines().find_map(|line| line.strip_prefix("To: ")).unwrap().to_owned();
            let token = mail.split_once("https://app.example/").unwrap().1.split_once('#').unwrap().1;
            Mailed { to, token: token.lines().next().unwrap().to_owned() }
        };
        files.map(read).collect()
    }

    /// The token of the only mail that was sent since `seen` were.
    pub(crate) async fn mailed_token(&self, seen: &mut Vec<Mailed>) -> String {
        let mut new = self.mails().await;
        new.retain(|mail| !seen.contains(mail));
        assert_eq!(new.len(), 1, "{new:?}");
        seen.extend(new.clone());
        new.remove(0).token
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The API as clients reach it, without the proxy around it.
    pub(crate) fn router(&self) -> axum::Router {
        let subject = axum::http::HeaderName::from_static("x-auth-subject");
        let identity_headers =
            move |principal: &portcullis::identity::Principal| vec![(subject.clone(), principal.subject.parse().unwrap())];
        let settings = ApiSettings {
            prefix: "/auth".to_owned(),
            body_bytes_max: 64 * 1024,
            identity_headers: Arc::new(identity_headers),
            endpoints: Some(Endpoints { issuer: "https://gate.example".to_owned(), origin: "https://gate.example".to_owned() }),
        };
        let context = RequestContext {
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            user_agent: Some("test/1".to_owned()),
            request_id: "r1".to_owned(),
        };
        api::router(Arc::clone(&self.auth), Arc::clone(&self.authenticator), settings).layer(axum::Extension(context))
    }
}

pub(crate) fn access(tokens: &Tokens) -> &str {
    tokens.access_token.expose_secret()
}

pub(crate) fn refresh(tokens: &Tokens) -> &str {
    tokens.refresh_token.expose_secret()
}
