//! Frames that nobody would write: whatever they do, they end nothing but their own connection (promise P22).

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::super::support::http2::{block, frame, get};
use super::{HOST, Site};

/// Some that a client may write, some that it may not, and some that are none.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let request = prop_oneof![Just(block(&get(HOST, "/public/x"))), Just(block(&get(HOST, "/api"))), Just(Vec::new())];
    let payload = prop_oneof![prop::collection::vec(any::<u8>(), 0..40), request];
    let stream = prop_oneof![4 => 0u32..12, 1 => any::<u32>()];
    let flags = prop_oneof![Just(0u8), Just(1), Just(4), Just(5), any::<u8>()];
    let one = (0u8..12, flags, stream, payload).prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload));
    let noise = prop::collection::vec(any::<u8>(), 0..30);
    prop::collection::vec(prop_oneof![20 => one, 1 => noise], 1..40).prop_map(|frames| frames.concat())
}

#[tokio::test]
async fn frames_at_random_harm_nobody_else() {
    let site = Site::start().await;
    let (strategy, mut runner) = (frames(), TestRunner::default());
    let mut bystander = site.connect().await;
    for round in 0..150 {
        let sent = strategy.new_tree(&mut runner).expect("a value").current();
        let mut client = site.connect().await;
        client.send(&sent).await;
        drop(client);
        if round % 10 == 0 {
            assert_eq!(bystander.ask(&get(HOST, "/public/after")).await.status, 200, "after {}", sent.escape_ascii());
        }
    }
    assert_eq!(bystander.ask(&get(HOST, "/public/after")).await.status, 200);
    assert_eq!(site.gateway.metric("portcullis_panics_total").await, Some(0.0));
    assert!(site.upstream.take_faults().is_empty());
}
