//! A: where one request ends and the next begins (1–36), and who decides that.

use super::table::Sees::{Body, Method, No, Target};
use super::table::{Row, Stage, broken_off, closed, forwarded, refused};
use crate::support::client::PASSWORD;

#[rustfmt::skip] // One request, one line.
const FRAMING_FIELDS: &[Row] = &[
    closed("1: content-length and chunked", 400, "malformed",
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    closed("1: chunked and content-length", 400, "malformed",
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    closed("2: both, with a request behind them", 400, "malformed",
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /public/smuggled-{tag} HTTP/1.1\r\nHost: a\r\n\r\n"),
    closed("3: gzip before chunked", 400, "malformed",
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    closed("4: chunked is not last", 400, "malformed",
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    closed("4: identity", 400, "malformed",
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
    closed("4: an unknown coding", 400, "malformed",
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    closed("4: a control character before chunked", 400, "malformed",
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    closed("4: chunked in quotes", 400, "malformed",
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    closed("4: chunked with a comma behind it", 400, "malformed",
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked,\r\n\r\n0\r\n\r\n"),
    closed("4: chunked twice in one field", 400, "malformed",
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    closed("4: an empty coding", 400, "malformed",
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n"),
    closed("5: chunked in two fields", 400, "malformed",
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    closed("6: identity in a field before chunked", 400, "malformed",
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    closed("7: a space before the colon", 400, "malformed",
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    closed("8: an underscore in transfer-encoding", 400, "malformed",
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer_Encoding: chunked\r\n\r\n0\r\n\r\n"),
    closed("8: a dot in transfer-encoding", 400, "malformed",
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer.Encoding: chunked\r\n\r\n0\r\n\r\n"),
    closed("8: an underscore in content-length", 400, "malformed",
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nContent_Length: 40\r\nContent-Length: 5\r\n\r\n12345"),
    closed("9: chunked in HTTP/1.0", 400, "malformed",
        b"POST /public/{tag} HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    closed("10: a list of lengths", 400, "malformed", b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nContent-Length: 2, 2\r\n\r\nab"),
    closed("11: the same length twice", 400, "malformed",
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab"),
    closed("12: two lengths", 400, "malformed",
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nab"),
    closed("12: a list of two lengths", 400, "malformed", b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 6\r\n\r\nab"),
    closed("13: a plus sign", 400, "malformed", b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\nab"),
    closed("13: hexadecimal", 400, "malformed", b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nContent-Length: 0x2\r\n\r\nab"),
    closed("13: a minus sign", 400, "malformed", b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nab"),
    closed("13: no length", 400, "malformed", b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nab"),
    closed("13: more than 64 bits", 400, "malformed",
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\nab"),
    closed("13: letters", 400, "malformed", b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nContent-Length: abc\r\n\r\nab"),
    closed("13: two numbers", 400, "malformed", b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nContent-Length: 2 2\r\n\r\nab"),
    closed("14: leading zeros", 400, "malformed", b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nContent-Length: 002\r\n\r\nab"),
];

#[rustfmt::skip] // One request, one line.
const CHUNKS: &[Row] = &[
    broken_off("15: a chunk size in C notation", 400, "malformed",
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nab\r\n0\r\n\r\n"),
    broken_off("15: a chunk size with a plus sign", 400, "malformed",
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+2\r\nab\r\n0\r\n\r\n"),
    broken_off("15: a chunk size of 17 digits", 400, "malformed",
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000002\r\nab\r\n0\r\n\r\n"),
    broken_off("15: the largest chunk size", 400, "malformed",
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nab\r\n0\r\n\r\n"),
    broken_off("16: a chunk size ended by a bare line feed", 400, "malformed",
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\nab\r\n0\r\n\r\n"),
    broken_off("16: a chunk extension ended by a bare line feed", 400, "malformed",
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x\nab\r\n0\r\n\r\n"),
    broken_off("17: chunk data longer than its size", 400, "malformed",
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabXX0\r\n\r\n"),
    forwarded("18: a space behind a chunk size", &[Body("ab")],
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2 \r\nab\r\n0\r\n\r\n"),
    forwarded("19: a short chunk extension is not forwarded", &[Body("ab")],
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nab\r\n0\r\n\r\n"),
    forwarded("20: identity in the trailer section", &[Body("ab"), No("x-auth-subject"), No("x-user-id")],
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Auth-Subject\r\n\r\n2\r\nab\r\n0\r\nX-Auth-Subject: admin\r\nX-User-Id: admin\r\n\r\n"),
    forwarded("20: a credential in the trailer section", &[Body("ab"), No("authorization")],
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nAuthorization: Bearer x\r\n\r\n"),
    forwarded("27: GET with a body", &[Method("GET"), Body("hello")],
        b"GET /public/{tag} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"),
    forwarded("27: HEAD with a body", &[Method("HEAD"), Body("hello")],
        b"HEAD /public/{tag} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"),
    forwarded("27: DELETE with chunks", &[Method("DELETE"), Body("hello")],
        b"DELETE /public/{tag} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    forwarded("27: POST without a body", &[Method("POST"), Body("")], b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\n\r\n"),
];

#[rustfmt::skip] // One request, one line.
const LINES: &[Row] = &[
    forwarded("28: bare line feeds", &[Target("/public/bare")], b"GET /public/bare HTTP/1.1\nHost: a\nX-Tag: {tag}\n\n"),
    closed("29: a bare carriage return in a value", 400, "malformed", b"GET /public/{tag} HTTP/1.1\r\nHost: a\r\nX-A: b\rX-C: d\r\n\r\n"),
    closed("29: NUL in a value", 400, "malformed", b"GET /public/{tag} HTTP/1.1\r\nHost: a\r\nX-A: b\0c\r\n\r\n"),
    closed("29: NUL in a name", 400, "malformed", b"GET /public/{tag} HTTP/1.1\r\nHost: a\r\nX\0A: b\r\n\r\n"),
    closed("29: 0x01 in a value", 400, "malformed", b"GET /public/{tag} HTTP/1.1\r\nHost: a\r\nX-A: b\x01c\r\n\r\n"),
    closed("29: 0x7f in a value", 400, "malformed", b"GET /public/{tag} HTTP/1.1\r\nHost: a\r\nX-A: b\x7fc\r\n\r\n"),
    closed("30: a folded field", 400, "malformed", b"GET /public/{tag} HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n"),
    closed("30: a folded credential", 400, "malformed",
        b"GET /api/{tag} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer\r\n {token}\r\n\r\n"),
    closed("31: white space before the first field", 400, "malformed", b"GET /public/{tag} HTTP/1.1\r\n Host: a\r\n\r\n"),
    closed("32: a space before the colon", 400, "malformed",
        b"GET /public/{tag} HTTP/1.1\r\nHost: a\r\nX-Auth-Subject : admin\r\n\r\n"),
    closed("32: a tab before the colon", 400, "malformed", b"GET /public/{tag} HTTP/1.1\r\nHost: a\r\nX-Auth-Subject\t: admin\r\n\r\n"),
    closed("33: no field name", 400, "malformed", b"GET /public/{tag} HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
    closed("33: no colon", 400, "malformed", b"GET /public/{tag} HTTP/1.1\r\nHost: a\r\nX-A\r\n\r\n"),
    closed("33: a space inside a field name", 400, "malformed", b"GET /public/{tag} HTTP/1.1\r\nHost: a\r\nX A: b\r\n\r\n"),
    closed("34: a space in the target", 400, "malformed", b"GET /public/{tag} x HTTP/1.1\r\nHost: a\r\n\r\n"),
    closed("34: a tab in the target", 400, "malformed", b"GET /public/{tag}\tx HTTP/1.1\r\nHost: a\r\n\r\n"),
    closed("34: NUL in the target", 400, "malformed", b"GET /public/{tag}\0x HTTP/1.1\r\nHost: a\r\n\r\n"),
    closed("34: DEL in the target", 400, "malformed", b"GET /public/{tag}\x7fx HTTP/1.1\r\nHost: a\r\n\r\n"),
    closed("34: two spaces behind the method", 400, "malformed", b"GET  /public/{tag} HTTP/1.1\r\nHost: a\r\n\r\n"),
    closed("34: a tab behind the method", 400, "malformed", b"GET\t/public/{tag} HTTP/1.1\r\nHost: a\r\n\r\n"),
    closed("34: a space before the method", 400, "malformed", b" GET /public/{tag} HTTP/1.1\r\nHost: a\r\n\r\n"),
    closed("35: two versions", 400, "malformed", b"GET /public/{tag} HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n"),
    closed("35: HTTP/1.2", 400, "malformed", b"GET /public/{tag} HTTP/1.2\r\nHost: a\r\n\r\n"),
    closed("35: HTTP/2.0", 400, "malformed", b"GET /public/{tag} HTTP/2.0\r\nHost: a\r\n\r\n"),
    closed("35: the preface of HTTP/2", 400, "malformed", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{tag}"),
    closed("35: a lower-case protocol", 400, "malformed", b"GET /public/{tag} http/1.1\r\nHost: a\r\n\r\n"),
    closed("35: HTTP/0.9", 400, "malformed", b"GET /public/{tag}\r\n"),
    refused("36: HTTP/1.0 without host", 400, "malformed", b"GET /public/{tag} HTTP/1.0\r\n\r\n"),
    forwarded("36: HTTP/1.0 with host", &[Target("/public/old")], b"GET /public/old HTTP/1.0\r\nHost: a\r\nX-Tag: {tag}\r\n\r\n"),
    closed("99: the preamble of the PROXY protocol", 400, "malformed",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET /public/{tag} HTTP/1.1\r\nHost: a\r\n\r\n"),
    closed("99: the preamble of the PROXY protocol, version 2", 400, "malformed",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\0\x01\0\x02GET /public/{tag} HTTP/1.1\r\nHost: a\r\n\r\n"),
];

#[rustfmt::skip] // One request, one line.
const EXPECTATIONS: &[Row] = &[
    closed("22: a refused request whose body looks like a request", 401, "missing_token",
        b"POST /api/{tag} HTTP/1.1\r\nHost: a\r\nContent-Length: 52\r\n\r\nGET /public/smuggled-{tag} HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"),
    closed("23: an expectation on a denied route", 401, "missing_token",
        b"POST /api/{tag} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"),
    refused("24: an unknown expectation", 417, "expectation_failed", b"GET /public/{tag} HTTP/1.1\r\nHost: a\r\nExpect: foo\r\n\r\n"),
    closed("24: an unknown expectation beside the known one", 417, "expectation_failed",
        b"POST /public/{tag} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, foo\r\nContent-Length: 5\r\n\r\n"),
];

#[tokio::test]
async fn a_request_with_two_readings_of_its_length_is_refused() {
    Stage::new().await.play(FRAMING_FIELDS.iter().copied()).await;
}

#[tokio::test]
async fn a_body_is_framed_anew_or_broken_off() {
    Stage::new().await.play(CHUNKS.iter().copied()).await;
}

#[tokio::test]
async fn a_line_that_is_not_http_is_refused() {
    Stage::new().await.play(LINES.iter().copied()).await;
}

#[tokio::test]
async fn a_refusal_does_not_wait_for_the_body() {
    Stage::new().await.play(EXPECTATIONS.iter().copied()).await;
}

/// Case 19.
#[tokio::test]
async fn endless_chunk_extensions_are_refused_early() {
    let stage = Stage::new().await;
    let mut client = stage.gateway.connect().await;
    client.send("POST /public/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2;").await;
    client.send(vec![b'a'; 10_000_000]).await;
    let response = client.response().await;
    // The reset of a connection on which much was left unread may overtake the answer.
    assert!(response.is_none_or(|response| (response.status, response.code()) == (400, "malformed".to_owned())));
    assert!(stage.upstream.requests("/public/x").is_empty(), "a request without an end was taken for whole");
    assert!(stage.upstream.bytes() < 1_000_000, "extensions were forwarded");
}

/// Case 21.
#[tokio::test]
async fn a_body_without_an_end_never_becomes_a_request() {
    let stage = Stage::new().await;
    let mut client = stage.gateway.connect().await;
    client.send("POST /public/endless HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n").await;
    client.finish_sending().await;
    let answer = client.rest().await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400 "), "{}", answer.escape_ascii());
    // The connection to the upstream on which it began is not used for the next request.
    let next = stage.gateway.connect().await.ask("GET /public/next HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((next.status, next.text()), (200, "/public/next".to_owned()));
    assert!(stage.upstream.requests("endless").is_empty());
    assert_eq!(stage.upstream.requests("next").len(), 1);
}

/// Case 22: the answer comes before the body, which is sent only then.
#[tokio::test]
async fn a_body_that_comes_after_its_refusal_is_not_read_as_a_request() {
    let stage = Stage::new().await;
    let mut client = stage.gateway.connect().await;
    let smuggled = "GET /public/smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    let head = format!("POST /api/x HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", smuggled.len());
    assert_eq!(client.ask(head).await.status, 401);
    client.send(smuggled).await;
    assert_eq!(client.rest().await, b"", "the body was answered");
    assert!(!stage.upstream.saw("smuggled"));
}

/// Case 23.
#[tokio::test]
async fn a_login_that_expects_a_continue_gets_one() {
    let stage = Stage::new().await;
    let mut client = stage.gateway.connect().await;
    let body = format!(r#"{{"username":"ada","password":"{PASSWORD}"}}"#);
    let length = body.len();
    let head = "POST /auth/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\nexpect: 100-continue\r\n";
    client.send(format!("{head}content-length: {length}\r\n\r\n")).await;
    assert_eq!(client.head().await.expect("an interim response").word(1), "100");
    assert_eq!(client.ask(body).await.status, 200);
}

/// Case 25: a request that follows in the same breath is not answered, so it cannot be answered wrongly.
#[tokio::test]
async fn the_second_of_two_pipelined_requests_is_decided_on_its_own_or_not_at_all() {
    let stage = Stage::new().await;
    let mut client = stage.gateway.connect().await;
    let first = format!("GET /api/first HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", stage.token);
    let answer = client.ask(first + "GET /api/second HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((answer.status, answer.text()), (200, "/api/first".to_owned()));
    let second = client.response().await;
    assert!(second.as_ref().is_none_or(|answer| answer.status == 401), "{second:?}");
    assert!(!stage.upstream.saw("second"));
}

/// Case 26.
#[tokio::test]
async fn bytes_behind_a_request_without_a_body_are_not_executed_with_its_rights() {
    let stage = Stage::new().await;
    let mut client = stage.gateway.connect().await;
    let first = format!("POST /api/first HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", stage.token);
    let answer = client.ask(first + "GET /admin/second HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(answer.status, 200);
    let second = client.response().await;
    assert!(second.as_ref().is_none_or(|answer| answer.status == 401), "{second:?}");
    assert!(!stage.upstream.saw("second"));
}

/// Case 37, as far as a user can cause it.
#[tokio::test]
async fn a_name_with_a_line_break_cannot_be_registered() {
    let stage = Stage::new().await;
    let account = serde_json::json!({"username": "eve\r\nX-Auth-Roles: admin", "password": PASSWORD});
    let (status, problem) = stage.gateway.anonymous().post("/auth/register", &account).await;
    assert_eq!((status, problem["code"].as_str()), (400, Some("invalid")), "{problem}");
}
