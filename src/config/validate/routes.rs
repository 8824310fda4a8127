//! `[[routes]]`: each leads somewhere, none hides another, and none promises a check that is never made.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::Method;

use super::auth::{roles, scopes};
use super::{Check, DAY, SECOND};
use crate::config::document::Value;
use crate::config::file;
use crate::config::place::Path;
use crate::config::schema::closest;
use crate::identity::user::Role;
use crate::policy::access::{Access, Requirements};
use crate::policy::host::HostPattern;
use crate::policy::path::PathPrefix;
use crate::policy::route::Route;

/// What other sections say about routes.
pub(super) struct Defaults<'a> {
    pub(super) body_bytes_max: u64,
    pub(super) pass_token: bool,
    pub(super) auth_prefix: &'a str,
    pub(super) self_assigned_roles: &'a BTreeSet<Role>,
}

/// Served by the gateway at the root of every host (RFC 8414 puts such documents there).
const AT_THE_ROOT: [&str; 2] = ["/.well-known/jwks.json", "/.well-known/oauth-authorization-server"];

pub(super) fn routes(check: &mut Check<'_>, path: &Path, file: &[file::Route], defaults: &Defaults<'_>) -> Vec<Route> {
    // A list that is missing altogether, or not a list, is the structural check's to report.
    if check.document.get(path).is_some_and(|node| node.is_empty_array()) {
        check.refuse(path, "the gateway would answer 404 to everything", "write at least one [[routes]]");
    }
    let mut routes: Vec<(Route, Path)> = Vec::new();
    for (index, written) in file.iter().enumerate() {
        let path = path.index(index);
        let Some(route) = route(check, &path, written, defaults) else { continue };
        unique(check, &path, &route, &routes);
        routes.push((route, path));
    }
    routes.into_iter().map(|(route, _)| route).collect()
}

/// The route; none if it has no usable path or upstream, which is reported here or was by the structural check.
fn route(check: &mut Check<'_>, path: &Path, file: &file::Route, defaults: &Defaults<'_>) -> Option<Route> {
    let host = host(check, &path.key("host"), file.host.as_deref());
    let prefix = prefix(check, &path.key("path"), file.path.as_deref(), defaults.auth_prefix);
    let upstream = upstream(check, &path.key("upstream"), file.upstream.as_deref());
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
    let body_max = file.body_max.as_ref().map(|size| check.size(&path.key("body_max"), size, 0..=u64::MAX));
    let name = name(check, &path.key("name"), file, &methods);
    Some(Route {
        name,
        host: host?,
        path: prefix?,
        methods,
        upstream: upstream?,
        access,
        require,
        pass_token: file.pass_token.unwrap_or(defaults.pass_token),
        websocket: file.websocket,
        body_bytes_max: body_max.unwrap_or(defaults.body_bytes_max),
    })
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

fn prefix(check: &mut Check<'_>, path: &Path, text: Option<&str>, auth_prefix: &str) -> Option<PathPrefix> {
    let prefix = check.parsed(path, PathPrefix::parse(text?), "write whole segments, like \"/api/v1\"")?;
    let below = |own: &str| prefix.as_str().strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if let Some(own) = [auth_prefix].into_iter().chain(AT_THE_ROOT).find(|own| below(own)) {
        let message = format!("no request would reach this route: the gateway itself answers under {own}");
        check.refuse(path, message, "choose another path, or change auth.prefix");
    }
    Some(prefix)
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

/// The label in logs and metrics: as written, else methods, host and path, which no other route has together.
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
    format!("{}{space}{host}{path}", listed.join(",")).into()
}

fn unique(check: &mut Check<'_>, path: &Path, route: &Route, earlier: &[(Route, Path)]) {
    if let Some((_, other)) = earlier.iter().find(|(other, _)| same_requests(other, route)) {
        let help = "routes differ in host, path or methods; the order of the file never decides";
        check.clash(path, "another route serves the same requests", other, "this one", help);
    } else if let Some((_, other)) = earlier.iter().find(|(other, _)| other.name == route.name) {
        let message = format!("another route is called {:?}", route.name);
        check.clash(&path.key("name"), message, other, "this one", "logs and metrics could not tell them apart: rename one");
    }
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
    methods && a.host == b.host && a.path == b.path
}

fn method(written: file::Method) -> Method {
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
