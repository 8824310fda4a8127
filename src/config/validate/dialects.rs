//! `[[dialects]]`: reads every text by the rules of `crate::dialect`, and shows where its faults are written.

mod parts;

use std::sync::Arc;
use std::time::Duration;

use super::auth::roles;
use super::{Check, DAY, SECOND};
use crate::config::file::dialects as file;
use crate::config::place::{Path, Step};
use crate::config::problem::Problem;
use crate::config::{Auth, Server};
use crate::dialect::{Dialect, DialectFault, DialectRoute, Dialects, FaultStep, Mount, Ttl};
use crate::policy::host::HostPattern;
use crate::policy::path::PathPrefix;
use crate::policy::route::Route;

/// What other sections say about dialects.
pub(super) struct Surroundings<'a> {
    pub(super) auth: &'a Auth,
    pub(super) server: &'a Server,
    pub(super) routes: &'a [Route],
}

pub(super) fn dialects(check: &mut Check<'_>, path: &Path, file: &[file::Dialect], around: &Surroundings<'_>) -> Dialects {
    let mut dialects = Vec::new();
    let mut places = Vec::new();
    for (index, written) in file.iter().enumerate() {
        let path = path.index(index);
        // One whose texts cannot be read would only bring faults that follow from that.
        let before = check.problems.len();
        let dialect = dialect(check, &path, written, around);
        if !check.problems[before..].iter().any(|problem| problem.severity == crate::config::problem::Severity::Error) {
            dialects.push(dialect);
            places.push(path);
        }
    }
    match Dialects::new(dialects) {
        Ok(dialects) => {
            for fault in dialects.cautions() {
                report(check, &places, &fault, Problem::warning);
            }
            dialects
        }
        Err(faults) => {
            for fault in faults {
                report(check, &places, &fault, Problem::error);
            }
            Dialects::default()
        }
    }
}

/// A fault as a problem with its place in the file.
fn report(check: &mut Check<'_>, places: &[Path], fault: &DialectFault, problem: fn(Path, String) -> Problem) {
    let mut path = places[fault.dialect].clone();
    if let Some(route) = fault.route {
        path = path.key("routes").index(route);
    }
    path.0.extend(fault.path.iter().map(|step| match step {
        FaultStep::Key(key) => Step::Key(key.to_string()),
        FaultStep::Index(index) => Step::Index(*index),
    }));
    let place = check.document.place(&path);
    check.problems.push(problem(path, fault.message.clone()).at(place).help(fault.help.clone()));
}

fn dialect(check: &mut Check<'_>, path: &Path, file: &file::Dialect, around: &Surroundings<'_>) -> Dialect {
    let [refresh_cookie, ticket_cookie] = [("refresh", &file.cookie.refresh), ("ticket", &file.cookie.ticket)]
        .map(|(key, cookie)| cookie.as_ref().and_then(|cookie| parts::cookie(check, &path.key("cookie").key(key), cookie)));
    let signup_roles = roles(check, &path.key("signup_roles"), &file.signup_roles);
    for role in around.routes.iter().flat_map(|route| route.require.roles.intersection(&signup_roles)) {
        let message = format!("whoever signs up may take the role `{}`, which a route requires", role.as_str());
        check.warn(&path.key("signup_roles"), message, "remove it unless this is meant");
    }
    let credentials = refresh_cookie.is_some() || ticket_cookie.is_some();
    Dialect {
        name: file.name.as_str().into(),
        mount: mount(check, &path.key("match"), &file.r#match, around.server),
        ttl: ttl(check, &path.key("ttl"), &file.ttl, around.auth),
        rotate: file.rotate,
        revoke_access_on_refresh: file.revoke_access_on_refresh,
        cookie_revives: file.cookie_revives,
        claims: parts::claims(check, &path.key("claims")),
        signup_roles,
        refresh_cookie,
        ticket_cookie,
        link: file.link.as_ref().and_then(|link| parts::link(check, &path.key("link"), link)),
        password: file.password.as_ref().map(|rule| parts::password(check, &path.key("password"), rule, around.auth)),
        cors: file.cors.as_ref().and_then(|cors| parts::cors(check, &path.key("cors"), cors, credentials)),
        errors: parts::errors(check, &path.key("err"), &file.err),
        routes: routes(check, &path.key("routes"), &file.routes),
    }
}

fn mount(check: &mut Check<'_>, path: &Path, file: &file::Match, server: &Server) -> Mount {
    if let Some(port) = file.port
        // Port 0 is any free one, known only when it is opened.
        && !server.listen.iter().any(|address| address.port() == port || address.port() == 0)
    {
        let help = "add the port to server.listen, or write one that is there";
        check.warn(&path.key("port"), format!("no listener has port {port}: no request is in this dialect"), help);
    }
    let host = file.host.as_ref().and_then(|host| {
        check.parsed(&path.key("host"), HostPattern::parse(host), "write a host like \"api.example.com\" or \"*.example.com\"")
    });
    let prefix = file
        .prefix
        .as_ref()
        .and_then(|prefix| check.parsed(&path.key("prefix"), PathPrefix::parse(prefix), "write a path like \"/legacy\""));
    Mount { port: file.port, host, prefix }
}

/// Lives as in `[auth]`, and nested like those.
fn ttl(check: &mut Check<'_>, path: &Path, file: &file::Ttl, auth: &Auth) -> Ttl {
    let bounded = |check: &mut Check<'_>, key: &str, text: &Option<_>, most: Duration| {
        text.as_ref().map(|text| check.duration(&path.key(key), text, SECOND..=most))
    };
    let access = bounded(check, "access", &file.access, DAY);
    let refresh = bounded(check, "refresh", &file.refresh, auth.session_max.max(SECOND));
    if access.is_some_and(|access| access.subsec_nanos() != 0) {
        let help = "`exp` and `iat` are compared as whole seconds: write \"1s\" or more";
        check.refuse(&path.key("access"), "a token's life is whole seconds", help);
    }
    let (shorter, longer) = (refresh.unwrap_or(auth.refresh_token), access.unwrap_or(auth.access_token));
    // A life of zero was reported already.
    if shorter < longer && !shorter.is_zero() {
        let key = if refresh.is_some() { "refresh" } else { "access" };
        let shown = |duration: Duration| humantime::format_duration(duration).to_string();
        let message = format!("a refresh token of {} expires before the access token of {}", shown(shorter), shown(longer));
        check.refuse(&path.key(key), message, "lengthen ttl.refresh or shorten ttl.access");
    }
    Ttl { access, refresh }
}

fn routes(check: &mut Check<'_>, path: &Path, file: &[file::DialectRoute]) -> Vec<Arc<DialectRoute>> {
    if check.document.get(path).is_some_and(|node| node.is_empty_array()) {
        check.refuse(path, "a dialect without routes says nothing", "add [[dialects.routes]]");
    }
    let mut routes = Vec::new();
    for (index, written) in file.iter().enumerate() {
        routes.extend(parts::route(check, &path.index(index), written).map(Arc::new));
    }
    routes
}

#[cfg(test)]
mod tests;
