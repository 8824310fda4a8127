//! How long a route waits for its upstream.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::Instant;

use super::{GET, OK, problem};
use crate::support::client::Response;
use crate::support::gateway::Gateway;
use crate::support::upstream::{Answer, Step, Upstream};
use crate::support::wire::End;

const TIMED: &str = "GET /timed/x HTTP/1.1\r\nhost: a\r\n\r\n";
const TICK: Duration = Duration::from_millis(50);

/// A gateway with a route `/timed` that has these times, beside others that have none.
async fn timed(upstream: &Upstream, times: &str) -> Gateway {
    let route = format!("path = \"/timed\"\naccess = \"public\"\nwebsocket = false\ntimeouts = {{ {times} }}");
    Gateway::in_front_of(upstream).route(&route).start().await
}

async fn one_exchange(times: &str, answer: Answer) -> (Response, Duration, Upstream) {
    let upstream = Upstream::answering(move |_| answer.clone()).await;
    let gateway = timed(&upstream, times).await;
    let begun = Instant::now();
    let response = gateway.connect().await.ask(TIMED).await;
    (response, begun.elapsed(), upstream)
}

fn late() -> (u16, String) {
    (504, "upstream_timeout".to_owned())
}

/// Each byte of the head comes in time; the head as a whole does not.
#[tokio::test]
async fn a_response_head_is_awaited_only_so_long() {
    let trickle = || Answer::steps([Step::Trickle(OK.into(), TICK)]);
    let hang = || Answer::steps([Step::Hang]);
    for answer in [trickle(), hang()] {
        let (response, took, upstream) = one_exchange("response_head = \"300ms\"", answer).await;
        assert_eq!(problem(&response), late());
        assert!(took >= Duration::from_millis(300), "after {took:?}");
        assert_eq!(upstream.requests("/timed/x").len(), 1, "it is not asked again");
    }
    let (response, ..) = one_exchange("response_head = \"20s\"", trickle()).await;
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
}

/// The head came in time: what follows may take as long as it likes.
#[tokio::test]
async fn a_body_is_not_measured_by_the_time_for_the_head() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n";
    let answer = Answer::steps([Step::Send(head.into()), Step::Trickle(vec![b'x'; 20], TICK)]);
    let (response, took, _upstream) = one_exchange("response_head = \"500ms\"", answer).await;
    assert_eq!((response.status, response.body.len(), response.end), (200, 20, End::Complete));
    assert!(took > Duration::from_millis(500), "after {took:?}");
}

#[tokio::test]
async fn a_request_as_a_whole_has_only_so_long() {
    let (response, ..) = one_exchange("total = \"300ms\"", Answer::steps([Step::Hang])).await;
    assert_eq!(problem(&response), late());
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n";
    let answer = Answer::steps([Step::Send(head.into()), Step::Trickle(vec![b'x'; 1000], TICK)]);
    let (response, took, _upstream) = one_exchange("total = \"500ms\"", answer).await;
    assert_eq!((response.status, response.end), (200, End::Cut), "visibly cut short");
    assert!(took < Duration::from_secs(20), "after {took:?}");
}

/// It is the client then who is late.
#[tokio::test]
async fn a_request_body_that_takes_too_long_is_the_clients_fault() {
    let upstream = Upstream::echo().await;
    let gateway = timed(&upstream, "total = \"300ms\"").await;
    let mut client = gateway.connect().await;
    client.send("POST /timed/x HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf").await;
    let response = client.response().await.expect("an answer");
    assert_eq!(problem(&response), (408, "request_timeout".to_owned()));
}

#[tokio::test]
async fn a_wait_within_the_response_has_its_own_time() {
    let (response, ..) = one_exchange("read = \"200ms\"", Answer::steps([Step::Hang])).await;
    assert_eq!(problem(&response), late());
    let (response, ..) = one_exchange("read = \"10s\"", Answer::steps([Step::Trickle(OK.into(), TICK)])).await;
    assert_eq!(response.status, 200);
}

#[tokio::test]
async fn a_handshake_has_its_own_time() {
    // It accepts and says nothing, so that no TLS handshake ends.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = silent.local_addr().expect("a bound socket").port();
    let tables = format!(
        "[upstreams.silent]\nservers = [\"https://localhost:{port}\"]\nretries = 0\nconnect_timeout = \"1m\"\n\
         [[routes]]\npath = \"/silent\"\nupstream = \"silent\"\naccess = \"public\"\ntimeouts = {{ connect = \"200ms\" }}",
    );
    let other = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&other).table(&tables).start().await;
    let response = gateway.connect().await.ask("GET /silent HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(problem(&response), late());
}

/// The time of one request is not counted to the next one on the same connection, nor to another route.
#[tokio::test]
async fn a_connection_outlives_the_times_of_its_requests() {
    let upstream = Upstream::answering(|head| match head.word(1) {
        "/timed/x" => Answer::raw(OK),
        _ => Answer::steps([Step::Trickle(OK.into(), Duration::from_millis(20))]),
    })
    .await;
    let gateway = timed(&upstream, "total = \"400ms\", response_head = \"400ms\"").await;
    let mut client = gateway.connect().await;
    for _ in 0..2 {
        assert_eq!(client.ask(TIMED).await.status, 200);
        let begun = Instant::now();
        assert_eq!(client.ask(GET).await.text(), "ok");
        assert!(begun.elapsed() > Duration::from_millis(400), "after {:?}", begun.elapsed());
    }
}
