//! What upstreams are sent instead of what was asked for, and where clients are sent: decided on the path as it is sent.

use super::{ask, bearer, only, site};

#[tokio::test]
async fn an_upstream_is_sent_the_rewritten_path_and_host() {
    let site = site(|gateway| {
        gateway
            .route("path = \"/strip/me\"\naccess = \"public\"\nstrip_prefix = true")
            .route("path = \"/old\"\naccess = \"public\"\nrewrite = { prefix = \"/v2/new\" }")
            .route("path = \"/t/{id}/api\"\naccess = \"public\"\nrewrite = { prefix = \"/api-of-all\" }")
            .route("path = \"/one\"\naccess = \"public\"\nrewrite = { path = \"/index.html\", host = \"inner.example:8443\" }")
    })
    .await;
    for (target, sent) in [
        ("/strip/me", "/"),
        ("/strip/me/", "/"),
        ("/strip/me/a/b?c=/strip/me", "/a/b?c=/strip/me"),
        ("/strip;v=1/me/a;w=2", "/a;w=2"),
        ("/old", "/v2/new"),
        ("/old/a%20b/", "/v2/new/a%20b/"),
        ("/t/7/api/x", "/api-of-all/x"),
        ("/one/two/three?q", "/index.html?q"),
    ] {
        let answer = ask(&site, "GET", target, "").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, sent), "{target}");
        let head = only(&site);
        let host = if sent.starts_with("/index") { "inner.example:8443" } else { "a" };
        assert_eq!((head.one("host"), head.one("x-forwarded-host")), (Some(host), Some("a")), "{target}");
    }
}

#[tokio::test]
async fn no_rewrite_brings_about_a_path_with_two_readings() {
    // Case 73, and 62 to 66 behind a prefix that is stripped.
    let site = site(|gateway| gateway.route("path = \"/strip\"\naccess = \"public\"\nstrip_prefix = true")).await;
    for target in [
        "/strip/../internal",
        "/strip/..;/internal",
        "/strip/%2e%2e/internal",
        "/strip/.%2e%2finternal",
        "/strip//internal",
        "/strip//evil.example/x",
        "/strip/..",
        "/strip/.",
        "/strip/;x/internal",
        "/strip/%5cinternal",
        "/strip\\internal",
        "/strip/internal%00",
        "/strip/%",
    ] {
        assert_eq!(ask(&site, "GET", target, "").await.status, 400, "{target}");
    }
    // Whole segments, and never decoded twice (cases 67 and 72).
    assert_eq!(ask(&site, "GET", "/stripped/internal", "").await.status, 404);
    assert!(site.upstream.take_requests().is_empty());
    assert_eq!(ask(&site, "GET", "/strip/%252e%252e/internal", "").await.text(), "/%252e%252e/internal");
}

#[tokio::test]
async fn a_rewrite_leads_around_no_route_that_guards_the_path_that_is_sent() {
    let site = site(|gateway| {
        gateway
            .table("[auth]\nself_assigned_roles = [\"admin\"]")
            .route("path = \"/open\"\naccess = \"public\"\nstrip_prefix = true")
            .route("path = \"/admin\"\nrequire = { roles = [\"admin\"] }")
            .route("path = \"/inner\"\nrewrite = { prefix = \"/secret\" }\nrequire = { roles = [\"admin\"] }")
            .route("path = \"/reports\"\nmethods = [\"GET\"]\naccess = \"public\"")
            .route("path = \"/\"")
    })
    .await;
    let ada = site.registered("ada").await.access_token;
    let root = serde_json::json!({"roles": ["admin"]});
    let root = crate::support::client::Actor::registered_with(site.gateway.address, "root", root).await.access_token;
    for (method, target, token, status) in [
        ("GET", "/open/page", "", 200),
        ("GET", "/open/admin", "", 401),
        ("GET", "/open/admin/x", "bm8.dG9r.ZW4", 401),
        ("GET", "/open/admin/x", ada.as_str(), 403),
        ("GET", "/open/%61dmin;x/y", ada.as_str(), 403),
        ("GET", "/open/admin/x", root.as_str(), 200),
        // Guarded as what its own route sends it as.
        ("GET", "/open/secret", "", 401),
        ("GET", "/open/secret", ada.as_str(), 403),
        ("GET", "/open/secret/x", root.as_str(), 200),
        ("GET", "/open/reports", "", 200),
        ("DELETE", "/open/reports", "", 405),
        // What reaches the guard by its name is decided by it alone.
        ("GET", "/inner/x", ada.as_str(), 403),
        ("GET", "/open/inner/x", "", 200),
    ] {
        let credential = if token.is_empty() { String::new() } else { bearer(token) };
        let answer = ask(&site, method, target, &credential).await;
        assert_eq!(answer.status, status, "{method} {target} {token}");
        assert_eq!(site.upstream.take_requests().len(), usize::from(status == 200), "{method} {target}");
    }
}

#[tokio::test]
async fn a_redirect_leads_where_the_file_says_and_nowhere_else() {
    let site = site(|gateway| {
        let redirect = |keys: &str| format!("[[routes]]\naccess = \"public\"\n{keys}");
        gateway
            .table(&redirect("path = \"/moved\"\nredirect = { prefix = \"/new\" }"))
            .table(&redirect("path = \"/gone\"\nredirect = { status = 301, path = \"/\" }"))
            .table(&redirect("path = \"/see\"\nredirect = { status = 303, path = \"/public\" }"))
            .table(&redirect("path = \"/keep\"\nredirect = { status = 307, host = \"other.example\" }"))
            .table(&redirect(
                "path = \"/away\"\nredirect = { status = 308, scheme = \"https\", host = \"b.example:8443\", prefix = \"/\" }",
            ))
            .table("[[routes]]\npath = \"/members\"\nredirect = { path = \"/club\" }")
    })
    .await;
    for (target, status, location) in [
        ("/moved", 302, "/new"),
        ("/moved/a?b=c", 302, "/new/a?b=c"),
        ("/moved/evil.example", 302, "/new/evil.example"),
        ("/gone/anything?x=https://evil.example", 301, "/?x=https://evil.example"),
        ("/see", 303, "/public"),
        ("/keep/@evil.example", 307, "https://other.example/keep/@evil.example"),
        ("/away/evil.example/x", 308, "https://b.example:8443/evil.example/x"),
    ] {
        // Neither a host nor a field of the request has a say.
        let fields = "x-forwarded-host: evil.example\r\nx-forwarded-proto: gopher\r\nforwarded: host=evil.example\r\n";
        let answer = ask(&site, "GET", target, fields).await;
        assert_eq!((answer.status, answer.head.one("location")), (status, Some(location)), "{target}");
    }
    for target in ["/moved//evil.example", "/moved/..//evil.example", "/moved/%0d%0alocation:x", "/away/%2f%2fevil.example"] {
        let refused = ask(&site, "GET", target, "").await;
        assert_eq!((refused.status, refused.head.one("location")), (400, None), "{target}");
    }
    let posted = ask(&site, "POST", "/keep/x", "content-length: 0\r\n").await;
    assert_eq!(posted.status, 307);
    assert_eq!(ask(&site, "GET", "/members", "").await.status, 401, "a redirect asks for a token like any route");
    assert!(site.upstream.take_requests().is_empty());
}

#[tokio::test]
async fn fields_are_edited_and_none_of_the_gateways_own() {
    let upstream = |_: &crate::support::wire::Head| {
        crate::support::upstream::Answer::raw(
            "HTTP/1.1 200 OK\r\nx-powered-by: them\r\nx-frame-options: ALLOW\r\nvia: them\r\ncontent-length: 0\r\n\r\n",
        )
    };
    let upstream = crate::support::upstream::Upstream::answering(upstream).await;
    let gateway = crate::support::gateway::Gateway::in_front_of(&upstream)
        .route(
            "path = \"/edit\"\naccess = \"public\"\n\
             request_headers = { remove = [\"X-Debug\"], set = { X-Env = \"prod\" }, add = { X-Tag = \"ours\" } }\n\
             response_headers = { remove = [\"X-Powered-By\"], set = { X-Frame-Options = \"DENY\" }, add = { Via = \"us\" } }",
        )
        .start()
        .await;
    let fields = "x-debug: 1\r\nx-env: test\r\nx-tag: theirs\r\nx-auth-subject: root\r\nx_auth_roles: admin\r\n";
    let request = format!("GET /edit HTTP/1.1\r\nhost: a\r\n{fields}connection: x-env, x-tag\r\n\r\n");
    let answer = gateway.connect().await.ask(request).await;
    let head = upstream.take_requests().remove(0).head;
    assert_eq!((head.one("x-debug"), head.one("x-env")), (None, Some("prod")));
    // Cases 89 to 91: what clients nominate is gone, what the gateway writes is not, and nobody is who they say.
    assert_eq!(head.all("x-tag"), ["ours"]);
    assert!(head.fields().all(|(name, _)| !name.to_ascii_lowercase().replace('_', "-").starts_with("x-auth")), "{head:?}");
    assert_eq!((answer.head.one("x-powered-by"), answer.head.one("x-frame-options")), (None, Some("DENY")));
    assert_eq!(answer.head.all("via"), ["them", "us"]);
}
