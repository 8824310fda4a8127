//! Request heads that have two readings: refused before anything is decided by them.
//!
//! What pingora's parser refuses by itself (bad chunk grammar, obs-fold, two different lengths, two hosts over
//! HTTP/1.1) is not repeated here. What it lets pass or mends on the way is refused, because mending is one
//! reader's opinion: the upstream may have another.

use http::header::{AUTHORIZATION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Uri, Version};

use super::host::{Host, HostError};

/// Names that frame a message or concern one connection only, as far as another spelling can fold onto them.
const NEVER_ALIASED: [&str; 6] =
    ["content-length", "content-type", "http2-settings", "keep-alive", "proxy-connection", "transfer-encoding"];

/// Why a request head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS (501).
    #[error("the method is not implemented")]
    MethodUnknown,
    /// Older than HTTP/1.0.
    #[error("the HTTP version is not supported")]
    Version,
    /// No `Host`, and no `:authority` either (RFC 9112 §3.2). HTTP/1.0 clients send one too, or are not served:
    /// the upstream would get HTTP/1.1 without it.
    #[error("there is no host field")]
    HostMissing,
    /// More than one `Host`, equal or not.
    #[error("there is more than one host field")]
    HostRepeated,
    /// `Host` and `:authority` name different hosts (RFC 9113 §8.3.1).
    #[error("the host field and the authority name different hosts")]
    HostMismatch,
    /// A host without a canonical form.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Anything but one `chunked` over HTTP/1.1 (RFC 9112 §6.1).
    #[error("the transfer coding is not exactly one `chunked`")]
    TransferEncoding,
    /// Anything but one number in its shortest form (RFC 9110 §8.6).
    #[error("the content length is not exactly one number")]
    ContentLength,
    /// `Transfer-Encoding` and `Content-Length` together (RFC 9112 §6.3).
    #[error("there is a content length beside a transfer coding")]
    BothLengths,
    /// An expectation other than `100-continue` (417, RFC 9110 §10.1.1).
    #[error("the expectation is not `100-continue`")]
    Expectation,
    /// `Transfer_Encoding` and the like: some servers fold `_` and `.` onto `-`.
    #[error("a field name is another spelling of a framing field")]
    Alias,
    /// More than one `Authorization` (RFC 6750 §3.1: `invalid_request`).
    #[error("there is more than one authorization field")]
    AuthorizationRepeated,
    /// A value with white space at an end, which only HTTP/2 can carry and must not (RFC 9113 §8.2.1).
    #[error("a field value begins or ends with white space")]
    Whitespace,
}

/// Refuses a head whose framing, host or credentials have two readings.
///
/// Over HTTP/1.1 pingora drops `Content-Length` when there is `Transfer-Encoding`, before any filter runs: ask
/// [`raw_head_has_content_length`] too when the request is chunked.
///
/// # Errors
/// The first rule that is broken.
pub fn check_framing(method: &Method, version: Version, headers: &HeaderMap) -> Result<(), HeadError> {
    if !is_implemented(method) {
        return Err(HeadError::MethodUnknown);
    }
    if version < Version::HTTP_10 {
        return Err(HeadError::Version);
    }
    // Counted in passing: to look each of them up would be to hash its name.
    let mut framing = Framing::default();
    for (name, value) in headers {
        framing.count(name, value);
        if NEVER_ALIASED.iter().any(|reserved| name.as_str() != *reserved && folds_to(name, reserved)) {
            return Err(HeadError::Alias);
        }
        let is_space = |b: &u8| matches!(b, b' ' | b'\t');
        let value = value.as_bytes();
        if value.first().is_some_and(is_space) || value.last().is_some_and(is_space) {
            return Err(HeadError::Whitespace);
        }
    }
    check_host_count(version, framing.hosts)?;
    check_body_length(version, &framing)?;
    if framing.unmet_expectation {
        return Err(HeadError::Expectation);
    }
    if framing.authorizations > 1 { Err(HeadError::AuthorizationRepeated) } else { Ok(()) }
}

/// The fields of a head that its reading depends on: how many there are, and the first of each.
#[derive(Default)]
struct Framing<'a> {
    hosts: usize,
    lengths: usize,
    length: Option<&'a HeaderValue>,
    codings: usize,
    coding: Option<&'a HeaderValue>,
    unmet_expectation: bool,
    authorizations: usize,
}

impl<'a> Framing<'a> {
    fn count(&mut self, name: &HeaderName, value: &'a HeaderValue) {
        if *name == HOST {
            self.hosts += 1;
        } else if *name == AUTHORIZATION {
            self.authorizations += 1;
        } else if *name == CONTENT_LENGTH {
            self.lengths += 1;
            self.length.get_or_insert(value);
        } else if *name == TRANSFER_ENCODING {
            self.codings += 1;
            self.coding.get_or_insert(value);
        } else if *name == EXPECT {
            self.unmet_expectation |= !value.as_bytes().eq_ignore_ascii_case(b"100-continue");
        }
    }
}

/// The host that a request is for: `Host`, `:authority`, or both if they agree.
///
/// # Errors
/// There is none, more than one, or one without a canonical form.
pub fn host(uri: &Uri, headers: &HeaderMap, default_port: u16) -> Result<Host, HeadError> {
    let mut fields = headers.get_all(HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(HeadError::HostRepeated);
    }
    match (field, uri.authority()) {
        (None, None) => Err(HeadError::HostMissing),
        (Some(field), None) => Ok(Host::parse(field.as_bytes(), default_port)?),
        (None, Some(authority)) => Ok(Host::parse(authority.as_str(), default_port)?),
        (Some(field), Some(authority)) => {
            let host = Host::parse(field.as_bytes(), default_port)?;
            if host.is_named_by(authority.as_str().as_bytes()) { Ok(host) } else { Err(HeadError::HostMismatch) }
        }
    }
}

/// Whether the bytes of an HTTP/1.1 head, as received, have a `Content-Length` field.
#[must_use]
pub fn raw_head_has_content_length(raw: &[u8]) -> bool {
    // The request line is no field, even if it reads like one.
    let fields = raw.split(|&b| b == b'\n').skip(1);
    fields.filter_map(|line| line.split(|&b| b == b':').next()).any(|name| name.eq_ignore_ascii_case(b"content-length"))
}

/// Whether a request has a field that concerns its connection only (RFC 9110 §7.6.1), or one that names such fields.
#[must_use]
pub fn has_hop_by_hop(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| {
        matches!(
            name.as_str(),
            "connection"
                | "http2-settings"
                | "keep-alive"
                | "proxy-authenticate"
                | "proxy-authorization"
                | "proxy-connection"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
        )
    })
}

/// Whether a server that folds field names (CGI, WSGI, some frameworks) may take `name` for `reserved`: every
/// byte that is not a letter or digit counts as `-`. `reserved` is lower case.
#[must_use]
pub fn folds_to(name: &HeaderName, reserved: &str) -> bool {
    let name = name.as_str();
    name.len() == reserved.len() && name.bytes().zip(reserved.bytes()).all(|(byte, other)| fold(byte) == fold(other))
}

/// As [`folds_to`], for all names that begin with `family`.
#[must_use]
pub fn folds_into_family(name: &HeaderName, family: &str) -> bool {
    let name = name.as_str();
    name.len() >= family.len() && name.bytes().zip(family.bytes()).all(|(byte, other)| fold(byte) == fold(other))
}

const fn fold(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte } else { b'-' }
}

/// TRACE and CONNECT are for proxies; TRACK is TRACE; any other would reach upstreams under rules that nobody
/// wrote for it.
fn is_implemented(method: &Method) -> bool {
    matches!(method.as_str(), "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS")
}

fn check_host_count(version: Version, hosts: usize) -> Result<(), HeadError> {
    match hosts {
        // HTTP/2 has `:authority` instead; `host` looks for it.
        0 if version >= Version::HTTP_2 => Ok(()),
        0 => Err(HeadError::HostMissing),
        1 => Ok(()),
        _ => Err(HeadError::HostRepeated),
    }
}

fn check_body_length(version: Version, framing: &Framing<'_>) -> Result<(), HeadError> {
    if let Some(coding) = framing.coding {
        // HTTP/1.0 has no transfer codings (RFC 9112 §6.1), nor has HTTP/2 (RFC 9113 §8.2.2).
        let chunked = version == Version::HTTP_11 && coding.as_bytes().eq_ignore_ascii_case(b"chunked");
        return match (chunked && framing.codings == 1, framing.length) {
            (false, _) => Err(HeadError::TransferEncoding),
            (true, Some(_)) => Err(HeadError::BothLengths),
            (true, None) => Ok(()),
        };
    }
    let Some(length) = framing.length else { return Ok(()) };
    let digits = length.as_bytes();
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    // A leading zero is octal to some.
    let shortest = digits.len() == 1 || digits.first() != Some(&b'0');
    // 19 digits always fit into 64 bits.
    if plain && shortest && digits.len() <= 19 && framing.lengths == 1 { Ok(()) } else { Err(HeadError::ContentLength) }
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
