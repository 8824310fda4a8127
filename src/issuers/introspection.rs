//! Tokens that say nothing by themselves: their issuer is asked (RFC 7662), and its answer believed for a moment.
//!
//! Whoever asks about one token at the same time shares one exchange. It happens on the application's runtime, so that
//! a client that hangs up leaves nothing half done. No answer, a strange one, and one that comes too late are the same:
//! nothing is known, and the request is refused.

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use reqwest::Client;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::http::{self, HttpError};
use super::{IssuerOutage, IssuerParts};
use crate::clock::Clock;
use crate::identity::Caller;
use crate::identity::access_token::TokenError;
use crate::identity::foreign_token::{self, ForeignPolicy};
use crate::identity::one_time_token::TokenHash;

/// A token that is not active may become it: one that was just issued may not have reached every server of the issuer.
const REFUSAL_LIFE_MAX: Duration = Duration::from_secs(1);
/// Answers remembered at a time; each costs about a kilobyte.
const CACHE_ENTRIES: usize = 10_000;
/// Exchanges at a time, and tokens waiting for one: whoever makes up tokens must not exhaust us or the issuer.
const EXCHANGES_MAX: usize = 32;
const WAITING_MAX: usize = 1024;

/// Where and how to ask.
#[derive(Debug, Clone)]
pub struct IntrospectionSettings {
    /// `https://…`, or `http://` on this machine.
    pub url: String,
    /// Who we are to the issuer.
    pub client_id: String,
    /// What proves it.
    pub client_secret: SecretString,
    /// What the issuer's tokens begin with; no other token is shown to it.
    pub token_prefix: String,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long a good answer is believed; never beyond the token's `exp`.
    pub cache_for: Duration,
}

type Verdict = Result<Arc<Caller>, TokenError>;
type Exchange = Shared<BoxFuture<'static, Result<Verdict, IssuerOutage>>>;

/// The introspection endpoint of one issuer.
pub(super) struct Introspection {
    name: Box<str>,
    settings: IntrospectionSettings,
    policy: Arc<ForeignPolicy>,
    /// Why there is none, if there is none.
    client: Result<Client, String>,
    clock: Arc<dyn Clock>,
    runtime: Handle,
    answers: Cache<TokenHash, Answer, UnitWeighter, RandomState>,
    exchanges: Mutex<HashMap<TokenHash, Exchange>>,
    slots: Semaphore,
}

#[derive(Clone)]
struct Answer {
    verdict: Verdict,
    until: Instant,
}

/// Takes an exchange from the list when it ends, however it does.
struct Leaving<'a>(&'a Introspection, TokenHash);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.exchanges().remove(&self.1);
    }
}

impl Introspection {
    pub(super) fn new(
        name: &str,
        settings: IntrospectionSettings,
        policy: Arc<ForeignPolicy>,
        client: Result<Client, String>,
        parts: &IssuerParts,
    ) -> Arc<Self> {
        let entries = u64::try_from(CACHE_ENTRIES).unwrap_or(u64::MAX);
        Arc::new(Self {
            name: name.into(),
            settings,
            policy,
            client,
            clock: Arc::clone(&parts.clock),
            runtime: parts.runtime.clone(),
            answers: Cache::with(CACHE_ENTRIES, entries, UnitWeighter, RandomState::new(), DefaultLifecycle::default()),
            exchanges: Mutex::default(),
            slots: Semaphore::new(EXCHANGES_MAX),
        })
    }

    /// Whether the token looks like one of this issuer.
    pub(super) fn knows(&self, token: &str) -> bool {
        token.starts_with(&self.settings.token_prefix)
    }

    /// What the issuer says about the token now, or said a moment ago.
    pub(super) async fn ask(self: &Arc<Self>, token: &str) -> Result<Verdict, IssuerOutage> {
        let hash = foreign_token::digest(token);
        if let Some(verdict) = self.remembered(&hash) {
            return Ok(verdict);
        }
        let exchange = {
            let mut exchanges = self.exchanges();
            // Once more, under the lock: an exchange remembers its answer before it leaves the list, and may have done both
            // since the first look.
            if let Some(verdict) = self.remembered(&hash) {
                return Ok(verdict);
            }
            match exchanges.get(&hash) {
                Some(exchange) => exchange.clone(),
                None if exchanges.len() >= WAITING_MAX => return Err(IssuerOutage::Introspection),
                None => {
                    let exchange = self.begin(token.to_owned(), hash);
                    exchanges.insert(hash, exchange.clone());
                    exchange
                }
            }
        };
        exchange.await
    }

    fn remembered(&self, hash: &TokenHash) -> Option<Verdict> {
        let Answer { verdict, until } = self.answers.get(hash)?;
        let alive = verdict.as_ref().map_or(true, |caller| self.clock.now() < caller.token.expires_at);
        (alive && self.clock.monotonic() < until).then_some(verdict)
    }

    fn begin(self: &Arc<Self>, token: String, hash: TokenHash) -> Exchange {
        let this = Arc::clone(self);
        let task = self.runtime.spawn(async move {
            // After the answer was remembered: whoever looks under the lock finds one or the other.
            let _leaving = Leaving(&this, hash);
            let asked_at = this.clock.monotonic();
            let timeout = this.settings.timeout;
            // Waiting for a slot included.
            let answer = tokio::time::timeout(timeout, this.exchange(&token)).await;
            let verdict = match answer {
                Ok(Ok(Some(verdict))) => verdict.map(Arc::new),
                Ok(Ok(None)) => return this.without("its answer is not one of RFC 7662"),
                Ok(Err(error)) => return this.without(&error.to_string()),
                Err(_) => return this.without("it takes too long"),
            };
            let life = if verdict.is_ok() { this.settings.cache_for } else { REFUSAL_LIFE_MAX.min(this.settings.cache_for) };
            this.answers.insert(hash, Answer { verdict: verdict.clone(), until: asked_at + life });
            Ok(verdict)
        });
        async move { task.await.unwrap_or(Err(IssuerOutage::Introspection)) }.boxed().shared()
    }

    fn without(&self, why: &str) -> Result<Verdict, IssuerOutage> {
        tracing::warn!(issuer = &*self.name, why, "an issuer does not say whether a token is active");
        Err(IssuerOutage::Introspection)
    }

    async fn exchange(&self, token: &str) -> Result<Option<Result<Caller, TokenError>>, HttpError> {
        let _slot = self.slots.acquire().await;
        let now = self.clock.now();
        let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let IntrospectionSettings { url, client_id, client_secret, .. } = &self.settings;
        // RFC 6749 §2.3.1: both are encoded like a form before they are put together.
        let credentials = format!("{}:{}", encoded(client_id), encoded(client_secret.expose_secret()));
        let client = self.client.as_ref().map_err(|why| HttpError::NoClient(why.clone()))?;
        let request = client.post(url).header("accept", "application/json");
        let request = request.header("authorization", format!("Basic {}", STANDARD.encode(credentials)));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let body = format!("token={}&token_type_hint=access_token", encoded(token));
        let answer = http::json(request.body(body).send().await?).await?;
        Ok(foreign_token::introspected(&answer, token, &self.policy, now))
    }

    fn exchanges(&self) -> MutexGuard<'_, HashMap<TokenHash, Exchange>> {
        // Nothing is done under the lock that could leave the map half changed.
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
