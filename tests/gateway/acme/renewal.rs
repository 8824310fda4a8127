//! A certificate that is soon over is followed by another one, under load, and in spite of an authority that is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::super::support::eventually;
use super::{A, HTTP_01, ended, get, plain, secure, shown, site, state};

#[tokio::test]
async fn a_renewed_certificate_is_swapped_live_without_a_lost_request() {
    let (ca, _upstream, builder) = site(HTTP_01, "").await;
    // Renewed after eight seconds.
    ca.issue_for(Duration::from_secs(12));
    let gateway = builder.start().await;
    ca.looks_at(&[plain(&gateway)]);
    let first = shown(&ca, &gateway, A).await;
    let (address, client) = (secure(&gateway), ca.authority().client());
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let asking: Vec<_> = (0..2)
        .map(|_| {
            let (client, stop, asked) = (client.clone(), Arc::clone(&stop), Arc::clone(&asked));
            tokio::spawn(async move {
                let mut kept = client.connect(address, A).await;
                while !stop.load(Ordering::Relaxed) {
                    let mut new = client.connect(address, A).await;
                    assert_eq!(new.ask(get(A, "/public")).await.status, 200);
                    assert_eq!(kept.ask(get(A, "/public")).await.status, 200);
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let second =
        eventually("the swap", async || super::certificate(&ca, &gateway, A).await.filter(|certificate| *certificate != first));
    second.await;
    let at_the_swap = asked.load(Ordering::Relaxed);
    eventually("requests after it", async || (asked.load(Ordering::Relaxed) > at_the_swap + 10).then_some(())).await;
    stop.store(true, Ordering::Relaxed);
    for task in asking {
        task.await.expect("every request was answered");
    }
    assert_eq!(ca.contacts().len(), 1, "the account is the same");
    assert_eq!(ca.orders(), ca.issued(A));
}

#[tokio::test]
async fn while_the_authority_is_down_the_old_certificate_is_shown_and_an_alarm_is_raised() {
    let (ca, _upstream, builder) = site(HTTP_01, "").await;
    ca.issue_for(Duration::from_secs(24));
    let gateway = builder.start().await;
    ca.looks_at(&[plain(&gateway)]);
    let old = shown(&ca, &gateway, A).await;
    ca.set_down(true);
    eventually("the alarm", async || {
        let unreachable = ended(&gateway, "unreachable").await >= Some(1.0);
        (unreachable && state(&gateway, "due").await == Some(1.0)).then_some(())
    })
    .await;
    assert_eq!(super::certificate(&ca, &gateway, A).await, Some(old.clone()));
    assert!(gateway.is_ready().await);
    assert!(gateway.output().contains("a certificate was not issued"), "{}", gateway.output());
    ca.issue_for(Duration::from_secs(3600));
    ca.set_down(false);
    eventually("the next certificate", async || {
        super::certificate(&ca, &gateway, A).await.filter(|certificate| *certificate != old)
    })
    .await;
    eventually("the end of the alarm", async || (state(&gateway, "current").await == Some(1.0)).then_some(())).await;
}
