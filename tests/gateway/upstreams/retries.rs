//! What is tried again, how often, and never what a server may have acted upon (217, 218).

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{GET, OK, POST, asked, metric, problem};
use crate::support::gateway::Gateway;
use crate::support::upstream::{Answer, Step, Upstream, nobody};

const PUT: &str = "PUT /public/x HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi";
const DELETE: &str = "DELETE /public/x HTTP/1.1\r\nhost: a\r\n\r\n";

/// A server that keeps its connection after one answer and drops it at the next request.
async fn stale() -> Upstream {
    let requests = AtomicUsize::new(0);
    Upstream::answering(move |_| match requests.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::raw(OK),
        _ => Answer::steps([Step::Close]),
    })
    .await
}

/// RFC 9110 §9.2.2; and no second server sees a request of whose body something was taken.
#[tokio::test]
async fn only_an_idempotent_request_without_a_body_goes_to_a_second_server() {
    for (request, again) in [(GET, true), (DELETE, true), (PUT, false), (POST, false)] {
        let (first, second) = (stale().await, Upstream::echo().await);
        let gateway = Gateway::in_front_of_servers(&[first.address, second.address], "").start().await;
        for _ in 0..2 {
            assert_eq!(gateway.connect().await.ask(GET).await.status, 200);
        }
        let response = gateway.connect().await.ask(request).await;
        let (at_first, at_second) = (asked(&first), asked(&second));
        if again {
            assert_eq!((response.status, at_first, at_second), (200, 2, 2), "{request}");
        } else {
            assert_eq!(problem(&response), (502, "upstream_invalid".to_owned()), "{request}");
            assert_eq!((at_first, at_second), (2, 1), "{request}");
        }
    }
}

/// A POST that was sent is sent once, whatever becomes of it, with servers to spare.
#[tokio::test]
async fn a_post_that_was_sent_is_never_repeated() {
    for steps in [vec![Step::Close], vec![Step::Reset], vec![Step::Hang], vec![Step::Send(b"HTTP/1.1 2".to_vec()), Step::Close]] {
        let answer = |steps: &[Step]| {
            let steps = steps.to_vec();
            Upstream::answering(move |_| Answer::steps(steps.clone()))
        };
        let servers = [answer(&steps).await, answer(&steps).await, answer(&steps).await];
        let addresses = servers.each_ref().map(|server| server.address);
        let gateway = Gateway::in_front_of_servers(&addresses, "read_timeout = \"1s\"").start().await;
        let response = gateway.connect().await.ask(POST).await;
        assert!(response.status >= 502, "{steps:?}");
        assert_eq!(servers.iter().map(|server| server.requests("POST").len()).sum::<usize>(), 1, "{steps:?}");
    }
}

#[tokio::test]
async fn a_post_that_reached_no_server_goes_to_the_next() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of_servers(&[nobody().await, upstream.address], "").start().await;
    assert_eq!(gateway.connect().await.ask(POST).await.status, 200);
    assert_eq!(upstream.requests("POST")[0].body, b"hi");
}

/// Case 218: when nothing answers, the load on it grows by a share, not by as much again.
#[tokio::test]
async fn an_outage_is_not_met_with_a_storm_of_retries() {
    const REQUESTS: usize = 100;
    let gateway = Gateway::in_front_of_servers(&[nobody().await, nobody().await], "ejection = { failures = 0 }").start().await;
    for _ in 0..REQUESTS {
        let response = gateway.connect().await.ask(GET).await;
        assert_eq!(problem(&response), (502, "upstream_unreachable".to_owned()));
    }
    let series = |result| format!("portcullis_upstream_retries_total{{result=\"{result}\",upstream=\"app\"}}");
    let tried = metric(&gateway, &series("tried")).await.expect("a series");
    let refused = metric(&gateway, &series("over_budget")).await.expect("a series");
    assert_eq!(tried + refused, REQUESTS);
    // A machine that is slow may need several of the stretches within which they are counted.
    assert!((10..=60).contains(&tried), "{tried} retries of {REQUESTS} requests");
}

#[tokio::test]
async fn retries_can_be_switched_off() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of_servers(&[nobody().await, upstream.address], "retries = 0").start().await;
    assert_eq!(problem(&gateway.connect().await.ask(GET).await), (502, "upstream_unreachable".to_owned()));
    assert_eq!(gateway.connect().await.ask(GET).await.status, 200);
}

/// An answer that comes before the body was read is the answer; nothing is sent anew.
#[tokio::test]
async fn an_answer_before_the_body_was_read_is_passed_on_and_final() {
    let early = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n";
    let server = || Upstream::answering(move |_| Answer::early([Step::Send(early.into())]));
    let (first, second) = (server().await, server().await);
    let gateway = Gateway::in_front_of_servers(&[first.address, second.address], "").start().await;
    let mut client = gateway.connect().await;
    client.send("POST /public/x HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\nhalf").await;
    assert_eq!(client.head().await.expect("an answer").word(1), "413");
    assert!(first.saw("POST") && !second.saw("POST"));
}
