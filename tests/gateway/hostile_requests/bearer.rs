//! E: the credential of a request (109–119, RFC 6750): one, in one place, or none.

use super::table::Sees::{Field, No, Target};
use super::table::{Row, Stage, forwarded, refused};
use crate::support::eventually;

#[rustfmt::skip] // One request, one line.
const TOKENS: &[Row] = &[
    refused("109: a good and a bad credential", 400, "malformed",
        b"GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nAuthorization: Bearer x\r\nX: {tag}\r\n\r\n"),
    refused("109: a bad and a good credential", 400, "malformed",
        b"GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\nAuthorization: Bearer {token}\r\nX: {tag}\r\n\r\n"),
    refused("109: the same credential twice", 400, "malformed",
        b"GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\nX: {tag}\r\n\r\n"),
    refused("109: two schemes", 400, "malformed",
        b"GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Basic eDp5\r\nAuthorization: Bearer {token}\r\nX: {tag}\r\n\r\n"),
    refused("109: two credentials on a public route", 400, "malformed",
        b"GET /public HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\nAuthorization: Bearer y\r\nX: {tag}\r\n\r\n"),
    forwarded("110: a token in the query beside the one that counts", &[Field("x-auth-subject", "{subject}"), Target("/api?access_token=x")],
        b"GET /api?access_token=x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nX: {tag}\r\n\r\n"),
    refused("111: a token in the query", 401, "missing_token", b"GET /api?access_token={token} HTTP/1.1\r\nHost: a\r\nX: {tag}\r\n\r\n"),
    refused("111: a token in a form", 401, "missing_token",
        b"POST /api HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 14\r\nX: {tag}\r\n\r\naccess_token=x"),
    forwarded("112: the usual spelling", &[Field("x-auth-subject", "{subject}")],
        b"GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nX: {tag}\r\n\r\n"),
    forwarded("112: a lower-case scheme", &[Field("x-auth-subject", "{subject}")],
        b"GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: bearer {token}\r\nX: {tag}\r\n\r\n"),
    forwarded("112: an upper-case scheme", &[Field("x-auth-subject", "{subject}")],
        b"GET /api HTTP/1.1\r\nHost: a\r\nAUTHORIZATION: BEARER {token}\r\nX: {tag}\r\n\r\n"),
    refused("113: two spaces", 401, "bad_token", b"GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer  {token}\r\nX: {tag}\r\n\r\n"),
    refused("113: a tab", 401, "bad_token", b"GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer\t{token}\r\nX: {tag}\r\n\r\n"),
    forwarded("113: white space at the end belongs to the field, not to its value", &[Field("x-auth-subject", "{subject}")],
        b"GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token} \r\nX: {tag}\r\n\r\n"),
    refused("113: a list", 401, "bad_token", b"GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}, Bearer x\r\nX: {tag}\r\n\r\n"),
    refused("113: two words", 401, "bad_token", b"GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token} x\r\nX: {tag}\r\n\r\n"),
    refused("113: quotes", 401, "bad_token", b"GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \"{token}\"\r\nX: {tag}\r\n\r\n"),
    refused("114: no field", 401, "missing_token", b"GET /api HTTP/1.1\r\nHost: a\r\nX: {tag}\r\n\r\n"),
    refused("114: an empty field", 401, "missing_token", b"GET /api HTTP/1.1\r\nHost: a\r\nAuthorization:\r\nX: {tag}\r\n\r\n"),
    refused("114: only the scheme", 401, "missing_token", b"GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer\r\nX: {tag}\r\n\r\n"),
    refused("114: another scheme", 401, "missing_token", b"GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Basic eDp5\r\nX: {tag}\r\n\r\n"),
    refused("114: null", 401, "bad_token", b"GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer null\r\nX: {tag}\r\n\r\n"),
    refused("116: bytes beyond ASCII", 401, "bad_token", b"GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer caf\xc3\xa9\r\nX: {tag}\r\n\r\n"),
    refused("116: NUL", 400, "malformed", b"GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\0b\r\nX: {tag}\r\n\r\n"),
    refused("117: an invalid token where none is needed", 401, "bad_token", b"GET /optional HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\nX: {tag}\r\n\r\n"),
    refused("117: a broken credential where none is needed", 401, "bad_token", b"GET /optional HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x y\r\nX: {tag}\r\n\r\n"),
    forwarded("117: no token where none is needed", &[No("x-auth-subject")], b"GET /optional HTTP/1.1\r\nHost: a\r\nX: {tag}\r\n\r\n"),
    forwarded("117: a valid token where none is needed", &[Field("x-auth-subject", "{subject}")],
        b"GET /optional HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nX: {tag}\r\n\r\n"),
    forwarded("119: a token stays here", &[No("authorization")],
        b"GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nX: {tag}\r\n\r\n"),
    forwarded("119: a token stays here on a public route", &[No("authorization")],
        b"GET /public HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nX: {tag}\r\n\r\n"),
];

#[tokio::test]
async fn a_request_has_one_credential_in_one_place() {
    Stage::new().await.play(TOKENS.iter().copied()).await;
}

/// Case 115: the answer must not depend on reading what is too long to be a token.
#[tokio::test]
async fn a_token_beyond_its_limit_is_refused_without_being_read() {
    let stage = Stage::new().await;
    for (token, status) in
        [("a".repeat(8 * 1024 + 1), 401), (".".repeat(8 * 1024), 401), ("a.".repeat(15_000), 401), ("a".repeat(900_000), 431)]
    {
        let answer = stage
            .gateway
            .connect()
            .await
            .ask(format!("GET /api HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n"))
            .await;
        assert_eq!(answer.status, status, "{} bytes", token.len());
    }
    assert_eq!(stage.upstream.bytes(), 0);
}

/// Case 119.
#[tokio::test]
async fn a_route_that_passes_tokens_passes_them_as_they_came() {
    let stage = Stage::new().await;
    let credential = format!("Bearer {}", stage.token);
    let request = format!("GET /with-token/x HTTP/1.1\r\nhost: a\r\nauthorization: {credential}\r\n\r\n");
    assert_eq!(stage.gateway.connect().await.ask(request).await.status, 200);
    assert_eq!(stage.upstream.requests("/with-token/x")[0].head.one("authorization"), Some(credential.as_str()));
}

/// Cases 114, 118: RFC 6750 §3.1 wants no `error` where nothing was tried.
#[tokio::test]
async fn a_refusal_says_what_is_needed_and_nothing_about_the_token() {
    let stage = Stage::new().await;
    let ask =
        async |fields: String| stage.gateway.connect().await.ask(format!("GET /api HTTP/1.1\r\nhost: a\r\n{fields}\r\n")).await;
    let missing = ask(String::new()).await;
    let challenge = missing.head.one("www-authenticate").expect("RFC 9110 §11.6.1 wants one").to_owned();
    assert!(challenge.starts_with("Bearer") && !challenge.contains("error"), "{challenge}");

    // One character of the signature changed; a key that nobody knows; no token at all.
    let (signed, signature) = stage.token.rsplit_once('.').expect("a token has three parts");
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    let broken = format!("{signed}.{other}{}", &signature[1..]);
    let payload = signed.split_once('.').expect("a token has three parts").1;
    let unknown_key = format!("eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCIsImtpZCI6Im5vYm9keSJ9.{payload}.{signature}");
    let mut bodies = Vec::new();
    for token in [broken, unknown_key, "x".to_owned()] {
        let answer = ask(format!("authorization: Bearer {token}\r\n")).await;
        let challenge = answer.head.one("www-authenticate").expect("RFC 9110 §11.6.1 wants one").to_owned();
        assert!(challenge.starts_with("Bearer") && challenge.contains("error=\"invalid_token\""), "{challenge}");
        assert_eq!((answer.status, answer.code().as_str()), (401, "bad_token"));
        let mut body: serde_json::Value = serde_json::from_slice(&answer.body).expect("a problem document");
        // The one member that is meant to differ.
        body.as_object_mut().expect("an object").retain(|member, _| member != "decision_id");
        bodies.push(body);
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{bodies:#?}");
    assert_eq!(stage.upstream.bytes(), 0);
}

/// Case 111: neither what was tried nor what was accepted is written down.
#[tokio::test]
async fn no_token_is_ever_logged() {
    let stage = Stage::new().await;
    let canary = "canary-5d1c7f";
    for request in [
        format!("GET /api?access_token={canary} HTTP/1.1\r\nhost: a\r\n\r\n"),
        format!("GET /public?access_token={canary} HTTP/1.1\r\nhost: a\r\n\r\n"),
        format!("GET /api HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {canary}\r\n\r\n"),
        format!("GET /api HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {canary} {canary}\r\n\r\n"),
        format!("GET /api HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", stage.token),
        format!("GET /api HTTP/1.1\r\nhost: a\r\nbroken {canary}\r\n\r\n"),
        "GET /public/the-last-one HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
    ] {
        stage.gateway.connect().await.ask(request).await;
    }
    eventually("the last line of the access log", async || stage.gateway.output().contains("/the-last-one").then_some(())).await;
    let output = stage.gateway.output();
    assert!(!output.contains(canary), "{output}");
    let signature = stage.token.rsplit_once('.').expect("a token has three parts").1;
    assert!(!output.contains(signature), "{output}");
    assert!(!output.contains(crate::support::client::PASSWORD), "{output}");
}
