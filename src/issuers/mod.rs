//! Other issuers whose tokens are accepted: where their keys come from, how old these may become, and what is asked of
//! their introspection endpoints, and what they say about whom they signed out.
//!
//! Keys are fetched by a task of the application's runtime ([`jwks`]); a request only ever reads what is there. A token by
//! a key that is not known is refused at once and has the set fetched again, no more often than the settings say.

mod http;
pub mod introspection;
pub mod jwks;
mod kept;
pub mod logout;

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use self::introspection::{Introspection, IntrospectionSettings};
use self::jwks::{Jwks, JwksSettings, Known, Seen};
use self::logout::LogoutReceiver;
use crate::clock::Clock;
use crate::identity::Caller;
use crate::identity::access_token::TokenError;
use crate::identity::foreign_token::{self, ForeignPolicy, IssuerKeys, LogoutPolicy};
use crate::outbound::{Authorities, build};
use crate::telemetry::metrics::Metrics;

/// One issuer, as it was configured.
#[derive(Debug)]
pub struct IssuerSettings {
    /// What metrics and logs call it.
    pub name: Box<str>,
    /// What its tokens must say.
    pub policy: ForeignPolicy,
    /// Where its keys come from; none where every token is asked about.
    pub keys: Option<KeySource>,
    /// How to ask about tokens that are no JWTs.
    pub introspection: Option<IntrospectionSettings>,
    /// What its logout tokens must say; none where it may end no session. Nothing comes of it without keys.
    pub logout: Option<LogoutPolicy>,
    /// Certificate authorities, in PEM, instead of the public ones.
    pub authorities: Option<Vec<u8>>,
}

/// Where an issuer's keys come from.
#[derive(Debug)]
pub enum KeySource {
    /// They never change.
    Static(IssuerKeys),
    /// Fetched again and again.
    Fetched(JwksSettings),
}

/// What every issuer works with.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "ports have nothing to show")]
pub struct IssuerParts {
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// Where the states of key sets are shown.
    pub metrics: Arc<Metrics>,
    /// Where everything that waits is done.
    pub runtime: Handle,
    /// Where fetched keys are kept over a restart.
    pub directory: PathBuf,
}

/// Why nothing can be said about a genuine-looking token now: refused, fail closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IssuerOutage {
    /// No keys were ever fetched, or they are older than they may become.
    #[error("there are no keys of the issuer that may still be used")]
    Keys,
    /// The introspection endpoint did not answer in time, or not sensibly.
    #[error("the issuer's introspection endpoint gives no answer")]
    Introspection,
}

/// Every foreign issuer.
#[derive(Default)]
pub struct Issuers(Vec<Issuer>);

/// One issuer whose tokens are accepted.
pub struct Issuer {
    name: Box<str>,
    policy: Arc<ForeignPolicy>,
    keys: Option<Keys>,
    introspection: Option<Arc<Introspection>>,
    logout: Option<Arc<LogoutReceiver>>,
}

#[derive(Clone)]
enum Keys {
    Static(Arc<Known>),
    Fetched(Arc<Jwks>),
}

impl std::fmt::Debug for Issuers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|issuer| &issuer.policy.issuer)).finish()
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Self::Static(_)) { "Static" } else { "Fetched" })
    }
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Issuers {
    /// The issuers, with the keys that `before` has of them or that were kept; nothing is fetched before [`Self::start`].
    /// One that cannot be spoken to as it is configured is there, and its tokens are refused: the others are not to wait
    /// until somebody has put it right.
    #[must_use]
    pub fn new(settings: Vec<IssuerSettings>, parts: &IssuerParts, before: &Self) -> Self {
        Self(settings.into_iter().map(|settings| Issuer::new(settings, parts, before)).collect())
    }

    /// Begins to fetch keys, each issuer's for itself, until `until` is cancelled.
    pub fn start(&self, runtime: &Handle, until: &CancellationToken) {
        for issuer in &self.0 {
            if let Some(Keys::Fetched(jwks)) = &issuer.keys {
                let jwks = Arc::clone(jwks);
                runtime.spawn(until.clone().run_until_cancelled_owned(async move { jwks.keep_fetching().await }));
            }
        }
    }

    /// Takes off the metrics what is known of those that `others` does not have.
    pub fn leave(&self, others: &Self, metrics: &Metrics) {
        for issuer in self.0.iter().filter(|issuer| others.0.iter().all(|other| other.name != issuer.name)) {
            metrics.issuer_gone(&issuer.name);
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The issuer of this name, byte by byte, and its place.
    #[must_use]
    pub fn find(&self, issuer: &str) -> Option<(usize, &Issuer)> {
        self.0.iter().enumerate().find(|(_, known)| *known.policy.issuer == *issuer)
    }

    /// What the tokens of each must say.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<ForeignPolicy>> {
        self.0.iter().map(|issuer| &issuer.policy)
    }

    /// The issuer that is to be asked about a token which is no JWT.
    #[must_use]
    pub fn asked_about(&self, token: &str) -> Option<&Issuer> {
        self.0.iter().find(|issuer| issuer.introspection.as_ref().is_some_and(|endpoint| endpoint.knows(token)))
    }

    /// What takes the logout tokens of the issuer that the configuration calls so, if any are taken.
    #[must_use]
    pub fn logout_receiver(&self, name: &str) -> Option<Arc<LogoutReceiver>> {
        self.0.iter().find(|issuer| *issuer.name == *name)?.logout.clone()
    }

    /// The issuer at a place that [`Self::find`] gave.
    #[must_use]
    pub fn at(&self, place: usize) -> Option<&Issuer> {
        self.0.get(place)
    }
}

impl Issuer {
    fn new(settings: IssuerSettings, parts: &IssuerParts, before: &Issuers) -> Self {
        let IssuerSettings { name, policy, keys, introspection, logout, authorities } = settings;
        let authorities = authorities.map_or_else(|| Ok(Authorities::public()), |pem| Authorities::from_pem(&pem));
        let client = |timeout| {
            let client =
                authorities.as_ref().map_err(Clone::clone).and_then(|authorities| authorities.client(timeout)).and_then(build);
            client.inspect_err(|why| {
                tracing::error!(issuer = &*name, why, "an issuer cannot be spoken to; the others are not concerned");
            })
        };
        let policy = Arc::new(policy);
        let keys = keys.map(|keys| match keys {
            KeySource::Static(keys) => Keys::Static(Arc::new(Known::for_ever(keys))),
            KeySource::Fetched(settings) => {
                let seen = before.find(&policy.issuer).and_then(|(_, issuer)| issuer.seen(&settings));
                let client = client(settings.timeout);
                Keys::Fetched(Arc::new(Jwks::new(&name, &policy.issuer, settings, client, seen, parts)))
            }
        });
        let introspection = introspection.map(|settings| {
            let client = client(settings.timeout);
            Introspection::new(&name, settings, Arc::clone(&policy), client, parts)
        });
        let logout = logout.zip(keys.clone()).map(|(rules, keys)| {
            let (name, policy, metrics) = (name.clone(), Arc::clone(&policy), parts.metrics.logouts(&name));
            Arc::new(LogoutReceiver { name, policy, rules, keys, metrics })
        });
        Self { name, policy, keys, introspection, logout }
    }

    /// What was seen at the place of these settings.
    fn seen(&self, settings: &JwksSettings) -> Option<Arc<Seen>> {
        if let Some(Keys::Fetched(jwks)) = &self.keys { jwks.seen_at(&settings.url) } else { None }
    }

    /// What its tokens must say.
    #[must_use]
    pub fn policy(&self) -> &ForeignPolicy {
        &self.policy
    }

    /// Whether its JWTs are verified here, and not asked about.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.keys.is_some()
    }

    /// Which edition of its keys is in force at `now`: what was verified by another proves nothing.
    ///
    /// # Errors
    /// There are no keys that may be used.
    pub fn edition(&self, now: Timestamp) -> Result<u64, IssuerOutage> {
        self.known(now).map(|known| known.edition)
    }

    /// Verifies a JWT with the keys in force at `now`; also says which edition these were. Has the keys fetched again if
    /// the token names one that is not known: not by this request.
    ///
    /// # Errors
    /// There are no keys that may be used; or, within, the first rule that the token breaks.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Result<(Caller, u64), TokenError>, IssuerOutage> {
        let known = self.known(now)?;
        let verified = foreign_token::verify(token, &known.keys, &self.policy, now);
        if let (Err(TokenError::UnknownKey), Some(Keys::Fetched(jwks))) = (&verified, &self.keys) {
            jwks.want();
        }
        Ok(verified.map(|caller| (caller, known.edition)))
    }

    /// Asks the issuer about a token.
    ///
    /// # Errors
    /// It gives no answer; or, within, why the token is not accepted.
    pub async fn introspect(&self, token: &str) -> Result<Result<Arc<Caller>, TokenError>, IssuerOutage> {
        let endpoint = self.introspection.as_ref().ok_or(IssuerOutage::Introspection)?;
        endpoint.ask(token).await
    }

    fn known(&self, now: Timestamp) -> Result<Arc<Known>, IssuerOutage> {
        self.keys.as_ref().ok_or(IssuerOutage::Keys)?.known(now)
    }
}

impl Keys {
    /// Those in force at `now`.
    fn known(&self, now: Timestamp) -> Result<Arc<Known>, IssuerOutage> {
        match self {
            Self::Static(known) => Ok(Arc::clone(known)),
            Self::Fetched(jwks) => jwks.known(now).ok_or(IssuerOutage::Keys),
        }
    }
}
