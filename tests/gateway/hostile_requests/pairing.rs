//! Case 38: a response belongs to its request, whatever happened on the connections before.

use tokio::task::JoinSet;

use crate::support::client::RawClient;
use crate::support::gateway::Gateway;
use crate::support::upstream::{Answer, Step, Upstream};
use crate::support::wire::{End, Head};

const CLIENTS: usize = 8;
const REQUESTS_PER_CLIENT: usize = 1250;

/// Numbers that look random and are the same in every run (Knuth's MMIX generator).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Echoes the unique field of each request; some paths end badly.
fn respond(request: &Head) -> Answer {
    let unique = request.one("x-unique").unwrap_or("none").to_owned();
    let head = format!("HTTP/1.1 200 OK\r\nx-unique: {unique}\r\n");
    let early = format!("{head}content-length: {}\r\n\r\n{unique}", unique.len()).into_bytes();
    match request.word(1).split('/').nth(2) {
        Some("early") => Answer::early([Step::Send(early)]),
        Some("half") => {
            Answer::steps([Step::Send(format!("{head}content-length: 100\r\n\r\n{unique}").into_bytes()), Step::Close])
        }
        Some("reset") => Answer::steps([Step::Reset]),
        // More than was announced: the rest must not become the next response.
        Some("more") => Answer::steps([Step::Send(
            [early, b"HTTP/1.1 200 OK\r\nx-unique: stray\r\ncontent-length: 0\r\n\r\n".to_vec()].concat(),
        )]),
        Some("chunks") => {
            Answer::raw(format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{unique}\r\n0\r\n\r\n", unique.len()))
        }
        Some("none") => Answer::raw(format!("HTTP/1.1 304 Not Modified\r\nx-unique: {unique}\r\n\r\n")),
        _ => Answer::raw(early),
    }
}

/// A request, whether the connection is cut right after it, and whether it is fit to be answered with its own name.
fn request(dice: &mut Dice, unique: &str) -> (String, bool, bool) {
    let plain = |method: &str, path: &str, rest: &str| {
        format!("{method} /public/{path} HTTP/1.1\r\nhost: a\r\nx-unique: {unique}\r\n{rest}")
    };
    match dice.roll(16) {
        0 => (plain("POST", "ok", "content-length: 10\r\n\r\n0123456789"), false, true),
        1 => (plain("POST", "ok", "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), false, true),
        2 => (plain("GET", "chunks", "\r\n"), false, true),
        3 => (plain("HEAD", "ok", "\r\n"), false, true),
        4 => (plain("GET", "more", "\r\n"), false, true),
        5 => (plain("GET", "half", "\r\n"), false, false),
        6 => (plain("POST", "reset", "content-length: 1\r\n\r\nx"), false, false),
        7 => (plain("POST", "early", "content-length: 10\r\n\r\n0123456789"), false, false),
        // The client goes away in the middle of a body, or without waiting for the answer.
        8 => (plain("POST", "ok", "content-length: 1000\r\n\r\nhalf"), true, false),
        9 => (plain("GET", "ok", "\r\n"), true, false),
        10 => (plain("POST", "ok", "transfer-encoding: chunked\r\n\r\nzz\r\n"), false, false),
        11 => (plain("POST", "ok", "content-length: 5, 5\r\n\r\n01234"), false, false),
        12 => (plain("GET", "none", "\r\n"), false, true),
        13 => (plain("GET", "ok", "content-length: 4\r\n\r\nbody"), false, true),
        _ => (plain("GET", "ok", "\r\n"), false, true),
    }
}

/// One client on one connection after another; returns how many requests were answered as they should.
async fn play(gateway: std::net::SocketAddr, client: usize) -> usize {
    let mut dice = Dice(client as u64);
    let mut connection = RawClient::connect(gateway).await;
    let mut answered = 0;
    for number in 0..REQUESTS_PER_CLIENT {
        let unique = format!("{client}-{number}");
        let (request, cut, fit) = request(&mut dice, &unique);
        connection.send(&request).await;
        if cut {
            connection = RawClient::connect(gateway).await;
            continue;
        }
        let method = request.split(' ').next().unwrap_or("GET");
        let Some(answer) = connection.response_to(method).await else {
            assert!(!fit, "no answer to {request}");
            connection = RawClient::connect(gateway).await;
            continue;
        };
        let named = answer.head.one("x-unique");
        assert!(named.is_none_or(|name| name == unique), "{unique} was given the answer of {named:?}: {request}");
        if fit {
            assert_eq!(named, Some(unique.as_str()), "{} to {request}", answer.status);
            assert!(method == "HEAD" || answer.status == 304 || answer.body == unique.as_bytes(), "{request}: {}", answer.text());
            answered += 1;
        }
        let closes = answer.head.one("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if closes || answer.end == End::Cut || answer.status >= 400 {
            connection = RawClient::connect(gateway).await;
        }
    }
    answered
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_response_belongs_to_its_request() {
    let upstream = Upstream::answering(respond).await;
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(play(gateway.address, client));
    }
    let answered: usize = clients.join_all().await.into_iter().sum();
    assert!(answered > CLIENTS * REQUESTS_PER_CLIENT / 2, "only {answered} requests were answered");
    // Connections are used again, or nothing was tested.
    assert!(upstream.connections() < answered, "{} connections for {answered} answers", upstream.connections());
    let faults: Vec<_> =
        upstream.take_faults().into_iter().filter(|fault| !fault.starts_with("bytes that are no request")).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}
