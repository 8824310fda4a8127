//! What requests and answers look like on their way over HTTP/2.

use http::HeaderMap;

use super::in_front_of;
use crate::support::h2_upstream::{Call, H2Upstream, Seen};
use crate::support::wire::End;

fn all<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers.get_all(name).iter().map(|value| value.to_str().expect("ASCII")).collect()
}

async fn only(upstream: &H2Upstream) -> Seen {
    let mut seen = upstream.take();
    assert_eq!(seen.len(), 1);
    seen.remove(0)
}

#[tokio::test]
async fn a_request_arrives_with_its_host_as_authority_and_its_identity_and_nothing_of_its_connection() {
    let upstream = H2Upstream::well().await;
    let gateway = in_front_of(&upstream, "").start().await;
    let ada = gateway.registered("ada").await;
    let request = format!(
        "POST /api/a%20b?q=1 HTTP/1.1\r\nHost: App.Example\r\nAuthorization: Bearer {}\r\nContent-Length: 2\r\n\
         Connection: X-Nominated, X-Auth-Subject, keep-alive, TE\r\nX-Nominated: 1\r\nKeep-Alive: 1\r\nTE: trailers\r\n\
         X-Auth-Subject: mallory\r\nX_Auth_Roles: admin\r\nX-Auth.Session: 1\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\n\
         Proxy-Connection: 1\r\nTrailer: X-Auth-Subject\r\nX-Kept: yes\r\n\r\nhi",
        ada.access_token
    );
    let response = gateway.connect().await.ask(request).await;
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    let Seen { head, body, trailers } = only(&upstream).await;
    assert_eq!((head.method.as_str(), head.uri.to_string().as_str()), ("POST", "http://app.example/api/a%20b?q=1"));
    assert_eq!((body, trailers), (b"hi".to_vec(), None));
    for name in [
        "host",
        "connection",
        "x-nominated",
        "keep-alive",
        "te",
        "upgrade",
        "http2-settings",
        "proxy-connection",
        "trailer",
        "transfer-encoding",
        "authorization",
        "x_auth_roles",
        "x-auth.session",
    ] {
        assert_eq!(all(&head.headers, name), [""; 0], "{name}");
    }
    assert_eq!(all(&head.headers, "x-kept"), ["yes"]);
    assert_eq!(all(&head.headers, "content-length"), ["2"]);
    assert_eq!(all(&head.headers, "x-auth-username"), ["ada"]);
    assert_eq!(all(&head.headers, "x-auth-subject"), [ada.claim("sub").await]);
    assert_eq!(all(&head.headers, "x-forwarded-host"), ["app.example"]);
}

#[tokio::test]
async fn a_rewritten_host_is_the_authority() {
    let upstream = H2Upstream::well().await;
    let route = "path = \"/one\"\naccess = \"public\"\nrewrite = { path = \"/index.html\", host = \"inner.example:8443\" }";
    let gateway = in_front_of(&upstream, "").route(route).start().await;
    gateway.connect().await.ask("GET /one HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let head = only(&upstream).await.head;
    assert_eq!(head.uri.to_string(), "http://inner.example:8443/index.html");
    assert_eq!((all(&head.headers, "host"), all(&head.headers, "x-forwarded-host")), (vec![], vec!["a"]));
}

/// HTTP/2 frames bodies by itself: neither a length nor a transfer coding is needed.
#[tokio::test]
async fn a_body_of_unknown_length_arrives_and_trailers_of_the_request_do_not() {
    let upstream = H2Upstream::well().await;
    let gateway = in_front_of(&upstream, "").start().await;
    let mut client = gateway.connect().await;
    client.send("POST /public/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n").await;
    client.send("0\r\nX-Auth-Subject: mallory\r\nX-Other: 1\r\n\r\n").await;
    assert_eq!(client.response().await.expect("an answer").status, 200);
    let Seen { head, body, trailers } = only(&upstream).await;
    assert_eq!((body, trailers), (b"abc".to_vec(), None));
    assert_eq!(all(&head.headers, "transfer-encoding"), [""; 0]);
}

/// The interim answer of the server would be lost between the two protocols.
#[tokio::test]
async fn a_client_that_waits_for_100_is_told_to_go_on_by_the_gateway() {
    let upstream = H2Upstream::well().await;
    let gateway = in_front_of(&upstream, "").start().await;
    let mut client = gateway.connect().await;
    client.send("PUT /public/x HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n").await;
    assert_eq!(client.head().await.expect("an interim answer").word(1), "100");
    client.send("hi").await;
    assert_eq!(client.response().await.expect("an answer").status, 200);
    let seen = only(&upstream).await;
    assert_eq!((seen.body, all(&seen.head.headers, "expect")), (b"hi".to_vec(), vec![]));
    // Where it may not pass, it is told so at once.
    let mut client = gateway.connect().await;
    client.send("PUT /api/x HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n").await;
    assert_eq!(client.response().await.expect("an answer").status, 401);
}

#[tokio::test]
async fn an_answer_comes_with_its_fields_its_body_and_the_end_that_it_had() {
    let upstream = H2Upstream::serving(async |mut call: Call| {
        let fields = [("content-type", "text/plain"), ("set-cookie", "a=1"), ("set-cookie", "b=2"), ("server", "secret/1.0")];
        match call.head.uri.path() {
            "/public/trailers" => {
                let mut stream = call.begin(&fields);
                stream.send_data("half".into(), false).expect("open");
                let mut trailers = HeaderMap::new();
                trailers.insert("x-checksum", "1".parse().expect("a value"));
                trailers.insert("set-cookie", "c=3".parse().expect("a value"));
                stream.send_trailers(trailers).expect("open");
            }
            "/public/empty" => call.answer_head(204, &fields),
            _ => call.answer_head(304, &[("etag", "\"1\"")]),
        }
    })
    .await;
    let gateway = in_front_of(&upstream, "").start().await;
    let mut client = gateway.connect().await;
    let response = client.ask("GET /public/trailers HTTP/1.1\r\nhost: a\r\n\r\n").await;
    // HTTP/1.1 gets no trailers.
    assert_eq!((response.text().as_str(), response.end), ("half", End::Complete));
    assert_eq!(response.head.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!((response.head.one("transfer-encoding"), response.head.one("server")), (Some("chunked"), None));
    let response = client.ask("GET /public/empty HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((response.status, response.head.one("transfer-encoding")), (204, None));
    let response = client.ask("GET /public/unchanged HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((response.status, response.head.one("etag")), (304, Some("\"1\"")));
    let response = client.ask("HEAD /public/trailers HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((response.status, response.body.len()), (200, 0));
}
