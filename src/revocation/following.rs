//! Follows the feed, beside the requests: performs what the [`Follower`] orders, against Redis and SQL.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::Revocations;
use super::follower::{Command, ENTRIES_PER_READ, Event, Follower};
use super::mirror::{Freshness, KEEP_BEYOND, Mirror, MirrorBounds};
use crate::clock::Clock;
use crate::store::backoff::Backoff;
use crate::store::{Revocation, RevocationFeed, StoreError};
use crate::telemetry::metrics::MirrorState;

const FIRST_REST: Duration = Duration::from_millis(20);
/// Recovery must not take longer than that once Redis is back.
const LONGEST_REST: Duration = Duration::from_secs(1);
/// How often is proved that nothing is missing, as a part of the staleness that is accepted: a lost answer or two do not
/// send requests to Redis.
const PROOFS_PER_BOUND: u32 = 5;
/// How often it is proved without a mirror, which nobody waits for.
const PROOF_EVERY: Duration = Duration::from_millis(500);
/// Records per page of SQL. Rows take much more room than records, and all of a page at once.
const PAGE: u32 = 2000;
/// How often what has expired is dropped, and how the mirror is is shown.
const LOOK_AFTER: Duration = Duration::from_millis(500);

/// The feed, and what is kept of it.
pub(super) struct Following {
    feed: Arc<dyn RevocationFeed>,
    heartbeat: Duration,
    kept: Kept,
}

/// What becomes of what is learned.
enum Kept {
    /// It answers requests.
    Mirror(Mirror),
    /// Nothing of it is kept; how far the feed was followed is known.
    Nothing(Freshness),
}

impl Following {
    /// A mirror within these bounds, or without any somebody who only listens.
    pub(super) fn new(feed: Arc<dyn RevocationFeed>, mirror: Option<MirrorBounds>, clock: &dyn Clock) -> Self {
        let now = clock.monotonic();
        match mirror {
            Some(bounds) => {
                let heartbeat = bounds.staleness_max / PROOFS_PER_BOUND;
                Self { feed, heartbeat, kept: Kept::Mirror(Mirror::new(bounds, now)) }
            }
            None => Self { feed, heartbeat: PROOF_EVERY, kept: Kept::Nothing(Freshness::new(PROOF_EVERY, now)) },
        }
    }

    pub(super) fn mirror(&self) -> Option<&Mirror> {
        match &self.kept {
            Kept::Mirror(mirror) => Some(mirror),
            Kept::Nothing(_) => None,
        }
    }

    fn freshness(&self) -> &Freshness {
        match &self.kept {
            Kept::Mirror(mirror) => &mirror.freshness,
            Kept::Nothing(freshness) => freshness,
        }
    }
}

impl Revocations {
    /// Everything that this process learns of revocations, by its own doing or from the feed, comes through here, and
    /// only here. Their lives are counted from `wall`: the reading of the clock by which they were read, not a later one,
    /// because it may step. False if the mirror cannot hold them.
    pub(super) fn learned(&self, records: &[Revocation], wall: Timestamp) -> bool {
        let mirror = self.following.as_ref().and_then(Following::mirror);
        let taken_in = mirror.is_none_or(|mirror| mirror.insert(records, wall, self.clock.monotonic()));
        // In force, then told: whoever is admitted in between compares what was told since.
        self.tell(records);
        taken_in
    }

    /// Anything may have been revoked without this process having learned of it. A mirror reads SQL again by itself;
    /// what was admitted earlier has to be judged anew.
    fn missed(&self) {
        if let Some(observer) = &self.observer {
            observer.check_all();
        }
    }

    /// Whether revocations of other replicas are told of within moments.
    pub(super) fn hears_of_others(&self, now: Instant) -> bool {
        let staleness = self.following.as_ref().and_then(|following| following.freshness().staleness(now));
        staleness.is_some_and(|staleness| staleness <= 2 * PROOF_EVERY)
    }

    /// Follows the feed for ever.
    pub(super) async fn follow_feed(&self) {
        let Some(following) = &self.following else { return std::future::pending().await };
        tokio::join!(self.keep_following(following), self.look_after(following));
    }

    async fn keep_following(&self, following: &Following) {
        let mut follower = Follower::new(following.mirror().is_some());
        let mut rest = Rest { backoff: Backoff::new(FIRST_REST, LONGEST_REST), reported: false };
        let mut command = follower.begin();
        loop {
            let wall = self.clock.now();
            let event = self.perform(following, (command, wall), &mut rest).await;
            let step = follower.on(event);
            let taken_in = step.records.is_empty() || self.learned(&step.records, wall);
            if let Some(gap) = step.gap {
                tracing::warn!(cause = ?gap, "the revocation feed has a gap: beginning again");
                self.metrics.feed_gap(gap);
                self.missed();
            }
            let full = following.mirror().is_some_and(|mirror| mirror.set.is_full());
            command = if full && command != Command::MakeRoom {
                tracing::warn!("more revocations are in force than revocation.max_records: every token is looked up in redis");
                follower.overflowed()
            } else {
                if let Some(sent) = step.proved.filter(|_| taken_in) {
                    if !following.freshness().was_proved() {
                        tracing::info!("following the revocation feed");
                    }
                    following.freshness().prove(sent);
                    rest.over();
                }
                step.next
            };
        }
    }

    async fn perform(&self, following: &Following, (command, wall): (Command, Timestamp), rest: &mut Rest) -> Event {
        match command {
            Command::Read(after) => {
                // Before it is sent: the answer proves nothing about what is published later.
                let sent = self.clock.monotonic();
                let page = following.feed.read(after, ENTRIES_PER_READ, wall).await;
                rest.judge(page.map(|page| Event::Read(page, sent)))
            }
            Command::Load(after) => {
                // What expired a short while ago is read, too: this clock may be the one that is wrong.
                let page = self.log.unexpired(wall - KEEP_BEYOND, after, PAGE).await;
                rest.judge(page.map(|page| {
                    let last = page.last().map(|(sequence, _)| *sequence);
                    Event::Loaded(page.into_iter().map(|(_, record)| record).collect(), last)
                }))
            }
            Command::Wait(after) => rest.judge(following.feed.wait(after, following.heartbeat).await.map(|()| Event::Woken)),
            Command::Rest => {
                tokio::time::sleep(rest.backoff.next_wait()).await;
                Event::Woken
            }
            Command::MakeRoom => {
                while following.mirror().is_some_and(|mirror| !mirror.set.has_room_again()) {
                    tokio::time::sleep(LOOK_AFTER).await;
                }
                Event::Woken
            }
        }
    }

    /// Drops what has expired, and shows how old and how large the mirror is: beside the following, which may be held up.
    async fn look_after(&self, following: &Following) {
        loop {
            let now = self.clock.monotonic();
            let (mut records, mut bytes, mut full) = (0, 0, false);
            if let Some(mirror) = following.mirror() {
                mirror.set.expire(now);
                (records, bytes) = mirror.size();
                full = mirror.set.is_full();
            }
            let staleness = following.freshness().age(now);
            self.metrics.mirrored(&MirrorState { staleness, records, bytes, full });
            tokio::time::sleep(LOOK_AFTER).await;
        }
    }

    /// What keeps the mirror from answering at the start, for people. Later it is at worst a detour by Redis.
    pub(super) fn mirror_ready(&self) -> Result<(), &'static str> {
        let Some(mirror) = self.following.as_ref().and_then(Following::mirror) else { return Ok(()) };
        if mirror.freshness.was_proved() || mirror.set.is_full() {
            return Ok(());
        }
        Err("the mirror of the revoked set is not complete: it is being loaded from SQL, or the feed in redis cannot be followed")
    }
}

/// The time between attempts, and what was said about them.
struct Rest {
    backoff: Backoff,
    reported: bool,
}

impl Rest {
    fn judge(&mut self, outcome: Result<Event, StoreError>) -> Event {
        outcome.unwrap_or_else(|error| {
            // One line per outage; further attempts are not news.
            if !std::mem::replace(&mut self.reported, true) {
                tracing::warn!(error = &error as &dyn Error, "the revocation feed cannot be followed; trying again");
            }
            Event::Failed
        })
    }

    fn over(&mut self) {
        self.backoff.reset();
        self.reported = false;
    }
}
