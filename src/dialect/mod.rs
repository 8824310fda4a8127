//! Dialects: how the clients of an existing system speak to the gateway in that system's own wire format.
//!
//! A dialect is a view. It is mounted on a port, a host or a path prefix; each of its routes names the one operation it
//! performs (`operation`), where its inputs are in the request (`place`, `sources`, `reader`), and how the answer reads
//! (`template`, `answer`, `errors`). It renames, reshapes and restatuses. Apart from its named switches it cannot relax a
//! check, and `check` refuses one that would say yes to what was refused. Nothing here performs an operation, opens
//! anything or reads a clock: requests come in as values, answers go out as values.

mod answer;
mod body;
mod check;
mod claims;
mod cookie;
mod cors;
mod errors;
mod fault;
mod inputs;
mod link;
mod operation;
mod password;
mod place;
mod reader;
mod route;
mod sources;
mod template;
mod values;

#[cfg(test)]
mod tests;

pub use crate::policy::cors::OriginError;
pub use answer::{Answer, AnswerBody, AnswerTemplate};
pub use body::{BodyError, parse_body};
pub use claims::Claims;
pub use cookie::{CookieSpec, SameSite};
pub use cors::{Cors, CorsAnswer};
pub use errors::{ANY, ErrorTable};
pub use fault::{DialectFault, FaultStep};
pub use inputs::{Credentials, InputFault, Inputs, NewUser, RefusedInputs};
pub use link::{Link, LinkError};
pub use operation::{Input, Operation};
pub use password::PasswordRule;
pub use place::{Place, PlaceError};
pub use route::{DialectRoute, On, OnError};
pub use sources::Sources;
pub use template::{Template, TemplateError, ValueName};
pub use values::{ErrorValues, UserValues, Values};

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};

use crate::identity::user::Role;
use crate::policy::host::{Host, HostPattern};
use crate::policy::path::{CanonicalPath, PathPrefix};

/// Every dialect of a gateway: checked, and found by where a request arrives.
#[derive(Debug, Clone, Default)]
pub struct Dialects(Arc<[Arc<Dialect>]>);

/// One existing system's wire format.
#[derive(Debug, Clone)]
pub struct Dialect {
    /// What the configuration calls it.
    pub name: Box<str>,
    /// Which requests are in it.
    pub mount: Mount,
    /// Lives of the tokens that its routes issue.
    pub ttl: Ttl,
    /// Whether a refresh answers with the next refresh token; if not, the same one stays good until it expires.
    pub rotate: bool,
    /// Whether a refresh revokes the session's earlier access tokens.
    pub revoke_access_on_refresh: bool,
    /// Whether an *expired* access token passes together with the live refresh cookie of the same session.
    pub cookie_revives: bool,
    /// Claims that its access tokens carry besides the standard ones.
    pub claims: Claims,
    /// The roles that whoever signs up may ask for.
    pub signup_roles: BTreeSet<Role>,
    /// The cookie that carries the refresh token; set at login, signup with tokens and refresh, cleared at logout.
    pub refresh_cookie: Option<CookieSpec>,
    /// The cookie that carries the ticket of a redeemed one-time token.
    pub ticket_cookie: Option<CookieSpec>,
    /// The link in mails that carry a one-time token.
    pub link: Option<Link>,
    /// Rules for passwords besides the gateway's own.
    pub password: Option<PasswordRule>,
    /// The pages of other origins that may call.
    pub cors: Option<Cors>,
    /// How refusals read, on every route and on proxied requests.
    pub errors: ErrorTable,
    /// What it answers itself; everything else is proxied.
    pub routes: Vec<Arc<DialectRoute>>,
}

/// Which requests are in a dialect: all of what is given must hold, and something is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mount {
    /// The port of the listener, on this side of any address translation.
    pub port: Option<u16>,
    /// The host that the request names.
    pub host: Option<HostPattern>,
    /// The beginning of the path, in whole segments. Routes are written with it.
    pub prefix: Option<PathPrefix>,
}

/// Lives of tokens; what is not given is as for the gateway's own API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ttl {
    /// Of access tokens, whole seconds.
    pub access: Option<Duration>,
    /// Of refresh tokens.
    pub refresh: Option<Duration>,
}

impl Dialects {
    /// Checks the dialects, each by itself and together.
    ///
    /// # Errors
    /// Everything that is wrong with any of them.
    pub fn new(dialects: Vec<Dialect>) -> Result<Self, Vec<DialectFault>> {
        let faults = check::faults(&dialects);
        if faults.is_empty() { Ok(Self(dialects.into_iter().map(Arc::new).collect())) } else { Err(faults) }
    }

    /// What is accepted and should be looked at: switches that a demonstration needs and production does not.
    #[must_use]
    pub fn cautions(&self) -> Vec<DialectFault> {
        check::cautions(&self.0)
    }

    /// The dialect that a request is in. Where several apply the most specific one does: one for a port before one for
    /// any, then an exact host before a wildcard, then the longest prefix. The order of the file never decides.
    #[must_use]
    pub fn for_request(&self, local_port: u16, host: &Host, path: &CanonicalPath<'_>) -> Option<&Arc<Dialect>> {
        let here = self.0.iter().filter(|dialect| dialect.mount.takes(local_port, host, path));
        here.max_by_key(|dialect| dialect.mount.specificity())
    }

    /// All of them, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Dialect>> {
        self.0.iter()
    }

    /// Whether there is none, and requests need not be looked at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The longest life of an access token that any dialect issues: what verification must allow for, and how long a
    /// revocation must be remembered at least.
    #[must_use]
    pub fn access_ttl_max(&self) -> Option<Duration> {
        self.0.iter().filter_map(|dialect| dialect.ttl.access).max()
    }
}

impl Dialect {
    /// The route that answers a request; none if it is to be proxied. A `GET` route also answers `HEAD`.
    #[must_use]
    pub fn route(&self, method: &Method, path: &CanonicalPath<'_>) -> Option<&Arc<DialectRoute>> {
        self.routes.iter().find(|route| route.takes(method, path))
    }

    /// How a refusal reads: on `route`, or of a proxied request. None means the gateway's own problem document.
    #[must_use]
    pub fn render_err(&self, route: Option<&DialectRoute>, code: &str, error: &ErrorValues<'_>) -> Option<Answer> {
        let template = errors::lookup(route.map(|route| &route.errors), &self.errors, code)?;
        Some(template.render_err(code, error, route))
    }

    /// Whether success on `route` brings a refresh token that the client does not have yet, and a cookie for it. A
    /// refresh without rotation leaves the cookie as it is. A logout clears both cookies.
    #[must_use]
    pub fn sets_refresh_cookie(&self, route: &DialectRoute) -> bool {
        let brings = match route.operation {
            Operation::Login => true,
            Operation::Signup => route.signs_in,
            Operation::Refresh => self.rotate,
            _ => false,
        };
        brings && self.refresh_cookie.is_some()
    }

    /// The refresh token that a request brings in this dialect's cookie; none if there are two, as for any input.
    #[must_use]
    pub fn refresh_token_in<'a>(&self, headers: &'a HeaderMap) -> Option<Cow<'a, str>> {
        let place = Place::Cookie(self.refresh_cookie.as_ref()?.name.clone());
        let sources = Sources { headers, query: None, body: None };
        sources.find(&place).ok().flatten().and_then(sources::Found::into_text)
    }

    /// The names of the cookies that are the gateway's own here: no upstream may see them, or set them.
    pub fn cookie_names(&self) -> impl Iterator<Item = &str> {
        [&self.refresh_cookie, &self.ticket_cookie].into_iter().flatten().map(|cookie| &*cookie.name)
    }
}

impl Mount {
    fn takes(&self, local_port: u16, host: &Host, path: &CanonicalPath<'_>) -> bool {
        self.port.is_none_or(|port| port == local_port)
            && self.host.as_ref().is_none_or(|pattern| pattern.matches(host))
            && self.prefix.as_ref().is_none_or(|prefix| prefix.matches(path))
    }

    /// Two mounts that take the same request and are equally specific are equal, which `check` refuses.
    fn specificity(&self) -> (bool, bool, usize, usize) {
        let host = self.host.as_ref();
        let exact = host.is_some_and(|host| host.wildcard_parent().is_none());
        let labels = host.map_or(0, |host| host.as_str().split('.').count());
        let segments = self.prefix.as_ref().map_or(0, |prefix| 1 + prefix.segments().count());
        (self.port.is_some(), exact, labels, segments)
    }
}
