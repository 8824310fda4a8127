//! What operators see: liveness, readiness and metrics, with the words that clients and the access log have, too (P21).

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Notify;

use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::upstream::{Answer, Step, Upstream, nobody};

/// The value of one time series; none if there is no such line.
async fn metric(gateway: &Gateway, series: &str) -> Option<f64> {
    let (status, text) = gateway.admin("/metrics").await.expect("it listens");
    assert_eq!(status, 200, "{text}");
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

/// Waits for a value: a request is counted after its answer has been sent.
async fn counts(gateway: &Gateway, series: &str, expected: f64) {
    let mut last = None;
    eventually(series, async || {
        last = metric(gateway, series).await;
        (last == Some(expected)).then_some(())
    })
    .await;
}

/// The line of the access log about the request for this path.
async fn logged(gateway: &Gateway, path: &str) -> Value {
    eventually("a line in the access log", async || {
        let lines = gateway.output();
        let mut lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["path"] == path)
    })
    .await
}

#[tokio::test]
async fn the_admin_listener_serves_what_it_is_for_and_nothing_else() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream).start().await;
    assert_eq!(gateway.admin("/livez").await, Some((200, "alive\n".to_owned())));
    let (status, ready) = gateway.admin("/readyz").await.expect("it listens");
    let ready: Value = serde_json::from_str(&ready).expect("it is JSON");
    assert_eq!((status, &ready["ready"], &ready["missing"]), (200, &Value::Bool(true), &Value::Array(Vec::new())));
    for path in ["/", "/public", "/auth/login", "/api"] {
        assert_eq!(gateway.admin(path).await.expect("it listens").0, 404, "{path}");
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        let answer = gateway.connect().await.ask(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        assert_eq!(answer.status, 404, "{path} is not for clients");
    }
}

#[tokio::test]
async fn requests_are_counted_by_route_and_by_how_they_ended() {
    let upstream = Upstream::answering(|head| match head.word(1) {
        "/orders/broken" => Answer::raw("no HTTP\r\n\r\n"),
        _ => Answer::echo(head),
    })
    .await;
    let gateway = Gateway::in_front_of(&upstream).route("path = \"/orders\"\nname = \"orders\"").start().await;
    let ada = gateway.registered("ada").await;
    for _ in 0..3 {
        assert_eq!(ada.get("/orders/1").await.0, 200);
    }
    assert_eq!(ada.get("/orders/broken").await.0, 502);
    assert_eq!(gateway.anonymous().get("/orders/2").await.0, 401);
    assert_eq!(gateway.anonymous().get("/nowhere").await.0, 404);
    counts(&gateway, r#"portcullis_requests_total{outcome="forwarded",route="orders"}"#, 3.0).await;
    counts(&gateway, r#"portcullis_requests_total{outcome="failed",route="orders"}"#, 1.0).await;
    counts(&gateway, r#"portcullis_requests_total{outcome="denied",route="-"}"#, 2.0).await;
    // Registered and signed in.
    counts(&gateway, r#"portcullis_requests_total{outcome="answered",route="-"}"#, 2.0).await;
    counts(&gateway, "portcullis_request_duration_seconds_count", 8.0).await;
    counts(&gateway, r#"portcullis_upstream_duration_seconds_count{upstream="app"}"#, 3.0).await;
    let (_, text) = gateway.admin("/metrics").await.expect("it listens");
    assert!(!text.contains("nowhere"), "a label that clients choose");
}

/// One word in the answer, in the log and in the metric.
#[tokio::test]
async fn a_refusal_has_the_same_word_everywhere() {
    let upstream = Upstream::answering(|head| match head.word(1) {
        "/public/broken" => Answer::raw("no HTTP\r\n\r\n"),
        _ => Answer::echo(head),
    })
    .await;
    let gateway = Gateway::in_front_of(&upstream)
        .table(&format!("[upstreams.gone]\nservers = [\"http://{}\"]", nobody().await))
        .table("[[routes]]\npath = \"/gone\"\nupstream = \"gone\"\naccess = \"public\"")
        .route("path = \"/read\"\naccess = \"public\"\nmethods = [\"GET\"]")
        .route("path = \"/small\"\naccess = \"public\"\nbody_max = \"1B\"")
        .route("path = \"/admin\"\nrequire = { roles = [\"admin\"] }")
        .start()
        .await;
    let (leaving, ada) = (gateway.registered("joan").await, gateway.registered("ada").await);
    leaving.log_out().await;
    let with = |token: &str| format!("authorization: Bearer {token}\r\n");
    for (method, path, fields, word) in [
        ("GET", "/api/missing", String::new(), "missing_token"),
        ("GET", "/api/bad", with("x"), "bad_token"),
        ("GET", "/api/revoked", with(&leaving.access_token), "revoked_token"),
        ("GET", "/admin", with(&ada.access_token), "forbidden"),
        ("GET", "/nowhere", String::new(), "not_found"),
        ("DELETE", "/read", String::new(), "method_not_allowed"),
        ("POST", "/small", "content-length: 2\r\n".to_owned(), "body_too_large"),
        ("GET", "/public/expecting", "expect: more\r\n".to_owned(), "expectation_failed"),
        ("GET", "/gone", String::new(), "upstream_unreachable"),
        ("GET", "/public/broken", String::new(), "upstream_invalid"),
        ("GET", "/auth/me", String::new(), "missing_token"),
        ("GET", "/auth/verify", with(&leaving.access_token), "revoked_token"),
        ("POST", "/auth/refresh", "content-length: 0\r\n".to_owned(), "unsupported_media_type"),
    ] {
        let series = format!("portcullis_denials_total{{reason=\"{word}\"}}");
        let before = metric(&gateway, &series).await.expect("every reason is shown from the start");
        let answer = gateway.connect().await.ask(format!("{method} {path} HTTP/1.1\r\nhost: a\r\n{fields}\r\n")).await;
        assert_eq!(answer.code(), word, "{path}");
        let line = logged(&gateway, path).await;
        assert_eq!((&line["reason"], &line["status"]), (&word.into(), &answer.status.into()), "{line}");
        let problem: Value = serde_json::from_slice(&answer.body).expect("a problem document");
        assert!(problem["decision_id"].is_string() && problem["decision_id"] == line["decision_id"], "{problem} {line}");
        counts(&gateway, &series, before + 1.0).await;
    }
    assert_eq!(logged(&gateway, "/api/revoked").await["detail"], "session");
}

#[tokio::test]
async fn what_never_became_a_request_is_counted_too() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let answer = gateway.connect().await.ask("this is not HTTP\r\n\r\n").await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "malformed"));
    counts(&gateway, r#"portcullis_refused_before_routing_total{cause="parser"}"#, 1.0).await;
    counts(&gateway, r#"portcullis_denials_total{reason="malformed"}"#, 1.0).await;
    assert_eq!(logged(&gateway, "-").await["reason"], "malformed");
}

#[tokio::test]
async fn what_is_in_flight_and_open_is_shown_while_it_is() {
    let finish = Arc::new(Notify::new());
    let until = Arc::clone(&finish);
    let upstream = Upstream::answering(move |_| {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow".to_vec();
        Answer::steps([Step::Wait(Arc::clone(&until)), Step::Send(answer)])
    })
    .await;
    let gateway = Gateway::in_front_of(&upstream).start().await;
    counts(&gateway, "portcullis_requests_in_flight", 0.0).await;
    let mut client = gateway.connect().await;
    client.send("GET /public/slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    counts(&gateway, "portcullis_requests_in_flight", 1.0).await;
    counts(&gateway, "portcullis_connections_open", 1.0).await;
    finish.notify_one();
    assert_eq!(client.response().await.expect("an answer").status, 200);
    counts(&gateway, "portcullis_requests_in_flight", 0.0).await;
    drop(client);
    counts(&gateway, "portcullis_connections_open", 0.0).await;
}
