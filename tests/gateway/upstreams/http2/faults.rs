//! What a server may say over HTTP/2 instead of an answer, and what is tried again then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use h2::Reason;
use tokio::task::JoinSet;

use super::super::{GET, POST, problem};
use super::in_front_of;
use crate::support::gateway::Gateway;
use crate::support::h2_upstream::{Call, H2Upstream};
use crate::support::upstream::nobody;
use crate::support::wire::End;

/// What a server does with a request.
type Fault = fn(&mut Call);

/// A server that resets the first request and answers the others.
async fn resetting(reason: Reason) -> H2Upstream {
    H2Upstream::serving_with(reason, async |mut call: Call, reason| {
        call.read().await;
        if call.number == 0 { call.reset(reason) } else { call.answer("ok") }
    })
    .await
}

/// RFC 9113 §8.7: it did nothing with the request, so that any method may be tried again, with its body.
#[tokio::test]
async fn a_refused_stream_is_tried_again_whatever_its_method_and_body() {
    for request in [GET, POST] {
        let upstream = resetting(Reason::REFUSED_STREAM).await;
        let gateway = in_front_of(&upstream, "").start().await;
        let response = gateway.connect().await.ask(request).await;
        assert_eq!((response.status, response.text().as_str()), (200, "ok"), "{request}");
        let seen = upstream.take();
        let bodies: Vec<_> = seen.iter().map(|seen| &*seen.body).collect();
        let body: &[u8] = if request == POST { b"hi" } else { b"" };
        assert_eq!(bodies, [body, body]);
    }
}

#[tokio::test]
async fn a_refused_stream_whose_body_is_more_than_was_kept_is_final() {
    let upstream = resetting(Reason::REFUSED_STREAM).await;
    let gateway = in_front_of(&upstream, "").start().await;
    let large = "x".repeat(200_000);
    let request = format!("POST /public/x HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{large}", large.len());
    let response = gateway.connect().await.ask(request).await;
    assert_eq!(problem(&response), (502, "upstream_invalid".to_owned()));
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn a_server_that_refuses_everything_is_asked_twice() {
    let upstream = H2Upstream::serving(async |mut call: Call| call.reset(Reason::REFUSED_STREAM)).await;
    let gateway = in_front_of(&upstream, "").start().await;
    assert_eq!(problem(&gateway.connect().await.ask(GET).await), (502, "upstream_invalid".to_owned()));
    assert_eq!(upstream.requests(), 2);
    let gateway = in_front_of(&upstream, "retries = 0").start().await;
    assert_eq!(gateway.connect().await.ask(GET).await.status, 502);
    assert_eq!(upstream.requests(), 3);
}

/// It may have acted on the request.
#[tokio::test]
async fn any_other_reset_is_final() {
    for reason in [Reason::INTERNAL_ERROR, Reason::CANCEL, Reason::NO_ERROR, Reason::ENHANCE_YOUR_CALM, Reason::PROTOCOL_ERROR] {
        let upstream = resetting(reason).await;
        let gateway = in_front_of(&upstream, "").start().await;
        for request in [GET, POST] {
            let before = upstream.requests();
            let response = gateway.connect().await.ask(request).await;
            if before == 0 {
                assert_eq!(problem(&response), (502, "upstream_invalid".to_owned()), "{reason:?}");
            } else {
                assert_eq!(response.status, 200, "the connection lives on after {reason:?}");
            }
            assert_eq!(upstream.requests(), before + 1, "{reason:?}");
        }
    }
}

/// What it sent is passed on, and the end is no end.
#[tokio::test]
async fn an_answer_that_breaks_off_is_visibly_cut_and_harms_no_other() {
    let upstream = H2Upstream::serving(async |mut call: Call| {
        let mut stream = call.begin(&[]);
        stream.send_data(Bytes::from_static(b"half"), false).expect("open");
        if call.head.uri.path() == "/public/good" {
            stream.send_data(Bytes::from_static(b" and half"), true).expect("open");
        } else {
            stream.send_reset(Reason::INTERNAL_ERROR);
        }
    })
    .await;
    let gateway = in_front_of(&upstream, "").start().await;
    for _ in 0..3 {
        let mut client = gateway.connect().await;
        client.send(GET).await;
        // Whether the head is still sent depends on whether it was read before the reset.
        if let Some(response) = client.response().await {
            assert!(response.end == End::Cut || response.status == 502, "{response:?}");
        }
        let good = gateway.connect().await.ask("GET /public/good HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!((good.text().as_str(), good.end), ("half and half", End::Complete));
    }
    // A connection that is given back at the moment when one is looked for is not found.
    assert!(upstream.connections() < 6, "only streams broke off");
}

/// Case 217 for HTTP/2: connections announce their end while many requests are on their way.
#[tokio::test]
async fn servers_that_go_away_under_load_lose_no_request() {
    const CLIENTS: usize = 8;
    const EACH: usize = 60;
    let upstream = H2Upstream::serving(async |mut call: Call| {
        call.read().await;
        if call.number % 60 == 5 {
            call.go_away();
        }
        // What is on its way meanwhile belongs to the connection that ends.
        tokio::task::yield_now().await;
        call.answer("ok");
    })
    .await;
    let gateway = Arc::new(in_front_of(&upstream, "").start().await);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let gateway = Arc::clone(&gateway);
        clients.spawn(async move {
            let mut client = gateway.connect().await;
            let mut failed = Vec::new();
            for _ in 0..EACH {
                let response = client.ask(GET).await;
                if response.status != 200 {
                    failed.push(problem(&response));
                    client = gateway.connect().await;
                }
            }
            failed
        });
    }
    let failed: Vec<_> = clients.join_all().await.into_iter().flatten().collect();
    assert_eq!(failed, [], "{}", gateway.output());
    let answered = upstream.take().len();
    assert_eq!(answered, CLIENTS * EACH, "none was acted upon twice");
    assert!(upstream.connections() > CLIENTS, "{} connections", upstream.connections());
}

#[tokio::test]
async fn servers_that_reset_streams_or_say_unavailable_are_ejected_and_those_that_stumble_are_not() {
    let broken: [(&str, Fault); 2] = [
        ("resets", |call| call.reset(Reason::INTERNAL_ERROR)),
        ("unavailable", |call| call.answer_head(200, &[("content-type", "application/grpc"), ("grpc-status", "14")])),
    ];
    for (what, does) in broken {
        let bad = H2Upstream::serving_with(does, async |mut call: Call, does: Fault| {
            call.read().await;
            does(&mut call);
        })
        .await;
        let good = H2Upstream::well().await;
        let keys = "http = \"2\"\nejection = { failures = 3, time = \"1m\" }";
        let gateway = Gateway::in_front_of_servers(&[bad.address, good.address], keys).start().await;
        for _ in 0..12 {
            gateway.connect().await.ask(POST).await;
        }
        assert_eq!((bad.requests(), good.requests()), (3, 9), "{what}");
    }
    let stumbling = H2Upstream::serving(async |mut call: Call| call.answer_head(200, &[("grpc-status", "13")])).await;
    let good = H2Upstream::well().await;
    let keys = "http = \"2\"\nejection = { failures = 3, time = \"1m\" }";
    let gateway = Gateway::in_front_of_servers(&[stumbling.address, good.address], keys).start().await;
    for _ in 0..12 {
        gateway.connect().await.ask(POST).await;
    }
    assert_eq!((stumbling.requests(), good.requests()), (6, 6));
}

#[tokio::test]
async fn a_request_goes_to_another_server_where_nobody_listens() {
    let good = H2Upstream::well().await;
    let gateway = Gateway::in_front_of_servers(&[nobody().await, good.address], "http = \"2\"").start().await;
    for _ in 0..4 {
        assert_eq!(gateway.connect().await.ask(POST).await.status, 200);
    }
    assert_eq!(good.requests(), 4);
}

/// The server is gone; what it had is lost unless it is idempotent and its connection had been used before.
#[tokio::test]
async fn a_connection_that_died_is_replaced() {
    let dying = Arc::new(AtomicBool::new(false));
    let upstream = H2Upstream::serving_with(Arc::clone(&dying), async |mut call: Call, dying: Arc<AtomicBool>| {
        if call.connection == 0 && dying.load(Ordering::SeqCst) {
            call.go_away();
        }
        call.read().await;
        call.answer("ok");
    })
    .await;
    let gateway = in_front_of(&upstream, "").start().await;
    let mut client = gateway.connect().await;
    assert_eq!(client.ask(GET).await.status, 200);
    dying.store(true, Ordering::SeqCst);
    for _ in 0..5 {
        assert_eq!(client.ask(POST).await.status, 200);
    }
    assert_eq!(upstream.requests(), 6);
    assert!(upstream.connections() >= 2, "{} connections", upstream.connections());
}
