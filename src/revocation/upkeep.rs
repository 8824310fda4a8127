//! What keeps the revoked set complete: one task per process.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{Mode, Revocations};
use crate::store::StoreError;
use crate::store::backoff::Backoff;
use crate::telemetry::labels::{Label, RepublicationCause};

const FIRST_RETRY: Duration = Duration::from_millis(50);
/// Recovery must not take longer than a few seconds once the stores are back.
const LONGEST_RETRY: Duration = Duration::from_secs(2);
/// How often the embedded set looks for records of other processes; the bound on how late it enforces theirs.
const FOLLOW: Duration = Duration::from_secs(1);
/// How often expired records are removed.
const SWEEP: Duration = Duration::from_secs(60);
/// How long records are kept beyond their expiry, in SQL and in memory. A wall clock that is set forward by mistake,
/// here or on one replica of many, must not make anything forget what still matters once it is set back.
const FORGET_AFTER: Duration = Duration::from_secs(3600);
/// Records per page of a rebuild.
const PAGE: u32 = 1000;
/// Rows per sweep of SQL, so that a large backlog does not hold up logins.
const PURGE: u32 = 10_000;

impl Revocations {
    /// Takes over at once what other processes recorded in SQL, such as the command line, instead of at the next
    /// turn.
    ///
    /// # Errors
    /// SQL or the set does not answer.
    pub async fn follow_now(&self) -> Result<(), StoreError> {
        let mut from_the_first = i64::MIN;
        self.follow(&mut from_the_first).await
    }

    /// Fills the set, rebuilds it whenever it lost its contents, retries what could not be published and removes
    /// what has expired, and follows the feed, until cancelled. Exactly one task should run this.
    pub async fn maintain(self: Arc<Self>, cancel: CancellationToken) {
        let upkeep = async { tokio::join!(self.keep_complete(), self.follow_feed()) };
        cancel.run_until_cancelled(upkeep).await;
    }

    async fn keep_complete(&self) {
        let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
        let (mut sweep, mut follow) = (every(SWEEP), every(FOLLOW));
        let mut seen = i64::MIN;
        let mut reported = false;
        let mut lost = RepublicationCause::Start;
        loop {
            let outcome = if self.unpublished.overflowed() {
                self.rebuild(&mut seen, RepublicationCause::PublishFailed).await
            } else {
                tokio::select! {
                    biased;
                    () = self.set.needs_rebuild() => self.rebuild(&mut seen, lost).await,
                    () = self.unpublished.left() => self.publish_left_over().await,
                    _ = follow.tick(), if self.mode == Mode::Embedded => self.follow(&mut seen).await,
                    _ = sweep.tick() => self.sweep().await,
                }
            };
            match outcome {
                Ok(()) => {
                    if self.is_complete() {
                        lost = RepublicationCause::Amnesia;
                    }
                    backoff.reset();
                    reported = false;
                }
                Err(error) => {
                    // One line per outage; further attempts are not news.
                    if !std::mem::replace(&mut reported, true) {
                        tracing::warn!(error = &error as &dyn Error, "the revoked set cannot be kept complete; trying again");
                    }
                    self.unpublished.retry();
                    tokio::time::sleep(backoff.next_wait()).await;
                }
            }
        }
    }

    /// Publishes every unexpired record of SQL and declares the set complete.
    async fn rebuild(&self, seen: &mut i64, cause: RepublicationCause) -> Result<(), StoreError> {
        self.complete.store(false, Ordering::Release);
        let overflowed = self.unpublished.take_overflow();
        let outcome = self.republish(seen).await;
        match &outcome {
            Ok(records) => {
                self.complete.store(true, Ordering::Release);
                self.metrics.republished(cause);
                tracing::info!(records, cause = cause.word(), "the revoked set is complete");
            }
            Err(_) if overflowed => self.unpublished.put_overflow(),
            Err(_) => {}
        }
        outcome.map(drop)
    }

    async fn republish(&self, seen: &mut i64) -> Result<usize, StoreError> {
        // The mark comes before the first read: whatever is recorded after that read is published by whoever recorded
        // it, and whatever the set loses after the mark takes the mark with it.
        let ticket = self.set.begin_rebuild().await?;
        *seen = i64::MIN;
        let published = self.publish_recorded(seen).await?;
        self.set.finish_rebuild(ticket).await?;
        Ok(published)
    }

    /// Publishes the unexpired records of SQL after the sequence number `seen`, and moves it to the last of them.
    async fn publish_recorded(&self, seen: &mut i64) -> Result<usize, StoreError> {
        let mut published = 0;
        loop {
            let now = self.clock.now();
            let page = self.log.unexpired(now, *seen, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(published) };
            let last = *last;
            let records: Vec<_> = page.into_iter().map(|(_, revocation)| revocation).collect();
            self.set.restore(&records, now).await?;
            self.tell(&records);
            published += records.len();
            *seen = last;
        }
    }

    /// Takes over what other processes recorded: the command line, which cannot reach this process' memory.
    async fn follow(&self, seen: &mut i64) -> Result<(), StoreError> {
        self.publish_recorded(seen).await.map(drop)
    }

    async fn publish_left_over(&self) -> Result<(), StoreError> {
        let (numbers, records) = self.unpublished.left_over();
        if records.is_empty() {
            return Ok(());
        }
        self.set.publish(&records, self.clock.now()).await?;
        self.unpublished.remove(numbers);
        self.metrics.publications_pending(self.pending_publications());
        tracing::info!(records = records.len(), "revocations that were left over are published");
        Ok(())
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        let before = self.clock.now() - FORGET_AFTER;
        self.set.forget_expired(before);
        self.log.purge(before, PURGE).await.map(drop)
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
