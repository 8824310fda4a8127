//! The gate: from a request head to a [`Permit`], or to the reason why not.
//!
//! In order: the head must have one reading, a route must serve it, within its limits (`rates`), the caller must be known
//! and not revoked, and the route must let them pass. Whatever cannot be checked is refused.

pub mod rates;

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, Method, header};
use jiff::Timestamp;

use crate::auth::authenticate::{AuthenticateError, Authenticator, Doubt, Recognised};
use crate::clock::Clock;
use crate::identity::Caller;
use crate::identity::access_token::TokenError;
use crate::limit::{HeadTooLarge, RequestLimits};
use crate::policy::access::{self, Access, AccessRefusal, OnUnknown, Permit};
use crate::policy::bearer::{self, BearerError};
use crate::policy::cors;
use crate::policy::head::{self, HeadError};
use crate::policy::host::Host;
use crate::policy::path::{Target, TargetError};
use crate::policy::rewrite::{Outgoing, Rewrite};
use crate::policy::route::{Asked, NoRoute, Route, RouteTable};
use crate::policy::subprotocol;
use crate::reason::Reason;
use crate::store::RevokedBy;

/// Where a request wants to go, in the one reading that is decided on and forwarded.
#[derive(Debug)]
pub struct Destination {
    /// The canonical host.
    pub host: Host,
    /// The canonical path, and the query as it will be sent.
    pub target: Target<'static>,
}

/// The route that serves a request, and as what it is sent.
#[derive(Debug, Clone)]
pub struct Way<'a> {
    route: &'a Arc<Route>,
    /// None where it is sent as it was asked for.
    rewritten: Option<Box<Rewritten<'a>>>,
}

#[derive(Debug, Clone)]
struct Rewritten<'a> {
    outgoing: Outgoing,
    /// Another route whose rules hold for what is sent.
    guard: Option<&'a Arc<Route>>,
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
    /// Pages of its origin may open no WebSocket here.
    ForeignOrigin,
    /// A limit of the route is reached; carries for how long.
    TooMany(Duration),
    /// The credentials have no single reading.
    Bearer(BearerError),
    /// The token is not valid, or revoked, or cannot be checked.
    Authenticate(AuthenticateError),
    /// The token has expired, and what came with it to make up for that does not.
    NotRevived(Reason),
    /// The caller may not pass.
    Access(AccessRefusal),
}

/// What the configuration alone says about a request: no clock, no key, no store.
#[derive(Debug)]
pub struct Rules {
    routes: RouteTable,
    limits: RequestLimits,
}

/// The rules and the authenticator: everything that a decision needs.
pub struct Gate {
    rules: Rules,
    authenticator: Arc<Authenticator>,
    clock: Arc<dyn Clock>,
}

impl Rules {
    /// The rules of these routes.
    #[must_use]
    pub fn new(routes: RouteTable, limits: RequestLimits) -> Self {
        Self { routes, limits }
    }

    /// Reads the head in its one reading. `raw_target` is the request target as received; `default_port` is what a
    /// `Host` without a port means on its connection: 80 or 443.
    ///
    /// # Errors
    /// The head is too large, or open to two readings.
    pub fn destination(&self, raw_target: &[u8], head: &Parts, default_port: u16) -> Result<Destination, Denied> {
        self.limits.check_head(raw_target, &head.headers).map_err(Denied::TooLarge)?;
        head::check_framing(&head.method, head.version, &head.headers).map_err(Denied::Head)?;
        let host = head::host(&head.uri, &head.headers, default_port).map_err(Denied::Head)?;
        let target = Target::parse(raw_target, &host).map_err(Denied::Target)?.into_owned();
        Ok(Destination { host, target })
    }

    /// Finds the route that serves the request, and what it will be sent as. Everything after is decided on that.
    ///
    /// # Errors
    /// Nothing serves it, or it would be sent as something that has no single reading.
    pub fn way(&self, destination: &Destination, head: &Parts) -> Result<Way<'_>, Denied> {
        let asked = asked(destination, head);
        let route = self.routes.find(&destination.host, &destination.target.path(), &asked).map_err(Denied::NoRoute)?;
        check_declared_length(route, head)?;
        check_origin(route, head)?;
        let rewrite = route.filters.as_ref().and_then(|filters| filters.rewrite.as_ref());
        let rewritten = rewrite.map(|rewrite| self.rewritten(route, rewrite, destination, &asked)).transpose()?;
        Ok(Way { route, rewritten })
    }

    /// The rules of the route that answers a preflight, as fields of the answer; none if it is a request like any other.
    #[must_use]
    pub fn preflight(&self, destination: &Destination, head: &Parts) -> Option<HeaderMap> {
        if head.method != Method::OPTIONS || !self.routes.has_cors() {
            return None;
        }
        let method = Method::from_bytes(cors::preflight(&head.method, &head.headers)?.as_bytes()).ok()?;
        let route = self.routes.preflight(&destination.host, &destination.target.path(), &method)?;
        let rules = route.filters.as_ref()?.cors.as_ref()?;
        Some(rules.preflight_fields(&head.headers, &route.methods))
    }

    /// Decides whether `caller` may go that way; `now` is asked for where a route asks for a recent password.
    ///
    /// # Errors
    /// Why not.
    pub fn decide(&self, way: &Way<'_>, caller: Option<Arc<Caller>>, now: impl Fn() -> Timestamp) -> Result<Permit, Denied> {
        let Some(rewritten) = &way.rewritten else {
            return access::decide(Arc::clone(way.route), caller, now).map_err(Denied::Access);
        };
        if let Some(guard) = rewritten.guard {
            access::decide(Arc::clone(guard), caller.clone(), &now).map_err(Denied::Access)?;
        }
        let permit = access::decide(Arc::clone(way.route), caller, now).map_err(Denied::Access)?;
        Ok(permit.sent_as(rewritten.outgoing.clone()))
    }

    fn rewritten(
        &self,
        route: &Arc<Route>,
        rewrite: &Rewrite,
        Destination { host, target }: &Destination,
        asked: &Asked<'_>,
    ) -> Result<Box<Rewritten<'_>>, Denied> {
        let outgoing = rewrite.apply(&route.path, target, host).map_err(Denied::Target)?;
        let (sent_to, sent) = (outgoing.host.as_ref().unwrap_or(host), outgoing.target.as_ref().unwrap_or(target));
        let guard = self.routes.guard(route, [host, sent_to], &sent.path(), asked).map_err(Denied::NoRoute)?;
        Ok(Box::new(Rewritten { outgoing, guard }))
    }
}

impl Gate {
    /// A gate over these routes.
    #[must_use]
    pub fn new(routes: RouteTable, limits: RequestLimits, authenticator: Arc<Authenticator>, clock: Arc<dyn Clock>) -> Self {
        Self { rules: Rules::new(routes, limits), authenticator, clock }
    }

    /// Reads the head in its one reading: [`Rules::destination`].
    ///
    /// # Errors
    /// The head is too large, or open to two readings.
    pub fn destination(&self, raw_target: &[u8], head: &Parts, default_port: u16) -> Result<Destination, Denied> {
        self.rules.destination(raw_target, head, default_port)
    }

    /// Finds the route that serves the request: [`Rules::way`].
    ///
    /// # Errors
    /// Nothing serves it, or it would be sent as something that has no single reading.
    pub fn way(&self, destination: &Destination, head: &Parts) -> Result<Way<'_>, Denied> {
        self.rules.way(destination, head)
    }

    /// What answers a preflight: [`Rules::preflight`].
    #[must_use]
    pub fn preflight(&self, destination: &Destination, head: &Parts) -> Option<HeaderMap> {
        self.rules.preflight(destination, head)
    }

    /// Decides whether the request may be forwarded.
    ///
    /// # Errors
    /// Why it is refused. Nothing may reach an upstream then.
    pub async fn admit(&self, way: &Way<'_>, head: &Parts) -> Result<Permit, Denied> {
        let recognised = self.caller(way, head).await?;
        let doubtful = recognised.as_ref().is_some_and(|recognised| recognised.doubtful);
        let permit = self.rules.decide(way, recognised.map(|recognised| recognised.caller), || self.clock.now())?;
        Ok(permit.in_doubt(doubtful))
    }

    /// Decides the same about a request whose caller was recognised by other means than its access token alone.
    ///
    /// # Errors
    /// Why it is refused. Nothing may reach an upstream then.
    pub fn admit_as(&self, caller: Arc<Caller>, way: &Way<'_>) -> Result<Permit, Denied> {
        self.rules.decide(way, Some(caller), || self.clock.now())
    }

    async fn caller(&self, way: &Way<'_>, head: &Parts) -> Result<Option<Recognised>, Denied> {
        if !way.looks_at_tokens() {
            return Ok(None);
        }
        let in_handshake = way.route.websocket && subprotocol::is_handshake(head);
        let offered = if in_handshake { subprotocol::token(&head.headers).map_err(Denied::Bearer)? } else { None };
        let bytes = bearer::find(&head.headers).map_err(Denied::Bearer)?;
        let Some(bytes) = bytes.or(offered.map(str::as_bytes)) else { return Ok(None) };
        let (authenticator, doubt) = (&self.authenticator, way.doubt(head));
        let recognised = match authenticator.recall(bytes).map_err(Denied::Authenticate)? {
            Some(caller) => authenticator.vouch_for(caller, doubt).await,
            None => authenticator.recognise(bearer::check(bytes).map_err(Denied::Bearer)?, doubt).await,
        };
        recognised.map(Some).map_err(Denied::Authenticate)
    }
}

impl<'a> Way<'a> {
    /// The route.
    #[must_use]
    pub fn route(&self) -> &'a Arc<Route> {
        self.route
    }

    fn looks_at_tokens(&self) -> bool {
        let guarded = || self.rewritten.as_ref()?.guard.filter(|guard| guard.access != Access::Public);
        self.route.access != Access::Public || guarded().is_some()
    }

    /// What becomes of a token of which nobody can say whether it was revoked. Every route that looks at it must let it pass.
    fn doubt(&self, head: &Parts) -> Doubt {
        let guard = self.rewritten.as_ref().and_then(|rewritten| rewritten.guard);
        let mut looking = [Some(self.route), guard].into_iter().flatten().filter(|route| route.access != Access::Public);
        let admitted = looking.all(|route| match route.on_unknown {
            OnUnknown::Deny => false,
            OnUnknown::Allow => true,
            // A WebSocket opens with GET, and is for anything.
            OnUnknown::AllowSafeMethods => head.method.is_safe() && !head.headers.contains_key(header::UPGRADE),
        });
        if admitted { Doubt::Admitted } else { Doubt::Refused }
    }
}

fn asked<'a>(destination: &'a Destination, head: &'a Parts) -> Asked<'a> {
    Asked { method: &head.method, headers: &head.headers, query: destination.target.query() }
}

/// Refuses a body that announces itself as too large before any of it is read; one that does not is counted
/// while it passes.
fn check_declared_length(route: &Route, head: &Parts) -> Result<(), Denied> {
    let declared = head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > route.body_bytes_max) { Err(Denied::BodyTooLarge) } else { Ok(()) }
}

/// Keeps pages of other origins from opening WebSockets with what a browser adds by itself (RFC 6455 §10.2). Programs send
/// no `Origin`, and could send any.
fn check_origin(route: &Route, head: &Parts) -> Result<(), Denied> {
    if route.origins.is_empty() || !subprotocol::is_handshake(head) {
        return Ok(());
    }
    let listed = |origin| route.origins.contains(origin);
    let mut origins = head.headers.get_all(header::ORIGIN).iter();
    let allowed = origins.next().is_none_or(listed) && origins.next().is_none();
    if allowed { Ok(()) } else { Err(Denied::ForeignOrigin) }
}

impl Denied {
    /// The token was good when it was checked, and was revoked meanwhile.
    #[must_use]
    pub fn revoked(by: RevokedBy) -> Self {
        Self::Authenticate(AuthenticateError::Revoked(by))
    }

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
            Self::NoRoute(NoRoute::Repeated) => Reason::Malformed,
            Self::BodyTooLarge => Reason::BodyTooLarge,
            Self::ForeignOrigin => Reason::ForeignOrigin,
            Self::TooMany(_) => Reason::TooMany,
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

    /// Whether nothing is known to be wrong, and nobody can say whether the token was revoked.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Authenticate(AuthenticateError::Unknown(_)))
    }

    /// How recent a password the route asks for; none for any other refusal.
    #[must_use]
    pub fn max_age(&self) -> Option<Duration> {
        if let Self::Access(AccessRefusal::TooLongAgo(max_age)) = self { Some(*max_age) } else { None }
    }

    /// When to come back; none for any other refusal than too many requests.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::TooMany(retry_after) = self { Some(*retry_after) } else { None }
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
