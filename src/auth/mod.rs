//! DO: what people ask of the gateway, one file per use case, orchestrating `identity`, the store's ports, the
//! revoked set and the clock.
//!
//! Every ending goes SQL first, then the revoked set, then the answer. Nothing here says success before both are
//! true; what SQL has and the set has not is published when the set is rebuilt, and the caller may simply retry.

pub mod accounts;
pub mod api_keys;
pub mod audit;
pub mod authenticate;
pub mod backchannel_logout;
pub mod client_credentials;
pub mod clients;
pub mod email_verification;
pub mod hashing;
pub mod invitation;
pub mod login;
pub mod logout;
pub mod mail;
pub mod one_time;
pub mod outage;
pub mod password_change;
pub mod password_reset;
pub mod profile;
pub mod reauthenticate;
pub mod refresh;
pub mod register;
pub mod revive;
pub mod revocation;
pub mod sessions;
pub mod terms;
pub mod throttle;
mod token_revocation;
pub mod tokens;
pub mod users;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use uuid::Uuid;

use crate::clock::{Clock, Entropy};
use crate::identity::Caller;
use crate::identity::access_token::TokenPolicy;
use crate::identity::client_assertion::AssertionPolicy;
use crate::identity::refresh_token::RefreshKey;
use crate::identity::scope::Scope;
use crate::identity::signing_keys::KeyRing;
use crate::identity::user::{Role, UserId};
use crate::mail::Mailer;
use crate::revocation::Revocations;
use crate::store::{ApiKeys, AuditLog, Clients, Covers, Ending, OneTimeTokens, Revocation, Sessions, Users};
use api_keys::ApiKeySettings;
use hashing::Hasher;
use mail::Errands;
use one_time::OneTimeSettings;
use outage::Outage;
use terms::SessionTerms;
use throttle::Throttle;

/// Every use case of the gateway's own users and sessions.
pub struct Auth {
    users: Arc<dyn Users>,
    sessions: Arc<dyn Sessions>,
    revocations: Arc<Revocations>,
    ring: Arc<ArcSwap<KeyRing>>,
    refresh_key: RefreshKey,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    hashing: Arc<Hasher>,
    settings: AuthSettings,
    throttle: Arc<Throttle>,
    one_time: Arc<dyn OneTimeTokens>,
    mail: Arc<dyn Mailer>,
    errands: Errands,
    audit_log: Arc<dyn AuditLog>,
    /// Held while an administrator is taken away, so that two do not take away each other.
    administrators: tokio::sync::Mutex<()>,
    api_keys: Arc<dyn ApiKeys>,
    clients: Arc<dyn Clients>,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What [`Auth`] works with.
#[expect(missing_debug_implementations, reason = "ports and keys have nothing to show")]
pub struct AuthParts {
    /// Users and their password hashes.
    pub users: Arc<dyn Users>,
    /// Sessions and their refresh chains.
    pub sessions: Arc<dyn Sessions>,
    /// The revoked set, to publish endings to.
    pub revocations: Arc<Revocations>,
    /// The signing keys, swapped when they are rotated.
    pub ring: Arc<ArcSwap<KeyRing>>,
    /// Computes refresh tokens.
    pub refresh_key: RefreshKey,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// Ids, nonces and salts.
    pub entropy: Arc<dyn Entropy>,
    /// Bounded password hashing.
    pub hashing: Arc<Hasher>,
    /// Lives and rules.
    pub settings: AuthSettings,
    /// Counts guesses.
    pub throttle: Arc<Throttle>,
    /// One-time tokens, by the hashes of their secrets.
    pub one_time: Arc<dyn OneTimeTokens>,
    /// Takes the letters that carry them.
    pub mail: Arc<dyn Mailer>,
    /// The record of who did what.
    pub audit: Arc<dyn AuditLog>,
    /// Keys of users' programs.
    pub api_keys: Arc<dyn ApiKeys>,
    /// Programs that sign in as themselves.
    pub clients: Arc<dyn Clients>,
}

/// Lives and rules.
#[derive(Debug, Clone)]
pub struct AuthSettings {
    /// What our access tokens say and are checked against.
    pub tokens: TokenPolicy,
    /// Life of an access token.
    pub access_token: Duration,
    /// Life of a refresh token.
    pub refresh_token: Duration,
    /// Life of a session, however often refreshed.
    pub session_max: Duration,
    /// How long the predecessor of a refresh token is answered with its successor.
    pub rotation_grace: Duration,
    /// Who may register.
    pub registration: Registration,
    /// Roles that every new user gets.
    pub default_roles: BTreeSet<Role>,
    /// Roles that a new user may ask for.
    pub self_assigned_roles: BTreeSet<Role>,
    /// Lives of one-time tokens, and where their links lead.
    pub one_time: OneTimeSettings,
    /// The role of administrators.
    pub admin_role: Role,
    /// Scopes of the tokens of users' sessions.
    pub session_scopes: BTreeSet<Scope>,
    /// What clients' assertions must say.
    pub assertions: AssertionPolicy,
    /// None where users cannot make API keys.
    pub api_keys: Option<ApiKeySettings>,
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

/// Where a login comes from, for the owner's list of devices. Decides nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The client's address.
    pub address: Option<IpAddr>,
    /// The client's `User-Agent`; cut to [`AGENT_BYTES_MAX`].
    pub agent: Option<String>,
}

/// The most bytes of a `User-Agent` that are kept.
pub const AGENT_BYTES_MAX: usize = 256;

/// A rule that one field of a request breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The field's name in the request.
    pub field: &'static str,
    /// The rule, to be read after the name: `must not be empty`. Never holds the value.
    pub message: String,
}

impl FieldError {
    /// `field` breaks a rule.
    pub fn new(field: &'static str, rule: impl fmt::Display) -> Self {
        Self { field, message: rule.to_string() }
    }
}

impl Auth {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: AuthParts) -> Self {
        let AuthParts {
            users,
            sessions,
            revocations,
            ring,
            refresh_key,
            clock,
            entropy,
            hashing,
            settings,
            throttle,
            one_time,
            mail,
            audit,
            api_keys,
            clients,
        } = parts;
        Self {
            users,
            sessions,
            revocations,
            ring,
            refresh_key,
            clock,
            entropy,
            hashing,
            settings,
            throttle,
            one_time,
            mail,
            errands: Errands::default(),
            audit_log: audit,
            administrators: tokio::sync::Mutex::default(),
            api_keys,
            clients,
        }
    }

    /// The terms of the gateway's own API.
    #[must_use]
    pub fn terms(&self) -> SessionTerms {
        self.settings.terms()
    }

    /// Scopes of the tokens of users' sessions.
    #[must_use]
    pub fn session_scopes(&self) -> &BTreeSet<Scope> {
        &self.settings.session_scopes
    }

    /// `aud` of our tokens.
    #[must_use]
    pub fn audience(&self) -> &str {
        &self.settings.tokens.audience
    }

    /// The signing keys, for whoever publishes their public halves.
    #[must_use]
    pub fn ring(&self) -> Arc<KeyRing> {
        self.ring.load_full()
    }

    /// Whether a caller is an administrator. The token says so: taking a role away ends the sessions that have it.
    #[must_use]
    pub fn is_administrator(&self, caller: &Caller) -> bool {
        self.owner(caller).is_some() && caller.principal.roles.iter().any(|role| **role == *self.settings.admin_role.as_str())
    }

    /// The present, to the millisecond: the resolution of the stores. A finer instant would make the first answer
    /// to a refresh differ from its repetition, which is computed from what was stored.
    fn now(&self) -> Timestamp {
        let now = self.clock.now();
        Timestamp::from_millisecond(now.as_millisecond()).expect("an instant cut to the millisecond stays in range")
    }

    /// An ending at `now`, with the records that go beside those of the ended sessions.
    fn ending(&self, now: Timestamp, revocations: Vec<Revocation>) -> Ending {
        Ending { at: now, access_until: self.access_until(now), revocations }
    }

    /// When the last access token that can exist at `now`, whatever terms it was issued under, is refused by every
    /// clock: the longest life that is accepted, and the skew once
    /// for the verifier's leeway and once for the clock of the replica that issued it.
    fn access_until(&self, now: Timestamp) -> Timestamp {
        // iat is whole seconds and the record must outlive the token, so a second is added against rounding.
        now + self.settings.tokens.life_max + 2 * self.settings.tokens.skew + Duration::from_secs(1)
    }

    /// Covers tokens of `subject` that no session row accounts for any more, such as after a restored backup.
    ///
    /// The instant is cut to the second because `iat` is: a login later in this very second must live, and tokens
    /// issued earlier in it are covered by the records of their sessions.
    fn everything_before(&self, subject: UserId, now: Timestamp) -> Revocation {
        let before = Timestamp::from_second(now.as_second()).expect("an instant cut to the second stays in range");
        let issuer = self.settings.tokens.issuer.as_ref().into();
        let covers = Covers::Principal { issuer, subject: subject.to_string().into(), before };
        Revocation { covers, expires_at: self.access_until(now) }
    }

    /// Makes endings that SQL holds true on every replica.
    async fn publish(&self, revocations: &[Revocation]) -> Result<(), Outage> {
        Ok(self.revocations.publish(revocations).await?)
    }

    fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes);
        bytes
    }

    /// A random id (UUID v4).
    fn random_id(&self) -> Uuid {
        uuid::Builder::from_random_bytes(self.random()).into_uuid()
    }

    /// An id that sorts by time (UUID v7), so that listings are in order of registration.
    fn ordered_id(&self, now: Timestamp) -> Uuid {
        let millis = u64::try_from(now.as_millisecond()).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(millis, &self.random()).into_uuid()
    }
}
