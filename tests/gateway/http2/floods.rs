//! Floods (cases 39 to 46): cheap for whoever sends them, and bounded for the gateway.

use super::super::support::http2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, Http2, INITIAL_WINDOW_SIZE, NO_ERROR, PING,
    REFUSED_STREAM, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, get,
};
use super::super::support::upstream::{Answer, Step, Upstream};
use super::{HOST, Site, eventually};

const MIB: u64 = 1024;

/// What the gateway may use of memory under any attack (promise P15), in KiB.
const RESIDENT_MAX: u64 = 256 * MIB;

/// An upstream that answers nothing but `/public/after`.
async fn silent() -> Upstream {
    Upstream::answering(|head| if head.word(1) == "/public/after" { Answer::echo(head) } else { Answer::steps([Step::Hang]) })
        .await
}

async fn still_serves(site: &Site) {
    assert_eq!(site.connect().await.ask(&get(HOST, "/public/after")).await.status, 200);
}

/// Case 39 (CVE-2023-44487).
#[tokio::test]
async fn requests_that_are_reset_at_once_end_the_connection() {
    let site = Site::changed(silent().await, |gateway| gateway).await;
    let mut client = site.connect().await;
    let mut flood = Vec::new();
    for _ in 0..5000 {
        let stream = client.stream();
        flood.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&get(HOST, "/public/x"))));
        flood.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
    }
    client.send(flood).await;
    assert_eq!(client.end().await, Some(ENHANCE_YOUR_CALM));
    assert!(site.upstream.connections() < 50, "{} connections to the upstream", site.upstream.connections());
    still_serves(&site).await;
}

/// Case 40 (RUSTSEC-2024-0332).
#[tokio::test]
async fn a_header_block_without_end_ends_the_connection() {
    let site = Site::start().await;
    for piece in [&b""[..], &[0x82; 1024]] {
        let mut client = site.connect().await;
        let stream = client.stream();
        let mut flood = frame(HEADERS, END_STREAM, stream, &block(&get(HOST, "/public/x")));
        for _ in 0..2000 {
            flood.extend(frame(CONTINUATION, 0, stream, piece));
        }
        client.send(flood).await;
        assert_ne!(client.end().await.unwrap_or(NO_ERROR), NO_ERROR, "{} bytes", piece.len());
    }
    assert_eq!(site.upstream.bytes(), 0);
    still_serves(&site).await;
}

/// Case 41 (CVE-2025-8671): frames that make the gateway reset what it has begun.
#[tokio::test]
async fn requests_that_the_gateway_must_reset_end_the_connection() {
    let site = Site::changed(silent().await, |gateway| gateway).await;
    let mut client = site.connect().await;
    let mut flood = Vec::new();
    for _ in 0..1000 {
        let stream = client.stream();
        flood.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&get(HOST, "/public/x"))));
        // A window that is made larger than any is an error of the stream (RFC 9113 §6.9.1).
        flood.extend(frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffffu32.to_be_bytes()));
    }
    client.send(flood).await;
    assert_eq!(client.end().await, Some(ENHANCE_YOUR_CALM));
    assert!(site.upstream.connections() < 100, "{} connections to the upstream", site.upstream.connections());
    still_serves(&site).await;
}

/// Case 42 (CVE-2026-105297): a byte on the wire is a field in memory, and no answer can be sent. Promise P15.
#[tokio::test]
async fn bombs_of_fields_stay_within_the_memory() {
    let site = Site::changed(silent().await, |gateway| gateway).await;
    let before = site.gateway.resident_kib();
    let mut highest = Vec::new();
    for _ in 0..2 {
        let mut most = 0;
        let mut clients = Vec::new();
        for at in 0..100 {
            let settings = [(INITIAL_WINDOW_SIZE, 0)];
            let mut client = Http2::connect_with(&site.authority.client(), site.address(), HOST, &settings).await;
            bomb(&mut client, at % 4).await;
            clients.push(client);
            most = site.gateway.resident_kib().max(most);
        }
        still_serves(&site).await;
        highest.push(site.gateway.resident_kib().max(most));
        drop(clients);
        let in_flight = "portcullis_requests_in_flight";
        eventually("the end of it all", async || (site.gateway.metric(in_flight).await == Some(0.0)).then_some(())).await;
    }
    println!("resident: {before} KiB before, then at most {highest:?} KiB");
    assert!(highest.iter().all(|most| *most < RESIDENT_MAX), "{highest:?} KiB");
}

/// Fills every place of a connection with a request that is as large as one can be made.
async fn bomb(client: &mut Http2, kind: usize) {
    let wide = "x".repeat(15_000);
    let (name, value) = if kind == 0 { ("a", "") } else { ("cookie", "a=b") };
    for part in 0..32 {
        let (stream, head) = (client.stream(), block(&get(HOST, "/public/x")));
        // The first makes an entry of the connection's table; each of the rest is a reference to it, of one byte.
        let entry = match part {
            0 => [&[0x40][..], &block(&[(name, value)])[1..]].concat(),
            _ => Vec::new(),
        };
        let references = vec![0x80 | 62; 16_384 - head.len() - entry.len()];
        let fields = match kind {
            0 | 1 => [head, entry, references].concat(),
            // Not refused: they wait for an upstream that is silent.
            _ => block(&[&get(HOST, "/public/x")[..], &[("x-a", wide.as_str())]].concat()),
        };
        client.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields)).await;
    }
}

/// Case 43 (RUSTSEC-2026-0258).
#[tokio::test]
async fn bodies_of_nothing_end_the_connection() {
    let site = Site::changed(silent().await, |gateway| gateway).await;
    let mut client = site.connect().await;
    let post = [&[(":method", "POST")], &get(HOST, "/public/x")[1..]].concat();
    let stream = client.begin(&post, false).await;
    let flood: Vec<u8> = (0..200_000).flat_map(|_| frame(DATA, 0, stream, b"")).collect();
    client.send(flood).await;
    assert_ne!(client.end().await.unwrap_or(NO_ERROR), NO_ERROR);
    still_serves(&site).await;
}

/// Case 44 (CVE-2019-9512, CVE-2019-9513, CVE-2019-9515).
#[tokio::test]
async fn frames_that_carry_nothing_end_the_connection() {
    let site = Site::start().await;
    let before = site.gateway.resident_kib();
    for (what, one) in [
        ("pings", frame(PING, 0, 0, &[7; 8])),
        ("answers to no pings", frame(PING, ACK, 0, &[7; 8])),
        ("settings", frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255])),
        ("priorities", frame(2, 0, 1, &[0, 0, 0, 0, 16])),
        ("windows", frame(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes())),
        ("frames of no kind", frame(77, 0, 0, b"?")),
    ] {
        let mut client = site.connect().await;
        client.send(one.repeat(20_000)).await;
        assert_eq!(client.end().await, Some(ENHANCE_YOUR_CALM), "{what}");
        assert!(client.pongs <= 1500, "{} {what} were answered", client.pongs);
    }
    let grown = site.gateway.resident_kib().saturating_sub(before);
    assert!(grown < 32 * MIB, "{grown} KiB");
    let refused = "portcullis_denials_total{reason=\"too_many\"}";
    eventually("the count", async || (site.gateway.metric(refused).await == Some(6.0)).then_some(())).await;
}

/// What clients do that measure the way, and that read much: neither is a flood.
#[tokio::test]
async fn overhead_that_belongs_to_requests_is_no_flood() {
    let site = Site::start().await;
    let mut client = site.connect().await;
    for at in 0..300 {
        client.send(frame(PING, 0, 0, &[1; 8]).repeat(10)).await;
        client.send(frame(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes()).repeat(8)).await;
        assert_eq!(client.ask(&get(HOST, "/public/x")).await.status, 200, "{at}");
    }
    client.until("the last ping's answer", |client| client.pongs == 3000).await;
}

/// Case 45.
#[tokio::test]
async fn more_requests_at_once_than_are_allowed_are_refused_and_others_are_served() {
    let site = Site::changed(silent().await, |gateway| gateway.set("server.http2.streams=20")).await;
    let mut client = site.connect().await;
    assert_eq!(client.settings[&3], 20, "the limit is told");
    let mut flood = Vec::new();
    for _ in 0..30 {
        let stream = client.stream();
        flood.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&get(HOST, "/public/x"))));
    }
    client.send(flood).await;
    for stream in (41..60).step_by(2) {
        assert_eq!(client.answer(stream).await.reset, Some(REFUSED_STREAM), "{stream}");
    }
    eventually("the others at the upstream", async || (site.upstream.requests("/public/x").len() == 20).then_some(())).await;
    client.send(frame(RST_STREAM, 0, 1, &8u32.to_be_bytes())).await;
    assert_eq!(client.ask(&get(HOST, "/public/after")).await.status, 200, "a place was free again");
}

/// Case 46: somebody's mistake is told; somebody who makes nothing else is not listened to.
#[tokio::test]
async fn many_malformed_requests_end_the_connection() {
    let site = Site::start().await;
    let mut client = site.connect().await;
    let (mut told, malformed) = (0, [&get(HOST, "/public/x")[..], &[("x-a", " b")]].concat());
    for _ in 0..50 {
        let answer = client.ask(&malformed).await;
        if answer.status == 400 {
            told += 1;
        }
    }
    assert_eq!(client.end().await, Some(ENHANCE_YOUR_CALM));
    assert!((20..=32).contains(&told), "{told}");
    assert_eq!(site.upstream.bytes(), 0);
}

/// What an idle connection costs: its buffers, its tables, and TLS.
#[tokio::test]
async fn an_idle_connection_costs_little() {
    let site = Site::start().await;
    let mut clients = Vec::new();
    let mut open = async |count: usize| {
        for _ in 0..count {
            let mut client = site.connect().await;
            assert_eq!(client.ask(&get(HOST, "/public/x")).await.status, 200);
            clients.push(client);
        }
    };
    open(50).await;
    let before = site.gateway.resident_kib();
    open(200).await;
    let each = site.gateway.resident_kib().saturating_sub(before) / 200;
    println!("{each} KiB for each idle connection");
    assert!(each < 128, "{each} KiB");
}

/// A balancer's connection is everybody's: what is wrong with the requests of one must not end those of the others.
#[tokio::test]
async fn malformed_requests_of_a_trusted_proxy_do_not_end_its_connection() {
    let site = Site::changed(Upstream::echo().await, |gateway| gateway.set("server.trusted_proxies=[\"127.0.0.1/32\"]")).await;
    let mut client = site.connect().await;
    let malformed = [&get(HOST, "/public/x")[..], &[("x-a", " b")]].concat();
    for _ in 0..50 {
        assert_eq!(client.ask(&malformed).await.status, 400);
    }
    assert_eq!(client.ask(&get(HOST, "/public/next")).await.status, 200);
}
