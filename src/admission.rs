//! The gate: from a request head to a [`Permit`], or to the reason why not.
//!
//! In order: the head must have one reading, a route must serve it, the caller must be known and not revoked,
//! and the route must let them pass. Whatever cannot be checked is refused.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Method, header};

use crate::auth::authenticate::{AuthenticateError, Authenticator};
use crate::clock::Clock;
use crate::identity::Caller;
use crate::identity::access_token::TokenError;
use crate::limit::{HeadTooLarge, RequestLimits};
use crate::policy::access::{self, Access, AccessRefusal, Permit};
use crate::policy::bearer::{self, BearerError};
use crate::policy::head::{self, HeadError};
use crate::policy::host::Host;
use crate::policy::path::{Target, TargetError};
use crate::policy::route::{NoRoute, Route, RouteTable};
use crate::reason::Reason;

/// What a `Host` without a port means on the listeners there are: cleartext HTTP.
const DEFAULT_PORT: u16 = 80;

/// Where a request wants to go, in the one reading that is decided on and forwarded.
#[derive(Debug)]
pub struct Destination {
    /// The canonical host.
    pub host: Host,
    /// The canonical path, and the query as it will be sent.
    pub target: Target<'static>,
}

/// Why a request is not forwarded.
#[derive(Debug)]
pub enum Denied {
    /// The head is larger than the limits.
    TooLarge(HeadTooLarge),
    /// The head is ambiguous or not HTTP.
    Head(HeadError),
    /// The request target has no single reading.
    Target(TargetError),
    /// No route serves it.
    NoRoute(NoRoute),
    /// The declared body is larger than the route allows.
    BodyTooLarge,
    /// The credentials have no single reading.
    Bearer(BearerError),
    /// The token is not valid, or revoked, or cannot be checked.
    Authenticate(AuthenticateError),
    /// The token has expired, and what came with it to make up for that does not.
    NotRevived(Reason),
    /// The caller may not pass.
    Access(AccessRefusal),
}

/// Routes, limits and the authenticator: everything that a decision needs.
pub struct Gate {
    routes: RouteTable,
    limits: RequestLimits,
    authenticator: Arc<Authenticator>,
    clock: Arc<dyn Clock>,
}

impl Gate {
    /// A gate over these routes.
    #[must_use]
    pub fn new(routes: RouteTable, limits: RequestLimits, authenticator: Arc<Authenticator>, clock: Arc<dyn Clock>) -> Self {
        Self { routes, limits, authenticator, clock }
    }

    /// Reads the head in its one reading. `raw_target` is the request target as received.
    ///
    /// # Errors
    /// The head is too large, or open to two readings.
    pub fn destination(&self, raw_target: &[u8], head: &Parts) -> Result<Destination, Denied> {
        self.limits.check_head(raw_target, &head.headers).map_err(Denied::TooLarge)?;
        head::check_framing(&head.method, head.version, &head.headers).map_err(Denied::Head)?;
        let host = head::host(&head.uri, &head.headers, DEFAULT_PORT).map_err(Denied::Head)?;
        let target = Target::parse(raw_target, &host).map_err(Denied::Target)?.into_owned();
        Ok(Destination { host, target })
    }

    /// Decides whether the request may be forwarded.
    ///
    /// # Errors
    /// Why it is refused. Nothing may reach an upstream then.
    pub async fn admit(&self, destination: &Destination, head: &Parts) -> Result<Permit, Denied> {
        let route = self.route(destination, head)?;
        let caller = self.caller(route, head).await?;
        access::decide(Arc::clone(route), caller, || self.clock.now()).map_err(Denied::Access)
    }

    /// Decides the same about a request whose caller was recognised by other means than its access token alone.
    ///
    /// # Errors
    /// Why it is refused. Nothing may reach an upstream then.
    pub fn admit_as(&self, caller: Arc<Caller>, destination: &Destination, head: &Parts) -> Result<Permit, Denied> {
        let route = self.route(destination, head)?;
        access::decide(Arc::clone(route), Some(caller), || self.clock.now()).map_err(Denied::Access)
    }

    fn route(&self, destination: &Destination, head: &Parts) -> Result<&Arc<Route>, Denied> {
        let route = self.routes.find(&destination.host, &destination.target.path(), &head.method).map_err(Denied::NoRoute)?;
        check_declared_length(route, head)?;
        Ok(route)
    }

    async fn caller(&self, route: &Route, head: &Parts) -> Result<Option<Arc<Caller>>, Denied> {
        if route.access == Access::Public {
            return Ok(None);
        }
        match bearer::extract(&head.headers).map_err(Denied::Bearer)? {
            Some(token) => self.authenticator.authenticate(token).await.map(Some).map_err(Denied::Authenticate),
            None => Ok(None),
        }
    }
}

/// Refuses a body that announces itself as too large before any of it is read; one that does not is counted
/// while it passes.
fn check_declared_length(route: &Route, head: &Parts) -> Result<(), Denied> {
    let declared = head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > route.body_bytes_max) { Err(Denied::BodyTooLarge) } else { Ok(()) }
}

impl Denied {
    /// The word for body, log and metric.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::TooLarge(HeadTooLarge::Target) => Reason::TargetTooLong,
            Self::TooLarge(HeadTooLarge::Headers) => Reason::HeadersTooLarge,
            Self::Head(HeadError::MethodUnknown) => Reason::MethodUnknown,
            Self::Head(HeadError::Expectation) => Reason::ExpectationFailed,
            Self::Head(_) | Self::Target(_) | Self::Bearer(BearerError::Repeated) => Reason::Malformed,
            Self::NoRoute(NoRoute::NotFound) => Reason::NotFound,
            Self::NoRoute(NoRoute::MethodNotAllowed(_)) => Reason::MethodNotAllowed,
            Self::BodyTooLarge => Reason::BodyTooLarge,
            Self::Bearer(BearerError::Malformed | BearerError::TooLong) => Reason::BadToken,
            Self::Authenticate(error) => error.reason(),
            Self::NotRevived(reason) => *reason,
            // RFC 6750 §3.1: a scheme without a token is no attempt to authenticate.
            Self::Access(AccessRefusal::MissingToken) | Self::Bearer(BearerError::Empty) => Reason::MissingToken,
            Self::Access(AccessRefusal::MissingRole | AccessRefusal::MissingScope { .. }) => Reason::Forbidden,
            Self::Access(AccessRefusal::TooLongAgo(_)) => Reason::Reauthenticate,
        }
    }

    /// Whether nothing is wrong but that the access token has expired.
    #[must_use]
    pub fn is_expiry(&self) -> bool {
        matches!(self, Self::Authenticate(AuthenticateError::Token(TokenError::Expired)))
    }

    /// How recent a password the route asks for; none for any other refusal.
    #[must_use]
    pub fn max_age(&self) -> Option<Duration> {
        if let Self::Access(AccessRefusal::TooLongAgo(max_age)) = self { Some(*max_age) } else { None }
    }

    /// What exactly was wrong with the token: for the log, never for the client.
    #[must_use]
    pub fn detail(&self) -> Option<&'static str> {
        match self {
            Self::Authenticate(error) => Some(error.reason_detail()),
            Self::Access(AccessRefusal::MissingScope { .. }) => Some("scope"),
            _ => None,
        }
    }

    /// The scopes that the token lacks some of, as the challenge names them; none for any other refusal.
    #[must_use]
    pub fn required_scopes(&self) -> Option<&str> {
        match self {
            Self::Access(AccessRefusal::MissingScope { required }) => Some(required),
            _ => None,
        }
    }

    /// The methods that would have been served (RFC 9110 §15.5.6); empty for any other refusal.
    #[must_use]
    pub fn allowed_methods(&self) -> &[Method] {
        match self {
            Self::NoRoute(NoRoute::MethodNotAllowed(methods)) => methods,
            _ => &[],
        }
    }
}
