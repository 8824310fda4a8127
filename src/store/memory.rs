//! The revoked set in this process' memory: for one replica without Redis.
//!
//! Exact, and read without a lock on every request. It begins empty and knows it: until it was filled from SQL,
//! a record that is not found is not known not to exist.

use std::hash::Hash;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use papaya::{Equivalent, HashMap};
use tokio::sync::watch;

use super::{Covers, RebuildTicket, Revocation, RevokedBy, RevokedSet, StoreError};
use crate::identity::TokenFacts;
use crate::identity::session::SessionId;

/// The revoked set as maps from what is revoked to when the record may be forgotten.
#[derive(Debug)]
pub struct MemorySet {
    tokens: HashMap<Box<str>, Timestamp>,
    sessions: HashMap<SessionId, Timestamp>,
    principals: HashMap<PrincipalKey, NotBefore>,
    complete: watch::Sender<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct NotBefore {
    before: Timestamp,
    expires_at: Timestamp,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PrincipalKey {
    issuer: Box<str>,
    subject: Box<str>,
}

/// A [`PrincipalKey`] that is only asked for: no allocation on the request's path. Hashes alike, field by field.
#[derive(Hash)]
struct PrincipalRef<'a> {
    issuer: &'a str,
    subject: &'a str,
}

impl Equivalent<PrincipalKey> for PrincipalRef<'_> {
    fn equivalent(&self, key: &PrincipalKey) -> bool {
        *self.issuer == *key.issuer && *self.subject == *key.subject
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the revoked set has not been loaded yet")]
struct Incomplete;

/// Memory loses nothing while the process lives, so one rebuild is as good as another.
const TICKET: &str = "memory";

impl Default for MemorySet {
    fn default() -> Self {
        Self { tokens: HashMap::new(), sessions: HashMap::new(), principals: HashMap::new(), complete: watch::Sender::new(false) }
    }
}

impl MemorySet {
    /// An empty set that asks to be filled.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// How many records it holds, expired ones that were not swept yet included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len() + self.sessions.len() + self.principals.len()
    }

    /// Whether it holds no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The record that covers the token, if there is one.
    ///
    /// Expiry is not looked at: a record outlives every token that it covers.
    fn find(&self, token: &TokenFacts) -> Option<RevokedBy> {
        if self.tokens.pin().contains_key(&*token.jti) {
            return Some(RevokedBy::Token);
        }
        if self.sessions.pin().contains_key(&token.session) {
            return Some(RevokedBy::Session);
        }
        let principal = PrincipalRef { issuer: &token.issuer, subject: &token.subject };
        let principals = self.principals.pin();
        let not_before = principals.get(&principal)?;
        (token.issued_at < not_before.before).then_some(RevokedBy::Principal)
    }

    fn insert(&self, Revocation { covers, expires_at }: &Revocation) {
        match covers {
            Covers::Token(id) => extend(&self.tokens, id.clone(), *expires_at),
            Covers::Session(id) => extend(&self.sessions, *id, *expires_at),
            Covers::Principal { issuer, subject, before } => {
                let new = NotBefore { before: *before, expires_at: *expires_at };
                let key = PrincipalKey { issuer: issuer.clone(), subject: subject.clone() };
                self.principals.pin().update_or_insert(key, |held| held.or_later(new), new);
            }
        }
    }
}

impl NotBefore {
    /// Both instants only ever grow, whatever the order in which records arrive.
    fn or_later(self, other: Self) -> Self {
        Self { before: self.before.max(other.before), expires_at: self.expires_at.max(other.expires_at) }
    }
}

fn extend<K: Hash + Eq>(map: &HashMap<K, Timestamp>, key: K, expires_at: Timestamp) {
    map.pin().update_or_insert(key, |held| expires_at.max(*held), expires_at);
}

#[async_trait]
impl RevokedSet for MemorySet {
    async fn lookup(&self, token: &TokenFacts) -> Result<Option<RevokedBy>, StoreError> {
        // Asked before looking: a set that becomes complete in between is only taken for one that is not.
        let complete = *self.complete.borrow();
        match self.find(token) {
            None if !complete => Err(StoreError::Unavailable { store: "memory", source: Box::new(Incomplete) }),
            found => Ok(found),
        }
    }

    async fn publish(&self, revocations: &[Revocation], now: Timestamp) -> Result<(), StoreError> {
        for Revocation { covers, expires_at } in revocations {
            // Somebody is about to be told that it is done: one that has expired was made before the clock was set forward, and
            // is kept as if it ended now.
            self.insert(&Revocation { covers: covers.clone(), expires_at: now.max(*expires_at) });
        }
        Ok(())
    }

    async fn restore(&self, revocations: &[Revocation], now: Timestamp) -> Result<(), StoreError> {
        revocations.iter().filter(|revocation| revocation.expires_at > now).for_each(|revocation| self.insert(revocation));
        Ok(())
    }

    async fn begin_rebuild(&self) -> Result<RebuildTicket, StoreError> {
        Ok(RebuildTicket(TICKET.to_owned()))
    }

    async fn finish_rebuild(&self, _: RebuildTicket) -> Result<(), StoreError> {
        self.complete.send_replace(true);
        Ok(())
    }

    async fn needs_rebuild(&self) {
        let mut complete = self.complete.subscribe();
        complete.wait_for(|complete| !complete).await.map(drop).expect("the sender lives as long as the set");
    }

    fn forget_expired(&self, before: Timestamp) {
        self.tokens.pin().retain(|_, expires_at| *expires_at >= before);
        self.sessions.pin().retain(|_, expires_at| *expires_at >= before);
        self.principals.pin().retain(|_, not_before| not_before.expires_at >= before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, expires_at: &str) -> Revocation {
        Revocation { covers: Covers::Token(id.into()), expires_at: expires_at.parse().expect("an instant") }
    }

    #[tokio::test]
    async fn a_sweep_drops_what_has_expired_and_nothing_else() {
        let set = MemorySet::new();
        let records = [record("a", "2026-01-01T00:00:10Z"), record("b", "2026-01-01T00:00:11Z")];
        set.publish(&records, "2026-01-01T00:00:00Z".parse().expect("an instant")).await.expect("memory is there");
        set.forget_expired("2026-01-01T00:00:11Z".parse().expect("an instant"));
        assert!(!set.tokens.pin().contains_key("a"));
        assert!(set.tokens.pin().contains_key("b"));
        assert_eq!(set.len(), 1);
    }

    #[tokio::test]
    async fn an_earlier_expiry_does_not_shorten_a_record() {
        let set = MemorySet::new();
        let now = "2026-01-01T00:00:00Z".parse().expect("an instant");
        set.publish(&[record("a", "2026-01-01T00:00:11Z"), record("a", "2026-01-01T00:00:01Z")], now)
            .await
            .expect("memory is there");
        set.forget_expired("2026-01-01T00:00:05Z".parse().expect("an instant"));
        assert_eq!(set.len(), 1);
    }
}
