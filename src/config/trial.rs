//! `[[tests]]` as valid: requests of which the configuration says what is to become, with the places to point at if it
//! does not.

use std::collections::BTreeSet;

use http::{HeaderMap, Method};

use super::place::Place;
use super::problem::{Problem, Report};
use crate::identity::scope::Scope;
use crate::identity::user::Role;

/// The decision about a request that is forwarded.
pub const ALLOW: &str = "allow";
/// The decision about a request that the gateway answers itself: its own API, or a route of a dialect.
pub const ANSWERED: &str = "answered";

/// One of `[[tests]]`.
#[derive(Debug, Clone)]
pub struct Trial {
    /// What reports call it.
    pub name: String,
    /// The method.
    pub method: Method,
    /// The port that it arrives at.
    pub port: u16,
    /// The request target, as a client sends it.
    pub target: String,
    /// The header fields, `Host` among them.
    pub headers: HeaderMap,
    /// Who sends it; none for somebody without a token.
    pub caller: Option<TrialCaller>,
    /// What is to become of it.
    pub expect: Vec<Expectation>,
}

/// Who sends a request: somebody with a valid token who gave the password just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialCaller {
    /// Roles.
    pub roles: BTreeSet<Role>,
    /// Scopes of the token.
    pub scopes: BTreeSet<Scope>,
}

/// What can be said about the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aspect {
    /// [`ALLOW`], [`ANSWERED`] or the word of a refusal.
    Decision,
    /// The name of the route.
    Route,
    /// The name of the upstream.
    Upstream,
    /// Path and query as the upstream receives them.
    Path,
}

/// One thing that is expected.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// Of what.
    pub aspect: Aspect,
    /// What it is to be.
    pub value: String,
    pub(super) key: String,
    pub(super) place: Option<Place>,
}

impl Aspect {
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Decision => "decision",
            Self::Route => "route",
            Self::Upstream => "upstream",
            Self::Path => "path",
        }
    }
}

impl Report {
    /// The same report with one more error: a test came out otherwise. `found` is what became of the request.
    #[must_use]
    pub fn with_failure(self, trial: &Trial, expected: &Expectation, actual: Option<&str>, found: &str) -> Self {
        let actual = actual.map_or_else(|| "nothing".to_owned(), |actual| format!("{actual:?}"));
        let message = format!("test {:?} fails: expected {:?}, got {actual}", trial.name, expected.value);
        let problem = Problem::error(&expected.key, message).at(expected.place.clone());
        self.with_problem(
            problem.label(format!("got {actual}")).help(format!("{found}: correct the routes, or what is expected")),
        )
    }
}
