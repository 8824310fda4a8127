//! Routes: which upstream serves a request, found by host, segment-wise path prefix and method.
//!
//! The most specific route wins: an exact host before a wildcard before any host, then the longest prefix, then
//! a route that lists the method before one that lists none. The routes with the longest prefix own the path:
//! when none of them takes the method, a shorter prefix does not get it, so that a method left out of
//! `/api/admin` cannot slip through a public `/`. Nothing matched is denied.

use std::collections::HashMap;
use std::sync::Arc;

use http::Method;

use super::access::{Access, Requirements};
use super::host::{self, Host, HostPattern};
use super::path::{CanonicalPath, PathPrefix};

/// One `[[routes]]` entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The label in logs and metrics: configured, or host and path as written.
    pub name: Box<str>,
    /// Which hosts; none means any.
    pub host: Option<HostPattern>,
    /// Which paths: every whole segment of the prefix must match.
    pub path: PathPrefix,
    /// Which methods; empty means any that the gateway knows. `GET` includes `HEAD`.
    pub methods: Box<[Method]>,
    /// The name of the upstream that serves it.
    pub upstream: Arc<str>,
    /// Whether a token is needed.
    pub access: Access,
    /// What else is needed.
    pub require: Requirements,
    /// Whether the bearer token is forwarded to the upstream.
    pub pass_token: bool,
    /// Whether WebSocket upgrades may pass.
    pub websocket: bool,
    /// The largest request body, in bytes.
    pub body_bytes_max: u64,
}

/// Why no route serves a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoRoute {
    /// Nothing matches host and path.
    NotFound,
    /// Host and path match, the method does not. Carries the methods that would (RFC 9110 §15.5.6).
    MethodNotAllowed(Vec<Method>),
}

/// Two routes for the same host, path and method: which one would serve depended on their order.
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
}

/// A path prefix: the routes that end here, and the prefixes that are one segment longer.
#[derive(Debug, Default)]
struct Node {
    routes: Vec<Arc<Route>>,
    longer: HashMap<Box<str>, Node>,
}

impl Route {
    /// Whether the route takes `method` by listing it.
    fn lists(&self, method: &Method) -> bool {
        // A HEAD is a GET without the body (RFC 9110 §9.3.2): the same decision serves both.
        self.methods.contains(method) || (method == Method::HEAD && self.methods.contains(&Method::GET))
    }
}

impl RouteTable {
    /// Indexes `routes`.
    ///
    /// # Errors
    /// The first two routes between which only their order could decide.
    pub fn new(routes: Vec<Route>) -> Result<Self, RouteClash> {
        let mut table = Self::default();
        for route in routes {
            let root = match route.host.as_ref().map(|host| (host.as_str(), host.wildcard_parent())) {
                None => &mut table.any,
                Some((_, Some(parent))) => table.wildcard.entry(parent.into()).or_default(),
                Some((name, None)) => table.exact.entry(name.into()).or_default(),
            };
            let node = route.path.segments().fold(root, |node, segment| node.longer.entry(segment.into()).or_default());
            node.add(Arc::new(route))?;
        }
        Ok(table)
    }

    /// The route that serves `method` on `path` of `host`.
    ///
    /// # Errors
    /// Nothing serves the path, or nothing with this method.
    pub fn find(&self, host: &Host, path: &CanonicalPath<'_>, method: &Method) -> Result<&Arc<Route>, NoRoute> {
        self.owners(host.name(), path).ok_or(NoRoute::NotFound).and_then(|routes| choose(routes, method))
    }

    /// The routes with the most specific host and the longest prefix: at least one.
    fn owners(&self, host: &str, path: &CanonicalPath<'_>) -> Option<&[Arc<Route>]> {
        if let Some(routes) = self.exact.get(host).and_then(|root| root.longest(path)) {
            return Some(routes);
        }
        if !self.wildcard.is_empty() {
            let mut roots = host::parents(host).filter_map(|parent| self.wildcard.get(parent));
            if let Some(routes) = roots.find_map(|root| root.longest(path)) {
                return Some(routes);
            }
        }
        self.any.longest(path)
    }
}

impl Node {
    fn add(&mut self, route: Arc<Route>) -> Result<(), RouteClash> {
        let clashes = |other: &&Arc<Route>| match (&*other.methods, &*route.methods) {
            ([], []) => true,
            (theirs, ours) => theirs.iter().any(|method| ours.contains(method)),
        };
        if let Some(other) = self.routes.iter().find(clashes) {
            return Err(RouteClash { first: other.name.clone(), second: route.name.clone() });
        }
        self.routes.push(route);
        Ok(())
    }

    fn longest(&self, path: &CanonicalPath<'_>) -> Option<&[Arc<Route>]> {
        let mut node = self;
        let mut longest = node;
        for segment in path.segments() {
            let Some(longer) = node.longer.get(&*segment) else { break };
            node = longer;
            if !node.routes.is_empty() {
                longest = node;
            }
        }
        (!longest.routes.is_empty()).then_some(&longest.routes)
    }
}

fn choose<'a>(routes: &'a [Arc<Route>], method: &Method) -> Result<&'a Arc<Route>, NoRoute> {
    // `HEAD` listed by one route and `GET` by another: the one that names it.
    let named = routes.iter().find(|route| route.methods.contains(method));
    let listed = || routes.iter().find(|route| route.lists(method));
    let open = || routes.iter().find(|route| route.methods.is_empty());
    named.or_else(listed).or_else(open).ok_or_else(|| NoRoute::MethodNotAllowed(allowed(routes)))
}

/// What these routes list, for `Allow`: each once, in the order of the file.
fn allowed(routes: &[Arc<Route>]) -> Vec<Method> {
    let mut methods: Vec<Method> = Vec::new();
    for method in routes.iter().flat_map(|route| &route.methods) {
        let with_head = (method == Method::GET).then_some(Method::HEAD);
        for method in std::iter::once(method.clone()).chain(with_head) {
            if !methods.contains(&method) {
                methods.push(method);
            }
        }
    }
    methods
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::route;
    use super::super::path::Target;
    use super::*;

    fn with_methods(path: &str, methods: &[Method]) -> Route {
        let name = format!("{methods:?} {path}").into();
        Route { methods: methods.into(), name, ..route(None, path) }
    }

    fn find(table: &RouteTable, method: Method, host: &str, target: &str) -> Result<String, NoRoute> {
        let host = Host::parse(host, 80).expect("a valid host");
        let target = Target::parse(target.as_bytes(), &host).expect("a valid target");
        table.find(&host, &target.path(), &method).map(|route| route.name.to_string())
    }

    fn found(table: &RouteTable, host: &str, target: &str) -> String {
        find(table, Method::GET, host, target).unwrap_or_else(|none| format!("{none:?}"))
    }

    #[test]
    fn the_most_specific_host_wins_and_then_the_longest_prefix() {
        let table = RouteTable::new(vec![
            route(None, "/"),
            route(None, "/api/users"),
            route(Some("*.example.com"), "/"),
            route(Some("*.eu.example.com"), "/api"),
            route(Some("api.example.com"), "/api"),
            route(Some("api.example.com"), "/api/users/me"),
        ])
        .expect("no clash");
        for (host, target, name) in [
            ("api.example.com", "/api", "api.example.com/api"),
            ("API.example.com.:8080", "/api/users", "api.example.com/api"),
            ("api.example.com", "/api/users/me/keys", "api.example.com/api/users/me"),
            ("api.example.com", "/api/users/mean", "api.example.com/api"),
            // Where the exact host has no such path, a less specific host may.
            ("api.example.com", "/", "*.example.com/"),
            ("a.eu.example.com", "/api/x", "*.eu.example.com/api"),
            ("a.eu.example.com", "/other", "*.example.com/"),
            ("example.com", "/x", "/"),
            ("example.com", "/api/users/7", "/api/users"),
            ("example.com", "/api", "/"),
            ("[::1]", "/api/users", "/api/users"),
        ] {
            assert_eq!(found(&table, host, target), name, "{host} {target}");
        }
    }

    #[test]
    fn what_no_route_matches_is_denied() {
        // Case 87.
        let table = RouteTable::new(vec![route(Some("a.example"), "/api")]).expect("no clash");
        assert_eq!(found(&table, "a.example", "/api/x"), "a.example/api");
        for (host, target) in [("a.example", "/"), ("a.example", "/apis"), ("b.example", "/api"), ("x.a.example", "/api")] {
            assert_eq!(find(&table, Method::GET, host, target), Err(NoRoute::NotFound), "{host}{target}");
        }
        assert_eq!(find(&RouteTable::default(), Method::GET, "a", "/"), Err(NoRoute::NotFound));
    }

    #[test]
    fn spellings_of_a_path_find_the_same_route() {
        let table = RouteTable::new(vec![route(None, "/"), route(None, "/admin")]).expect("no clash");
        // Cases 64, 69 and 62.
        for target in ["/admin", "/admin/", "/admin.", "/admin;x=1", "/%61dmin", "/admin%20", "/admin.;x/y", "/admin?x=/"] {
            assert_eq!(found(&table, "a", target), "/admin", "{target}");
        }
        // Cases 68 and 72.
        for target in ["/ADMIN", "/administrator", "/%2561dmin"] {
            assert_eq!(found(&table, "a", target), "/", "{target}");
        }
    }

    #[test]
    fn a_route_that_lists_the_method_wins_over_one_that_lists_none() {
        let table = RouteTable::new(vec![
            with_methods("/x", &[]),
            with_methods("/x", &[Method::GET, Method::POST]),
            with_methods("/y", &[Method::GET]),
            with_methods("/y", &[Method::HEAD]),
        ])
        .expect("no clash");
        let name = |method, target| find(&table, method, "a", target).expect("found");
        assert_eq!(name(Method::POST, "/x"), "[GET, POST] /x");
        assert_eq!(name(Method::DELETE, "/x"), "[] /x");
        // Case 77.
        assert_eq!(name(Method::HEAD, "/x"), "[GET, POST] /x");
        assert_eq!(name(Method::HEAD, "/y"), "[HEAD] /y");
    }

    #[test]
    fn a_method_that_the_longest_prefix_leaves_out_does_not_reach_a_shorter_one() {
        let table = RouteTable::new(vec![
            with_methods("/", &[]),
            with_methods("/admin", &[Method::GET]),
            with_methods("/admin", &[Method::DELETE]),
        ])
        .expect("no clash");
        let allow = vec![Method::GET, Method::HEAD, Method::DELETE];
        assert_eq!(find(&table, Method::POST, "a", "/admin/users"), Err(NoRoute::MethodNotAllowed(allow)));
        assert_eq!(find(&table, Method::POST, "a", "/other").as_deref(), Ok("[] /"));
    }

    #[test]
    fn routes_that_only_their_order_tells_apart_are_refused() {
        let clash = |first: Route, second: Route| RouteTable::new(vec![first, second]).map(|_| ());
        let error = clash(with_methods("/x", &[]), with_methods("/x/", &[])).expect_err("the same path");
        assert_eq!(error.to_string(), "routes \"[] /x\" and \"[] /x/\" match the same requests");
        assert!(clash(with_methods("/x", &[Method::GET, Method::PUT]), with_methods("/%78", &[Method::PUT])).is_err());
        assert!(clash(route(Some("A.example"), "/"), route(Some("a.example."), "/")).is_err());
        assert!(clash(with_methods("/x", &[Method::GET]), with_methods("/x", &[Method::PUT])).is_ok());
        assert!(clash(route(Some("a.example"), "/"), route(Some("*.a.example"), "/")).is_ok());
        assert!(clash(route(None, "/"), route(Some("a.example"), "/")).is_ok());
    }

    #[test]
    fn each_of_ten_thousand_routes_is_found() {
        let mut routes: Vec<_> = (0..5_000).map(|n| route(None, &format!("/service-{n}/v1"))).collect();
        routes.extend((0..5_000).map(|n| route(Some(&format!("tenant-{n}.example")), "/")));
        let table = RouteTable::new(routes).expect("no clash");
        for n in (0..5_000).step_by(499) {
            assert_eq!(found(&table, "a", &format!("/service-{n}/v1/items/7")), format!("/service-{n}/v1"));
            assert_eq!(found(&table, &format!("tenant-{n}.example"), "/items"), format!("tenant-{n}.example/"));
        }
    }
}
