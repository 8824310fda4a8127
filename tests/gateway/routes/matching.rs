//! Exact paths, templates, header fields and query parameters.

use super::{ask, only, site};

#[tokio::test]
async fn the_most_specific_route_serves_whatever_the_order_of_the_file() {
    let site = site(|gateway| {
        let tagged = |keys: &str, tag: &str| {
            format!("access = \"public\"\n{keys}\nrequest_headers = {{ set = {{ \"x-route\" = \"{tag}\" }} }}")
        };
        gateway
            .route(&tagged("path = \"/shop\"", "prefix"))
            .route(&tagged("path = \"/shop\"\nexact = true", "exact"))
            .route(&tagged("path = \"/shop/{item}\"", "template"))
            .route(&tagged("path = \"/shop/cart\"", "literal"))
            .route(&tagged("path = \"/shop/{item}\"\nmethods = [\"POST\"]", "method"))
            .route(&tagged("path = \"/shop/{item}\"\nmatch = { headers = { X-Beta = \"1\" } }", "header"))
            .route(&tagged("path = \"/shop/{item}\"\nmatch = { query = { v = \"2\" } }", "query"))
            .route(&tagged("path = \"/shop/{item}\"\nmatch = { headers = { X-Beta = \"1\" }, query = { v = \"2\" } }", "both"))
    })
    .await;
    for (method, target, fields, route) in [
        ("GET", "/shop", "", "exact"),
        ("GET", "/shop/", "", "exact"),
        ("GET", "/shop/7", "", "template"),
        ("GET", "/shop/7/reviews?v=1", "", "template"),
        ("GET", "/shop/cart/x", "x-beta: 1\r\n", "literal"),
        ("POST", "/shop/7?v=2", "x-beta: 1\r\ncontent-length: 0\r\n", "method"),
        ("GET", "/shop/7", "x-beta: 1\r\n", "header"),
        ("GET", "/shop/7", "x-beta: 2\r\n", "template"),
        ("GET", "/shop/7?a&v=2", "", "query"),
        ("GET", "/shop/7?%76=2", "X-BETA: 1\r\n", "both"),
    ] {
        assert_eq!(ask(&site, method, target, fields).await.status, 200, "{method} {target} {fields}");
        assert_eq!(only(&site).one("x-route"), Some(route), "{method} {target} {fields}");
    }
    for (target, fields) in [("/shop/7?v=2&v=3", ""), ("/shop/7", "x-beta: 1\r\nx-beta: 2\r\n")] {
        let refused = ask(&site, "GET", target, fields).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "malformed"), "{target} {fields}");
    }
    assert!(site.upstream.take_requests().is_empty());
}

#[tokio::test]
async fn leaving_out_what_a_route_asks_for_leads_to_no_other_route() {
    let site = site(|gateway| {
        gateway.route("path = \"/\"\naccess = \"public\"").route("path = \"/ops\"\nmatch = { headers = { X-Team = \"ops\" } }")
    })
    .await;
    assert_eq!(ask(&site, "GET", "/ops/x", "").await.status, 404);
    assert_eq!(ask(&site, "GET", "/ops/x", "x-team: ops\r\n").await.status, 401);
    assert!(site.upstream.take_requests().is_empty());
    assert_eq!(ask(&site, "GET", "/other", "").await.status, 200);
}

#[tokio::test]
async fn two_routes_that_ask_for_the_same_are_refused_at_the_start() {
    let upstream = crate::support::upstream::Upstream::echo().await;
    let keys = "match = { query = { a = \"1\", b = \"2\" } }";
    let (status, said) = crate::support::gateway::Gateway::in_front_of(&upstream)
        .route(&format!("name = \"one\"\npath = \"/x/{{a}}\"\n{keys}"))
        .route(&format!("name = \"two\"\npath = \"/x/{{b}}\"\n{keys}"))
        .refused()
        .await;
    assert!(!status.success() && said.contains("another route serves the same requests"), "{said}");
}
