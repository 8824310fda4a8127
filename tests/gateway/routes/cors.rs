//! Pages of other origins: preflights are answered by the gateway, and every other answer carries the route's own fields.

use super::{ask, bearer, site};
use crate::support::site::Site;

const PAGE: &str = "origin: https://app.example\r\n";

async fn with_cors() -> Site {
    site(|gateway| {
        gateway
            .route(
                "path = \"/data\"\nmethods = [\"GET\", \"PUT\"]\n\
                 cors = { origins = [\"https://app.example\"], credentials = true, expose = [\"ETag\"], max_age = \"1h\" }",
            )
            .route("path = \"/data\"\nmethods = [\"DELETE\"]")
            .route("path = \"/open\"\naccess = \"public\"\ncors = { origins = [\"*\"] }")
            .route("path = \"/match\"\nmatch = { headers = { X-A = \"1\" } }\ncors = { origins = [\"https://app.example\"] }")
    })
    .await
}

fn preflight(method: &str) -> String {
    format!("{PAGE}access-control-request-method: {method}\r\naccess-control-request-headers: authorization\r\n")
}

#[tokio::test]
async fn a_preflight_without_a_token_is_answered_and_never_reaches_the_upstream() {
    // Case 77.
    let site = with_cors().await;
    for (target, method) in [("/data", "GET"), ("/data/x?y", "PUT"), ("/match", "GET")] {
        let answer = ask(&site, "OPTIONS", target, &preflight(method)).await;
        assert_eq!((answer.status, answer.head.one("access-control-allow-methods")), (204, Some(method)), "{target}");
        assert_eq!(answer.head.one("access-control-allow-origin"), Some("https://app.example"));
        assert_eq!(answer.head.one("access-control-allow-headers"), Some("authorization, content-type"));
        assert_eq!(answer.head.one("vary"), Some("origin"));
        assert_eq!(answer.head.one("content-length"), None);
    }
    let credentials = ask(&site, "OPTIONS", "/data", &preflight("PUT")).await;
    assert_eq!(credentials.head.one("access-control-allow-credentials"), Some("true"));
    assert_eq!(credentials.head.one("access-control-max-age"), Some("3600"));
    let open = ask(&site, "OPTIONS", "/open", &preflight("POST")).await;
    assert_eq!((open.status, open.head.one("access-control-allow-origin")), (204, Some("*")));
    assert_eq!(open.head.one("access-control-allow-credentials"), None);
    assert_eq!(site.upstream.bytes(), 0);
}

#[tokio::test]
async fn a_preflight_that_is_not_for_these_rules_allows_nothing() {
    let site = with_cors().await;
    // Case 199.
    for origin in ["https://evil.example", "null", "https://app.example.evil", "https://app.example:444"] {
        let fields = preflight("GET").replace("https://app.example", origin);
        let answer = ask(&site, "OPTIONS", "/data", &fields).await;
        assert_eq!((answer.status, answer.head.one("access-control-allow-origin")), (204, None), "{origin}");
    }
    // A method that no route takes; one whose route has no rules of its own; what only looks like a preflight.
    let answer = ask(&site, "OPTIONS", "/data", &preflight("PATCH")).await;
    assert_eq!((answer.status, answer.head.one("access-control-allow-methods")), (204, None));
    assert_eq!(ask(&site, "OPTIONS", "/data", &preflight("DELETE")).await.status, 405);
    assert_eq!(ask(&site, "OPTIONS", "/data", PAGE).await.status, 405);
    assert_eq!(ask(&site, "OPTIONS", "/data", &format!("{}content-length: 1\r\n\r\nx", preflight("GET"))).await.status, 405);
    assert_eq!(ask(&site, "OPTIONS", "/api", &preflight("GET")).await.status, 401, "a route without rules");
    assert_eq!(site.upstream.bytes(), 0);
}

#[tokio::test]
async fn every_answer_carries_the_routes_fields_and_none_of_the_upstreams() {
    let upstream = |_: &crate::support::wire::Head| {
        crate::support::upstream::Answer::raw(
            "HTTP/1.1 200 OK\r\naccess-control-allow-origin: *\r\naccess-control-allow-credentials: true\r\n\
             access-control-expose-headers: x-secret\r\nvary: accept\r\ncontent-length: 0\r\n\r\n",
        )
    };
    let upstream = crate::support::upstream::Upstream::answering(upstream).await;
    let gateway = crate::support::gateway::Gateway::in_front_of(&upstream)
        .route("path = \"/data\"\ncors = { origins = [\"https://app.example\"], expose = [\"ETag\"] }")
        .start()
        .await;
    let token = gateway.registered("ada").await.access_token;
    for (origin, token, status, allowed) in [
        ("https://app.example", token.as_str(), 200, Some("https://app.example")),
        ("https://evil.example", token.as_str(), 200, None),
        // A page can read why it was refused.
        ("https://app.example", "", 401, Some("https://app.example")),
        ("https://evil.example", "", 401, None),
    ] {
        let credential = if token.is_empty() { String::new() } else { bearer(token) };
        let request = format!("GET /data HTTP/1.1\r\nhost: a\r\norigin: {origin}\r\n{credential}\r\n");
        let answer = gateway.connect().await.ask(request).await;
        assert_eq!((answer.status, answer.head.one("access-control-allow-origin")), (status, allowed), "{origin}");
        assert_eq!(answer.head.one("access-control-allow-credentials"), None);
        assert_eq!(answer.head.one("access-control-expose-headers"), allowed.map(|_| "etag"));
        assert!(answer.head.all("vary").contains(&"origin"), "{origin}");
    }
}
