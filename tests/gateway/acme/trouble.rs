//! Authorities that say no, for a moment or for good.

use super::super::support::eventually;
use super::super::support::upstream::Upstream;
use super::{A, HTTP_01, ended, plain, shown, site, state};

#[tokio::test]
async fn a_bad_nonce_is_replaced_and_a_limit_is_waited_for() {
    let (ca, _upstream, builder) = site(HTTP_01, "").await;
    ca.refuse_nonces(1);
    ca.limit_next_order(2);
    let gateway = builder.start().await;
    ca.looks_at(&[plain(&gateway)]);
    shown(&ca, &gateway, A).await;
    assert_eq!((ca.orders(), ca.contacts().len()), (1, 1));
    assert_eq!(ended(&gateway, "limited").await, Some(1.0));
    assert_eq!(ended(&gateway, "refused").await, Some(0.0), "a nonce is nobody's fault");
    assert!(gateway.output().contains("too many orders (urn:ietf:params:acme:error:rateLimited)"), "{}", gateway.output());
}

#[tokio::test]
async fn a_host_that_is_not_found_to_be_ours_is_told_in_the_authority_s_words_and_not_tried_again_soon() {
    let (ca, _upstream, builder) = site(HTTP_01, "").await;
    let elsewhere = Upstream::echo().await;
    let gateway = builder.start().await;
    ca.looks_at(&[elsewhere.address]);
    eventually("the refusal", async || (ended(&gateway, "refused").await == Some(1.0)).then_some(())).await;
    let output = gateway.output();
    let line = output.lines().find(|line| line.contains("a certificate was not issued")).expect("a line");
    for expected in [A, "a.example answers 200 and", "unauthorized", "again_at"] {
        assert!(line.contains(expected), "{expected}: {line}");
    }
    // What the others do is not held up by it, and neither is a replica that tries in its place.
    let replica = gateway.replica().await;
    eventually("the replica's view", async || (state(&replica, "missing").await == Some(1.0)).then_some(())).await;
    assert_eq!((ca.orders(), ca.issued(A)), (1, 0));
    assert!(gateway.is_ready().await && replica.is_ready().await);
}

#[tokio::test]
async fn an_authority_that_has_forgotten_the_account_is_given_another_one() {
    let (ca, _upstream, builder) = site(HTTP_01, "").await;
    let gateway = builder.start().await;
    ca.looks_at(&[plain(&gateway)]);
    shown(&ca, &gateway, A).await;
    ca.forget_accounts();
    let more = gateway.replica_with("server.acme.hosts=a.example,b.example").await;
    ca.looks_at(&[plain(&more)]);
    shown(&ca, &more, "b.example").await;
    assert_eq!((ca.orders(), ca.contacts().len()), (2, 2));
}
