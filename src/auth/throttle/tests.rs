//! Facts about who is stopped when, with time standing still.

use super::*;
use crate::clock::ManualClock;

const HOME: &str = "192.0.2.1";
const ELSEWHERE: &str = "198.51.100.1";

struct Gate {
    throttle: Throttle,
    clock: Arc<ManualClock>,
}

fn gate() -> Gate {
    let clock = Arc::new(ManualClock::at("2026-11-21T07:30:00.400Z".parse().expect("an instant")));
    Gate { throttle: Throttle::new(None, clock.clone(), ThrottleSettings::default()), clock }
}

fn address(text: &str) -> Option<IpAddr> {
    Some(text.parse().expect("an address"))
}

/// The `number`th of many networks.
fn network(number: u32) -> IpAddr {
    IpAddr::from((0xc612_0000 + number).to_be_bytes())
}

impl Gate {
    async fn fails(&self, name: &str, from: &str) -> bool {
        self.throttle.login(name, address(from)).await.map(Attempt::failed).is_ok()
    }

    async fn succeeds(&self, name: &str, from: &str) -> bool {
        match self.throttle.login(name, address(from)).await {
            Ok(attempt) => {
                attempt.succeeded().await;
                true
            }
            Err(_) => false,
        }
    }

    /// How many of so many wrong passwords from one network are looked at.
    async fn failures(&self, name: &str, from: &str, tries: usize) -> usize {
        let mut allowed = 0;
        for _ in 0..tries {
            allowed += usize::from(self.fails(name, from).await);
        }
        allowed
    }
}

#[tokio::test]
async fn ten_wrong_passwords_from_one_network_are_enough_for_a_quarter_of_an_hour() {
    let gate = gate();
    assert_eq!(gate.failures("ada", HOME, 12).await, 10);
    let refused = gate.throttle.login("ada", address(HOME)).await.expect_err("spent");
    gate.clock.advance(refused.retry_after - Duration::from_millis(1));
    assert!(!gate.fails("ada", HOME).await);
    gate.clock.advance(Duration::from_millis(1));
    assert!(gate.fails("ada", HOME).await);
    assert!(refused.retry_after <= Duration::from_mins(18), "{refused:?}");
}

#[tokio::test]
async fn right_passwords_do_not_count() {
    let gate = gate();
    for _ in 0..200 {
        assert!(gate.succeeds("ada", HOME).await);
    }
    assert_eq!(gate.failures("ada", HOME, 12).await, 10);
}

#[tokio::test]
async fn every_spelling_of_a_name_is_one_account() {
    let gate = gate();
    for name in ["ada", "ADA", "Ａda", "aDa", "ada", "Ada", "adA", "aDA", "AdA", "ADa"] {
        assert!(gate.fails(name, HOME).await);
    }
    assert!(!gate.fails("ada", HOME).await);
    assert!(gate.fails("grace", HOME).await);
}

#[tokio::test]
async fn a_name_that_nobody_can_have_is_counted_like_any_other() {
    let gate = gate();
    assert_eq!(gate.failures("a@b@c", HOME, 12).await, 10);
}

#[tokio::test]
async fn the_addresses_of_an_ipv6_network_are_one_network() {
    let gate = gate();
    for host in 0..10 {
        assert!(gate.fails("ada", &format!("2001:db8::{host:x}:1")).await);
    }
    assert!(!gate.fails("ada", "2001:db8::ffff:1").await);
    assert!(gate.fails("ada", "2001:db8:0:1::1").await);
}

#[tokio::test]
async fn one_password_for_everybody_is_stopped_by_network() {
    let gate = gate();
    let mut allowed = 0;
    for number in 0..1000 {
        allowed += usize::from(gate.fails(&format!("user{number}"), HOME).await);
    }
    assert_eq!(allowed, 100);
    assert!(gate.fails("ada", ELSEWHERE).await);
}

#[tokio::test]
async fn an_account_takes_no_more_than_half_a_hundred_failures_an_hour_by_each_of_its_names() {
    let gate = gate();
    let mut allowed = 0;
    for number in 0..300 {
        let from = Some(network(number));
        allowed += usize::from(gate.throttle.login("ada", from).await.map(Attempt::failed).is_ok());
        allowed += usize::from(gate.throttle.login("ada@example.com", from).await.map(Attempt::failed).is_ok());
    }
    assert_eq!(allowed, 100);
}

#[tokio::test]
async fn strangers_do_not_lock_out_an_owner_who_comes_from_a_known_network() {
    let gate = gate();
    assert!(gate.succeeds("ada", HOME).await);
    for number in 0..300 {
        drop(gate.throttle.login("ada", Some(network(number))).await);
    }
    assert!(!gate.succeeds("ada", ELSEWHERE).await, "a network that nobody knows");
    assert!(gate.succeeds("ada", HOME).await);
    // A neighbour who tries everybody's account does not lock the owner out either.
    for number in 0..300 {
        gate.fails(&format!("user{number}"), HOME).await;
    }
    assert!(!gate.fails("grace", HOME).await);
    assert!(gate.succeeds("ada", HOME).await);
    assert_eq!(gate.failures("ada", HOME, 12).await, 10, "and being known is no licence to guess");
}

#[tokio::test]
async fn a_network_is_known_for_thirty_days() {
    let gate = gate();
    assert!(gate.succeeds("ada", HOME).await);
    let spend = async || {
        for number in 0..60 {
            drop(gate.throttle.login("ada", Some(network(number))).await);
        }
    };
    gate.clock.advance(Duration::from_hours(30 * 24) - Duration::from_millis(1));
    spend().await;
    assert!(gate.fails("ada", HOME).await);
    gate.clock.advance(Duration::from_millis(1));
    assert!(!gate.fails("ada", HOME).await);
}

#[tokio::test]
async fn a_burst_of_wrong_passwords_does_not_overrun_the_budget() {
    let gate = Arc::new(gate());
    let attempts: Vec<_> = (0..64)
        .map(|_| {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move {
                let Ok(attempt) = gate.throttle.login("ada", address(HOME)).await else { return 0 };
                tokio::task::yield_now().await;
                attempt.failed();
                1
            })
        })
        .collect();
    let mut looked_at = 0;
    for attempt in attempts {
        looked_at += attempt.await.expect("no panic");
    }
    assert_eq!(looked_at, 10);
}

#[tokio::test]
async fn a_burst_of_right_passwords_is_let_in_whole() {
    let gate = Arc::new(gate());
    let attempts: Vec<_> = (0..200)
        .map(|_| {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move {
                let attempt = gate.throttle.login("ada", address(HOME)).await?;
                tokio::task::yield_now().await;
                attempt.succeeded().await;
                Ok::<(), Throttled>(())
            })
        })
        .collect();
    for attempt in attempts {
        assert_eq!(attempt.await.expect("no panic"), Ok(()));
    }
}

#[tokio::test]
async fn a_session_has_its_own_budget_for_repeating_the_password() {
    let gate = gate();
    for _ in 0..10 {
        gate.throttle.check(Kind::Password, "stolen").await.expect("within the budget").failed();
    }
    assert!(gate.throttle.check(Kind::Password, "stolen").await.is_err());
    assert!(gate.throttle.check(Kind::Password, "the owner's").await.is_ok());
}

#[tokio::test]
async fn a_client_is_stopped_where_it_fails_and_nowhere_else() {
    let gate = gate();
    let try_secret = async |id: &str, from: &str| gate.throttle.client(id, address(from)).await;
    for _ in 0..30 {
        try_secret("billing", HOME).await.expect("within the budget").failed();
    }
    let refused = try_secret("billing", HOME).await.expect_err("spent");
    assert!(try_secret("other", HOME).await.is_ok(), "another client");
    assert!(try_secret("billing", ELSEWHERE).await.is_ok(), "another network");
    gate.clock.advance(refused.retry_after - Duration::from_millis(1));
    assert!(try_secret("billing", HOME).await.is_err());
    gate.clock.advance(Duration::from_millis(1));
    assert!(try_secret("billing", HOME).await.is_ok());
    for _ in 0..200 {
        gate.throttle.client("billing", None).await.expect("from nowhere: not counted").failed();
    }
}

#[tokio::test]
async fn a_client_that_is_known_in_its_network_is_not_stopped_by_its_neighbours() {
    let gate = gate();
    gate.throttle.client("billing", address(HOME)).await.expect("allowed").succeeded().await;
    for number in 0..100 {
        gate.throttle.client(&format!("c{number}"), address(HOME)).await.expect("within the budget").failed();
    }
    assert!(gate.throttle.client("other", address(HOME)).await.is_err(), "the network's budget is for all its strangers");
    assert!(!gate.fails("ada", HOME).await, "and common to clients and users");
    assert!(gate.throttle.client("billing", address(HOME)).await.is_ok());
}

#[tokio::test]
async fn what_comes_from_nowhere_is_counted_by_account_only() {
    let gate = gate();
    for _ in 0..200 {
        gate.throttle.check_network(Kind::Register, None).await.expect("not counted").failed();
    }
    let mut allowed = 0;
    for _ in 0..200 {
        allowed += usize::from(gate.throttle.login("ada", None).await.map(Attempt::failed).is_ok());
    }
    assert_eq!(allowed, 50);
}

#[tokio::test]
async fn switched_off_it_refuses_nothing() {
    let clock = gate().clock;
    let throttle = Throttle::new(None, clock, ThrottleSettings { enabled: false, ..ThrottleSettings::default() });
    for _ in 0..200 {
        throttle.login("ada", address(HOME)).await.expect("allowed").failed();
    }
}
