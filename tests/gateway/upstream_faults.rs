//! M: upstreams that do not answer, answer badly or stop in the middle (216–218). What the client gets is a plain
//! refusal or a response that is visibly cut short, never a clean end and never another client's bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::support::client::Response;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::upstream::{Answer, Step, Upstream, nobody};
use crate::support::wire::End;

const GET: &str = "GET /public/x HTTP/1.1\r\nhost: a\r\n\r\n";
const POST: &str = "POST /public/x HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// One request through a gateway of its own, to an upstream that answers each request alike.
async fn one_exchange(request: &str, answer: Answer) -> (Response, Upstream) {
    let upstream = Upstream::answering(move |_| answer.clone()).await;
    let gateway = Gateway::in_front_of_servers(&[upstream.address], "read_timeout = \"2s\"").start().await;
    let response = gateway.connect().await.ask(request).await;
    (response, upstream)
}

fn problem(response: &Response) -> (u16, String) {
    (response.status, response.code())
}

#[tokio::test]
async fn an_answer_that_is_not_strict_http_is_not_passed_on() {
    let answer = std::sync::Mutex::new(Answer::raw(OK));
    let answer = Arc::new(answer);
    let given = Arc::clone(&answer);
    let upstream = Upstream::answering(move |_| given.lock().expect("nobody panics while holding this").clone()).await;
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let long = format!("HTTP/1.1 200 OK\r\nx-long: {}\r\ncontent-length: 0\r\n\r\n", "a".repeat(2 * 1024 * 1024));
    for (what, bytes) in [
        ("garbage", "\x01\x02garbage\r\n\r\n"),
        ("another protocol", "SSH-2.0-OpenSSH_9.9\r\n"),
        ("a status of 999", "HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n"),
        ("a status of 600", "HTTP/1.1 600 Odd\r\ncontent-length: 0\r\n\r\n"),
        ("two lengths", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nokk"),
        ("the same length twice", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok"),
        ("a list of lengths", "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok"),
        ("an unknown coding", "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        ("a length that is no number", "HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\nok"),
        ("a negative length", "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nok"),
        ("a length with 204", "HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nok"),
        ("NUL in a field", "HTTP/1.1 200 OK\r\nx-a: a\0b\r\ncontent-length: 2\r\n\r\nok"),
        ("a bare carriage return in a field", "HTTP/1.1 200 OK\r\nx-a: a\rset-cookie: b\r\ncontent-length: 2\r\n\r\nok"),
        ("a header of 2 MB", long.as_str()),
    ] {
        *answer.lock().expect("nobody panics while holding this") = Answer::steps([Step::Send(bytes.into()), Step::Close]);
        let response = gateway.connect().await.ask(GET).await;
        assert_eq!(problem(&response), (502, "upstream_invalid".to_owned()), "{what}");
        *answer.lock().expect("nobody panics while holding this") = Answer::raw(OK);
        let response = gateway.connect().await.ask(GET).await;
        assert_eq!((response.status, response.text().as_str()), (200, "ok"), "after {what}");
    }
}

/// RFC 9112 §6.3: chunks override the length, which must not be passed on.
#[tokio::test]
async fn an_answer_with_length_and_chunks_is_passed_on_with_one_framing() {
    let both = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let (response, _upstream) = one_exchange(GET, Answer::raw(both)).await;
    assert_eq!((response.status, response.text().as_str(), response.end), (200, "ok", End::Complete));
    assert_eq!(response.head.one("content-length"), None);
}

#[tokio::test]
async fn an_upstream_that_nobody_serves_is_unreachable() {
    let gateway = Gateway::in_front_of_servers(&[nobody().await], "").start().await;
    let response = gateway.connect().await.ask(GET).await;
    assert_eq!(problem(&response), (502, "upstream_unreachable".to_owned()));
}

#[tokio::test]
async fn an_upstream_that_ends_the_connection_before_an_answer_is_asked_once() {
    for step in [Step::Close, Step::Reset] {
        for request in [GET, POST] {
            let (response, upstream) = one_exchange(request, Answer::steps([step.clone()])).await;
            assert_eq!(problem(&response), (502, "upstream_invalid".to_owned()), "{step:?}");
            // Nothing says whether it acted on the request: not even a GET is worth a second try then.
            assert_eq!(upstream.requests("/public/x").len(), 1, "{step:?}");
        }
    }
}

#[tokio::test]
async fn a_body_that_stops_is_visibly_cut_short() {
    let length = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
    let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    let broken_chunk = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n";
    for (head, step) in [
        (length, Step::Close),
        (length, Step::Reset),
        (length, Step::Hang),
        (chunks, Step::Close),
        (chunks, Step::Hang),
        (broken_chunk, Step::Close),
    ] {
        let (response, _upstream) = one_exchange(GET, Answer::steps([Step::Send(head.into()), step.clone()])).await;
        assert_eq!((response.status, response.end), (200, End::Cut), "{step:?} after {head}");
        assert!(b"half".starts_with(&response.body[..]), "{step:?} after {head}: {}", response.text());
    }
}

#[tokio::test]
async fn an_upstream_that_never_answers_is_given_up() {
    let (response, upstream) = one_exchange(GET, Answer::steps([Step::Hang])).await;
    assert_eq!(problem(&response), (504, "upstream_timeout".to_owned()));
    assert_eq!(upstream.requests("/public/x").len(), 1);
    let (response, _upstream) =
        one_exchange(GET, Answer::steps([Step::Send("HTTP/1.1 200 OK\r\nx-a: b\r\n".into()), Step::Hang])).await;
    assert_eq!(problem(&response), (504, "upstream_timeout".to_owned()), "in the middle of its head");
}

/// Slow is not broken: the timeout is for each wait, not for the whole.
#[tokio::test]
async fn an_upstream_that_trickles_is_passed_on_as_it_comes() {
    let (response, _upstream) = one_exchange(GET, Answer::steps([Step::Trickle(OK.into(), Duration::from_millis(10))])).await;
    assert_eq!((response.status, response.text().as_str(), response.end), (200, "ok", End::Complete));
}

/// An upstream that keeps its connection after one answer and drops it at the next request, unanswered; then it
/// answers again.
async fn stale_after_one() -> Upstream {
    let requests = AtomicUsize::new(0);
    Upstream::answering(move |_| match requests.fetch_add(1, Ordering::SeqCst) {
        1 => Answer::steps([Step::Close]),
        _ => Answer::raw(OK),
    })
    .await
}

/// RFC 9110 §9.2.2, RFC 9112 §9.3.1. Case 217.
#[tokio::test]
async fn a_get_on_a_connection_that_went_stale_is_tried_once_more() {
    let upstream = stale_after_one().await;
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let mut client = gateway.connect().await;
    assert_eq!(client.ask(GET).await.status, 200);
    assert_eq!(client.ask(GET).await.status, 200);
    assert_eq!((upstream.requests("/public/x").len(), upstream.connections()), (3, 2));
}

/// Case 217: it may have had its effect.
#[tokio::test]
async fn a_post_on_a_connection_that_went_stale_is_not_repeated() {
    let upstream = stale_after_one().await;
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let mut client = gateway.connect().await;
    assert_eq!(client.ask(GET).await.status, 200);
    assert_eq!(problem(&client.ask(POST).await), (502, "upstream_invalid".to_owned()));
    assert_eq!(upstream.requests("POST /public/x").len(), 1);
}

/// A retry is one retry: an upstream that fails always is not asked for ever.
#[tokio::test]
async fn a_get_is_tried_twice_at_most() {
    let requests = AtomicUsize::new(0);
    let upstream = Upstream::answering(move |_| match requests.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::raw(OK),
        _ => Answer::steps([Step::Close]),
    })
    .await;
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let mut client = gateway.connect().await;
    assert_eq!(client.ask(GET).await.status, 200);
    assert_eq!(problem(&client.ask(GET).await), (502, "upstream_invalid".to_owned()));
    assert_eq!(upstream.requests("/public/x").len(), 3);
}

#[tokio::test]
async fn a_server_that_cannot_be_connected_to_is_passed_over() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of_servers(&[nobody().await, upstream.address], "").start().await;
    for request in [GET, POST, GET, POST, GET, POST] {
        assert_eq!(gateway.connect().await.ask(request).await.status, 200, "{request}");
    }
    assert_eq!(upstream.requests("/public/x").len(), 6);
}

/// Case 218.
#[tokio::test]
async fn an_upstream_without_any_server_fails_at_once_and_recovers_at_once() {
    let address = nobody().await;
    let gateway = Gateway::in_front_of_servers(&[address, nobody().await], "").start().await;
    for request in [GET, POST] {
        let begun = Instant::now();
        let response = gateway.connect().await.ask(request).await;
        assert_eq!(problem(&response), (502, "upstream_unreachable".to_owned()));
        assert!(begun.elapsed() < Duration::from_secs(5), "after {:?}", begun.elapsed());
    }
    let listener = TcpListener::bind(address).await.expect("the port is still free");
    let _upstream = Upstream::on(listener, Answer::echo);
    assert_eq!(gateway.connect().await.ask(GET).await.status, 200);
}

/// P17.
#[tokio::test]
async fn an_upstream_that_hangs_does_not_hold_up_another() {
    let hanging = Upstream::answering(|_| Answer::steps([Step::Hang])).await;
    let upstream = Upstream::echo().await;
    let other = format!(
        "[upstreams.other]\nservers = [\"http://{}\"]\n[[routes]]\npath = \"/other\"\nupstream = \"other\"\naccess = \"public\"",
        upstream.address
    );
    let gateway = Gateway::in_front_of(&hanging).table(&other).start().await;
    let mut waiting = Vec::new();
    for _ in 0..64 {
        let mut client = gateway.connect().await;
        client.send(GET).await;
        waiting.push(client);
    }
    eventually("all of them at the upstream", async || (hanging.requests("/public/x").len() == 64).then_some(())).await;
    let begun = Instant::now();
    assert_eq!(gateway.connect().await.ask("GET /other HTTP/1.1\r\nhost: a\r\n\r\n").await.status, 200);
    assert!(begun.elapsed() < Duration::from_secs(5), "after {:?}", begun.elapsed());
}

/// A client that goes away takes its request with it; the connection to the upstream is not used again.
#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing_behind() {
    let upstream = Upstream::answering(|head| match head.word(1) {
        "/public/slow" => Answer::steps([Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nslo".to_vec()), Step::Hang]),
        _ => Answer::echo(head),
    })
    .await;
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let mut client = gateway.connect().await;
    client.send("GET /public/slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.head().await.expect("a response").word(1), "200");
    drop(client);
    let next = gateway.connect().await.ask(GET).await;
    assert_eq!((next.status, next.text()), (200, "/public/x".to_owned()));
    assert_eq!(upstream.connections(), 2);
}
