//! The four kinds of calls, and what their ends say.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::task::JoinSet;
use tonic::Code;

use super::Site;
use super::peers::{all, conversation};
use crate::support::{eventually, in_time};

#[tokio::test]
async fn every_kind_of_call_passes() {
    let site = Site::start().await;
    let client = site.client().await.bearing(&site.gateway.registered("ada").await.access_token);
    assert!(client.unary("/test.Echo/Who", "").await.is_ok());

    let (messages, end) = all(client.server_streaming("/test.Echo/Count", "5").await.expect("a stream")).await;
    assert_eq!((messages.concat().as_str(), end.is_ok()), ("01234", true));
    let (messages, end) = all(client.server_streaming("/test.Echo/Count", "0").await.expect("a stream")).await;
    assert_eq!((messages.len(), end.is_ok()), (0, true));

    let parts = stream::iter(["a", "", "bc"]).map(|part| Bytes::from_static(part.as_bytes()));
    assert_eq!(client.client_streaming("/test.Echo/Join", parts).await.expect("an answer"), "abc");
    assert_eq!(client.client_streaming("/test.Echo/Join", stream::empty()).await.expect("an answer"), "");

    let (say, said) = conversation();
    let mut heard = client.streaming("/test.Echo/Chat", said).await.expect("a stream");
    for word in ["one", "two", "three"] {
        // The answer to one message comes before the next one is sent.
        say.send(Bytes::from_static(word.as_bytes())).await.expect("a reader");
        assert_eq!(in_time("a message", heard.message()).await.expect("no error").expect("a message"), word);
    }
    drop(say);
    assert_eq!(in_time("the end", heard.message()).await.expect("OK"), None);
}

#[tokio::test]
async fn an_error_of_the_server_arrives_with_its_code_its_message_and_its_metadata() {
    let site = Site::start().await;
    let client = site.client().await;
    let status = client.unary("/test.Open/Fail", "").await.expect_err("an error");
    assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "100 % schön"));
    assert_eq!(status.metadata().get("x-hint").map(|value| value.as_bytes()), Some(&b"look elsewhere"[..]));
    let detail = status.metadata().get_bin("x-detail-bin").and_then(|value| value.to_bytes().ok());
    assert_eq!(detail.as_deref(), Some(&[0, 255][..]));
    // After messages, in trailers.
    let (messages, end) = all(client.server_streaming("/test.Open/Count", "").await.expect("a stream")).await;
    let end = end.expect_err("an error");
    assert_eq!((messages.len(), end.code(), end.message()), (1, Code::DataLoss, "no number"));
    // What the server does not have is its own to say, too.
    let status = client.unary("/test.Open/Nothing", "").await.expect_err("an error");
    assert_eq!((status.code(), status.message()), (Code::Unimplemented, "no such method"));
}

#[tokio::test]
async fn a_server_may_end_a_call_before_the_client_has_said_everything() {
    let site = Site::start().await;
    let client = site.client().await;
    let (say, said) = conversation();
    let heard = client.streaming("/test.Open/HangUp", said).await.expect("a stream");
    say.send(Bytes::from_static(b"first")).await.expect("a reader");
    let (messages, end) = all(heard).await;
    let end = end.expect_err("an error");
    assert_eq!((messages, end.code(), end.message()), (vec!["first".to_owned()], Code::ResourceExhausted, "enough"));
    assert!(client.unary("/test.Open/Who", "").await.is_ok(), "the connection lives on");
}

/// Uploads have a time for each piece; what a client has to say now and then, only the times of the upstream.
#[tokio::test]
async fn a_client_may_be_silent_for_longer_than_an_upload_may() {
    let site = Site::changed(|builder| builder.set("server.body_timeout=300ms")).await;
    let ticks = tokio::time::interval(Duration::from_millis(200));
    let slow = stream::unfold((ticks, 0), async |(mut ticks, said)| {
        ticks.tick().await;
        (said < 5).then(|| (Bytes::from_static(b"."), (ticks, said + 1)))
    });
    assert_eq!(site.client().await.client_streaming("/test.Open/Join", slow).await.expect("an answer"), ".....");
}

#[tokio::test]
async fn calls_share_connections_on_both_sides() {
    let site = Site::start().await;
    let client = site.client().await;
    assert!(client.unary("/test.Open/Who", "").await.is_ok());
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        let client = client.clone();
        calls.spawn(async move { all(client.server_streaming("/test.Open/Count", "20").await.expect("a stream")).await });
    }
    for (messages, end) in calls.join_all().await {
        assert_eq!((messages.len(), end.is_ok()), (20, true));
    }
    assert!(site.server.connections() < 50, "{} connections", site.server.connections());
}

/// A call that its client gives up is given up towards the server, too.
#[tokio::test]
async fn a_call_that_is_cancelled_frees_its_place() {
    let site = Site::changed(|builder| builder.set("upstreams.app.breaker.connections=1")).await;
    let client = site.client().await;
    let mut heard = client.server_streaming("/test.Open/Pause", "").await.expect("a stream");
    assert_eq!(in_time("a message", heard.message()).await.expect("no error").expect("a message"), "begun");
    let busy = client.unary("/test.Open/Who", "").await.expect_err("a refusal");
    assert_eq!(busy.code(), Code::Unavailable);
    assert!(busy.message().starts_with("upstream_busy (decision "), "{busy}");
    drop(heard);
    eventually("a free place", async || client.unary("/test.Open/Who", "").await.ok()).await;
}
