//! The configuration as a tree in which every key and value remembers where it was written.
//!
//! The TOML text is parsed once, with spans, and with every syntax error at once. `overrides` then lays `--set`
//! arguments and environment variables over the tree; they bring their own text, so that a problem with one of
//! them is shown there and not in the file.

use std::collections::BTreeMap;

use serde_json::{Map, Number};
use toml::de::{DeTable, DeValue};

use super::place::{Path, Place, Step};
use super::problem::{Problem, SourceText};

/// All texts and the tree that they make together.
#[derive(Debug)]
pub(super) struct Document {
    /// The file first, then one text per override.
    pub(super) sources: Vec<SourceText>,
    /// The tree; its root is a table.
    pub(super) root: Node,
}

/// One value.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Where its key is written, if it has one.
    pub(super) key: Option<Place>,
    /// Where it is written; for a table, its header.
    pub(super) place: Place,
    /// What it is.
    pub(super) value: Value,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Text, number, truth value; a date is text.
    Scalar(serde_json::Value),
    /// An array, also one of tables.
    Array(Vec<Node>),
    /// A table.
    Table(BTreeMap<String, Node>),
}

impl Document {
    /// Parses the file. The tree holds what could be understood; every syntax error is a problem, though one that
    /// leaves nothing in doubt is a warning only.
    pub(super) fn parse(name: &str, text: &str) -> (Self, Vec<Problem>) {
        let (table, errors) = DeTable::parse_recoverable(text);
        let place = Place { source: 0, span: 0..0 };
        let root = Node { key: None, place, value: Value::Table(members(table.get_ref(), 0)) };
        let problem = |error| unquoted_url(error, text).unwrap_or_else(|| syntax_problem(error, 0));
        let problems = errors.iter().map(problem).collect();
        (Self { sources: vec![SourceText { name: name.to_owned(), text: text.to_owned() }], root }, problems)
    }

    /// The value at `path`, if anything was written there.
    pub(super) fn get(&self, path: &Path) -> Option<&Node> {
        path.0.iter().try_fold(&self.root, |node, step| match (step, &node.value) {
            (Step::Key(key), Value::Table(members)) => members.get(key),
            (Step::Index(index), Value::Array(elements)) => elements.get(*index),
            _ => None,
        })
    }

    /// Where to point for a problem with the value at `path`: at the value, or at the nearest table around it
    /// that was written; a default has no place of its own.
    pub(super) fn place(&self, path: &Path) -> Option<Place> {
        match (self.get(path), path.split_last()) {
            (_, None) => None,
            (Some(node), _) => Some(node.place.clone()),
            (None, Some((around, _))) => self.place(&around),
        }
    }

    /// Where to point for a problem with the key of `path` itself.
    pub(super) fn key_place(&self, path: &Path) -> Option<Place> {
        self.get(path).and_then(|node| node.key.clone()).or_else(|| self.place(path))
    }

    /// The tree without its places, for the schema and for serde.
    pub(super) fn to_json(&self) -> serde_json::Value {
        self.root.to_json()
    }
}

impl Node {
    fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Scalar(scalar) => scalar.clone(),
            Value::Array(elements) => elements.iter().map(Self::to_json).collect(),
            Value::Table(members) => {
                members.iter().map(|(key, node)| (key.clone(), node.to_json())).collect::<Map<_, _>>().into()
            }
        }
    }

    /// Whether `[]` was written.
    pub(super) fn is_empty_array(&self) -> bool {
        matches!(&self.value, Value::Array(elements) if elements.is_empty())
    }

    /// What a person calls this value: `the integer 5`. Text that may be a secret is not repeated.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::Scalar(serde_json::Value::String(_)) => "text".to_owned(),
            Value::Scalar(serde_json::Value::Bool(value)) => format!("`{value}`"),
            Value::Scalar(number) => format!("the number {number}"),
            Value::Array(_) => "an array".to_owned(),
            Value::Table(_) => "a table".to_owned(),
        }
    }
}

/// A syntax error as a problem. The parser's message may run over several lines; the first says it.
pub(super) fn syntax_problem(error: &toml::de::Error, source: usize) -> Problem {
    let place = error.span().map(|span| Place { source, span });
    Problem::error("", format!("this is not TOML: {}", error.message().lines().next().unwrap_or("syntax error"))).at(place)
}

/// A URL without quotes, alone on its line: shells take the quotes out of here-documents that write such a file
/// (`${REDIS:+url = "$REDIS"}`), and there is only one way to read what is left. Anything else without quotes is an
/// error, because it may be a misspelt `true` or a half-written table.
fn unquoted_url(error: &toml::de::Error, text: &str) -> Option<Problem> {
    let span = error.span().filter(|_| error.message().starts_with("string values must be quoted"))?;
    let rest_of_line = text.get(span.end..)?.lines().next().unwrap_or_default();
    let value = text.get(span.clone())?;
    let is_url = value.contains("://") && !value.contains(char::is_whitespace) && rest_of_line.trim().is_empty();
    let problem = Problem::warning("", "a URL without quotes").help("write it in quotes: url = \"…\"");
    is_url.then(|| problem.at(Some(Place { source: 0, span })))
}

fn members(table: &DeTable<'_>, source: usize) -> BTreeMap<String, Node> {
    table
        .iter()
        .map(|(key, value)| {
            let place = Place { source, span: key.span() };
            (key.get_ref().to_string(), Node { key: Some(place), ..node(value.get_ref(), value.span(), source) })
        })
        .collect()
}

/// Converts a parsed TOML value that was written at `span` of text number `source`.
pub(super) fn node(value: &DeValue<'_>, span: std::ops::Range<usize>, source: usize) -> Node {
    let value = match value {
        DeValue::String(text) => Value::Scalar(text.to_string().into()),
        DeValue::Boolean(value) => Value::Scalar((*value).into()),
        DeValue::Datetime(date) => Value::Scalar(date.to_string().into()),
        DeValue::Integer(digits) => Value::Scalar(integer(digits.as_str(), digits.radix())),
        DeValue::Float(digits) => {
            let number = digits.as_str().parse().ok().and_then(Number::from_f64);
            Value::Scalar(number.map_or_else(|| digits.as_str().into(), serde_json::Value::Number))
        }
        DeValue::Array(elements) => {
            Value::Array(elements.iter().map(|element| node(element.get_ref(), element.span(), source)).collect())
        }
        DeValue::Table(table) => Value::Table(members(table, source)),
    };
    Node { key: None, place: Place { source, span }, value }
}

/// No key takes a number beyond 64 bits: such a one stays text, which the schema then refuses.
fn integer(digits: &str, radix: u32) -> serde_json::Value {
    let signed = i64::from_str_radix(digits, radix).map(serde_json::Value::from);
    signed.or_else(|_| u64::from_str_radix(digits, radix).map(Into::into)).unwrap_or_else(|_| digits.into())
}

#[cfg(test)]
mod tests {
    use super::super::problem::Severity;
    use super::*;

    const TEXT: &str = "[auth]\nprefix = \"/auth\"\nn = 0x1F\n[[routes]]\npath = '/a'\n[[routes]]\npath = '/b'\n";

    fn text_at(document: &Document, place: Option<Place>) -> &str {
        &document.sources[0].text[place.expect("a place").span]
    }

    #[test]
    fn every_value_knows_where_it_was_written() {
        let (document, problems) = Document::parse("gateway.toml", TEXT);
        assert!(problems.is_empty());
        let path = Path::root().key("routes").index(1).key("path");
        assert_eq!(text_at(&document, document.place(&path)), "'/b'");
        assert_eq!(text_at(&document, document.key_place(&path)), "path");
        assert_eq!(document.to_json()["auth"]["n"], 31);
    }

    #[test]
    fn what_was_not_written_is_pointed_at_by_the_table_around_it() {
        let (document, _) = Document::parse("gateway.toml", TEXT);
        assert_eq!(text_at(&document, document.place(&Path::root().key("auth").key("issuer"))), "[auth]");
        assert_eq!(text_at(&document, document.place(&Path::root().key("routes").index(0).key("host"))), "[[routes]]");
        assert_eq!(document.place(&Path::root().key("store").key("url")), None);
    }

    #[test]
    fn a_url_without_quotes_is_read_with_a_warning_and_nothing_else_is() {
        let (document, problems) = Document::parse("gateway.toml", "url = redis://127.0.0.1:6379\nb = 1\n");
        assert_eq!(document.to_json(), serde_json::json!({"url": "redis://127.0.0.1:6379", "b": 1}));
        assert_eq!(problems.iter().map(|problem| problem.severity).collect::<Vec<_>>(), [Severity::Warning]);
        for text in ["url = redis:6379\n", "url = redis://a b\n", "on = yes\n", "url = redis://a#b\n", "a = [redis://a]\n"] {
            let (_, problems) = Document::parse("gateway.toml", text);
            assert!(problems.iter().any(|problem| problem.severity == Severity::Error), "{text}");
        }
    }

    #[test]
    fn every_syntax_error_is_found_and_the_rest_is_understood() {
        let (document, problems) = Document::parse("gateway.toml", "a = \nb = 1\nc = [1,\nd = 'x\n");
        assert!(problems.len() >= 2, "{problems:?}");
        assert_eq!(document.to_json()["b"], 1);
    }
}
