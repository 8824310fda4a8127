//! `[[tests]]`: each can be asked of the rules, and expects something that could be.

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::auth::{roles, scopes};
use super::{Check, Config};
use crate::config::file;
use crate::config::place::Path;
use crate::config::schema::closest;
use crate::config::trial::{ALLOW, ANSWERED, Aspect, Expectation, Trial, TrialCaller};
use crate::reason::Reason;

/// Whom a request is for that does not say.
const ANY_HOST: &str = "localhost";

pub(super) fn trials(check: &mut Check<'_>, path: &Path, file: &[file::Test], config: &Config) -> Vec<Trial> {
    let trial = |(index, written): (usize, &file::Test)| trial(check, &path.index(index), written, config);
    file.iter().enumerate().filter_map(trial).collect()
}

fn trial(check: &mut Check<'_>, path: &Path, file: &file::Test, config: &Config) -> Option<Trial> {
    let target = file.path.as_deref()?;
    if !target.starts_with('/') {
        check.refuse(
            &path.key("path"),
            format!("{target:?} is not a path"),
            "write it as in a request, like \"/api/users?page=2\"",
        );
    }
    let host = file.host.as_deref().unwrap_or(ANY_HOST);
    let method = file.method.map_or(Method::GET, super::routes::method);
    let name = file.name.clone().unwrap_or_else(|| format!("{method} {}{target}", file.host.as_deref().unwrap_or_default()));
    let caller = file.caller.as_ref().map(|caller| TrialCaller {
        roles: roles(check, &path.key("caller").key("roles"), &caller.roles),
        scopes: scopes(check, &path.key("caller").key("scopes"), &caller.scopes),
    });
    let port = file.port.or_else(|| config.server.listen.first().map(std::net::SocketAddr::port)).unwrap_or_default();
    let headers = headers(check, path, host, &file.headers);
    let expect = expectations(check, &path.key("expect"), &file.expect, config);
    Some(Trial { name, method, port, target: target.to_owned(), headers, caller, expect })
}

fn headers(check: &mut Check<'_>, path: &Path, host: &str, file: &std::collections::BTreeMap<String, String>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let host = HeaderValue::from_str(host).map_err(|_| format!("{host:?} cannot be sent"));
    headers.extend(check.parsed(&path.key("host"), host, "write a host name").map(|host| (HOST, host)));
    for (name, value) in file {
        let path = path.key("headers").key(name);
        let field = HeaderName::try_from(name).ok().filter(|name| name != HOST).zip(HeaderValue::from_str(value).ok());
        let help = "write the name and the value of a header field; the host has a key of its own";
        let wrong = || format!("{name:?} = {value:?} cannot be sent");
        headers.extend(check.parsed(&path, field.ok_or_else(wrong), help));
    }
    headers
}

fn expectations(check: &mut Check<'_>, path: &Path, file: &file::Expect, config: &Config) -> Vec<Expectation> {
    let words = || [ALLOW, ANSWERED].into_iter().chain(Reason::ALL.iter().map(|reason| reason.word()));
    let routes = || config.routes.iter().map(|route| &*route.name);
    let upstreams = || config.upstreams.iter().map(|upstream| &*upstream.name);
    known(check, &path.key("decision"), file.decision.as_deref(), "a decision", words);
    known(check, &path.key("route"), file.route.as_deref(), "the name of a route", routes);
    known(check, &path.key("upstream"), file.upstream.as_deref(), "the name of an upstream", upstreams);
    let written = [
        (Aspect::Decision, &file.decision),
        (Aspect::Route, &file.route),
        (Aspect::Upstream, &file.upstream),
        (Aspect::Path, &file.path),
    ];
    let expected = written.into_iter().filter_map(|(aspect, value)| Some((aspect, value.clone()?)));
    let expected: Vec<_> = expected
        .map(|(aspect, value)| {
            let path = path.key(aspect.key());
            Expectation { aspect, value, key: path.to_string(), place: check.document.place(&path) }
        })
        .collect();
    if expected.is_empty() {
        check.refuse(path, "nothing is expected", "write at least one of decision, route, upstream and path");
    }
    expected
}

/// Refuses what could never come out.
fn known<'a, I: Iterator<Item = &'a str>>(
    check: &mut Check<'_>,
    path: &Path,
    value: Option<&str>,
    what: &str,
    candidates: impl Fn() -> I,
) {
    let Some(value) = value else { return };
    if candidates().any(|candidate| candidate == value) {
        return;
    }
    let help = match closest(value, candidates()) {
        Some(similar) => format!("did you mean \"{similar}\"?"),
        None => format!("there are: {}", candidates().collect::<Vec<_>>().join(", ")),
    };
    check.refuse(path, format!("{value:?} is not {what}"), help);
}
