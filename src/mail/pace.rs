//! How often one address may be written to: so many letters within any hour, whoever asks for them.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;

/// Addresses remembered at most. Only those that mail was sent to are, so it takes as many accounts to fill it.
const ADDRESSES_MAX: usize = 100_000;
const WITHIN: Duration = Duration::from_secs(3600);

/// What was sent to whom within the last hour.
#[derive(Debug)]
pub(super) struct Pace {
    each_max: usize,
    sent: HashMap<Box<str>, VecDeque<Timestamp>>,
}

impl Pace {
    /// At most `each_max` letters to an address within any hour.
    pub(super) fn new(each_max: usize) -> Self {
        Self { each_max, sent: HashMap::new() }
    }

    /// Notes a letter to `address` at `now`; false if that is one too many.
    pub(super) fn allows(&mut self, address: &str, now: Timestamp) -> bool {
        let since = now - WITHIN;
        if !self.sent.contains_key(address) && self.sent.len() >= ADDRESSES_MAX {
            self.sent.retain(|_, sent| sent.back().is_some_and(|last| *last > since));
            if self.sent.len() >= ADDRESSES_MAX {
                return false;
            }
        }
        let sent = self.sent.entry(address.into()).or_default();
        while sent.front().is_some_and(|first| *first <= since) {
            sent.pop_front();
        }
        if sent.len() >= self.each_max {
            return false;
        }
        sent.push_back(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_so_many_letters_within_any_hour() {
        let mut pace = Pace::new(3);
        let at = |second| Timestamp::from_second(second).unwrap();
        for second in [0, 10, 20] {
            assert!(pace.allows("ada@example.com", at(second)));
        }
        assert!(!pace.allows("ada@example.com", at(21)));
        assert!(pace.allows("eve@example.com", at(21)), "others are not concerned");
        assert!(!pace.allows("ada@example.com", at(3599)), "a second before the first is an hour old");
        assert!(pace.allows("ada@example.com", at(3600)));
        assert!(!pace.allows("ada@example.com", at(3601)), "the others are not an hour old");
        assert!(pace.allows("ada@example.com", at(3610)));
    }
}
