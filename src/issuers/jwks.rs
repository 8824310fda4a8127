//! The key set of one issuer: fetched by a task, kept over restarts, and believed for a bounded time.
//!
//! A set that cannot be fetched or read changes nothing: the last good one stays in force until it is older than
//! `keep_for`, and then there is none. Unknown key ids ask for another fetch, which happens once `every_min` has passed
//! since the last one, however many ask.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use reqwest::Client;
use tokio::sync::{Notify, watch};

use super::IssuerParts;
use super::http::{self, HttpError};
use super::kept::{self, Kept};
use crate::clock::Clock;
use crate::identity::foreign_token::IssuerKeys;
use crate::identity::public_keys::{PublicKeys, PublicKeysError};
use crate::telemetry::labels::JwksState;
use crate::telemetry::metrics::JwksMetrics;

/// The first pause after a failure; it doubles up to `every_min`.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Where a key set is, and how old it may become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwksSettings {
    /// `https://…`, or `http://` on this machine.
    pub url: String,
    /// The shortest pause between two fetches.
    pub every_min: Duration,
    /// The longest, whatever the issuer's `Cache-Control` says.
    pub every_max: Duration,
    /// How old a set may become that cannot be fetched again.
    pub keep_for: Duration,
    /// How long a fetch may take.
    pub timeout: Duration,
}

/// A set in force.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) keys: IssuerKeys,
    /// Changes with the set, and only then.
    pub(super) edition: u64,
    text: String,
}

/// When it was last seen at the issuer.
pub(super) struct Seen {
    known: Arc<Known>,
    at: Timestamp,
}

/// The key set of one issuer.
pub(super) struct Jwks {
    name: Box<str>,
    issuer: Arc<str>,
    settings: JwksSettings,
    /// Why there is none, if there is none.
    client: Result<Client, String>,
    seen: ArcSwapOption<Seen>,
    wanted: Notify,
    /// How many fetches were begun, and which of them was the last that brought keys.
    begun: AtomicU64,
    fetched: watch::Sender<u64>,
    clock: Arc<dyn Clock>,
    metrics: JwksMetrics,
    file: PathBuf,
}

#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the key set cannot be fetched: {0}")]
    Http(#[from] HttpError),
    #[error("the key set is not usable: {0}")]
    Keys(#[from] PublicKeysError),
    #[error("the key set is not text")]
    Text,
}

impl Known {
    /// Keys that never change.
    pub(super) fn for_ever(keys: IssuerKeys) -> Self {
        Self { keys, edition: 0, text: String::new() }
    }
}

impl Jwks {
    /// The key set as it was last seen, or else as it was kept. A file that cannot be used is reported and does as much as
    /// none.
    pub(super) fn new(
        name: &str,
        issuer: &Arc<str>,
        settings: JwksSettings,
        client: Result<Client, String>,
        seen: Option<Arc<Seen>>,
        parts: &IssuerParts,
    ) -> Self {
        let file = kept::path(&parts.directory, issuer);
        let jwks = Self {
            name: name.into(),
            issuer: Arc::clone(issuer),
            client,
            seen: ArcSwapOption::new(seen),
            wanted: Notify::new(),
            begun: AtomicU64::new(0),
            fetched: watch::Sender::new(0),
            clock: Arc::clone(&parts.clock),
            metrics: parts.metrics.jwks(name),
            file,
            settings,
        };
        match kept::read(&jwks.file, issuer, &jwks.settings.url) {
            _ if jwks.seen.load().is_some() => {}
            // What is said to come from the future may be as old as it likes.
            Ok(Some(kept)) if kept.fetched_at <= jwks.clock.now() => {
                if let Err(error) = jwks.take(kept.jwks, kept.fetched_at) {
                    tracing::warn!(issuer = name, file = %jwks.file.display(), %error, "the kept keys of an issuer are not used");
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(issuer = name, file = %jwks.file.display(), %error, "the kept keys of an issuer are not read");
            }
        }
        jwks.show(false);
        jwks
    }

    /// The set, unless it is older at `now` than it may become.
    pub(super) fn known(&self, now: Timestamp) -> Option<Arc<Known>> {
        let seen = self.seen.load();
        let seen = seen.as_ref()?;
        let age = u128::try_from(now.as_nanosecond() - seen.at.as_nanosecond()).unwrap_or_default();
        (age < self.settings.keep_for.as_nanos()).then(|| Arc::clone(&seen.known))
    }

    /// The set that was last seen, if it was at this URL: for who takes the place of this.
    pub(super) fn seen_at(&self, url: &str) -> Option<Arc<Seen>> {
        self.seen.load_full().filter(|_| self.settings.url == url)
    }

    /// Asks for a fetch as soon as one may be.
    pub(super) fn want(&self) {
        self.wanted.notify_one();
    }

    /// Asks for a fetch and waits for it; none if it does not come within the time that one may take.
    pub(super) async fn fetched_again(&self) -> Option<()> {
        // One that is on its way may bring what was there before.
        let begun = self.begun.load(Ordering::SeqCst);
        let mut fetched = self.fetched.subscribe();
        self.want();
        tokio::time::timeout(self.settings.timeout, fetched.wait_for(|fetch| *fetch > begun)).await.ok()?.ok().map(drop)
    }

    /// Fetches for ever.
    pub(super) async fn keep_fetching(&self) {
        let mut failures = 0;
        loop {
            match self.fetch().await {
                Ok(max_age) => {
                    failures = 0;
                    self.show(true);
                    let JwksSettings { every_min, every_max, .. } = self.settings;
                    let pause = max_age.unwrap_or(every_max).clamp(every_min, every_max);
                    // What is wanted meanwhile is remembered, once.
                    tokio::time::sleep(every_min).await;
                    let rest = tokio::time::timeout(pause.saturating_sub(every_min), self.wanted.notified());
                    // Either way it is time.
                    let _ = rest.await;
                }
                Err(error) => {
                    tracing::warn!(issuer = &*self.name, %error, "the keys of an issuer are not renewed");
                    self.show(false);
                    let pause = RETRY_AFTER.saturating_mul(1 << failures).min(self.settings.every_min);
                    failures = (failures + 1).min(16);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Fetches once and takes what comes; says how long the issuer wants it to be believed.
    async fn fetch(&self) -> Result<Option<Duration>, FetchError> {
        // Before the issuer is asked: what it answers may be older than any later instant.
        let (now, number) = (self.clock.now(), self.begun.fetch_add(1, Ordering::SeqCst) + 1);
        let client = self.client.as_ref().map_err(|why| HttpError::NoClient(why.clone()))?;
        let response = client.get(&self.settings.url).header("accept", "application/json").send().await;
        let response = response.map_err(HttpError::from)?;
        let max_age = http::max_age(&response);
        let text = String::from_utf8(http::json(response).await?).map_err(|_| FetchError::Text)?;
        self.take(text.clone(), now)?;
        // Whoever waits need not wait for the file.
        self.fetched.send_replace(number);
        let kept = Kept { issuer: self.issuer.to_string(), url: self.settings.url.clone(), fetched_at: now, jwks: text };
        let file = self.file.clone();
        let written = tokio::task::spawn_blocking(move || kept::write(&file, &kept)).await;
        if let Ok(Err(error)) = written {
            let file = self.file.display();
            tracing::warn!(issuer = &*self.name, %file, %error, "the keys of an issuer are not kept for the next start");
        }
        Ok(max_age)
    }

    /// Puts a set in force, if it is good.
    fn take(&self, text: String, at: Timestamp) -> Result<(), PublicKeysError> {
        let before = self.seen.load_full();
        if let Some(before) = before.as_ref().filter(|before| before.known.text == text) {
            self.seen.store(Some(Arc::new(Seen { known: Arc::clone(&before.known), at })));
            return Ok(());
        }
        let (keys, left_out) = PublicKeys::parse_usable(&text)?;
        if left_out > 0 {
            tracing::warn!(issuer = &*self.name, left_out, "keys of an issuer are not used: not for signatures, or too weak");
        }
        let edition = before.map_or(0, |before| before.known.edition + 1);
        let known = Arc::new(Known { keys: IssuerKeys::Public(keys), edition, text });
        self.seen.store(Some(Arc::new(Seen { known, at })));
        tracing::info!(issuer = &*self.name, edition, "the keys of an issuer are in force");
        Ok(())
    }

    fn show(&self, fetched: bool) {
        let state = match self.known(self.clock.now()) {
            None => JwksState::Missing,
            Some(_) if fetched => JwksState::Fresh,
            Some(_) => JwksState::Stale,
        };
        self.metrics.is(state, self.seen.load().as_ref().map(|seen| seen.at.as_second()));
    }
}
