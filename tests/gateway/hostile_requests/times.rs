//! How long a client may take: to send a head, to send a body, and between two requests.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::client::RawClient;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

/// More than any of the timeouts below, less than pingora's own of a minute.
const BOUND: Duration = Duration::from_secs(8);

/// Sends one byte after another until the gateway ends the connection; returns what it said.
async fn drip(client: &mut RawClient, bytes: &[u8]) -> Vec<u8> {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for byte in bytes {
        ticks.tick().await;
        client.send([*byte]).await;
    }
    client.rest().await
}

#[tokio::test]
async fn a_head_that_does_not_end_is_given_up() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream).set("server.header_timeout=1s").start().await;
    let begun = Instant::now();
    let mut client = gateway.connect().await;
    client.send("GET /public HTTP/1.1\r\nhost: a\r\n").await;
    let answer = client.response().await.expect("a client that began is told");
    assert_eq!((answer.status, answer.code().as_str()), (408, "request_timeout"));
    assert_eq!(client.rest().await, b"");
    assert!(begun.elapsed() >= Duration::from_millis(900) && begun.elapsed() < BOUND, "after {:?}", begun.elapsed());
    assert_eq!(upstream.bytes(), 0);
}

/// Each byte in time, the whole too late: a timeout per read would never end this.
#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_given_up() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream).set("server.header_timeout=1s").start().await;
    let begun = Instant::now();
    let mut client = gateway.connect().await;
    let said = drip(&mut client, b"GET /public HTTP/1.1\r\nhost").await;
    assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 408 "), "{}", said.escape_ascii());
    assert!(begun.elapsed() < BOUND, "after {:?}", begun.elapsed());
    assert_eq!(upstream.bytes(), 0);
}

/// The second head of a connection has the same deadline as the first.
#[tokio::test]
async fn the_next_head_on_a_connection_is_given_up_too() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream).set("server.header_timeout=1s").start().await;
    let mut client = gateway.connect().await;
    assert_eq!(client.ask("GET /public/1 HTTP/1.1\r\nhost: a\r\n\r\n").await.status, 200);
    let begun = Instant::now();
    client.send("GET /public/2 HTTP/1.1\r\n").await;
    let answer = client.response().await.expect("a client that began is told");
    assert_eq!((answer.status, answer.code().as_str()), (408, "request_timeout"));
    assert!(begun.elapsed() < BOUND, "after {:?}", begun.elapsed());
    assert!(!upstream.saw("/public/2"));
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream).set("server.header_timeout=1s").start().await;
    let begun = Instant::now();
    let said = gateway.connect().await.rest().await;
    assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 408 "), "{}", said.escape_ascii());
    assert!(begun.elapsed() < BOUND, "after {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_connection_between_two_requests_is_kept_for_the_idle_timeout_only() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream).set("server.idle_timeout=1s").start().await;
    let mut client = gateway.connect().await;
    assert_eq!(client.ask("GET /public/1 HTTP/1.1\r\nhost: a\r\n\r\n").await.status, 200);
    assert_eq!(client.ask("GET /public/2 HTTP/1.1\r\nhost: a\r\n\r\n").await.status, 200);
    let begun = Instant::now();
    assert_eq!(client.rest().await, b"");
    assert!(begun.elapsed() >= Duration::from_millis(500) && begun.elapsed() < BOUND, "after {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_body_that_stops_coming_is_given_up() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream).set("server.body_timeout=1s").start().await;
    let begun = Instant::now();
    let mut client = gateway.connect().await;
    client.send("POST /public/half HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n12345").await;
    let answer = client.response().await.expect("a client that began is told");
    assert_eq!((answer.status, answer.code().as_str()), (408, "request_timeout"));
    assert_eq!(client.rest().await, b"");
    assert!(begun.elapsed() < BOUND, "after {:?}", begun.elapsed());
    assert!(upstream.requests("/public/half").is_empty(), "half a request was taken for a whole one");
}

#[tokio::test]
async fn a_login_whose_body_stops_coming_is_given_up() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream).set("server.body_timeout=1s").start().await;
    let mut client = gateway.connect().await;
    let head = "POST /auth/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n";
    client.send(format!("{head}{{\"username\":")).await;
    let answer = client.response().await.expect("a client that began is told");
    assert_eq!((answer.status, answer.code().as_str()), (408, "request_timeout"));
    assert_eq!(client.rest().await, b"");
}
