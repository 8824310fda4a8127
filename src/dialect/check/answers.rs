//! The answers of a dialect: success says yes, refusals say no, and neither names a value that it does not have.

use http::StatusCode;

use super::{Faults, may_succeed};
use crate::dialect::answer::{AnswerBody, AnswerTemplate};
use crate::dialect::errors::{ANY, ErrorTable, covered, words};
use crate::dialect::operation::{Operation, yields};
use crate::dialect::route::DialectRoute;
use crate::dialect::template::{Template, ValueName};

/// How success reads.
pub(super) fn ok(faults: &mut Faults<'_>, route: &DialectRoute) {
    if !route.ok.status.is_success() {
        let message = format!("{} does not say that it succeeded", route.ok.status.as_u16());
        faults.add(&["ok", "status"], message, "write 200, 201, 202 or 204");
    }
    body_fits(faults, &["ok"], &route.ok);
    if matches!(route.ok.body, AnswerBody::EachUser(_)) && route.operation != Operation::ListUsers {
        let message = format!("`{}` yields no users", route.operation.word());
        faults.add(&["ok", "each"], message, "only `list_users` answers with `each`");
    }
    let listing = matches!(route.ok.body, AnswerBody::EachUser(_));
    for (path, value) in template(&route.ok).map(Template::values).unwrap_or_default() {
        if matches!(value, ValueName::Item(_)) && !listing {
            let help = "write `each = \"$users\"` beside the template";
            faults.add_below(&["ok", "json"], &path, format!("{value} has a value in an answer with `each` only"), help);
        } else if !yields(route, value) {
            faults.add_below(&["ok", "json"], &path, unyielded(route, value), yielded(route));
        }
    }
}

fn unyielded(route: &DialectRoute, value: ValueName) -> String {
    match (route.operation, value) {
        (Operation::Signup, _) if yields(&DialectRoute { signs_in: true, ..route.clone() }, value) => {
            format!("`signup` yields {value} only with `signs_in = true`")
        }
        (Operation::ListUsers, ValueName::Item(_)) => format!("a public list is of names only, without {value}"),
        _ => format!("`{}` yields no {value}", route.operation.word()),
    }
}

fn yielded(route: &DialectRoute) -> String {
    let names: Vec<_> = ValueName::all().into_iter().filter(|name| yields(route, *name)).map(|name| name.to_string()).collect();
    if names.is_empty() {
        "it yields nothing: write a fixed answer".to_owned()
    } else {
        format!("it yields {}", names.join(", "))
    }
}

/// How refusals read, on a route or in the whole dialect.
pub(super) fn errors(faults: &mut Faults<'_>, table: &ErrorTable, route: Option<&DialectRoute>) {
    for (code, answer) in table {
        if !words().any(|known| known == &**code) {
            let known: Vec<_> = words().filter(|word| covered(word)).collect();
            let help = format!("the usual ones are {}; docs/errors.md has them all", known.join(", "));
            faults.add(&["err", code], format!("nothing is refused as {code:?}"), help);
        }
        status(faults, code, answer.status, route);
        body_fits(faults, &["err", code], answer);
        if matches!(answer.body, AnswerBody::EachUser(_)) {
            faults.add(&["err", code], "a refusal lists no users", "remove `each`");
        }
        let allowed =
            |value: &ValueName| matches!(value, ValueName::ErrorMessage | ValueName::ErrorCode | ValueName::ErrorFields);
        for (path, value) in template(answer).map(Template::values).unwrap_or_default() {
            if !allowed(&value) {
                let help = "a refusal yields $error.message, $error.fields and $error.code";
                faults.add_below(&["err", code, "json"], &path, format!("a refusal yields no {value}"), help);
            }
        }
    }
}

fn status(faults: &mut Faults<'_>, code: &str, status: StatusCode, route: Option<&DialectRoute>) {
    if status.is_client_error() || status.is_server_error() || (status.is_success() && may_succeed(route, code)) {
        return;
    }
    let what = if code == ANY { "what was refused".to_owned() } else { format!("what was refused as `{code}`") };
    let message = format!("{} would say yes to {what}", status.as_u16());
    let help = match route.map(|route| route.operation) {
        Some(Operation::Logout) => "a logout that could not be made true is no success: write 500 to 599, or remove the entry",
        _ => "write a status from 400 to 599; only a logout may answer 2xx, when there is nothing to log out of",
    };
    faults.add(&["err", code, "status"], message, help);
}

/// 1xx, 204, 205 and 304 have no body (RFC 9110 §6.4.1).
fn body_fits(faults: &mut Faults<'_>, path: &[&str], answer: &AnswerTemplate) {
    let bodiless = matches!(answer.status.as_u16(), 100..=199 | 204 | 205 | 304);
    if bodiless && answer.body != AnswerBody::Empty {
        let message = format!("an answer with status {} has no body", answer.status.as_u16());
        faults.add(path, message, "remove `json` or `text`, or write 200");
    }
}

fn template(answer: &AnswerTemplate) -> Option<&Template> {
    match &answer.body {
        AnswerBody::Json(template) | AnswerBody::EachUser(template) => Some(template),
        AnswerBody::Empty | AnswerBody::Text(_) => None,
    }
}

/// Whether success carries the value.
pub(super) fn carries(route: &DialectRoute, value: ValueName) -> bool {
    template(&route.ok).is_some_and(|template| template.values().iter().any(|(_, name)| *name == value))
}
