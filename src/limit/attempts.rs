//! How many attempts are too many, as pure rules over time that is passed in.
//!
//! A budget is so many attempts within *any* stretch of its period, not per calendar hour: a counter that begins anew
//! on the hour allows twice its limit around it. Attempts are counted in slots of a sixth of the period, and the slot
//! that is only partly out of the period still counts: never more than the limit, sometimes a little less.

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Slots of a period. More are more exact and cost more memory.
pub const SLOTS: i64 = 6;

/// So many attempts within any stretch of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// The most attempts.
    pub limit: u32,
    /// The period.
    pub period: Duration,
}

impl Budget {
    /// A slot's length in milliseconds, rounded up so that six of them are never less than the period.
    #[must_use]
    pub fn slot_millis(self) -> i64 {
        let period = i64::try_from(self.period.as_millis()).unwrap_or(i64::MAX / (2 * SLOTS));
        (period.max(1) + SLOTS - 1) / SLOTS
    }

    /// The slot of an instant, given as Unix milliseconds.
    #[must_use]
    pub fn slot(self, now_millis: i64) -> Slot {
        Slot(now_millis.div_euclid(self.slot_millis()))
    }
}

/// A slot: its number since 1970, in units of its budget's slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(pub i64);

/// The attempts of one period, by slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Window {
    /// Oldest first, none of them empty.
    slots: VecDeque<(Slot, u32)>,
}

impl Window {
    /// How long until one more attempt is allowed; none if one is allowed now.
    #[must_use]
    pub fn spent(&mut self, budget: Budget, now_millis: i64) -> Option<Duration> {
        let current = budget.slot(now_millis);
        while self.slots.front().is_some_and(|(slot, _)| slot.0 < current.0 - SLOTS) {
            self.slots.pop_front();
        }
        let attempts: u32 = self.slots.iter().map(|(_, attempts)| attempts).sum();
        if attempts < budget.limit {
            return None;
        }
        // An empty window that is spent has a limit of zero, which no configuration can say.
        let oldest = self.slots.front().map_or(current, |(slot, _)| *slot);
        Some(until_forgotten(budget, oldest, now_millis))
    }

    /// Counts an attempt.
    pub fn count(&mut self, budget: Budget, now_millis: i64) -> Slot {
        let current = budget.slot(now_millis);
        // A clock that was set back counts into the newest slot: later is the safe side.
        match self.slots.back_mut() {
            Some((slot, attempts)) if *slot >= current => {
                *attempts += 1;
                *slot
            }
            _ => {
                self.slots.push_back((current, 1));
                current
            }
        }
    }

    /// Takes an attempt back: it was none, or it was successful.
    pub fn give_back(&mut self, slot: Slot) {
        for (held, attempts) in &mut self.slots {
            if *held == slot {
                *attempts -= 1;
            }
        }
        self.slots.retain(|(_, attempts)| *attempts > 0);
    }

    /// Whether nothing is left to count at this instant.
    #[must_use]
    pub fn is_over(&self, budget: Budget, now_millis: i64) -> bool {
        let current = budget.slot(now_millis);
        self.slots.back().is_none_or(|(slot, _)| slot.0 < current.0 - SLOTS)
    }
}

/// How long until the attempts of a slot no longer count.
#[must_use]
pub fn until_forgotten(budget: Budget, slot: Slot, now_millis: i64) -> Duration {
    let end = slot.0.saturating_add(SLOTS + 1).saturating_mul(budget.slot_millis());
    Duration::from_millis(u64::try_from(end.saturating_sub(now_millis)).unwrap_or_default())
}

/// What counts as one place: whoever can use one address of it can usually use all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network(IpAddr);

impl Network {
    /// An IPv4 address, or the /64 of an IPv6 address, which is what one customer or one host gets and may rotate
    /// through at will (RFC 6177, RFC 8981). IPv4 in the clothes of IPv6 is IPv4.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                let mut segments = address.segments();
                segments[4..].fill(0);
                IpAddr::V6(Ipv6Addr::from(segments))
            }
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(address) => write!(f, "{address}/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOURLY: Budget = Budget { limit: 3, period: Duration::from_hours(1) };
    const SLOT: i64 = 10 * 60 * 1000;
    const HOUR: i64 = 60 * 60 * 1000;
    /// Some instant at the beginning of a slot.
    const START: i64 = 1_000_000 * SLOT;

    fn attempt(window: &mut Window, now: i64) -> bool {
        let allowed = window.spent(HOURLY, now).is_none();
        if allowed {
            window.count(HOURLY, now);
        }
        allowed
    }

    #[test]
    fn a_spent_budget_is_free_again_when_its_oldest_slot_is_wholly_over() {
        let mut window = Window::default();
        assert!((0..3).all(|_| attempt(&mut window, START + SLOT - 1)));
        let free_again = START + SLOT + HOUR;
        assert_eq!(window.spent(HOURLY, START + SLOT - 1), Some(Duration::from_millis(3_600_001)));
        assert_eq!(window.spent(HOURLY, free_again - 1), Some(Duration::from_millis(1)));
        assert_eq!(window.spent(HOURLY, free_again), None);
    }

    #[test]
    fn an_attempt_that_is_given_back_is_free_at_once() {
        let mut window = Window::default();
        let slots: Vec<Slot> = (0..3).map(|n| window.count(HOURLY, START + n * SLOT)).collect();
        assert!(window.spent(HOURLY, START + 3 * SLOT).is_some());
        window.give_back(slots[1]);
        assert_eq!(window.spent(HOURLY, START + 3 * SLOT), None);
        window.give_back(slots[1]);
        assert!(attempt(&mut window, START + 3 * SLOT));
        assert!(!attempt(&mut window, START + 3 * SLOT), "giving back twice gives nothing");
    }

    #[test]
    fn a_clock_that_is_set_back_forgets_nothing() {
        let mut window = Window::default();
        assert!((0..3).all(|_| attempt(&mut window, START)));
        assert!(!attempt(&mut window, START - 24 * HOUR));
    }

    #[test]
    fn a_window_is_over_when_its_last_slot_is() {
        let mut window = Window::default();
        assert!(window.is_over(HOURLY, START));
        window.count(HOURLY, START);
        assert!(!window.is_over(HOURLY, START + SLOT + HOUR - 1));
        assert!(window.is_over(HOURLY, START + SLOT + HOUR));
    }

    proptest! {
        #[test]
        fn no_stretch_of_a_period_holds_more_than_the_limit(gaps in prop::collection::vec(0..HOUR, 1..200)) {
            let (mut window, mut now, mut allowed) = (Window::default(), START, Vec::new());
            for gap in gaps {
                now += gap / 8;
                if attempt(&mut window, now) {
                    allowed.push(now);
                }
            }
            for first in &allowed {
                let within = allowed.iter().filter(|&at| (*first..first + HOUR).contains(at)).count();
                prop_assert!(within <= 3, "{allowed:?}");
            }
        }
    }

    #[test]
    fn a_network_is_an_ipv4_address_or_the_64_of_an_ipv6_address() {
        let network = |text: &str| Network::of(text.parse().expect("an address"));
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:192.0.2.7"), network("192.0.2.7"));
        assert_ne!(network("192.0.2.7"), network("192.0.2.8"));
        assert_eq!(network("2001:db8::9").to_string(), "2001:db8::/64");
    }
}
