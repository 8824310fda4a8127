//! What no dialect may be: one that relaxes a check, says yes to what was refused, promises what cannot come, or has two
//! readings. Everything is found at once.

mod answers;
mod inputs;

use std::sync::Arc;

use super::cookie::CookieSpec;
use super::errors::ANY;
use super::fault::{DialectFault, FaultStep};
use super::operation::{Input, Operation};
use super::place::Place;
use super::route::DialectRoute;
use super::template::ValueName;
use super::{Dialect, claims, password};

/// Collects the faults of one dialect, or of one of its routes.
pub(super) struct Faults<'a> {
    found: &'a mut Vec<DialectFault>,
    dialect: usize,
    route: Option<usize>,
}

impl Faults<'_> {
    fn add(&mut self, path: &[&str], message: impl Into<String>, help: impl Into<String>) {
        self.add_below(path, &[], message, help);
    }

    fn add_below(&mut self, path: &[&str], below: &[FaultStep], message: impl Into<String>, help: impl Into<String>) {
        let path = path.iter().map(|key| FaultStep::from(*key)).chain(below.iter().cloned()).collect();
        let (message, help) = (message.into(), help.into());
        self.found.push(DialectFault { dialect: self.dialect, route: self.route, path, message, help });
    }
}

/// Everything that is wrong.
pub(super) fn faults(dialects: &[Dialect]) -> Vec<DialectFault> {
    let mut found = Vec::new();
    for (index, dialect) in dialects.iter().enumerate() {
        let mut faults = Faults { found: &mut found, dialect: index, route: None };
        beside_others(&mut faults, dialect, &dialects[..index]);
        switches(&mut faults, dialect);
        cookies(&mut faults, dialect);
        said_about_users(&mut faults, dialect);
        answers::errors(&mut faults, &dialect.errors, None);
        for (position, route) in dialect.routes.iter().enumerate() {
            let mut faults = Faults { found: &mut found, dialect: index, route: Some(position) };
            on(&mut faults, dialect, position);
            route_switches(&mut faults, route);
            inputs::inputs(&mut faults, dialect, route);
            answers::ok(&mut faults, route);
            answers::errors(&mut faults, &route.errors, Some(route));
            next_refresh_token(&mut faults, dialect, route);
        }
    }
    found
}

/// What is accepted and should be looked at.
pub(super) fn cautions(dialects: &[Arc<Dialect>]) -> Vec<DialectFault> {
    let mut found = Vec::new();
    for (index, dialect) in dialects.iter().enumerate() {
        for (position, route) in dialect.routes.iter().enumerate() {
            let mut faults = Faults { found: &mut found, dialect: index, route: Some(position) };
            if route.signs_up {
                let help =
                    "a mistyped name becomes a new user: for demonstrations; in production add a route that does \"signup\"";
                faults.add(&["signs_up"], "whoever logs in under an unknown name becomes a user", help);
            }
            if route.public {
                let help = "for demonstrations; remove it in production, and only those who may list users can";
                faults.add(&["public"], "anybody can read the names of all users", help);
            }
        }
        let mut faults = Faults { found: &mut found, dialect: index, route: None };
        for (key, cookie) in both_cookies(dialect).filter(|(_, cookie)| !cookie.secure) {
            let help = "remove `secure = false` where clients come over TLS";
            faults.add(&["cookie", key, "secure"], format!("the cookie `{}` also travels without TLS", cookie.name), help);
        }
    }
    found
}

fn beside_others(faults: &mut Faults<'_>, dialect: &Dialect, earlier: &[Dialect]) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if dialect.name.is_empty() || dialect.name.len() > 64 || !dialect.name.bytes().all(plain) {
        faults.add(&["name"], "must be 1 to 64 letters, digits, `-` or `_`", "write it like \"flowauth\"");
    }
    if earlier.iter().any(|other| other.name == dialect.name) {
        faults.add(
            &["name"],
            format!("another dialect is called {:?}", dialect.name),
            "`--set` could not tell them apart: rename one",
        );
    }
    if dialect.mount == super::Mount::default() {
        let help = "write a port, a host or a prefix, like match = { port = 4000 }";
        faults.add(&["match"], "says nothing about which requests are in this dialect", help);
    } else if let Some(other) = earlier.iter().find(|other| other.mount == dialect.mount) {
        let message = format!("the dialect {:?} is for the very same requests", other.name);
        faults.add(&["match"], message, "dialects differ in port, host or prefix; the order of the file never decides");
    }
}

fn switches(faults: &mut Faults<'_>, dialect: &Dialect) {
    let has = |operation| dialect.routes.iter().any(|route| route.operation == operation);
    if dialect.cookie_revives && dialect.refresh_cookie.is_none() {
        let help = "add cookie.refresh, or remove cookie_revives";
        faults.add(&["cookie_revives"], "no cookie could revive an access token: there is no cookie.refresh", help);
    }
    if dialect.revoke_access_on_refresh && !dialect.rotate {
        let help = "write `rotate = true`, or remove revoke_access_on_refresh";
        faults.add(
            &["revoke_access_on_refresh"],
            "several tabs with one refresh token would revoke each other's access tokens",
            help,
        );
    }
    if dialect.ticket_cookie.is_some() && !has(Operation::RedeemOneTimeToken) {
        let help = "add a route that does \"redeem_one_time_token\", or remove the cookie";
        faults.add(&["cookie", "ticket"], "no route would ever set this cookie", help);
    }
    let asks_for_roles = |route: &Arc<DialectRoute>| route.inputs.contains_key(&Input::Roles);
    if !dialect.signup_roles.is_empty() && !dialect.routes.iter().any(asks_for_roles) {
        let help = "say where they are, like in.roles = \"body.roles\", or remove signup_roles";
        faults.add(&["signup_roles"], "no route reads roles, so nobody can ask for any", help);
    }
    if let Some(rule) = dialect.password
        && rule.classes > password::CLASSES
    {
        faults.add(&["password", "classes"], "there are four classes of characters", "write 0 to 4");
    }
}

fn both_cookies(dialect: &Dialect) -> impl Iterator<Item = (&'static str, &CookieSpec)> {
    let cookies = [("refresh", &dialect.refresh_cookie), ("ticket", &dialect.ticket_cookie)];
    cookies.into_iter().filter_map(|(key, cookie)| Some((key, cookie.as_ref()?)))
}

fn cookies(faults: &mut Faults<'_>, dialect: &Dialect) {
    for (key, cookie) in both_cookies(dialect) {
        if let Some((member, message, help)) = cookie.fault() {
            faults.add(&["cookie", key, member], message, help);
        }
    }
    if let (Some(refresh), Some(ticket)) = (&dialect.refresh_cookie, &dialect.ticket_cookie)
        && refresh.name == ticket.name
    {
        faults.add(&["cookie", "ticket", "name"], "both cookies have this name", "rename one");
    }
}

fn said_about_users(faults: &mut Faults<'_>, dialect: &Dialect) {
    for (index, (name, template)) in dialect.claims.0.iter().enumerate() {
        if dialect.claims.0[..index].iter().any(|(other, _)| other == name) {
            faults.add(&["claims", name], "is written twice", "remove one");
        }
        if !claims::may_be(name, template) {
            let help = "choose another name: that claim decides something wherever our tokens are verified";
            faults.add(&["claims", name], format!("a dialect cannot replace the claim `{name}`"), help);
        }
        for (path, value) in template.values().into_iter().filter(|(_, value)| !matches!(value, ValueName::User(_))) {
            let help = "a claim is made of $user.id, $user.username and so on";
            faults.add_below(&["claims", name], &path, format!("a claim cannot carry {value}"), help);
        }
    }
}

fn on(faults: &mut Faults<'_>, dialect: &Dialect, position: usize) {
    let route = &dialect.routes[position];
    if route.on.is_empty() {
        faults.add(&["on"], "the route answers nothing", "write a method and a path, like \"POST /login\"");
    }
    for (index, on) in route.on.iter().enumerate() {
        let earlier = dialect.routes[..position].iter().flat_map(|other| &other.on).chain(&route.on[..index]);
        if earlier.into_iter().any(|other| other == on) {
            faults.add(
                &["on"],
                format!("another route answers {on}"),
                "remove one of the two; the order of the file never decides",
            );
        }
        let inside = |prefix: &crate::policy::path::PathPrefix| {
            let mut of_path = on.path.segments();
            prefix.segments().all(|segment| of_path.next().is_some_and(|other| other == segment))
        };
        if let Some(prefix) = dialect.mount.prefix.as_ref().filter(|prefix| !inside(prefix)) {
            let message = format!("no request reaches {on}: the dialect is for {} only", prefix.as_str());
            faults.add(&["on"], message, "write the whole path, with the dialect's prefix");
        }
        if on.method == http::Method::GET && !route.operation.may_be_got() {
            let message = format!("a GET must change nothing, and `{}` does", route.operation.word());
            faults.add(&["on"], message, "use POST: links and prefetching send GET without anybody asking (RFC 9110 §9.2.1)");
        }
    }
}

fn route_switches(faults: &mut Faults<'_>, route: &DialectRoute) {
    for (switch, on, operation) in [
        ("signs_up", route.signs_up, Operation::Login),
        ("signs_in", route.signs_in, Operation::Signup),
        ("public", route.public, Operation::ListUsers),
    ] {
        if on && route.operation != operation {
            let message = format!("`{}` has no such switch", route.operation.word());
            faults.add(&[switch], message, format!("it is a switch of `{}`: remove it", operation.word()));
        }
    }
}

/// With rotation, the refresh token that the client has is a used one from now on: its next use ends the session.
fn next_refresh_token(faults: &mut Faults<'_>, dialect: &Dialect, route: &DialectRoute) {
    if route.operation != Operation::Refresh || !dialect.rotate {
        return;
    }
    if dialect.refresh_cookie.is_none() && !answers::carries(route, ValueName::RefreshToken) {
        let help = "add \"$refresh_token\" to the answer or a cookie.refresh to the dialect, or write `rotate = false` there";
        faults.add(&["ok"], "the client would never learn its next refresh token, and be logged out", help);
    }
}

/// Whether an answer for `code` may say that all is well although it was refused: only that there is nothing to log out
/// of (RFC 7009 §2.2). That a logout could not be made true is never well.
fn may_succeed(route: Option<&DialectRoute>, code: &str) -> bool {
    route.is_some_and(|route| route.operation == Operation::Logout) && (code == ANY || super::errors::covered(code))
}

/// The cookie of this dialect that a place reads.
fn cookie_of<'a>(dialect: &'a Dialect, place: &Place) -> Option<&'a CookieSpec> {
    let Place::Cookie(name) = place else { return None };
    both_cookies(dialect).map(|(_, cookie)| cookie).find(|cookie| cookie.name == *name)
}
