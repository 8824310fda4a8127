//! What a client of gRPC is told instead of an answer.

use bytes::Bytes;
use futures_util::stream;
use h2::Reason;
use http::HeaderMap;
use tonic::{Code, Status};

use super::peers::{all, conversation};
use super::{Site, call};
use crate::support::eventually;
use crate::support::h2_upstream::{Call, H2Upstream};
use crate::support::upstream::nobody;

/// The word of a refusal, after its message was found to be one of ours.
pub(super) fn word(status: &Status) -> (Code, &str) {
    let (word, rest) = status.message().split_once(" (decision ").unwrap_or_else(|| panic!("{status:?}"));
    assert!(rest.len() == 33 && rest.ends_with(')'), "{status:?}");
    (status.code(), word)
}

#[tokio::test]
async fn a_caller_who_may_not_is_told_why_in_grpc() {
    let site = Site::start().await;
    let (anonymous, ada) = (site.client().await, site.gateway.registered("ada").await);
    let known = anonymous.bearing(&ada.access_token);
    for (client, path, expected) in [
        (&anonymous, "/test.Echo/Who", (Code::Unauthenticated, "missing_token")),
        (&anonymous.bearing("rubbish"), "/test.Echo/Who", (Code::Unauthenticated, "bad_token")),
        (&known, "/test.Admin/Who", (Code::PermissionDenied, "forbidden")),
        (&known, "/test.Nothing/Who", (Code::Unimplemented, "not_found")),
        (&known, "/test.Echo/..%2f/Who", (Code::Internal, "malformed")),
    ] {
        assert_eq!(word(&client.unary(path, "").await.expect_err("a refusal")), expected, "{path}");
        let streamed = client.streaming(path, stream::iter([Bytes::new()])).await;
        assert_eq!(word(&streamed.expect_err("a refusal")), expected, "{path}");
    }
    assert!(known.unary("/test.Echo/Who", "").await.is_ok());
    ada.log_out().await;
    assert_eq!(word(&known.unary("/test.Echo/Who", "").await.expect_err("a refusal")), (Code::Unauthenticated, "revoked_token"));
}

/// The log and the metrics have what it is in HTTP; the challenge is there, too.
#[tokio::test]
async fn a_refusal_is_one_head_and_is_counted_as_what_it_is() {
    let site = Site::start().await;
    let mut client = site.by_hand().await;
    for content_type in ["application/grpc", "application/grpc+proto", "application/grpc;x=y"] {
        let answer = client.ask(&call("/test.Echo/Who", content_type)).await;
        assert_eq!((answer.status, answer.body.len(), answer.trailers.len(), answer.ended), (200, 0, 0, true), "{content_type}");
        assert_eq!((answer.one("content-type"), answer.one("grpc-status")), (Some("application/grpc"), Some("16")));
        assert!(answer.one("www-authenticate").is_some() && answer.one("content-length").is_none());
        let message = answer.one("grpc-message").expect("a message");
        let id = message.strip_prefix("missing_token (decision ").expect("the word").trim_end_matches(')').to_owned();
        let logged = async || site.gateway.output().lines().find(|line| line.contains(&id)).map(str::to_owned);
        let line = eventually("a line of the access log", logged).await;
        assert!(line.contains("401") && line.contains("missing_token"), "{line}");
    }
    // A browser's gRPC-Web and everything else gets HTTP's own answer.
    for content_type in ["application/grpc-web+proto", "application/json"] {
        let answer = client.ask(&call("/test.Echo/Who", content_type)).await;
        assert_eq!(answer.verdict(), (401, "missing_token".to_owned()), "{content_type}");
    }
    let denied = site.gateway.metric("portcullis_denials_total{reason=\"missing_token\"}").await;
    assert_eq!(denied, Some(5.0));
}

#[tokio::test]
async fn what_fails_behind_the_gateway_has_a_code_of_its_own() {
    let gone = nobody().await;
    let site = Site::changed(|builder| {
        builder
            .table(&format!("[upstreams.gone]\nservers = [\"http://{gone}\"]\nhttp = \"2\""))
            .table("[[routes]]\npath = \"/test.Gone\"\nupstream = \"gone\"\naccess = \"public\"")
            .route("path = \"/test.Slow\"\naccess = \"public\"\ntimeouts = { total = \"300ms\" }")
            .route("path = \"/test.Patient\"\naccess = \"public\"\ntimeouts = { read = \"300ms\" }")
            .route("path = \"/test.Small\"\naccess = \"public\"\nbody_max = \"100B\"")
            .route("path = \"/test.Rare\"\naccess = \"public\"\nrate_limits = [{ limit = \"1/1h\", per = \"network\" }]")
    })
    .await;
    let client = site.client().await;
    let refused = async |path| client.unary(path, "").await.expect_err("a refusal");
    assert_eq!(word(&refused("/test.Gone/Who").await), (Code::Unavailable, "upstream_unreachable"));
    assert_eq!(word(&refused("/test.Slow/Hang").await), (Code::DeadlineExceeded, "upstream_timeout"));
    assert_eq!(word(&refused("/test.Patient/Hang").await), (Code::DeadlineExceeded, "upstream_timeout"));
    let large = stream::iter([Bytes::from(vec![0; 200])]);
    let refused_large = client.client_streaming("/test.Small/Join", large).await.expect_err("a refusal");
    assert_eq!(word(&refused_large), (Code::ResourceExhausted, "body_too_large"));
    assert!(client.unary("/test.Rare/Who", "").await.is_ok());
    let too_many = refused("/test.Rare/Who").await;
    assert_eq!(word(&too_many), (Code::ResourceExhausted, "too_many"));
    let pushback = too_many.metadata().get("grpc-retry-pushback-ms").and_then(|wait| wait.to_str().ok()?.parse::<u64>().ok());
    assert!(pushback.is_some_and(|wait| (3_000_000..=3_600_000).contains(&wait)), "{pushback:?}");
}

/// One message, and then what happens.
async fn beginning(then: fn(&mut Call)) -> H2Upstream {
    H2Upstream::serving_with(then, async |mut call: Call, then: fn(&mut Call)| {
        let mut stream = call.begin(&[("content-type", "application/grpc")]);
        stream.send_data(Bytes::from_static(b"\0\0\0\0\x01x"), false).expect("open");
        // Once the client has it.
        let mut body = call.read().await;
        body.clear();
        then(&mut call);
        std::future::pending::<()>().await;
    })
    .await
}

#[tokio::test]
async fn an_answer_that_cannot_go_on_ends_with_trailers_that_say_so() {
    let breaks: fn(&mut Call) = |call| call.reset(Reason::INTERNAL_ERROR);
    let falls_silent: fn(&mut Call) = |_| {};
    for (then, expected) in
        [(breaks, (Code::Unavailable, "upstream_invalid")), (falls_silent, (Code::DeadlineExceeded, "upstream_timeout"))]
    {
        let upstream = beginning(then).await;
        let site = Site::changed(|builder| {
            builder
                .table(&format!("[upstreams.other]\nservers = [\"http://{}\"]\nhttp = \"2\"", upstream.address))
                .table("read_timeout = \"2s\"")
                .table("[[routes]]\npath = \"/test.Other\"\nupstream = \"other\"\naccess = \"public\"")
        })
        .await;
        let client = site.client().await;
        let (say, said) = conversation();
        let mut heard = client.streaming("/test.Other/Any", said).await.expect("a stream");
        assert_eq!(heard.message().await.expect("no error").expect("a message"), "x");
        drop(say);
        let (messages, end) = all(heard).await;
        assert_eq!((messages.len(), word(&end.expect_err("an error"))), (0, expected));
    }
}

/// A POST with a body, as every call of gRPC is: RFC 9113 §8.7 says that it may be sent again.
#[tokio::test]
async fn a_call_that_the_server_refused_unprocessed_is_made_again() {
    let upstream = H2Upstream::serving(async |mut call: Call| {
        let body = call.read().await;
        if call.number == 0 {
            return call.reset(Reason::REFUSED_STREAM);
        }
        let mut stream = call.begin(&[("content-type", "application/grpc")]);
        stream.send_data(body.into(), false).expect("open");
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
        stream.send_trailers(trailers).expect("open");
    })
    .await;
    let site = Site::changed(|builder| {
        builder
            .table(&format!("[upstreams.other]\nservers = [\"http://{}\"]\nhttp = \"2\"", upstream.address))
            .table("[[routes]]\npath = \"/test.Other\"\nupstream = \"other\"\naccess = \"public\"")
    })
    .await;
    assert_eq!(site.client().await.unary("/test.Other/Any", "hello").await.expect("an answer"), "hello");
    let bodies: Vec<_> = upstream.take().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies, [b"\0\0\0\0\x05hello", b"\0\0\0\0\x05hello"]);
}
