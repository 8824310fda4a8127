//! Calls that must not go on: their clients are told so in the words of gRPC, whether the answer has begun or not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tonic::{Code, Status};

use super::peers::{all, conversation};
use super::refusals::word;
use super::{Site, call};
use crate::support::h2_upstream::{Call, H2Upstream};
use crate::support::http2::{DATA, END_STREAM, NO_ERROR, frame};
use crate::support::{eventually, in_time};

const REVOKED: (Code, &str) = (Code::Unauthenticated, "revoked_token");
/// A message of one byte.
const MESSAGE: &[u8] = b"\0\0\0\0\x01x";

fn why(end: &Result<(), Status>) -> (Code, &str) {
    word(end.as_ref().expect_err("an end"))
}

#[tokio::test]
async fn a_server_stream_ends_with_a_status_when_its_session_does() {
    let site = Site::start().await;
    let (ada, grace) = (site.gateway.registered("ada").await, site.gateway.registered("grace").await);
    let client = site.client().await;
    let mut ending = client.bearing(&ada.access_token).server_streaming("/test.Echo/Pause", "").await.expect("a stream");
    let mut lasting = client.bearing(&grace.access_token).server_streaming("/test.Echo/Pause", "").await.expect("a stream");
    for stream in [&mut ending, &mut lasting] {
        assert_eq!(in_time("a message", stream.message()).await.expect("no error").expect("a message"), "begun");
    }
    ada.log_out().await;
    let (messages, end) = all(ending).await;
    assert_eq!((messages.len(), why(&end)), (0, REVOKED));
    // The neighbour on the same connection, and whoever calls next.
    assert!(client.bearing(&grace.access_token).unary("/test.Echo/Who", "").await.is_ok());
    grace.log_out().await;
    assert_eq!(why(&all(lasting).await.1), REVOKED);
}

#[tokio::test]
async fn a_conversation_outlives_its_token_and_ends_with_its_session() {
    let lives = ["auth.access_token=4s", "auth.clock_skew=0s"];
    let site = Site::changed(|builder| lives.iter().fold(builder, |builder, life| builder.set(life))).await;
    let mut ada = site.gateway.registered("ada").await;
    let (say, said) = conversation();
    let client = site.client().await.bearing(&ada.access_token);
    let mut heard = client.streaming("/test.Echo/Chat", said).await.expect("a stream");
    let mut is_open = async |word: &'static str| {
        say.send(Bytes::from_static(word.as_bytes())).await.expect("the call goes on");
        assert_eq!(in_time("an answer", heard.message()).await.expect("no error").expect("a message"), word);
    };
    is_open("hello").await;
    eventually("the end of the token", async || client.unary("/test.Echo/Who", "").await.is_err().then_some(())).await;
    ada.take(&ada.refresh().await.1);
    is_open("still there?").await;
    ada.log_out().await;
    assert_eq!(why(&all(heard).await.1), REVOKED);
    eventually("the end of the call for who speaks", async || say.is_closed().then_some(())).await;
}

/// Frame by frame: trailers end the answer, and what the client still had to say is not wanted (RFC 9113 §8.1).
#[tokio::test]
async fn the_end_is_a_status_in_trailers_and_no_bare_reset() {
    let upstream = H2Upstream::serving(async |mut call: Call| {
        let mut stream = call.begin(&[("content-type", "application/grpc")]);
        stream.send_data(Bytes::from_static(MESSAGE), false).expect("open");
        call.read().await;
        std::future::pending::<()>().await;
    })
    .await;
    let site = to(&upstream).await;
    let ada = site.gateway.registered("ada").await;
    let mut client = site.by_hand().await;
    let bearer = format!("Bearer {}", ada.access_token);
    let mut fields = call("/test.Other/Any", "application/grpc");
    fields.push(("authorization", &bearer));
    let mut streams = Vec::new();
    for half_closed in [false, true] {
        let stream = client.begin(&fields, false).await;
        client.send(frame(DATA, if half_closed { END_STREAM } else { 0 }, stream, MESSAGE)).await;
        client.until("a message", |client| !client.so_far(stream).body.is_empty()).await;
        streams.push(stream);
    }
    ada.log_out().await;
    for stream in streams {
        let answer = client.answer(stream).await;
        assert!(answer.ended, "{answer:?}");
        let trailer = |name: &str| answer.trailers.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
        assert_eq!((answer.status, answer.body.as_slice(), trailer("grpc-status")), (200, MESSAGE, Some("16")));
        assert!(trailer("grpc-message").is_some_and(|message| message.starts_with("revoked_token (decision ")), "{answer:?}");
        assert!(matches!(answer.reset, None | Some(NO_ERROR)), "{answer:?}");
    }
    assert_eq!(upstream.connections(), 1, "its other calls go on");
}

/// Servers of gRPC send their head with the first message, which may never come; the client's messages pass meanwhile.
#[tokio::test]
async fn a_call_that_was_never_answered_ends_all_the_same() {
    let ended = Arc::<AtomicUsize>::default();
    let upstream = H2Upstream::serving_with(Arc::clone(&ended), async |mut call: Call, ended: Arc<AtomicUsize>| {
        call.read().await;
        ended.fetch_add(1, Ordering::SeqCst);
    })
    .await;
    let site = to(&upstream).await;
    let (ada, grace) = (site.gateway.registered("ada").await, site.gateway.registered("grace").await);
    let client = site.client().await;
    let (known, other) = (client.bearing(&ada.access_token), client.bearing(&grace.access_token));
    let ((say, said), (others_say, others_said)) = (conversation(), conversation());
    let begun = async {
        eventually("two calls at the upstream", async || (upstream.requests() == 2).then_some(())).await;
        say.send(Bytes::from_static(b"hello")).await.expect("the call goes on");
        ada.log_out().await;
    };
    let lasting = tokio::spawn(async move { other.streaming("/test.Other/Any", others_said).await.map(drop) });
    let (refused, ()) = tokio::join!(known.streaming("/test.Other/Any", said), begun);
    assert_eq!(word(&refused.expect_err("an end")), REVOKED);
    eventually("its end at the upstream", async || (ended.load(Ordering::SeqCst) == 1).then_some(())).await;
    let line = eventually("a line of the access log", async || {
        site.gateway.output().lines().find(|line| line.contains("/test.Other/Any")).map(str::to_owned)
    })
    .await;
    assert!(line.contains("\"status\":401") && line.contains("\"outcome\":\"cut_off\""), "{line}");
    assert!(!lasting.is_finished());
    drop(others_say);
}

/// A site that has a further server of gRPC, for callers with a token.
async fn to(upstream: &H2Upstream) -> Site {
    Site::changed(|builder| {
        builder
            .table(&format!("[upstreams.other]\nservers = [\"http://{}\"]\nhttp = \"2\"", upstream.address))
            .table("[[routes]]\npath = \"/test.Other\"\nupstream = \"other\"")
    })
    .await
}
