//! D: fields that are for the next hop only, and fields that say where a request came from (92–94, 97, 98, 101).

use super::table::Sees::{Body, Field, No, Target};
use super::table::{Row, Stage, forwarded, refused};
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

#[rustfmt::skip] // One request, one line.
const NOMINATIONS: &[Row] = &[
    forwarded("92: the credential is nominated", &[Field("x-auth-subject", "{subject}"), No("authorization")],
        b"GET /with-token HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: Authorization\r\nX: {tag}\r\n\r\n"),
    forwarded("92: a cookie is nominated", &[No("cookie")],
        b"GET /public HTTP/1.1\r\nHost: a\r\nCookie: a=b\r\nConnection: Cookie\r\nX: {tag}\r\n\r\n"),
    forwarded("92: our own cookies stay here", &[Field("cookie", "a=b; c=d")],
        b"GET /public HTTP/1.1\r\nHost: a\r\nCookie: a=b; __Host-portcullis-x=y; c=d\r\nX: {tag}\r\n\r\n"),
    forwarded("92: any field is nominated", &[No("x-a"), Field("x-b", "2")],
        b"GET /public HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nX-B: 2\r\nConnection: x-a\r\nX: {tag}\r\n\r\n"),
    refused("93: the client's address is nominated", 400, "malformed",
        b"GET /public HTTP/1.1\r\nHost: a\r\nConnection: X-Forwarded-For\r\nX: {tag}\r\n\r\n"),
    refused("93: the host is nominated", 400, "malformed", b"GET /public HTTP/1.1\r\nHost: a\r\nConnection: Host\r\nX: {tag}\r\n\r\n"),
    refused("93: a pseudo-field is nominated", 400, "malformed", b"GET /public HTTP/1.1\r\nHost: a\r\nConnection: :authority\r\nX: {tag}\r\n\r\n"),
    refused("93: a quoted nomination", 400, "malformed", b"GET /public HTTP/1.1\r\nHost: a\r\nConnection: \"x-a\"\r\nX: {tag}\r\n\r\n"),
    refused("93: many nominations", 400, "malformed",
        b"GET /public HTTP/1.1\r\nHost: a\r\nConnection: a, b, c, d, e, f, g, h, i, j, k, l\r\nX: {tag}\r\n\r\n"),
    forwarded("94: the length is nominated", &[Body("ab")],
        b"POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: content-length\r\nX: {tag}\r\n\r\nab"),
    forwarded("94: the framing is nominated", &[Body("ab")],
        b"POST /public HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: transfer-encoding\r\nX: {tag}\r\n\r\n2\r\nab\r\n0\r\n\r\n"),
    forwarded("101: fields of this connection", &[No("proxy-authorization"), No("te"), No("keep-alive"), No("proxy-connection"), No("upgrade"), No("http2-settings")],
        b"GET /public HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic x\r\nTE: trailers\r\nKeep-Alive: timeout=9\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\nConnection: Upgrade, HTTP2-Settings\r\nX: {tag}\r\n\r\n"),
    forwarded("101: an upgrade that the route does not allow", &[No("upgrade")],
        b"GET /public HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX: {tag}\r\n\r\n"),
];

#[rustfmt::skip]
const ORIGINS: &[Row] = &[
    forwarded("97: an address from somebody who is not trusted", &[Field("x-forwarded-for", "127.0.0.1"), No("x-real-ip"), No("true-client-ip")],
        b"GET /public HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\nTrue-Client-IP: 1.2.3.4\r\nX: {tag}\r\n\r\n"),
    forwarded("97: two fields of addresses", &[Field("x-forwarded-for", "127.0.0.1")],
        b"GET /public HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\nX_Forwarded_For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\nX: {tag}\r\n\r\n"),
    forwarded("98: where it claims to come from", &[Field("x-forwarded-proto", "http"), Field("x-forwarded-host", "a.example"),
            No("x-forwarded-port"), No("x-forwarded-prefix"), No("x-forwarded-server"), No("forwarded"), Target("/public")],
        b"GET /public HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Prefix: /admin\r\nX-Forwarded-Server: x\r\nForwarded: for=1.2.3.4;proto=https\r\nX: {tag}\r\n\r\n"),
    forwarded("98: the same with underscores", &[Field("x-forwarded-proto", "http"), Field("x-forwarded-host", "a.example")],
        b"GET /public HTTP/1.1\r\nHost: a.example\r\nX_Forwarded_Proto: https\r\nX.Forwarded.Host: evil\r\nX: {tag}\r\n\r\n"),
    forwarded("98: a client's scheme in its target", &[Field("x-forwarded-proto", "http"), Target("/public")],
        b"GET https://a.example/public HTTP/1.1\r\nHost: a.example\r\nX: {tag}\r\n\r\n"),
];

#[rustfmt::skip]
const BEHIND_A_TRUSTED_PROXY: &[Row] = &[
    forwarded("97: the right-most address that is not a trusted proxy's", &[Field("x-forwarded-for", "203.0.113.7")],
        b"GET /public HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4, 203.0.113.7, 127.0.0.9\r\nX: {tag}\r\n\r\n"),
    forwarded("97: no address", &[Field("x-forwarded-for", "127.0.0.1")], b"GET /public HTTP/1.1\r\nHost: a\r\nX: {tag}\r\n\r\n"),
    forwarded("97: what is not an address", &[Field("x-forwarded-for", "127.0.0.1")],
        b"GET /public HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4, unknown\r\nX: {tag}\r\n\r\n"),
];

#[tokio::test]
async fn a_nominated_field_goes_no_further_and_takes_nothing_with_it() {
    Stage::new().await.play(NOMINATIONS.iter().copied()).await;
}

#[tokio::test]
async fn where_a_request_came_from_is_said_by_the_gateway_alone() {
    Stage::new().await.play(ORIGINS.iter().copied()).await;
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_about_who_spoke_to_it() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream).set("server.trusted_proxies=[\"127.0.0.0/8\"]").start().await;
    Stage::with(upstream, gateway).await.play(BEHIND_A_TRUSTED_PROXY.iter().copied()).await;
}

/// Case 92: the id by which log and upstream agree on a request is not the client's to remove.
#[tokio::test]
async fn a_nominated_request_id_arrives_all_the_same() {
    let stage = Stage::new().await;
    let request = "GET /public/named HTTP/1.1\r\nhost: a\r\nx-request-id: forged\r\nconnection: x-request-id\r\n\r\n";
    assert_eq!(stage.gateway.connect().await.ask(request).await.status, 200);
    let seen = stage.upstream.requests("/public/named");
    let id = seen[0].head.one("x-request-id").expect("every request has an id");
    assert_ne!(id, "forged");
}
