//! Routes: which upstream serves a request, found by host, path, method, header fields and query.
//!
//! The most specific route wins. In this order: an exact host before a wildcard before any host; an exact path before a
//! prefix; the prefix with the most segments, and of those with as many the one that has a literal where the other has a
//! template, from the left; a route that lists the method before one that lists none; the one that asks for the most header
//! fields; for the most query parameters; at last the first in the file. It is the order of the Gateway API, with one
//! difference: the most specific path *owns* a request. When none of its routes takes the method, or none of their
//! conditions is met, a less specific path does not get it: what is left out of `/api/admin` cannot slip through a
//! public `/` by another method or by leaving a field out. Nothing matched is denied.

mod node;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method};

use super::access::{Access, OnUnknown, Requirements};
use super::conditions::Conditions;
use super::filters::Filters;
use super::host::{self, Host, HostPattern};
use super::path::CanonicalPath;
use super::pattern::PathPattern;
use node::{Node, Owners};

/// One `[[routes]]` entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The label in logs and metrics: configured, or what it matches as written.
    pub name: Box<str>,
    /// Which hosts; none means any.
    pub host: Option<HostPattern>,
    /// Which paths.
    pub path: PathPattern,
    /// Which methods; empty means any that the gateway knows. `GET` includes `HEAD`.
    pub methods: Box<[Method]>,
    /// What else must be in the request, if anything.
    pub conditions: Option<Box<Conditions>>,
    /// The name of the upstream that serves it; empty where it redirects.
    pub upstream: Arc<str>,
    /// Whether a token is needed.
    pub access: Access,
    /// What else is needed.
    pub require: Requirements,
    /// What becomes of a token while nobody can say whether it was revoked.
    pub on_unknown: OnUnknown,
    /// Whether the bearer token is forwarded to the upstream.
    pub pass_token: bool,
    /// Whether WebSocket upgrades may pass.
    pub websocket: bool,
    /// Pages of which origins may open WebSockets; empty means any.
    pub origins: Box<[HeaderValue]>,
    /// The largest request body, in bytes.
    pub body_bytes_max: u64,
    /// Times of its own; none means that the upstream's count.
    pub timeouts: Option<Timeouts>,
    /// What it does besides, if anything.
    pub filters: Option<Box<Filters>>,
}

/// Times after which a route's upstream is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timeouts {
    /// TCP and TLS handshake.
    pub connect: Option<Duration>,
    /// From the choice of a server to the end of its response head.
    pub response_head: Option<Duration>,
    /// The longest wait for the next bytes of the response.
    pub read: Option<Duration>,
    /// The whole request, from its head to the end of the answer.
    pub total: Option<Duration>,
}

/// What a request asks for beside host and path.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a Method,
    /// The header fields as received.
    pub headers: &'a HeaderMap,
    /// The query, without its `?`.
    pub query: Option<&'a str>,
}

/// Why no route serves a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoRoute {
    /// Nothing matches host and path, or no route there asks for less than there is.
    NotFound,
    /// Host and path match, the method does not. Carries the methods that would (RFC 9110 §15.5.6).
    MethodNotAllowed(Vec<Method>),
    /// A header field or query parameter that decides is there more than once.
    Repeated,
}

/// Two routes for the same requests: which one would serve depended on their order alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("routes \"{first}\" and \"{second}\" match the same requests")]
pub struct RouteClash {
    /// The name of the earlier one.
    pub first: Box<str>,
    /// The name of the later one.
    pub second: Box<str>,
}

/// All routes, indexed so that finding one takes a hash look-up per label and segment, however many there are.
#[derive(Debug, Default)]
pub struct RouteTable {
    exact: HashMap<Box<str>, Node>,
    /// By what stands behind `*.`.
    wildcard: HashMap<Box<str>, Node>,
    any: Node,
    /// For upstreams of routes that rewrite paths: all their routes by what is sent.
    guards: HashMap<Arc<str>, Node>,
    /// Whether any route answers preflights.
    has_cors: bool,
}

impl Route {
    /// Whether the route takes `method` by listing it.
    fn lists(&self, method: &Method) -> bool {
        // A HEAD is a GET without the body (RFC 9110 §9.3.2): the same decision serves both.
        self.methods.contains(method) || (*method == Method::HEAD && self.methods.contains(&Method::GET))
    }

    fn takes(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.lists(method)
    }

    fn rewrites(&self) -> bool {
        self.filters.as_ref().is_some_and(|filters| filters.rewrite.is_some())
    }

    /// Which paths its upstream is sent.
    fn sends(&self) -> PathPattern {
        let rewrite = self.filters.as_ref().and_then(|filters| filters.rewrite.as_ref()?.path.as_ref());
        rewrite.map_or_else(|| self.path.clone(), |rewrite| rewrite.outcome(&self.path))
    }
}

impl RouteTable {
    /// Indexes `routes`.
    ///
    /// # Errors
    /// The first two routes between which only their order could decide.
    pub fn new(routes: Vec<Route>) -> Result<Self, RouteClash> {
        let mut table = Self::default();
        for route in &routes {
            table.has_cors |= route.filters.as_ref().is_some_and(|filters| filters.cors.is_some());
            if route.rewrites() {
                table.guards.entry(Arc::clone(&route.upstream)).or_default();
            }
        }
        for route in routes {
            let route = Arc::new(route);
            if let Some(guards) = table.guards.get_mut(&route.upstream) {
                guards.at(&route.sends()).push(Arc::clone(&route));
            }
            let root = match route.host.as_ref().map(|host| (host.as_str(), host.wildcard_parent())) {
                None => &mut table.any,
                Some((_, Some(parent))) => table.wildcard.entry(parent.into()).or_default(),
                Some((name, None)) => table.exact.entry(name.into()).or_default(),
            };
            add(root.at(&route.path), route)?;
        }
        Ok(table)
    }

    /// The route that serves what is asked for at `path` of `host`.
    ///
    /// # Errors
    /// Nothing serves the path, or nothing with this method.
    pub fn find(&self, host: &Host, path: &CanonicalPath<'_>, asked: &Asked<'_>) -> Result<&Arc<Route>, NoRoute> {
        self.owners(host.name(), path).ok_or(NoRoute::NotFound).and_then(|owners| choose(owners.routes.iter(), asked))
    }

    /// Whether any route answers preflights.
    #[must_use]
    pub fn has_cors(&self) -> bool {
        self.has_cors
    }

    /// The route whose pages' rules answer a preflight for `method`: the one that would serve it, whatever header fields
    /// it asks for, as a preflight does not bring them. Where that method is not taken, any that has rules: it allows
    /// nothing then. None if the preflight is a request like any other.
    #[must_use]
    pub fn preflight(&self, host: &Host, path: &CanonicalPath<'_>, method: &Method) -> Option<&Arc<Route>> {
        let routes = self.owners(host.name(), path)?.routes;
        let has_cors = |route: &&Arc<Route>| route.filters.as_ref().is_some_and(|filters| filters.cors.is_some());
        let mut listed = routes.iter().filter(|route| route.lists(method)).peekable();
        if listed.peek().is_some() {
            return listed.find(has_cors);
        }
        let mut open = routes.iter().filter(|route| route.methods.is_empty()).peekable();
        if open.peek().is_some() { open.find(has_cors) } else { routes.iter().find(has_cors) }
    }

    /// The route that guards what `route` sends as `path`: one to the same upstream that sends more specific paths, of which
    /// this is one, for any of `hosts`, the one asked for and the one sent. A rewrite must not lead around it.
    ///
    /// # Errors
    /// Such routes own the path, and none of them takes the request.
    pub fn guard(
        &self,
        route: &Arc<Route>,
        hosts: [&Host; 2],
        path: &CanonicalPath<'_>,
        asked: &Asked<'_>,
    ) -> Result<Option<&Arc<Route>>, NoRoute> {
        let Some(guards) = self.guards.get(&route.upstream) else { return Ok(None) };
        let of_host =
            |other: &Arc<Route>| other.host.as_ref().is_none_or(|pattern| hosts.iter().any(|host| pattern.matches(host)));
        let Some(owners) = guards.owners(path.segments(), &of_host) else { return Ok(None) };
        // As specific as what was chosen: that is another way in, and the file says who may take it.
        if owners.routes.iter().any(|other| Arc::ptr_eq(other, route)) {
            return Ok(None);
        }
        choose(owners.routes.iter().filter(|other| of_host(other)), asked).map(Some)
    }

    /// The routes with the most specific host and path: at least one.
    fn owners(&self, host: &str, path: &CanonicalPath<'_>) -> Option<Owners<'_>> {
        if let Some(owners) = self.exact.get(host).and_then(|root| root.owners(path.segments(), &|_| true)) {
            return Some(owners);
        }
        if !self.wildcard.is_empty() {
            let mut roots = host::parents(host).filter_map(|parent| self.wildcard.get(parent));
            if let Some(owners) = roots.find_map(|root| root.owners(path.segments(), &|_| true)) {
                return Some(owners);
            }
        }
        self.any.owners(path.segments(), &|_| true)
    }
}

/// Adds a route to those of the same host and path; those that ask for more come first.
fn add(routes: &mut Vec<Arc<Route>>, route: Arc<Route>) -> Result<(), RouteClash> {
    let clashes = |other: &&Arc<Route>| {
        let methods = match (&*other.methods, &*route.methods) {
            ([], []) => true,
            (theirs, ours) => theirs.iter().any(|method| ours.contains(method)),
        };
        methods && other.conditions == route.conditions
    };
    if let Some(other) = routes.iter().find(clashes) {
        return Err(RouteClash { first: other.name.clone(), second: route.name.clone() });
    }
    let weight = weight(&route);
    let place = routes.partition_point(|other| self::weight(other) >= weight);
    routes.insert(place, route);
    Ok(())
}

fn weight(route: &Route) -> (usize, usize) {
    route.conditions.as_ref().map_or((0, 0), |conditions| conditions.weight())
}

/// The route for what is asked, of those that own the path, the most demanding first.
fn choose<'a>(
    routes: impl Iterator<Item = &'a Arc<Route>> + Clone,
    Asked { method, headers, query }: &Asked<'_>,
) -> Result<&'a Arc<Route>, NoRoute> {
    for conditions in routes.clone().filter_map(|route| route.conditions.as_ref()) {
        conditions.met(headers, *query).map_err(|_| NoRoute::Repeated)?;
    }
    let met = |route: &&Arc<Route>| route.conditions.as_ref().is_none_or(|asked| asked.met(headers, *query) == Ok(true));
    // `HEAD` listed by one route and `GET` by another: the one that names it.
    let named = routes.clone().find(|route| route.methods.contains(method) && met(route));
    let listed = || routes.clone().find(|route| route.lists(method) && met(route));
    let open = || routes.clone().find(|route| route.methods.is_empty() && met(route));
    named.or_else(listed).or_else(open).ok_or_else(|| {
        let taken = routes.clone().any(|route| route.takes(method));
        if taken { NoRoute::NotFound } else { NoRoute::MethodNotAllowed(allowed(routes.clone())) }
    })
}

/// What these routes list, for `Allow`: each once.
fn allowed<'a>(routes: impl Iterator<Item = &'a Arc<Route>>) -> Vec<Method> {
    let mut methods: Vec<Method> = Vec::new();
    for method in routes.flat_map(|route| &route.methods) {
        let with_head = (*method == Method::GET).then_some(Method::HEAD);
        for method in std::iter::once(method.clone()).chain(with_head) {
            if !methods.contains(&method) {
                methods.push(method);
            }
        }
    }
    methods
}

#[cfg(test)]
mod tests;
