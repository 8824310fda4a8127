//! The listener that sends clients from clear text to TLS.

use super::super::support::client::RawClient;
use super::{get, last, site};

const REDIRECT: &str = "protocol = \"redirect\"";

#[tokio::test]
async fn every_request_for_a_host_of_ours_is_sent_to_tls_as_it_is() {
    let (_authority, upstream, builder) = site().await;
    let gateway = builder.listener(REDIRECT).start().await;
    for (method, target, expected) in [
        ("GET", "/public/x?y=%2F&z=a+b", "https://a.example/public/x?y=%2F&z=a+b"),
        ("HEAD", "/", "https://a.example/"),
        ("DELETE", "/api/1", "https://a.example/api/1"),
        ("GET", "/auth/me", "https://a.example/auth/me"),
        ("GET", "http://A.EXAMPLE/public", "https://a.example/public"),
        ("OPTIONS", "/.well-known/acme-challeng", "https://a.example/.well-known/acme-challeng"),
    ] {
        let mut client = RawClient::connect(last(&gateway)).await;
        client.send(format!("{method} {target} HTTP/1.1\r\nHost: A.EXAMPLE\r\n\r\n")).await;
        let answer = client.response_to(method).await.expect("an answer");
        // 308: the method stays (RFC 9110 §15.4.9).
        assert_eq!((answer.status, answer.head.one("location")), (308, Some(expected)), "{method} {target}");
        assert_eq!(answer.head.one("strict-transport-security"), None, "RFC 6797 §7.2");
    }
    let mut client = RawClient::connect(last(&gateway)).await;
    let answer = client.ask("POST /auth/login HTTP/1.1\r\nHost: a.example:80\r\nContent-Length: 99\r\n\r\n{\"pass").await;
    assert_eq!((answer.status, answer.head.one("location")), (308, Some("https://a.example/auth/login")));
    assert!(client.rest().await.is_empty(), "the rest of the body is not taken for a request");
    assert_eq!(upstream.bytes(), 0);
}

#[tokio::test]
async fn nobody_is_sent_to_somebody_else() {
    let (_authority, upstream, builder) = site().await;
    let gateway = builder.listener(REDIRECT).set("server.tls.https_port=8443").start().await;
    let ask = async |request: String| RawClient::connect(last(&gateway)).await.ask(request).await;
    assert_eq!(ask(get("a.example:8080", "/x")).await.head.one("location"), Some("https://a.example:8443/x"));
    for host in ["evil.example", "b.a.example", "a.example.evil.example", "127.0.0.1"] {
        let answer = ask(get(host, "/x")).await;
        assert_eq!((answer.status, answer.head.one("location")), (421, None), "{host}");
    }
    for (host, target) in [
        ("a.example@evil.example", "/x"),
        ("a.example/evil", "/x"),
        ("a.example", "//evil.example/x"),
        ("a.example", "/\\evil.example"),
        ("a.example", "http://evil.example/x"),
        ("a.example", "/%0d%0aset-cookie:%20a=b"),
        ("a.example, evil.example", "/x"),
    ] {
        let answer = ask(get(host, target)).await;
        let location = answer.head.one("location").unwrap_or("https://a.example:8443/");
        assert!(location.starts_with("https://a.example:8443/"), "{host} {target}: {location}");
        assert!(!location.starts_with("https://a.example:8443//") && answer.head.one("set-cookie").is_none(), "{host} {target}");
    }
    assert_eq!(upstream.bytes(), 0);
}

#[tokio::test]
async fn what_certificate_authorities_ask_for_goes_where_the_routes_say() {
    const PATH: &str = "/.well-known/acme-challenge/token";
    let (_authority, upstream, builder) = site().await;
    let builder = builder.route("path = \"/.well-known/acme-challenge\"\naccess = \"public\"");
    let gateway = builder.listener(REDIRECT).start().await;
    // A host that has no certificate yet, too.
    for host in ["a.example", "new.example"] {
        let answer = RawClient::connect(last(&gateway)).await.ask(get(host, PATH)).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, PATH), "{host}");
    }
    assert_eq!(upstream.take_requests().len(), 2);
    let walked = RawClient::connect(last(&gateway)).await.ask(get("a.example", "/.well-known/acme-challenge/../../public")).await;
    assert_ne!(walked.status, 200);
    assert_eq!(upstream.take_requests().len(), 0);
}
