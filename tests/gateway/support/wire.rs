//! HTTP/1.1 messages as bytes, read strictly: what is not exactly RFC 9112 is reported, never repaired.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::find;

/// A start line and its fields, with the exact bytes they came from.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) raw: Vec<u8>,
    pub(crate) start_line: String,
    fields: Vec<(String, String)>,
}

impl Head {
    fn parse(raw: Vec<u8>) -> Self {
        // Latin-1: every byte is kept and none is an error.
        let text: String = raw.iter().map(|byte| char::from(*byte)).collect();
        let mut lines = text.split("\r\n");
        let start_line = lines.next().unwrap_or_default().to_owned();
        let field = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        let fields = lines.filter_map(field).collect();
        Self { raw, start_line, fields }
    }

    /// The n-th word of the start line.
    pub(crate) fn word(&self, n: usize) -> &str {
        self.start_line.split(' ').nth(n).unwrap_or_default()
    }

    /// Every value of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a field that occurs once.
    ///
    /// # Panics
    /// It occurs more often.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() <= 1, "`{name}` occurs {} times:\n{}", values.len(), self.raw.escape_ascii());
        values.first().copied()
    }

    /// Every field, its name as written.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// What keeps this from being a request head with one reading (RFC 9112 §2.2, §3, §5, §6).
    pub(crate) fn faults_of_request(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut fault = |broken: bool, what: &str| {
            if broken {
                faults.push(format!("{what}: {}", self.raw.escape_ascii()));
            }
        };
        let words: Vec<_> = self.start_line.split(' ').collect();
        fault(words.len() != 3 || words[2] != "HTTP/1.1", "the request line is not `method target HTTP/1.1`");
        fault(!words.get(1).is_some_and(|target| target.starts_with('/')), "the target does not begin with `/`");
        fault(self.start_line.bytes().any(|byte| !(0x20..0x7f).contains(&byte)), "the request line has a forbidden byte");
        let lines = self.raw.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        fault(lines.clone().any(|line| !line.ends_with(b"\r")), "a line ends in a bare line feed");
        fault(lines.clone().any(|line| line[..line.len() - 1].contains(&b'\r')), "a bare carriage return");
        fault(self.fields().any(|(name, _)| name.is_empty() || !name.bytes().all(is_token)), "a field name is not a token");
        fault(self.all("host").len() != 1, "not exactly one host");
        let (lengths, codings) = (self.all("content-length"), self.all("transfer-encoding"));
        fault(!lengths.is_empty() && !codings.is_empty(), "both content-length and transfer-encoding");
        fault(
            lengths.len() > 1
                || lengths.iter().any(|length| length.parse::<u64>().map(|n| n.to_string()).as_deref() != Ok(length)),
            "content-length is not one number",
        );
        fault(codings.len() > 1 || codings.iter().any(|coding| *coding != "chunked"), "transfer-encoding is not one `chunked`");
        faults
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Where its framing says.
    Complete,
    /// The connection closed before that.
    Cut,
}

/// The reading half of a connection, with what was read too far.
#[derive(Debug)]
pub(crate) struct Incoming<R> {
    stream: R,
    unread: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    pub(crate) fn new(stream: R) -> Self {
        Self { stream, unread: Vec::new() }
    }

    pub(crate) fn stream(&mut self) -> &mut R {
        &mut self.stream
    }

    /// Reads more bytes; false at the end of the stream. A reset is an end, too.
    pub(crate) async fn more(&mut self) -> bool {
        let read: io::Result<usize> = self.stream.read_buf(&mut self.unread).await;
        matches!(read, Ok(1..))
    }

    /// Bytes that arrived and were not asked for.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// Takes all bytes that arrived and were not asked for.
    pub(crate) fn take_unread(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unread)
    }

    /// The next head; none at the end of the stream.
    pub(crate) async fn head(&mut self) -> Option<Head> {
        let end = loop {
            match find(&self.unread, b"\r\n\r\n") {
                Some(at) => break at + 4,
                None if !self.more().await => return None,
                None => {}
            }
        };
        Some(Head::parse(self.unread.drain(..end).collect()))
    }

    /// The body that `head` announces; a head without framing has `unframed` for a body.
    pub(crate) async fn body(&mut self, head: &Head, unframed: Unframed) -> (Vec<u8>, End) {
        if !head.all("transfer-encoding").is_empty() {
            return self.chunked().await;
        }
        match (head.all("content-length").first().and_then(|length| length.parse().ok()), unframed) {
            (Some(length), _) => self.exactly(length).await,
            (None, Unframed::Empty) => (Vec::new(), End::Complete),
            (None, Unframed::UntilClose) => {
                while self.more().await {}
                (self.take_unread(), End::Complete)
            }
        }
    }

    async fn exactly(&mut self, length: usize) -> (Vec<u8>, End) {
        while self.unread.len() < length {
            if !self.more().await {
                return (self.take_unread(), End::Cut);
            }
        }
        (self.unread.drain(..length).collect(), End::Complete)
    }

    async fn line(&mut self) -> Option<Vec<u8>> {
        let end = loop {
            match find(&self.unread, b"\r\n") {
                Some(at) => break at,
                None if !self.more().await => return None,
                None => {}
            }
        };
        let line = self.unread.drain(..end).collect();
        self.unread.drain(..2);
        Some(line)
    }

    async fn chunked(&mut self) -> (Vec<u8>, End) {
        let mut body = Vec::new();
        loop {
            let Some(line) = self.line().await else { return (body, End::Cut) };
            let size = std::str::from_utf8(&line).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
            let Some(size) = size else { return (body, End::Cut) };
            if size == 0 {
                // A trailer section would stand here: what it held is left unread, for the caller to find.
                let end = if self.line().await.is_some_and(|line| line.is_empty()) { End::Complete } else { End::Cut };
                return (body, end);
            }
            let (chunk, end) = self.exactly(size).await;
            body.extend(chunk);
            if end == End::Cut || self.line().await.is_none_or(|line| !line.is_empty()) {
                return (body, End::Cut);
            }
        }
    }
}

/// What a message without framing fields has for a body (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unframed {
    /// Nothing: a request.
    Empty,
    /// Everything up to the end of the connection: a response.
    UntilClose,
}

/// The judge is judged: a fault that it overlooked would make the tests pass for nothing.
#[test]
fn what_is_not_strict_http_is_found() {
    let faults = |raw: &str| Head::parse(raw.as_bytes().to_vec()).faults_of_request().len();
    assert_eq!(faults("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"), 0);
    assert_eq!(faults("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), 0);
    for raw in [
        "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a HTTP/1.0\r\nHost: a\r\n\r\n",
        "GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n",
        "GET /a HTTP/1.1\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 01\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    ] {
        assert_eq!(faults(raw), 1, "{raw}: {:?}", Head::parse(raw.as_bytes().to_vec()).faults_of_request());
    }
}

#[tokio::test]
async fn a_body_ends_where_its_framing_says() {
    for (message, body, end) in [
        ("P / HTTP/1.1\r\nContent-Length: 2\r\n\r\nabc", "ab", End::Complete),
        ("P / HTTP/1.1\r\nContent-Length: 4\r\n\r\nabc", "abc", End::Cut),
        ("P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", "abc", End::Complete),
        ("P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", "ab", End::Cut),
        ("P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n", "ab", End::Cut),
        ("P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Trailer: b\r\n\r\n", "a", End::Cut),
        ("P / HTTP/1.1\r\n\r\nabc", "", End::Complete),
    ] {
        let mut incoming = Incoming::new(message.as_bytes());
        let head = incoming.head().await.expect("a head");
        assert_eq!(incoming.body(&head, Unframed::Empty).await, (body.as_bytes().to_vec(), end), "{message}");
    }
}
