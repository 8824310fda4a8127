//! Replicas, their users, and the order of everything that happens: one queue, one source of chance.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::super::{Command, Event, Follower};
use super::model::{Chance, Epoch, Redis, Sql, Thing};
use super::{Tally, Weakness};
use crate::clock::{Clock as _, ManualClock};
use crate::identity::TokenFacts;
use crate::identity::session::SessionId;
use crate::revocation::mirror::{KEEP_BEYOND, Mirror, MirrorBounds};
use crate::store::{Covers, FeedId, FeedPage, Revocation};

/// Microseconds.
pub(super) const SECOND: u64 = 1_000_000;
/// How old a proof may be.
pub(super) const BOUND: u64 = SECOND;
/// Short: a clock that is ahead takes the record for expired.
const LIFE_SECS: i64 = 60;
/// True time at the start of a run, in seconds.
const EPOCH: i64 = 1_800_000_000;

/// What is asked of Redis, by whom and by which of its lives.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    Read(FeedId),
    Wait(FeedId),
    Publish(Thing),
    Begin,
    Restore(Vec<Thing>),
    Finish { mark: u64, lineage: u64 },
    LookUp { thing: Thing, started: u64 },
}

#[derive(Debug, Clone)]
pub(super) enum Answer {
    Page(FeedPage, Vec<Vec<Thing>>),
    Woken,
    Published(Thing),
    Begun { mark: u64, lineage: u64 },
    Restored,
    Finished(Option<Epoch>),
    Found { revoked: bool, complete: bool },
    Failed,
}

#[derive(Debug, Clone)]
pub(super) enum Happening {
    /// A question reaches the server.
    Arrives(Ask, Sent),
    /// An answer, or the certainty that there is none, reaches who asked.
    Answered(Ask, Answer, Sent),
    /// A page of SQL, read at some instant before.
    Loaded(Vec<(Thing, i64)>, Sent),
    Rested(Sent),
    /// A follower has waited long enough; unless it was woken meanwhile.
    WaitOver(u64, FeedId, Sent),
    Upkeep(Sent),
    Revoke,
    Committed(Thing, Sent),
    Request,
    Fault,
}

/// By whom, in which of its lives, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) replica: usize,
    pub(super) life: u64,
    pub(super) at: u64,
    /// As its clock showed it.
    pub(super) wall: Timestamp,
}

pub(super) struct Replica {
    pub(super) life: u64,
    pub(super) mirror: Mirror,
    pub(super) follower: Follower,
    /// Seconds by which its time of day is off.
    pub(super) clock_off: i64,
    pub(super) epoch: Option<Epoch>,
    pub(super) rebuilding: Option<(u64, u64)>,
    /// For [`Weakness::SqlBeforeNote`].
    pub(super) read_early: Option<Vec<(Thing, i64)>>,
}

/// One run.
pub(super) struct World {
    pub(super) chance: Chance,
    pub(super) weakness: Option<Weakness>,
    pub(super) start: Instant,
    pub(super) now: u64,
    pub(super) queue: BinaryHeap<Reverse<(u64, u64)>>,
    pub(super) happenings: BTreeMap<u64, Happening>,
    pub(super) number: u64,
    pub(super) redis: Redis,
    /// What a failover leaves: the data as they were a while ago.
    pub(super) standby: Redis,
    pub(super) stalled_until: u64,
    pub(super) down_until: u64,
    pub(super) waiting: Vec<(u64, FeedId, Sent)>,
    pub(super) sql: Sql,
    pub(super) replicas: Vec<Replica>,
    /// When the end of a thing was acknowledged.
    pub(super) acknowledged: BTreeMap<Thing, u64>,
    pub(super) things: Thing,
    pub(super) calm_from: u64,
    pub(super) tally: Tally,
}

impl World {
    pub(super) fn new(seed: u64, replicas: usize, calm_from: u64, weakness: Option<Weakness>) -> Self {
        let start = ManualClock::at(Timestamp::UNIX_EPOCH).monotonic();
        let mut world = Self {
            chance: Chance(seed),
            weakness,
            start,
            now: 0,
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            number: 0,
            redis: Redis::default(),
            standby: Redis::default(),
            stalled_until: 0,
            down_until: 0,
            waiting: Vec::new(),
            sql: Sql::default(),
            replicas: Vec::new(),
            acknowledged: BTreeMap::new(),
            things: 0,
            calm_from,
            tally: Tally::default(),
        };
        for replica in 0..replicas {
            let born = world.born(0);
            world.replicas.push(born);
            world.live(replica);
        }
        for happening in [Happening::Revoke, Happening::Request, Happening::Fault] {
            world.later(1, happening);
        }
        world
    }

    /// Lets everything happen until `end`; what was seen, or the first broken promise.
    pub(super) fn run(mut self, end: u64) -> Result<Tally, String> {
        while let Some(Reverse((at, number))) = self.queue.pop() {
            if at > end {
                break;
            }
            self.now = at;
            let happening = self.happenings.remove(&number).expect("each happens once");
            self.happen(happening)?;
        }
        self.now = end;
        for (number, replica) in self.replicas.iter().enumerate() {
            if !replica.mirror.freshness.is_fresh(self.instant()) {
                return Err(format!("replica {number} has not recovered: {:?}", replica.follower));
            }
        }
        Ok(self.tally)
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Arrives(ask, sent) => self.arrives(ask, sent),
            Happening::Answered(ask, answer, sent) if self.lives(sent) => return self.answered(ask, answer, sent),
            Happening::Loaded(page, sent) if self.lives(sent) => self.loaded(&page, sent),
            Happening::Rested(sent) if self.lives(sent) => self.follow(sent, Event::Woken, &[]),
            Happening::Upkeep(sent) if self.lives(sent) => self.upkeep(sent.replica),
            Happening::Committed(thing, sent) => {
                self.sql.committed.insert(thing, self.true_secs() + LIFE_SECS);
                if self.lives(sent) {
                    self.learn(sent.replica, &[(thing, sent.wall + SignedDuration::from_secs(LIFE_SECS))], sent.wall);
                    self.ask(sent.replica, Ask::Publish(thing));
                }
            }
            Happening::WaitOver(number, place, sent) => {
                let waiting = self.waiting.len();
                self.waiting.retain(|(other, ..)| *other != number);
                if self.waiting.len() < waiting {
                    self.reply(Ask::Wait(place), Answer::Woken, sent);
                }
            }
            Happening::Revoke => self.revoke(),
            Happening::Request => return self.request(),
            Happening::Fault => self.fault(),
            // Of a process that is gone.
            Happening::Answered(..) | Happening::Loaded(..) | Happening::Rested(..) | Happening::Upkeep(..) => {}
        }
        Ok(())
    }

    // The replicas.

    pub(super) fn born(&mut self, life: u64) -> Replica {
        let bounds = MirrorBounds { staleness_max: Duration::from_micros(BOUND), records_max: 10_000 };
        let clock_off = if self.chance.once_in(3) { self.chance.below(3890) as i64 - 3600 } else { 0 };
        Replica {
            life,
            mirror: Mirror::new(bounds, self.instant()),
            follower: Follower::new(true),
            clock_off,
            epoch: None,
            rebuilding: None,
            read_early: None,
        }
    }

    pub(super) fn live(&mut self, replica: usize) {
        let command = self.replicas[replica].follower.begin();
        self.perform(replica, command);
        let sent = self.sent(replica);
        self.later(1, Happening::Upkeep(sent));
    }

    fn perform(&mut self, replica: usize, command: Command) {
        let sent = self.sent(replica);
        match command {
            Command::Read(place) => {
                if self.weakness == Some(Weakness::SqlBeforeNote) && self.replicas[replica].follower.place.is_none() {
                    self.replicas[replica].read_early = Some(self.unexpired(sent.wall));
                }
                self.ask(replica, Ask::Read(place));
            }
            Command::Wait(place) => self.ask(replica, Ask::Wait(place)),
            Command::Load(i64::MIN) => {
                // Each row is read at some instant of the query, the first at its start: the worst for us.
                let early = self.replicas[replica].read_early.take();
                let page = early.unwrap_or_else(|| self.unexpired(sent.wall));
                let took = self.latency() * 5;
                self.later(took, Happening::Loaded(page, sent));
            }
            Command::Load(_) => self.later(1, Happening::Loaded(Vec::new(), sent)),
            Command::Rest | Command::MakeRoom => {
                let took = 1000 + self.chance.below(200_000);
                self.later(took, Happening::Rested(sent));
            }
        }
    }

    fn unexpired(&self, wall: Timestamp) -> Vec<(Thing, i64)> {
        let kept = if self.weakness == Some(Weakness::TrustsItsClock) { 0 } else { KEEP_BEYOND.as_secs() as i64 };
        self.sql.unexpired(wall.as_second() - kept)
    }

    fn follow(&mut self, sent: Sent, event: Event, things: &[(Thing, Timestamp)]) {
        let step = self.replicas[sent.replica].follower.on(event);
        self.learn(sent.replica, things, sent.wall);
        let replica = &mut self.replicas[sent.replica];
        if let Some(gap) = step.gap {
            *self.tally.gaps.entry(format!("{gap:?}")).or_insert(0) += 1;
        }
        if let Some(proved) = step.proved {
            replica.mirror.freshness.prove(proved);
        }
        self.perform(sent.replica, step.next);
    }

    fn loaded(&mut self, page: &[(Thing, i64)], sent: Sent) {
        let until = |expires: i64| Timestamp::from_second(expires).expect("within the range");
        let things: Vec<_> = page.iter().map(|(thing, expires)| (*thing, until(*expires))).collect();
        let last = page.last().map(|(thing, _)| i64::from(*thing));
        self.follow(sent, Event::Loaded(Vec::new(), last), &things);
    }

    fn learn(&mut self, replica: usize, things: &[(Thing, Timestamp)], wall: Timestamp) {
        let record = |(thing, expires_at): &(Thing, Timestamp)| Revocation { covers: covers(*thing), expires_at: *expires_at };
        let records: Vec<Revocation> = things.iter().map(record).collect();
        assert!(self.replicas[replica].mirror.insert(&records, wall, self.instant()), "the bound is far away");
    }

    fn answered(&mut self, ask: Ask, answer: Answer, sent: Sent) -> Result<(), String> {
        match (ask, answer) {
            (Ask::Read(_), Answer::Page(page, things)) => {
                let page = self.weakened(page, sent.replica);
                let at = if self.weakness == Some(Weakness::FreshFromReceipt) { self.now } else { sent.at };
                let until = sent.wall + SignedDuration::from_secs(LIFE_SECS);
                let things: Vec<_> = things.into_iter().flatten().map(|thing| (thing, until)).collect();
                self.follow(sent, Event::Read(page, self.start + Duration::from_micros(at)), &things);
            }
            (Ask::Wait(_), Answer::Woken) => self.follow(sent, Event::Woken, &[]),
            (Ask::Read(_) | Ask::Wait(_), _) => self.follow(sent, Event::Failed, &[]),
            (Ask::Publish(_), Answer::Published(thing)) => {
                self.acknowledged.entry(thing).or_insert(self.now);
            }
            (Ask::Publish(thing), _) => self.ask(sent.replica, Ask::Publish(thing)),
            (Ask::Begin, Answer::Begun { mark, lineage }) => {
                self.replicas[sent.replica].rebuilding = Some((mark, lineage));
                // What SQL has now; the commands that follow take their time.
                let things: Vec<Thing> = self.sql.committed.keys().copied().collect();
                self.ask(sent.replica, Ask::Restore(things));
            }
            (Ask::Restore(_), Answer::Restored) => {
                let (mark, lineage) = self.replicas[sent.replica].rebuilding.expect("it was begun");
                self.ask(sent.replica, Ask::Finish { mark, lineage });
            }
            (Ask::Finish { .. }, Answer::Finished(epoch)) => {
                self.replicas[sent.replica].epoch = epoch;
                self.upkeep_later(sent.replica);
            }
            (Ask::Begin | Ask::Restore(_) | Ask::Finish { .. }, _) => self.upkeep_later(sent.replica),
            (Ask::LookUp { thing, started }, Answer::Found { revoked, complete }) => {
                if revoked {
                    self.tally.refused += 1;
                } else if complete {
                    self.tally.let_in_by_redis += 1;
                    return self.judge(thing, started, 0, sent.replica);
                } else {
                    self.replicas[sent.replica].epoch = None;
                    self.tally.unknown += 1;
                }
            }
            (Ask::LookUp { .. }, _) => self.tally.unknown += 1,
        }
        Ok(())
    }

    /// What a follower that is less careful would make of a page.
    fn weakened(&self, mut page: FeedPage, replica: usize) -> FeedPage {
        let Some(place) = &self.replicas[replica].follower.place else { return page };
        if self.weakness == Some(Weakness::GapsUnseen) {
            page.added = place.counted + page.entries.iter().filter(|entry| entry.id > place.noted).count() as u64;
        }
        page
    }

    fn upkeep(&mut self, replica: usize) {
        if self.replicas[replica].epoch.is_none() {
            self.ask(replica, Ask::Begin);
        } else {
            self.upkeep_later(replica);
        }
    }

    fn upkeep_later(&mut self, replica: usize) {
        let (sent, after) = (self.sent(replica), 50_000 + self.chance.below(300_000));
        self.later(after, Happening::Upkeep(sent));
    }

    // Users.

    fn revoke(&mut self) {
        self.things += 1;
        let (replica, thing) = (self.any_replica(), self.things);
        let (sent, took) = (self.sent(replica), self.latency());
        self.later(took, Happening::Committed(thing, sent));
        let next = self.chance.below(SECOND / 5);
        self.later(next, Happening::Revoke);
    }

    fn request(&mut self) -> Result<(), String> {
        let next = self.chance.below(SECOND / 25);
        self.later(next, Happening::Request);
        let replica = self.any_replica();
        // What was revoked last is the most interesting; some of it will only be.
        let back = self.chance.below(12) as Thing;
        let thing = (self.things + 2).saturating_sub(back).max(1);
        if self.replicas[replica].mirror.is_live(&token(thing), self.instant()) {
            self.tally.let_in_by_mirror += 1;
            return self.judge(thing, self.now, BOUND, replica);
        }
        self.ask(replica, Ask::LookUp { thing, started: self.now });
        Ok(())
    }

    /// The promise.
    fn judge(&mut self, thing: Thing, started: u64, bound: u64, replica: usize) -> Result<(), String> {
        match self.acknowledged.get(&thing) {
            Some(acknowledged) if acknowledged + bound < started => {
                Err(format!("{thing} was let in by {replica} at {started}, its end was acknowledged at {acknowledged}"))
            }
            _ => Ok(()),
        }
    }

    // Time and chance.

    pub(super) fn later(&mut self, after: u64, happening: Happening) {
        self.number += 1;
        self.queue.push(Reverse((self.now + after, self.number)));
        self.happenings.insert(self.number, happening);
    }

    /// Mostly short; sometimes something is slow.
    pub(super) fn latency(&mut self) -> u64 {
        let longest = if self.now < self.calm_from && self.chance.once_in(10) { 450_000 } else { 3000 };
        20 + self.chance.below(longest)
    }

    pub(super) fn any_replica(&mut self) -> usize {
        self.chance.below(self.replicas.len() as u64) as usize
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_micros(self.now)
    }

    fn true_secs(&self) -> i64 {
        EPOCH + (self.now / SECOND) as i64
    }

    pub(super) fn sent(&self, replica: usize) -> Sent {
        let Replica { life, clock_off, .. } = self.replicas[replica];
        let wall = Timestamp::from_second(self.true_secs() + clock_off).expect("within the range");
        Sent { replica, life, at: self.now, wall }
    }

    fn lives(&self, sent: Sent) -> bool {
        self.replicas[sent.replica].life == sent.life
    }
}

fn covers(thing: Thing) -> Covers {
    match thing % 3 {
        0 => Covers::Token(thing.to_string().into()),
        1 => Covers::Session(SessionId(Uuid::from_u128(u128::from(thing)))),
        _ => {
            let before = Timestamp::from_second(EPOCH).expect("within the range");
            Covers::Principal { issuer: "https://id.example".into(), subject: thing.to_string().into(), before }
        }
    }
}

fn token(thing: Thing) -> TokenFacts {
    let issued_at = Timestamp::from_second(EPOCH - 1).expect("within the range");
    TokenFacts {
        issuer: "https://id.example".into(),
        jti: thing.to_string().into(),
        session: SessionId(Uuid::from_u128(u128::from(thing))),
        subject: thing.to_string().into(),
        issued_at,
        expires_at: issued_at,
    }
}
