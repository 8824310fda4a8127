//! `[[tests]]`, tried: each request is put before the rules that decide about real ones. Nothing is connected to.

use std::fmt::Write as _;
use std::sync::Arc;

use http::request::Parts;
use http::{Request, Uri};
use jiff::Timestamp;
use uuid::Uuid;

use crate::admission::{Denied, Destination, Rules};
use crate::api;
use crate::config::trial::{ALLOW, ANSWERED, Aspect, Trial, TrialCaller};
use crate::config::{Config, Report};
use crate::dialect::CorsAnswer;
use crate::identity::scope::Scope;
use crate::identity::session::SessionId;
use crate::identity::user::Role;
use crate::identity::{Caller, Credential, Kept, Principal, TokenFacts};
use crate::policy::access::Permit;
use crate::policy::route::{Route, RouteTable};

/// What became of a request.
#[derive(Debug)]
struct Outcome {
    decision: &'static str,
    route: Option<Arc<Route>>,
    /// Path and query for the upstream.
    sent: Option<String>,
}

/// Tries every test of the configuration.
///
/// # Errors
/// One problem for each expectation that is not met.
pub(super) fn try_all(config: Config) -> Result<Config, Report> {
    if config.tests.is_empty() {
        return Ok(config);
    }
    let routes = match RouteTable::new(config.routes.clone()) {
        Ok(routes) => routes,
        Err(clash) => return Err(config.warnings.with_error("routes", clash.to_string())),
    };
    let rules = Rules::new(routes, config.server.limits);
    let mut report = config.warnings.clone();
    for trial in &config.tests {
        let outcome = outcome(trial, &rules, &config);
        for expected in &trial.expect {
            let actual = outcome.of(expected.aspect);
            if actual != Some(&expected.value) {
                report = report.with_failure(trial, expected, actual, &outcome.told());
            }
        }
    }
    if report.refuses() { Err(report) } else { Ok(config) }
}

/// Of a test's host without a port. Routes are found by the name alone.
const DEFAULT_PORT: u16 = 80;

fn outcome(trial: &Trial, rules: &Rules, config: &Config) -> Outcome {
    let head = head(trial);
    let refused = |route: Option<Arc<Route>>, denied: &Denied| Outcome { decision: denied.reason().word(), route, sent: None };
    let destination = match rules.destination(trial.target.as_bytes(), &head, DEFAULT_PORT) {
        Ok(destination) => destination,
        Err(denied) => return refused(None, &denied),
    };
    if answered_here(trial, &head, &destination, config) {
        return Outcome { decision: ANSWERED, route: None, sent: None };
    }
    let way = match rules.way(&destination, &head) {
        Ok(way) => way,
        Err(denied) => return refused(None, &denied),
    };
    match rules.decide(&way, trial.caller.as_ref().map(caller), || Timestamp::UNIX_EPOCH) {
        Ok(permit) => Outcome {
            decision: ALLOW,
            route: Some(Arc::clone(permit.route())),
            sent: Some(sent_target(&permit, &destination).to_owned()),
        },
        Err(denied) => refused(Some(Arc::clone(way.route())), &denied),
    }
}

fn sent_target<'a>(permit: &'a Permit, destination: &'a Destination) -> &'a str {
    let rewritten = permit.outgoing().and_then(|outgoing| outgoing.target.as_ref());
    rewritten.unwrap_or(&destination.target).path_and_query()
}

/// Whether no upstream has a part in it.
fn answered_here(trial: &Trial, head: &Parts, Destination { host, target }: &Destination, config: &Config) -> bool {
    let path = target.path();
    let by_dialect = config.dialects.for_request(trial.port, host, &path).is_some_and(|dialect| {
        let cors = dialect.cors.as_ref().map(|cors| cors.answer(&head.method, &head.headers));
        matches!(cors, Some(CorsAnswer::Preflight(_))) || dialect.route(&head.method, &path).is_some()
    });
    by_dialect || api::serves(&config.auth.prefix, path.as_str())
}

fn head(trial: &Trial) -> Parts {
    let (mut head, ()) = Request::new(()).into_parts();
    head.method = trial.method.clone();
    // A target that is no URI is refused by the one reading, which has the bytes.
    head.uri = trial.target.parse().unwrap_or_else(|_| Uri::default());
    head.headers = trial.headers.clone();
    head
}

/// Somebody whose token is good, and whose password was given this moment.
fn caller(who: &TrialCaller) -> Arc<Caller> {
    let (issuer, session): (Arc<str>, _) = ("test".into(), SessionId(Uuid::nil()));
    let now = Timestamp::UNIX_EPOCH;
    Arc::new(Caller {
        principal: Principal {
            issuer: Arc::clone(&issuer),
            subject: "test".into(),
            username: None,
            email: None,
            roles: who.roles.iter().map(Role::as_str).map(Into::into).collect(),
            session,
            scopes: who.scopes.iter().map(Scope::as_str).map(Into::into).collect(),
            auth_time: now,
            credential: Credential::Session,
        },
        token: TokenFacts {
            issuer,
            jti: "test".into(),
            session,
            subject: "test".into(),
            issued_at: now,
            expires_at: Timestamp::MAX,
        },
        kept: Kept::default(),
    })
}

impl Outcome {
    fn of(&self, aspect: Aspect) -> Option<&str> {
        match aspect {
            Aspect::Decision => Some(self.decision),
            Aspect::Route => self.route.as_ref().map(|route| &*route.name),
            Aspect::Upstream => self.route.as_ref().map(|route| &*route.upstream),
            Aspect::Path => self.sent.as_deref(),
        }
    }

    /// All of it, for people.
    fn told(&self) -> String {
        let mut told = format!("it comes out as {:?}", self.decision);
        if let Some(route) = &self.route {
            // Writing to a string cannot fail.
            let _ = write!(told, " by the route {:?} to the upstream {:?}", route.name, route.upstream);
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Source};

    const RULES: &str = r#"
[upstreams.app]
servers = ["http://127.0.0.1:3000"]
[upstreams.reports]
servers = ["http://127.0.0.1:3001"]
[[routes]]
path = "/"
upstream = "app"
[[routes]]
path = "/public"
upstream = "app"
access = "public"
methods = ["GET"]
[[routes]]
name = "reports"
host = "*.example.com"
path = "/reports"
upstream = "reports"
body_max = "1KiB"
require = { roles = ["auditor"], scopes = ["reports:read"], max_age = "5m" }
[[dialects]]
name = "legacy"
match = { prefix = "/legacy" }
[[dialects.routes]]
on = ["GET /legacy/health"]
do = "health"
ok = { status = 200, text = "OK" }
"#;

    /// What is wrong with the rules and these tests; nothing if all pass.
    fn tried(tests: &str) -> Vec<String> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("gateway.toml");
        std::fs::write(&path, format!("{RULES}{tests}")).expect("written");
        let config = config::load(&Source { path, ..Source::default() }).unwrap_or_else(|report| panic!("{report}"));
        let report = try_all(config).err().unwrap_or_default();
        report.problems().iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect()
    }

    fn test(keys: &str, expect: &str) -> String {
        format!("[[tests]]\n{keys}\nexpect = {{ {expect} }}\n")
    }

    #[test]
    fn what_the_rules_say_of_a_request_is_what_a_test_sees() {
        let auditor = "caller = { roles = [\"auditor\"], scopes = [\"reports:read\"] }";
        let reports = "host = \"eu.example.com:8080\"\npath = \"/reports/7?full\"";
        for (keys, expect) in [
            ("path = \"/x\"", r#"decision = "missing_token", route = "/", upstream = "app""#),
            ("path = \"/x\"\ncaller = {}", r#"decision = "allow", path = "/x""#),
            ("path = \"/public/logo.png\"", r#"decision = "allow", route = "GET /public""#),
            ("path = \"/public/logo.png\"\nmethod = \"HEAD\"", r#"decision = "allow""#),
            ("path = \"/public\"\nmethod = \"POST\"", r#"decision = "method_not_allowed""#),
            (reports, r#"decision = "missing_token", upstream = "reports""#),
            (&format!("{reports}\ncaller = {{ roles = [\"auditor\"] }}"), r#"decision = "forbidden", route = "reports""#),
            (&format!("{reports}\n{auditor}"), r#"decision = "allow", upstream = "reports", path = "/reports/7?full""#),
            (&format!("{reports}\n{auditor}\nheaders = {{ content-length = \"1025\" }}"), r#"decision = "body_too_large""#),
            ("path = \"/a/../b\"", r#"decision = "malformed""#),
            ("path = \"/x\"\nhost = \"a b\"", r#"decision = "malformed""#),
            ("path = \"/auth/login\"\nmethod = \"POST\"", r#"decision = "answered""#),
            ("path = \"/.well-known/jwks.json\"", r#"decision = "answered""#),
            ("path = \"/legacy/health\"", r#"decision = "answered""#),
            ("path = \"/legacy/other\"", r#"decision = "missing_token""#),
        ] {
            assert_eq!(tried(&test(keys, expect)), Vec::<String>::new(), "{keys}");
        }
    }

    #[test]
    fn every_expectation_that_is_not_met_is_a_problem_of_its_own() {
        let wrong =
            test("path = \"/x\"\ncaller = {}", r#"decision = "forbidden", route = "reports", upstream = "app", path = "/y""#);
        let passes = test("path = \"/x\"\ncaller = {}", r#"decision = "allow""#);
        let without_route = test("path = \"/auth/me\"\nname = \"me\"", r#"upstream = "app""#);
        assert_eq!(
            tried(&format!("{wrong}{passes}{without_route}")),
            [
                "tests[0].expect.decision: test \"GET /x\" fails: expected \"forbidden\", got \"allow\"",
                "tests[0].expect.route: test \"GET /x\" fails: expected \"reports\", got \"/\"",
                "tests[0].expect.path: test \"GET /x\" fails: expected \"/y\", got \"/x\"",
                "tests[2].expect.upstream: test \"me\" fails: expected \"app\", got nothing",
            ]
        );
    }
}
