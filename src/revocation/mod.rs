//! Whether a token was revoked: the one question that every proxied request asks, and the one promise that
//! nothing acknowledged is ever forgotten.
//!
//! SQL remembers ([`RevocationLog`]), a fast copy answers ([`RevokedSet`]). Whoever ends something writes SQL
//! first, then calls [`Revocations::publish`], and only then tells anyone. [`Revocations::maintain`] keeps the
//! copy complete: it fills it at the start, rebuilds it when it lost its contents, and retries what could not be
//! published. While the copy is not known to be complete, a record that is not found means "not known".
//!
//! **`iat` is whole seconds.** A [`Covers::Principal`](crate::store::Covers::Principal) record revokes tokens whose
//! `iat` is strictly before an instant of millisecond precision. Every token issued earlier in the same second has
//! an `iat` before it and is caught; so is a token issued *later* in that second. A caller that issues a token after
//! revoking a principal therefore has to round its `iat` up to the next second, or end sessions one by one instead.

mod follower;
mod following;
pub mod mirror;
mod observe;
pub mod streams;
mod unpublished;
mod upkeep;
pub mod verdict;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use self::following::Following;
use self::mirror::MirrorBounds;
pub use self::observe::ObserveRevocations;
use self::unpublished::Unpublished;
pub use self::verdict::{CheckRevocation, UnknownWhy, Verdict};
use crate::clock::Clock;
use crate::identity::TokenFacts;
use crate::store::{Revocation, RevocationFeed, RevocationLog, RevokedBy, RevokedSet, StoreError};
use crate::telemetry::labels::{CheckMode, CheckVerdict};
use crate::telemetry::metrics::{Metrics, RevocationMetrics};

/// How long the publication of a revocation may take before its caller is told to come back. Not on the request's
/// path: it may be patient enough for a hiccup, and no more than a person is.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(1);

/// Where look-ups are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In this process' memory: for one replica without Redis.
    Embedded,
    /// In Redis, one round trip for every request; the bound on staleness is zero.
    Strict,
    /// For live tokens in this process' mirror of Redis, which is never older than a bound; otherwise in Redis.
    Mirror,
}

impl Mode {
    /// The word for metrics and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Strict => "strict",
            Self::Mirror => "mirror",
        }
    }

    /// Where the look-ups go that take a while.
    const fn label(self) -> CheckMode {
        match self {
            Self::Embedded => CheckMode::Memory,
            Self::Strict | Self::Mirror => CheckMode::Strict,
        }
    }
}

/// A revocation is remembered in SQL but not yet in force on every replica. It is retried until it is; the caller
/// must not report success, and may be asked to repeat the operation.
#[derive(Debug, thiserror::Error)]
#[error("the revocation is recorded but could not be published yet")]
pub struct NotPublished(#[source] Option<StoreError>);

/// The revoked set, its deadline and its upkeep.
pub struct Revocations {
    set: Arc<dyn RevokedSet>,
    log: Arc<dyn RevocationLog>,
    deadline: Duration,
    clock: Arc<dyn Clock>,
    mode: Mode,
    following: Option<Following>,
    unpublished: Unpublished,
    /// Whether the set was completed since the start or since it last lost its contents.
    complete: AtomicBool,
    metrics: Arc<Metrics>,
    counters: RevocationMetrics,
    observer: Option<Arc<dyn ObserveRevocations>>,
    /// Of what the mirror answers.
    mirror_counters: RevocationMetrics,
}

impl std::fmt::Debug for Revocations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Revocations").field("mode", &self.mode).field("complete", &self.complete).finish_non_exhaustive()
    }
}

impl Revocations {
    /// The revocations remembered by `log` and answered by `set` within `deadline`. Answers nothing but "unknown"
    /// until [`Self::maintain`] runs.
    #[must_use]
    pub fn new(
        set: Arc<dyn RevokedSet>,
        log: Arc<dyn RevocationLog>,
        deadline: Duration,
        clock: Arc<dyn Clock>,
        mode: Mode,
    ) -> Self {
        let (unpublished, complete) = (Unpublished::default(), AtomicBool::new(false));
        let metrics = Arc::new(Metrics::new());
        let (counters, mirror_counters) = (metrics.revocation(mode.label()), metrics.revocation(CheckMode::Mirror));
        Self {
            set,
            log,
            deadline,
            clock,
            mode,
            following: None,
            unpublished,
            complete,
            metrics,
            counters,
            mirror_counters,
            observer: None,
        }
    }

    /// Follows this feed. With bounds, which [`Mode::Mirror`] asks for, live tokens are answered for by a mirror of what
    /// it brings; without, it costs no request anything and changes no answer.
    #[must_use]
    pub fn fed_by(self, feed: Arc<dyn RevocationFeed>, mirror: Option<MirrorBounds>) -> Self {
        let following = Following::new(feed, mirror, &*self.clock);
        Self { following: Some(following), ..self }
    }

    /// Counts in `metrics` instead of in a registry that nobody reads.
    #[must_use]
    pub fn counted_by(self, metrics: Arc<Metrics>) -> Self {
        let (counters, mirror_counters) = (metrics.revocation(self.mode.label()), metrics.revocation(CheckMode::Mirror));
        Self { metrics, counters, mirror_counters, ..self }
    }

    /// Tells `observer` of every revocation that this process learns of.
    #[must_use]
    pub fn observed_by(self, observer: Arc<dyn ObserveRevocations>) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// Tells of revocations that are in force on this replica.
    fn tell(&self, revocations: &[Revocation]) {
        if let Some(observer) = &self.observer {
            observer.revoked(revocations);
        }
    }

    /// Has look-ups answered within the runtime that this is called in: that of the requests.
    pub fn serve_here(&self) {
        self.set.serve_here();
    }

    /// Where look-ups are answered.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// How many revocations are remembered in SQL and not yet published, for metrics.
    #[must_use]
    pub fn pending_publications(&self) -> usize {
        self.unpublished.len()
    }

    /// Whether the set answers and is what it was when it was completed, for `/readyz`. A loss that no request has
    /// met yet is noticed here, and repaired.
    ///
    /// # Errors
    /// Why look-ups would fail.
    pub async fn probe(&self) -> Result<(), StoreError> {
        self.set.probe_completeness().await
    }

    /// Whether the set was completed and has not been found wanting since, for `/readyz`.
    ///
    /// # Errors
    /// What is missing, for people.
    pub fn ready(&self) -> Result<(), &'static str> {
        if !self.is_complete() {
            return Err("the revoked set is not complete: it is being loaded from SQL");
        }
        self.mirror_ready()
    }

    /// Remembers revocations that end no session: those that do are written with its end. To be published afterwards.
    ///
    /// # Errors
    /// The store cannot be reached; nothing is revoked.
    pub async fn record(&self, revocations: &[Revocation]) -> Result<(), StoreError> {
        self.log.record(revocations).await
    }

    /// Puts revocations, which SQL remembers already, in force on every replica. On this one they are in force as
    /// soon as this is called, and stay so whether it succeeds, fails or is cancelled.
    ///
    /// # Errors
    /// [`NotPublished`] after a second; publication goes on in the background.
    pub async fn publish(&self, revocations: &[Revocation]) -> Result<(), NotPublished> {
        if revocations.is_empty() {
            return Ok(());
        }
        // Noted before the attempt: a caller that is dropped half-way must not take the revocations with it.
        let pending = self.unpublished.add(revocations);
        // The feed brings them back later than the caller may be told. If there is no room, the mirror knows it.
        self.learned(revocations, self.clock.now());
        let attempt = tokio::time::timeout(PUBLISH_DEADLINE, self.set.publish(revocations, self.clock.now())).await;
        let failure = match attempt {
            Ok(Ok(())) => {
                pending.published();
                return Ok(());
            }
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        // Dropping the note, here or by cancellation, leaves its records to the upkeep.
        drop(pending);
        self.metrics.publications_pending(self.pending_publications());
        Err(NotPublished(failure))
    }

    fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire) && !self.unpublished.overflowed()
    }

    async fn verdict(&self, token: &TokenFacts) -> Verdict {
        if let Some(by) = self.unpublished.covering(token) {
            return Verdict::Revoked(by);
        }
        match self.look_up(token).await {
            Ok(Some(by)) => Verdict::Revoked(by),
            Ok(None) => Verdict::Live,
            Err(_) if self.suspects(token) => Verdict::Unknown(UnknownWhy::Suspected),
            Err(why) => Verdict::Unknown(why),
        }
    }

    /// Whether the mirror, if there is one, has something that may cover the token. However old it is: nothing that was
    /// revoked comes back.
    fn suspects(&self, token: &TokenFacts) -> bool {
        self.following.as_ref().and_then(Following::mirror).is_some_and(|mirror| mirror.may_cover(token))
    }

    async fn look_up(&self, token: &TokenFacts) -> Result<Option<RevokedBy>, UnknownWhy> {
        let found = match self.mode {
            // Memory answers without waiting; a timer would cost more than the look-up.
            Mode::Embedded => self.set.lookup(token).await,
            Mode::Strict | Mode::Mirror => {
                tokio::time::timeout(self.deadline, self.set.lookup(token)).await.map_err(|_| UnknownWhy::Deadline)?
            }
        };
        match found {
            Ok(Some(by)) => Ok(Some(by)),
            Ok(None) if self.is_complete() => Ok(None),
            Ok(None) => Err(UnknownWhy::Rebuilding),
            Err(_) if self.is_complete() => Err(UnknownWhy::Unavailable),
            Err(_) => Err(UnknownWhy::Rebuilding),
        }
    }
}

#[async_trait]
impl CheckRevocation for Revocations {
    fn at_hand(&self, token: &TokenFacts) -> Option<Verdict> {
        let mirror = self.following.as_ref()?.mirror()?;
        let started = self.clock.monotonic();
        // What is being published is in the mirror, too: it was put there first.
        if !mirror.is_live(token, started) {
            return None;
        }
        self.mirror_counters.checked(CheckVerdict::Live, self.clock.monotonic().saturating_duration_since(started));
        Some(Verdict::Live)
    }

    async fn check(&self, token: &TokenFacts) -> Verdict {
        let started = self.clock.monotonic();
        let verdict = self.verdict(token).await;
        self.counters.checked(verdict.label(), self.clock.monotonic().saturating_duration_since(started));
        verdict
    }
}

#[cfg(test)]
mod tests;
