//! The pieces of a dialect, each read from its text. Members of templates keep the order of the file, which only the
//! document remembers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;

use http::StatusCode;

use super::super::{Check, SECOND};
use crate::config::Auth;
use crate::config::document::{Node, Value};
use crate::config::file::dialects as file;
use crate::config::file::dialects::OneOrMany;
use crate::config::place::Path;
use crate::config::schema::closest;
use crate::dialect::{
    AnswerBody, AnswerTemplate, Claims, CookieSpec, Cors, DialectRoute, ErrorTable, Input, Link, Operation, PasswordRule, Place,
    SameSite, Template, ValueName,
};
use crate::policy::path::PathPrefix;

const YEAR: std::time::Duration = std::time::Duration::from_hours(24 * 366);

/// The route; none if its operation is unknown, which is reported here.
pub(super) fn route(check: &mut Check<'_>, path: &Path, file: &file::DialectRoute) -> Option<DialectRoute> {
    let operation = word(check, &path.key("do"), &file.r#do, Operation::parse, Operation::ALL.iter().map(|known| known.word()));
    let on = texts(check, &path.key("on"), &file.on, "write a method and a path, like \"POST /login\"");
    let mut inputs = BTreeMap::new();
    for (name, places) in &file.r#in {
        let path = path.key("in").key(name);
        let input = word(check, &path, name, Input::parse, Input::ALL.iter().map(|known| known.word()));
        let places: Vec<Place> = texts(check, &path, places, "write \"body.x\", \"query.x\", \"cookie.x\" or \"bearer\"");
        inputs.extend(input.map(|input| (input, places)));
    }
    let mut required = BTreeSet::new();
    for (index, name) in file.required.iter().enumerate() {
        let path = path.key("required").index(index);
        required.extend(word(check, &path, name, Input::parse, Input::ALL.iter().map(|known| known.word())));
    }
    let ok = success(check, &path.key("ok"), &file.ok);
    let errors = errors(check, &path.key("err"), &file.err);
    let (signs_up, signs_in, public) = (file.signs_up, file.signs_in, file.public);
    Some(DialectRoute { on, operation: operation?, inputs, required, ok, errors, signs_up, signs_in, public })
}

/// A word of a closed list. One that is not written was reported as missing.
fn word<T>(
    check: &mut Check<'_>,
    path: &Path,
    text: &str,
    parse: impl Fn(&str) -> Option<T>,
    known: impl Iterator<Item = &'static str> + Clone,
) -> Option<T> {
    let found = parse(text);
    if found.is_none() && !text.is_empty() {
        let help = match closest(text, known.clone()) {
            Some(similar) => format!("did you mean \"{similar}\"?"),
            None => format!("there are: {}", known.collect::<Vec<_>>().join(", ")),
        };
        check.refuse(path, format!("{text:?} is not known"), help);
    }
    found
}

/// One text or several, each read by its own rules.
fn texts<T: FromStr<Err: Display>>(check: &mut Check<'_>, path: &Path, file: &OneOrMany, help: &str) -> Vec<T> {
    let texts: Vec<(Path, &str)> = match file {
        OneOrMany::One(text) => vec![(path.clone(), text)],
        OneOrMany::Many(texts) => texts.iter().enumerate().map(|(index, text)| (path.index(index), text.as_str())).collect(),
    };
    let mut parsed = Vec::new();
    for (path, text) in texts {
        let result = text.parse::<T>().map_err(|error| format!("{text:?}: {error}"));
        parsed.extend(check.parsed(&path, result, help));
    }
    parsed
}

fn success(check: &mut Check<'_>, path: &Path, file: &file::Success) -> AnswerTemplate {
    let body = body(check, path, file.json.is_some(), file.text.as_deref());
    let body = match (file.each, body) {
        (Some(file::Each::Users), AnswerBody::Json(template)) => AnswerBody::EachUser(template),
        (Some(file::Each::Users), body) => {
            check.refuse(&path.key("each"), "says nothing about the users", "add `json`, the template of one of them");
            body
        }
        (None, body) => body,
    };
    AnswerTemplate { status: status(file.status), body }
}

/// Refusals by their code.
pub(super) fn errors(check: &mut Check<'_>, path: &Path, file: &BTreeMap<String, file::Refusal>) -> ErrorTable {
    let mut table = ErrorTable::new();
    for (code, refusal) in file {
        let body = body(check, &path.key(code), refusal.json.is_some(), refusal.text.as_deref());
        table.insert(code.as_str().into(), AnswerTemplate { status: status(refusal.status), body });
    }
    table
}

/// The schema has seen to it that it is one; 0 is one that was reported.
fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::OK)
}

fn body(check: &mut Check<'_>, path: &Path, has_json: bool, text: Option<&str>) -> AnswerBody {
    match (has_json, text) {
        (true, Some(_)) => {
            check.clash(
                &path.key("text"),
                "an answer has one body",
                &path.key("json"),
                "and here is another",
                "remove one of the two",
            );
            AnswerBody::Empty
        }
        (true, None) => template(check, &path.key("json")).map_or(AnswerBody::Empty, AnswerBody::Json),
        (false, Some(text)) => {
            // It would be sent as it stands, which nobody means who writes it.
            if matches!(Template::text(text), Ok(Template::Value(_))) {
                check.refuse(&path.key("text"), "text has no values", "write `json` instead");
            }
            AnswerBody::Text(text.into())
        }
        (false, None) => AnswerBody::Empty,
    }
}

/// Claims, in the order of the file.
pub(super) fn claims(check: &mut Check<'_>, path: &Path) -> Claims {
    let Some(Node { value: Value::Table(members), .. }) = check.document.get(path).cloned() else { return Claims::default() };
    let read = |(key, node): (&String, &Node)| Some((key.as_str().into(), node_template(check, &path.key(key), node)?));
    Claims(in_order(&members).into_iter().filter_map(read).collect())
}

fn template(check: &mut Check<'_>, path: &Path) -> Option<Template> {
    let node = check.document.get(path)?.clone();
    node_template(check, path, &node)
}

fn node_template(check: &mut Check<'_>, path: &Path, node: &Node) -> Option<Template> {
    match &node.value {
        Value::Scalar(serde_json::Value::String(text)) => {
            let values: Vec<_> = ValueName::all().iter().map(ToString::to_string).collect();
            let help = match closest(text, values.iter().map(String::as_str)) {
                Some(similar) => format!("did you mean \"{similar}\"? a dollar sign itself is \"$$\""),
                None => format!("there are: {}; a dollar sign itself is \"$$\"", values.join(", ")),
            };
            check.parsed(path, Template::text(text), &help)
        }
        Value::Scalar(scalar) => Some(Template::Literal(scalar.clone())),
        Value::Array(elements) => {
            let read = elements.iter().enumerate().map(|(index, element)| node_template(check, &path.index(index), element));
            // Every element is looked at, so that every problem is found.
            read.collect::<Vec<_>>().into_iter().collect::<Option<_>>().map(Template::Array)
        }
        Value::Table(members) => {
            let read = in_order(members).into_iter().map(|(key, member)| {
                let template = node_template(check, &path.key(key), member)?;
                Some((key.as_str().into(), template))
            });
            read.collect::<Vec<_>>().into_iter().collect::<Option<_>>().map(Template::Object)
        }
    }
}

/// The members of a table as they were written.
fn in_order(members: &BTreeMap<String, Node>) -> Vec<(&String, &Node)> {
    let mut members: Vec<_> = members.iter().collect();
    members.sort_by_key(|(_, node)| node.key.as_ref().map(|place| (place.source, place.span.start)));
    members
}

pub(super) fn cookie(check: &mut Check<'_>, path: &Path, file: &file::Cookie) -> Option<CookieSpec> {
    let max_age = file.max_age.as_ref().map(|text| check.duration(&path.key("max_age"), text, SECOND..=YEAR));
    let cookie_path = check.parsed(&path.key("path"), PathPrefix::parse(&file.path), "write a path like \"/token\"");
    Some(CookieSpec {
        name: file.name.as_str().into(),
        path: cookie_path?,
        same_site: match file.same_site {
            file::SameSite::Strict => SameSite::Strict,
            file::SameSite::Lax => SameSite::Lax,
            file::SameSite::None => SameSite::None,
        },
        secure: file.secure,
        max_age,
    })
}

pub(super) fn link(check: &mut Check<'_>, path: &Path, text: &str) -> Option<Link> {
    check.parsed(path, Link::parse(text), "write it like \"https://app.example.com/verify?token=$token\"")
}

pub(super) fn password(check: &mut Check<'_>, path: &Path, file: &file::PasswordRule, auth: &Auth) -> PasswordRule {
    let least = auth.password.min_chars;
    let min_chars = file.min.map_or(least, |min| usize::try_from(min).unwrap_or(usize::MAX));
    if min_chars < least {
        let help = format!("write {least} or more, or remove it: the gateway's own rule always holds");
        check.refuse(&path.key("min"), format!("would not let shorter passwords than auth.password.min_length = {least}"), help);
    }
    PasswordRule { min_chars, classes: file.classes }
}

pub(super) fn cors(check: &mut Check<'_>, path: &Path, file: &file::Cors, credentials: bool) -> Option<Cors> {
    let path = path.key("origins");
    match Cors::new(&file.origins, credentials) {
        Ok(cors) => Some(cors),
        Err((index, error)) => {
            let message = format!("{:?} {error}", file.origins[index]);
            check.refuse(&path.index(index), message, "write each like \"https://app.example.com\": scheme, host, unusual port");
            None
        }
    }
}
