//! The promise under load: two replicas, sessions that end one by one, and a Redis that dies, forgets and stalls.
//! What happened is written down and judged afterwards: no request that was started after the acknowledgement of
//! its session's end may have been let in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::task::JoinSet;

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

#[derive(Debug, Default)]
struct History {
    /// One order for the starts of requests and the ends of sessions.
    instants: AtomicUsize,
    acknowledged: Mutex<BTreeMap<usize, usize>>,
    answers: Mutex<Vec<Answer>>,
    over: AtomicBool,
}

#[derive(Debug)]
struct Answer {
    session: usize,
    started: usize,
    status: u16,
    target: String,
}

impl History {
    fn now(&self) -> usize {
        self.instants.fetch_add(1, Ordering::SeqCst)
    }

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
                let started = self.now();
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
            let instant = self.now();
            self.acknowledged.lock().expect("nobody panics while holding this").insert(session, instant);
            self.pass().await;
        }
    }

    /// Every fault, while requests go on; none begins before the last one is over.
    async fn break_redis(&self, site: &mut Site) {
        let faults: [(Act, Act); 5] = [
            (|redis| redis.kill(), |redis| redis.restart()),
            (|redis| redis.flush_all(), |_| {}),
            (|redis| redis.pause(), |redis| redis.resume()),
            (|redis| redis.restart(), |_| {}),
            (|redis| redis.pause(), |redis| redis.restart()),
        ];
        for (begin, end) in faults {
            begin(site.redis());
            self.pass().await;
            end(site.redis());
            site.gateway.ready().await;
            self.pass().await;
        }
    }

    fn judge(&self, seen: &BTreeSet<String>) {
        let acknowledged = self.acknowledged.lock().expect("nobody panicked while holding this");
        let answers = self.answers.lock().expect("nobody panicked while holding this");
        let mut statuses = BTreeMap::new();
        for answer in answers.iter() {
            let ended = acknowledged.get(&answer.session).is_some_and(|instant| *instant < answer.started);
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
    let mut site = Site::with(Store::Redis).await;
    let replica = site.gateway.replica().await;
    let mut sessions = vec![site.registered("ada").await];
    while sessions.len() < SESSIONS {
        // Half of them end at one replica and half at the other.
        let gateway = if sessions.len().is_multiple_of(2) { &site.gateway } else { &replica };
        sessions.push(Actor::signed_in(gateway.address, "ada").await);
    }
    let history = Arc::new(History::default());
    let mut users = JoinSet::new();
    for (user, gateway) in [&site.gateway, &replica, &site.gateway, &replica].into_iter().enumerate() {
        let (history, sessions) = (Arc::clone(&history), sessions.iter().map(|actor| actor.at(gateway.address)).collect());
        users.spawn(async move { history.use_sessions(sessions, user).await });
    }
    tokio::join!(history.end_sessions(&sessions), history.break_redis(&mut site));
    history.over.store(true, Ordering::SeqCst);
    while let Some(user) = users.join_next().await {
        user.expect("no answer was wrong in itself");
    }
    let forwarded = site.upstream.take_requests();
    history.judge(&forwarded.iter().map(|request| request.head.word(1).to_owned()).collect());
}
