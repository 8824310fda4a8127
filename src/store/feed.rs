//! The port for the feed of revocations: every publication in one order, so that whoever follows it can tell that
//! nothing is missing.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Revocation, StoreError};

/// A place in the feed. Later entries have larger ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FeedId {
    /// The server's milliseconds, roughly: never compared with another clock.
    pub millis: u64,
    /// Counts within a millisecond.
    pub sequence: u64,
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedEntry {
    /// Its place.
    pub id: FeedId,
    /// What it announces, with the rest of its life from the instant of reading; none if it cannot be read.
    pub records: Option<Vec<Revocation>>,
}

/// What the feed held, all read in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedPage {
    /// Names the data set that the feed is part of. Another name means that publications may have been lost.
    pub dataset: String,
    /// The place of the last entry that was ever added.
    pub last: FeedId,
    /// How many entries were ever added, whether they are still there or not.
    pub added: u64,
    /// The entries after the place that was asked for, in order, up to the limit.
    pub entries: Vec<FeedEntry>,
}

/// The feed of revocations. One follower asks one question at a time.
#[async_trait]
pub trait RevocationFeed: Send + Sync {
    /// Where the feed stands, with up to `limit` entries after `after`. Lives are counted from `now`.
    ///
    /// An error means that nothing can be said, also while the data set is not known to be complete.
    async fn read(&self, after: FeedId, limit: usize, now: Timestamp) -> Result<FeedPage, StoreError>;
    /// Resolves when there are entries after `after`, at the latest after `at_most`.
    async fn wait(&self, after: FeedId, at_most: Duration) -> Result<(), StoreError>;
}

impl fmt::Display for FeedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.sequence)
    }
}

/// The text is not a place in a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a place in the feed is written like 1763740000000-0")]
pub struct NotAFeedId;

impl FromStr for FeedId {
    type Err = NotAFeedId;

    fn from_str(text: &str) -> Result<Self, NotAFeedId> {
        let (millis, sequence) = text.split_once('-').ok_or(NotAFeedId)?;
        let number = |digits: &str| digits.parse().map_err(|_| NotAFeedId);
        Ok(Self { millis: number(millis)?, sequence: number(sequence)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_written_as_it_is_read() {
        let id: FeedId = "1763740000000-7".parse().expect("a place");
        assert_eq!((id.to_string().as_str(), id.millis, id.sequence), ("1763740000000-7", 1_763_740_000_000, 7));
        assert!(id > FeedId { millis: 1_763_740_000_000, sequence: 6 } && id > FeedId::default());
        for not_one in ["", "1", "-", "1-", "1-2-3", "+", "a-b"] {
            assert_eq!(not_one.parse::<FeedId>(), Err(NotAFeedId), "{not_one}");
        }
    }
}
