//! Dialects that are refused, where their faults are shown, and what may be overridden.

use std::time::Duration;

use crate::config::load::{EXAMPLE, read};
use crate::config::{Config, Environment, Report, Source};

const APP: &str = "[upstreams.app]\nservers = [\"http://127.0.0.1:3000\"]\n[[routes]]\npath = \"/\"\nupstream = \"app\"\n";
const HEAD: &str = "[[dialects]]\nname = \"d\"\nmatch = { port = 8080 }\n";
const LOGIN: &str = "[[dialects.routes]]\non = \"POST /login\"\ndo = \"login\"\nin = { username = \"body.u\", password = \"body.p\" }\n\
    ok = { status = 200, json = { t = \"$access_token\" } }\n";

fn loaded(dialects: &str) -> Result<Config, Report> {
    read(&format!("{APP}{dialects}"), &Source { path: "gateway.toml".into(), ..Source::default() })
}

/// Every problem with the text that it points at.
fn problems(dialects: &str) -> Vec<String> {
    let report = loaded(dialects).map_or_else(|report| report, |config| config.warnings);
    assert!(report.problems().iter().all(|problem| problem.help.is_some() && report.location(problem).is_some()), "{report}");
    report.problems().iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect()
}

/// Asserts that the dialect `HEAD` + `keys` + `route` has this one problem.
#[track_caller]
fn refused(keys: &str, route: &str, expected: &str) {
    let text = format!("{HEAD}{keys}\n{route}");
    assert!(loaded(&text).is_err(), "{text}");
    assert_eq!(problems(&text), [expected], "{text}");
}

/// A route of these lines, in order `on`, `do` and the rest.
fn route(on: &str, operation: &str, rest: &str) -> String {
    format!("[[dialects.routes]]\non = \"{on}\"\ndo = \"{operation}\"\n{rest}\n")
}

const REFRESH: &str = "in = { refresh_token = \"body.r\" }\nok = { status = 200, json = { t = \"$access_token\" } }";
const LOGOUT: &str = "in = { token = \"body.r\" }\nok = { status = 204 }";

#[test]
fn a_refusal_that_says_yes_is_refused() {
    let status = |entry: &str| format!("err.\"{entry}\" = {{ status = 200, text = \"OK\" }}");
    refused(&status("*"), LOGIN, "dialects[0].err.\"*\".status: 200 would say yes to what was refused");
    let on_route = format!("{LOGIN}{}", status("credentials"));
    refused(
        "",
        &on_route,
        "dialects[0].routes[0].err.credentials.status: 200 would say yes to what was refused as `credentials`",
    );
    let verify = route("GET /v", "verify", &format!("ok = {{ status = 200 }}\n{}", status("revoked_token")));
    refused(
        "",
        &verify,
        "dialects[0].routes[0].err.revoked_token.status: 200 would say yes to what was refused as `revoked_token`",
    );
    let redirect = format!("{LOGIN}err.credentials = {{ status = 302 }}");
    refused(
        "",
        &redirect,
        "dialects[0].routes[0].err.credentials.status: 302 would say yes to what was refused as `credentials`",
    );
}

#[test]
fn only_a_logout_may_answer_2xx_and_only_when_there_is_nothing_to_end() {
    for code in ["*", "bad_token", "missing_token", "revoked_token"] {
        let logout = route("POST /o", "logout", &format!("{LOGOUT}\nerr.\"{code}\" = {{ status = 204 }}"));
        assert!(problems(&format!("{HEAD}{logout}")).is_empty(), "{code}");
    }
    for code in ["internal", "unavailable", "too_many", "malformed", "revocation_unknown"] {
        let logout = route("POST /o", "logout", &format!("{LOGOUT}\nerr.{code} = {{ status = 204 }}"));
        let path = format!("dialects[0].routes[0].err.{code}.status");
        refused("", &logout, &format!("{path}: 204 would say yes to what was refused as `{code}`"));
    }
}

#[test]
fn an_answer_names_only_what_its_operation_yields() {
    let ok = |operation: &str, on: &str, inputs: &str, ok: &str| route(on, operation, &format!("{inputs}\nok = {ok}"));
    let signup = "in = { username = \"body.u\", password = \"body.p\" }";
    let expected = "dialects[0].routes[0].ok.json.t: `signup` yields $access_token only with `signs_in = true`";
    refused("", &ok("signup", "POST /s", signup, "{ status = 201, json = { t = \"$access_token\" } }"), expected);
    let token =
        ok("create_one_time_token", "POST /c", "in = { kind = \"body.k\" }", "{ status = 201, json = [{ t = \"$claims\" }] }");
    refused("", &token, "dialects[0].routes[0].ok.json[0].t: `create_one_time_token` yields no $claims");
    let mail = "{ status = 200, each = \"$users\", json = { m = \"$item.email\" } }";
    let public = ok("list_users", "GET /u", "public = true", mail);
    let text = format!("{HEAD}{public}");
    assert!(
        problems(&text).iter().any(|problem| problem.ends_with("a public list is of names only, without $item.email")),
        "{text}"
    );
    assert!(problems(&format!("{HEAD}{}", ok("list_users", "GET /u", "", mail))).is_empty());
    let alone = ok("list_users", "GET /u", "", "{ status = 200, json = \"$item.email\" }");
    refused("", &alone, "dialects[0].routes[0].ok.json: $item.email has a value in an answer with `each` only");
    let hash = ok("verify", "GET /v", "", "{ status = 200, json = { h = \"$user.password\" } }");
    refused("", &hash, "dialects[0].routes[0].ok.json.h: there is no value \"$user.password\"");
    let inside = ok("verify", "GET /v", "", "{ status = 200, json = { h = \"I am $user.id\" } }");
    refused("", &inside, "dialects[0].routes[0].ok.json.h: a value stands alone, not inside of text: \"I am $user.id\"");
    let text = ok("verify", "GET /v", "", "{ status = 200, text = \"$user.id\" }");
    refused("", &text, "dialects[0].routes[0].ok.text: text has no values");
    refused(
        "err.invalid = { status = 400, json = [\"$user.id\"] }",
        LOGIN,
        "dialects[0].err.invalid.json[0]: a refusal yields no $user.id",
    );
}

#[test]
fn words_that_are_not_known_are_refused() {
    refused("", &LOGIN.replace("\"login\"", "\"logn\""), "dialects[0].routes[0].do: \"logn\" is not known");
    refused("", &LOGIN.replace("username =", "usrname ="), "dialects[0].routes[0].in.usrname: \"usrname\" is not known");
    refused(
        "",
        &LOGIN.replace("body.u", "header.u"),
        "dialects[0].routes[0].in.username: \"header.u\": is not a place in a request",
    );
    refused(
        "",
        &LOGIN.replace("POST /login", "FETCH /login"),
        "dialects[0].routes[0].on: \"FETCH /login\": a route is for GET, POST, PUT, PATCH or DELETE, not for \"FETCH\"",
    );
    refused("err.wrong = { status = 400 }", LOGIN, "dialects[0].err.wrong: nothing is refused as \"wrong\"");
    refused("rotat = false", LOGIN, "dialects[0].rotat: unknown key");
    refused(
        "",
        &LOGIN.replace("status = 200", "status = 404"),
        "dialects[0].routes[0].ok.status: expected a whole number from 200 to 299, found the number 404",
    );
}

#[test]
fn an_input_is_where_its_operation_may_find_it() {
    let logout = |place: &str| route("POST /o", "logout", &format!("in = {{ token = \"{place}\" }}\nok = {{ status = 204 }}"));
    refused("", &logout("query.t"), "dialects[0].routes[0].in.token: token in a URL would be in every log and history");
    refused("", &logout("cookie.sid"), "dialects[0].routes[0].in.token: the dialect puts no token into a cookie of this name");
    refused(
        "cookie.refresh = { name = \"rt\", path = \"/token\" }",
        &logout("cookie.rt"),
        "dialects[0].routes[0].in.token: browsers do not send `rt` to /o: its path is /token",
    );
    assert!(problems(&format!("{HEAD}cookie.refresh = {{ name = \"rt\" }}\n{}", logout("cookie.rt"))).is_empty());
    let password = LOGIN.replace("body.p", "query.p");
    refused("", &password, "dialects[0].routes[0].in.password: password in a URL would be in every log and history");
    refused(
        "",
        &route("GET /v", "verify", "in = { access_token = \"body.t\" }\nok = { status = 200 }"),
        "dialects[0].routes[0].in.access_token: access_token is not read from a body",
    );
    refused(
        "",
        &LOGIN.replace("username = ", "kind = \"body.k\", username = "),
        "dialects[0].routes[0].in.kind: `login` takes no kind",
    );
    refused("", &LOGIN.replace(", password = \"body.p\"", ""), "dialects[0].routes[0].in: `login` needs password");
    refused(
        "",
        &format!("{LOGIN}required = [\"email\"]"),
        "dialects[0].routes[0].required: requires email, which is read nowhere",
    );
}

#[test]
fn a_get_changes_nothing() {
    refused(
        "",
        &LOGIN.replace("POST /login", "GET /login"),
        "dialects[0].routes[0].on: a GET must change nothing, and `login` does",
    );
    let both = LOGOUT.replace("in =", "required = []\nin =");
    refused("", &route("GET /o", "logout", &both), "dialects[0].routes[0].on: a GET must change nothing, and `logout` does");
}

#[test]
fn two_routes_or_dialects_for_the_same_requests_are_refused() {
    refused("", &format!("{LOGIN}{LOGIN}"), "dialects[0].routes[1].on: another route answers POST /login");
    refused(
        "",
        &LOGIN.replace("\"POST /login\"", "[\"POST /a\", \"POST /%61\"]"),
        "dialects[0].routes[0].on: another route answers POST /a",
    );
    let second = HEAD.replace("\"d\"", "\"e\"");
    refused("", &format!("{LOGIN}{second}{LOGIN}"), "dialects[1].match: the dialect \"d\" is for the very same requests");
    let third = HEAD.replace("port = 8080", "prefix = \"/x\"");
    let text = format!("{LOGIN}{third}{}", LOGIN.replace("/login", "/x/login"));
    refused("", &text, "dialects[1].name: another dialect is called \"d\"");
    let outside = format!("{}{LOGIN}", HEAD.replace("port = 8080", "prefix = \"/x\""));
    assert_eq!(problems(&outside), ["dialects[0].routes[0].on: no request reaches POST /login: the dialect is for /x only"]);
    let nowhere = format!("{}{LOGIN}", HEAD.replace("{ port = 8080 }", "{}"));
    assert_eq!(problems(&nowhere), ["dialects[0].match: says nothing about which requests are in this dialect"]);
}

#[test]
fn rotation_needs_a_way_to_the_client() {
    let refresh = route("POST /r", "refresh", REFRESH);
    refused("", &refresh, "dialects[0].routes[0].ok: the client would never learn its next refresh token, and be logged out");
    assert!(problems(&format!("{HEAD}rotate = false\n{refresh}")).is_empty());
    assert!(problems(&format!("{HEAD}cookie.refresh = {{ name = \"rt\" }}\n{refresh}")).is_empty());
    assert!(
        problems(&format!("{HEAD}{}", refresh.replace("t = \"$access_token\"", "t = \"$access_token\", r = \"$refresh_token\"")))
            .is_empty()
    );
}

#[test]
fn no_switch_promises_what_it_cannot_hold() {
    refused(
        "rotate = false\nrevoke_access_on_refresh = true",
        LOGIN,
        "dialects[0].revoke_access_on_refresh: several tabs with one refresh token would revoke each other's access tokens",
    );
    refused(
        "cookie_revives = true",
        LOGIN,
        "dialects[0].cookie_revives: no cookie could revive an access token: there is no cookie.refresh",
    );
    refused("signup_roles = [\"a\"]", LOGIN, "dialects[0].signup_roles: no route reads roles, so nobody can ask for any");
    refused("claims = { sub = \"$user.username\" }", LOGIN, "dialects[0].claims.sub: a dialect cannot replace the claim `sub`");
    refused("claims = { t = \"$access_token\" }", LOGIN, "dialects[0].claims.t: a claim cannot carry $access_token");
    refused(
        "cors = { origins = [\"*\"] }",
        LOGIN,
        "dialects[0].cors.origins[0]: \"*\" would let every page call, with its visitors' cookies",
    );
    refused(
        "password = { min = 6 }",
        LOGIN,
        "dialects[0].password.min: would not let shorter passwords than auth.password.min_length = 8",
    );
    refused("link = \"https://a.example/\"", LOGIN, "dialects[0].link: has not exactly one $token");
    refused("ttl = { access = \"31d\" }", LOGIN, "dialects[0].ttl.access: \"31d\" is out of bounds");
    refused(
        "ttl = { access = \"1h\", refresh = \"30m\" }",
        LOGIN,
        "dialects[0].ttl.refresh: a refresh token of 30m expires before the access token of 1h",
    );
    refused(
        "cookie.refresh = { name = \"__Host-r\", secure = false }",
        LOGIN,
        "dialects[0].cookie.refresh.name: browsers refuse a `__Host-` cookie that is not secure and for \"/\"",
    );
    refused("", &format!("{LOGIN}signs_in = true"), "dialects[0].routes[0].signs_in: `login` has no such switch");
    refused("", &LOGIN.replace("200, json", "204, json"), "dialects[0].routes[0].ok: an answer with status 204 has no body");
}

#[test]
fn a_fault_is_shown_where_it_is_written() {
    let text = format!("{HEAD}{}", LOGIN.replace("$access_token", "$acces_token"));
    let rendered = loaded(&text).expect_err("unknown").render(false);
    for part in ["dialects[0].routes[0].ok.json.t", "gateway.toml:13:35", "did you mean \"$access_token\"?"] {
        assert!(rendered.contains(part), "{part:?} is missing in\n{rendered}");
    }
}

#[test]
fn what_a_demonstration_needs_draws_a_warning() {
    let text = format!("{HEAD}{LOGIN}signs_up = true");
    assert_eq!(problems(&text), ["dialects[0].routes[0].signs_up: whoever logs in under an unknown name becomes a user"]);
    assert!(loaded(&text).is_ok());
    let signup = "in = { username = \"body.u\", password = \"body.p\", roles = \"body.r\" }\nok = { status = 201 }";
    let roles = format!("{HEAD}signup_roles = [\"admin\"]\n{}", route("POST /s", "signup", signup));
    assert!(problems(&roles).is_empty());
    let protected = format!("[[routes]]\npath = \"/admin\"\nupstream = \"app\"\nrequire = {{ roles = [\"admin\"] }}\n{roles}");
    let warning = "dialects[0].signup_roles: whoever signs up may take the role `admin`, which a route requires";
    assert_eq!(problems(&protected), [warning]);
    let elsewhere = format!("{}{LOGIN}", HEAD.replace("8080", "4000"));
    assert_eq!(problems(&elsewhere), ["dialects[0].match.port: no listener has port 4000: no request is in this dialect"]);
}

#[test]
fn a_key_of_a_dialect_is_set_by_its_name() {
    let text = include_str!("../../../../examples/dialects/auth-using-nodejs.toml");
    let sets = vec!["dialects.auth-using-nodejs.ttl.access=3s".to_owned(), "dialects.auth-using-nodejs.rotate=false".to_owned()];
    let environment: Environment =
        [("PORTCULLIS__DIALECTS__AUTH-USING-NODEJS-RESOURCE__MATCH__PORT", "4000")].into_iter().collect();
    let source = Source { path: "gateway.toml".into(), sets: sets.clone(), ..Source::default() };
    let config = read(text, &source).expect("still valid");
    assert_eq!(config.dialects.iter().next().and_then(|dialect| dialect.ttl.access), Some(Duration::from_secs(3)));
    let report = read(text, &Source { environment, ..source }).expect_err("two on one port");
    assert!(report.render(false).contains("dialects[1].match"), "{report}");
}

#[test]
fn the_commented_dialect_of_the_reference_file_is_accepted() {
    let section = EXAMPLE.split("\n# [[dialects]]\n").nth(1).expect("there is one").split("\n\n\n").next().expect("it ends");
    let is_toml = |line: &&str| line.starts_with("[[") || line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
    let lines: Vec<_> = section.lines().filter_map(|line| line.strip_prefix("# ")).filter(is_toml).collect();
    assert!(lines.len() > 20, "{lines:?}");
    let text = format!("[[dialects]]\n{}\n", lines.join("\n"));
    let config = loaded(&text).unwrap_or_else(|report| panic!("{text}\n{report}"));
    assert!(config.dialects.iter().all(|dialect| dialect.routes.len() > 1));
}
