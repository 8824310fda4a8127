//! D: how much of anything a client may send (100), each limit at its last allowed value and one beyond it.

use super::table::Stage;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

const TARGET_BYTES_MAX: usize = 8 * 1024;
const HEADER_BYTES_MAX: usize = 32 * 1024;
const HEADER_COUNT_MAX: usize = 100;
const BODY_BYTES_MAX: usize = 64 * 1024;
const AUTH_BODY_BYTES_MAX: usize = 64 * 1024;

/// A request with a target of so many bytes.
fn target(bytes: usize) -> String {
    format!("GET /public/{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(bytes - "/public/".len()))
}

/// A request with so many fields.
fn fields(count: usize) -> String {
    let others: String = (1..count).map(|n| format!("x-{n}: y\r\n")).collect();
    format!("GET /public/fields HTTP/1.1\r\nhost: a\r\n{others}\r\n")
}

/// A request whose header section, with `: ` and line ends, has so many bytes.
fn header_section(bytes: usize) -> String {
    let others = "host: a\r\nx-long: \r\n".len();
    format!("GET /public/section HTTP/1.1\r\nhost: a\r\nx-long: {}\r\n\r\n", "a".repeat(bytes - others))
}

/// A request with a body of so many bytes.
fn body(bytes: usize) -> String {
    format!("POST /small HTTP/1.1\r\nhost: a\r\ncontent-length: {bytes}\r\n\r\n{}", "a".repeat(bytes))
}

/// The same, of a size that is not announced.
fn chunked_body(bytes: usize) -> String {
    let chunk = 4 * 1024;
    let chunks = format!("{chunk:x}\r\n{}\r\n", "a".repeat(chunk)).repeat(bytes / chunk);
    let rest = bytes % chunk;
    let last = if rest > 0 { format!("{rest:x}\r\n{}\r\n", "a".repeat(rest)) } else { String::new() };
    format!("POST /small HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunks}{last}0\r\n\r\n")
}

/// A login with a body of so many bytes.
fn login(bytes: usize) -> String {
    let frame = r#"{"username":"ada","password":""}"#.len();
    let body = format!(r#"{{"username":"ada","password":"{}"}}"#, "a".repeat(bytes - frame));
    format!("POST /auth/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {bytes}\r\n\r\n{body}")
}

async fn small_stage() -> Stage {
    let upstream = Upstream::echo().await;
    let gateway =
        Gateway::in_front_of(&upstream).route("path = \"/small\"\naccess = \"public\"\nbody_max = \"64KiB\"").start().await;
    Stage::with(upstream, gateway).await
}

/// Case 100.
#[tokio::test]
async fn each_limit_holds_from_one_beyond_it() {
    let stage = small_stage().await;
    for (what, request, status, code) in [
        ("the longest target", target(TARGET_BYTES_MAX), 200, ""),
        ("one byte more", target(TARGET_BYTES_MAX + 1), 414, "target_too_long"),
        ("a target of 70 KiB", target(70 * 1024), 414, "target_too_long"),
        ("the most fields", fields(HEADER_COUNT_MAX), 200, ""),
        ("one field more", fields(HEADER_COUNT_MAX + 1), 431, "headers_too_large"),
        ("300 fields", fields(300), 431, "headers_too_large"),
        ("the largest header section", header_section(HEADER_BYTES_MAX), 200, ""),
        ("one byte more", header_section(HEADER_BYTES_MAX + 1), 431, "headers_too_large"),
        ("a header section of 900 KiB", header_section(900 * 1024), 431, "headers_too_large"),
        ("the largest body", body(BODY_BYTES_MAX), 200, ""),
        ("one byte more", body(BODY_BYTES_MAX + 1), 413, "body_too_large"),
        ("the largest body in chunks", chunked_body(BODY_BYTES_MAX), 200, ""),
        ("one byte more", chunked_body(BODY_BYTES_MAX + 1), 413, "body_too_large"),
        ("the largest login", login(AUTH_BODY_BYTES_MAX), 400, "invalid"),
        ("one byte more", login(AUTH_BODY_BYTES_MAX + 1), 413, "body_too_large"),
    ] {
        let mut client = stage.gateway.connect().await;
        let answer = client.ask(request).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{what}");
        if answer.status >= 413 {
            assert_eq!(client.rest().await, b"", "{what}: the connection serves another request");
        }
    }
}

#[tokio::test]
async fn a_body_that_announces_itself_as_too_large_is_never_begun() {
    let stage = small_stage().await;
    let mut client = stage.gateway.connect().await;
    let answer = client.ask("POST /small HTTP/1.1\r\nhost: a\r\ncontent-length: 65537\r\n\r\n").await;
    assert_eq!((answer.status, stage.upstream.bytes()), (413, 0));
}

#[tokio::test]
async fn a_body_that_turns_out_too_large_never_becomes_a_request() {
    let stage = small_stage().await;
    let answer = stage.gateway.connect().await.ask(chunked_body(BODY_BYTES_MAX + 1)).await;
    assert_eq!(answer.status, 413);
    assert_eq!(stage.upstream.requests("/small").len(), 0);
    // And the connection on which it began is not used again.
    let next = stage.gateway.connect().await.ask("GET /public/next HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((next.status, next.text()), (200, "/public/next".to_owned()));
}

/// P21: what is refused before it is a request is counted and logged like everything else.
#[tokio::test]
async fn a_head_that_is_refused_before_it_is_parsed_leaves_a_line_and_a_count() {
    let stage = small_stage().await;
    assert_eq!(stage.gateway.connect().await.ask(target(70 * 1024)).await.status, 414);
    let logged = async || stage.gateway.output().contains("target_too_long").then_some(());
    crate::support::eventually("a line in the access log", logged).await;
    let (status, metrics) = stage.gateway.admin("/metrics").await.expect("the admin listener listens");
    assert_eq!(status, 200);
    assert!(metrics.lines().any(|line| line.contains("target_too_long") && line.ends_with(" 1")), "{metrics}");
}
