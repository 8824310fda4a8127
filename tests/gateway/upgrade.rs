//! Another process takes the place of one that runs: nothing is refused, nothing is lost (P14), and what one of them
//! revoked is revoked at the other.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::{Signal, kill_process};

use crate::support::client::RawClient;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

/// Upgrades a gateway three times, each when it has `served` some more requests, and says when it is `over`.
pub(crate) async fn three_upgrades(gateway: &mut Gateway, served: &AtomicUsize, over: &AtomicBool) {
    for _ in 0..3 {
        let before = served.load(Ordering::SeqCst);
        eventually("some load", async || (served.load(Ordering::SeqCst) >= before + 50).then_some(())).await;
        let exit = gateway.upgrade().await;
        assert!(exit.success(), "{exit}: {}", gateway.output());
    }
    over.store(true, Ordering::SeqCst);
}

/// Clients that keep their connections, and clients that come for one request.
#[tokio::test]
async fn an_upgrade_under_load_loses_no_request() {
    let upstream = Upstream::echo().await;
    let mut gateway = Gateway::in_front_of(&upstream).start().await;
    let (address, served, over) = (gateway.address, AtomicUsize::new(0), AtomicBool::new(false));
    let asked = async |client: &mut RawClient| {
        let answer = client.ask("GET /public/x HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "/public/x"));
        served.fetch_add(1, Ordering::SeqCst);
        answer.head.one("connection") == Some("close")
    };
    let staying = async || {
        let mut client = RawClient::connect(address).await;
        while !over.load(Ordering::SeqCst) {
            if asked(&mut client).await {
                client = RawClient::connect(address).await;
            }
        }
    };
    let coming_and_going = async || {
        while !over.load(Ordering::SeqCst) {
            asked(&mut RawClient::connect(address).await).await;
        }
    };
    let upgrades = three_upgrades(&mut gateway, &served, &over);
    tokio::join!(staying(), staying(), coming_and_going(), coming_and_going(), upgrades);
    assert!(!gateway.output().contains("panicked"), "{}", gateway.output());
}

/// What is in flight is finished by the process that began it, which one SIGTERM more does not make nervous.
#[tokio::test]
async fn what_the_old_process_began_it_finishes() {
    let (upstream, finish) = Upstream::slow().await;
    let mut gateway = Gateway::in_front_of(&upstream).start().await;
    let (address, old) = (gateway.address, gateway.pid());
    let mut slow = gateway.connect().await;
    slow.send("GET /public/slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    eventually("the slow request at the upstream", async || (upstream.requests("/public/slow").len() == 1).then_some(())).await;
    let asked = async || RawClient::connect(address).await.ask("GET /public/x HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let meanwhile = async {
        // First the old process serves, and then the new one: the old one keeps no connection.
        eventually("the hand-over", async || (asked().await.head.one("connection") == Some("close")).then_some(())).await;
        eventually("the new process", async || (asked().await.head.one("connection") != Some("close")).then_some(())).await;
        kill_process(old, Signal::TERM).expect("it is still there");
        assert_eq!(asked().await.status, 200);
        finish.notify_one();
        slow.response().await.expect("what was begun is finished")
    };
    let (exit, answer) = tokio::join!(gateway.upgrade(), meanwhile);
    assert_eq!((answer.status, answer.text().as_str()), (200, "slow"));
    assert!(exit.success(), "{exit}: {}", gateway.output());
}

/// Sessions live on, and what was revoked at the old process stays revoked, although both remember it in memory.
#[tokio::test]
async fn what_the_old_process_revoked_is_revoked_at_the_new_one() {
    let upstream = Upstream::echo().await;
    let mut gateway = Gateway::in_front_of(&upstream).start().await;
    let (ada, joan) = (gateway.registered("ada").await, gateway.registered("joan").await);
    joan.log_out().await;
    let exit = gateway.upgrade().await;
    assert!(exit.success(), "{exit}: {}", gateway.output());
    assert_eq!(ada.get("/api/x").await.0, 200);
    assert_eq!(joan.get("/api/x").await.0, 401);
    ada.log_out().await;
    assert_eq!(ada.get("/api/x").await.0, 401);
}

/// Nobody should have to know whether one runs.
#[tokio::test]
async fn an_upgrade_of_nothing_is_a_start() {
    let upstream = Upstream::echo().await;
    let mut gateway = Gateway::in_front_of(&upstream).start().await;
    gateway.terminate();
    gateway.exit().await;
    assert!(gateway.upgrade().await.success());
    assert_eq!(gateway.connect().await.ask("GET /public/x HTTP/1.1\r\nhost: a\r\n\r\n").await.status, 200);
}

/// A gateway that gave its sockets away to nobody would be gone.
#[tokio::test]
async fn a_gateway_hands_over_to_nobody_but_a_process_that_waits() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream).start().await;
    // What a process leaves behind that waited and was killed.
    drop(std::os::unix::net::UnixListener::bind(gateway.data().join("upgrade.sock")).expect("a socket"));
    let url = gateway.reload_url().replace("/reload", "/upgrade");
    let answer = reqwest::Client::new().post(url).send().await.expect("it listens");
    assert_eq!(answer.status().as_u16(), 409);
    assert!(answer.text().await.expect("a text").contains("nobody waits for sockets"));
    assert_eq!(gateway.connect().await.ask("GET /public/x HTTP/1.1\r\nhost: a\r\n\r\n").await.status, 200);
}
