//! The services behind the gateway, opened from the configuration: stores, keys, use cases. The command line
//! opens the same ones, so that what an operator does by hand follows the same rules.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use async_trait::async_trait;

use super::{acme, settings, shared_set};
use crate::acme::Issuance;
use crate::admission::rates::RateLimiter;
use crate::auth::authenticate::{ApiKeyParts, Authenticator};
use crate::auth::hashing::{Hasher, WatchHashing};
use crate::auth::throttle::Throttle;
use crate::auth::{Auth, AuthParts};
use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::config::Config;
use crate::identity::signing_keys::KeyRing;
use crate::mail::outbox::{Outbox, OutboxParts};
use crate::mail::{Mailer, NoMail};
use crate::revocation::Revocations;
use crate::revocation::streams::OpenStreams;
use crate::store::key_file::{self, KeyFile};
use crate::store::memory::MemorySet;
use crate::store::redis::{RedisCounters, RedisRates};
use crate::store::sql::SqlStore;
use crate::store::{ApiKeys, AuditLog, Clients, Counters, OneTimeTokens, Probe, RevokedSet, Sessions, SharedRates, StoreError};
use crate::telemetry::metrics::Metrics;

/// Tokens whose verification is remembered; each costs about a kilobyte.
const VERIFIED_TOKENS_MAX: usize = 50_000;

/// What the gateway and the command line share.
pub struct Services {
    /// The use cases.
    pub auth: Arc<Auth>,
    /// Where sessions are remembered.
    pub sessions: Arc<dyn Sessions>,
    /// Where one-time tokens are remembered.
    pub one_time: Arc<dyn OneTimeTokens>,
    /// Mail on its way, if any is sent.
    pub outbox: Option<Arc<Outbox>>,
    /// The record of who did what.
    pub audit: Arc<dyn AuditLog>,
    /// Where API keys are remembered.
    pub api_keys: Arc<dyn ApiKeys>,
    /// Where clients are remembered.
    pub clients: Arc<dyn Clients>,
    /// The revoked set and its record.
    pub revocations: Arc<Revocations>,
    /// What ends with what admitted it.
    pub streams: Arc<OpenStreams>,
    /// Counts for the rate limits of routes, whatever configuration they are in.
    pub rates: Arc<RateLimiter>,
    /// Verifies access tokens.
    pub authenticator: Arc<Authenticator>,
    /// What must answer before the gateway is ready.
    pub probes: Vec<Arc<dyn Probe>>,
    /// Signing keys, swapped when their file changes.
    pub ring: Arc<ArcSwap<KeyRing>>,
    /// What certificates are ordered with, if any are.
    pub acme: Option<Arc<Issuance>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl Services {
    /// Opens everything that `config` names. The database must answer; Redis may be down, which the gateway then
    /// reports as not ready.
    ///
    /// # Errors
    /// What cannot be opened, and what to do about it.
    pub async fn open(config: &Config, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let sql = SqlStore::connect(&config.store.url, config.store.connections_max).await;
        let sql = Arc::new(sql.context("cannot open the database of `store.url`")?);
        let keys = open_keys(config, &*clock, &*entropy)?;
        let ring =
            Arc::new(ArcSwap::from_pointee(KeyRing::new(keys.signing).context("the key file's keys cannot be used together")?));

        let acme = acme::issuance(config, sql.clone(), &keys.refresh, &clock, metrics)?;

        let shared = shared_set::open(config, &clock, metrics)?;
        let redis = shared.as_ref().map(|shared| &shared.set);
        let set: Arc<dyn RevokedSet> = match redis {
            Some(redis) => Arc::clone(redis) as _,
            None => Arc::new(MemorySet::default()),
        };
        let counters = redis.map(|redis| Arc::new(RedisCounters::beside(redis)) as Arc<dyn Counters>);
        let rates = redis.map(|redis| Arc::new(RedisRates::beside(redis)) as Arc<dyn SharedRates>);
        let throttle = Arc::new(Throttle::new(counters, Arc::clone(&clock), settings::throttle(config)));
        let deadline = config.revocation.as_ref().map_or(Duration::ZERO, |redis| redis.deadline);
        let rates = Arc::new(RateLimiter::new(rates, deadline, Arc::clone(&clock)));
        let streams = OpenStreams::new(Arc::clone(&clock), Arc::clone(metrics));
        let revocations = revocations(config, set, &sql, &clock, metrics).observed_by(Arc::clone(&streams) as _);
        let revocations = Arc::new(shared_set::follow(revocations, shared.as_ref()));
        let hashing = Hasher::new(config.auth.password.clone(), config.auth.hash_workers, config.auth.hash_queue);
        let hashing = Arc::new(hashing.watched_by(Arc::clone(&clock), Arc::clone(metrics) as _));
        let outbox = outbox(config, &clock, &entropy, metrics)?;
        let tokens = settings::token_policy(config);
        let authenticator =
            Authenticator::new(Arc::clone(&ring), tokens, Arc::clone(&revocations) as _, Arc::clone(&clock), VERIFIED_TOKENS_MAX);
        let authenticator = with_api_keys(authenticator, config, &sql);
        let auth = Auth::new(AuthParts {
            users: sql.clone(),
            sessions: sql.clone(),
            revocations: Arc::clone(&revocations),
            ring: Arc::clone(&ring),
            refresh_key: keys.refresh,
            clock: Arc::clone(&clock),
            entropy,
            hashing,
            settings: settings::auth(config),
            throttle,
            one_time: sql.clone(),
            mail: outbox.clone().map_or_else(|| Arc::new(NoMail) as Arc<dyn Mailer>, |outbox| outbox as _),
            audit: sql.clone(),
            api_keys: sql.clone(),
            clients: sql.clone(),
        });
        let mut probes: Vec<Arc<dyn Probe>> = vec![sql.clone(), Arc::new(RevocationProbe(Arc::clone(&revocations)))];
        probes.extend(redis.map(|redis| Arc::clone(redis) as Arc<dyn Probe>));
        let (auth, authenticator) = (Arc::new(auth), Arc::new(authenticator));
        Ok(Self {
            auth,
            sessions: sql.clone(),
            one_time: sql.clone(),
            outbox,
            audit: sql.clone(),
            api_keys: sql.clone(),
            clients: sql,
            revocations,
            streams,
            rates,
            authenticator,
            probes,
            ring,
            acme,
            clock,
        })
    }

    /// Waits for what was asked for and not waited for: tokens to be mailed, and the mail itself. Returns how many
    /// letters were lost since the start.
    pub async fn finish_mail(&self) -> usize {
        self.auth.finish_errands().await;
        match &self.outbox {
            Some(outbox) => outbox.finish().await,
            None => 0,
        }
    }
}

/// Lets it read API keys, if there are any.
fn with_api_keys(authenticator: Authenticator, config: &Config, sql: &Arc<SqlStore>) -> Authenticator {
    if config.auth.api_keys.is_none() {
        return authenticator;
    }
    authenticator.with_api_keys(ApiKeyParts {
        keys: sql.clone(),
        users: sql.clone(),
        runtime: tokio::runtime::Handle::current(),
        access_token: config.auth.access_token,
    })
}

/// The revoked set and its record.
fn revocations(
    config: &Config,
    set: Arc<dyn RevokedSet>,
    sql: &Arc<SqlStore>,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Revocations {
    let deadline = config.revocation.as_ref().map_or(Duration::ZERO, |redis| redis.deadline);
    let mode = settings::revocation_mode(config);
    Revocations::new(set, Arc::clone(sql) as _, deadline, Arc::clone(clock), mode).counted_by(Arc::clone(metrics))
}

/// The mailer, if mail is configured.
fn outbox(
    config: &Config,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Option<Arc<Outbox>>> {
    let Some(mail) = &config.auth.mail else { return Ok(None) };
    let (transport, settings) = settings::mail(mail)?;
    let (clock, entropy, metrics) = (Arc::clone(clock), Arc::clone(entropy), Arc::clone(metrics));
    Ok(Some(Arc::new(Outbox::new(OutboxParts { transport, clock, entropy, metrics, settings }))))
}

fn open_keys(config: &Config, clock: &dyn Clock, entropy: &dyn Entropy) -> anyhow::Result<KeyFile> {
    let path = &config.auth.keys;
    key_file::create_if_missing(path, config.auth.algorithm, clock.now(), entropy).context("the signing keys cannot be used")
}

impl WatchHashing for Metrics {
    fn waiting(&self, callers: usize) {
        self.hashes_waiting(callers);
    }

    fn hashed(&self, elapsed: Duration) {
        Self::hashed(self, elapsed);
    }
}

/// Ready means that a negative answer of the revoked set can be believed.
struct RevocationProbe(Arc<Revocations>);

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotReady(&'static str);

#[async_trait]
impl Probe for RevocationProbe {
    fn name(&self) -> &'static str {
        "revocation"
    }

    async fn probe(&self) -> Result<(), StoreError> {
        let ready = self.0.ready();
        ready.map_err(|why| StoreError::Unavailable { store: "revocation", source: Box::new(NotReady(why)) })?;
        // Complete once does not mean there now: without this, a gateway whose Redis has died would call itself ready.
        self.0.probe().await
    }
}
