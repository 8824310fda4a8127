//! That times, limits and checks hold for servers that are spoken to over HTTP/2, and how their connections are used.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use super::super::{GET, metric, problem, servers_are};
use super::in_front_of;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::h2_upstream::{Call, H2Upstream};

/// A server whose requests wait until the test lets them go.
async fn waiting() -> (H2Upstream, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = H2Upstream::serving_with(Arc::clone(&gate), async |mut call: Call, until: Arc<Semaphore>| {
        call.read().await;
        until.acquire().await.expect("never closed").forget();
        call.answer("ok");
    })
    .await;
    (upstream, gate)
}

/// Has so many requests under way and says how many connections the server has for them.
async fn connections_for(requests: usize, keys: &str) -> usize {
    let (upstream, gate) = waiting().await;
    let gateway = in_front_of(&upstream, keys).start().await;
    let mut held = Vec::new();
    for number in 1..=requests {
        let mut client = gateway.connect().await;
        client.send(GET).await;
        held.push(client);
        // One after another: of those that look for a connection at the same moment, some open one each.
        eventually("a request at the server", async || (upstream.requests() == number).then_some(())).await;
    }
    let connections = upstream.connections();
    gate.add_permits(requests);
    for mut client in held {
        assert_eq!(client.response().await.expect("an answer").status, 200);
    }
    connections
}

#[tokio::test]
async fn requests_share_connections_up_to_the_limit_of_streams() {
    assert_eq!(connections_for(40, "").await, 1);
    assert_eq!(connections_for(40, "http2 = { streams = 10 }").await, 4);
    assert_eq!(connections_for(3, "http2 = { streams = 1 }").await, 3);
}

#[tokio::test]
async fn one_request_after_another_uses_one_connection() {
    let upstream = H2Upstream::well().await;
    let gateway = in_front_of(&upstream, "").start().await;
    for _ in 0..20 {
        assert_eq!(gateway.connect().await.ask(GET).await.status, 200);
    }
    assert_eq!(upstream.requests(), 20);
    // One that is given back at the moment when one is looked for is not found.
    assert!(upstream.connections() < 5, "{} connections", upstream.connections());
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_given_up() {
    for (keys, route) in
        [("read_timeout = \"1s\"", ""), ("", "timeouts = { response_head = \"1s\" }"), ("", "timeouts = { total = \"1s\" }")]
    {
        let (upstream, _gate) = waiting().await;
        let gateway =
            in_front_of(&upstream, keys).route(&format!("path = \"/timed\"\naccess = \"public\"\n{route}")).start().await;
        let response = gateway.connect().await.ask("GET /timed HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(problem(&response), (504, "upstream_timeout".to_owned()), "{keys}{route}");
        assert_eq!(upstream.requests(), 1, "it is not asked again");
    }
}

#[tokio::test]
async fn the_breaker_counts_requests_not_connections() {
    let (upstream, gate) = waiting().await;
    let gateway = in_front_of(&upstream, "breaker = { connections = 2 }").start().await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = gateway.connect().await;
        client.send(GET).await;
        held.push(client);
    }
    eventually("both at the server", async || (upstream.requests() == 2).then_some(())).await;
    assert_eq!(problem(&gateway.connect().await.ask(GET).await), (503, "upstream_busy".to_owned()));
    let refused = metric(&gateway, "portcullis_upstream_breaker_refusals_total{limit=\"connections\",upstream=\"app\"}").await;
    assert_eq!(refused, Some(1));
    gate.add_permits(10);
    for client in &mut held {
        assert_eq!(client.response().await.expect("an answer").status, 200);
    }
}

#[tokio::test]
async fn checks_speak_http_2_too() {
    let well = Arc::new(AtomicBool::new(true));
    let upstream = H2Upstream::serving_with(Arc::clone(&well), async |mut call: Call, mood: Arc<AtomicBool>| {
        call.read().await;
        call.answer_head(if mood.load(Ordering::SeqCst) { 200 } else { 503 }, &[]);
    })
    .await;
    let keys = "health = { path = \"/healthz\", interval = \"1s\", timeout = \"1s\", unhealthy_after = 2, healthy_after = 2 }";
    let gateway = in_front_of(&upstream, keys).start().await;
    let check = eventually("a check", async || upstream.take().pop()).await.head;
    assert_eq!(check.uri.to_string(), format!("http://{}/healthz", upstream.address));
    well.store(false, Ordering::SeqCst);
    servers_are(&gateway, "unhealthy", 1).await;
    assert_eq!(problem(&gateway.connect().await.ask(GET).await), (503, "upstream_unhealthy".to_owned()));
    well.store(true, Ordering::SeqCst);
    servers_are(&gateway, "in_service", 1).await;
}

/// A connection of which nothing was heard for a while takes no further requests.
#[tokio::test]
async fn a_connection_on_which_an_answer_was_given_up_is_not_used_again() {
    let upstream = H2Upstream::serving(async |mut call: Call| {
        call.read().await;
        if call.number > 0 {
            call.answer("ok");
        } else {
            std::future::pending::<()>().await;
        }
    })
    .await;
    let gateway = in_front_of(&upstream, "read_timeout = \"1s\"").start().await;
    assert_eq!(gateway.connect().await.ask(GET).await.status, 504);
    assert_eq!(gateway.connect().await.ask(GET).await.status, 200);
    assert_eq!(upstream.connections(), 2);
}

/// What arrives at once is one body to the client, whatever the frames.
#[tokio::test]
async fn large_bodies_pass_in_both_directions() {
    const SIZE: usize = 3 * 1024 * 1024;
    let upstream = H2Upstream::serving(async |mut call: Call| {
        let body = call.read().await;
        let mut stream = call.begin(&[]);
        let mut left = bytes::Bytes::from(body);
        stream.reserve_capacity(left.len());
        while !left.is_empty() {
            let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await.expect("open").expect("room");
            let chunk = left.split_to(room.min(left.len()));
            stream.send_data(chunk, left.is_empty()).expect("open");
        }
    })
    .await;
    let gateway = Gateway::in_front_of_servers(&[upstream.address], "http = \"2\"").start().await;
    let sent: String = (0..SIZE).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
    let head = format!("POST /public/x HTTP/1.1\r\nhost: a\r\ncontent-length: {SIZE}\r\n\r\n");
    let response = gateway.connect().await.ask(head + &sent).await;
    assert!(response.status == 200 && response.text() == sent);
}

/// What waits for one client is kept apart from what goes to others on the same connection.
#[tokio::test]
async fn a_client_that_does_not_read_holds_up_no_other() {
    let sent = Arc::new(AtomicUsize::new(0));
    let upstream = H2Upstream::serving_with(Arc::clone(&sent), async |mut call: Call, sent: Arc<AtomicUsize>| {
        let mut stream = call.begin(&[]);
        if call.head.uri.path() == "/public/small" {
            return stream.send_data("small".into(), true).expect("open");
        }
        loop {
            stream.reserve_capacity(1024 * 1024);
            let Some(Ok(room)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
            sent.fetch_add(room, Ordering::SeqCst);
            drop(stream.send_data(bytes::Bytes::from(vec![0; room]), false));
        }
    })
    .await;
    let gateway = in_front_of(&upstream, "").start().await;
    let mut lazy = gateway.connect().await;
    lazy.send("GET /public/endless HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(lazy.head().await.expect("an answer").word(1), "200");
    let (mut last, mut still) = (0, 0);
    eventually("no more room for it", async || {
        let now = sent.load(Ordering::SeqCst);
        still = if now == last { still + 1 } else { 0 };
        last = now;
        (still == 30 && now > 0).then_some(())
    })
    .await;
    let before = gateway.resident_kib();
    for _ in 0..50 {
        let small = gateway.connect().await.ask("GET /public/small HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!((small.status, small.text().as_str()), (200, "small"));
    }
    assert_eq!(upstream.requests(), 51);
    // The one of the lazy client is in use, and therefore the first to be found.
    assert!(upstream.connections() < 10, "{} connections", upstream.connections());
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(grown < 64 * 1024, "{grown} KiB more");
}
