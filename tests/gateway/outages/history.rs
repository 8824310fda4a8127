//! The promise under load: replicas, sessions that end one by one, and a Redis that dies, forgets, stalls and loses its
//! feed. What happened is written down and judged afterwards: no request that was started later than the bound after the
//! acknowledgement of its session's end may have been let in. The bound of strict mode is nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::client::Actor;
use crate::support::eventually;
use crate::support::services::Redis;
use crate::support::site::{Site, Store};

const SESSIONS: usize = 20;
/// They are not ended: they show that somebody is let in.
const STAYING: usize = 2;
/// Answers between one event and the next.
const PACE: usize = 25;

type Act = fn(&mut Redis);

fn command(redis: &Redis, words: &[&str]) {
    let _: i64 = redis.command(words);
}

/// What a fault leaves to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaves {
    Redis,
    Nobody,
}

#[derive(Debug, Default)]
struct History {
    acknowledged: Mutex<BTreeMap<usize, Instant>>,
    answers: Mutex<Vec<Answer>>,
    over: AtomicBool,
}

#[derive(Debug)]
struct Answer {
    session: usize,
    started: Instant,
    status: u16,
    target: String,
}

impl History {
    fn answers(&self) -> usize {
        self.answers.lock().expect("nobody panics while holding this").len()
    }

    async fn pass(&self) {
        let until = self.answers() + PACE;
        eventually("further answers", async || (self.answers() >= until).then_some(())).await;
    }

    /// Uses every session in turn.
    async fn use_sessions(&self, sessions: Vec<Actor>, user: usize) {
        for round in 0.. {
            for (session, actor) in sessions.iter().enumerate() {
                if self.over.load(Ordering::SeqCst) {
                    return;
                }
                let target = format!("/api/{user}-{round}-{session}");
                let started = Instant::now();
                let (status, body) = actor.get(&target).await;
                assert!(status != 200 || body == json!(target), "{target} got the answer of another request: {body}");
                self.answers.lock().expect("nobody panics while holding this").push(Answer { session, started, status, target });
            }
        }
    }

    /// Ends the sessions one by one; each until it is acknowledged.
    async fn end_sessions(&self, sessions: &[Actor]) {
        for (session, actor) in sessions.iter().enumerate().skip(STAYING) {
            eventually("the acknowledgement of a logout", async || match actor.post("/auth/logout", &json!({})).await {
                (204, _) => Some(()),
                (503, _) => None,
                other => panic!("{other:?}"),
            })
            .await;
            let instant = Instant::now();
            self.acknowledged.lock().expect("nobody panics while holding this").insert(session, instant);
            self.pass().await;
        }
    }

    /// Every fault, while requests go on; none begins before the last one is over.
    async fn break_redis(&self, site: &mut Site) {
        let faults: [(Act, Leaves, Act); 7] = [
            (|redis| redis.kill(), Leaves::Nobody, |redis| redis.restart()),
            (|redis| redis.flush_all(), Leaves::Redis, |_| {}),
            (|redis| redis.pause(), Leaves::Nobody, |redis| redis.resume()),
            (|redis| command(redis, &["XTRIM", "revocation_feed", "MAXLEN", "0"]), Leaves::Redis, |_| {}),
            (|redis| redis.restart(), Leaves::Redis, |_| {}),
            (|redis| command(redis, &["DEL", "revocation_feed"]), Leaves::Redis, |_| {}),
            (|redis| redis.pause(), Leaves::Nobody, |redis| redis.restart()),
        ];
        for (begin, leaves, end) in faults {
            begin(site.redis());
            self.pass().await;
            if leaves == Leaves::Nobody {
                // At once, or when the mirror's bound is over.
                let seen = self.answers();
                eventually("a refusal because nobody knows", async || self.has_unknown_since(seen).then_some(())).await;
            }
            end(site.redis());
            site.gateway.ready().await;
            self.pass().await;
        }
    }

    fn has_unknown_since(&self, seen: usize) -> bool {
        self.answers.lock().expect("nobody panics while holding this")[seen..].iter().any(|answer| answer.status == 503)
    }

    fn judge(&self, seen: &BTreeSet<String>, bound: Duration) {
        let acknowledged = self.acknowledged.lock().expect("nobody panicked while holding this");
        let answers = self.answers.lock().expect("nobody panicked while holding this");
        let mut statuses = BTreeMap::new();
        for answer in answers.iter() {
            let ended = acknowledged.get(&answer.session).is_some_and(|instant| *instant + bound < answer.started);
            assert!(!ended || answer.status != 200, "let in after the end of its session: {answer:?}");
            assert!(matches!(answer.status, 200 | 401 | 503), "{answer:?}");
            assert!(answer.session >= STAYING || answer.status != 401, "refused though nobody ended it: {answer:?}");
            assert_eq!(seen.contains(&answer.target), answer.status == 200, "forwarded: {answer:?}");
            *statuses.entry(answer.status).or_insert(0) += 1;
        }
        // The judge is judged: it has seen every kind of answer.
        assert_eq!(statuses.keys().copied().collect::<Vec<_>>(), [200, 401, 503], "{statuses:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_let_in_after_the_acknowledged_end_of_its_session() {
    under_load(Store::Redis, 2, Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_let_in_by_a_mirror_later_than_its_bound_after_the_acknowledged_end_of_its_session() {
    under_load(Store::Mirror, 3, Duration::from_secs(1)).await;
}

async fn under_load(store: Store, gateways: usize, bound: Duration) {
    let mut site = Site::with(store).await;
    let mut replicas = Vec::new();
    while replicas.len() + 1 < gateways {
        replicas.push(site.gateway.replica().await);
    }
    let addresses: Vec<_> = [&site.gateway].into_iter().chain(&replicas).map(|gateway| gateway.address).collect();
    let mut sessions = vec![site.registered("ada").await];
    while sessions.len() < SESSIONS {
        // Each gateway ends some of them.
        sessions.push(Actor::signed_in(addresses[sessions.len() % gateways], "ada").await);
    }
    let history = Arc::new(History::default());
    let mut users = JoinSet::new();
    for (user, address) in addresses.iter().chain(&addresses).enumerate() {
        let (history, sessions) = (Arc::clone(&history), sessions.iter().map(|actor| actor.at(*address)).collect());
        users.spawn(async move { history.use_sessions(sessions, user).await });
    }
    tokio::join!(history.end_sessions(&sessions), history.break_redis(&mut site));
    history.over.store(true, Ordering::SeqCst);
    while let Some(user) = users.join_next().await {
        user.expect("no answer was wrong in itself");
    }
    let forwarded = site.upstream.take_requests();
    history.judge(&forwarded.iter().map(|request| request.head.word(1).to_owned()).collect(), bound);
}
