//! What is known of where the primary is: whom a majority named, by when, and for how long that is good. Pure rules; `place`
//! says why they are these.

use std::time::{Duration, Instant};

/// How long the word of a majority is good for.
pub(super) const LEASE: Duration = Duration::from_secs(2);
/// How long a server must have been named before it can be declared complete: longer than the lease, for clocks that do not
/// go equally fast.
pub(super) const SETTLED: Duration = Duration::from_millis(2500);
/// From one question to the next: a lease outlives two that were lost.
pub(super) const ASK_EVERY: Duration = Duration::from_millis(500);

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Whom a majority named last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) address: Address,
    /// When the last question was sent to which it was the answer.
    pub(super) sent: Instant,
    /// When its name was first heard, without another one since, or a gap in which there may have been one.
    pub(super) since: Instant,
}

impl Named {
    /// Whether somebody may be let in on the word of the server at this address.
    pub(super) fn vouches_for(&self, address: Option<&Address>, now: Instant) -> bool {
        Some(&self.address) == address && now.saturating_duration_since(self.sent) <= LEASE
    }

    /// What is known once `address` was named, to a question sent at `sent`, and the answer heard at `heard`.
    pub(super) fn after(held: Option<&Self>, address: Address, sent: Instant, heard: Instant) -> Self {
        match held {
            // An answer to an older question says nothing new.
            Some(held) if held.sent > sent => held.clone(),
            // Later than a lease, others may have named and believed another one meanwhile.
            Some(held) if held.address == address && heard.saturating_duration_since(held.sent) <= LEASE => {
                Self { sent, ..held.clone() }
            }
            _ => Self { address, sent, since: heard },
        }
    }
}

/// Counts a vote: how many the address has now.
pub(super) fn vote(votes: &mut Vec<(Address, usize)>, address: &Address) -> usize {
    let at = votes.iter().position(|(other, _)| other == address).unwrap_or_else(|| {
        votes.push((address.clone(), 0));
        votes.len() - 1
    });
    votes[at].1 += 1;
    votes[at].1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    fn address(port: u16) -> Address {
        Address { host: "r".to_owned(), port }
    }

    #[test]
    fn a_word_is_good_for_its_server_and_for_a_lease() {
        let start = SystemClock.monotonic();
        let named = Named::after(None, address(1), start, start + ASK_EVERY);
        assert!(named.vouches_for(Some(&address(1)), start + LEASE));
        assert!(!named.vouches_for(Some(&address(1)), start + LEASE + Duration::from_nanos(1)));
        assert!(!named.vouches_for(Some(&address(2)), start) && !named.vouches_for(None, start));
    }

    #[test]
    fn a_server_is_known_since_its_name_was_heard_without_another() {
        let start = SystemClock.monotonic();
        let at = |tenths: u64| start + Duration::from_millis(100 * tenths);
        let first = Named::after(None, address(1), at(0), at(1));
        let again = Named::after(Some(&first), address(1), at(2), at(3));
        assert_eq!((again.sent, again.since), (at(2), at(1)));
        let other = Named::after(Some(&again), address(2), at(4), at(5));
        assert_eq!((&other.address, other.sent, other.since), (&address(2), at(4), at(5)));
        let late = Named::after(Some(&other), address(1), at(3), at(6));
        assert_eq!(late, other, "an answer that was overtaken");
        let back = Named::after(Some(&other), address(1), at(7), at(8));
        assert_eq!(back.since, at(8));
    }

    /// Another one may have been named, and be believed still, of which whoever heard nothing for so long does not know.
    #[test]
    fn a_server_is_known_anew_after_a_gap_of_more_than_a_lease() {
        let start = SystemClock.monotonic();
        let first = Named::after(None, address(1), start, start);
        let in_time = Named::after(Some(&first), address(1), start + LEASE, start + LEASE);
        assert_eq!(in_time.since, start);
        let heard = start + LEASE + Duration::from_nanos(1);
        assert_eq!(Named::after(Some(&first), address(1), start + LEASE, heard).since, heard);
    }

    /// Rule 4 of the module's documentation, for the lengths of time that it rests on.
    #[test]
    fn every_lease_is_over_before_a_successor_is_complete() {
        assert!(SETTLED > LEASE && LEASE > 2 * ASK_EVERY);
    }

    #[test]
    fn votes_are_counted_by_address() {
        let mut votes = Vec::new();
        assert_eq!([1, 2, 1].map(|port| vote(&mut votes, &address(port))), [1, 1, 2]);
    }
}
