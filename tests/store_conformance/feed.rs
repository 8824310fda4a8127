//! The feed of revocations on a real Redis: every publication is in it, nothing can go missing unseen.

use std::sync::Arc;
use std::time::Duration;

use portcullis::clock::SystemClock;
use portcullis::identity::session::SessionId;
use portcullis::store::redis::{RedisFeed, RedisSet};
use portcullis::store::{FeedId, FeedPage, Revocation, RevocationFeed, RevokedSet};
use uuid::Uuid;

use super::services::Redis;
use super::{complete, eventually, now, revoked_before, revoked_session, revoked_token, secs};

struct Bench {
    server: Redis,
    set: RedisSet,
    feed: RedisFeed,
}

impl Bench {
    /// A complete set, and its feed.
    async fn new() -> Self {
        let server = Redis::start();
        let set = RedisSet::new(&crate::place(&server.url()), "test:", crate::stopwatch());
        let feed = RedisFeed::new(&crate::place(&server.url()), "test:", Arc::new(SystemClock));
        complete(&set, &[]).await;
        Self { server, set, feed }
    }

    async fn page(&self, after: FeedId) -> FeedPage {
        self.feed.read(after, 100, now()).await.expect("redis is there")
    }

    async fn publish(&self, records: &[Revocation]) {
        self.set.publish(records, now()).await.expect("redis is there");
    }
}

fn records(page: &FeedPage) -> Vec<Revocation> {
    page.entries.iter().flat_map(|entry| entry.records.clone().expect("it can be read")).collect()
}

#[tokio::test]
async fn what_is_published_is_announced_in_one_order() {
    let bench = Bench::new().await;
    let noted = bench.page(FeedId::default()).await;
    assert_eq!(noted.added, noted.entries.len() as u64, "a new feed has all of its entries");
    let session = revoked_session(SessionId(Uuid::new_v4()), now() + secs(900));
    bench.publish(&[revoked_token("a"), session.clone()]).await;
    bench.publish(&[revoked_before("ada", now())]).await;
    // Somebody waits for it: it is announced again.
    bench.publish(&[revoked_token("a")]).await;
    let page = bench.page(noted.last).await;
    assert_eq!(records(&page), [revoked_token("a"), session, revoked_before("ada", now()), revoked_token("a")]);
    assert_eq!((page.added, page.entries.len()), (noted.added + 3, 3));
    assert_eq!((page.dataset, page.last), (noted.dataset, page.entries[2].id));
    assert_eq!(bench.page(page.last).await.entries, []);
}

#[tokio::test]
async fn a_rebuild_announces_only_what_is_news() {
    let bench = Bench::new().await;
    bench.publish(&[revoked_token("a"), revoked_before("ada", now())]).await;
    let noted = bench.page(FeedId::default()).await;
    let known = [revoked_token("a"), revoked_before("ada", now() - secs(5))];
    let news = [revoked_token("b"), revoked_before("ada", now() + secs(5))];
    bench.set.restore(&[known, news.clone()].concat(), now()).await.expect("redis is there");
    assert_eq!(records(&bench.page(noted.last).await), news);
    // While there is no epoch nobody can follow: whoever begins later reads SQL.
    bench.server.flush_all();
    bench.set.restore(&[revoked_token("c")], now()).await.expect("redis is there");
    assert!(bench.feed.read(FeedId::default(), 100, now()).await.is_err());
    bench.set.needs_rebuild_after_a_look().await;
    complete(&bench.set, &[]).await;
    assert_eq!(records(&bench.page(FeedId::default()).await), []);
}

#[tokio::test]
async fn what_was_lost_unseen_shows_in_the_count_or_in_the_name_of_the_data() {
    let bench = Bench::new().await;
    let noted = bench.page(FeedId::default()).await;
    for token in ["a", "b", "c"] {
        bench.publish(&[revoked_token(token)]).await;
    }
    let _: i64 = bench.server.command(&["XTRIM", "test:revocation_feed", "MAXLEN", "1"]);
    let trimmed = bench.page(noted.last).await;
    assert_eq!((trimmed.added, trimmed.entries.len()), (noted.added + 3, 1));
    let _: i64 = bench.server.command(&["DEL", "test:revocation_feed"]);
    let begun = bench.page(trimmed.last).await;
    assert_eq!((begun.added, begun.entries.len(), records(&begun)), (1, 1, Vec::new()), "another feed, which says nothing yet");
    bench.server.flush_all();
    assert!(bench.feed.read(FeedId::default(), 100, now()).await.is_err(), "nothing is known of an empty data set");
    bench.set.needs_rebuild_after_a_look().await;
    complete(&bench.set, &[]).await;
    assert_ne!(bench.page(FeedId::default()).await.dataset, noted.dataset);
}

#[tokio::test]
async fn a_server_that_was_started_again_is_another_data_set_even_with_its_epoch() {
    let mut bench = Bench::new().await;
    let epoch: String = bench.server.command(&["GET", "test:revocation_epoch"]);
    bench.server.restart();
    let _: String = bench.server.command(&["SET", "test:revocation_epoch", &epoch]);
    eventually("it is connected again", || async {
        match bench.feed.read(FeedId::default(), 100, now()).await {
            Ok(page) => panic!("{page:?} of another server's epoch"),
            Err(error) => format!("{error:?}").contains("Incomplete").then_some(()),
        }
    })
    .await;
}

#[tokio::test]
async fn whoever_waits_is_woken_by_a_publication_and_not_kept_for_longer_than_asked() {
    let bench = Bench::new().await;
    let noted = bench.page(FeedId::default()).await;
    bench.feed.wait(noted.last, Duration::from_millis(20)).await.expect("redis is there");
    assert_eq!(bench.page(noted.last).await.entries, []);
    let record = [revoked_token("a")];
    let (woken, ()) = tokio::join!(bench.feed.wait(noted.last, secs(60)), bench.publish(&record));
    woken.expect("redis is there");
    assert_eq!(records(&bench.page(noted.last).await), record);
}

#[tokio::test]
async fn another_program_appends_in_the_documented_format() {
    let bench = Bench::new().await;
    let noted = bench.page(FeedId::default()).await;
    let record = r#"{"jti":"foreign","life_ms":900000}"#;
    let _: String = bench.server.command(&["XADD", "test:revocation_feed", "MAXLEN", "~", "100000", "*", "r", record]);
    let _: String = bench.server.command(&["XADD", "test:revocation_feed", "*", "tenant", "x"]);
    let page = bench.page(noted.last).await;
    assert_eq!(page.entries[0].records, Some(vec![revoked_token("foreign")]));
    assert_eq!(page.entries[1].records, None, "what cannot be read is not taken for nothing");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_waited_for_no_longer_than_half_a_second() {
    let bench = Bench::new().await;
    let noted = bench.page(FeedId::default()).await;
    bench.server.pause();
    assert!(bench.feed.read(noted.last, 100, now()).await.is_err());
    assert!(bench.feed.wait(noted.last, Duration::from_millis(20)).await.is_err());
    bench.server.resume();
    eventually("it is followed again", || async { bench.feed.read(noted.last, 100, now()).await.ok() }).await;
}

/// A loss is noticed by whoever looks.
trait Look {
    async fn needs_rebuild_after_a_look(&self);
}

impl Look for RedisSet {
    async fn needs_rebuild_after_a_look(&self) {
        assert!(self.probe_completeness().await.is_err());
        self.needs_rebuild().await;
    }
}
