//! Forward-auth: which request another proxy asks about before it forwards it, as nginx, Traefik and Envoy say it.
//!
//! A question is put in exactly one of three ways, and whole: what was left out would be guessed, and what is said twice
//! could be the client's word beside the proxy's. Whose questions are believed at all is not decided here.

use http::header::{
    CONTENT_LENGTH, HOST, HeaderName, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, Method, Uri, Version};

const ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");
const FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What only nginx says, and what only Traefik does. `X-Forwarded-Host` and `-Proto` come with requests of all kinds.
const OF_NGINX: [HeaderName; 3] = [ORIGINAL_METHOD, ORIGINAL_URI, ORIGINAL_URL];
const OF_TRAEFIK: [HeaderName; 2] = [FORWARDED_METHOD, FORWARDED_URI];

/// Of the question itself, or about the request and not of it.
const NOT_OF_THE_REQUEST: [HeaderName; 9] = [
    ORIGINAL_METHOD,
    ORIGINAL_URI,
    ORIGINAL_URL,
    FORWARDED_METHOD,
    FORWARDED_URI,
    FORWARDED_HOST,
    FORWARDED_PROTO,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
];

const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// By whose rules a question is put, and its answer read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// `X-Original-Method` with `X-Original-URL`, or with `X-Original-URI` and the `Host` of the question (`auth_request`,
    /// ingress-nginx).
    Nginx,
    /// `X-Forwarded-Method`, `-Uri`, `-Host` and `-Proto` (Traefik's ForwardAuth, Caddy's `forward_auth`).
    Traefik,
    /// The question is the request, with its own method, below the path of questions (ext_authz over HTTP).
    Envoy,
}

/// A request that another proxy has in its hands.
#[derive(Debug)]
pub struct Described {
    /// Its head. The URI says nothing: the target does.
    pub head: Parts,
    /// Its target, byte by byte as it was received there.
    pub target: Vec<u8>,
    /// What a `Host` without a port means there.
    pub default_port: u16,
}

/// Why a question is no question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// In more than one way, by the proxy or by its client.
    #[error("the question is put in two ways: send either X-Original-URL or X-Original-URI, or X-Forwarded-*, or a path")]
    TwoWays,
    /// A field that a decision needs is missing.
    #[error(
        "the question is not whole: X-Original-Method with X-Original-URL, or X-Forwarded-Method, -Uri and -Host, are needed"
    )]
    Incomplete,
    /// A field is there more than once.
    #[error("a field of the question is there more than once")]
    Repeated,
    /// A field says nothing that a request could have.
    #[error("a field of the question is not a method, a host, a scheme or a target")]
    Form,
}

impl Described {
    /// Whether it asks for a WebSocket: `Upgrade` ends at most proxies, the rest of a handshake does not (RFC 6455 §4.1).
    #[must_use]
    pub fn is_websocket(&self) -> bool {
        let headers = &self.head.headers;
        headers.contains_key(SEC_WEBSOCKET_KEY)
            || headers.contains_key(SEC_WEBSOCKET_VERSION)
            || headers.get_all(UPGRADE).iter().any(|value| value.as_bytes().to_ascii_lowercase().starts_with(b"websocket"))
    }
}

/// Who asks; none if this is about no other request. `below` is what follows the path of questions in the target.
#[must_use]
pub fn asker(headers: &HeaderMap, below: &[u8]) -> Option<Asker> {
    let has = |names: &[HeaderName]| names.iter().any(|name| headers.contains_key(name));
    // Where there is more than one way the question is refused, in the words of the strictest reader.
    if has(&OF_NGINX) {
        Some(Asker::Nginx)
    } else if has(&OF_TRAEFIK) {
        Some(Asker::Traefik)
    } else {
        below.starts_with(b"/").then_some(Asker::Envoy)
    }
}

/// The request that is asked about. `head` is the question's, `below` what follows the path of questions in its target,
/// `default_port` what a `Host` without a port means in it.
///
/// # Errors
/// The question says too little, too much, or nothing that can be meant.
pub fn described(head: &Parts, below: &[u8], default_port: u16) -> Result<Described, QuestionError> {
    let headers = &head.headers;
    let has = |names: &[HeaderName]| names.iter().any(|name| headers.contains_key(name));
    match (has(&OF_NGINX), has(&OF_TRAEFIK), below.starts_with(b"/")) {
        (true, false, false) => by_original(head, default_port),
        (false, true, false) => {
            let target = origin_form(one(headers, &FORWARDED_URI)?)?;
            let host = one(headers, &FORWARDED_HOST)?;
            let method = method(one(headers, &FORWARDED_METHOD)?)?;
            Ok(described_as(head, method, Some(host), target, port_of(headers, default_port)?))
        }
        (false, false, true) => Ok(described_as(head, head.method.clone(), None, below, port_of(headers, default_port)?)),
        (false, false, false) => Err(QuestionError::Incomplete),
        _ => Err(QuestionError::TwoWays),
    }
}

fn by_original(head: &Parts, default_port: u16) -> Result<Described, QuestionError> {
    let headers = &head.headers;
    let asked = method(one(headers, &ORIGINAL_METHOD)?)?;
    match (headers.contains_key(&ORIGINAL_URL), headers.contains_key(&ORIGINAL_URI)) {
        (true, true) => Err(QuestionError::TwoWays),
        (true, false) => {
            let url = one(headers, &ORIGINAL_URL)?;
            let (authority, port) = authority(url.as_bytes()).ok_or(QuestionError::Form)?;
            let host = HeaderValue::from_bytes(authority).map_err(|_| QuestionError::Form)?;
            // In absolute-form, which the one reading of targets takes apart, too.
            Ok(described_as(head, asked, Some(&host), url.as_bytes(), port))
        }
        (false, _) => Ok(described_as(head, asked, None, origin_form(one(headers, &ORIGINAL_URI)?)?, default_port)),
    }
}

fn described_as(head: &Parts, method: Method, host: Option<&HeaderValue>, target: &[u8], default_port: u16) -> Described {
    let mut described = head.clone();
    for name in NOT_OF_THE_REQUEST {
        described.headers.remove(name);
    }
    if let Some(host) = host {
        described.headers.insert(HOST, host.clone());
    } else if let Some(authority) = head.uri.authority() {
        // Over HTTP/2 it need not be a field.
        let host = HeaderValue::from_str(authority.as_str()).expect("an authority is visible ASCII");
        described.headers.insert(HOST, host);
    }
    described.method = method;
    described.uri = Uri::default();
    described.version = Version::HTTP_11;
    let mut described = Described { head: described, target: target.to_vec(), default_port };
    if described.is_websocket() {
        // Proxies leave it out of questions; the rules know a handshake by it.
        described.head.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    described
}

/// The value of a field that must be there once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a HeaderValue, QuestionError> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or(QuestionError::Incomplete)?;
    if values.next().is_some() { Err(QuestionError::Repeated) } else { Ok(value) }
}

fn method(value: &HeaderValue) -> Result<Method, QuestionError> {
    Method::from_bytes(value.as_bytes()).map_err(|_| QuestionError::Form)
}

fn origin_form(value: &HeaderValue) -> Result<&[u8], QuestionError> {
    let target = value.as_bytes();
    if target.starts_with(b"/") { Ok(target) } else { Err(QuestionError::Form) }
}

/// Proxies that say the scheme call the one of WebSockets by its own name.
fn port_of(headers: &HeaderMap, default_port: u16) -> Result<u16, QuestionError> {
    if !headers.contains_key(&FORWARDED_PROTO) {
        return Ok(default_port);
    }
    match one(headers, &FORWARDED_PROTO)?.as_bytes() {
        b"http" | b"ws" => Ok(HTTP_PORT),
        b"https" | b"wss" => Ok(HTTPS_PORT),
        _ => Err(QuestionError::Form),
    }
}

/// The authority of a URL, and the port that its scheme implies.
fn authority(url: &[u8]) -> Option<(&[u8], u16)> {
    let http = url.strip_prefix(b"http://").map(|rest| (rest, HTTP_PORT));
    let (rest, port) = http.or_else(|| url.strip_prefix(b"https://").map(|rest| (rest, HTTPS_PORT)))?;
    let end = rest.iter().position(|b| b"/?#\\".contains(b)).unwrap_or(rest.len());
    (end > 0).then_some((&rest[..end], port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(method: &str, fields: &[(&'static str, &str)]) -> Parts {
        let (mut head, ()) = http::Request::new(()).into_parts();
        head.method = method.parse().expect("a method");
        for (name, value) in fields {
            head.headers.append(*name, value.parse().expect("a value"));
        }
        head
    }

    /// Method, host, target and port of what is asked about.
    fn told(method: &str, fields: &[(&'static str, &str)], below: &str) -> Result<(String, String, String, u16), QuestionError> {
        let Described { head, target, default_port } = described(&question(method, fields), below.as_bytes(), 80)?;
        let host = head.headers.get(HOST).map(|host| host.to_str().expect("text").to_owned()).unwrap_or_default();
        Ok((head.method.to_string(), host, String::from_utf8(target).expect("text"), default_port))
    }

    fn is(method: &str, host: &str, target: &str, port: u16) -> Result<(String, String, String, u16), QuestionError> {
        Ok((method.to_owned(), host.to_owned(), target.to_owned(), port))
    }

    const METHOD: (&str, &str) = ("x-original-method", "POST");
    const URI: (&str, &str) = ("x-original-uri", "/a?b");
    const ASKED_AT: (&str, &str) = ("host", "gateway:8080");
    const TRAEFIK: [(&str, &str); 4] = [
        ("x-forwarded-method", "PUT"),
        ("x-forwarded-uri", "/a?b"),
        ("x-forwarded-host", "a.example"),
        ("x-forwarded-proto", "https"),
    ];

    #[test]
    fn each_proxy_says_in_its_own_way_which_request_it_is_about() {
        let url = |url| [METHOD, ("x-original-url", url), ASKED_AT];
        assert_eq!(told("GET", &[METHOD, URI, ASKED_AT], ""), is("POST", "gateway:8080", "/a?b", 80));
        assert_eq!(told("GET", &url("https://a.example/x"), ""), is("POST", "a.example", "https://a.example/x", 443));
        assert_eq!(told("GET", &url("http://a.example:81?y"), ""), is("POST", "a.example:81", "http://a.example:81?y", 80));
        assert_eq!(told("GET", &TRAEFIK, ""), is("PUT", "a.example", "/a?b", 443));
        assert_eq!(told("DELETE", &[ASKED_AT], "/a/../b?c"), is("DELETE", "gateway:8080", "/a/../b?c", 80));
        let wss = [TRAEFIK[0], TRAEFIK[1], TRAEFIK[2], ("x-forwarded-proto", "wss")];
        assert_eq!(told("GET", &wss, ""), is("PUT", "a.example", "/a?b", 443));
    }

    #[test]
    fn what_is_left_out_is_not_guessed() {
        for without in 0..3 {
            let mut fields = TRAEFIK.to_vec();
            fields.remove(without);
            assert_eq!(told("GET", &fields, ""), Err(QuestionError::Incomplete), "{fields:?}");
        }
        for fields in [&[METHOD][..], &[URI], &[("x-original-url", "http://a/")], &[ASKED_AT]] {
            assert_eq!(told("GET", fields, ""), Err(QuestionError::Incomplete), "{fields:?}");
        }
    }

    #[test]
    fn what_is_said_twice_is_refused_whoever_said_it() {
        let url = ("x-original-url", "http://gateway:8080/a?b");
        assert_eq!(told("GET", &[METHOD, URI, url, ASKED_AT], ""), Err(QuestionError::TwoWays));
        assert_eq!(told("GET", &[METHOD, URI, ASKED_AT], "/a?b"), Err(QuestionError::TwoWays));
        for forged in [METHOD, URI, url] {
            let fields = [&TRAEFIK[..], &[forged]].concat();
            assert_eq!(told("GET", &fields, ""), Err(QuestionError::TwoWays), "{forged:?}");
        }
        for forged in &TRAEFIK[..2] {
            assert_eq!(told("GET", &[*forged, METHOD, URI], ""), Err(QuestionError::TwoWays), "{forged:?}");
            assert_eq!(told("GET", &[*forged], "/a"), Err(QuestionError::TwoWays), "{forged:?}");
        }
        for again in TRAEFIK {
            assert_eq!(told("GET", &[&TRAEFIK[..], &[again]].concat(), ""), Err(QuestionError::Repeated), "{again:?}");
        }
        for again in [METHOD, URI] {
            assert_eq!(told("GET", &[METHOD, URI, again], ""), Err(QuestionError::Repeated), "{again:?}");
        }
    }

    #[test]
    fn what_no_request_can_have_is_refused() {
        for uri in ["", "a", "*", "http://a.example/", "?x"] {
            assert_eq!(told("GET", &[METHOD, ("x-original-uri", uri)], ""), Err(QuestionError::Form), "{uri}");
        }
        for url in ["", "/a", "//a/b", "ftp://a/", "http://", "http:///a", "HTTP://a/"] {
            assert_eq!(told("GET", &[METHOD, ("x-original-url", url)], ""), Err(QuestionError::Form), "{url}");
        }
        for (at, value) in [(0, ""), (0, "G T"), (1, "a"), (3, "https, http"), (3, "")] {
            let mut fields = TRAEFIK;
            fields[at].1 = value;
            assert_eq!(told("GET", &fields, ""), Err(QuestionError::Form), "{fields:?}");
        }
    }

    #[test]
    fn the_question_leaves_nothing_in_the_request() {
        let head = question("GET", &[METHOD, URI, ASKED_AT, ("content-length", "7"), ("accept", "x")]);
        let described = described(&head, b"", 80).expect("a question");
        assert_eq!(described.head.headers, question("GET", &[ASKED_AT, ("accept", "x")]).headers);
    }

    #[test]
    fn other_requests_are_no_questions() {
        let fields = [("x-forwarded-host", "a"), ("x-forwarded-proto", "https"), ("x-forwarded-for", "192.0.2.1"), ASKED_AT];
        let head = question("GET", &fields);
        for below in ["", "?x", "*", "x/y"] {
            assert_eq!(asker(&head.headers, below.as_bytes()), None, "{below}");
        }
        assert_eq!(asker(&head.headers, b"/"), Some(Asker::Envoy));
        assert_eq!(asker(&question("GET", &TRAEFIK[..1]).headers, b""), Some(Asker::Traefik));
        assert_eq!(asker(&question("GET", &[URI]).headers, b""), Some(Asker::Nginx));
    }
}
