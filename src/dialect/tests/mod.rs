//! The five systems whose configurations we ship, route by route, and the rules that choose between dialects.

mod inputs;
mod refusals;
mod requests;

use http::{HeaderMap, HeaderName, Method};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::*;
use crate::config::{self, Source};
use crate::policy::path::Target;

/// The dialects of a configuration that we ship.
fn shipped(name: &str) -> Dialects {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/dialects/{name}.toml"));
    let config = config::load(&Source { path, ..Source::default() });
    config.unwrap_or_else(|report| panic!("{name}: {report}")).dialects
}

/// The dialect of the listener on `port`.
fn on_port(dialects: &Dialects, port: u16) -> &Dialect {
    at(dialects, port, "127.0.0.1", "/").expect("a dialect is on this port")
}

fn at<'a>(dialects: &'a Dialects, port: u16, host: &str, path: &str) -> Option<&'a Dialect> {
    let host = Host::parse(host, 80).expect("a host");
    let target = Target::parse(path.as_bytes(), &host).expect("a target");
    dialects.for_request(port, &host, &target.path()).map(|dialect| &**dialect)
}

fn route<'a>(dialect: &'a Dialect, request: &str) -> Option<&'a DialectRoute> {
    let (method, target) = request.split_once(' ').expect("a method and a target");
    let host = Host::parse("127.0.0.1", 80).expect("a host");
    let target = Target::parse(target.as_bytes(), &host).expect("a target");
    dialect.route(&Method::from_bytes(method.as_bytes()).expect("a method"), &target.path()).map(|route| &**route)
}

/// A request as tests write it: `POST /login?x=1`, header fields, and a body or `null`.
fn told(dialect: &Dialect, request: &str, fields: &[(&str, &str)], body: &Value) -> Result<Value, RefusedInputs> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_bytes(name.as_bytes()).expect("a name"), value.parse().expect("a value"));
    }
    let query = request.split_once('?').map(|(_, query)| query);
    let sources = Sources { headers: &headers, query, body: Some(body).filter(|body| !body.is_null()) };
    route(dialect, request).expect("a route").inputs(&sources).map(shown)
}

/// What an operation is told, as JSON, with its secrets.
fn shown(inputs: Inputs) -> Value {
    let text = |secret: &SecretString| Value::from(secret.expose_secret());
    let maybe = |secret: &Option<SecretString>| secret.as_ref().map(text);
    let credentials = |it: Credentials| json!({"name": it.name, "is": it.name_is.word(), "password": text(&it.password)});
    match inputs {
        Inputs::Login(it) | Inputs::CheckPassword(it) => credentials(it),
        Inputs::Signup(it) => json!({
            "username": it.username, "email": it.email, "password": text(&it.password), "given_name": it.given_name,
            "family_name": it.family_name, "roles": it.roles, "ticket": maybe(&it.ticket),
        }),
        Inputs::Refresh { refresh_token: token }
        | Inputs::Logout { token }
        | Inputs::Verify { access_token: token }
        | Inputs::RedeemOneTimeToken { token }
        | Inputs::VerifyEmail { ticket: token } => text(&token),
        Inputs::ListUsers { access_token } => json!(maybe(&access_token)),
        Inputs::CreateOneTimeToken { kind, user_id, email, metadata, access_token } => json!({
            "kind": kind, "user_id": user_id, "email": email, "metadata": metadata, "access_token": maybe(&access_token),
        }),
        Inputs::ResetPassword { ticket, new_password } => json!([text(&ticket), text(&new_password)]),
        Inputs::Health => Value::Null,
    }
}

/// An answer as tests write it: `200 {"a":1}`, `401 text Unauthorized`, `204`.
fn written(answer: &Answer) -> String {
    let body = std::str::from_utf8(&answer.body).expect("UTF-8");
    let status = answer.status.as_u16();
    match answer.content_type {
        None => {
            assert_eq!(body, "", "a body without a type");
            status.to_string()
        }
        Some("application/json") => format!("{status} {body}"),
        Some("text/plain; charset=utf-8") => format!("{status} text {body}"),
        Some(other) => panic!("{other}"),
    }
}

#[test]
fn a_dialect_is_found_by_port() {
    let dialects = shipped("auth-using-nodejs");
    let name = |port| at(&dialects, port, "localhost", "/login").map(|dialect| &*dialect.name);
    assert_eq!(name(4000), Some("auth-using-nodejs"));
    assert_eq!(name(3000), Some("auth-using-nodejs-resource"));
    assert_eq!(name(8080), None);
}

#[test]
fn the_most_specific_dialect_decides_whatever_their_order() {
    let mount = |port: Option<u16>, host: Option<&str>, prefix: Option<&str>| Mount {
        port,
        host: host.map(|host| HostPattern::parse(host).expect("a host")),
        prefix: prefix.map(|prefix| PathPrefix::parse(prefix).expect("a prefix")),
    };
    let template = shipped("mstack-auth").iter().next().expect("one").clone();
    let dialect = |name: &str, mount| Dialect { name: name.into(), mount, routes: Vec::new(), ..Dialect::clone(&template) };
    let mut all = vec![
        dialect("prefix", mount(None, None, Some("/a"))),
        dialect("longer", mount(None, None, Some("/a/b"))),
        dialect("wildcard", mount(None, Some("*.example.com"), None)),
        dialect("deeper", mount(None, Some("*.a.example.com"), None)),
        dialect("exact", mount(None, Some("b.a.example.com"), None)),
        dialect("port", mount(Some(81), None, None)),
    ];
    for _ in 0..2 {
        let dialects = Dialects::new(all.clone()).expect("no two for the same requests");
        for (port, host, path, name) in [
            (80, "x", "/a", Some("prefix")),
            (80, "x", "/a/b/c", Some("longer")),
            (80, "x", "/ab", None),
            (80, "x.example.com", "/a/b", Some("wildcard")),
            (80, "c.a.example.com", "/", Some("deeper")),
            (80, "b.a.example.com", "/a", Some("exact")),
            (81, "b.a.example.com", "/a", Some("port")),
            (80, "example.com", "/", None),
        ] {
            assert_eq!(at(&dialects, port, host, path).map(|dialect| &*dialect.name), name, "{port} {host} {path}");
        }
        all.reverse();
    }
}

#[test]
fn what_no_route_names_is_proxied() {
    let dialects = shipped("auth-service");
    let dialect = on_port(&dialects, 3002);
    for request in ["GET /login", "POST /login/x", "POST /auth/login", "GET /posts", "OPTIONS /login"] {
        assert!(route(dialect, request).is_none(), "{request}");
    }
    assert!(route(dialect, "HEAD /ping").is_some() && route(dialect, "POST /login/").is_some());
}

#[test]
fn what_integration_asks_of_a_dialect() {
    let dialects = shipped("token-demo");
    let dialect = on_port(&dialects, 6000);
    assert_eq!(dialect.cookie_names().collect::<Vec<_>>(), ["refreshToken", "one_time_token"]);
    assert_eq!(dialects.access_ttl_max(), Some(Duration::from_mins(5)));
    let cookie = dialect.refresh_cookie.as_ref().expect("there is one");
    assert_eq!(cookie.set("t"), "refreshToken=t; Max-Age=604800; Path=/; HttpOnly; Secure; SameSite=Strict");
    let sets = |request| dialect.sets_refresh_cookie(route(dialect, request).expect("a route"));
    assert!(sets("POST /api/auth/signin") && !sets("POST /api/auth/signup") && !sets("POST /api/auth/refresh"));
    assert!(!route(dialect, "POST /api/auth/refresh").expect("a route").reads_body());
    assert!(!dialect.password.expect("a rule").allows("password") && dialect.link.is_some() && dialect.cookie_revives);
    let user = UserValues { email: Some("a@b.c".to_owned()), given_name: Some("A".to_owned()), ..UserValues::default() };
    assert_eq!(Value::from(dialect.claims.render(&user)), json!({"email": "a@b.c", "firstName": "A"}));
}

#[test]
fn the_demonstrations_draw_their_warnings() {
    let cautions = |name: &str| shipped(name).cautions().iter().map(ToString::to_string).collect::<Vec<_>>();
    let signs_up = "dialects[0].routes[0].signs_up: whoever logs in under an unknown name becomes a user";
    let public = "dialects[1].routes[0].public: anybody can read the names of all users";
    assert_eq!(cautions("auth-using-nodejs"), [signs_up, public]);
    assert_eq!(cautions("auth-service"), ["dialects[0].cookie.refresh.secure: the cookie `jqt` also travels without TLS"]);
    for name in ["mstack-auth", "flowauth", "token-demo"] {
        assert!(cautions(name).is_empty(), "{name}");
    }
}
