//! Which header fields to remove and set on the way to an upstream and back, as data.
//!
//! The edits of a request belong into `upstream_request_filter`: pingora has removed by then what `Connection`
//! nominates, so a client cannot have our fields removed by nominating them. Hop-by-hop fields of requests and
//! the framing of both directions are pingora's business.

mod cookies;
mod elsewhere;
mod handshake;
mod response;

use std::hash::{Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::Arc;

use http::header::{AUTHORIZATION, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::identity::{Caller, Principal};
use crate::policy::access::Permit;
use crate::policy::bearer;
use crate::policy::head::folds_to;
use crate::policy::host::Host;
use crate::policy::reserved::{IDENTITY_FIELDS, Reserved};

use cookies::OwnCookies;

pub use cookies::COOKIE_PREFIX;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Fields that identity must not be written to: they frame the message, or the gateway writes them otherwise.
const TAKEN: [&str; 18] = [
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "proxy",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
];

/// What is encoded in identity fields: all but visible ASCII, the comma that separates roles (and, to many
/// servers, fields), and `%` itself, so that decoding always gives the original.
const ENCODED: AsciiSet = CONTROLS.add(b' ').add(b'%').add(b',');

/// The fields that tell an upstream who is calling.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdentityHeaderNames {
    /// `sub`
    pub subject: HeaderName,
    /// The user name as typed.
    pub username: HeaderName,
    /// The address as typed.
    pub email: HeaderName,
    /// The roles, separated by commas.
    pub roles: HeaderName,
    /// The scopes, separated by commas like the roles.
    pub scopes: HeaderName,
    /// `sid`
    pub session: HeaderName,
    /// `iss`
    pub issuer: HeaderName,
    /// The names of the client's own certificate.
    pub client_certificate: HeaderName,
}

/// What [`Forwarding`] needs to know.
#[derive(Debug, Clone)]
pub struct ForwardingSettings {
    /// Where identity is written.
    pub identity_headers: IdentityHeaderNames,
    /// The issuer of most callers: its field value is made once.
    pub issuer: Arc<str>,
    /// Names of cookies that are the gateway's own, besides all that begin with [`COOKIE_PREFIX`].
    pub own_cookies: Vec<Box<str>>,
}

/// Why identity cannot be written to a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForwardingError {
    /// The field has another meaning.
    #[error("`{0}` cannot be an identity header: it has another meaning")]
    Taken(HeaderName),
    /// Two identity fields with one name, or two spellings of one.
    #[error("the identity headers `{0}` and `{1}` are the same to some servers")]
    Same(HeaderName, HeaderName),
}

/// How the client speaks to the gateway: known from the listener, never from the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Clear text.
    Http,
    /// TLS.
    Https,
}

/// What an upstream is told about the request beside who is calling.
#[derive(Debug, Clone, Copy)]
pub struct RequestFacts<'a> {
    /// The client's address ([`crate::client_addr`]).
    pub client: IpAddr,
    /// The client's scheme.
    pub scheme: Scheme,
    /// The host that the request is for.
    pub host: &'a Host,
    /// The gateway's identifier of this request.
    pub request_id: &'a str,
    /// The names of the client's own certificate, as [`carried_list`] makes them; none without one that is believed.
    pub client_certificate: Option<&'a HeaderValue>,
}

/// Changes to a head: first `remove`, then `set` (replaces every field of that name), then `append`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Fields to take out, all values.
    pub remove: Vec<HeaderName>,
    /// Fields to have exactly one value.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Fields to add a value to.
    pub append: Vec<(HeaderName, HeaderValue)>,
}

impl HeaderEdits {
    /// Makes the changes.
    pub fn apply(self, headers: &mut HeaderMap) {
        for name in self.remove {
            headers.remove(name);
        }
        headers.reserve(self.set.len() + self.append.len());
        for (name, value) in self.set {
            headers.insert(name, value);
        }
        for (name, value) in self.append {
            headers.append(name, value);
        }
    }
}

/// The rules of forwarding, prepared once.
#[derive(Debug)]
pub struct Forwarding {
    names: IdentityHeaderNames,
    /// Tells `names` from those before a reload.
    names_hash: u64,
    reserved: Reserved,
    issuer: (Arc<str>, HeaderValue),
    own_cookies: OwnCookies,
}

impl IdentityHeaderNames {
    fn all(&self) -> [&HeaderName; IDENTITY_FIELDS] {
        let Self { subject, username, email, roles, scopes, session, issuer, client_certificate } = self;
        [subject, username, email, roles, scopes, session, issuer, client_certificate]
    }
}

impl Forwarding {
    /// Prepares the rules.
    ///
    /// # Errors
    /// An identity field has another meaning, or two of them are one.
    pub fn new(settings: ForwardingSettings) -> Result<Self, ForwardingError> {
        let names = settings.identity_headers;
        let all = names.all();
        for (at, name) in all.iter().enumerate() {
            if TAKEN.iter().any(|taken| folds_to(name, taken)) {
                return Err(ForwardingError::Taken((*name).clone()));
            }
            if let Some(same) = all[..at].iter().find(|other| folds_to(name, other.as_str())) {
                return Err(ForwardingError::Same((*same).clone(), (*name).clone()));
            }
        }
        let reserved = Reserved::new(all);
        let issuer = carried(&settings.issuer);
        let own_cookies = OwnCookies { names: settings.own_cookies.into() };
        // With a fixed key: equal names have one hash before and after a reload. They are the operator's own words.
        let mut hasher = std::hash::DefaultHasher::new();
        names.hash(&mut hasher);
        let names_hash = hasher.finish();
        Ok(Self { names, names_hash, reserved, issuer: (settings.issuer, issuer), own_cookies })
    }

    /// What to change in the head of a permitted request.
    ///
    /// Every spelling of a field that only the gateway may write is removed, on every route. A bearer token is
    /// removed unless the route passes it; an `Authorization` of another scheme is between client and upstream
    /// and stays. A token among the subprotocols of a WebSocket never stays there. `Host` becomes the canonical one, by which the route was chosen.
    #[must_use]
    pub fn request_edits(&self, incoming: &HeaderMap, permit: &Permit, facts: &RequestFacts<'_>) -> HeaderEdits {
        let mut edits = HeaderEdits { set: Vec::with_capacity(12), ..HeaderEdits::default() };
        let (mut host, mut has_cookies, mut has_subprotocols, mut has_bearer) = (None, false, false, false);
        // In one pass: to look a field up is to hash its name. A field with several values comes once for each.
        for (name, value) in incoming {
            if *name == HOST {
                host.get_or_insert(value);
            } else if *name == AUTHORIZATION {
                has_bearer |= bearer::is_bearer(value);
            } else if *name == COOKIE {
                has_cookies = true;
            } else if *name == SEC_WEBSOCKET_PROTOCOL {
                has_subprotocols = true;
            }
            if self.reserved.covers(name) && edits.remove.last() != Some(name) {
                edits.remove.push(name.clone());
            }
        }
        if has_bearer && !permit.route().pass_token {
            edits.remove.push(AUTHORIZATION);
        }
        if has_subprotocols {
            handshake::of_request(incoming, permit, &mut edits);
        }
        if has_cookies {
            cookies::of_request(&self.own_cookies, incoming, &mut edits);
        }
        self.tell_request(host, facts, &mut edits);
        if let Some(caller) = permit.caller() {
            self.tell_caller(caller, &mut edits.set);
        }
        edits
    }

    /// What to change in the head of an upstream's response.
    #[must_use]
    pub fn response_edits(&self, status: http::StatusCode, upstream: &HeaderMap) -> HeaderEdits {
        let mut edits = HeaderEdits::default();
        response::edit(status, upstream, &self.own_cookies, &mut edits);
        edits
    }

    fn tell_request(&self, given_host: Option<&HeaderValue>, facts: &RequestFacts<'_>, edits: &mut HeaderEdits) {
        let authority = facts.host.authority();
        let host = given_host.filter(|given| given.as_bytes() == authority.as_bytes()).cloned().unwrap_or_else(|| {
            // Over HTTP/2 there may be none yet.
            let canonical = HeaderValue::from_str(authority).expect("a canonical host is visible ASCII");
            edits.set.push((HOST, canonical.clone()));
            canonical
        });
        let scheme = HeaderValue::from_static(match facts.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        });
        edits.set.push((X_FORWARDED_FOR, address(facts.client)));
        edits.set.push((X_FORWARDED_HOST, host));
        edits.set.push((X_FORWARDED_PROTO, scheme));
        edits.set.push((X_REQUEST_ID, carried(facts.request_id)));
        if let Some(certificate) = facts.client_certificate {
            edits.set.push((self.names.client_certificate.clone(), certificate.clone()));
        }
    }

    /// The identity headers of `principal`, for whoever answers about it without forwarding anything.
    #[must_use]
    pub fn identity_headers(&self, principal: &Principal) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = Vec::with_capacity(7);
        self.tell_identity(principal, &mut headers);
        headers
    }

    /// As [`Self::tell_identity`], made once for all requests with a token.
    fn tell_caller(&self, caller: &Caller, headers: &mut Vec<(HeaderName, HeaderValue)>) {
        let make = || Told { by: self.names_hash, headers: self.identity_headers(&caller.principal) };
        match caller.kept.get_or_make(make) {
            Some(told) if told.by == self.names_hash => headers.extend_from_slice(&told.headers),
            // Kept before a reload gave the fields other names.
            _ => self.tell_identity(&caller.principal, headers),
        }
    }

    /// What is not known of the principal is not set, and was removed if the client sent it.
    fn tell_identity(&self, principal: &Principal, headers: &mut Vec<(HeaderName, HeaderValue)>) {
        let mut set = |name: &HeaderName, value| headers.push((name.clone(), value));
        set(&self.names.subject, carried(&principal.subject));
        if let Some(username) = &principal.username {
            set(&self.names.username, carried(username));
        }
        if let Some(email) = &principal.email {
            set(&self.names.email, carried(email));
        }
        if !principal.roles.is_empty() {
            set(&self.names.roles, carried_list(&principal.roles));
        }
        if !principal.scopes.is_empty() {
            set(&self.names.scopes, carried_list(&principal.scopes));
        }
        let mut text = [0; 36];
        set(&self.names.session, carried(principal.session.0.hyphenated().encode_lower(&mut text)));
        let (issuer, value) = &self.issuer;
        set(&self.names.issuer, if principal.issuer == *issuer { value.clone() } else { carried(&principal.issuer) });
    }
}

/// The identity headers of a caller, kept with it.
struct Told {
    /// Which names they have.
    by: u64,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// An address as a field value. By hand where it is IPv4: every request has one, and the general formatter takes ten times
/// as long.
fn address(client: IpAddr) -> HeaderValue {
    let IpAddr::V4(client) = client else {
        return HeaderValue::try_from(client.to_string()).expect("an IP address is visible ASCII");
    };
    let mut text = [0; "255.255.255.255".len()];
    let mut length = 0;
    let mut push = |byte| {
        text[length] = byte;
        length += 1;
    };
    for (at, octet) in client.octets().into_iter().enumerate() {
        if at > 0 {
            push(b'.');
        }
        if octet >= 100 {
            push(b'0' + octet / 100);
        }
        if octet >= 10 {
            push(b'0' + octet / 10 % 10);
        }
        push(b'0' + octet % 10);
    }
    HeaderValue::from_bytes(&text[..length]).expect("digits and dots are visible ASCII")
}

/// A bearer token is for the gateway unless the route passes it on; other schemes are between client and upstream.
fn keeps_authorization(permit: &Permit, incoming: &HeaderMap) -> bool {
    permit.route().pass_token || !incoming.get_all(AUTHORIZATION).iter().any(bearer::is_bearer)
}

/// `text` as a field value, percent-encoded where a field value could not carry it.
fn carried(text: &str) -> HeaderValue {
    if text.bytes().fold(true, |plain, byte| plain & (byte.is_ascii_graphic() & (byte != b'%') & (byte != b','))) {
        return HeaderValue::from_str(text).expect("visible ASCII makes a field value");
    }
    let encoded: std::borrow::Cow<'_, str> = utf8_percent_encode(text, &ENCODED).into();
    HeaderValue::from_str(&encoded).expect("percent-encoded text is visible ASCII")
}

/// Several texts as one field value, separated by commas, each encoded so that none can pass for two.
#[must_use]
pub fn carried_list(items: &[Box<str>]) -> HeaderValue {
    let mut list = String::with_capacity(items.iter().map(|item| item.len() + 1).sum());
    for item in items {
        if !list.is_empty() {
            list.push(',');
        }
        list.extend(utf8_percent_encode(item, &ENCODED));
    }
    HeaderValue::try_from(list).expect("percent-encoded text is visible ASCII")
}

#[cfg(test)]
mod tests;
