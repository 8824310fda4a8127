//! Host names: one canonical form for all spellings of the same host.
//!
//! Routes are compared with the canonical form and upstreams are sent the canonical form, so that
//! `A.EXAMPLE`, `a.example.` and `a.example:443` cannot be one host here and another one there. What has no
//! single reading (`127.1`, `a:443:80`, an empty port) is refused rather than interpreted.

use std::net::{Ipv4Addr, Ipv6Addr};

/// RFC 1035 §2.3.4: 255 octets on the wire are 253 characters of text.
const NAME_BYTES_MAX: usize = 253;
/// RFC 1035 §2.3.4.
const LABEL_BYTES_MAX: usize = 63;
/// A name, a dot at its end, a colon and five digits.
const AUTHORITY_BYTES_MAX: usize = NAME_BYTES_MAX + 7;

/// A request's host in canonical form: lower case, no trailing dot, no port that the scheme implies.
///
/// Two hosts are equal when they name the same origin server under the same scheme.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host {
    /// `name`, or `name:port` when the port is not the default one.
    authority: Box<str>,
    name_bytes: usize,
    port: u16,
    default_port: u16,
}

/// Why a `Host` field or `:authority` is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing, or only a port.
    #[error("the host is empty")]
    Empty,
    /// Longer than any host name can be.
    #[error("the host is longer than {NAME_BYTES_MAX} bytes")]
    TooLong,
    /// User information, a list, white space, a path, or any other byte that no host name has.
    #[error("the host has a character that no host name has")]
    Character,
    /// An empty label (`a..b`), or one of more than 63 bytes.
    #[error("the host has an empty or overlong label")]
    Label,
    /// Something between brackets that is not an IPv6 address, or a number that is not an IPv4 address.
    #[error("the host is not a valid IP address")]
    Address,
    /// Empty, zero, beyond 65535, or not in its shortest form.
    #[error("the port is not a number from 1 to 65535")]
    Port,
}

/// The host of a route: a name (`api.example.com`), or `*.example.com` for one or more labels before it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPattern(Box<str>);

/// Why the host of a route is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostPatternError {
    /// A route is for a host on every port that the gateway listens on.
    #[error("a route's host has no port")]
    Port,
    /// `*` anywhere but as the whole first label, or alone.
    #[error("`*` stands only as the whole first label: `*.example.com`; leave `host` out to match every host")]
    Wildcard,
    /// Not a host name.
    #[error(transparent)]
    Host(#[from] HostError),
    /// An international name that has no ASCII form (UTS #46).
    #[error("the host is not a valid international domain name")]
    International,
}

impl Host {
    /// Reads a `Host` field value or an `:authority`. `default_port` is the port that the scheme of this
    /// connection implies (80 or 443).
    ///
    /// # Errors
    /// Says what keeps the text from naming one host.
    pub fn parse(raw: impl AsRef<[u8]>, default_port: u16) -> Result<Self, HostError> {
        let raw = raw.as_ref();
        if raw.len() > AUTHORITY_BYTES_MAX {
            return Err(HostError::TooLong);
        }
        // Non-ASCII names arrive as punycode; anything else is a guess at an encoding.
        let text = std::str::from_utf8(raw).ok().filter(|text| text.is_ascii()).ok_or(HostError::Character)?;
        let (name, digits) = split_port(text)?;
        let port = digits.map_or(Ok(default_port), parse_port)?;
        let mut authority = String::with_capacity(raw.len());
        push_canonical_name(&mut authority, name)?;
        let name_bytes = authority.len();
        if let Some(digits) = digits.filter(|_| port != default_port) {
            // In their shortest form, or they would have been refused.
            authority.extend([":", digits]);
        }
        Ok(Self { authority: authority.into_boxed_str(), name_bytes, port, default_port })
    }

    /// The name or address alone: `a.example`, `127.0.0.1`, `[::1]`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.authority[..self.name_bytes]
    }

    /// The port, explicit or implied by the scheme.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The canonical text, as it is forwarded: without the port when the scheme implies it.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Whether `raw`, found elsewhere in the same request, names this very host.
    #[must_use]
    pub fn is_named_by(&self, raw: &[u8]) -> bool {
        Self::parse(raw, self.default_port).is_ok_and(|other| other == *self)
    }
}

/// Splits `name:port`; an IPv6 address keeps its brackets.
fn split_port(text: &str) -> Result<(&str, Option<&str>), HostError> {
    let name_end = if text.starts_with('[') { text.find(']').ok_or(HostError::Address)? + 1 } else { 0 };
    let rest = &text[name_end..];
    match rest.bytes().position(|b| b == b':') {
        None => Ok((text, None)),
        Some(colon) if name_end == 0 || colon == 0 => Ok((&text[..name_end + colon], Some(&rest[colon + 1..]))),
        Some(_) => Err(HostError::Character),
    }
}

fn parse_port(digits: &str) -> Result<u16, HostError> {
    // `u16::from_str` takes a sign, and a leading zero would be a second spelling.
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    if plain { digits.parse().map_err(|_| HostError::Port) } else { Err(HostError::Port) }
}

fn push_canonical_name(canonical: &mut String, name: &str) -> Result<(), HostError> {
    if let Some(bracketed) = name.strip_prefix('[') {
        use std::fmt::Write as _;
        // A zone (`%eth0`) means something on one machine only; `Ipv6Addr` refuses it.
        let address: Ipv6Addr = bracketed.strip_suffix(']').and_then(|text| text.parse().ok()).ok_or(HostError::Address)?;
        write!(canonical, "[{address}]").expect("writing to a string cannot fail");
        return Ok(());
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        return Err(HostError::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(HostError::TooLong);
    }
    // Some resolvers read `127.1`, `0x7f.1` and `2130706433` as 127.0.0.1: a name whose last label is a number
    // is an address in the one usual notation, or nothing (URL Standard, "ends in a number").
    let last = check_labels(name.as_bytes())?;
    let numeric = last.iter().all(u8::is_ascii_digit) || last.starts_with(b"0x") || last.starts_with(b"0X");
    if numeric && name.parse::<Ipv4Addr>().is_err() {
        return Err(HostError::Address);
    }
    let start = canonical.len();
    canonical.push_str(name);
    canonical[start..].make_ascii_lowercase();
    Ok(())
}

/// The last label of a name whose labels can all be ones.
fn check_labels(name: &[u8]) -> Result<&[u8], HostError> {
    // Underscores are not in RFC 952, and are in the names that container networks hand out.
    if !name.iter().all(|&b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        return Err(HostError::Character);
    }
    let mut last: &[u8] = &[];
    for label in name.split(|&b| b == b'.') {
        if label.is_empty() || label.len() > LABEL_BYTES_MAX {
            return Err(HostError::Label);
        }
        last = label;
    }
    Ok(last)
}

impl HostPattern {
    /// Reads a route's `host`. International names may be written as such.
    ///
    /// # Errors
    /// Says what to write instead.
    pub fn parse(text: &str) -> Result<Self, HostPatternError> {
        let (wildcard, name) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if name.contains('*') {
            return Err(HostPatternError::Wildcard);
        }
        let name = if name.is_ascii() {
            name.to_owned()
        } else {
            idna::domain_to_ascii(name).map_err(|_| HostPatternError::International)?
        };
        let (name, port) = split_port(&name)?;
        if port.is_some() {
            return Err(HostPatternError::Port);
        }
        let mut canonical = String::with_capacity(name.len());
        push_canonical_name(&mut canonical, name)?;
        let name = canonical;
        if !wildcard {
            return Ok(Self(name.into_boxed_str()));
        }
        // Nothing is a subdomain of an address.
        if name.starts_with('[') || name.parse::<Ipv4Addr>().is_ok() {
            return Err(HostPatternError::Wildcard);
        }
        Ok(Self(format!("*.{name}").into_boxed_str()))
    }

    /// Whether a route with this pattern is for `host`. Ports play no part.
    #[must_use]
    pub fn matches(&self, host: &Host) -> bool {
        match self.wildcard_parent() {
            Some(parent) => parents(host.name()).any(|of_host| of_host == parent),
            None => *self.0 == *host.name(),
        }
    }

    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `example.com` for `*.example.com`; none for an exact name.
    #[must_use]
    pub fn wildcard_parent(&self) -> Option<&str> {
        self.0.strip_prefix("*.")
    }
}

/// `b.c` and `c` for `a.b.c`: what a wildcard may stand before, longest first.
pub(super) fn parents(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| name.split_once('.').map(|(_, parent)| parent)).skip(1)
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
