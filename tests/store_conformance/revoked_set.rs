//! What every revoked set promises, in memory or in Redis.

use std::sync::Arc;

use portcullis::identity::session::SessionId;
use portcullis::store::memory::MemorySet;
use portcullis::store::redis::RedisSet;
use portcullis::store::{RevokedBy, RevokedSet};
use uuid::Uuid;

use super::services::Redis;
use super::{complete, eventually, now, revoked_before, revoked_session, revoked_token, secs, token};

/// A set under test, and the server that it lives in.
struct Subject {
    set: Arc<dyn RevokedSet>,
    _server: Option<Redis>,
}

fn memory() -> Subject {
    Subject { set: MemorySet::new(), _server: None }
}

fn redis() -> Subject {
    let server = Redis::start();
    let set = RedisSet::new(&crate::place(&server.url()), "test:", crate::stopwatch());
    Subject { set: Arc::new(set), _server: Some(server) }
}

fn any_session() -> SessionId {
    SessionId(Uuid::new_v4())
}

async fn a_set_that_was_never_completed_does_not_say_no(Subject { set, _server }: Subject) {
    let asked = token("a", any_session(), "ada", now());
    assert!(set.lookup(&asked).await.is_err());
    set.needs_rebuild().await;
    complete(&*set, &[]).await;
    assert_eq!(set.lookup(&asked).await.expect("complete"), None);
}

async fn what_was_published_counts_even_before_the_set_is_complete(Subject { set, _server }: Subject) {
    let asked = token("a", any_session(), "ada", now());
    eventually("the set can be reached", || async { set.publish(&[revoked_token("a")], now()).await.ok() }).await;
    assert_eq!(set.lookup(&asked).await.expect("a record is a record"), Some(RevokedBy::Token));
}

async fn each_kind_of_record_covers_its_tokens_and_no_others(Subject { set, _server }: Subject) {
    let (mine, other) = (any_session(), any_session());
    let records = [revoked_token("a"), revoked_session(mine, now() + secs(900)), revoked_before("bob", now())];
    complete(&*set, &records).await;
    for (asked, verdict) in [
        (token("a", other, "ada", now()), Some(RevokedBy::Token)),
        (token("A", other, "ada", now()), None),
        (token("b", mine, "ada", now()), Some(RevokedBy::Session)),
        (token("c", other, "bob", now() - secs(1)), Some(RevokedBy::Principal)),
        (token("c", other, "bob", now()), None),
        (token("c", other, "bobby", now() - secs(1)), None),
    ] {
        assert_eq!(set.lookup(&asked).await.expect("complete"), verdict, "{asked:?}");
    }
}

async fn an_instant_only_ever_grows(Subject { set, _server }: Subject) {
    complete(&*set, &[revoked_before("ada", now()), revoked_before("ada", now() - secs(60))]).await;
    let asked = token("a", any_session(), "ada", now() - secs(1));
    assert_eq!(set.lookup(&asked).await.expect("complete"), Some(RevokedBy::Principal));
    set.publish(&[revoked_before("ada", now() + secs(60))], now()).await.expect("the set can be reached");
    let asked = token("a", any_session(), "ada", now() + secs(59));
    assert_eq!(set.lookup(&asked).await.expect("complete"), Some(RevokedBy::Principal));
}

async fn an_instant_within_a_second_catches_the_tokens_of_that_second(Subject { set, _server }: Subject) {
    complete(&*set, &[revoked_before("ada", now() + std::time::Duration::from_nanos(1))]).await;
    let asked = token("a", any_session(), "ada", now());
    assert_eq!(set.lookup(&asked).await.expect("complete"), Some(RevokedBy::Principal));
}

/// Case 182: the clock was set forward between the record and its publication.
async fn what_somebody_waits_for_is_published_whatever_the_clock_says(Subject { set, _server }: Subject) {
    let session = any_session();
    complete(&*set, &[]).await;
    set.publish(&[revoked_session(session, now() - secs(1))], now()).await.expect("there");
    let found = set.lookup(&token("a", session, "ada", now())).await.expect("complete");
    assert_eq!(found, Some(RevokedBy::Session));
}

async fn expired_records_are_not_restored(Subject { set, _server }: Subject) {
    let (past, future) = (any_session(), any_session());
    complete(&*set, &[]).await;
    set.restore(&[revoked_session(past, now()), revoked_session(future, now() + secs(60))], now()).await.expect("there");
    assert_eq!(set.lookup(&token("a", past, "ada", now())).await.expect("complete"), None);
    let found = set.lookup(&token("a", future, "ada", now())).await.expect("complete");
    assert_eq!(found, Some(RevokedBy::Session));
}

async fn many_lookups_at_once_each_get_their_own_answer(Subject { set, _server }: Subject) {
    let odd: Vec<_> = (1..2000).step_by(2).map(|number| revoked_token(&number.to_string())).collect();
    complete(&*set, &odd).await;
    let lookups = (0..2000).map(|number| {
        let set = Arc::clone(&set);
        tokio::spawn(async move { (number, set.lookup(&token(&number.to_string(), any_session(), "ada", now())).await) })
    });
    for lookup in lookups.collect::<Vec<_>>() {
        let (number, found) = lookup.await.expect("a look-up does not panic");
        let expected = (number % 2 == 1).then_some(RevokedBy::Token);
        assert_eq!(found.expect("complete"), expected, "token {number}");
    }
}

macro_rules! promises {
    ($($promise:ident,)+) => {
        mod in_memory {
            $(#[tokio::test] async fn $promise() { super::$promise(super::memory()).await; })+
        }
        mod in_redis {
            $(#[tokio::test] async fn $promise() { super::$promise(super::redis()).await; })+
        }
    };
}

promises! {
    a_set_that_was_never_completed_does_not_say_no,
    what_was_published_counts_even_before_the_set_is_complete,
    each_kind_of_record_covers_its_tokens_and_no_others,
    an_instant_only_ever_grows,
    an_instant_within_a_second_catches_the_tokens_of_that_second,
    expired_records_are_not_restored,
    many_lookups_at_once_each_get_their_own_answer,
    what_somebody_waits_for_is_published_whatever_the_clock_says,
}
