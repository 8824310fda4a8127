//! One certificate for all replicas, whoever of them orders it, lives or dies.

use std::time::Duration;

use super::super::support::acme::AcmeServer;
use super::super::support::eventually;
use super::super::support::gateway::Builder;
use super::super::support::services::databases::postgres;
use super::{A, HTTP_01, TLS_ALPN_01, ended, plain, secure, shown, site};

/// Two replicas, each of which the authority asks, have one certificate.
async fn one_order_for_two(ca: AcmeServer, builder: Builder, challenge: &str) {
    let one = builder.start().await;
    let two = one.replica().await;
    let place = if challenge == HTTP_01 { plain } else { secure };
    ca.looks_at(&[place(&one), place(&two)]);
    assert_eq!(shown(&ca, &one, A).await, shown(&ca, &two, A).await);
    assert_eq!((ca.orders(), ca.contacts().len()), (1, 1));
    let issued = [ended(&one, "issued").await, ended(&two, "issued").await];
    assert!([[Some(1.0), Some(0.0)], [Some(0.0), Some(1.0)]].contains(&issued), "{issued:?}");
}

#[tokio::test]
async fn two_replicas_on_postgres_order_one_certificate_and_both_show_it() {
    let (ca, _upstream, builder) = site(HTTP_01, "").await;
    let builder = builder.set(&format!("store.url={}", postgres().database().await));
    one_order_for_two(ca, builder.set("revocation.insecure_single_replica=true"), HTTP_01).await;
}

#[tokio::test]
async fn two_replicas_on_sqlite_order_one_certificate_by_tls_alpn_01() {
    let (ca, _upstream, builder) = site(TLS_ALPN_01, "").await;
    one_order_for_two(ca, builder, TLS_ALPN_01).await;
}

#[tokio::test]
async fn the_order_of_a_replica_that_was_killed_is_taken_over() {
    let (ca, _upstream, builder) = site(HTTP_01, "").await;
    let mut one = builder.start().await;
    eventually("the order", async || ca.token()).await;
    let two = one.replica().await;
    one.kill();
    ca.looks_at(&[plain(&two)]);
    // The dead one's lease has to run out first.
    let mut shown = None;
    for _ in 0..3 {
        let looking = eventually("a certificate", async || super::certificate(&ca, &two, A).await);
        shown = tokio::time::timeout(Duration::from_secs(15), looking).await.ok();
        if shown.is_some() {
            break;
        }
    }
    assert!(shown.is_some(), "{}", two.output());
    assert_eq!((ca.orders(), ca.contacts().len()), (1, 1), "it went on with the same order");
    assert!(two.output().contains("an order that was under way goes on"), "{}", two.output());
}

#[tokio::test]
async fn a_restart_orders_nothing_and_another_host_needs_no_other_account() {
    let (ca, _upstream, builder) = site(HTTP_01, "").await;
    let mut gateway = builder.start().await;
    ca.looks_at(&[plain(&gateway)]);
    let before = shown(&ca, &gateway, A).await;
    gateway.terminate();
    gateway.exit().await;
    ca.set_down(true);
    gateway.restart().await;
    // At once: there is no moment without it, and the authority is not needed.
    assert_eq!(super::certificate(&ca, &gateway, A).await, Some(before.clone()));
    ca.set_down(false);
    let more = gateway.replica_with("server.acme.hosts=a.example,b.example").await;
    ca.looks_at(&[plain(&more)]);
    shown(&ca, &more, "b.example").await;
    assert_eq!(shown(&ca, &more, A).await, before);
    assert_eq!((ca.orders(), ca.contacts().len()), (2, 1));
}

#[tokio::test]
async fn what_was_sealed_under_another_key_file_is_ordered_anew() {
    let (ca, _upstream, builder) = site(HTTP_01, "").await;
    let mut gateway = builder.start().await;
    ca.looks_at(&[plain(&gateway)]);
    let before = shown(&ca, &gateway, A).await;
    gateway.terminate();
    gateway.exit().await;
    std::fs::remove_file(gateway.data().join("keys.json")).expect("the key file");
    gateway.restart().await;
    assert_ne!(shown(&ca, &gateway, A).await, before);
    assert!(gateway.output().contains("sealed under another key file"), "{}", gateway.output());
    assert_eq!((ca.orders(), ca.contacts().len()), (2, 2));
}
