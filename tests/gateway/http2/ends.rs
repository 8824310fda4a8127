//! How connections end when the gateway does: clients are told in time, and no request is lost (P14).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::super::support::http2::{Http2, NO_ERROR, get};
use super::super::support::tls::Authority;
use super::super::support::upstream::Upstream;
use super::super::upgrade::three_upgrades;
use super::{HOST, Site, eventually};

#[tokio::test]
async fn what_was_begun_is_finished_and_clients_are_told_to_leave() {
    let (upstream, finish) = Upstream::slow().await;
    let mut site = Site::changed(upstream, |gateway| gateway.set("server.drain_delay=1s")).await;
    let (mut busy, mut idle) = (site.connect().await, site.connect().await);
    assert_eq!(idle.ask(&get(HOST, "/public/x")).await.status, 200);
    let stream = busy.begin(&get(HOST, "/public/slow"), true).await;
    eventually("the slow request", async || (site.upstream.requests("/public/slow").len() == 1).then_some(())).await;
    site.gateway.terminate();
    eventually("the end of readiness", async || (site.gateway.admin("/readyz").await?.0 == 503).then_some(())).await;
    // Balancers have not noticed yet: whoever comes now is served, and told.
    assert_eq!(busy.ask(&get(HOST, "/public/late")).await.status, 200);
    busy.until("the word to leave", |client| client.goaway.is_some()).await;
    assert_eq!(busy.goaway, Some(NO_ERROR));
    assert_eq!(idle.end().await, Some(NO_ERROR));
    finish.notify_one();
    let answer = busy.answer(stream).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "slow"));
    assert_eq!(busy.end().await, Some(NO_ERROR));
    let exit = site.gateway.exit().await;
    assert!(exit.success(), "{exit}: {}", site.gateway.output());
}

/// Somebody who asks one request after another, on a connection for as long as it may.
async fn ask_on(authority: &Authority, address: std::net::SocketAddr, served: &AtomicUsize, go_on: impl AsyncFn() -> bool) {
    let connect = async || Http2::connect(&authority.client(), address, HOST).await;
    let mut client = connect().await;
    while go_on().await {
        let answer = client.ask(&get(HOST, "/public/x")).await;
        assert_eq!((answer.status, answer.text().as_str(), answer.ended), (200, "/public/x", true), "{:?}", client.goaway);
        served.fetch_add(1, Ordering::SeqCst);
        if client.goaway.is_some() {
            client = connect().await;
        }
    }
}

#[tokio::test]
async fn a_stop_under_load_loses_no_request() {
    let mut site = Site::changed(Upstream::echo().await, |gateway| gateway.set("server.drain_delay=1s")).await;
    let served = AtomicUsize::new(0);
    let (authority, gateway, address) = (&site.authority, &site.gateway, site.address());
    let balancer = || ask_on(authority, address, &served, async || gateway.is_ready().await);
    let stop = async {
        eventually("some load", async || (served.load(Ordering::SeqCst) >= 50).then_some(())).await;
        gateway.terminate();
    };
    tokio::join!(balancer(), balancer(), balancer(), balancer(), stop);
    let exit = site.gateway.exit().await;
    assert!(exit.success(), "{exit}: {}", site.gateway.output());
}

#[tokio::test]
async fn an_upgrade_under_load_loses_no_request() {
    let mut site = Site::start().await;
    let (served, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (authority, address) = (&site.authority, *site.gateway.addresses.last().expect("a listener"));
    let gateway = &mut site.gateway;
    let staying = || ask_on(authority, address, &served, async || !over.load(Ordering::SeqCst));
    let upgrades = three_upgrades(gateway, &served, &over);
    tokio::join!(staying(), staying(), staying(), upgrades);
    assert!(!gateway.output().contains("panicked"), "{}", gateway.output());
}
