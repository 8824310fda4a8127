//! How long anything may take: heads, bodies, answers that nobody reads, exchanges, and silence (cases 59 and 60).

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::super::support::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, Http2, INITIAL_WINDOW_SIZE, NO_ERROR, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, block, frame, get,
};
use super::super::support::in_time;
use super::super::support::upstream::{Answer, Step, Upstream};
use super::{HOST, Site, eventually};

/// More than any of the timeouts below, less than any default.
const BOUND: Duration = Duration::from_secs(8);

fn soon(begun: Instant) {
    assert!(begun.elapsed() < BOUND, "after {:?}", begun.elapsed());
}

fn post(path: &str) -> Vec<(&str, &str)> {
    [&[(":method", "POST")], &get(HOST, path)[1..]].concat()
}

#[tokio::test]
async fn a_client_that_agrees_on_it_and_says_nothing_is_given_up() {
    let site = Site::changed(Upstream::echo().await, |gateway| gateway.set("server.header_timeout=1s")).await;
    for said in [&b""[..], b"PRI * HTTP/2.0\r\n"] {
        let begun = Instant::now();
        let mut client = Http2::handshake(&site.authority.client(), site.address(), HOST).await;
        client.send(said).await;
        client.end().await;
        soon(begun);
    }
}

#[tokio::test]
async fn what_is_not_http_2_is_given_up() {
    let site = Site::start().await;
    let mut client = Http2::handshake(&site.authority.client(), site.address(), HOST).await;
    client.send("GET /public/x HTTP/1.1\r\nhost: a.example\r\n\r\n").await;
    client.end().await;
    assert_eq!(site.upstream.bytes(), 0);
}

/// Neither a block whose frames do not come, nor one whose bytes come one by one.
#[tokio::test]
async fn a_header_block_that_does_not_end_is_given_up() {
    let site = Site::changed(Upstream::echo().await, |gateway| gateway.set("server.header_timeout=1s")).await;
    let block = block(&get(HOST, "/public/x"));
    let begun = Instant::now();
    let mut client = site.connect().await;
    client.send(frame(HEADERS, END_STREAM, 1, &block)).await;
    assert_eq!(client.end().await, Some(ENHANCE_YOUR_CALM));
    soon(begun);

    let begun = Instant::now();
    let mut client = site.connect().await;
    let whole = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block);
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    for byte in &whole[..whole.len() - 1] {
        ticks.tick().await;
        client.send([*byte]).await;
    }
    assert_eq!(client.end().await, Some(ENHANCE_YOUR_CALM));
    soon(begun);

    let begun = Instant::now();
    let mut client = site.connect().await;
    client.send(frame(HEADERS, END_STREAM, 1, &block)).await;
    for _ in 0..15 {
        ticks.tick().await;
        client.send(frame(CONTINUATION, 0, 1, b"")).await;
    }
    assert!(client.end().await.is_some());
    soon(begun);
    assert_eq!(site.upstream.bytes(), 0);
    let counted = "portcullis_refused_before_routing_total{cause=\"header_deadline\"}";
    assert!(site.gateway.metric(counted).await >= Some(2.0));
}

#[tokio::test]
async fn a_connection_without_requests_is_kept_for_the_idle_timeout_only() {
    let site = Site::changed(Upstream::echo().await, |gateway| gateway.set("server.idle_timeout=1s")).await;
    let mut silent = site.connect().await;
    let mut client = site.connect().await;
    assert_eq!(client.ask(&get(HOST, "/public/1")).await.status, 200);
    assert_eq!(client.ask(&get(HOST, "/public/2")).await.status, 200);
    let begun = Instant::now();
    assert_eq!(client.end().await, Some(NO_ERROR));
    assert!(begun.elapsed() >= Duration::from_millis(500), "after {:?}", begun.elapsed());
    assert_eq!(silent.end().await, Some(NO_ERROR));
    soon(begun);
}

#[tokio::test]
async fn a_connection_with_a_request_is_not_idle() {
    let upstream = Upstream::answering(|_| {
        let slow = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec();
        Answer::steps([Step::Trickle(slow, Duration::from_millis(50))])
    })
    .await;
    let site = Site::changed(upstream, |gateway| gateway.set("server.idle_timeout=500ms")).await;
    let mut client = site.connect().await;
    let begun = Instant::now();
    assert_eq!(client.ask(&get(HOST, "/public/slow")).await.text(), "ok");
    assert!(begun.elapsed() > Duration::from_secs(1));
}

/// Case 60, with a pause that is too long, and without any.
#[tokio::test]
async fn a_body_that_hardly_comes_is_given_up() {
    let site = Site::changed(Upstream::echo().await, |gateway| gateway.set("server.body_timeout=1s")).await;
    for path in ["/public/half", "/auth/login"] {
        let mut client = site.connect().await;
        let begun = Instant::now();
        let stream = client.begin(&post(path), false).await;
        client.send(frame(DATA, 0, stream, b"{")).await;
        assert_eq!(client.answer(stream).await.verdict(), (408, "request_timeout".to_owned()), "{path}");
        soon(begun);

        let begun = Instant::now();
        let stream = client.begin(&post(path), false).await;
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        for _ in 0..20 {
            ticks.tick().await;
            client.send(frame(DATA, 0, stream, b" ")).await;
        }
        assert_eq!(client.answer(stream).await.verdict(), (408, "request_timeout".to_owned()), "{path}");
        soon(begun);
        assert_eq!(client.ask(&get(HOST, "/public/next")).await.status, 200, "the others are served");
    }
    assert!(site.upstream.requests("/public/half").is_empty(), "half a request was taken for a whole one");
}

/// A body that takes longer than a pause may, and comes.
#[tokio::test]
async fn a_body_that_comes_slowly_is_awaited() {
    let site = Site::changed(Upstream::echo().await, |gateway| gateway.set("server.body_timeout=1s")).await;
    let mut client = site.connect().await;
    let stream = client.begin(&post("/public/slow"), false).await;
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..25 {
        ticks.tick().await;
        client.send(frame(DATA, 0, stream, &[b'x'; 2048])).await;
    }
    client.send(frame(DATA, END_STREAM, stream, b"")).await;
    assert_eq!(client.answer(stream).await.status, 200);
    assert_eq!(site.upstream.requests("/public/slow").remove(0).body.len(), 25 * 2048);
}

/// Case 59 (CVE-2019-9517): an answer that may not be sent, and one of which a byte may be sent now and then.
#[tokio::test]
async fn a_response_that_nobody_reads_is_given_up() {
    let large = format!("HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n{}", "x".repeat(10_000_000));
    let upstream = Upstream::answering(move |_| Answer::raw(&large)).await;
    let site = Site::changed(upstream, |gateway| gateway.set("server.body_timeout=1s")).await;
    let settings = [(INITIAL_WINDOW_SIZE, 0)];
    let mut client = Http2::connect_with(&site.authority.client(), site.address(), HOST, &settings).await;
    let before = site.gateway.resident_kib();
    let begun = Instant::now();
    let answer = client.ask(&get(HOST, "/public/large")).await;
    assert!(answer.status == 200 && answer.reset.is_some() && answer.body.is_empty(), "{:?}", answer.reset);
    soon(begun);

    let begun = Instant::now();
    let stream = client.begin(&get(HOST, "/public/large"), true).await;
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..20 {
        ticks.tick().await;
        client.send(frame(WINDOW_UPDATE, 0, stream, &1u32.to_be_bytes())).await;
    }
    assert!(client.answer(stream).await.reset.is_some());
    soon(begun);
    let grown = site.gateway.resident_kib().saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB");
}

/// The same where the protocol has room for everything, and the client's machine has not.
#[tokio::test]
async fn a_client_that_reads_nothing_at_all_is_given_up() {
    let large = format!("HTTP/1.1 200 OK\r\ncontent-length: 30000000\r\n\r\n{}", "x".repeat(30_000_000));
    let upstream = Upstream::answering(move |_| Answer::raw(&large)).await;
    let site = Site::changed(upstream, |gateway| gateway.set("server.body_timeout=1s").set("server.idle_timeout=1h")).await;
    let mut config = site.authority.client().config();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(site.address()).await.expect("the gateway listens");
    let connecting = TlsConnector::from(Arc::new(config)).connect(HOST.try_into().expect("a host"), stream);
    let mut stream = in_time("a handshake", connecting).await.expect("a handshake");
    let most = 0x7fff_0000u32.to_be_bytes();
    let mut sent = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &[&[0, 4][..], &most].concat())].concat();
    sent.extend(frame(WINDOW_UPDATE, 0, 0, &most));
    let before = site.gateway.resident_kib();
    for at in 0..16 {
        sent.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1 + 2 * at, &block(&get(HOST, "/public/large"))));
    }
    let begun = Instant::now();
    stream.write_all(&sent).await.expect("the gateway reads");
    stream.flush().await.expect("the gateway reads");
    let open = "portcullis_connections_open";
    eventually("its requests", async || (site.gateway.metric(open).await == Some(1.0)).then_some(())).await;
    eventually("its end", async || (site.gateway.metric(open).await == Some(0.0)).then_some(())).await;
    soon(begun);
    let grown = site.gateway.resident_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB");
    drop(stream);
}

/// Both sides speak at once, as in a call that goes on: a pause of the client is none while it is answered.
#[tokio::test]
async fn a_body_that_is_answered_before_its_end_may_pause() {
    let upstream = Upstream::answering(|_| {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n".to_vec();
        Answer::early([Step::Send(head), Step::Trickle(vec![b'x'; 50], Duration::from_millis(50))])
    })
    .await;
    let site = Site::changed(upstream, |gateway| gateway.set("server.body_timeout=1s")).await;
    let mut client = site.connect().await;
    let begun = Instant::now();
    let stream = client.begin(&post("/public/call"), false).await;
    client.send(frame(DATA, 0, stream, b"first")).await;
    client.until("most of the response", |client| client.so_far(stream).body.len() >= 45).await;
    assert!(begun.elapsed() > Duration::from_secs(2));
    client.send(frame(DATA, END_STREAM, stream, b"last")).await;
    let answer = client.answer(stream).await;
    assert_eq!((answer.status, answer.body.len(), answer.ended), (200, 50, true));
    assert!(site.upstream.saw("first") && site.upstream.saw("last"));
}

#[tokio::test]
async fn an_exchange_has_only_so_long() {
    let upstream = Upstream::answering(|head| match head.word(1) {
        "/timed/hang" => Answer::steps([Step::Hang]),
        _ => {
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".to_vec();
            Answer::steps([Step::Send(head), Step::Trickle(vec![b'x'; 1000], Duration::from_millis(50))])
        }
    })
    .await;
    let route = "path = \"/timed\"\naccess = \"public\"\ntimeouts = { total = \"500ms\" }";
    let site = Site::changed(upstream, |gateway| gateway.route(route)).await;
    let mut client = site.connect().await;
    let begun = Instant::now();
    assert_eq!(client.ask(&get(HOST, "/timed/hang")).await.verdict(), (504, "upstream_timeout".to_owned()));
    let answer = client.ask(&get(HOST, "/timed/trickle")).await;
    assert!(answer.status == 200 && answer.reset.is_some() && !answer.ended, "visibly cut short");
    let stream = client.begin(&post("/timed/late"), false).await;
    client.send(frame(DATA, 0, stream, b"half")).await;
    assert_eq!(client.answer(stream).await.verdict(), (408, "request_timeout".to_owned()));
    soon(begun);
}

/// Whoever gives up is not worked for any longer.
#[tokio::test]
async fn a_request_that_is_reset_is_ended_at_the_upstream() {
    let upstream = Upstream::answering(|_| Answer::steps([Step::Hang])).await;
    let site = Site::changed(upstream, |gateway| gateway).await;
    let mut client = site.connect().await;
    let stream = client.begin(&get(HOST, "/public/x"), true).await;
    eventually("the request at the upstream", async || (site.upstream.requests("/public/x").len() == 1).then_some(())).await;
    client.send(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())).await;
    let in_flight = "portcullis_requests_in_flight";
    eventually("its end", async || (site.gateway.metric(in_flight).await == Some(0.0)).then_some(())).await;
}

/// What was answered without its body is not waited for: it would keep its place at the upstream.
#[tokio::test]
async fn a_body_that_nobody_wants_any_more_is_not_awaited_for_ever() {
    let upstream = Upstream::answering(|_| {
        Answer::early([Step::Send(b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n".to_vec())])
    })
    .await;
    let site = Site::changed(upstream, |gateway| gateway.set("server.body_timeout=1s")).await;
    let mut client = site.connect().await;
    let begun = Instant::now();
    let stream = client.begin(&post("/public/form"), false).await;
    assert_eq!(client.answer(stream).await.status, 405);
    eventually("the request has ended", async || {
        site.gateway.metric("portcullis_requests_in_flight").await.filter(|requests| *requests == 0.0)
    })
    .await;
    soon(begun);
}
