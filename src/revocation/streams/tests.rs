//! What ends and what goes on, at the instants where one becomes the other.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::slot::LONG;
use super::*;
use crate::clock::ManualClock;
use crate::identity::session::SessionId;
use crate::policy::fixtures;
use crate::store::Covers;

/// Just under [`LONG`].
const SHORT: Duration = Duration::from_millis(999);

struct Bench {
    streams: Arc<OpenStreams>,
    clock: Arc<ManualClock>,
}

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
        let streams = OpenStreams::new(Arc::clone(&clock) as Arc<dyn Clock>, Arc::new(Metrics::new()));
        Self { streams, clock }
    }

    fn admitted(&self, seat: &Seat, session: u128) -> Bound {
        let since = self.streams.tellings();
        self.bind(seat, session, since).expect("nothing was revoked")
    }

    fn bind(&self, seat: &Seat, session: u128, since: u64) -> Result<Bound, RevokedBy> {
        self.streams.bind(seat.slot(), &caller(session), (self.clock.monotonic(), Kind::Request), since)
    }

    /// As the watch does, in a round.
    fn end(&self, covers: Covers) {
        self.streams.revoked(&[record(covers)]);
        self.streams.cut();
    }
}

fn caller(session: u128) -> Arc<Caller> {
    let mut caller = fixtures::caller(&[]);
    caller.token.session = SessionId(Uuid::from_u128(session));
    caller.token.jti = format!("jti-{session}").into();
    Arc::new(caller)
}

fn record(covers: Covers) -> Revocation {
    Revocation { covers, expires_at: Timestamp::MAX }
}

fn session(id: u128) -> Covers {
    Covers::Session(SessionId(Uuid::from_u128(id)))
}

fn age(age: Duration) -> impl FnOnce() -> Duration {
    move || age
}

#[test]
fn a_stream_ends_with_its_session_and_its_neighbour_does_not() {
    let bench = Bench::new();
    let seats = [bench.streams.seat(), bench.streams.seat()];
    let bound = [bench.admitted(&seats[0], 1), bench.admitted(&seats[1], 2)];
    for bound in &bound {
        assert_eq!(bound.answered(true, age(Duration::ZERO)), None);
    }
    bench.end(session(1));
    assert_eq!(bound.each_ref().map(Bound::cut_off), [Some(StreamEnd::Session), None]);
    bench.end(Covers::Token("jti-2".into()));
    assert_eq!(bound[1].cut_off(), Some(StreamEnd::Token));
}

#[test]
fn a_principals_streams_end_if_their_tokens_are_older() {
    for (millis, end) in [(0, None), (1, Some(StreamEnd::Principal))] {
        let bench = Bench::new();
        let seat = bench.streams.seat();
        let bound = bench.admitted(&seat, 1);
        assert_eq!(bound.answered(true, age(Duration::ZERO)), None);
        let before = Timestamp::UNIX_EPOCH + Duration::from_millis(millis);
        bench.end(Covers::Principal { issuer: fixtures::ISSUER.into(), subject: "ada-id".into(), before });
        assert_eq!(bound.cut_off(), end, "{millis}");
    }
}

#[test]
fn a_short_request_ends_by_itself_and_one_that_lasts_does_not() {
    let bench = Bench::new();
    let seat = bench.streams.seat();
    let bound = bench.admitted(&seat, 1);
    assert_eq!(bound.answered(false, age(Duration::ZERO)), None);
    bench.clock.advance(SHORT);
    bench.end(session(1));
    assert_eq!(bound.cut_off(), None, "it has begun, and may end");
    bench.clock.advance(LONG - SHORT);
    let seen = seat.slot().seen(bench.clock.monotonic()).expect("it is bound");
    bench.streams.condemn(seat.slot(), seen.number, seat.slot().condemned().expect("it is"));
    assert_eq!(bound.cut_off(), Some(StreamEnd::Session));
}

/// A call may never be answered, and carry messages all the same.
#[test]
fn a_call_that_lasts_ends_before_its_answer_begins_and_a_request_does_not() {
    for (kind, age, end) in [(Kind::Call, SHORT, None), (Kind::Call, LONG, Some(StreamEnd::Session)), (Kind::Request, LONG, None)]
    {
        let bench = Bench::new();
        let seat = bench.streams.seat();
        let begun = (bench.clock.monotonic(), kind);
        let bound = bench.streams.bind(seat.slot(), &caller(1), begun, 0).expect("nothing was revoked");
        bench.clock.advance(age);
        bench.end(session(1));
        assert_eq!(bound.cut_off(), end, "{kind:?} {age:?}");
    }
}

#[test]
fn an_answer_that_begins_afterwards_is_passed_on_if_it_is_short() {
    for (stream, took, refused) in
        [(false, SHORT, None), (false, LONG, Some(StreamEnd::Session)), (true, Duration::ZERO, Some(StreamEnd::Session))]
    {
        let bench = Bench::new();
        let seat = bench.streams.seat();
        let bound = bench.admitted(&seat, 1);
        bench.end(session(1));
        assert_eq!(bound.cut_off(), None, "nothing was answered: nothing is cut off");
        assert_eq!(bound.answered(stream, age(took)), refused, "{stream} {took:?}");
    }
}

/// Between the check of a token and the moment from which the request can be found.
#[test]
fn what_is_revoked_while_a_request_is_admitted_is_not_lost() {
    let bench = Bench::new();
    let seat = bench.streams.seat();
    let since = bench.streams.tellings();
    bench.end(session(1));
    assert_eq!(bench.bind(&seat, 1, since).map(drop), Err(RevokedBy::Session));
    assert!(bench.bind(&seat, 2, since).is_ok(), "another session");
    assert!(!bench.streams.unsure.load(Ordering::Relaxed));
    // More than is remembered: then everything is asked about again.
    let many: Vec<_> = (100..1200).map(|id| record(session(id))).collect();
    bench.streams.revoked(&many);
    assert!(bench.bind(&seat, 1, since).is_ok());
    assert!(bench.streams.unsure.load(Ordering::Relaxed));
}

#[test]
fn the_next_request_on_a_connection_is_not_the_last_one() {
    let bench = Bench::new();
    let seat = bench.streams.seat();
    let first = bench.admitted(&seat, 1);
    let seen = seat.slot().seen(bench.clock.monotonic()).expect("it is bound");
    drop(first);
    assert!(seat.slot().seen(bench.clock.monotonic()).is_none());
    let second = bench.admitted(&seat, 2);
    assert_eq!(second.answered(true, age(Duration::ZERO)), None);
    // The set answered late, about the first.
    bench.streams.condemn(seat.slot(), seen.number, StreamEnd::Session);
    assert_eq!(second.cut_off(), None);
}

#[test]
fn nothing_is_left_of_connections_that_are_closed() {
    let bench = Bench::new();
    drop((0..100).map(|_| bench.streams.seat()).collect::<Vec<_>>());
    assert_eq!(bench.streams.slots.len(), 0);
}

/// Answers begin while sessions end: whoever comes first, none goes on.
#[test]
fn an_answer_and_an_end_at_the_same_time_find_each_other() {
    for _ in 0..2000 {
        let bench = Bench::new();
        let seat = bench.streams.seat();
        let bound = bench.admitted(&seat, 1);
        let streams = Arc::clone(&bench.streams);
        let ending = std::thread::spawn(move || {
            streams.revoked(&[record(session(1))]);
            streams.cut();
        });
        let refused = bound.answered(true, age(Duration::ZERO));
        ending.join().expect("it ends");
        assert!(refused.is_some() || bound.cut_off().is_some());
    }
}
