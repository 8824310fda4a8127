//! What `[[routes]]` say besides where requests go: rewrites that stay paths, redirects that lead where the file says, edits
//! that forge nothing, limits that can be kept.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue, StatusCode};

use super::{Check, DAY, SECOND};
use crate::config::file;
use crate::config::file::routes as written;
use crate::config::place::Path;
use crate::policy::conditions::Conditions;
use crate::policy::cors::{Cors, OriginError, Origins, origin};
use crate::policy::filters::{FieldEdits, Filters, Per, RateLimit};
use crate::policy::head::folds_to;
use crate::policy::host::{Host, HostPattern};
use crate::policy::path::PathPrefix;
use crate::policy::reserved::Reserved;
use crate::policy::rewrite::{PathRewrite, Redirect, Rewrite};

/// What other sections say about filters.
pub(super) struct Around {
    /// Request fields that only the gateway may write.
    pub(super) reserved: Reserved,
    /// Whether there is a Redis in which replicas can count together.
    pub(super) has_redis: bool,
}

/// They frame the message or end at the gateway, in either direction (RFC 9110 §7.6.1).
const FRAMING: [&str; 10] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const WHOLE: &str = "write whole segments, like \"/api/v1\"";

/// The names that only the gateway may write, with those of `[identity_headers]`.
pub(super) fn reserved(file: &file::IdentityHeaders) -> Reserved {
    let file::IdentityHeaders { subject, username, email, roles, scopes, session, issuer, client_certificate, .. } = file;
    let names = [subject, username, email, roles, scopes, session, issuer, client_certificate];
    // A name that cannot be one is reported where it stands.
    let names = names.map(|name| name.parse().unwrap_or(HeaderName::from_static("x-request-id")));
    Reserved::new(names.each_ref())
}

/// What the route does besides; none if it does nothing.
pub(super) fn filters(
    check: &mut Check<'_>,
    path: &Path,
    file: &file::Route,
    host: Option<&HostPattern>,
    around: &Around,
) -> Option<Box<Filters>> {
    let filters = Filters {
        cors: file.cors.as_ref().map(|cors| self::cors(check, &path.key("cors"), cors)),
        limits: limits(check, &path.key("rate_limits"), file, around),
        redirect: file.redirect.as_ref().and_then(|to| redirect(check, &path.key("redirect"), to, host)),
        rewrite: rewrite(check, path, file),
        request: edits(check, &path.key("request_headers"), &file.request_headers, &|name, _| request_field(name, around)),
        response: edits(check, &path.key("response_headers"), &file.response_headers, &response_field),
    };
    if file.redirect.is_some() {
        let nothing_sent = filters.rewrite.is_none() && filters.request.is_empty() && filters.response.is_empty();
        if !nothing_sent || file.websocket {
            check.refuse(&path.key("redirect"), "nothing is sent to an upstream", "remove what is about one, or `redirect`");
        }
    }
    (filters != Filters::default()).then(|| Box::new(filters))
}

/// What a request must have besides; none if nothing.
pub(super) fn conditions(check: &mut Check<'_>, path: &Path, file: &written::Match, around: &Around) -> Option<Box<Conditions>> {
    let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for (name, value) in &file.headers {
        let path = path.key("headers").key(name);
        let Some((name, value)) = field(check, &path, name, value) else { continue };
        if around.reserved.covers(&name) {
            let help = "choose by a name that clients may send; identity is for `require`";
            check.refuse(&path, format!("{name} is removed from what clients send: it says nothing"), help);
        } else if headers.iter().any(|(other, _)| *other == name) {
            check.refuse(&path, format!("{name} is there twice"), "header names are the same in upper and lower case");
        }
        headers.push((name, value));
    }
    let query = file.query.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect();
    let conditions = Conditions::new(headers, query);
    (conditions.weight() != (0, 0)).then(|| Box::new(conditions))
}

/// Origins that can be compared with what browsers send.
pub(super) fn origins(check: &mut Check<'_>, path: &Path, file: &[String]) -> Vec<HeaderValue> {
    let mut listed = Vec::new();
    for (index, text) in file.iter().enumerate() {
        match origin(text) {
            Ok(origin) => listed.push(origin),
            Err(error) => {
                let help = match error {
                    OriginError::Everybody => {
                        "list the origins; for all of them, write only \"*\" in `cors`, without credentials"
                    }
                    OriginError::Form => "write each like \"https://app.example.com\": scheme, host, unusual port",
                };
                check.refuse(&path.index(index), format!("{text:?} {error}"), help);
            }
        }
    }
    listed
}

fn cors(check: &mut Check<'_>, path: &Path, file: &written::Cors) -> Cors {
    let everybody = file.origins.len() == 1 && file.origins[0] == "*";
    let listed = if everybody { Vec::new() } else { origins(check, &path.key("origins"), &file.origins) };
    if file.origins.is_empty() {
        check.refuse(&path.key("origins"), "nobody could call", "list origins, or remove `cors`");
    }
    if everybody && file.credentials {
        let help = "list the origins, or leave `credentials` out";
        check.refuse(&path.key("credentials"), "every page could call with its visitors' cookies", help);
    }
    let max_age = check.duration(&path.key("max_age"), &file.max_age, std::time::Duration::ZERO..=DAY);
    let expose = names(check, &path.key("expose"), &file.expose);
    let expose = expose.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(", ");
    Cors {
        origins: if everybody { Origins::Any } else { Origins::Listed(listed.into()) },
        methods: file.methods.iter().map(|method| super::routes::method(*method)).collect(),
        headers: names(check, &path.key("headers"), &file.headers).into(),
        expose: HeaderValue::try_from(expose).ok().filter(|names| !names.is_empty()),
        credentials: file.credentials,
        max_age,
    }
}

fn limits(check: &mut Check<'_>, path: &Path, file: &file::Route, around: &Around) -> Box<[RateLimit]> {
    let mut limits: Vec<RateLimit> = Vec::new();
    for (index, written) in file.rate_limits.iter().enumerate() {
        let path = path.index(index);
        let limit = written.limit.value().filter(|(quota, window)| {
            (1..=1_000_000).contains(quota) && (SECOND..=DAY).contains(window) && window.subsec_nanos() == 0
        });
        if limit.is_none() {
            let help = "write 1 to 1000000 in 1s to 24h, in whole seconds, like \"100/1m\"";
            check.refuse(&path.key("limit"), format!("{:?} is not a limit", written.limit.0), help);
        }
        let (word, per) = match written.per {
            written::Per::Caller => ("caller", Per::Caller),
            written::Per::Network => ("network", Per::Network),
            written::Per::Route => ("route", Per::Route),
        };
        if per == Per::Caller && file.access == file::Access::Public {
            check.refuse(&path, "a public route knows no callers", "write `per = \"network\"`, or another `access`");
        }
        if written.shared && !around.has_redis {
            let help = "set revocation.url, or leave `shared` out: each replica counts for itself then";
            check.refuse(&path.key("shared"), "there is no Redis in which replicas could count together", help);
        }
        let name: Box<str> = written.name.as_deref().unwrap_or(word).into();
        if name.is_empty() || name.len() > 64 || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            check.refuse(&path.key("name"), format!("{name:?} is not a name"), "write 1 to 64 letters, digits and `-`");
        } else if limits.iter().any(|other| other.name == name) {
            check.refuse(&path, format!("another limit of this route is called {name:?}"), "give one of them a `name`");
        }
        let (quota, window) = limit.unwrap_or((1, SECOND));
        limits.push(RateLimit { name, quota, window, per, shared: written.shared });
    }
    limits.into()
}

fn redirect(check: &mut Check<'_>, path: &Path, file: &written::Redirect, of_route: Option<&HostPattern>) -> Option<Redirect> {
    let status = file.status.unwrap_or(302);
    if ![301, 302, 303, 307, 308].contains(&status) {
        check.refuse(&path.key("status"), format!("{status} is not a redirect"), "write 301, 302, 303, 307 or 308");
    }
    let scheme = file.scheme.as_deref();
    if let Some(other) = scheme.filter(|scheme| !["http", "https"].contains(scheme)) {
        check.refuse(&path.key("scheme"), format!("{other:?} is not a scheme"), "write \"https\" or \"http\"");
    }
    let default_port = if scheme == Some("http") { 80 } else { 443 };
    let help = "write a host, with a port if it is an unusual one, like \"www.example.com\"";
    let host = file.host.as_deref().and_then(|host| check.parsed(&path.key("host"), Host::parse(host, default_port), help));
    let exact = of_route.filter(|pattern| pattern.wildcard_parent().is_none()).map(HostPattern::as_str);
    let authority = host.as_ref().map(Host::authority).or(exact);
    let origin = match (scheme, file.host.is_some(), authority) {
        (None, false, _) => None,
        // A URL without a scheme would be a path; with the one of the request, an upgrade could be undone.
        (scheme, _, Some(authority)) => Some(format!("{}://{authority}", scheme.unwrap_or("https")).into()),
        // The host that a request names is anybody's choice.
        (Some(_), false, None) => {
            check.refuse(path, "the host to redirect to is not known", "write `host`, here or for the route");
            None
        }
        (_, true, None) => None,
    };
    let to = path_rewrite(check, path, file.prefix.as_deref(), file.path.as_deref());
    if *file == (written::Redirect { status: file.status, ..written::Redirect::default() }) {
        check.refuse(path, "it would lead back to itself", "write `path`, `prefix`, `host` or `scheme`");
    }
    Some(Redirect { status: StatusCode::from_u16(status).ok()?, origin, path: to })
}

fn rewrite(check: &mut Check<'_>, path: &Path, file: &file::Route) -> Option<Rewrite> {
    let default = written::Rewrite::default();
    let rewrite = file.rewrite.as_ref().unwrap_or(&default);
    let at = path.key("rewrite");
    let to = path_rewrite(check, &at, rewrite.prefix.as_deref(), rewrite.path.as_deref());
    if file.strip_prefix && (rewrite.prefix.is_some() || rewrite.path.is_some()) {
        check.clash(&at, "the prefix is stripped already", &path.key("strip_prefix"), "here", "write one of them");
    }
    let stripped = || PathRewrite::Prefix(PathPrefix::parse("/").expect("the root is a path"));
    let to = to.or_else(|| file.strip_prefix.then(stripped));
    let help = "write a host, with a port if it is an unusual one, like \"app.internal\"";
    let host = rewrite.host.as_deref().and_then(|host| check.parsed(&at.key("host"), Host::parse(host, 80), help));
    if file.rewrite == Some(default) {
        check.refuse(&at, "nothing would be rewritten", "write `prefix`, `path` or `host`");
    }
    (to.is_some() || host.is_some()).then_some(Rewrite { path: to, host })
}

fn path_rewrite(check: &mut Check<'_>, path: &Path, prefix: Option<&str>, whole: Option<&str>) -> Option<PathRewrite> {
    if prefix.is_some() && whole.is_some() {
        check.clash(&path.key("prefix"), "the whole path is replaced", &path.key("path"), "here", "write one of them");
    }
    let mut parse = |key: &str, text: &str| check.parsed(&path.key(key), PathPrefix::parse(text), WHOLE);
    match (prefix, whole) {
        (Some(prefix), _) => parse("prefix", prefix).map(PathRewrite::Prefix),
        (None, Some(whole)) => parse("path", whole).map(PathRewrite::Whole),
        (None, None) => None,
    }
}

/// Whether an edit of a field may be; `true` if it writes, and does not only remove.
type Judge<'a> = dyn Fn(&HeaderName, bool) -> Result<(), String> + 'a;

fn edits(check: &mut Check<'_>, path: &Path, file: &written::HeaderEdits, judge: &Judge<'_>) -> FieldEdits {
    let mut removed = Vec::new();
    for (index, text) in file.remove.iter().enumerate() {
        let path = path.key("remove").index(index);
        let Some(name) = check.parsed(&path, text.parse::<HeaderName>(), "write a header name, like \"ETag\"") else { continue };
        check.parsed(&path, judge(&name, false), "leave it to the gateway");
        removed.push(name);
    }
    let mut fields = |key: &str, written: &BTreeMap<String, String>| {
        let mut fields = Vec::new();
        for (name, value) in written {
            let path = path.key(key).key(name);
            let Some((name, value)) = field(check, &path, name, value) else { continue };
            check.parsed(&path, judge(&name, true), "leave it to the gateway");
            fields.push((name, value));
        }
        fields.into_boxed_slice()
    };
    let (set, add) = (fields("set", &file.set), fields("add", &file.add));
    FieldEdits { remove: removed.into(), set, add }
}

fn request_field(name: &HeaderName, around: &Around) -> Result<(), String> {
    if around.reserved.covers(name) {
        return Err(format!("{name} tells upstreams who asks for what: only the gateway may write it"));
    }
    match name.as_str() {
        "host" => Err("host is written by `rewrite = { host = … }`".to_owned()),
        "authorization" => Err("authorization is the caller's: see `pass_token`".to_owned()),
        "cookie" => Err("cookie is the caller's, without those of the gateway".to_owned()),
        "expect" => Err("expect is between client and gateway".to_owned()),
        _ => framing(name),
    }
}

fn response_field(name: &HeaderName, writes: bool) -> Result<(), String> {
    match name.as_str() {
        "set-cookie" if writes => Err("cookies are the upstream's to set".to_owned()),
        "content-encoding" => Err("content-encoding says what the body is".to_owned()),
        "ratelimit" | "ratelimit-policy" => Err(format!("{name} is written by `rate_limits`")),
        other if other.starts_with("access-control-") => Err(format!("{name} is written by `cors`")),
        _ => framing(name),
    }
}

fn framing(name: &HeaderName) -> Result<(), String> {
    // Servers fold `_` and the like onto `-`.
    let frames = FRAMING.iter().any(|framing| folds_to(name, framing));
    if frames { Err(format!("{name} frames the message, or ends at the gateway")) } else { Ok(()) }
}

fn field(check: &mut Check<'_>, path: &Path, name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let name = check.parsed(path, name.parse::<HeaderName>(), "write a header name, like \"X-Frame-Options\"")?;
    let trimmed = value.trim() == value && value.is_ascii();
    let parsed = HeaderValue::from_str(value).ok().filter(|_| trimmed);
    if parsed.is_none() {
        check.refuse(path, "is not a header value", "write visible ASCII without spaces at its ends");
    }
    Some((name, parsed?))
}

fn names(check: &mut Check<'_>, path: &Path, texts: &[String]) -> Vec<HeaderName> {
    let mut names = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        names.extend(check.parsed(&path.index(index), text.parse::<HeaderName>(), "write a header name, like \"ETag\""));
    }
    names
}
