//! Redis down, killed, emptied, stalled: whoever needs a token is refused while nobody can know, the gateway recovers by
//! itself, and no acknowledged logout is ever taken back (203, 204, 205, 207, 210; P1, P7).

mod access;
mod acknowledgements;
mod answers;
mod clocks;
mod cluster;
pub(crate) mod database;
mod faults;
mod history;
mod load;
mod mirror;
mod on_unknown;
mod oracle;
mod redis_site;
mod retries;
mod sentinel;
mod soak;
mod world;

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::support::client::Actor;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::services::Redis;
use crate::support::site::{Site, Store};
use crate::support::upstream::Upstream;

impl Site {
    /// # Panics
    /// A request that needs a token is not refused because nobody knows whether the token was revoked.
    async fn cannot_know(&self, actor: &Actor) {
        let answer = self.get("/api", &actor.access_token).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "revocation_unknown"));
        assert!(answer.head.one("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "{:?}", answer.head);
    }

    /// Waits until somebody is let in again.
    ///
    /// # Panics
    /// Meanwhile they were refused for another reason than that nobody knows.
    async fn lets_in_again(&self, actor: &Actor) {
        let recovered = async || match self.verdict(actor).await {
            (200, _) => Some(()),
            (503, code) if code == "revocation_unknown" => None,
            other => panic!("{other:?}"),
        };
        eventually("the recovery", recovered).await;
    }

    /// Waits until somebody is known to be signed out again.
    ///
    /// # Panics
    /// Meanwhile they were let in.
    async fn keeps_out_again(&self, actor: &Actor) {
        let recovered = async || match self.verdict(actor).await {
            (401, code) if code == "revoked_token" => Some(()),
            (503, code) if code == "revocation_unknown" => None,
            other => panic!("{other:?}"),
        };
        eventually("the refusal of what was revoked", recovered).await;
    }
}

#[tokio::test]
async fn without_redis_the_gateway_starts_and_waits_for_it() {
    let mut site = Site::without_redis_yet().await;
    let (status, missing) = site.gateway.admin("/readyz").await.expect("it listens");
    assert_eq!((status, missing.contains("revocation")), (503, true), "{missing}");
    assert_eq!(site.gateway.admin("/livez").await.expect("it listens").0, 200, "a restart would not help");
    let ada = site.registered("ada").await;
    site.cannot_know(&ada).await;
    assert_eq!(site.get("/optional", &ada.access_token).await.status, 503);
    assert_eq!(site.get("/optional", "").await.status, 200, "nothing has to be known");
    assert_eq!(site.get("/public", &ada.access_token).await.status, 200);
    assert_eq!(site.get("/api", "").await.status, 401);
    assert_eq!(ada.get("/auth/verify").await.0, 503);

    site.redis().restart();
    site.gateway.ready().await;
    site.lets_in(&ada).await;
}

#[tokio::test]
async fn without_redis_nobody_is_let_in_and_a_new_one_forgets_no_logout() {
    let mut site = Site::with(Store::Redis).await;
    let (staying, leaving) = (site.registered("ada").await, site.signed_in("ada").await);
    leaving.log_out().await;
    site.redis().kill();
    // Whoever may ask another replica should.
    assert!(!site.gateway.is_ready().await);
    site.cannot_know(&staying).await;
    assert!(matches!(site.verdict(&leaving).await.0, 401 | 503));
    assert_eq!(site.get("/public", "").await.status, 200);

    // It has no persistence, so it comes back empty.
    site.redis().restart();
    site.gateway.ready().await;
    site.lets_in(&staying).await;
    site.keeps_out(&leaving).await;
    let records: Vec<String> = site.redis().command(&["KEYS", "revoked_sid:*"]);
    assert_eq!(records.len(), 1, "it was told again");
}

#[tokio::test]
async fn an_emptied_redis_forgets_no_logout() {
    let mut site = Site::with(Store::Redis).await;
    let (staying, leaving) = (site.registered("ada").await, site.signed_in("ada").await);
    leaving.log_out().await;
    site.lets_in(&staying).await;
    site.redis().flush_all();
    site.keeps_out_again(&leaving).await;
    site.lets_in_again(&staying).await;
    site.keeps_out(&leaving).await;
}

/// A server that never answers, one that hangs up, and one that speaks something else, at the address of Redis.
async fn no_redis(answer: Option<&'static str>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    tokio::spawn(async move {
        let mut silent = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            match answer {
                Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
                None => silent.push(stream),
            }
        }
    });
    address
}

#[tokio::test]
async fn what_is_no_redis_that_can_be_used_lets_nobody_in() {
    let with_password = Redis::start();
    let _: String = with_password.command(&["CONFIG", "SET", "requirepass", "right"]);
    let http = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    for url in [
        with_password.url(),
        with_password.url().replace("//", "//:wrong@"),
        format!("redis://{}", no_redis(None).await),
        format!("redis://{}", no_redis(Some("")).await),
        format!("redis://{}", no_redis(Some(http)).await),
    ] {
        let upstream = Upstream::echo().await;
        let gateway = Gateway::in_front_of(&upstream).table(&format!("[revocation]\nurl = \"{url}\"")).start_unready().await;
        let ada = gateway.registered("ada").await;
        let (status, body) = ada.get("/api").await;
        assert_eq!((status, &body["code"]), (503, &json!("revocation_unknown")), "{url}: {body}");
        assert_eq!((ada.get("/public").await.0, gateway.is_ready().await), (200, false), "{url}");
        assert!(!upstream.saw("/api"), "{url}");
    }
}

/// A look-up that was given up must not hand its late answer to the next one (207).
#[tokio::test]
async fn a_stalled_redis_mixes_no_answers_up_when_it_goes_on() {
    let mut site = Site::changed(Store::Redis, |gateway| gateway.set("revocation.deadline=50ms")).await;
    let (staying, leaving) = (site.registered("ada").await, site.signed_in("ada").await);
    leaving.log_out().await;
    site.redis().pause();
    for _ in 0..5 {
        site.cannot_know(&staying).await;
        assert!(matches!(site.verdict(&leaving).await.0, 401 | 503));
    }
    site.redis().resume();
    site.lets_in_again(&staying).await;
    for _ in 0..20 {
        // Fifty milliseconds may pass on a busy machine; a wrong answer may not.
        site.keeps_out_again(&leaving).await;
        site.lets_in_again(&staying).await;
    }
}

/// A logout that cannot be made true everywhere is not acknowledged, and is not forgotten either.
#[tokio::test]
async fn a_logout_without_redis_is_not_acknowledged_and_comes_true_later() {
    let mut site = Site::with(Store::Redis).await;
    let (staying, leaving) = (site.registered("ada").await, site.signed_in("ada").await);
    site.redis().kill();
    let request = format!("POST /auth/logout HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", leaving.access_token);
    let answer = site.gateway.connect().await.ask(request).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"));
    assert!(answer.head.one("retry-after").is_some());
    // This replica knows already.
    site.keeps_out(&leaving).await;

    site.redis().restart();
    site.gateway.ready().await;
    site.keeps_out(&leaving).await;
    site.lets_in(&staying).await;
    leaving.log_out().await;
}

/// What was recorded and not yet published when the power failed is published by the next start.
#[tokio::test]
async fn a_power_failure_between_the_record_and_redis_forgets_no_logout() {
    let mut site = Site::with(Store::Redis).await;
    let (staying, leaving) = (site.registered("ada").await, site.signed_in("ada").await);
    site.redis().kill();
    assert_eq!(leaving.post("/auth/logout", &json!({})).await.0, 503);
    site.gateway.kill();
    site.redis().restart();
    site.gateway.restart().await;
    site.keeps_out(&leaving).await;
    site.lets_in(&staying).await;
}
