//! Request targets: one canonical path, decided on and forwarded alike.
//!
//! A gateway is bypassed where it reads a path in one way and the upstream in another. So a target with two
//! plausible readings is refused (dot segments, empty segments, encoded slashes, backslashes, control bytes);
//! what is left is brought to one spelling (RFC 3986 §6.2.2), routes are chosen by it, and exactly these bytes
//! are forwarded.
//!
//! pingora shows filters `uri.path()` but sends `raw_path()`, which differ for every target that does not begin
//! with `/`: the bytes to parse are those of `raw_path()`, and the result must be set as the new URI.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::host::Host;

/// A request target in its one form: a canonical path and the query as it was sent.
///
/// Borrows from the request when that was canonical already, as nearly all are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target<'a> {
    path_and_query: Cow<'a, str>,
    path_bytes: usize,
}

/// A path that has one reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanonicalPath<'a>(&'a str);

/// The path of a route: matches whole segments, case-sensitively.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPrefix(Box<str>);

/// Why a request target is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Neither `/…` nor `http(s)://host/…` (RFC 9112 §3.2); `*` included, as nothing here is about the server itself.
    #[error("the request target does not begin with `/`")]
    Form,
    /// An absolute-form target names another host than `Host` does (RFC 9112 §3.2.2).
    #[error("the request target and the host field name different hosts")]
    OtherHost,
    /// A byte that a path or query has only percent-encoded (RFC 3986 §3.3, §3.4), or never.
    #[error("the request target has a character that must be percent-encoded")]
    Character,
    /// `%` without two hexadecimal digits.
    #[error("the path has a `%` that is not followed by two hexadecimal digits")]
    Percent,
    /// `%2f` or `%5c`: a separator for some, data for others.
    #[error("the path has an encoded slash or backslash")]
    EncodedSlash,
    /// An encoded control character.
    #[error("the path has an encoded control character")]
    Control,
    /// Percent-encoded bytes that are not UTF-8: overlong forms are read in as many ways as there are decoders.
    #[error("the path is not UTF-8 after decoding")]
    NotUtf8,
    /// A segment that is nothing but dots, spaces and parameters, raw or encoded: `.`, `..`, `..;x`, `%2e`.
    #[error("the path has a dot segment")]
    DotSegment,
    /// `//` anywhere.
    #[error("the path has an empty segment")]
    EmptySegment,
}

/// Why the path of a route is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathPrefixError {
    /// Paths begin with `/`.
    #[error("a route's path begins with `/`")]
    Form,
    /// Prefixes need no wildcard, and there is no other kind.
    #[error("a route's path has no wildcard: `/api` matches everything below it")]
    Wildcard,
    /// `;x`, a dot or a space at the end of a segment: ignored in requests, so no request could match.
    #[error("a segment of a route's path has no `;`, and no dot or space at its end")]
    Ignored,
    /// Not a path that a request can have.
    #[error(transparent)]
    Target(#[from] TargetError),
}

impl<'a> Target<'a> {
    /// Reads the target of a request for `host`, as it was sent.
    ///
    /// Absolute-form becomes origin-form, provided that it names the same host.
    ///
    /// # Errors
    /// Says what keeps the target from having one reading.
    pub fn parse(raw: &'a [u8], host: &Host) -> Result<Self, TargetError> {
        let raw = if raw.first() == Some(&b'/') { raw } else { origin_form(raw, host)? };
        let path_end = raw.iter().position(|&b| b == b'?').unwrap_or(raw.len());
        let (path, query) = raw.split_at(path_end);
        // The query is passed on byte by byte. Browsers leave `[`, `|` and
        // the like bare in it; what would not survive a request line is refused.
        if !query.iter().all(|b| b.is_ascii_graphic() && !b"\"#<>".contains(b)) {
            return Err(TargetError::Character);
        }
        let Some(mut canonical) = canonical(path)? else {
            let text = std::str::from_utf8(raw).expect("path and query were found to be ASCII");
            return Ok(Self { path_and_query: Cow::Borrowed(text), path_bytes: path_end });
        };
        let path_bytes = canonical.len();
        canonical.extend(query.iter().map(|&b| char::from(b)));
        Ok(Self { path_and_query: Cow::Owned(canonical), path_bytes })
    }

    /// What routes are chosen by.
    #[must_use]
    pub fn path(&self) -> CanonicalPath<'_> {
        CanonicalPath(&self.path_and_query[..self.path_bytes])
    }

    /// The query, without its `?`. Only routes that ask for a parameter decide by it.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.path_and_query[self.path_bytes..].strip_prefix('?')
    }

    /// The exact bytes to forward. When they differ from what was received, the request's URI must be replaced.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// The same target, independent of the request.
    #[must_use]
    pub fn into_owned(self) -> Target<'static> {
        Target { path_and_query: Cow::Owned(self.path_and_query.into_owned()), path_bytes: self.path_bytes }
    }
}

/// Strips scheme and authority off an absolute-form target (RFC 9112 §3.2.2).
fn origin_form<'a>(raw: &'a [u8], host: &Host) -> Result<&'a [u8], TargetError> {
    let after = |scheme: &[u8]| {
        let (start, rest) = raw.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let rest = after(b"http://").or_else(|| after(b"https://")).ok_or(TargetError::Form)?;
    let authority_end = rest.iter().position(|b| b"/?#\\".contains(b)).unwrap_or(rest.len());
    let (authority, origin) = rest.split_at(authority_end);
    if !host.is_named_by(authority) {
        return Err(TargetError::OtherHost);
    }
    match origin.first() {
        None => Ok(b"/"),
        Some(b'/') => Ok(origin),
        Some(_) => Err(TargetError::Form),
    }
}

/// The canonical form of a path that begins with `/`; none if it has that form already.
fn canonical(path: &[u8]) -> Result<Option<String>, TargetError> {
    let mut rewritten: Option<String> = None;
    let mut has_high_bytes = false;
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        if byte != b'%' {
            if !is_plain(byte) {
                return Err(TargetError::Character);
            }
            if let Some(text) = &mut rewritten {
                text.push(char::from(byte));
            }
            at += 1;
            continue;
        }
        let written = path.get(at..at + 3).ok_or(TargetError::Percent)?;
        let decoded = hex(written[1]).zip(hex(written[2])).map(|(high, low)| high << 4 | low).ok_or(TargetError::Percent)?;
        match decoded {
            b'/' | b'\\' => return Err(TargetError::EncodedSlash),
            0..0x20 | 0x7f => return Err(TargetError::Control),
            _ => has_high_bytes |= !decoded.is_ascii(),
        }
        let unreserved = is_unreserved(decoded);
        if rewritten.is_none() && (unreserved || written.iter().any(u8::is_ascii_lowercase)) {
            let so_far = std::str::from_utf8(&path[..at]).expect("every byte so far was found to be ASCII");
            let mut text = String::with_capacity(path.len());
            text.push_str(so_far);
            rewritten = Some(text);
        }
        if let Some(text) = &mut rewritten {
            if unreserved {
                text.push(char::from(decoded));
            } else {
                text.extend(written.iter().map(|b| char::from(b.to_ascii_uppercase())));
            }
        }
        at += 3;
    }
    let text = match &rewritten {
        Some(text) => text.as_str(),
        None => std::str::from_utf8(path).expect("every byte was found to be ASCII"),
    };
    if has_high_bytes {
        check_decoded(text)?;
    }
    check_segments(text)?;
    Ok(rewritten)
}

fn check_decoded(text: &str) -> Result<(), TargetError> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| TargetError::NotUtf8)?;
    // C1 controls are two bytes in UTF-8 and one in what a Latin-1 upstream makes of them.
    if decoded.chars().any(char::is_control) { Err(TargetError::Control) } else { Ok(()) }
}

fn check_segments(path: &str) -> Result<(), TargetError> {
    let below_root = path.strip_prefix('/').ok_or(TargetError::Form)?;
    let mut segments = below_root.split('/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            // `/` and a slash at the end are no segments; a second slash would be.
            "" if segments.peek().is_none() => {}
            "" => return Err(TargetError::EmptySegment),
            _ if decided(segment).is_empty() => return Err(TargetError::DotSegment),
            _ => {}
        }
    }
    Ok(())
}

/// A segment as rules see it: decoded, without path parameters (`;x`), without dots and spaces at its end.
///
/// Upstreams differ in whether these name the same resource: servlet containers drop parameters, Windows drops
/// dots and spaces. A rule for the plain name therefore covers them all. An encoded `;` counts as one, because
/// some upstreams decode before they cut.
fn decided(segment: &str) -> Cow<'_, str> {
    let cut = |text: &str| text.split(';').next().unwrap_or(text).trim_end_matches(['.', ' ']).len();
    if !segment.contains('%') {
        return Cow::Borrowed(&segment[..cut(segment)]);
    }
    let mut decoded = percent_decode_str(segment).decode_utf8_lossy().into_owned();
    decoded.truncate(cut(&decoded));
    Cow::Owned(decoded)
}

/// `pchar` without `%`, or `/` (RFC 3986 §3.3).
const fn is_plain(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(byte, b'/' | b':' | b'@' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
}

/// RFC 3986 §2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

impl<'a> CanonicalPath<'a> {
    /// The path as it is forwarded, still percent-encoded where it must be.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.0
    }

    /// The segments as rules see them: decoded, without path parameters, without dots and spaces at their end.
    /// None for `/`; a slash at the end makes no difference.
    pub fn segments(&self) -> impl Iterator<Item = Cow<'a, str>> + Clone + use<'a> {
        self.0.split('/').filter(|segment| !segment.is_empty()).map(decided)
    }
}

impl PathPrefix {
    /// Reads a route's `path`. `/api/` and `/api` are the same.
    ///
    /// # Errors
    /// Says what to write instead.
    pub fn parse(text: &str) -> Result<Self, PathPrefixError> {
        if !text.starts_with('/') {
            return Err(PathPrefixError::Form);
        }
        if text.contains('*') {
            return Err(PathPrefixError::Wildcard);
        }
        let text = canonical(text.as_bytes())?.map_or(Cow::Borrowed(text), Cow::Owned);
        let ignored = |segment: &str| percent_decode_str(segment).decode_utf8_lossy().len() != decided(segment).len();
        if text.split('/').any(ignored) {
            return Err(PathPrefixError::Ignored);
        }
        let text = if text.len() > 1 { text.strip_suffix('/').unwrap_or(&text) } else { &text };
        Ok(Self(text.into()))
    }

    /// Whether every segment of this prefix is the beginning of `path`.
    #[must_use]
    pub fn matches(&self, path: &CanonicalPath<'_>) -> bool {
        let mut of_path = path.segments();
        self.segments().all(|segment| of_path.next().is_some_and(|other| other == segment))
    }

    /// The canonical text, without a slash at its end unless it is `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments to compare with [`CanonicalPath::segments`].
    pub fn segments(&self) -> impl Iterator<Item = Cow<'_, str>> {
        CanonicalPath(&self.0).segments()
    }
}

#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;
