//! Heads and bodies that break the rules, or have two readings (cases 48 to 57): none reaches an upstream.

use super::super::support::http2::{DATA, END_HEADERS, END_STREAM, HEADERS, Http2, PROTOCOL_ERROR, block, frame, get};
use super::{HOST, Site};

type Fields<'a> = Vec<(&'a str, &'a str)>;

/// What must become of a request.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// A problem with this status and code.
    Told(u16, &'static str),
    /// Its stream is reset, or its connection ended, as the protocol asks.
    Cut,
}

use Fate::{Cut, Told};

const MALFORMED: Fate = Told(400, "malformed");

async fn meets(site: &Site, client: &mut Http2, stream: u32, fate: Fate, what: &str) {
    let answer = client.answer(stream).await;
    match fate {
        Told(status, code) => assert_eq!(answer.verdict(), (status, code.to_owned()), "{what}: {answer:?}"),
        Cut => {
            let why = answer.reset.or(client.goaway);
            assert_eq!((answer.status, why), (0, Some(PROTOCOL_ERROR)), "{what}: {answer:?}");
        }
    }
    assert_eq!(site.upstream.bytes(), 0, "{what} reached the upstream");
}

/// Each on a connection of its own, which goes on unless the breach is the connection's.
async fn meet(site: &Site, rows: &[(&str, Fields<'_>, Fate)]) {
    for (what, fields, fate) in rows {
        let mut client = site.connect().await;
        let stream = client.begin(fields, true).await;
        meets(site, &mut client, stream, *fate, what).await;
        if client.goaway.is_none() {
            assert_eq!(client.ask(&get(HOST, "/elsewhere")).await.status, 404, "{what}: what comes after it");
        }
    }
}

fn with<'a>(more: &[(&'a str, &'a str)]) -> Fields<'a> {
    [&get(HOST, "/public")[..], more].concat()
}

/// Case 48 (RFC 9113 §8.2.2).
#[tokio::test]
async fn fields_of_one_connection_are_refused() {
    let site = Site::start().await;
    let fields = [
        ("connection", "close"),
        ("connection", "x-auth-subject"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
    ];
    let rows: Vec<_> = fields.iter().map(|field| (field.0, with(&[*field]), Cut)).collect();
    meet(&site, &rows).await;
}

/// Case 49 (RFC 9113 §8.2.1): in HTTP/1.1 they would be two fields, two requests, or another field.
#[tokio::test]
async fn bytes_that_no_field_has_are_refused() {
    let site = Site::start().await;
    for (name, value) in [
        (&b"x-a"[..], &b"a\r\nx-auth-subject: root"[..]),
        (b"x-a", b"a\nb"),
        (b"x-a", b"a\rb"),
        (b"x-a", b"a\0b"),
        (b"X-Auth-Subject", b"root"),
        (b"x a", b"a"),
        (b"x-a:", b"a"),
        (b"x-a\r\nx-b", b"a"),
        (b"", b"a"),
        (b":late", b"a"),
    ] {
        let mut client = site.connect().await;
        let request = get(HOST, "/public");
        let mut fields: Vec<(&[u8], &[u8])> = request.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        fields.push((name, value));
        let stream = client.begin(&fields, true).await;
        meets(&site, &mut client, stream, Cut, &format!("{}: {}", name.escape_ascii(), value.escape_ascii())).await;
    }
}

/// Case 50: HTTP/1.1 would lose the space, and the value become another one.
#[tokio::test]
async fn values_with_white_space_at_an_end_are_refused() {
    let site = Site::start().await;
    let values = [" a", "a ", "\ta", "a\t", " ", "a  "];
    let rows: Vec<_> = values.iter().map(|value| (*value, with(&[("x-a", *value)]), MALFORMED)).collect();
    meet(&site, &rows).await;
    meet(&site, &[("crumbs", with(&[("cookie", "a=b"), ("cookie", " c=d"), ("cookie", "e=f")]), MALFORMED)]).await;
}

/// Case 51 (RFC 9113 §8.1.1): the length and the DATA are two ends of one body.
#[tokio::test]
async fn lengths_that_are_not_the_bodys_are_refused() {
    let site = Site::start().await;
    let post = |lengths: &[&'static str]| -> Fields<'static> {
        let lengths = lengths.iter().map(|length| ("content-length", *length));
        [(":method", "POST")].into_iter().chain(get(HOST, "/elsewhere").into_iter().skip(1)).chain(lengths).collect()
    };
    for (lengths, body, fate) in [
        (&["5"][..], &b"abc"[..], Cut),
        (&["2"], b"abc", Cut),
        (&["0"], b"abc", Cut),
        (&["3", "3"], b"abc", MALFORMED),
        (&["3, 3"], b"abc", Cut),
        (&["3", "4"], b"abc", Cut),
        (&["+3"], b"abc", Cut),
        (&["003"], b"abc", MALFORMED),
        (&[""], b"abc", Cut),
        (&["99999999999999999999"], b"abc", Cut),
    ] {
        let mut client = site.connect().await;
        let stream = client.stream();
        let head = frame(HEADERS, END_HEADERS, stream, &block(&post(lengths)));
        client.send([head, frame(DATA, END_STREAM, stream, body)].concat()).await;
        let answer = client.answer(stream).await;
        let what = format!("{lengths:?}: {answer:?}");
        // The library may have found out before or after the route was looked for.
        match fate {
            Told(status, code) => assert_eq!(answer.verdict(), (status, code.to_owned()), "{what}"),
            Cut => assert!(answer.reset.is_some() || matches!(answer.status, 400 | 404), "{what}"),
        }
        assert_eq!(site.upstream.bytes(), 0, "{what}");
    }
    let mut client = site.connect().await;
    let stream = client.begin(&post(&["5"]), true).await;
    assert_eq!(client.answer(stream).await.reset, Some(PROTOCOL_ERROR), "five bytes are announced and none comes");
}

/// Case 51 on the way to an upstream: what it was sent is no whole request, and its connection is not used again.
#[tokio::test]
async fn a_body_that_is_not_as_long_as_announced_is_no_request() {
    let site = Site::start().await;
    for (at, rest) in [(1, &b"def"[..]), (2, b"d")] {
        let path = format!("/public/{at}");
        let mut client = site.connect().await;
        let post = [&[(":method", "POST")], &get(HOST, &path)[1..], &[("content-length", "5")]].concat();
        let stream = client.begin(&post, false).await;
        client.send(frame(DATA, 0, stream, b"abc")).await;
        super::eventually("the upstream's part of it", async || site.upstream.saw(&path).then_some(())).await;
        client.send(frame(DATA, END_STREAM, stream, rest)).await;
        let answer = client.answer(stream).await;
        assert_eq!((answer.status, answer.reset), (0, Some(PROTOCOL_ERROR)), "{rest:?}");
        assert!(site.upstream.requests(&path).is_empty(), "{rest:?}");
        let connections = site.upstream.connections();
        assert_eq!(client.ask(&get(HOST, "/public/after")).await.status, 200);
        assert_eq!(site.upstream.connections(), connections + 1);
    }
    assert!(site.upstream.take_faults().is_empty());
}

/// Case 52 (RFC 9113 §8.3).
#[tokio::test]
async fn pseudo_fields_and_hosts_have_one_reading() {
    let site = Site::start().await;
    let without = |name: &str| -> Fields<'static> { get(HOST, "/public").into_iter().filter(|field| field.0 != name).collect() };
    let host = |authority: &'static str, hosts: &[&'static str]| -> Fields<'static> {
        let authority = Some((":authority", authority)).filter(|(_, value)| *value != "-");
        let hosts = hosts.iter().map(|host| ("host", *host));
        without(":authority").into_iter().chain(authority).chain(hosts).collect()
    };
    let late: Fields<'_> = [("x-a", "b")].into_iter().chain(get(HOST, "/public")).collect();
    let twice = |field| [&[field], &get(HOST, "/public")[..]].concat();
    meet(
        &site,
        &[
            ("two paths", twice((":path", "/api")), Cut),
            ("two authorities", twice((":authority", "b.example")), Cut),
            ("two methods", twice((":method", "POST")), Cut),
            ("a status", twice((":status", "200")), Cut),
            ("an unknown one", twice((":x", "y")), Cut),
            ("one after a field", late, Cut),
            ("no method", without(":method"), Cut),
            ("no scheme", without(":scheme"), Cut),
            ("no path", without(":path"), Cut),
            ("no host at all", host("-", &[]), MALFORMED),
            ("another host", host(HOST, &["b.example"]), MALFORMED),
            ("two hosts", host("-", &[HOST, HOST]), MALFORMED),
            ("two hosts and an authority", host(HOST, &[HOST, HOST]), MALFORMED),
            ("userinfo", host("root@a.example", &[]), MALFORMED),
            ("userinfo in the host", host("-", &["root@a.example"]), MALFORMED),
            ("userinfo twice", host("root@a.example", &["root@a.example"]), MALFORMED),
            ("a list", host("-", &["a.example, b.example"]), MALFORMED),
            ("an empty host", host("-", &[""]), MALFORMED),
        ],
    )
    .await;
    for (what, fields) in [
        ("equal", host(HOST, &[HOST])),
        ("of one name", host("A.Example:443", &["a.example."])),
        ("a host alone", host("-", &["A.EXAMPLE"])),
    ] {
        assert_eq!(site.connect().await.ask(&fields).await.status, 200, "{what}");
        assert_eq!(site.upstream.take_requests().remove(0).head.all("host"), [HOST], "{what}");
    }
}

/// Cases 53 and 54: what is decided on is what is sent.
#[tokio::test]
async fn paths_have_one_reading() {
    let site = Site::start().await;
    let path = |path| get(HOST, path);
    meet(
        &site,
        &[
            ("no slash", path("api"), Cut),
            ("nothing", path(""), Cut),
            ("absolute", path("http://a.example/public"), Cut),
            ("of another host", path("https://b.example/public"), Cut),
            ("a space", path("/public /api"), Cut),
            ("a line", path("/public HTTP/1.1\r\nx: y"), Cut),
            ("a tab", path("/public\t"), Cut),
            ("a star", path("*"), MALFORMED),
            ("climbing", path("/public/../api"), MALFORMED),
            ("climbing unseen", path("/public/%2e%2e/api"), MALFORMED),
            ("a backslash", path("/public\\..\\api"), MALFORMED),
            ("a fragment that hides a path", path("/api#/public"), Told(401, "missing_token")),
        ],
    )
    .await;
    let answer = site.connect().await.ask(&path("/public/x#/api")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "/public/x"));
}

/// Case 56 (RFC 8441), and CONNECT itself.
#[tokio::test]
async fn nothing_is_connected_to() {
    let site = Site::start().await;
    let extended = [&[(":method", "CONNECT"), (":protocol", "websocket")], &get(HOST, "/public")[1..]].concat();
    meet(
        &site,
        &[
            ("websocket", extended, Cut),
            ("another host", vec![(":method", "CONNECT"), (":authority", "b.example:443")], Told(501, "method_unknown")),
            ("this host", vec![(":method", "CONNECT"), (":authority", HOST)], Told(501, "method_unknown")),
            ("with a path", [&[(":method", "CONNECT")], &get(HOST, "/public")[1..]].concat(), Cut),
            ("TRACE", [&[(":method", "TRACE")], &get(HOST, "/public")[1..]].concat(), Told(501, "method_unknown")),
        ],
    )
    .await;
}

/// Case 57: what was spoken is known from the connection.
#[tokio::test]
async fn the_scheme_is_the_connections() {
    let site = Site::start().await;
    for scheme in ["http", "https", "HTTPS", "file", "wss"] {
        let fields: Fields<'_> = get(HOST, "/public")
            .into_iter()
            .map(|(name, value)| (name, if name == ":scheme" { scheme } else { value }))
            .collect();
        let answer = site.connect().await.ask(&fields).await;
        assert_eq!(answer.status, 200, "{scheme}: {answer:?}");
        let request = site.upstream.take_requests().remove(0);
        assert_eq!(request.head.one("x-forwarded-proto"), Some("https"), "{scheme}");
        assert_eq!(request.head.start_line, "GET /public HTTP/1.1", "{scheme}");
    }
}
