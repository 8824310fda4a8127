//! `[[routes]]`: each leads somewhere, none hides another, and none promises a check that is never made.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use http::Method;

use super::auth::{roles, scopes};
use super::{Check, DAY, HOUR, MILLISECOND, SECOND, filters};
use crate::config::document::Value;
use crate::config::file;
use crate::config::place::Path;
use crate::config::schema::closest;
use crate::config::units::DurationText;
use crate::identity::user::Role;
use crate::policy::access::{Access, OnUnknown, Requirements};
use crate::policy::host::HostPattern;
use crate::policy::pattern::PathPattern;
use crate::policy::route::{Route, Timeouts};

/// What other sections say about routes.
pub(super) struct Defaults<'a> {
    pub(super) body_bytes_max: u64,
    pub(super) pass_token: bool,
    pub(super) auth_prefix: &'a str,
    pub(super) self_assigned_roles: &'a BTreeSet<Role>,
    pub(super) around: filters::Around,
}

/// Served by the gateway at the root of every host (RFC 8414 puts such documents there).
const AT_THE_ROOT: [&str; 2] = ["/.well-known/jwks.json", "/.well-known/oauth-authorization-server"];

pub(super) fn routes(check: &mut Check<'_>, path: &Path, file: &[file::Route], defaults: &Defaults<'_>) -> Vec<Route> {
    // A list that is missing altogether, or not a list, is the structural check's to report.
    if check.document.get(path).is_some_and(|node| node.is_empty_array()) {
        check.refuse(path, "the gateway would answer 404 to everything", "write at least one [[routes]]");
    }
    let mut routes: Vec<(Route, Path)> = Vec::new();
    let mut earlier = Earlier::default();
    for (index, written) in file.iter().enumerate() {
        let path = path.index(index);
        let Some(route) = route(check, &path, written, defaults) else { continue };
        unique(check, &path, &route, &routes, &mut earlier);
        routes.push((route, path));
    }
    routes.into_iter().map(|(route, _)| route).collect()
}

/// The route; none if it has no usable path or upstream, which is reported here or was by the structural check.
fn route(check: &mut Check<'_>, path: &Path, file: &file::Route, defaults: &Defaults<'_>) -> Option<Route> {
    let host = host(check, &path.key("host"), file.host.as_deref());
    let pattern = pattern(check, &path.key("path"), file, defaults.auth_prefix);
    let upstream = served_by(check, path, file);
    let conditions = filters::conditions(check, &path.key("match"), &file.r#match, &defaults.around);
    let of_host = host.as_ref().and_then(Option::as_ref);
    let filters = filters::filters(check, path, file, of_host, &defaults.around);
    let require = require(check, &path.key("require"), &file.require, defaults);
    let access = match file.access {
        file::Access::Authenticated => Access::Authenticated,
        file::Access::Optional => Access::Optional,
        file::Access::Public => Access::Public,
    };
    if access == Access::Public && !require.is_empty() {
        let help = "a public route looks at no token: remove `access = \"public\"`, or `require`";
        check.clash(&path.key("require"), "it would never be checked", &path.key("access"), "public", help);
    }
    let methods: Box<[Method]> = file.methods.iter().map(|method| self::method(*method)).collect();
    if file.websocket && !methods.is_empty() && !methods.contains(&Method::GET) {
        check.refuse(&path.key("websocket"), "no upgrade could pass", "a WebSocket opens with GET: add it to `methods`");
    }
    let origins = filters::origins(check, &path.key("origins"), &file.origins);
    if !file.websocket && !file.origins.is_empty() {
        let help = "they are looked at where a WebSocket is opened: write `websocket = true`, or use `cors` for other requests";
        check.refuse(&path.key("origins"), "they would never be looked at", help);
    }
    let body_max = file.body_max.as_ref().map(|size| check.size(&path.key("body_max"), size, 0..=u64::MAX));
    let name = name(check, &path.key("name"), file, &methods);
    let timeouts = timeouts(check, &path.key("timeouts"), &file.timeouts);
    Some(Route {
        name,
        host: host?,
        path: pattern?,
        methods,
        conditions,
        upstream: upstream?,
        access,
        require,
        on_unknown: on_unknown(check, path, file),
        pass_token: file.pass_token.unwrap_or(defaults.pass_token),
        websocket: file.websocket,
        origins: origins.into(),
        body_bytes_max: body_max.unwrap_or(defaults.body_bytes_max),
        timeouts,
        filters,
    })
}

/// Letting in whom nobody vouches for is a choice that has to be seen.
fn on_unknown(check: &mut Check<'_>, path: &Path, file: &file::Route) -> OnUnknown {
    let key = path.key("on_unknown");
    let wanted = match file.on_unknown {
        file::routes::OnUnknown::Deny => return OnUnknown::Deny,
        file::routes::OnUnknown::InsecureAllow => OnUnknown::Allow,
        file::routes::OnUnknown::InsecureAllowSafeMethods => OnUnknown::AllowSafeMethods,
    };
    if file.access == file::Access::Public {
        let help = "a public route looks at no token: remove `access = \"public\"`, or `on_unknown`";
        check.clash(&key, "it would never be looked at", &path.key("access"), "public", help);
    } else {
        let help = "write \"deny\" unless that is better than 503; with `revocation.check = \"mirror\"`, what was revoked before \
                    an outage stays refused";
        check.warn(&key, "while the revoked set does not answer, revoked tokens pass here", help);
    }
    wanted
}

fn timeouts(check: &mut Check<'_>, path: &Path, file: &file::RouteTimeouts) -> Option<Timeouts> {
    let mut read = |key: &str, text: &Option<DurationText>| {
        text.as_ref().map(|text| check.duration(&path.key(key), text, MILLISECOND..=24 * HOUR))
    };
    let timeouts = Timeouts {
        connect: read("connect", &file.connect),
        response_head: read("response_head", &file.response_head),
        read: read("read", &file.read),
        total: read("total", &file.total),
    };
    if timeouts.response_head.zip(timeouts.read).is_some_and(|(head, read)| head > read) {
        let help = "`read` ends any longer wait, also the one for the head: write a longer one";
        check.refuse(&path.key("response_head"), "is longer than `read`", help);
    }
    (timeouts != Timeouts::default()).then_some(timeouts)
}

fn require(check: &mut Check<'_>, path: &Path, file: &file::Require, defaults: &Defaults<'_>) -> Requirements {
    let roles = roles(check, &path.key("roles"), &file.roles);
    for role in roles.intersection(defaults.self_assigned_roles) {
        let message = format!("whoever registers may take the role `{}`", role.as_str());
        check.warn(&path.key("roles"), message, "remove it from auth.self_assigned_roles unless this is meant");
    }
    let scopes = scopes(check, &path.key("scopes"), &file.scopes);
    let path = path.key("max_age");
    let max_age = file.max_age.as_ref().map(|text| check.duration(&path, text, SECOND..=DAY * 366));
    if max_age.is_some_and(|max_age| max_age.subsec_nanos() != 0) {
        check.refuse(&path, "clients are told whole seconds", "write \"1s\" or more");
    }
    Requirements { roles, scopes, max_age }
}

/// `Some(None)`: any host.
#[expect(clippy::option_option, reason = "the outer one says that it was wrong, the inner one that it was left out")]
fn host(check: &mut Check<'_>, path: &Path, text: Option<&str>) -> Option<Option<HostPattern>> {
    let Some(text) = text else { return Some(None) };
    let help = "write \"api.example.com\" or \"*.example.com\"; leave it out for any host";
    check.parsed(path, HostPattern::parse(text), help).map(Some)
}

fn pattern(check: &mut Check<'_>, path: &Path, file: &file::Route, auth_prefix: &str) -> Option<PathPattern> {
    let pattern = PathPattern::parse(file.path.as_deref()?, file.exact);
    let pattern = check.parsed(path, pattern, "write whole segments, like \"/api/v1\" or \"/users/{id}\"")?;
    let below = |own: &str| pattern.as_str().strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if let Some(own) = [auth_prefix].into_iter().chain(AT_THE_ROOT).find(|own| below(own)) {
        let message = format!("no request would reach this route: the gateway itself answers under {own}");
        check.refuse(path, message, "choose another path, or change auth.prefix");
    }
    Some(pattern)
}

/// The upstream; an empty name where the route redirects.
fn served_by(check: &mut Check<'_>, path: &Path, file: &file::Route) -> Option<Arc<str>> {
    match (&file.upstream, &file.redirect) {
        (None, Some(_)) => return Some("".into()),
        (Some(_), Some(_)) => {
            let help = "write one of them";
            check.clash(&path.key("redirect"), "a redirect reaches no upstream", &path.key("upstream"), "here", help);
        }
        // As written: one with a problem of its own is not a missing one.
        (None, None) if check.document.get(&path.key("upstream")).is_none() => {
            check.refuse(&path.key("upstream"), "is missing", "write which of [upstreams] serves it, or `redirect`");
        }
        _ => {}
    }
    upstream(check, &path.key("upstream"), file.upstream.as_deref())
}

fn upstream(check: &mut Check<'_>, path: &Path, name: Option<&str>) -> Option<Arc<str>> {
    let name = name?;
    // As written, not as valid: an upstream with a problem of its own is not an unknown one.
    let known = upstream_names(check);
    if !known.iter().any(|known| known == name) {
        let help = match (closest(name, known.iter().map(String::as_str)), known.is_empty()) {
            (Some(similar), _) => format!("did you mean \"{similar}\"?"),
            (None, true) => format!("add [upstreams.{name}] with `servers = [\"http://…\"]`"),
            (None, false) => format!("there are: {}; or add [upstreams.{name}]", known.join(", ")),
        };
        check.refuse(path, format!("there is no upstream called {name:?}"), help);
        return None;
    }
    Some(Arc::from(name))
}

fn upstream_names(check: &Check<'_>) -> Vec<String> {
    match check.document.get(&Path::root().key("upstreams")).map(|node| &node.value) {
        Some(Value::Table(members)) => members.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

/// An upstream that nothing leads to is a route that somebody forgot.
pub(super) fn unused_upstreams(check: &mut Check<'_>, path: &Path, file: &[file::Route]) {
    for name in upstream_names(check) {
        if !file.iter().any(|route| route.upstream.as_deref() == Some(&name)) {
            check.warn(&path.key(&name), "no route leads here", "add a [[routes]] entry, or remove the upstream");
        }
    }
}

/// The label in logs and metrics: as written, else all that it matches, which no other route has together.
fn name(check: &mut Check<'_>, path: &Path, file: &file::Route, methods: &[Method]) -> Box<str> {
    if let Some(name) = &file.name {
        if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
            check.refuse(path, "must be 1 to 64 characters", "it is the route's label in logs and metrics");
        }
        return name.as_str().into();
    }
    let listed: Vec<_> = methods.iter().map(Method::as_str).collect();
    let space = if listed.is_empty() { "" } else { " " };
    let (host, path) = (file.host.as_deref().unwrap_or_default(), file.path.as_deref().unwrap_or_default());
    let exact = if file.exact { " exactly" } else { "" };
    let headers = file.r#match.headers.iter().map(|(name, value)| format!(" {}: {value}", name.to_ascii_lowercase()));
    let query = file.r#match.query.iter().map(|(name, value)| format!(" ?{name}={value}"));
    let conditions: String = headers.chain(query).collect();
    format!("{}{space}{host}{path}{exact}{conditions}", listed.join(",")).into()
}

/// Where the routes before one stand, so that ten thousand are not compared with each other.
#[derive(Default)]
struct Earlier {
    by_place: HashMap<(Option<HostPattern>, Box<str>), Vec<usize>>,
    by_name: HashMap<Box<str>, usize>,
}

fn unique(check: &mut Check<'_>, path: &Path, route: &Route, routes: &[(Route, Path)], earlier: &mut Earlier) {
    let here = earlier.by_place.entry((route.host.clone(), route.path.shape())).or_default();
    let named = earlier.by_name.insert(route.name.clone(), routes.len());
    if let Some(other) = here.iter().find(|&&at| same_requests(&routes[at].0, route)) {
        let help = "routes differ in host, path, methods or `match`; nothing says which of two equal ones is meant";
        check.clash(path, "another route serves the same requests", &routes[*other].1, "this one", help);
    } else if let Some(other) = named {
        let message = format!("another route is called {:?}", route.name);
        let help = "logs and metrics could not tell them apart: rename one";
        check.clash(&path.key("name"), message, &routes[other].1, "this one", help);
    }
    here.push(routes.len());
}

/// Whether only their order could decide between two routes. One that lists a method wins over one that lists none.
fn same_requests(a: &Route, b: &Route) -> bool {
    let lists = |route: &Route, method: &Method| {
        // A HEAD is a GET without the body (RFC 9110 §9.3.2).
        route.methods.contains(method) || (method == Method::HEAD && route.methods.contains(&Method::GET))
    };
    let methods = match (a.methods.is_empty(), b.methods.is_empty()) {
        (true, true) => true,
        (false, false) => a.methods.iter().any(|method| lists(b, method)) || b.methods.iter().any(|method| lists(a, method)),
        _ => false,
    };
    methods && a.host == b.host && a.path == b.path && a.conditions == b.conditions
}

pub(super) fn method(written: file::Method) -> Method {
    match written {
        file::Method::Get => Method::GET,
        file::Method::Head => Method::HEAD,
        file::Method::Post => Method::POST,
        file::Method::Put => Method::PUT,
        file::Method::Patch => Method::PATCH,
        file::Method::Delete => Method::DELETE,
        file::Method::Options => Method::OPTIONS,
    }
}
