//! Every credential on every kind of route, and paths and hosts with a twist: sent to the gateway, and asked about.

use serde_json::json;

use super::{Request, SPELLINGS, Spelling, bearer, site};
use crate::support::client::{Actor, Response};
use crate::support::gateway::Builder;
use crate::support::site::Site;

/// What a client learns of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Verdict {
    /// 200 stands for whatever the upstream says.
    status: u16,
    code: String,
    challenge: Option<String>,
}

/// What becomes of the request itself.
async fn proxied(site: &Site, Request { method, host, target, fields }: Request<'_>) -> Verdict {
    let mut client = site.gateway.connect().await;
    client.send(format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\n{fields}\r\n")).await;
    let answer = client.response_to(method).await.expect("an answer to a request");
    // A HEAD is refused without a body.
    let code = if method == "HEAD" { String::new() } else { answer.code() };
    Verdict { status: answer.status, code, challenge: challenge(&answer) }
}

fn challenge(answer: &Response) -> Option<String> {
    answer.head.one("www-authenticate").map(str::to_owned)
}

/// What becomes of the question about it.
async fn asked(site: &Site, by: Spelling, request: Request<'_>) -> Verdict {
    let answer = by.ask(site, request).await;
    let truth = answer.head.one("portcullis-status").map(|status| status.parse().expect("a number"));
    let Some(status) = truth else {
        // The question's own head is no head: what the parser refuses is no question yet.
        if answer.status == 400 {
            return Verdict { status: 400, code: answer.code(), challenge: challenge(&answer) };
        }
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{by:?} {request:?}");
        return Verdict { status: 200, code: String::new(), challenge: challenge(&answer) };
    };
    let told = match (by, status) {
        (_, 401 | 403) => status,
        (Spelling::NginxUri | Spelling::NginxUrl, _) | (Spelling::Envoy, 501) => 403,
        (Spelling::Traefik | Spelling::Envoy, _) => status,
    };
    assert_eq!(answer.status, told, "{by:?} {request:?}");
    let code = answer.head.one("portcullis-reason").expect("a refusal says why").to_owned();
    if told == status && request.method != "HEAD" {
        assert_eq!(answer.code(), code, "{by:?} {request:?}");
    }
    let code = if request.method == "HEAD" { String::new() } else { code };
    Verdict { status, code, challenge: challenge(&answer) }
}

/// The verdict of all.
async fn verdict(site: &Site, request: Request<'_>) -> Verdict {
    let expected = proxied(site, request).await;
    for by in SPELLINGS {
        assert_eq!(asked(site, by, request).await, expected, "{by:?} {request:?}");
    }
    expected
}

/// One route of each kind.
fn routes(gateway: Builder) -> Builder {
    gateway
        .table("[auth]\nself_assigned_roles = [\"admin\", \"auditor\"]\nsession_scopes = [\"reports:read\"]")
        .table("[auth.api_keys]\nscopes = [\"reports:read\"]")
        .route("path = \"/admin\"\nrequire = { roles = [\"admin\"] }")
        .route("path = \"/reports\"\nrequire = { scopes = [\"reports:read\"] }")
        .route("path = \"/other\"\nrequire = { scopes = [\"other:read\"] }")
        .route("path = \"/fresh\"\nrequire = { max_age = \"1h\" }")
        .route("path = \"/members\"\naccess = \"optional\"\nrequire = { roles = [\"auditor\"] }")
        .route("path = \"/read\"\nmethods = [\"GET\"]")
        .route("path = \"/open\"\naccess = \"public\"\nmethods = [\"GET\"]\nmatch = { query = { view = \"short\" } }")
        .route("host = \"admin.example\"\npath = \"/\"\nrequire = { roles = [\"admin\"] }")
        .route("path = \"/moved\"\naccess = \"public\"\nrewrite = { prefix = \"/admin\" }")
}

/// Everything that somebody may show.
async fn credentials(site: &Site) -> Vec<String> {
    let admin = Actor::registered_with(site.gateway.address, "joan", json!({"roles": ["admin"]})).await;
    let ada = site.registered("ada").await;
    let (gone, disabled) = (site.signed_in("ada").await, site.registered("eve").await);
    let (status, key) = ada.post("/auth/api-keys", &json!({"name": "nightly"})).await;
    assert_eq!(status, 201, "{key}");
    gone.log_out().await;
    site.gateway.command(&["user", "disable", "eve"]);
    let (head, _) = ada.access_token.rsplit_once('.').expect("a token");
    vec![
        String::new(),
        bearer(&admin.access_token),
        bearer(&ada.access_token),
        bearer(key["key"].as_str().expect("a key")),
        bearer(&gone.access_token),
        bearer(&disabled.access_token),
        bearer(&ada.refresh_token),
        bearer(&format!("{head}.")),
        bearer(&format!(" {}", ada.access_token)),
        bearer(&format!("{},x", ada.access_token)),
        bearer("null"),
        bearer(&"A".repeat(9000)),
        bearer(&ada.access_token).repeat(2),
        "authorization: Bearer\r\n".to_owned(),
        "authorization: Basic YTpi\r\n".to_owned(),
        format!("cookie: access_token={}\r\n", ada.access_token),
    ]
}

#[tokio::test]
async fn every_credential_gets_the_same_verdict_on_every_route_however_it_is_asked_for() {
    let site = site(routes).await;
    let paths = ["/public", "/optional", "/api/x?y=1", "/admin", "/reports", "/other", "/fresh", "/members", "/none", "/moved/x"];
    let mut seen = std::collections::BTreeSet::new();
    for fields in credentials(&site).await {
        for target in paths {
            let verdict = verdict(&site, Request { method: "GET", host: "a", target, fields: &fields }).await;
            seen.insert((verdict.status, verdict.code));
        }
    }
    let code = |status, code: &str| (status, code.to_owned());
    let expected = [
        code(200, ""),
        code(400, "malformed"),
        code(401, "bad_token"),
        code(401, "missing_token"),
        code(401, "revoked_token"),
        code(403, "forbidden"),
        code(404, "not_found"),
    ];
    assert_eq!(seen, expected.into(), "the corpus tells fewer cases apart than it should");
}

#[tokio::test]
async fn paths_hosts_and_methods_have_one_reading_however_they_are_asked_about() {
    // Cases 31 to 60: each of these is the way around a rule in some pair of proxies.
    let site = site(routes).await;
    let ada = site.registered("ada").await;
    let token = bearer(&ada.access_token);
    let targets = [
        ("/", 404),
        ("/admin", 403),
        ("/admin/", 403),
        ("/%61dmin", 403),
        ("/admin;x=1/y", 403),
        ("/admin.", 403),
        ("/admin%20", 403),
        ("/Admin", 404),
        ("/public?next=/../admin", 200),
        ("/public/%41?%2f", 200),
        ("/public/../admin", 400),
        ("/public/%2e%2e/admin", 400),
        ("/public/..;/admin", 400),
        ("//admin", 400),
        ("/public//admin", 400),
        ("/public%2fadmin", 400),
        ("/public%5cadmin", 400),
        ("/public\\admin", 400),
        ("/public%00", 400),
        ("/public%zz", 400),
        ("/public%c0%af", 400),
        ("/open?view=short", 200),
        ("/open?view=long", 404),
        ("/open?view=short&view=long", 400),
        // Answered by the gateway, so there is nothing to forward.
        ("/auth/verify/x", 404),
        // Cut off where it comes to be forwarded; who asks might send all of it.
        ("/public#admin", 400),
    ];
    for (target, status) in targets {
        let request = Request { method: "GET", host: "a", target, fields: &token };
        if target.starts_with("/auth") || target.contains('#') {
            for by in SPELLINGS {
                assert_eq!(asked(&site, by, request).await.status, status, "{by:?} {target}");
            }
        } else {
            assert_eq!(verdict(&site, request).await.status, status, "{target}");
        }
    }
    for (method, status) in [("GET", 200), ("HEAD", 200), ("POST", 405), ("PROPFIND", 501), ("get", 501)] {
        let request = Request { method, host: "a", target: "/read", fields: &token };
        assert_eq!(verdict(&site, request).await.status, status, "{method}");
    }
    for (host, status) in [
        ("admin.example", 403),
        ("ADMIN.example.", 403),
        ("admin.example:80", 403),
        ("admin.example:8443", 403),
        ("admin.example.evil", 200),
        ("127.0.0.1", 200),
        ("127.1", 400),
        ("admin.example,a", 400),
        ("user@admin.example", 400),
        ("a:0", 400),
    ] {
        let request = Request { method: "GET", host, target: "/api", fields: &token };
        assert_eq!(verdict(&site, request).await.status, status, "{host}");
    }
}
