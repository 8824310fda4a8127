//! Which route serves a request: tables of examples, and the index against a plain reading of the rules.

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::super::conditions::Conditions;
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
    let asked = Asked { method: &method, headers: &HeaderMap::new(), query: target.query() };
    table.find(&host, &target.path(), &asked).map(|route| route.name.to_string())
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
    // Templates, and conditions on one path in ten, do not make the others look further.
    routes.extend((0..5_000).map(|n| route(None, &format!("/service-{n}/v1/{{id}}/notes"))));
    let asking = |n: i32| written(&format!("/service-{n}/v1"), &[], &[("x-version", "2")], &[]);
    routes.extend((0..5_000).step_by(10).map(|n| Route { name: n.to_string().into(), ..asking(n) }));
    let table = RouteTable::new(routes).expect("no clash");
    for n in (0..5_000).step_by(499) {
        assert_eq!(found(&table, "a", &format!("/service-{n}/v1/7/notes")), format!("/service-{n}/v1/{{id}}/notes"));
        assert_eq!(found(&table, "a", &format!("/service-{n}/v1/items/7")), format!("/service-{n}/v1"));
        assert_eq!(found(&table, &format!("tenant-{n}.example"), "/items"), format!("tenant-{n}.example/"));
    }
}

/// A route as the file has it: `GET host/path? header=value ?parameter=value`, `=` before an exact path.
fn written(path: &str, methods: &[Method], headers: &[(&'static str, &'static str)], query: &[(&str, &str)]) -> Route {
    let exact = path.starts_with('=');
    let pattern = PathPattern::parse(path.trim_start_matches('='), exact).expect("a valid path");
    let field = |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    let parameters = query.iter().map(|&(name, value)| (name.into(), value.into())).collect();
    let conditions = Conditions::new(headers.iter().map(field).collect(), parameters);
    let conditions = (conditions.weight() != (0, 0)).then(|| Box::new(conditions));
    let name = format!("{methods:?} {path} {headers:?} {query:?}").into();
    Route { path: pattern, methods: methods.into(), conditions, name, ..route(None, "/") }
}

/// Which of `routes` serves a GET with these fields: its place in the file.
fn served(routes: &[Route], target: &str, headers: &[(&'static str, &'static str)]) -> Result<usize, NoRoute> {
    let numbered = routes.iter().enumerate().map(|(at, route)| Route { name: at.to_string().into(), ..route.clone() });
    let table = RouteTable::new(numbered.collect()).expect("no clash");
    let host = Host::parse("a", 80).expect("a host");
    let target = Target::parse(target.as_bytes(), &host).expect("a target");
    let headers = headers.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect();
    let asked = Asked { method: &Method::GET, headers: &headers, query: target.query() };
    table.find(&host, &target.path(), &asked).map(|route| route.name.parse().expect("a number"))
}

#[test]
fn exact_before_longest_prefix_before_method_before_most_fields_before_most_parameters_before_the_first() {
    let (none, get) = (&[][..], &[Method::GET][..]);
    // Each is more specific than all that follow.
    let order = [
        written("=/a/b", none, &[], &[]),
        written("/a/b", get, &[("x", "1"), ("y", "1")], &[]),
        written("/a/b", get, &[("x", "1")], &[("q", "1")]),
        written("/a/b", get, &[("x", "1")], &[]),
        written("/a/b", get, &[("y", "1")], &[]),
        written("/a/b", get, &[], &[("q", "1"), ("r", "1")]),
        written("/a/b", get, &[], &[("q", "1")]),
        written("/a/b", get, &[], &[]),
        written("/a/b", none, &[("x", "1"), ("y", "1"), ("z", "1")], &[]),
        written("/a/b", none, &[], &[]),
        written("/a/{b}", get, &[("x", "1")], &[]),
        written("/{a}/b", get, &[], &[]),
        written("/{a}/{b}", get, &[], &[]),
        written("/a", get, &[("x", "1")], &[]),
        written("/", none, &[], &[]),
    ];
    let everything = [("x", "1"), ("y", "1"), ("z", "1")];
    for first in 0..order.len() {
        assert_eq!(served(&order[first..], "/a/b?q=1&r=1", &everything), Ok(0), "{:?}", order[first]);
        let mut reversed: Vec<_> = order[first..].to_vec();
        reversed.reverse();
        // Routes 3 and 4 are told apart by the order of the file alone.
        let expected = if first == 3 { reversed.len() - 2 } else { reversed.len() - 1 };
        assert_eq!(served(&reversed, "/a/b?q=1&r=1", &everything), Ok(expected), "{:?}", order[first]);
    }
}

#[test]
fn a_condition_that_is_left_out_does_not_lead_to_a_less_specific_path() {
    let routes = [written("/admin", &[], &[("x-team", "ops")], &[]), written("/", &[], &[], &[])];
    assert_eq!(served(&routes, "/admin/x", &[("x-team", "ops")]), Ok(0));
    assert_eq!(served(&routes, "/admin/x", &[]), Err(NoRoute::NotFound));
    assert_eq!(served(&routes, "/other", &[]), Ok(1));
    let exact = [written("=/admin", &[Method::POST], &[], &[]), written("/admin", &[], &[], &[])];
    assert_eq!(served(&exact, "/admin", &[]), Err(NoRoute::MethodNotAllowed(vec![Method::POST])));
    assert_eq!(served(&exact, "/admin/x", &[]), Ok(1));
}

#[test]
fn what_decides_and_is_sent_twice_is_refused() {
    let routes = [written("/a", &[], &[("x", "1")], &[]), written("/a", &[], &[], &[("q", "1")]), written("/a", &[], &[], &[])];
    assert_eq!(served(&routes, "/a?q=1&q=2", &[]), Err(NoRoute::Repeated));
    assert_eq!(served(&routes, "/a?q=1&%71=1", &[]), Err(NoRoute::Repeated));
    assert_eq!(served(&routes, "/a?q=1", &[]), Ok(1));
    assert_eq!(served(&routes, "/a?r=1&r=2", &[]), Ok(2), "nobody asks for it");
}

#[test]
fn routes_that_ask_for_the_same_clash_whatever_the_order_of_their_conditions() {
    let clash = |first: Route, second: Route| RouteTable::new(vec![first, second]).is_err();
    let (ab, ba) = ([("a", "1"), ("b", "1")], [("b", "1"), ("a", "1")]);
    assert!(clash(written("/x", &[], &ab, &[]), written("/x", &[], &ba, &[])));
    assert!(clash(written("/x", &[], &[], &ab), written("/x", &[], &[], &ba)));
    assert!(clash(written("/x/{a}", &[], &[], &[]), written("/x/{b}", &[], &[], &[])));
    assert!(!clash(written("/x", &[], &ab, &[]), written("/x", &[], &ab[..1], &[])));
    assert!(!clash(written("/x", &[], &[("a", "1")], &[]), written("/x", &[], &[("a", "2")], &[])));
    assert!(!clash(written("/x", &[], &[], &[]), written("=/x", &[], &[], &[])));
}

/// The rules, read plainly: of all that match host and path the most specific path owns; of its routes the best serves.
fn plainly(routes: &[Route], host: &Host, path: &CanonicalPath<'_>, asked: &Asked<'_>) -> Result<Box<str>, NoRoute> {
    use super::super::pattern::Segment;
    let host_rank = |route: &Route| match &route.host {
        None => 0,
        Some(pattern) if pattern.wildcard_parent().is_none() => usize::MAX,
        Some(pattern) => pattern.as_str().len(),
    };
    let path_rank = |route: &Route| {
        let literals: Vec<bool> = route.path.segments().iter().map(|segment| matches!(segment, Segment::Literal(_))).collect();
        (host_rank(route), route.path.is_exact(), literals.len(), literals)
    };
    let there = |route: &&Route| route.host.as_ref().is_none_or(|host_of| host_of.matches(host)) && route.path.matches(path);
    let Some(best) = routes.iter().filter(there).map(path_rank).max() else { return Err(NoRoute::NotFound) };
    let owners: Vec<&Route> = routes.iter().filter(there).filter(|route| path_rank(route) == best).collect();
    let met = |route: &Route| route.conditions.as_ref().map_or(Ok(true), |asks| asks.met(asked.headers, asked.query));
    if owners.iter().any(|route| met(route).is_err()) {
        return Err(NoRoute::Repeated);
    }
    let takes = |route: &Route| match asked.method {
        method if route.methods.contains(method) => Some(2),
        &Method::HEAD if route.methods.contains(&Method::GET) => Some(1),
        _ => route.methods.is_empty().then_some(0),
    };
    let candidates = owners.iter().enumerate().filter(|(_, route)| met(route) == Ok(true));
    let ranked = candidates.filter_map(|(at, route)| Some((takes(route)?, weight(route), std::cmp::Reverse(at), &route.name)));
    match ranked.max() {
        Some((.., name)) => Ok(name.clone()),
        None if owners.iter().any(|route| takes(route).is_some()) => Err(NoRoute::NotFound),
        None => Err(NoRoute::MethodNotAllowed(Vec::new())),
    }
}

fn any_route() -> impl Strategy<Value = Route> {
    let host = prop::sample::select(vec![None, None, Some("a.b.c"), Some("*.b.c"), Some("*.c")]);
    let path = prop::collection::vec(prop::sample::select(vec!["a", "b", "{x}"]), 0..4);
    let methods = prop::sample::subsequence(vec![Method::GET, Method::HEAD, Method::POST], 0..3);
    let headers = prop::sample::subsequence(vec![("x", "1"), ("y", "1")], 0..2);
    let query = prop::sample::subsequence(vec![("q", "1"), ("r", "1")], 0..2);
    (host, path, any::<bool>(), methods, headers, query).prop_map(|(host, path, exact, methods, headers, query)| {
        let text = format!("{}/{}", if exact { "=" } else { "" }, path.join("/"));
        let host = host.map(|host| HostPattern::parse(host).expect("a host"));
        Route { host, ..written(&text, &methods, &headers, &query) }
    })
}

proptest! {
    #[test]
    fn the_index_finds_what_the_rules_say(
        routes in prop::collection::vec(any_route(), 1..24),
        host in prop::sample::select(vec!["a.b.c", "x.b.c", "x.y.b.c", "x.c", "c", "other"]),
        path in prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 0..5),
        method in prop::sample::select(vec![Method::GET, Method::HEAD, Method::POST, Method::PUT]),
        headers in prop::sample::subsequence(vec![("x", "1"), ("y", "1"), ("y", "2")], 0..3),
        query in prop::sample::select(vec!["", "?q=1", "?q=1&r=1", "?q=1&q=1", "?r=2"]),
    ) {
        let mut accepted: Vec<Route> = Vec::new();
        for (at, route) in routes.into_iter().enumerate() {
            accepted.push(Route { name: at.to_string().into(), ..route });
            if RouteTable::new(accepted.clone()).is_err() {
                accepted.pop();
            }
        }
        let table = RouteTable::new(accepted.clone()).expect("what clashes was left out");
        let host = Host::parse(host, 80).expect("a host");
        let text = format!("/{}{query}", path.join("/"));
        let target = Target::parse(text.as_bytes(), &host).expect("a target");
        let mut fields = HeaderMap::new();
        for (name, value) in headers {
            fields.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let asked = Asked { method: &method, headers: &fields, query: target.query() };
        let found = table.find(&host, &target.path(), &asked).map(|route| route.name.clone());
        let found = found.map_err(|none| match none {
            NoRoute::MethodNotAllowed(_) => NoRoute::MethodNotAllowed(Vec::new()),
            other => other,
        });
        prop_assert_eq!(found, plainly(&accepted, &host, &target.path(), &asked));
    }
}
