//! A gateway at work: its upstream behind it, its Redis beside it.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::client::{Actor, Response};
use super::gateway::{Builder, Gateway};
use super::services::Redis;
use super::upstream::Upstream;

/// Where the gateway keeps what was revoked, beside its database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// In its memory.
    Embedded,
    Redis,
    /// In a Redis, and in its memory what it needs to say that a token is live.
    Mirror,
}

/// A gateway with its surroundings.
pub(crate) struct Site {
    // Dropped first: nobody is told of the end of the others.
    pub(crate) gateway: Gateway,
    pub(crate) upstream: Upstream,
    redis: Option<Redis>,
    asked: AtomicUsize,
}

impl Site {
    /// Everything there and ready.
    pub(crate) async fn with(store: Store) -> Self {
        Self::changed(store, |gateway| gateway).await
    }

    /// The same for a gateway that is configured further.
    pub(crate) async fn changed(store: Store, change: impl FnOnce(Builder) -> Builder) -> Self {
        let (upstream, redis) = (Upstream::echo().await, (store != Store::Embedded).then(Redis::start));
        let gateway = Gateway::in_front_of(&upstream);
        let gateway = if let Some(redis) = &redis { gateway.redis(redis) } else { gateway };
        let gateway = if store == Store::Mirror { gateway.set("revocation.check=mirror") } else { gateway };
        let gateway = change(gateway).start().await;
        Self { gateway, upstream, redis, asked: AtomicUsize::new(0) }
    }

    /// A gateway that may not find all that it needs, with an upstream behind it.
    pub(crate) async fn unready(change: impl FnOnce(Builder) -> Builder) -> Self {
        let upstream = Upstream::echo().await;
        let gateway = change(Gateway::in_front_of(&upstream)).start_unready().await;
        Self { gateway, upstream, redis: None, asked: AtomicUsize::new(0) }
    }

    /// A Redis that does not run yet, and a gateway that waits for it.
    pub(crate) async fn without_redis_yet() -> Self {
        let (upstream, mut redis) = (Upstream::echo().await, Redis::start());
        redis.kill();
        let gateway = Gateway::in_front_of(&upstream).redis(&redis).start_unready().await;
        Self { gateway, upstream, redis: Some(redis), asked: AtomicUsize::new(0) }
    }

    pub(crate) fn redis(&mut self) -> &mut Redis {
        self.redis.as_mut().expect("the test asked for a Redis")
    }

    pub(crate) async fn registered(&self, username: &str) -> Actor {
        self.gateway.registered(username).await
    }

    pub(crate) async fn signed_in(&self, username: &str) -> Actor {
        Actor::signed_in(self.gateway.address, username).await
    }

    /// What becomes of a GET below `path`, at this site's gateway.
    pub(crate) async fn get(&self, path: &str, token: &str) -> Response {
        self.get_from(&self.gateway, path, token).await
    }

    /// What becomes of a GET below `path`.
    ///
    /// # Panics
    /// The upstream saw something of a request that was refused, or the answer belongs to another request.
    pub(crate) async fn get_from(&self, gateway: &Gateway, path: &str, token: &str) -> Response {
        let target = format!("{path}/{}", self.asked.fetch_add(1, Ordering::SeqCst));
        let credential = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
        let request = format!("GET {target} HTTP/1.1\r\nhost: a\r\n{credential}\r\n");
        let answer = gateway.connect().await.ask(request).await;
        if answer.status == 200 {
            assert_eq!(answer.text(), target, "this answer belongs to another request");
        } else {
            assert!(!self.upstream.saw(&format!("GET {target} ")), "{} was refused and forwarded", target);
        }
        answer
    }

    /// Status and code of what becomes of a request that needs a token.
    pub(crate) async fn verdict(&self, actor: &Actor) -> (u16, String) {
        let answer = self.get("/api", &actor.access_token).await;
        (answer.status, answer.code())
    }

    /// # Panics
    /// A request that needs a token is refused.
    pub(crate) async fn lets_in(&self, actor: &Actor) {
        assert_eq!(self.verdict(actor).await, (200, String::new()));
    }

    /// # Panics
    /// A request that needs a token is not refused because the token was revoked.
    pub(crate) async fn keeps_out(&self, actor: &Actor) {
        assert_eq!(self.verdict(actor).await, (401, "revoked_token".to_owned()));
    }
}
