//! The rules of following, one event at a time.

use std::time::Duration;

use super::*;
use crate::clock::{Clock as _, ManualClock};
use crate::store::{Covers, FeedEntry};

fn id(sequence: u64) -> FeedId {
    FeedId { millis: 1000, sequence }
}

fn record(number: u64) -> Revocation {
    let expires_at = "2026-01-01T00:15:00Z".parse().expect("an instant");
    Revocation { covers: Covers::Token(number.to_string().into()), expires_at }
}

fn entry(sequence: u64) -> FeedEntry {
    FeedEntry { id: id(sequence), records: Some(vec![record(sequence)]) }
}

fn page(last: u64, added: u64, entries: impl IntoIterator<Item = u64>) -> FeedPage {
    FeedPage { dataset: "one".to_owned(), last: id(last), added, entries: entries.into_iter().map(entry).collect() }
}

fn sent() -> Instant {
    ManualClock::at("2026-01-01T00:00:00Z".parse().expect("an instant")).monotonic()
}

/// A mirror that has noted a feed of three entries, read an empty SQL, and caught up.
fn caught_up() -> Follower {
    let mut follower = Follower::new(true);
    assert_eq!(follower.begin(), Command::Read(FeedId::default()));
    assert_eq!(follower.on(Event::Read(page(3, 3, 1..4), sent())).next, Command::Load(i64::MIN));
    assert_eq!(follower.on(Event::Loaded(Vec::new(), None)).next, Command::Read(FeedId::default()));
    let at = sent();
    let step = follower.on(Event::Read(page(3, 3, 1..4), at));
    assert_eq!((step.proved, step.next), (Some(at), Command::Wait(id(3))));
    follower
}

#[test]
fn sql_is_read_after_the_note_and_the_feed_after_sql() {
    let mut follower = Follower::new(true);
    follower.begin();
    follower.on(Event::Read(page(3, 7, 1..4), sent()));
    let step = follower.on(Event::Loaded(vec![record(9)], Some(5)));
    assert_eq!((step.records, step.proved, step.next), (vec![record(9)], None, Command::Load(5)));
    assert_eq!(follower.on(Event::Loaded(Vec::new(), None)).next, Command::Read(FeedId::default()));
    // Two entries came since; one of those before the note was trimmed meanwhile, which takes nothing away.
    let at = sent();
    let step = follower.on(Event::Read(page(5, 9, 2..6), at));
    assert_eq!(step.records, (2..6).map(record).collect::<Vec<_>>());
    assert_eq!((step.proved, step.gap, step.next), (Some(at), None, Command::Wait(id(5))));
}

#[test]
fn a_proof_is_as_old_as_its_question() {
    let mut follower = caught_up();
    assert_eq!(follower.on(Event::Woken).next, Command::Read(id(3)));
    let at = sent();
    assert_eq!(follower.on(Event::Read(page(3, 3, []), at)).proved, Some(at));
}

#[test]
fn a_full_page_that_is_not_the_end_proves_nothing() {
    let mut follower = caught_up();
    let all = 3 + 2 * ENTRIES_PER_READ as u64;
    let half = 3 + ENTRIES_PER_READ as u64;
    let step = follower.on(Event::Read(page(all, all, 4..=half), sent()));
    assert_eq!((step.proved, step.next), (None, Command::Read(id(half))));
    assert!(follower.on(Event::Read(page(all, all, half + 1..=all), sent())).proved.is_some());
}

#[test]
fn whatever_was_not_seen_is_a_gap() {
    let other = FeedPage { dataset: "other".to_owned(), ..page(4, 4, [4]) };
    let unreadable = FeedPage { entries: vec![FeedEntry { id: id(4), records: None }], ..page(4, 4, []) };
    for (what, page, gap) in [
        ("an entry was trimmed unseen", page(5, 5, [5]), FeedGap::Trimmed),
        ("the last entry was deleted unseen", page(4, 4, []), FeedGap::Trimmed),
        ("the feed was deleted and begun anew", page(4, 1, [4]), FeedGap::Trimmed),
        ("the feed is shorter than what was seen of it", page(2, 2, []), FeedGap::Rewound),
        ("another data set", other, FeedGap::Dataset),
        ("an entry of another version", unreadable, FeedGap::Unreadable),
    ] {
        let mut follower = caught_up();
        let step = follower.on(Event::Read(page, sent()));
        assert_eq!((step.proved, step.gap, step.next), (None, Some(gap), Command::Rest), "{what}");
        assert_eq!(follower.on(Event::Woken).next, Command::Read(FeedId::default()), "{what}: it begins again");
    }
}

#[test]
fn what_failed_is_done_again_from_the_same_place() {
    let mut follower = caught_up();
    assert_eq!(follower.on(Event::Failed).next, Command::Rest);
    assert_eq!(follower.on(Event::Woken).next, Command::Read(id(3)), "the connection was lost, the place was not");
    assert_eq!(follower.on(Event::Failed).next, Command::Rest);
    assert_eq!(follower.on(Event::Woken).next, Command::Read(id(3)));
    assert!(follower.on(Event::Read(page(4, 4, [4]), sent())).proved.is_some());

    let mut loading = Follower::new(true);
    loading.begin();
    loading.on(Event::Read(page(3, 3, []), sent()));
    loading.on(Event::Loaded(vec![record(1)], Some(1)));
    assert_eq!(loading.on(Event::Failed).next, Command::Rest);
    assert_eq!(loading.on(Event::Woken).next, Command::Load(1));
}

#[test]
fn who_only_listens_begins_at_the_end_and_reads_no_sql() {
    let mut follower = Follower::new(false);
    follower.begin();
    assert_eq!(follower.on(Event::Read(page(3, 9, 1..4), sent())).next, Command::Read(id(3)));
    let at = sent() + Duration::from_secs(1);
    let step = follower.on(Event::Read(page(4, 10, [4]), at));
    assert_eq!((step.records, step.proved), (vec![record(4)], Some(at)));
}

#[test]
fn after_an_overflow_everything_begins_again() {
    let mut follower = caught_up();
    assert_eq!(follower.overflowed(), Command::MakeRoom);
    assert_eq!(follower.on(Event::Woken).next, Command::Read(FeedId::default()));
    assert_eq!(follower.on(Event::Read(page(3, 3, 1..4), sent())).next, Command::Load(i64::MIN));
}
