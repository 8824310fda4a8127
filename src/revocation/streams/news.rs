//! What was revoked and is still to be compared with the streams that are open, and what was lately.

use std::collections::{HashMap, HashSet, VecDeque};

use jiff::Timestamp;

use crate::identity::TokenFacts;
use crate::identity::session::SessionId;
use crate::revocation::unpublished::covering;
use crate::store::{Covers, RevokedBy};

/// Records remembered for requests that were being admitted when they came: those of the last moments.
const RECENT_MAX: usize = 1024;

/// Revocations on their way to the streams.
#[derive(Debug, Default)]
pub(super) struct News {
    waiting: Vec<Covers>,
    /// With the number of the telling; ascending.
    recent: VecDeque<(u64, Covers)>,
    /// The number of the last telling that is no longer remembered as a whole.
    forgotten: u64,
}

/// Many revocations as one question.
#[derive(Debug, Default)]
pub(super) struct Batch {
    tokens: HashSet<Box<str>>,
    sessions: HashSet<SessionId>,
    /// By subject, then issuer.
    principals: HashMap<Box<str>, Vec<(Box<str>, Timestamp)>>,
}

impl News {
    pub(super) fn told(&mut self, number: u64, covers: impl Iterator<Item = Covers>) {
        for covers in covers {
            self.waiting.push(covers.clone());
            self.recent.push_back((number, covers));
        }
        while self.recent.len() > RECENT_MAX {
            self.forgotten = self.recent.pop_front().map_or(self.forgotten, |(number, _)| number);
        }
    }

    /// What is to be compared now.
    pub(super) fn take(&mut self) -> Batch {
        let mut batch = Batch::default();
        for covers in self.waiting.drain(..) {
            match covers {
                Covers::Token(id) => drop(batch.tokens.insert(id)),
                Covers::Session(id) => drop(batch.sessions.insert(id)),
                Covers::Principal { issuer, subject, before } => {
                    batch.principals.entry(subject).or_default().push((issuer, before));
                }
            }
        }
        batch
    }

    /// What revoked the token after the telling `since`; the error says that not all of it is remembered.
    pub(super) fn since(&self, since: u64, token: &TokenFacts) -> Result<Option<RevokedBy>, ()> {
        let found = self.recent.iter().filter(|(number, _)| *number > since).find_map(|(_, covers)| covering(covers, token));
        if found.is_none() && self.forgotten > since { Err(()) } else { Ok(found) }
    }
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.sessions.is_empty() && self.principals.is_empty()
    }

    pub(super) fn covering(&self, token: &TokenFacts) -> Option<RevokedBy> {
        if self.sessions.contains(&token.session) {
            return Some(RevokedBy::Session);
        }
        if self.tokens.contains(&token.jti) {
            return Some(RevokedBy::Token);
        }
        let of_subject = self.principals.get(&token.subject)?;
        let covered = of_subject.iter().any(|(issuer, before)| **issuer == *token.issuer && token.issued_at < *before);
        covered.then_some(RevokedBy::Principal)
    }
}
