//! How the feed is followed, as a machine without I/O: what happened goes in, what is to be done next comes out, time is
//! an argument. The worker next door performs it against Redis and SQL; the simulation against models of both.
//!
//! The proof that nothing is missing, in the order in which things are done:
//! 1. The place of the feed is noted: its last entry, and how many were ever added.
//! 2. Every record that SQL holds is read (a mirror only). A record is in SQL before it is published, so whatever was
//!    published up to the note is among them, and whatever is not among them is published after the note.
//! 3. The feed is read from the note on, and counted. When the last entry is reached and the count is the feed's own,
//!    all was seen that was published before *the question was sent*. Entries that were trimmed or deleted unseen, a feed
//!    that was lost and begun anew, or another server show in the count, the last place or the name of the data set:
//!    that is a gap, and everything begins again.
//!
//! What the feed still holds from before the note is read as well, without counting: records that other programs appended
//! are not in SQL.

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::time::Instant;

use crate::store::{FeedId, FeedPage, Revocation};
use crate::telemetry::labels::FeedGap;

/// Entries for one question: a few milliseconds of the server's time at most.
pub(super) const ENTRIES_PER_READ: usize = 64;

/// What to do next. The answer to it is the next [`Event`]; any of them may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// Read the feed after a place, at most [`ENTRIES_PER_READ`] entries.
    Read(FeedId),
    /// Read a page of SQL after a sequence number.
    Load(i64),
    /// Wait until there is something after a place, or until it is time to prove again that there is nothing.
    Wait(FeedId),
    /// Wait a moment: something failed.
    Rest,
    /// Wait until the mirror can hold everything again.
    MakeRoom,
}

/// What happened.
#[derive(Debug)]
pub(super) enum Event {
    /// The feed was read, by a question sent at this instant.
    Read(FeedPage, Instant),
    /// A page of SQL, with the sequence number of its last record; none if it is empty.
    Loaded(Vec<Revocation>, Option<i64>),
    /// There is something in the feed, or it is time; the rest is over; there is room.
    Woken,
    /// It could not be done.
    Failed,
}

/// What follows from an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// What was learned. To be taken in before the proof counts.
    pub(super) records: Vec<Revocation>,
    /// Everything published before this instant was learned by now.
    pub(super) proved: Option<Instant>,
    /// Something may have been missed.
    pub(super) gap: Option<FeedGap>,
    /// What to do next.
    pub(super) next: Command,
}

/// The state of following.
#[derive(Debug)]
pub(super) struct Follower {
    /// Whether SQL is read: for a mirror. Who only wants to hear news needs no past.
    loads: bool,
    place: Option<Place>,
    /// What was last ordered.
    ordered: Command,
    /// What failed, to be ordered again after the rest.
    failed: Option<Command>,
}

#[derive(Debug)]
struct Place {
    dataset: String,
    /// Where the feed stood when following began.
    noted: FeedId,
    /// The last entry that was read.
    read: FeedId,
    /// How many entries were ever added, by the note and by what was read since.
    counted: u64,
}

/// How far a page leads.
enum Reach {
    /// There is more to read.
    Behind,
    /// Nothing is missing.
    Complete,
    Gap(FeedGap),
}

impl Follower {
    /// Someone who begins to follow. The first thing to do is [`Self::begin`].
    pub(super) fn new(loads: bool) -> Self {
        Self { loads, place: None, ordered: Command::Rest, failed: None }
    }

    /// Begins, or begins again: with the note of where the feed stands.
    pub(super) fn begin(&mut self) -> Command {
        self.place = None;
        self.failed = None;
        self.order(Command::Read(FeedId::default()))
    }

    /// There was no room for what was learned. Once there is, everything begins again.
    pub(super) fn overflowed(&mut self) -> Command {
        self.place = None;
        self.failed = None;
        self.order(Command::MakeRoom)
    }

    /// What follows from the outcome of what was ordered last.
    pub(super) fn on(&mut self, event: Event) -> Step {
        match event {
            Event::Read(page, sent) => self.on_page(page, sent),
            Event::Loaded(records, last) => {
                let read = self.place.as_ref().map_or_else(FeedId::default, |place| place.read);
                let next = self.order(last.map_or(Command::Read(read), Command::Load));
                Step { records, ..Step::just(next) }
            }
            Event::Woken => Step::just(self.on_woken()),
            Event::Failed => {
                // A wait that failed is no reason to wait again: the feed is asked what was missed.
                self.failed = Some(match self.ordered {
                    Command::Wait(place) => Command::Read(place),
                    other => other,
                });
                Step::just(self.order(Command::Rest))
            }
        }
    }

    fn on_woken(&mut self) -> Command {
        match (self.ordered, self.failed.take()) {
            (Command::Wait(place), _) => self.order(Command::Read(place)),
            (_, Some(failed)) => self.order(failed),
            (_, None) => self.begin(),
        }
    }

    fn on_page(&mut self, page: FeedPage, sent: Instant) -> Step {
        let Some(place) = &mut self.place else {
            // What this page holds is read again, after SQL. A follower without a past begins at its end.
            let read = if self.loads { FeedId::default() } else { page.last };
            self.place = Some(Place { dataset: page.dataset, noted: page.last, read, counted: page.added });
            let next = if self.loads { Command::Load(i64::MIN) } else { Command::Read(read) };
            return Step::just(self.order(next));
        };
        let reach = place.advance(&page);
        let read = place.read;
        let records = page.entries.into_iter().filter_map(|entry| entry.records).flatten().collect();
        match reach {
            Reach::Behind => Step { records, ..Step::just(self.order(Command::Read(read))) },
            Reach::Complete => Step { records, proved: Some(sent), gap: None, next: self.order(Command::Wait(read)) },
            Reach::Gap(gap) => {
                self.place = None;
                // After a rest: whatever loses entries may go on losing them.
                Step { records, proved: None, gap: Some(gap), next: self.order(Command::Rest) }
            }
        }
    }

    fn order(&mut self, command: Command) -> Command {
        self.ordered = command;
        command
    }
}

impl Place {
    fn advance(&mut self, page: &FeedPage) -> Reach {
        if page.dataset != self.dataset {
            return Reach::Gap(FeedGap::Dataset);
        }
        if page.last < self.noted.max(self.read) {
            return Reach::Gap(FeedGap::Rewound);
        }
        for entry in page.entries.iter().filter(|entry| entry.id > self.noted) {
            self.counted += 1;
            if entry.records.is_none() {
                tracing::warn!(entry = %entry.id, "an entry of the revocation feed cannot be read: it may have revoked anything");
                return Reach::Gap(FeedGap::Unreadable);
            }
        }
        if let Some(entry) = page.entries.last() {
            self.read = entry.id;
        }
        if page.entries.len() >= ENTRIES_PER_READ && self.read < page.last {
            return Reach::Behind;
        }
        // All that is left of the feed was in this page or in those before it.
        self.read = page.last;
        if self.counted == page.added { Reach::Complete } else { Reach::Gap(FeedGap::Trimmed) }
    }
}

impl Step {
    fn just(next: Command) -> Self {
        Self { records: Vec::new(), proved: None, gap: None, next }
    }
}
