//! Tables of requests: how a row is written, sent and judged.

use crate::support::gateway::Gateway;
use crate::support::upstream::{Captured, Upstream};
use crate::support::{fill, find};

/// One trick.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    name: &'static str,
    request: Request,
    expected: Expected,
}

#[derive(Debug, Clone, Copy)]
enum Request {
    /// As it is sent.
    Bytes(&'static [u8]),
    /// A plain GET of this target.
    Target(&'static [u8]),
}

#[derive(Debug, Clone, Copy)]
enum Expected {
    Refused { status: u16, code: &'static str, closes: bool },
    BrokenOff { status: u16, code: &'static str },
    Forwarded(&'static [Sees]),
}

impl Request {
    fn template(self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.to_vec(),
            Self::Target(target) => [b"GET ", target, b" HTTP/1.1\r\nHost: a\r\nX-Tag: {tag}\r\n\r\n"].concat(),
        }
    }
}

/// What the upstream must have been sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sees {
    /// This request target.
    Target(&'static str),
    /// This method.
    Method(&'static str),
    /// This body.
    Body(&'static str),
    /// This field, exactly once, with this value; `{subject}` stands for that of the caller.
    Field(&'static str, &'static str),
    /// No field whose name reads like this one to a server that takes `_`, `.` and the like for `-`.
    No(&'static str),
}

/// The gateway answers with this problem, and the upstream gets not a single byte.
pub(super) const fn refused(name: &'static str, status: u16, code: &'static str, request: &'static [u8]) -> Row {
    Row { name, request: Request::Bytes(request), expected: Expected::Refused { status, code, closes: false } }
}

/// The same, and the connection ends: what follows on it cannot be told from a request.
pub(super) const fn closed(name: &'static str, status: u16, code: &'static str, request: &'static [u8]) -> Row {
    Row { name, request: Request::Bytes(request), expected: Expected::Refused { status, code, closes: true } }
}

/// The fault is in the body. The gateway answers with this problem and closes; the upstream may have begun to
/// receive the request, but never gets to its end.
pub(super) const fn broken_off(name: &'static str, status: u16, code: &'static str, request: &'static [u8]) -> Row {
    Row { name, request: Request::Bytes(request), expected: Expected::BrokenOff { status, code } }
}

/// The request arrives at the upstream once, in strict HTTP/1.1, and looks like this there.
pub(super) const fn forwarded(name: &'static str, sees: &'static [Sees], request: &'static [u8]) -> Row {
    Row { name, request: Request::Bytes(request), expected: Expected::Forwarded(sees) }
}

/// A plain GET of `target` is answered with this problem, and the upstream gets not a single byte.
pub(super) const fn refused_target(name: &'static str, status: u16, code: &'static str, target: &'static [u8]) -> Row {
    Row { name, request: Request::Target(target), expected: Expected::Refused { status, code, closes: false } }
}

/// A plain GET of `target` arrives at the upstream as one of `arrives`.
pub(super) const fn forwarded_target(name: &'static str, arrives: &'static [Sees], target: &'static [u8]) -> Row {
    Row { name, request: Request::Target(target), expected: Expected::Forwarded(arrives) }
}

/// A gateway, an upstream and a caller for the rows of one table.
pub(super) struct Stage {
    pub(super) gateway: Gateway,
    pub(super) upstream: Upstream,
    pub(super) token: String,
    subject: String,
}

impl Stage {
    /// The usual routes.
    pub(super) async fn new() -> Self {
        let upstream = Upstream::echo().await;
        let builder = Gateway::in_front_of(&upstream)
            .route("path = \"/admin\"")
            .route("path = \"/read-only\"\naccess = \"public\"\nmethods = [\"GET\"]")
            .route("path = \"/with-token\"\npass_token = true")
            .route("path = \"/\"\nhost = \"a.example\"\naccess = \"public\"");
        Self::with(upstream, builder.start().await).await
    }

    /// Routes of the test's own.
    pub(super) async fn with(upstream: Upstream, gateway: Gateway) -> Self {
        let ada = gateway.registered("ada").await;
        let (status, claims) = ada.get("/auth/verify").await;
        assert_eq!(status, 200, "{claims}");
        let subject = claims["sub"].as_str().expect("a verified token has a subject").to_owned();
        Self { gateway, upstream, token: ada.access_token, subject }
    }

    /// Plays every row, then reports all that went wrong.
    ///
    /// In a request, `{tag}` stands for a text that identifies it, and `{token}` for a valid access token.
    pub(super) async fn play(&self, rows: impl IntoIterator<Item = Row>) {
        let mut failures = Vec::new();
        let mut unheard = Vec::new();
        for (number, row) in rows.into_iter().enumerate() {
            let tag = format!("tag{number:03}.");
            if let Err(why) = self.play_row(&row, &tag).await {
                failures.push(format!("{}\n    sent: {}\n    {why}", row.name, row.request.template().escape_ascii()));
            }
            if matches!(row.expected, Expected::Refused { .. }) {
                unheard.push((row.name, tag));
            }
        }
        // Whatever was on its way to the upstream has arrived once a later request has.
        let mut client = self.gateway.connect().await;
        assert_eq!(client.ask("GET /public/last HTTP/1.1\r\nhost: a\r\n\r\n").await.status, 200);
        let heard = unheard.iter().filter(|(_, tag)| self.upstream.saw(tag));
        failures.extend(heard.map(|(name, _)| format!("{name}: the upstream got bytes of it")));
        assert!(failures.is_empty(), "{} rows failed\n{}", failures.len(), failures.join("\n"));
    }

    async fn play_row(&self, row: &Row, tag: &str) -> Result<(), String> {
        let template = row.request.template();
        assert!(find(&template, b"{tag}").is_some(), "{}: a row without a tag proves nothing", row.name);
        let request = fill(&template, &[("tag", tag), ("token", &self.token)]);
        let method =
            request.split(|byte| *byte == b' ').next().and_then(|method| std::str::from_utf8(method).ok()).unwrap_or("GET");
        let mut client = self.gateway.connect().await;
        client.send(&request).await;
        let response = client.response_to(method).await.ok_or("expected: a response; actual: the connection ended")?;
        let actual = (response.status, response.code());
        let same = |status: u16, code: &str| {
            let right = actual == (status, code.to_owned());
            right.then_some(()).ok_or_else(|| format!("expected: {status} {code}\n    actual: {} {}", actual.0, actual.1))
        };
        match row.expected {
            Expected::Refused { status, code, closes } => {
                same(status, code)?;
                if self.upstream.saw(tag) {
                    return Err("the upstream got bytes of it".to_owned());
                }
                if closes { nothing_more(&client.rest().await) } else { Ok(()) }
            }
            Expected::BrokenOff { status, code } => {
                same(status, code)?;
                nothing_more(&client.rest().await)?;
                self.no_faults_but_cuts()?;
                let whole = self.upstream.requests(tag);
                whole.is_empty().then_some(()).ok_or_else(|| format!("the upstream took it for whole: {whole:?}"))
            }
            Expected::Forwarded(sees) => {
                same(200, "")?;
                self.strictly_framed()?;
                match &self.upstream.requests(tag)[..] {
                    [request] => sees.iter().try_for_each(|expected| self.judge(expected, request)),
                    others => Err(format!("expected: one request at the upstream; actual: {}: {others:?}", others.len())),
                }
            }
        }
    }

    fn strictly_framed(&self) -> Result<(), String> {
        let faults = self.upstream.take_faults();
        if faults.is_empty() { Ok(()) } else { Err(format!("the upstream was sent what is not strict HTTP: {faults:?}")) }
    }

    /// A request that breaks off may leave bytes behind; its head must be strict nevertheless.
    fn no_faults_but_cuts(&self) -> Result<(), String> {
        let faults = self.upstream.take_faults();
        let others: Vec<_> = faults.iter().filter(|fault| !fault.starts_with("bytes that are no request")).collect();
        if others.is_empty() { Ok(()) } else { Err(format!("the upstream was sent what is not strict HTTP: {others:?}")) }
    }

    fn judge(&self, expected: &Sees, request: &Captured) -> Result<(), String> {
        let head = &request.head;
        let (right, actual) = match *expected {
            Sees::Target(target) => (head.word(1) == target, head.word(1).to_owned()),
            Sees::Method(method) => (head.word(0) == method, head.word(0).to_owned()),
            Sees::Body(body) => (request.body == body.as_bytes(), request.body.escape_ascii().to_string()),
            Sees::Field(name, value) => {
                let value = value.replace("{subject}", &self.subject);
                let values: Vec<_> = head.fields().filter(|(other, _)| folded(other) == folded(name)).collect();
                (values.len() == 1 && values[0].1 == value, format!("{values:?}"))
            }
            Sees::No(name) => {
                let names: Vec<_> = head.fields().map(|(other, _)| other).filter(|other| folded(other) == folded(name)).collect();
                (names.is_empty(), format!("{names:?}"))
            }
        };
        if right { Ok(()) } else { Err(format!("expected at the upstream: {expected:?}\n    actual: {actual}")) }
    }
}

fn nothing_more(rest: &[u8]) -> Result<(), String> {
    if rest.is_empty() { Ok(()) } else { Err(format!("more than one response: {}", rest.escape_ascii())) }
}

/// A field name as the most lenient server reads it.
pub(super) fn folded(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}
