//! Whose questions are answered, what they may say, and what an answer says besides yes or no.

use std::collections::BTreeMap;

use super::{Request, SPELLINGS, Spelling, TRUSTED, bearer, site};
use crate::support::client::Response;
use crate::support::eventually;
use crate::support::site::{Site, Store};
use crate::support::wire::Head;

const API: Request<'_> = Request { method: "GET", host: "a", target: "/api/x", fields: "" };

async fn ask(site: &Site, question: &str) -> Response {
    site.gateway.connect().await.ask(question).await
}

#[tokio::test]
async fn nobody_but_a_trusted_proxy_is_told_about_another_request() {
    let site = Site::changed(Store::Embedded, |gateway| gateway).await;
    let ada = site.registered("ada").await;
    let token = bearer(&ada.access_token);
    for by in SPELLINGS {
        let answer = by.ask(&site, Request { target: "/public", fields: &token, ..API }).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "forbidden"), "{by:?}");
        assert_eq!(answer.head.one("x-auth-subject"), None, "{by:?}");
    }
    // Any one of the fields is reason enough; those that come with every proxied request are none.
    for (field, status) in [
        ("x-original-uri: /", 403),
        ("x-original-url: http://a/", 403),
        ("x-original-method: GET", 403),
        ("x-forwarded-uri: /", 403),
        ("x-forwarded-method: GET", 403),
        ("x-forwarded-host: a\r\nx-forwarded-proto: https\r\nx-forwarded-for: 192.0.2.1", 200),
    ] {
        let answer = ask(&site, &format!("GET /auth/verify HTTP/1.1\r\nhost: a\r\n{field}\r\n{token}\r\n")).await;
        assert_eq!(answer.status, status, "{field}");
    }
    let told = async || site.gateway.output().contains("\"detail\":\"untrusted_proxy\"").then_some(());
    eventually("the line that says why", told).await;
}

#[tokio::test]
async fn a_trusted_proxy_that_asks_about_no_request_learns_of_the_token_alone() {
    let site = site(|gateway| gateway).await;
    let ada = site.registered("ada").await;
    let plain = |token: &str| format!("GET /auth/verify HTTP/1.1\r\nhost: a\r\n{token}\r\n");
    let answer = ask(&site, &plain(&bearer(&ada.access_token))).await;
    assert_eq!((answer.status, answer.head.one("x-auth-username")), (200, Some("ada")));
    assert!(answer.text().contains("\"preferred_username\":\"ada\""));
    assert_eq!(ask(&site, &plain("")).await.code(), "missing_token");
}

#[tokio::test]
async fn a_question_with_two_readings_has_no_answer() {
    let site = site(|gateway| gateway).await;
    let method = "x-original-method: GET\r\n";
    let (uri, url) = ("x-original-uri: /public\r\n", "x-original-url: http://a/public\r\n");
    let (by, of) = ("x-forwarded-method: GET\r\n", "x-forwarded-uri: /public\r\n");
    let (host, proto) = ("x-forwarded-host: a\r\n", "x-forwarded-proto: http\r\n");
    for (target, fields) in [
        ("/auth/verify", &[method, uri, url][..]),
        ("/auth/verify", &[method, method, uri]),
        ("/auth/verify", &[method, uri, uri]),
        ("/auth/verify", &[method]),
        ("/auth/verify", &[uri]),
        ("/auth/verify", &[method, "x-original-uri: public\r\n"]),
        ("/auth/verify", &[method, "x-original-url: //a/public\r\n"]),
        ("/auth/verify", &[method, uri, of]),
        ("/auth/verify", &[by, of, host, proto, uri]),
        ("/auth/verify", &[by, of, host, host]),
        ("/auth/verify", &[by, of, host, proto, proto]),
        ("/auth/verify", &[by, of, host, "x-forwarded-proto: gopher\r\n"]),
        ("/auth/verify", &[by, of]),
        ("/auth/verify", &[of, host]),
        ("/auth/verify/public", &[method, uri]),
        ("/auth/verify/public", &[by, of, host]),
        // What follows a path in another spelling is not what Envoy will send.
        ("/auth/%76erify/public", &[]),
    ] {
        let answer = ask(&site, &format!("GET {target} HTTP/1.1\r\nhost: a\r\n{}\r\n", fields.concat())).await;
        let of_nginx = fields.iter().any(|field| field.starts_with("x-original"));
        let truth = answer.head.one("portcullis-status");
        assert_eq!((answer.status, truth), (if of_nginx { 403 } else { 400 }, Some("400")), "{target} {fields:?}");
        assert_eq!(answer.head.one("portcullis-reason"), Some("malformed"), "{target} {fields:?}");
    }
}

/// The fields about the caller.
fn identity(head: &Head) -> BTreeMap<String, String> {
    let ours = head.fields().filter(|(name, _)| name.to_ascii_lowercase().starts_with("x-auth-"));
    ours.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect()
}

#[tokio::test]
async fn a_permission_says_what_the_upstream_would_have_been_told() {
    let site = site(|gateway| gateway.route("path = \"/passes\"\npass_token = true")).await;
    let ada = site.registered("ada").await;
    let fields = format!("{}x-auth-subject: somebody\r\nx-auth-roles: admin\r\n", bearer(&ada.access_token));
    for target in ["/api/x", "/optional/x", "/public/x", "/passes/x"] {
        let sent = ask(&site, &format!("GET {target} HTTP/1.1\r\nhost: a\r\n{fields}\r\n")).await;
        assert_eq!(sent.status, 200);
        let told = site.upstream.take_requests().swap_remove(0).head;
        for by in SPELLINGS {
            let answer = by.ask(&site, Request { target, fields: &fields, ..API }).await;
            assert_eq!(answer.status, 200, "{by:?} {target}");
            assert_eq!(identity(&answer.head), identity(&told), "{by:?} {target}");
            assert_eq!(answer.head.one("authorization"), told.one("authorization"), "{by:?} {target}");
            assert_eq!(answer.head.one("cache-control"), Some("no-store"));
            let to_remove = answer.head.one("x-envoy-auth-headers-to-remove").unwrap_or_default();
            let named = |name: &str| to_remove.split(',').any(|other| other == name);
            // Envoy removes after it has set: what is set must not be named, and what is not set must be.
            for name in ["subject", "username", "email", "roles", "scopes", "session", "issuer", "client-certificate"] {
                let name = format!("x-auth-{name}");
                assert_eq!(named(&name), by == Spelling::Envoy && told.one(&name).is_none(), "{by:?} {target} {name}");
            }
            assert_eq!(named("authorization"), by == Spelling::Envoy && told.one("authorization").is_none(), "{by:?} {target}");
        }
    }
    for by in SPELLINGS {
        let forged = format!("{}x_auth_subject: somebody\r\n", bearer(&ada.access_token));
        let answer = by.ask(&site, Request { fields: &forged, ..API }).await;
        assert_eq!(answer.head.one("portcullis-status"), Some("400"), "{by:?}: nobody but us would remove it");
    }
}

#[tokio::test]
async fn questions_spend_what_requests_spend() {
    let limited = "path = \"/slow\"\naccess = \"public\"\nrate_limits = [{ limit = \"5/1h\", per = \"network\" }]";
    let site = site(|gateway| gateway.route(limited)).await;
    let request = |client: &'static str| Request { target: "/slow", fields: client, ..API };
    let (one, other) = ("x-forwarded-for: 192.0.2.1\r\n", "x-forwarded-for: 192.0.2.2\r\n");
    for by in SPELLINGS {
        assert_eq!(by.ask(&site, request(one)).await.status, 200, "{by:?}");
    }
    assert_eq!(ask(&site, &format!("GET /slow HTTP/1.1\r\nhost: a\r\n{one}\r\n")).await.status, 200);
    for (by, status) in SPELLINGS.into_iter().zip([403, 403, 429, 429]) {
        let refused = by.ask(&site, request(one)).await;
        assert_eq!((refused.status, refused.head.one("portcullis-reason")), (status, Some("too_many")), "{by:?}");
        assert!(refused.head.one("retry-after").is_some() && refused.head.one("ratelimit").is_some(), "{by:?}");
        assert_eq!(by.ask(&site, request(other)).await.status, 200, "{by:?}: another client has a quota of its own");
    }
}

#[tokio::test]
async fn what_the_gateway_would_answer_itself_is_never_a_permission() {
    let site = site(|gateway| {
        gateway
            .route("path = \"/shared\"\ncors = { origins = [\"https://app.example\"] }")
            .table("[[routes]]\npath = \"/old\"\naccess = \"public\"\nredirect = { path = \"/new\" }")
    })
    .await;
    let origin = "origin: https://app.example\r\naccess-control-request-method: GET\r\n";
    for by in SPELLINGS {
        let preflight = by.ask(&site, Request { method: "OPTIONS", target: "/shared", fields: origin, ..API }).await;
        assert_eq!(preflight.status, if by == Spelling::Envoy { 204 } else { 403 }, "{by:?}");
        assert_eq!(preflight.head.one("access-control-allow-origin"), Some("https://app.example"), "{by:?}");
        let redirect = by.ask(&site, Request { target: "/old", ..API }).await;
        let of_nginx = matches!(by, Spelling::NginxUri | Spelling::NginxUrl);
        assert_eq!(redirect.status, if of_nginx { 403 } else { 302 }, "{by:?}");
        assert_eq!((redirect.head.one("location"), redirect.head.one("portcullis-status")), (Some("/new"), Some("302")));
        for own in ["/auth/login", "/auth/verify", "/.well-known/jwks.json"] {
            let answer = by.ask(&site, Request { target: own, ..API }).await;
            assert_eq!(answer.head.one("portcullis-status"), Some("404"), "{by:?} {own}");
        }
    }
    // A refusal can be read by the pages that may call.
    let refused =
        Spelling::Traefik.ask(&site, Request { target: "/shared", fields: "origin: https://app.example\r\n", ..API }).await;
    assert_eq!((refused.status, refused.head.one("access-control-allow-origin")), (401, Some("https://app.example")));
}

#[tokio::test]
async fn a_websocket_may_begin_where_the_route_is_for_websockets() {
    let site = site(|gateway| gateway.route("path = \"/ws\"\nwebsocket = true")).await;
    let ada = site.registered("ada").await;
    let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n";
    for by in SPELLINGS {
        for (target, token, status) in
            [("/ws", ada.access_token.as_str(), 200), ("/ws", "", 401), ("/api", &ada.access_token, 403)]
        {
            let fields = format!("{key}{}", bearer(token));
            let answer = by.ask(&site, Request { target, fields: &fields, ..API }).await;
            assert_eq!(answer.status, status, "{by:?} {target}");
        }
    }
}

#[tokio::test]
async fn while_nobody_can_tell_whether_a_token_is_revoked_no_proxy_may_forward_with_it() {
    let mut site = Site::changed(Store::Redis, |gateway| gateway.set(TRUSTED)).await;
    let ada = site.registered("ada").await;
    let fields = bearer(&ada.access_token);
    site.redis().kill();
    for by in SPELLINGS {
        let answer = by.ask(&site, Request { fields: &fields, ..API }).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "revocation_unknown"), "{by:?}");
        assert_eq!(by.ask(&site, Request { target: "/public", fields: &fields, ..API }).await.status, 200, "{by:?}");
    }
}

#[tokio::test]
async fn a_verdict_is_that_of_the_configuration_in_force() {
    let site = site(|gateway| gateway).await;
    let request = Request { target: "/new", ..API };
    assert_eq!(Spelling::Traefik.ask(&site, request).await.status, 404);
    let route = "\n[[routes]]\npath = \"/new\"\nupstream = \"app\"\naccess = \"public\"\n";
    site.gateway.write(site.gateway.written() + route);
    let (status, told) = site.gateway.reload().await;
    assert_eq!(status, 200, "{told}");
    assert_eq!(Spelling::Traefik.ask(&site, request).await.status, 200);
}

#[tokio::test]
async fn pages_of_other_origins_open_no_websocket_through_another_proxy() {
    let route = "path = \"/ws\"\nwebsocket = true\naccess = \"public\"\norigins = [\"https://app.example\"]";
    let site = site(|gateway| gateway.route(route)).await;
    let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n";
    for by in SPELLINGS {
        for (origin, code) in [("https://app.example", ""), ("https://evil.example", "foreign_origin")] {
            let fields = format!("{key}origin: {origin}\r\n");
            let answer = by.ask(&site, Request { target: "/ws", fields: &fields, ..API }).await;
            let reason = answer.head.one("portcullis-reason").unwrap_or_default();
            assert_eq!((answer.status == 200, reason), (code.is_empty(), code), "{by:?} {origin}");
        }
    }
}

/// The proxy would forward the whole field.
#[tokio::test]
async fn a_token_among_subprotocols_is_not_for_another_proxy_to_forward() {
    let site = site(|gateway| gateway.route("path = \"/ws\"\nwebsocket = true\naccess = \"public\"")).await;
    let ada = site.registered("ada").await;
    let fields = format!(
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\nsec-websocket-protocol: bearer, {}\r\n",
        ada.access_token
    );
    for by in SPELLINGS {
        let answer = by.ask(&site, Request { target: "/ws", fields: &fields, ..API }).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "forbidden"), "{by:?}");
    }
}
