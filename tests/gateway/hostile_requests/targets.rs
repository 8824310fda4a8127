//! C: which resource a request is for (61–87), where gateway and upstream might read two different ones.

use super::table::Sees::{Body, Field, Method, No, Target};
use super::table::{Row, Stage, closed, forwarded, forwarded_target, refused, refused_target};

#[rustfmt::skip] // One request, one line.
const FORMS: &[Row] = &[
    refused("61: a target without a slash", 400, "malformed", b"GET admin/secret HTTP/1.1\r\nHost: a\r\nX: {tag}\r\n\r\n"),
    refused("61: a target that begins with a backslash", 400, "malformed", b"GET \\admin HTTP/1.1\r\nHost: a\r\nX: {tag}\r\n\r\n"),
    refused("61: an authority", 400, "malformed", b"GET a.example:80 HTTP/1.1\r\nHost: a.example\r\nX: {tag}\r\n\r\n"),
    refused("61: a URN", 400, "malformed", b"GET urn:x HTTP/1.1\r\nHost: a\r\nX: {tag}\r\n\r\n"),
    refused("61: only a query", 400, "malformed", b"GET ?x HTTP/1.1\r\nHost: a\r\nX: {tag}\r\n\r\n"),
    refused("61: an asterisk", 400, "malformed", b"OPTIONS * HTTP/1.1\r\nHost: a\r\nX: {tag}\r\n\r\n"),
    refused("83: an absolute target for another host", 400, "malformed",
        b"GET http://b.example/public/x HTTP/1.1\r\nHost: a.example\r\nX: {tag}\r\n\r\n"),
    refused("83: an absolute target without host", 400, "malformed", b"GET http://a.example/x HTTP/1.1\r\nX: {tag}\r\n\r\n"),
    forwarded("83: an absolute target for the same host", &[Target("/x?y=1"), Field("host", "a.example")],
        b"GET http://a.example/x?y=1 HTTP/1.1\r\nHost: a.example\r\nX: {tag}\r\n\r\n"),
    refused("84: one slash behind the scheme", 400, "malformed", b"GET http:/\\b HTTP/1.1\r\nHost: b\r\nX: {tag}\r\n\r\n"),
    refused("84: no authority", 400, "malformed", b"GET http:///public HTTP/1.1\r\nHost: a\r\nX: {tag}\r\n\r\n"),
    refused("84: two ports", 400, "malformed", b"GET http://a:443:80/public HTTP/1.1\r\nHost: a\r\nX: {tag}\r\n\r\n"),
    refused("84: user information", 400, "malformed", b"GET http://u@a/public HTTP/1.1\r\nHost: a\r\nX: {tag}\r\n\r\n"),
    refused("84: another scheme", 400, "malformed", b"GET ftp://a/public HTTP/1.1\r\nHost: a\r\nX: {tag}\r\n\r\n"),
];

#[rustfmt::skip] // One request, one line.
const PATHS: &[Row] = &[
    refused_target("62: an encoded slash behind two dots", 400, "malformed", b"/public/..%2fadmin"),
    refused_target("62: two encoded dots", 400, "malformed", b"/public/%2e%2e/admin"),
    refused_target("62: one encoded dot of two", 400, "malformed", b"/public/.%2E/admin"),
    refused_target("62: two dots", 400, "malformed", b"/public/../admin"),
    refused_target("62: two dots at the end", 400, "malformed", b"/public/.."),
    refused_target("62: an encoded slash", 400, "malformed", b"/public%2Fadmin"),
    refused_target("62: two dots in an absolute target", 400, "malformed", b"http://a/public/../admin"),
    refused_target("63: two slashes before the path", 400, "malformed", b"//admin"),
    refused_target("63: what reads like an authority", 400, "malformed", b"//a/public"),
    refused_target("63: two slashes before two dots", 400, "malformed", b"/public//../admin"),
    refused_target("63: two slashes within", 400, "malformed", b"/public//x"),
    refused_target("63: two slashes at the end", 400, "malformed", b"/public//"),
    refused_target("63: three slashes", 400, "malformed", b"///x"),
    refused_target("64: a parameter does not make another resource", 401, "missing_token", b"/admin;x=1"),
    refused_target("64: an encoded semicolon neither", 401, "missing_token", b"/admin%3Bx=1/y"),
    refused_target("64: a segment that is only a parameter", 400, "malformed", b"/;admin"),
    refused_target("64: two dots with a parameter", 400, "malformed", b"/public/..;/admin"),
    refused_target("64: two dots with a named parameter", 400, "malformed", b"/public/..;x=1/admin"),
    forwarded_target("64: a parameter arrives as sent", &[Target("/public;x=1/y;z")], b"/public;x=1/y;z"),
    refused_target("65: an encoded NUL", 400, "malformed", b"/public%00"),
    refused_target("65: an encoded line break", 400, "malformed", b"/public/a%0d%0aX:%20y"),
    refused_target("65: an encoded tab", 400, "malformed", b"/public/a%09b"),
    refused_target("65: an encoded DEL", 400, "malformed", b"/public/a%7fb"),
    refused_target("65: an encoded backslash", 400, "malformed", b"/public/..%5cadmin"),
    refused_target("65: a backslash", 400, "malformed", b"/public/..\\admin"),
    refused_target("65: bytes beyond ASCII", 400, "malformed", b"/public/\xc3\xa4"),
    refused_target("66: a percent sign at the end", 400, "malformed", b"/public/a%"),
    refused_target("66: one digit behind a percent sign", 400, "malformed", b"/public/a%4"),
    refused_target("66: no digits behind a percent sign", 400, "malformed", b"/public/%zz"),
    refused_target("66: overlong UTF-8", 400, "malformed", b"/public/%c0%ae%c0%ae/admin"),
    refused_target("66: Latin-1", 400, "malformed", b"/public/%e4"),
    forwarded_target("67: what is encoded twice is decided and sent as it is", &[Target("/public/%252e%252e%252fadmin")], b"/public/%252e%252e%252fadmin"),
    forwarded_target("67: an encoded letter is the letter", &[Target("/public/a")], b"/%70ublic/%61"),
    refused_target("67: an encoded letter in a guarded path", 401, "missing_token", b"/%61dmin"),
    refused_target("68: another case is another path", 404, "not_found", b"/PUBLIC"),
    refused_target("68: another case of a guarded path", 404, "not_found", b"/Admin/"),
    refused_target("69: a slash at the end", 401, "missing_token", b"/admin/"),
    refused_target("69: a dot at the end", 401, "missing_token", b"/admin."),
    refused_target("69: a space at the end", 401, "missing_token", b"/admin%20"),
    refused_target("69: a dot segment at the end", 400, "malformed", b"/admin/."),
    refused_target("70: a public path in the query", 401, "missing_token", b"/admin?x=/public/"),
    forwarded_target("70: the query arrives as sent", &[Target("/public?a=/../%2e%zz&b=//")], b"/public?a=/../%2e%zz&b=//"),
    refused_target("71: a public path in a fragment", 401, "missing_token", b"/admin#/public/"),
    refused_target("72: the rest of a segment", 404, "not_found", b"/publicadmin"),
    refused_target("72: a part of a segment", 404, "not_found", b"/publi"),
    refused_target("87: a path without a route", 404, "not_found", b"/elsewhere"),
    refused_target("87: the root without a route", 404, "not_found", b"/"),
];

#[rustfmt::skip] // One request, one line.
const HOSTS: &[Row] = &[
    refused("79: no host", 400, "malformed", b"GET /public HTTP/1.1\r\nX: {tag}\r\n\r\n"),
    refused("80: two hosts", 400, "malformed", b"GET /public HTTP/1.1\r\nHost: a\r\nHost: b\r\nX: {tag}\r\n\r\n"),
    refused("80: the same host twice", 400, "malformed", b"GET /public HTTP/1.1\r\nHost: a\r\nHost: a\r\nX: {tag}\r\n\r\n"),
    refused("81: an empty host", 400, "malformed", b"GET /public HTTP/1.1\r\nHost:\r\nX: {tag}\r\n\r\n"),
    refused("81: only a port", 400, "malformed", b"GET /public HTTP/1.1\r\nHost: :80\r\nX: {tag}\r\n\r\n"),
    refused("81: a list of hosts", 400, "malformed", b"GET /public HTTP/1.1\r\nHost: a, b\r\nX: {tag}\r\n\r\n"),
    refused("81: a path in the host", 400, "malformed", b"GET /public HTTP/1.1\r\nHost: a/b\r\nX: {tag}\r\n\r\n"),
    refused("81: a space in the host", 400, "malformed", b"GET /public HTTP/1.1\r\nHost: a b\r\nX: {tag}\r\n\r\n"),
    refused("81: user information in the host", 400, "malformed", b"GET /public HTTP/1.1\r\nHost: u@a\r\nX: {tag}\r\n\r\n"),
    refused("81: bytes beyond ASCII in the host", 400, "malformed", b"GET /public HTTP/1.1\r\nHost: \xc3\xa4.example\r\nX: {tag}\r\n\r\n"),
    forwarded("82: capital letters", &[Field("host", "a.example")], b"GET /x HTTP/1.1\r\nHost: A.EXAMPLE\r\nX: {tag}\r\n\r\n"),
    forwarded("82: a dot at the end", &[Field("host", "a.example")], b"GET /x HTTP/1.1\r\nHost: a.example.\r\nX: {tag}\r\n\r\n"),
    forwarded("82: the port that the scheme implies", &[Field("host", "a.example")],
        b"GET /x HTTP/1.1\r\nHost: a.example:80\r\nX: {tag}\r\n\r\n"),
    forwarded("82: another port", &[Field("host", "a.example:443")], b"GET /x HTTP/1.1\r\nHost: a.example:443\r\nX: {tag}\r\n\r\n"),
    refused("82: a port beyond 65535", 400, "malformed", b"GET /x HTTP/1.1\r\nHost: a.example:99999\r\nX: {tag}\r\n\r\n"),
    refused("82: an empty port", 400, "malformed", b"GET /x HTTP/1.1\r\nHost: a.example:\r\nX: {tag}\r\n\r\n"),
    refused("87: a host without a route", 404, "not_found", b"GET /x HTTP/1.1\r\nHost: c.example\r\nX: {tag}\r\n\r\n"),
    refused("87: a host that ends like another", 404, "not_found", b"GET /x HTTP/1.1\r\nHost: ba.example\r\nX: {tag}\r\n\r\n"),
];

#[rustfmt::skip] // One request, one line.
const METHODS: &[Row] = &[
    forwarded("75: a method in a field", &[Method("GET"), No("x-http-method-override"), No("x-http-method"), No("x-method-override")],
        b"GET /read-only HTTP/1.1\r\nHost: a\r\nX-HTTP-Method-Override: DELETE\r\nX-HTTP-Method: DELETE\r\nX-Method-Override: DELETE\r\nX: {tag}\r\n\r\n"),
    forwarded("75: a method in the query", &[Method("GET"), Target("/read-only?_method=DELETE")],
        b"GET /read-only?_method=DELETE HTTP/1.1\r\nHost: a\r\nX: {tag}\r\n\r\n"),
    refused("75: another method than the route's", 405, "method_not_allowed", b"DELETE /read-only HTTP/1.1\r\nHost: a\r\nX: {tag}\r\n\r\n"),
    refused("75: another method with the right one in a field", 405, "method_not_allowed",
        b"DELETE /read-only HTTP/1.1\r\nHost: a\r\nX-HTTP-Method-Override: GET\r\nX: {tag}\r\n\r\n"),
    refused("76: lower case", 501, "method_unknown", b"get /public HTTP/1.1\r\nHost: a\r\nX: {tag}\r\n\r\n"),
    refused("76: any other token", 501, "method_unknown", b"FOO-BAR! /public HTTP/1.1\r\nHost: a\r\nX: {tag}\r\n\r\n"),
    refused("76: TRACE", 501, "method_unknown", b"TRACE /public HTTP/1.1\r\nHost: a\r\nX: {tag}\r\n\r\n"),
    refused("76: TRACK", 501, "method_unknown", b"TRACK /public HTTP/1.1\r\nHost: a\r\nX: {tag}\r\n\r\n"),
    refused("76: CONNECT to an authority", 501, "method_unknown", b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nX: {tag}\r\n\r\n"),
    refused("76: CONNECT to a path", 501, "method_unknown", b"CONNECT /public HTTP/1.1\r\nHost: a\r\nX: {tag}\r\n\r\n"),
    closed("76: a method with a forbidden byte", 400, "malformed", b"GE(T /public HTTP/1.1\r\nHost: a\r\nX: {tag}\r\n\r\n"),
    forwarded("77: HEAD where GET is allowed", &[Method("HEAD"), Body("")], b"HEAD /read-only HTTP/1.1\r\nHost: a\r\nX: {tag}\r\n\r\n"),
    refused("77: OPTIONS is no way around a token", 401, "missing_token", b"OPTIONS /api HTTP/1.1\r\nHost: a\r\nX: {tag}\r\n\r\n"),
    refused("77: what looks like a preflight neither", 401, "missing_token",
        b"OPTIONS /api HTTP/1.1\r\nHost: a\r\nOrigin: http://a\r\nAccess-Control-Request-Method: GET\r\nX: {tag}\r\n\r\n"),
    refused("78: a probe by its own account", 401, "missing_token",
        b"GET /api/healthz HTTP/1.1\r\nHost: a\r\nUser-Agent: kube-probe/1.33\r\nX: {tag}\r\n\r\n"),
];

#[rustfmt::skip] // One request, one line.
const REWRITES: &[Row] = &[
    forwarded("74: another target in a field", &[Target("/public/x"), No("x-forwarded-uri"), No("x-original-url"), No("x-rewrite-url"),
            No("x-envoy-original-path"), No("x-original-uri"), No("x-forwarded-path")],
        b"GET /public/x HTTP/1.1\r\nHost: a\r\nX-Forwarded-Uri: /admin\r\nX-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\nX-Envoy-Original-Path: /admin\r\nX-Original-Uri: /admin\r\nX-Forwarded-Path: /admin\r\nX: {tag}\r\n\r\n"),
    forwarded("74: the same with underscores", &[No("x-original-url"), No("x-rewrite-url")],
        b"GET /public/x HTTP/1.1\r\nHost: a\r\nX_Original_URL: /admin\r\nX.Rewrite.URL: /admin\r\nX: {tag}\r\n\r\n"),
    refused("74: a public target in a field", 401, "missing_token",
        b"GET /api HTTP/1.1\r\nHost: a\r\nX-Forwarded-Uri: /public\r\nX-Original-URL: /public\r\nX: {tag}\r\n\r\n"),
];

#[tokio::test]
async fn a_target_that_is_not_a_path_is_refused() {
    Stage::new().await.play(FORMS.iter().copied()).await;
}

#[tokio::test]
async fn a_path_has_one_reading_or_is_refused() {
    Stage::new().await.play(PATHS.iter().copied()).await;
}

#[tokio::test]
async fn a_host_has_one_spelling_or_is_refused() {
    Stage::new().await.play(HOSTS.iter().copied()).await;
}

#[tokio::test]
async fn a_method_is_known_and_is_the_one_of_the_request_line() {
    Stage::new().await.play(METHODS.iter().copied()).await;
}

#[tokio::test]
async fn a_target_in_a_field_is_removed_and_never_used() {
    Stage::new().await.play(REWRITES.iter().copied()).await;
}

/// Case 75: RFC 9110 §15.5.6 wants the methods named.
#[tokio::test]
async fn a_method_outside_the_routes_list_is_told_what_is_in_it() {
    let stage = Stage::new().await;
    let answer = stage.gateway.connect().await.ask("DELETE /read-only HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((answer.status, answer.head.one("allow")), (405, Some("GET, HEAD")));
}
