//! `--set auth.access_token=3s` and `PORTCULLIS__AUTH__ACCESS_TOKEN=3s`: single keys laid over the file.
//!
//! A value is TOML if it is valid TOML of the type that the key takes, else text: nobody has to quote for both
//! the shell and TOML. An entry of an array of tables is addressed by its `name`. The command line wins over
//! the environment, the environment over the file.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::document::{Document, Node, Value, node};
use super::place::{Path, Place, Step};
use super::problem::{Problem, SourceText};
use super::schema;
use super::secret::Environment;

/// Two underscores, so that what Kubernetes puts into the environment for a service called `portcullis`
/// (`PORTCULLIS_PORT`, …) is not taken for configuration.
const PREFIX: &str = "PORTCULLIS__";

/// One override, taken apart.
struct Assignment {
    text: String,
    /// The steps of the key, each with its bytes in `text`.
    keys: Vec<(String, Range<usize>)>,
    /// The bytes of the value.
    value: Range<usize>,
    /// How many of TOML's own levels `text` has, if it is read as TOML.
    levels: usize,
    /// Environment variables have no lower case, so case cannot matter.
    any_case: bool,
}

/// Lays the environment and then `sets` over the document.
pub(super) fn apply(document: &mut Document, environment: &Environment, sets: &[String]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let variables = environment.with_prefix(PREFIX).map(|(name, value)| ("environment", Ok(of_variable(name, value))));
    let arguments = sets.iter().map(|argument| ("--set", of_argument(argument)));
    for (origin, assignment) in variables.chain(arguments) {
        let result = assignment.and_then(|assignment| {
            let source = document.sources.len();
            document.sources.push(SourceText { name: origin.to_owned(), text: assignment.text.clone() });
            assign(&mut document.root, &assignment, source)
        });
        problems.extend(result.err());
    }
    problems
}

fn of_variable(name: &str, value: &str) -> Assignment {
    let text = format!("{PREFIX}{name}={value}");
    let mut start = PREFIX.len();
    let mut keys = Vec::new();
    for segment in name.split("__") {
        keys.push((segment.to_ascii_lowercase(), start..start + segment.len()));
        start += segment.len() + "__".len();
    }
    let value = PREFIX.len() + name.len() + 1..text.len();
    Assignment { text, keys, value, levels: 1, any_case: true }
}

fn of_argument(argument: &str) -> Result<Assignment, Problem> {
    let wrong = || {
        // The argument is not repeated: it may hold a secret.
        Problem::error("", "a `--set` argument is not of the form key=value").help("write it like --set auth.access_token=5m")
    };
    let equals = unquoted_equals(argument).ok_or_else(wrong)?;
    let mut keys = Vec::new();
    let probe = format!("{}=0", &argument[..equals]);
    let table = DeTable::parse(&probe).map_err(|_| wrong())?;
    let mut table = table.get_ref();
    while let Some((key, value)) = table.iter().next() {
        keys.push((key.get_ref().to_string(), key.span()));
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    let levels = keys.len();
    Ok(Assignment { text: argument.to_owned(), keys, value: equals + 1..argument.len(), levels, any_case: false })
}

/// The first `=` outside quotes: a quoted key may contain one.
fn unquoted_equals(argument: &str) -> Option<usize> {
    let mut quote = None;
    argument.char_indices().find_map(|(index, char)| {
        match (quote, char) {
            (None, '=') => return Some(index),
            (None, '"' | '\'') => quote = Some(char),
            (Some(open), _) if open == char => quote = None,
            _ => {}
        }
        None
    })
}

/// Puts the value at its key, making the tables on the way.
fn assign(root: &mut Node, assignment: &Assignment, source: usize) -> Result<(), Problem> {
    let place = |span: &Range<usize>| Place { source, span: span.clone() };
    let mut path = Path::root();
    let mut at = root;
    let (last, on_the_way) = assignment.keys.split_last().expect("splitting a name yields at least one segment");
    for (key, span) in on_the_way {
        let step = step_to(at, key, &path, assignment.any_case).map_err(|problem| problem.at(Some(place(span))))?;
        path.0.push(step.clone());
        at = match (step, &mut at.value) {
            (Step::Index(index), Value::Array(elements)) => &mut elements[index],
            (Step::Key(key), Value::Table(members)) => members.entry(key).or_insert_with(|| Node {
                key: Some(place(span)),
                place: place(span),
                value: Value::Table(BTreeMap::new()),
            }),
            _ => unreachable!("step_to answers with a step that fits the node"),
        };
    }
    let (key, span) = last;
    let step = step_to(at, key, &path, assignment.any_case).map_err(|problem| problem.at(Some(place(span))))?;
    path.0.push(step.clone());
    match (step, &mut at.value) {
        (Step::Key(key), Value::Table(members)) => {
            let value = value_of(assignment, &path, source);
            members.insert(key, Node { key: Some(place(span)), ..value });
            Ok(())
        }
        _ => Err(Problem::error(&path, "this names a whole entry")
            .at(Some(place(span)))
            .help(format!("say which of its keys to set, like {key}.access=public"))),
    }
}

/// Which member of `at` the key means: in a table by key, in an array of tables by name.
fn step_to(at: &Node, key: &str, path: &Path, any_case: bool) -> Result<Step, Problem> {
    let same = |candidate: &str| if any_case { candidate.eq_ignore_ascii_case(key) } else { candidate == key };
    match &at.value {
        Value::Table(members) => {
            let known = members.keys().map(String::as_str).chain(schema::keys(path)).find(|candidate| same(candidate));
            Ok(Step::Key(known.unwrap_or(key).to_owned()))
        }
        Value::Array(elements) => {
            let names: Vec<_> = elements.iter().map(name_of).collect();
            names.iter().position(|name| same(name)).map(Step::Index).ok_or_else(|| {
                Problem::error(path, format!("has no entry called `{key}`"))
                    .help(format!("an entry is addressed by its `name`; there are: {}", names.join(", ")))
            })
        }
        Value::Scalar(_) => Err(Problem::error(path, format!("is a single value and has no `{key}`"))),
    }
}

/// What an entry of an array of tables is called: its `name`, else host and path, which is what a route without
/// one is called in logs.
fn name_of(element: &Node) -> String {
    let Value::Table(members) = &element.value else { return String::new() };
    let text = |key: &str| match members.get(key).map(|node| &node.value) {
        Some(Value::Scalar(serde_json::Value::String(text))) => Some(text.as_str()),
        _ => None,
    };
    text("name").map_or_else(|| [text("host"), text("path")].into_iter().flatten().collect(), str::to_owned)
}

fn value_of(assignment: &Assignment, path: &Path, source: usize) -> Node {
    let place = Place { source, span: assignment.value.clone() };
    let raw = &assignment.text[assignment.value.clone()];
    let text = |text: &str| Value::Scalar(text.into());
    let list = || {
        let element = |part: &str| Node { key: None, place: place.clone(), value: text(part.trim()) };
        Value::Array(raw.split(',').map(str::trim).filter(|part| !part.is_empty()).map(element).collect())
    };
    match as_toml(assignment, source) {
        Some(node @ Node { value: Value::Array(_) | Value::Table(_), .. }) => node,
        _ if schema::wants_list(path) => Node { key: None, value: list(), place },
        Some(Node { value: Value::Scalar(scalar), .. }) if schema::wants_text(path, &scalar) => {
            Node { key: None, value: text(raw), place }
        }
        Some(node) => node,
        None => Node { key: None, value: text(raw), place },
    }
}

/// The value, if the whole text happens to be TOML.
fn as_toml(assignment: &Assignment, source: usize) -> Option<Node> {
    let table = DeTable::parse(&assignment.text).ok()?;
    let mut table = table.get_ref();
    for _ in 1..assignment.levels {
        table = table.iter().next()?.1.get_ref().as_table()?;
    }
    let (_, value) = table.iter().next()?;
    Some(node(value.get_ref(), value.span(), source))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "[auth]\naccess_token = \"15m\"\n[[routes]]\nname = \"admin\"\npath = \"/admin\"\n[[routes]]\npath = \"/x\"\n";

    fn applied(variables: &[(&str, &str)], sets: &[&str]) -> (serde_json::Value, Vec<Problem>, Document) {
        let (mut document, _) = Document::parse("gateway.toml", TEXT);
        let sets: Vec<_> = sets.iter().map(|&set| set.to_owned()).collect();
        let problems = apply(&mut document, &variables.iter().copied().collect(), &sets);
        (document.to_json(), problems, document)
    }

    #[test]
    fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
        let variable = [("PORTCULLIS__AUTH__ACCESS_TOKEN", "5m"), ("PORTCULLIS_PORT", "tcp://10.0.0.1:80")];
        assert_eq!(applied(&[], &[]).0["auth"]["access_token"], "15m");
        assert_eq!(applied(&variable, &[]).0["auth"]["access_token"], "5m");
        assert_eq!(applied(&variable, &["auth.access_token=3s"]).0["auth"]["access_token"], "3s");
    }

    #[test]
    fn an_entry_of_an_array_is_addressed_by_its_name() {
        let (json, problems, _) = applied(&[("PORTCULLIS__ROUTES__ADMIN__WEBSOCKET", "true")], &["routes.\"/x\".access=public"]);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(json["routes"][0]["websocket"], true);
        assert_eq!(json["routes"][1]["access"], "public");
        let (_, problems, _) = applied(&[], &["routes.admn.access=public", "routes.admin=5"]);
        assert_eq!(problems[0].message, "has no entry called `admn`");
        assert_eq!(problems[1].message, "this names a whole entry");
    }

    #[test]
    fn a_value_has_the_type_that_its_key_takes() {
        let sets = [
            "revocation.prefix=123",
            "server.threads=4",
            "server.listen=0.0.0.0:80, [::]:80",
            "routes.admin.require={roles=['a']}",
        ];
        let (json, problems, _) = applied(&[], &sets);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(json["revocation"]["prefix"], "123");
        assert_eq!(json["server"]["threads"], 4);
        assert_eq!(json["server"]["listen"], serde_json::json!(["0.0.0.0:80", "[::]:80"]));
        assert_eq!(json["routes"][0]["require"]["roles"][0], "a");
    }

    #[test]
    fn an_override_is_pointed_at_in_its_own_text() {
        let (.., document) = applied(&[], &["auth.access_token=5 parsecs"]);
        let path = Path::root().key("auth").key("access_token");
        let place = document.place(&path).expect("written");
        assert_eq!(&document.sources[place.source].text[place.span], "5 parsecs");
        assert_eq!(&document.sources[place.source].name, "--set");
    }

    #[test]
    fn an_argument_that_is_no_assignment_is_refused_and_not_repeated() {
        for argument in ["auth.access_token", "=5", "a..b=5", "\"a=5"] {
            let (_, problems, _) = applied(&[], &[argument]);
            assert_eq!(problems.len(), 1, "{argument}");
        }
    }
}
