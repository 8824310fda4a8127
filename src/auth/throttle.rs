//! How often passwords and other secrets may be guessed: per account, per network, and for accounts from each network.
//!
//! An attempt is counted *before* anything is verified and given back when it succeeds, so that a burst cannot overrun
//! a budget. Whoever cannot be counted in Redis is counted in memory: an outage is never an open door.
//!
//! Nobody can lock the owner of an account out from elsewhere. Strangers share the account's budget; a network from
//! which its owner signed in lately is known, and has budgets of its own that strangers do not touch. An account may
//! have two names (a user name and an address), and each has half of the budget, because a budget common to both
//! would tell which names belong together.

mod in_flight;
mod local;

use std::error::Error;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::digest;

use crate::clock::Clock;
use crate::identity::user::LoginName;
use crate::limit::attempts::{Budget, Network, Slot};
use crate::store::{AttemptCounters, Counted, Counters};
use in_flight::{Holder, InFlight};
use local::LocalCounters;

/// How long an attempt may wait for others to be decided, and how many may wait.
const WAIT_MAX: Duration = Duration::from_secs(5);
const WAITING_MAX: usize = 1024;
const SECOND: Duration = Duration::from_secs(1);
/// Mails asked for from one network by people who are not signed in: many may share an address, and none of them asks
/// more than twice or thrice. How much one address is sent is counted where mail is sent.
const MAIL: Budget = Budget { limit: 30, period: Duration::from_mins(10) };
/// Guesses of secrets that are too long to be guessed: this bounds the noise, not the risk.
const SECRET: Budget = Budget { limit: 30, period: Duration::from_mins(10) };

/// What is allowed how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThrottleSettings {
    /// Off: nothing is counted and nothing refused.
    pub enabled: bool,
    /// Failures for one account from all networks that are not known.
    pub account: Budget,
    /// Failures for one account from one network; also failures of a session's owner to repeat the password.
    pub account_network: Budget,
    /// Failures from one network, whoever's the accounts.
    pub network: Budget,
    /// Accounts made from one network.
    pub register: Budget,
    /// How long a network stays known after a login.
    pub known_for: Duration,
}

impl Default for ThrottleSettings {
    /// At most 100 failures per account and hour (NIST SP 800-63B-4 §3.2.2), ten per quarter of an hour from one place.
    fn default() -> Self {
        Self {
            enabled: true,
            account: Budget { limit: 100, period: Duration::from_hours(1) },
            account_network: Budget { limit: 10, period: Duration::from_mins(15) },
            network: Budget { limit: 100, period: Duration::from_mins(10) },
            register: Budget { limit: 1000, period: Duration::from_hours(1) },
            known_for: Duration::from_hours(30 * 24),
        }
    }
}

/// What is attempted, apart from logins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Learning whether an account exists or what its password is. By network; shared with logins.
    Guess,
    /// Making an account. By network.
    Register,
    /// Repeating the password of a session's owner. By session: a stolen session must not keep its owner's other ones
    /// from changing the password.
    Password,
    /// Having a mail sent without being signed in. By network.
    Mail,
    /// Using a one-time token or ticket that is of no use. By network.
    OneTimeToken,
    /// Sending a logout token that is not accepted. By network.
    LogoutToken,
}

/// Too many attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many attempts: try again in {retry_after:?}")]
pub struct Throttled {
    /// When another attempt may be made, at the earliest.
    pub retry_after: Duration,
}

/// Counts attempts, and refuses those beyond their budgets.
pub struct Throttle {
    shared: Option<Arc<dyn Counters>>,
    local: LocalCounters,
    in_flight: Arc<InFlight>,
    waiting: AtomicUsize,
    clock: Arc<dyn Clock>,
    settings: ThrottleSettings,
    /// The outage has been reported.
    degraded: AtomicBool,
}

/// An attempt that was allowed. Counted as a failure unless it is said to have been something else.
#[derive(Debug)]
#[must_use = "an attempt that succeeded is to be given back"]
pub struct Attempt<'a> {
    throttle: &'a Throttle,
    /// None where nothing was counted.
    counted: Option<CountedAttempt>,
}

#[derive(Debug)]
struct CountedAttempt {
    taken: Vec<(String, Slot)>,
    /// Whether the counters are those in Redis.
    shared: bool,
    mark: Option<String>,
    /// Last, so that whoever waits finds what was given back.
    _holder: Holder,
}

impl std::fmt::Debug for Throttle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Throttle").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Throttle {
    /// A throttle that counts in `shared`, and in memory without it or while it does not answer.
    #[must_use]
    pub fn new(shared: Option<Arc<dyn Counters>>, clock: Arc<dyn Clock>, settings: ThrottleSettings) -> Self {
        Self {
            shared,
            local: LocalCounters::default(),
            in_flight: Arc::default(),
            waiting: AtomicUsize::new(0),
            clock,
            settings,
            degraded: AtomicBool::new(false),
        }
    }

    /// Allows a login with the name as typed, whether or not anybody has it.
    ///
    /// # Errors
    /// A budget is spent.
    pub async fn login(&self, name: &str, from: Option<IpAddr>) -> Result<Attempt<'_>, Throttled> {
        let ThrottleSettings { account, account_network, network, .. } = self.settings;
        let name = match LoginName::parse(name) {
            Ok(LoginName::Username(name)) => name.canonical().to_owned(),
            Ok(LoginName::Email(address)) => address.canonical().to_owned(),
            // Nobody's, but not free: the answer and the work must be those of any other name.
            Err(_) => name.to_lowercase(),
        };
        let of_account = (key("account", &[&name]), Budget { limit: (account.limit / 2).max(1), ..account });
        let Some(place) = from.map(|address| Network::of(address).to_string()) else {
            return self.attempt(AttemptCounters { mark: None, strangers: vec![of_account], known: Vec::new() }).await;
        };
        let counters = AttemptCounters {
            mark: Some(fingerprint(&[&name, &place])),
            strangers: vec![
                (key("account_network", &[&name, &place]), account_network),
                (key("network", &[&place]), network),
                of_account,
            ],
            known: vec![
                (key("known_account_network", &[&name, &place]), account_network),
                (key("known_network", &[&place]), network),
            ],
        };
        self.attempt(counters).await
    }

    /// Allows an attempt to prove to be this client, whether or not there is one.
    ///
    /// By client from one network, and by network together with logins; what comes from nowhere is not counted. There is
    /// no budget for a client from everywhere: its secret cannot be guessed, and whoever knows its name could stop it.
    ///
    /// # Errors
    /// A budget is spent.
    pub async fn client(&self, id: &str, from: Option<IpAddr>) -> Result<Attempt<'_>, Throttled> {
        let Some(address) = from else { return Ok(Attempt { throttle: self, counted: None }) };
        let (place, network) = (Network::of(address).to_string(), self.settings.network);
        let counters = AttemptCounters {
            mark: Some(fingerprint(&["client", id, &place])),
            strangers: vec![(key("client_network", &[id, &place]), SECRET), (key("network", &[&place]), network)],
            known: vec![(key("known_client_network", &[id, &place]), SECRET), (key("known_network", &[&place]), network)],
        };
        self.attempt(counters).await
    }

    /// Allows an attempt by whoever `who` names: an address, a session's id, a network.
    ///
    /// # Errors
    /// The budget is spent.
    pub async fn check(&self, kind: Kind, who: &str) -> Result<Attempt<'_>, Throttled> {
        let (name, budget) = match kind {
            Kind::Guess => ("network", self.settings.network),
            Kind::Register => ("register", self.settings.register),
            Kind::Password => ("password", self.settings.account_network),
            Kind::Mail => ("mail", MAIL),
            Kind::OneTimeToken => ("one_time_token", SECRET),
            Kind::LogoutToken => ("logout_token", SECRET),
        };
        self.attempt(AttemptCounters { mark: None, strangers: vec![(key(name, &[who]), budget)], known: Vec::new() }).await
    }

    /// The same by network; what comes from nowhere, such as the command line, is not counted.
    ///
    /// # Errors
    /// The budget is spent.
    pub async fn check_network(&self, kind: Kind, from: Option<IpAddr>) -> Result<Attempt<'_>, Throttled> {
        match from {
            Some(address) => self.check(kind, &Network::of(address).to_string()).await,
            None => Ok(Attempt { throttle: self, counted: None }),
        }
    }

    /// Whether something was not told for a minute: what is refused without work must not make work by being recorded.
    #[must_use]
    pub fn is_news(&self, kind: &str, about: &str) -> bool {
        let news = (key(kind, &[about]), Budget { limit: 1, period: Duration::from_mins(1) });
        let counters = AttemptCounters { mark: None, strangers: vec![news], known: Vec::new() };
        matches!(self.local.take(&counters, self.clock.now()), Counted::Taken(_))
    }

    async fn attempt(&self, counters: AttemptCounters) -> Result<Attempt<'_>, Throttled> {
        if !self.settings.enabled {
            return Ok(Attempt { throttle: self, counted: None });
        }
        // An elapsed wait says that attempts are held for longer than any verification takes.
        let waited = tokio::time::timeout(WAIT_MAX, self.count_or_wait(&counters)).await;
        let (taken, shared) = waited.unwrap_or(Err(Throttled { retry_after: SECOND }))?;
        let holder = self.in_flight.enter(taken.iter().map(|(key, _)| key.clone()));
        let counted = CountedAttempt { taken, shared, mark: counters.mark, _holder: holder };
        Ok(Attempt { throttle: self, counted: Some(counted) })
    }

    async fn count_or_wait(&self, counters: &AttemptCounters) -> Result<(Vec<(String, Slot)>, bool), Throttled> {
        loop {
            let held = self.in_flight.held(counters.strangers.iter().chain(&counters.known).map(|(key, _)| key));
            let (key, retry_after) = match self.count(counters).await {
                (Counted::Taken(taken), shared) => return Ok((taken, shared)),
                (Counted::Spent { key, retry_after }, _) => (key, retry_after),
            };
            match self.in_flight.next_settled(&key) {
                Some(settled) => {
                    let place = WaitingPlace::take(&self.waiting);
                    let _place = place.ok_or(Throttled { retry_after: SECOND })?;
                    settled.await;
                }
                // The last of those who held it was decided between the question and this look.
                None if held.contains(&key) => {}
                None => return Err(Throttled { retry_after: retry_after.max(SECOND) }),
            }
        }
    }

    /// Counts, and says whether in Redis.
    async fn count(&self, counters: &AttemptCounters) -> (Counted, bool) {
        let now = self.clock.now();
        if let Some(shared) = &self.shared {
            match shared.take(counters, now).await {
                Ok(counted) => {
                    self.degraded.store(false, Ordering::Relaxed);
                    return (counted, true);
                }
                Err(error) => self.report(&error),
            }
        }
        (self.local.take(counters, now), false)
    }

    fn report(&self, error: &(dyn Error + 'static)) {
        // One line per outage.
        if !self.degraded.swap(true, Ordering::Relaxed) {
            tracing::warn!(error, "attempts are counted by this process alone until redis answers");
        }
    }
}

impl Attempt<'_> {
    /// The right password: the attempt does not count, and the network becomes known for the account.
    pub async fn succeeded(self) {
        self.settle(true).await;
    }

    /// It was no guess: it broke a rule before anything was compared, or failed through no fault of its caller.
    pub async fn give_back(self) {
        self.settle(false).await;
    }

    /// A wrong guess: it stays counted.
    pub fn failed(self) {}

    async fn settle(self, known: bool) {
        let Some(counted) = self.counted else { return };
        let now = self.throttle.clock.now();
        let known_for = self.throttle.settings.known_for;
        let mark = counted.mark.as_deref().filter(|_| known);
        if let Some(mark) = mark {
            // Here, too, for when Redis is down or has lost its data.
            self.throttle.local.mark(mark, known_for, now);
        }
        match &self.throttle.shared {
            Some(shared) if counted.shared => {
                // What cannot be given back stays counted: a little too strict for a while.
                if let Err(error) = shared.give_back(&counted.taken, mark.map(|mark| (mark, known_for)), now).await {
                    self.throttle.report(&error);
                }
            }
            _ => self.throttle.local.give_back(&counted.taken),
        }
    }
}

/// A place among those who wait; given back however the wait ends.
struct WaitingPlace<'a>(&'a AtomicUsize);

impl<'a> WaitingPlace<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let one_more = |places| (places < WAITING_MAX).then_some(places + 1);
        waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Self(waiting))
    }
}

impl Drop for WaitingPlace<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A counter's key. Names are hashed: people type their passwords into the wrong field.
fn key(kind: &str, parts: &[&str]) -> String {
    format!("{kind}:{}", fingerprint(parts))
}

/// 128 bits of SHA-256 over the parts, each with its length, in hexadecimal.
fn fingerprint(parts: &[&str]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    context.finish().as_ref()[..16].iter().fold(String::with_capacity(32), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
