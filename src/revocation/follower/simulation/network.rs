//! The network between replicas and the server, what the server answers, and what goes wrong with all of them.

use super::super::ENTRIES_PER_READ;
use super::model::{Redis, Thing};
use super::world::{Answer, Ask, Happening, SECOND, Sent, World};

const HEARTBEAT: u64 = SECOND / 5;
/// How long an answer is waited for.
const COMMAND: u64 = SECOND / 2;

impl World {
    pub(super) fn ask(&mut self, replica: usize, ask: Ask) {
        let sent = self.sent(replica);
        let patience = if matches!(ask, Ask::Wait(_)) { HEARTBEAT + COMMAND } else { COMMAND };
        if self.calm_from > self.now && self.chance.once_in(50) {
            // Lost on the way there.
            return self.later(patience, Happening::Answered(ask, Answer::Failed, sent));
        }
        let took = self.latency();
        self.later(took, Happening::Arrives(ask, sent));
    }

    pub(super) fn arrives(&mut self, ask: Ask, sent: Sent) {
        if self.now < self.down_until {
            return self.reply(ask, Answer::Failed, sent);
        }
        if self.now < self.stalled_until {
            // It is answered when the server goes on; whoever asked may not wait that long, and never reads it then.
            let wait = self.stalled_until - self.now;
            let happening = if wait > COMMAND && !matches!(ask, Ask::Wait(_)) {
                self.later(COMMAND, Happening::Answered(ask.clone(), Answer::Failed, sent));
                Happening::Arrives(ask, Sent { life: u64::MAX, ..sent })
            } else {
                Happening::Arrives(ask, sent)
            };
            return self.later(wait, happening);
        }
        let answer = match &ask {
            Ask::Read(after) => {
                let page = self.redis.read(*after, ENTRIES_PER_READ, self.now);
                page.map_or(Answer::Failed, |(page, things)| Answer::Page(page, things))
            }
            Ask::Wait(after) if self.redis.has_after(*after) => Answer::Woken,
            Ask::Wait(after) => {
                self.number += 1;
                let (number, place) = (self.number, *after);
                self.waiting.push((number, place, sent));
                return self.later(HEARTBEAT, Happening::WaitOver(number, place, sent));
            }
            Ask::Publish(thing) => {
                self.raise(&[*thing], false);
                Answer::Published(*thing)
            }
            Ask::Begin => {
                self.number += 1;
                self.redis.marks.insert(self.number);
                Answer::Begun { mark: self.number, lineage: self.redis.lineage }
            }
            Ask::Restore(things) => {
                self.raise(things, true);
                Answer::Restored
            }
            Ask::Finish { mark, lineage } if *lineage == self.redis.lineage => Answer::Finished(self.redis.finish(*mark)),
            Ask::Finish { .. } => Answer::Failed,
            Ask::LookUp { thing, .. } => {
                let (revoked, complete) = self.redis.look_up(*thing, self.replicas[sent.replica].epoch);
                Answer::Found { revoked, complete }
            }
        };
        self.reply(ask, answer, sent);
    }

    pub(super) fn reply(&mut self, ask: Ask, answer: Answer, sent: Sent) {
        let lost = self.calm_from > self.now && self.chance.once_in(50);
        let (took, answer) = if lost { (COMMAND, Answer::Failed) } else { (self.latency(), answer) };
        self.later(took, Happening::Answered(ask, answer, sent));
    }

    fn raise(&mut self, things: &[Thing], only_news: bool) {
        if self.redis.raise(things, only_news, self.now) {
            for (_, place, sent) in std::mem::take(&mut self.waiting) {
                self.reply(Ask::Wait(place), Answer::Woken, sent);
            }
        }
    }

    fn hang_up(&mut self) {
        for (_, place, sent) in std::mem::take(&mut self.waiting) {
            self.reply(Ask::Wait(place), Answer::Failed, sent);
        }
    }

    pub(super) fn fault(&mut self) {
        if self.now >= self.calm_from {
            return;
        }
        let next = SECOND / 5 + self.chance.below(SECOND);
        self.later(next, Happening::Fault);
        match self.chance.below(13) {
            0 => self.redis.flush(),
            1 => {
                self.down_until = self.now + self.chance.below(2 * SECOND);
                let lineage = self.chance.below(u64::MAX);
                self.redis = Redis { lineage, clock_off: self.redis.clock_off, ..Redis::default() };
                self.hang_up();
            }
            2 | 11 | 12 => self.stalled_until = self.now + self.chance.below(2 * SECOND),
            3 => {
                self.redis = Redis { lineage: self.chance.below(u64::MAX), ..self.standby.clone() };
                self.hang_up();
            }
            4 | 5 => self.redis.trim(1 + self.chance.below(40) as usize),
            6 => self.redis.delete_last(),
            7 => self.redis.feed = None,
            8 => self.redis.clock_off = self.chance.below(10_000_000),
            9 => {
                let (replica, off) = (self.any_replica(), self.chance.below(3890) as i64 - 3600);
                self.replicas[replica].clock_off = off;
            }
            _ => {
                let replica = self.any_replica();
                let life = self.replicas[replica].life + 1;
                self.replicas[replica] = self.born(life);
                self.live(replica);
            }
        }
        if self.chance.once_in(2) {
            self.standby = self.redis.clone();
        }
    }
}
