//! A route of a dialect: where it is, what it performs, and how its answers read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use http::Method;

use super::answer::{Answer, AnswerTemplate};
use super::errors::ErrorTable;
use super::operation::{Input, Operation};
use super::place::Place;
use super::values::Values;
use crate::policy::path::{CanonicalPath, PathPrefix, PathPrefixError};

/// One route.
#[derive(Debug, Clone)]
pub struct DialectRoute {
    /// The requests that it answers; any of these.
    pub on: Vec<On>,
    /// What it performs.
    pub operation: Operation,
    /// Where each input is: the first place that has something counts.
    pub inputs: BTreeMap<Input, Vec<Place>>,
    /// Inputs that must be there besides those that the operation cannot do without.
    pub required: BTreeSet<Input>,
    /// How success reads.
    pub ok: AnswerTemplate,
    /// How refusals read here.
    pub errors: ErrorTable,
    /// `login`: an unknown name is a new user.
    pub signs_up: bool,
    /// `signup`: the new user is signed in.
    pub signs_in: bool,
    /// `list_users`: whoever asks is answered, with names only.
    pub public: bool,
}

/// A method and a whole path: `POST /login`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct On {
    /// The method.
    pub method: Method,
    /// The path, from the root.
    pub path: PathPrefix,
}

/// The text is not a method and a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OnError {
    /// Not two words.
    #[error("is not a method and a path")]
    Form,
    /// `OPTIONS` and `HEAD` are answered without being asked for; others are unknown.
    #[error("a route is for GET, POST, PUT, PATCH or DELETE, not for {0:?}")]
    Method(String),
    /// No request can have this path.
    #[error(transparent)]
    Path(#[from] PathPrefixError),
}

const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

impl FromStr for On {
    type Err = OnError;

    fn from_str(text: &str) -> Result<Self, OnError> {
        let (method, path) = text.split_once(' ').ok_or(OnError::Form)?;
        let known = METHODS.iter().find(|known| known.as_str() == method);
        let method = known.ok_or_else(|| OnError::Method(method.to_owned()))?.clone();
        Ok(Self { method, path: PathPrefix::parse(path)? })
    }
}

impl fmt::Display for On {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path.as_str())
    }
}

impl On {
    /// The whole path must match, in the one reading that all rules share. A `GET` route answers `HEAD`.
    fn takes(&self, method: &Method, path: &CanonicalPath<'_>) -> bool {
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        self.method == *method && self.path.segments().eq(path.segments())
    }
}

impl DialectRoute {
    pub(super) fn takes(&self, method: &Method, path: &CanonicalPath<'_>) -> bool {
        self.on.iter().any(|on| on.takes(method, path))
    }

    /// Where an input is. A caller's access token is a bearer token wherever the dialect says nothing else.
    pub(super) fn places(&self, input: Input) -> &[Place] {
        match self.inputs.get(&input) {
            Some(places) => places,
            None if input == Input::AccessToken && self.operation.inputs().contains(&input) => &[Place::Bearer],
            None => &[],
        }
    }

    /// Whether any input is in the body, so that the body must be JSON.
    #[must_use]
    pub fn reads_body(&self) -> bool {
        self.inputs.values().flatten().any(|place| matches!(place, Place::Body(_)))
    }

    /// Whether any input may come in a cookie.
    #[must_use]
    pub fn reads_cookie(&self) -> bool {
        self.inputs.values().flatten().any(|place| matches!(place, Place::Cookie(_)))
    }

    /// How success reads.
    #[must_use]
    pub fn render_ok(&self, values: &Values<'_>) -> Answer {
        self.ok.render_ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::host::Host;
    use crate::policy::path::Target;

    #[test]
    fn a_route_is_a_method_and_a_path() {
        assert_eq!("POST /login".parse::<On>().unwrap().to_string(), "POST /login");
        assert_eq!("POST".parse::<On>(), Err(OnError::Form));
        assert_eq!("post /login".parse::<On>(), Err(OnError::Method("post".to_owned())));
        assert_eq!("OPTIONS /login".parse::<On>(), Err(OnError::Method("OPTIONS".to_owned())));
        for text in ["POST login", "POST  /login", "POST /a/*", "POST /a/../b"] {
            assert!(matches!(text.parse::<On>(), Err(OnError::Path(_))), "{text}");
        }
    }

    #[test]
    fn a_route_takes_its_whole_path_in_every_spelling_and_nothing_below() {
        let on: On = "GET /token/authorize".parse().unwrap();
        let host = Host::parse("a", 80).unwrap();
        for (method, path, takes) in [
            (Method::GET, "/token/authorize", true),
            (Method::HEAD, "/token/authorize", true),
            (Method::GET, "/token/%61uthorize/", true),
            (Method::GET, "/token/authorize;x=1", true),
            (Method::POST, "/token/authorize", false),
            (Method::GET, "/token", false),
            (Method::GET, "/token/authorize/x", false),
            (Method::GET, "/token/Authorize", false),
        ] {
            let target = Target::parse(path.as_bytes(), &host).unwrap();
            assert_eq!(on.takes(&method, &target.path()), takes, "{method} {path}");
        }
    }
}
