//! What ends streams: revocations as they are told, the end of sessions and tokens, and, where nobody tells what other
//! replicas revoke, asking the revoked set again and again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::OptionFuture;
use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use tokio::time::{Interval, MissedTickBehavior};

use super::slot::{Seen, Slot};
use super::{OpenStreams, end_by};
use crate::identity::Credential;
use crate::identity::foreign_token::ForeignPolicy;
use crate::identity::session::Session;
use crate::revocation::{Mode, Revocations, Verdict};
use crate::store::{RevokedBy, Sessions};
use crate::telemetry::labels::StreamEnd;

/// How often streams are looked at. With [`super::slot::LONG`] it is how late one may end.
const ROUND: Duration = Duration::from_millis(250);
/// How often the set is asked about every stream, while nobody tells of revocations.
const SWEEP: Duration = Duration::from_millis(500);
/// How often while the feed tells of revocations: programs that write records may leave the feed out.
const SWEEP_UNTOLD: Duration = Duration::from_secs(5);
/// What ends before is not asked about: it was asked about when it began.
const SWEPT_AFTER: Duration = Duration::from_millis(250);
/// Questions to the set at a time: a few batches. Requests must not wait behind ten thousand streams.
const ASKED_AT_ONCE: usize = 256;
/// Questions to the database at a time, of a pool that logins need.
const SESSIONS_AT_ONCE: usize = 4;
/// How long the database may take for one. The others wait meanwhile.
const SESSION_DEADLINE: Duration = Duration::from_secs(2);
/// When a database that did not answer is asked again about a session.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// Between two comparisons with all places, as a multiple of what one takes: a tenth of a core.
const PAUSE: u32 = 9;
/// The longest pause. On a machine that has too much to do, a comparison takes as long as it is kept from running.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Whom the watch asks.
pub struct StreamWatch {
    /// The streams.
    pub streams: Arc<OpenStreams>,
    /// What was revoked.
    pub revocations: Arc<Revocations>,
    /// When sessions end.
    pub sessions: Arc<dyn Sessions>,
    /// How long a token is believed beyond its expiry.
    pub skew: Duration,
    /// What is accepted of other issuers now, whose tokens are believed for as long as is said there.
    pub foreign: Box<dyn Fn() -> Vec<Arc<ForeignPolicy>> + Send + Sync>,
}

impl std::fmt::Debug for StreamWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamWatch").field("streams", &self.streams).finish_non_exhaustive()
    }
}

impl StreamWatch {
    /// Ends streams, for ever. Exactly one task should run this.
    pub async fn run(self) {
        tokio::join!(self.cut_when_told(), self.rounds(), self.sweeps());
    }

    async fn cut_when_told(&self) {
        loop {
            self.streams.told.notified().await;
            let began = self.streams.clock.monotonic();
            self.streams.cut();
            let took = self.streams.clock.monotonic().saturating_duration_since(began);
            // What is told meanwhile is compared at once: a thousand logouts a second are a few comparisons.
            tokio::time::sleep((took * PAUSE).min(PAUSE_MAX)).await;
        }
    }

    async fn rounds(&self) {
        let mut rounds = every(ROUND);
        // Beside the looking: a database that takes long must not delay the end of streams that need none.
        let mut asking = None;
        loop {
            tokio::select! {
                _ = rounds.tick() => {
                    let over = self.look();
                    if asking.is_none() && !over.is_empty() {
                        // Few at a time: most tokens are renewed in time, and all streams of a restart ask at different instants.
                        let ask = |(slot, seen)| self.ask_session(slot, seen);
                        asking = Some(Box::pin(stream::iter(over).for_each_concurrent(SESSIONS_AT_ONCE, ask)));
                    }
                }
                Some(()) = OptionFuture::from(asking.as_mut()) => asking = None,
            }
        }
    }

    /// Ends what is condemned and lasts, and what was admitted by a token that has expired. What was admitted by a session
    /// may go on while that does, however often its tokens are renewed: those are returned.
    fn look(&self) -> Vec<(Arc<Slot>, Seen)> {
        let streams = &self.streams;
        let (now, wall) = (streams.clock.monotonic(), streams.clock.now());
        let (mut open, mut over, foreign) = (0, Vec::new(), (self.foreign)());
        for slot in streams.slots.pin().values() {
            let Some(seen) = slot.seen(now) else { continue };
            open += usize::from(slot.is_stream(seen.age));
            if let Some(why) = slot.condemned() {
                streams.condemn(slot, seen.number, why);
            } else if seen.until.unwrap_or_else(|| self.until(&seen, &foreign)) > wall {
            } else if seen.caller.principal.credential == Credential::Session {
                over.push((Arc::clone(slot), seen));
            } else {
                streams.condemn(slot, seen.number, StreamEnd::Expired);
            }
        }
        streams.metrics.streams_open(open);
        over
    }

    /// When the token that admitted it is refused.
    fn until(&self, seen: &Seen, foreign: &[Arc<ForeignPolicy>]) -> Timestamp {
        let token = &seen.caller.token;
        let skew = foreign.iter().find(|policy| *policy.issuer == *token.issuer).map_or(self.skew, |policy| policy.skew);
        token.expires_at.saturating_add(skew).unwrap_or(Timestamp::MAX)
    }

    async fn ask_session(&self, slot: Arc<Slot>, seen: Seen) {
        let now = self.streams.clock.now();
        let found = tokio::time::timeout(SESSION_DEADLINE, self.sessions.find(seen.caller.principal.session)).await;
        match found {
            Ok(Ok(Some(session))) if ends(&session) > now => slot.extend(seen.number, ends(&session)),
            // It is recorded; that it was published may not have come here yet.
            Ok(Ok(Some(Session { ended_at: Some(_), .. }))) => {
                self.streams.condemn(&slot, seen.number, end_by(RevokedBy::Session));
            }
            Ok(Ok(_)) => self.streams.condemn(&slot, seen.number, StreamEnd::Expired),
            // It was good when it was last asked about, and what ends it by hand is told.
            Ok(Err(_)) | Err(_) => {
                tracing::debug!("whether the session of a stream has ended is not known");
                slot.extend(seen.number, now + ASK_AGAIN);
            }
        }
    }

    async fn sweeps(&self) {
        let mut sweeps = every(SWEEP);
        let mut swept = self.streams.clock.monotonic();
        loop {
            sweeps.tick().await;
            let unsure = self.streams.unsure.swap(false, Ordering::AcqRel);
            let now = self.streams.clock.monotonic();
            let untold = self.revocations.mode() != Mode::Embedded
                && (!self.revocations.hears_of_others(now) || now.saturating_duration_since(swept) >= SWEEP_UNTOLD);
            if !unsure && !untold {
                continue;
            }
            swept = now;
            if !self.sweep().await {
                // The set does not answer: new requests are refused, and what is open is asked about when it does.
                self.streams.unsure.fetch_or(unsure, Ordering::AcqRel);
            }
        }
    }

    /// Asks about every stream; false if there was no answer.
    async fn sweep(&self) -> bool {
        let now = self.streams.clock.monotonic();
        let all: Vec<_> =
            self.streams.slots.pin().values().filter_map(|slot| Some((Arc::clone(slot), slot.seen(now)?))).collect();
        let lasting = all.into_iter().filter(|(_, seen)| seen.age >= SWEPT_AFTER);
        let ask = |(slot, seen): (Arc<Slot>, Seen)| async move {
            let verdict = self.revocations.verdict(&seen.caller.token).await;
            (slot, seen.number, verdict)
        };
        let mut verdicts = std::pin::pin!(stream::iter(lasting).map(ask).buffer_unordered(ASKED_AT_ONCE));
        while let Some((slot, number, verdict)) = verdicts.next().await {
            match verdict {
                Verdict::Live => {}
                Verdict::Revoked(by) => self.streams.condemn(&slot, number, end_by(by)),
                Verdict::Unknown(_) => return false,
            }
        }
        true
    }
}

/// When nothing of a session is good any more, unless it is refreshed before.
fn ends(session: &Session) -> Timestamp {
    let by_itself = session.ends_at.min(session.refresh_expires_at);
    session.ended_at.map_or(by_itself, |ended| ended.min(by_itself))
}

fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
