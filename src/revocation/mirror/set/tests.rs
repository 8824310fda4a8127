//! The set against a model that keeps everything in a `BTreeMap`: nothing that still matters is ever missing, what is
//! over is dropped, and no bound is exceeded.

use std::collections::BTreeMap;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::clock::{Clock as _, ManualClock};
use crate::identity::session::SessionId;

const ISSUER: &str = "https://id.example";
const IDS: u8 = 20;

#[derive(Debug, Clone)]
enum Act {
    Revoke { kind: u8, id: u8, life: u64, before: i64 },
    Pass(u64),
    Expire,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (0_u8..3, 0..IDS, 0_u64..5000, -50_i64..50)
            .prop_map(|(kind, id, life, before)| Act::Revoke { kind, id, life, before }),
        2 => (0_u64..2000).prop_map(Act::Pass),
        1 => Just(Act::Expire),
    ];
    proptest::collection::vec(act, 1..120)
}

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("an instant")
}

fn covers(kind: u8, id: u8, before: i64) -> Covers {
    match kind {
        0 => Covers::Token(format!("t{id}").into()),
        1 => Covers::Session(SessionId(Uuid::from_u128(u128::from(id)))),
        _ => Covers::Principal {
            issuer: ISSUER.into(),
            subject: format!("u{id}").into(),
            before: start() + jiff::SignedDuration::from_secs(before),
        },
    }
}

/// A token that only a record of this kind and id can cover.
fn token(kind: u8, id: u8) -> TokenFacts {
    let other = IDS + 1;
    TokenFacts {
        issuer: ISSUER.into(),
        jti: format!("t{}", if kind == 0 { id } else { other }).into(),
        session: SessionId(Uuid::from_u128(u128::from(if kind == 1 { id } else { other }))),
        subject: format!("u{}", if kind == 2 { id } else { other }).into(),
        issued_at: start(),
        expires_at: start(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nothing_that_matters_is_missing_and_nothing_that_is_over_stays(acts in acts()) {
        let clock = ManualClock::at(start());
        let set = MirrorSet::new(1000, clock.monotonic());
        // Until when each record is to be kept.
        let mut model: BTreeMap<(u8, u8), Timestamp> = BTreeMap::new();
        for act in acts {
            match act {
                Act::Revoke { kind, id, life, before } => {
                    let expires_at = clock.now() + Duration::from_secs(life);
                    let record = Revocation { covers: covers(kind, id, before), expires_at };
                    prop_assert!(set.insert(&[record], clock.now(), clock.monotonic()).is_ok());
                    let until = expires_at + KEEP_BEYOND;
                    // The token was issued at the start: an instant up to it covers nothing.
                    if kind < 2 || before > 0 {
                        model.entry((kind, id)).and_modify(|held| *held = until.max(*held)).or_insert(until);
                    }
                }
                Act::Pass(seconds) => clock.advance(Duration::from_secs(seconds)),
                Act::Expire => set.expire(clock.monotonic()),
            }
            for kind in 0..3 {
                for id in 0..IDS {
                    let matters = model.get(&(kind, id)).is_some_and(|until| *until > clock.now());
                    prop_assert!(!matters || set.may_cover(&token(kind, id)), "{kind} {id} is missing");
                    let known = model.contains_key(&(kind, id));
                    prop_assert!(known || !set.may_cover(&token(kind, id)), "{kind} {id} was never revoked");
                }
            }
        }
        clock.advance(Duration::from_secs(100_000));
        set.expire(clock.monotonic());
        prop_assert_eq!(set.len(), 0);
        prop_assert!(!(0..3).any(|kind| (0..IDS).any(|id| set.may_cover(&token(kind, id)))));
    }

    #[test]
    fn a_bucket_outlives_a_record_by_no_more_than_a_quarter(life in 1_u64..10_000_000) {
        let granularity = granularity(life);
        prop_assert!(granularity <= (life / 4).max(1));
        prop_assert!(granularity >= life / 8);
    }
}

fn records(ids: std::ops::Range<usize>) -> Vec<Revocation> {
    let expires_at = start() + Duration::from_secs(900);
    ids.map(|id| Revocation { covers: Covers::Token(id.to_string().into()), expires_at }).collect()
}

#[test]
fn a_set_that_is_full_says_so_and_evicts_nothing() {
    let clock = ManualClock::at(start());
    let set = MirrorSet::new(100, clock.monotonic());
    assert_eq!(set.insert(&records(0..100), start(), clock.monotonic()), Ok(()));
    assert_eq!(set.insert(&records(0..100), start(), clock.monotonic()), Ok(()), "they are there");
    assert!(!set.is_full());
    assert_eq!(set.insert(&records(100..101), start(), clock.monotonic()), Err(Full));
    assert!(set.is_full() && !set.has_room_again());
    assert_eq!(set.len(), 100);
    let first = TokenFacts { jti: "0".into(), ..token(0, 0) };
    assert!(set.may_cover(&first));
    clock.advance(Duration::from_secs(10_000));
    set.expire(clock.monotonic());
    assert!(set.has_room_again() && !set.is_full());
}

#[test]
fn equal_lives_share_few_buckets() {
    let clock = ManualClock::at(start());
    let set = MirrorSet::new(100_000, clock.monotonic());
    for second in 0..3600 {
        let expires_at = clock.now() + Duration::from_secs(900);
        let record = Revocation { covers: Covers::Token(second.to_string().into()), expires_at };
        set.insert(&[record], clock.now(), clock.monotonic()).expect("there is room");
        set.expire(clock.monotonic());
        assert!(set.tables.load().len() <= 9, "each costs every request a look");
        assert!(set.len() <= 1200 + 256 + 3, "{}", set.len());
        clock.advance(Duration::from_secs(1));
    }
}

#[test]
fn the_time_of_day_may_step_without_bringing_a_token_back() {
    let clock = ManualClock::at(start());
    let set = MirrorSet::new(100, clock.monotonic());
    set.insert(&records(0..1), clock.now(), clock.monotonic()).expect("there is room");
    // Only the clock that never steps decides when a record is over.
    clock.advance(Duration::from_secs(899));
    clock.set_back(Duration::from_secs(3600));
    set.expire(clock.monotonic());
    let first = TokenFacts { jti: "0".into(), ..token(0, 0) };
    assert!(set.may_cover(&first));
}
