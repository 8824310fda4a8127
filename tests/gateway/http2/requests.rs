//! Requests that are served, and what they look like to an upstream that speaks HTTP/1.1.

use serde_json::json;

use super::super::support::http2::{DATA, END_STREAM, frame, get};
use super::super::support::upstream::{Answer, Step, Upstream};
use super::{HOST, Site};

#[tokio::test]
async fn a_request_reaches_the_upstream_as_http_1_1() {
    let site = Site::start().await;
    let mut client = site.connect().await;
    let answer = client.ask(&[&get(HOST, "/public/x?y=%2F")[..], &[("x-unique", "7"), ("te", "trailers")]].concat()).await;
    assert_eq!((answer.status, answer.text().as_str(), answer.one("x-unique")), (200, "/public/x?y=%2F", Some("7")));
    for gone in ["connection", "keep-alive", "transfer-encoding", "server"] {
        assert_eq!(answer.one(gone), None, "{gone}");
    }
    assert!(answer.one("strict-transport-security").is_some() && answer.one("date").is_some());
    let request = site.upstream.requests("/public/x").remove(0);
    assert_eq!(request.head.start_line, "GET /public/x?y=%2F HTTP/1.1");
    assert_eq!(request.head.all("host"), [HOST]);
    assert_eq!(request.head.one("x-forwarded-proto"), Some("https"));
    assert_eq!(request.head.one("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!((request.head.one("te"), request.head.one("transfer-encoding")), (None, None));
    assert!(site.upstream.take_faults().is_empty());
}

#[tokio::test]
async fn bodies_of_known_and_of_unknown_length_arrive_whole() {
    let site = Site::start().await;
    let mut client = site.connect().await;
    let post = |path| [&[(":method", "POST")], &get(HOST, path)[1..]].concat();
    let known = [&post("/public/known")[..], &[("content-length", "10")]].concat();
    assert_eq!(client.ask_with(&known, b"0123456789").await.status, 200);
    let stream = client.begin(&post("/public/unknown"), false).await;
    for _ in 0..6 {
        client.send(frame(DATA, 0, stream, &[b'x'; 10_000])).await;
    }
    client.send(frame(DATA, END_STREAM, stream, b"")).await;
    assert_eq!(client.answer(stream).await.status, 200);
    let known = site.upstream.requests("/public/known").remove(0);
    assert_eq!((known.body, known.head.one("content-length")), (b"0123456789".to_vec(), Some("10")));
    let unknown = site.upstream.requests("/public/unknown").remove(0);
    assert_eq!((unknown.body.len(), unknown.head.one("transfer-encoding")), (60_000, Some("chunked")));
}

#[tokio::test]
async fn the_api_and_refusals_answer_as_over_http_1_1() {
    let site = Site::start().await;
    let mut client = site.connect().await;
    let post = [&[(":method", "POST")], &get(HOST, "/auth/register")[1..], &[("content-type", "application/json")]].concat();
    let account = json!({"username": "ada", "password": "correct horse battery staple"}).to_string();
    assert_eq!(client.ask_with(&post, account.as_bytes()).await.status, 201);
    let post = [&[(":method", "POST")], &get(HOST, "/auth/login")[1..], &[("content-type", "application/json")]].concat();
    let tokens: serde_json::Value =
        serde_json::from_slice(&client.ask_with(&post, account.as_bytes()).await.body).expect("tokens");
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().expect("a token"));
    let asked = [&get(HOST, "/api/x")[..], &[("authorization", bearer.as_str())]].concat();
    assert_eq!(client.ask(&asked).await.verdict(), (200, String::new()));
    assert!(site.upstream.requests("/api/x").remove(0).head.one("x-auth-subject").is_some());
    let refused = client.ask(&get(HOST, "/api/x")).await;
    assert_eq!(refused.verdict(), (401, "missing_token".to_owned()));
    assert_eq!(refused.one("www-authenticate"), Some("Bearer realm=\"portcullis\""));
    assert_eq!(client.ask(&get(HOST, "/elsewhere")).await.verdict(), (404, "not_found".to_owned()));
    let head = [&[(":method", "HEAD")], &get(HOST, "/public/x")[1..]].concat();
    assert_eq!(client.ask(&head).await.verdict(), (200, String::new()));
}

#[tokio::test]
async fn a_response_arrives_whole_or_is_reset() {
    let long = "x".repeat(50_000);
    let whole = format!("HTTP/1.1 200 OK\r\ncontent-length: 50000\r\n\r\n{long}");
    let half = format!("HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n{long}");
    let upstream = Upstream::answering(move |head| match head.word(1) {
        "/public/whole" => Answer::raw(&whole),
        _ => Answer::steps([Step::Send(half.clone().into_bytes()), Step::Close]),
    })
    .await;
    let site = Site::changed(upstream, |gateway| gateway).await;
    let mut client = site.connect().await;
    let answer = client.ask(&get(HOST, "/public/whole")).await;
    assert_eq!((answer.body.len(), answer.ended), (50_000, true));
    let mut client = site.connect().await;
    let answer = client.ask(&get(HOST, "/public/half")).await;
    assert_eq!((answer.status, answer.ended), (200, false));
    assert!(answer.reset.is_some());
}

/// What HTTP/1.1 says in interim responses, and responses that have no body.
#[tokio::test]
async fn responses_of_all_kinds_pass() {
    let upstream = Upstream::answering(|head| match head.word(1) {
        "/public/hint" => {
            Answer::raw("HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        }
        "/public/none" => Answer::raw("HTTP/1.1 204 No Content\r\n\r\n"),
        "/public/same" => Answer::raw("HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\n\r\n"),
        "/public/chunks" => Answer::raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
        "/public/empty" => Answer::raw("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        _ => Answer::raw("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"),
    })
    .await;
    let site = Site::changed(upstream, |gateway| gateway).await;
    let mut client = site.connect().await;
    for (path, status, body) in [
        ("/public/hint", 200, "ok"),
        ("/public/none", 204, ""),
        ("/public/same", 304, ""),
        ("/public/chunks", 200, "abcde"),
        ("/public/empty", 200, ""),
    ] {
        let answer = client.ask(&get(HOST, path)).await;
        assert_eq!((answer.status, answer.text().as_str(), answer.ended, answer.reset), (status, body, true, None), "{path}");
        assert_eq!((answer.one("transfer-encoding"), answer.one("connection")), (None, None), "{path}");
        assert!(path != "/public/hint" || answer.interim == [103], "{:?}", answer.interim);
    }
    assert_eq!(client.ask(&get(HOST, "/public/switch")).await.verdict(), (502, "upstream_invalid".to_owned()));
}

/// Nobody waits for another's answer.
#[tokio::test]
async fn requests_on_one_connection_are_answered_as_they_are_done() {
    let (upstream, finish) = Upstream::slow().await;
    let site = Site::changed(upstream, |gateway| gateway).await;
    let mut client = site.connect().await;
    let slow = client.begin(&get(HOST, "/public/slow"), true).await;
    for at in 0..50 {
        let path = format!("/public/{at}");
        let answer = client.ask(&[&get(HOST, &path)[..], &[("x-unique", path.as_str())]].concat()).await;
        assert_eq!((answer.text(), answer.one("x-unique")), (path.clone(), Some(path.as_str())));
    }
    assert_eq!(client.so_far(slow).status, 0);
    finish.notify_one();
    assert_eq!(client.answer(slow).await.text(), "slow");
}
