//! Heads: how large they may be (case 47), whose they are, and cookies that come in crumbs (case 55).

use super::super::support::http2::{CONTINUATION, END_HEADERS, END_STREAM, HEADERS, block, frame, get};
use super::{HOST, Site};

type Fields<'a> = Vec<(&'a str, &'a str)>;

fn with<'a>(more: &[(&'a str, &'a str)]) -> Fields<'a> {
    [&get(HOST, "/public")[..], more].concat()
}

/// Case 47: the limits are those of HTTP/1.1.
#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let site = Site::start().await;
    let (long, wide) = (format!("/public/{}", "x".repeat(9000)), "x".repeat(30_000));
    let many: Vec<String> = (0..100).map(|n| format!("x-{n}")).collect();
    let many: Fields<'_> = many.iter().map(|name| (name.as_str(), "1")).collect();
    let too_large = (431, "headers_too_large");
    let in_pieces = async |fields: &[(&str, &str)]| {
        let mut client = site.connect().await;
        let (stream, block) = (client.stream(), block(fields));
        let mut pieces = block.chunks(16_000);
        client.send(frame(HEADERS, END_STREAM, stream, pieces.next().expect("a block"))).await;
        for piece in pieces {
            client.send(frame(CONTINUATION, 0, stream, piece)).await;
        }
        client.send(frame(CONTINUATION, END_HEADERS, stream, b"")).await;
        (client, stream)
    };
    for (what, fields, told) in [
        ("a target", get(HOST, &long), (414, "target_too_long")),
        ("a field", with(&[("x-a", &wide), ("x-b", &wide[..3000])]), too_large),
        ("fields", with(&many), too_large),
    ] {
        let (mut client, stream) = in_pieces(&fields).await;
        assert_eq!(client.answer(stream).await.verdict(), (told.0, told.1.to_owned()), "{what}");
    }
    // Beyond all limits: the library says so by itself, or gives the connection up.
    let wide = "x".repeat(70_000);
    let (mut client, stream) = in_pieces(&with(&[("x-a", &wide)])).await;
    let answer = client.answer(stream).await;
    assert!(answer.status == 431 || client.goaway.is_some(), "{answer:?}");
    let wide = "x".repeat(1_000_000);
    let (mut client, stream) = in_pieces(&with(&[("x-a", &wide)])).await;
    assert_eq!(client.answer(stream).await.status, 0);
    assert!(client.end().await.is_some_and(|why| why != 0));
    assert_eq!(site.upstream.bytes(), 0);
    // The largest that pass, in a hundred fields of which one is the host's.
    let fields: Fields<'_> = [with(&many[..98]), vec![("x-wide", &wide[..30_000])]].concat();
    let (mut client, stream) = in_pieces(&fields).await;
    assert_eq!(client.answer(stream).await.status, 200);
}

/// A connection that was made for one host is for no other one, though its certificate is for both (RFC 9113 §9.1.1).
#[tokio::test]
async fn requests_for_other_hosts_of_the_certificate_are_sent_elsewhere() {
    let site = Site::start().await;
    let mut client = site.connect().await;
    assert_eq!(client.ask(&get("b.example", "/public")).await.verdict(), (421, "misdirected".to_owned()));
    assert_eq!(client.ask(&get("evil.example", "/public")).await.verdict(), (421, "misdirected".to_owned()));
    assert_eq!(site.upstream.bytes(), 0);
    assert_eq!(client.ask(&get(HOST, "/public")).await.status, 200);
    assert_eq!(client.goaway, None);
}

/// Case 55: cookies in fields of their own are one field, for the gateway and for upstreams.
#[tokio::test]
async fn cookie_crumbs_are_joined_before_anything_is_decided() {
    let site = Site::start().await;
    let mut client = site.connect().await;
    let crumbs: Vec<String> = (0..60).map(|n| format!("c{n}=v{n}")).collect();
    let fields: Fields<'_> =
        get(HOST, "/public").into_iter().chain(crumbs.iter().map(|crumb| ("cookie", crumb.as_str()))).collect();
    assert_eq!(client.ask(&fields).await.status, 200);
    let sent = site.upstream.take_requests().remove(0);
    assert_eq!(sent.head.all("cookie"), [crumbs.join("; ")]);
    // Two tickets, of which the gateway would have to choose one.
    let reset = |crumbs: &[&'static str]| -> Fields<'static> {
        let cookies = crumbs.iter().map(|crumb| ("cookie", *crumb));
        let post = [(":method", "POST")].into_iter().chain(get(HOST, "/auth/password/reset").into_iter().skip(1));
        post.chain([("content-type", "application/json")]).chain(cookies).collect()
    };
    let body = br#"{"new_password": "correct horse battery staple"}"#;
    let ticket = "__Host-portcullis-ticket=a";
    let other = "__Host-portcullis-ticket=b";
    assert_eq!(client.ask_with(&reset(&[ticket, "x=y"]), body).await.verdict(), (400, "bad_ticket".to_owned()));
    for crumbs in [&[ticket, other][..], &[other, "x=y", ticket]] {
        assert_eq!(client.ask_with(&reset(crumbs), body).await.verdict(), (400, "malformed".to_owned()), "{crumbs:?}");
    }
}

/// Cases 90 and 109: what is forged or doubled over HTTP/1.1 is so over HTTP/2.
#[tokio::test]
async fn identities_cannot_be_forged_and_credentials_not_doubled() {
    let site = Site::start().await;
    let mut client = site.connect().await;
    let forged = ["x-auth-subject", "x_auth_subject", "x.auth.subject", "x!auth!subject", "x-auth_roles", "x-forwarded-proto"];
    let fields: Vec<_> = forged.iter().map(|name| (*name, "root")).collect();
    assert_eq!(client.ask(&with(&fields)).await.status, 200);
    let request = site.upstream.take_requests().remove(0);
    assert!(request.head.fields().all(|(_, value)| value != "root"), "{}", request.head.raw.escape_ascii());
    let twice = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
    assert_eq!(client.ask(&with(&twice)).await.verdict(), (400, "malformed".to_owned()));
    let aliases = [("transfer_encoding", "chunked"), ("content_length", "5")];
    for alias in aliases {
        assert_eq!(client.ask(&with(&[alias])).await.verdict(), (400, "malformed".to_owned()), "{alias:?}");
    }
}
