//! The promises of [`Revocations`] with a mirror, whose feed falls silent on command.

use super::*;
use crate::store::{FeedEntry, FeedId, FeedPage};

/// A feed that has one entry, or fails.
#[derive(Default)]
struct OneEntry {
    silent: AtomicBool,
}

#[async_trait]
impl RevocationFeed for OneEntry {
    async fn read(&self, after: FeedId, _: usize, _: Timestamp) -> Result<FeedPage, StoreError> {
        if self.silent.load(Ordering::Acquire) {
            return std::future::pending().await;
        }
        let id = FeedId { millis: 1, sequence: 0 };
        let entries = if after < id { vec![FeedEntry { id, records: Some(vec![record("announced")]) }] } else { Vec::new() };
        Ok(FeedPage { dataset: "one".to_owned(), last: id, added: 1, entries })
    }
    async fn wait(&self, _: FeedId, _: Duration) -> Result<(), StoreError> {
        tokio::task::yield_now().await;
        Ok(())
    }
}

struct MirrorBench {
    set: Arc<MoodySet>,
    feed: Arc<OneEntry>,
    clock: Arc<ManualClock>,
    revocations: Arc<Revocations>,
    stop: CancellationToken,
}

impl MirrorBench {
    /// A mirror that has read its feed.
    async fn new() -> Self {
        let (set, log, feed) = (MoodySet::new(), Arc::new(ListedLog::default()), Arc::new(OneEntry::default()));
        log.record(&[record("in sql")]).await.expect("the log is a list");
        let clock = Arc::new(ManualClock::at(now()));
        let revocations = Revocations::new(set.clone(), log, DEADLINE, clock.clone(), Mode::Mirror);
        let bounds = MirrorBounds { staleness_max: Duration::from_secs(1), records_max: 1000 };
        let revocations = Arc::new(revocations.fed_by(feed.clone(), Some(bounds)));
        let bench = Self { set, feed, clock, revocations, stop: CancellationToken::new() };
        assert!(bench.revocations.ready().is_err());
        tokio::spawn(Arc::clone(&bench.revocations).maintain(bench.stop.clone()));
        bench.until("it is ready", |revocations| revocations.ready().is_ok()).await;
        bench
    }

    async fn until(&self, what: &str, done: impl Fn(&Revocations) -> bool) {
        let wait = async {
            while !done(&self.revocations) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("{what}: never"));
    }
}

impl Drop for MirrorBench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn a_mirror_answers_for_live_tokens_and_for_no_others() {
    let bench = MirrorBench::new().await;
    assert_eq!(bench.revocations.at_hand(&token("live")), Some(Verdict::Live));
    // From SQL, and from the feed.
    assert_eq!(bench.revocations.at_hand(&token("in sql")), None);
    assert_eq!(bench.revocations.at_hand(&token("announced")), None);
    assert_eq!(bench.revocations.check(&token("in sql")).await, Verdict::Revoked(RevokedBy::Token));
    // Redis does not share the suspicion: the token is live.
    assert_eq!(bench.revocations.check(&token("announced")).await, Verdict::Live);
    // If it cannot be asked, nobody knows.
    bench.set.becomes(Mood::Failing);
    assert_eq!(bench.revocations.check(&token("announced")).await, Verdict::Unknown(UnknownWhy::Suspected));
    assert_eq!(bench.revocations.at_hand(&token("live")), Some(Verdict::Live), "the mirror knows for a while");
}

#[tokio::test]
async fn what_is_published_here_is_suspected_here_at_once() {
    let bench = MirrorBench::new().await;
    bench.set.becomes(Mood::Silent);
    let gone = tokio::time::timeout(DEADLINE, bench.revocations.publish(&[record("a")])).await;
    assert!(gone.is_err(), "nobody was told anything");
    assert_eq!(bench.revocations.at_hand(&token("a")), None);
    assert_eq!(bench.revocations.check(&token("a")).await, Verdict::Revoked(RevokedBy::Token));
}

#[tokio::test]
async fn a_feed_that_is_silent_for_longer_than_the_bound_is_not_believed() {
    let bench = MirrorBench::new().await;
    bench.feed.silent.store(true, Ordering::Release);
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.revocations.at_hand(&token("live")), Some(Verdict::Live), "at the bound");
    bench.clock.advance(Duration::from_nanos(1));
    assert_eq!(bench.revocations.at_hand(&token("live")), None);
    assert_eq!(bench.revocations.check(&token("live")).await, Verdict::Live, "Redis knows");
    bench.set.becomes(Mood::Failing);
    assert_eq!(bench.revocations.check(&token("live")).await, Verdict::Unknown(UnknownWhy::Unavailable));
    assert!(bench.revocations.ready().is_ok(), "it does without, as long as Redis answers");
}

#[tokio::test]
async fn beyond_its_bound_a_mirror_answers_for_nobody() {
    let bench = MirrorBench::new().await;
    let many: Vec<_> = (0..1001).map(|number| record(&number.to_string())).collect();
    bench.revocations.publish(&many).await.expect("the set is well");
    assert_eq!(bench.revocations.at_hand(&token("live")), None);
    assert_eq!(bench.revocations.check(&token("live")).await, Verdict::Live);
    assert!(bench.revocations.ready().is_ok());
}
