//! The structural check: names and types, every problem at once, by the JSON Schema of the file's twin.
//!
//! Serde alone would stop at the first problem. The schema finds them all; what is wrong is then left out, and
//! serde reads the rest, so that `validate` can look for problems of meaning in the same run.

use std::sync::LazyLock;

use jsonschema::error::ValidationErrorKind;
use schemars::generate::SchemaSettings;
use serde_json::Value as Json;

use super::document::{Document, Node, Value};
use super::file::File;
use super::place::{Path, Step};
use super::problem::Problem;

static SCHEMA: LazyLock<Json> = LazyLock::new(|| {
    let mut schema = SchemaSettings::draft2020_12().for_deserialize().into_generator().into_root_schema_for::<File>().to_value();
    without_null(&mut schema);
    schema
});

static VALIDATOR: LazyLock<jsonschema::Validator> =
    LazyLock::new(|| jsonschema::validator_for(&SCHEMA).expect("the schema of our own types is a schema"));

/// The JSON Schema of `gateway.toml`, for editors.
#[must_use]
pub fn schema() -> &'static Json {
    &SCHEMA
}

/// Reads the document. What has a problem is as if it had not been written.
pub(super) fn read(document: &Document) -> (File, Vec<Problem>) {
    let mut json = document.to_json();
    let mut problems = Vec::new();
    let mut faulty = Vec::new();
    for error in VALIDATOR.iter_errors(&document.to_json()) {
        let path = path_of(document, error.instance_path().as_str());
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                for key in unexpected {
                    problems.push(unknown_key(document, &path, key));
                    faulty.push(path.key(key));
                }
            }
            ValidationErrorKind::Required { property } => {
                problems.push(missing_key(document, &path, property.as_str().unwrap_or_default()));
            }
            _ => {
                problems.push(wrong_value(document, &path));
                faulty.push(path);
            }
        }
    }
    for path in &faulty {
        prune(&mut json, &path.0);
    }
    let file = serde_json::from_value(json).unwrap_or_else(|error| {
        problems.push(Problem::error("", format!("cannot be understood: {error}")));
        File::default()
    });
    (file, problems)
}

/// Whether the key at `path` takes text where `scalar`, a number or truth value, was found: `--set` needs no
/// quotes, so `prefix=123` means the text.
pub(super) fn wants_text(path: &Path, scalar: &Json) -> bool {
    let kind = match scalar {
        Json::Bool(_) => "boolean",
        Json::Number(_) => "integer",
        _ => return false,
    };
    at(path).is_some_and(|schema| takes(schema, "string") && !takes(schema, kind))
}

/// Whether the key at `path` takes a list of texts.
pub(super) fn wants_list(path: &Path) -> bool {
    at(path).is_some_and(|schema| takes(schema, "array"))
        && at(&path.index(0)).is_some_and(|schema| !choices(schema).is_empty() || takes(schema, "string"))
}

/// The keys that the table at `path` may have, if it has fixed ones.
pub(super) fn keys(path: &Path) -> Vec<&'static str> {
    let properties = at(path).and_then(|schema| resolve(schema)["properties"].as_object());
    properties.map(|properties| properties.keys().map(String::as_str).collect()).unwrap_or_default()
}

fn unknown_key(document: &Document, table: &Path, key: &str) -> Problem {
    let path = table.key(key);
    let known = keys(table);
    let similar = closest(key, known.iter().copied());
    let mut problem = Problem::error(&path, "unknown key").at(document.key_place(&path));
    if let Some(similar) = similar {
        problem = problem.label(format!("did you mean `{similar}`?"));
    }
    let home = tables_with(key);
    let help = match (similar, home.as_slice()) {
        (Some(similar), _) => format!("write `{similar}`, or remove the line"),
        (None, []) => format!("known here: {}", known.join(", ")),
        (None, tables) => format!("`{key}` belongs to {}", tables.join(" or ")),
    };
    problem.help(help)
}

fn missing_key(document: &Document, table: &Path, key: &str) -> Problem {
    let expected = at(&table.key(key)).map(expected).unwrap_or_default();
    Problem::error(table.key(key), "is missing").at(document.place(table)).help(format!("add `{key} = …`: {expected}"))
}

fn wrong_value(document: &Document, path: &Path) -> Problem {
    let schema = at(path);
    let expected = schema.map(expected).unwrap_or_default();
    let node = document.get(path);
    let found = node.map_or_else(|| "nothing".to_owned(), Node::describe);
    let mut problem = Problem::error(path, format!("expected {expected}, found {found}")).at(document.place(path));
    let choices = schema.map(choices).unwrap_or_default();
    if let Some(Node { value: Value::Scalar(Json::String(text)), .. }) = node
        && let Some(similar) = closest(text, choices.iter().copied())
    {
        problem = problem.label(format!("did you mean \"{similar}\"?"));
    }
    if let Some(description) = schema.and_then(|schema| schema["description"].as_str()) {
        problem = problem.help(description.to_owned());
    }
    problem
}

/// What a value of this schema looks like, in words.
fn expected(schema: &Json) -> String {
    let choices = choices(schema);
    if !choices.is_empty() {
        let quoted: Vec<_> = choices.iter().map(|choice| format!("\"{choice}\"")).collect();
        return format!("one of {}", quoted.join(", "));
    }
    let resolved = resolve(schema);
    if let Some(variants) = resolved["anyOf"].as_array() {
        if variants.iter().any(|variant| variant["type"] == "array") {
            return "text in quotes, or an array of such".to_owned();
        }
        return "text, { env = \"NAME\" } or { file = \"PATH\" }".to_owned();
    }
    let bound = |name: &str| resolved[name].as_u64();
    match resolved["type"].as_str().unwrap_or_default() {
        "integer" => match (bound("minimum").unwrap_or(0), bound("maximum")) {
            (least, Some(most)) => format!("a whole number from {least} to {most}"),
            (least, None) => format!("a whole number, at least {least}"),
        },
        "boolean" => "true or false".to_owned(),
        "array" => format!("an array, each element {}", self::expected(&resolved["items"])),
        "string" => match resolved["examples"][0].as_str() {
            Some(example) => format!("text like \"{example}\""),
            None => "text in quotes".to_owned(),
        },
        _ => "a table".to_owned(),
    }
}

/// The texts that an enumeration allows; schemars writes one `const` per documented variant.
fn choices(schema: &Json) -> Vec<&str> {
    let resolved = resolve(schema);
    let listed = resolved["enum"].as_array().into_iter().flatten().filter_map(Json::as_str);
    let described = resolved["oneOf"].as_array().into_iter().flatten().flat_map(|variant| {
        let listed = variant["enum"].as_array().into_iter().flatten().filter_map(Json::as_str);
        listed.chain(variant["const"].as_str())
    });
    listed.chain(described).collect()
}

fn takes(schema: &Json, kind: &str) -> bool {
    let resolved = resolve(schema);
    resolved["type"] == kind
        || (kind == "string" && !choices(resolved).is_empty())
        || resolved["anyOf"].as_array().is_some_and(|variants| variants.iter().any(|variant| takes(variant, kind)))
}

/// The schema of the value at `path`; none where nothing is allowed.
fn at(path: &Path) -> Option<&'static Json> {
    path.0.iter().try_fold(&*SCHEMA, |schema, step| {
        let schema = resolve(schema);
        match step {
            Step::Index(_) => schema.get("items"),
            Step::Key(key) => {
                schema["properties"].get(key).or_else(|| schema.get("additionalProperties").filter(|other| other.is_object()))
            }
        }
    })
}

/// Follows `$ref`, keeping nothing of what stands beside it.
fn resolve(schema: &Json) -> &Json {
    match schema["$ref"].as_str().and_then(|reference| SCHEMA.pointer(reference.trim_start_matches('#'))) {
        Some(target) => target,
        None => schema,
    }
}

/// The tables at the top of the file that have this key, as one writes them: `[auth]`.
fn tables_with(key: &str) -> Vec<String> {
    let top = SCHEMA["properties"].as_object().into_iter().flatten();
    let has = |schema: &Json| resolve(schema)["properties"].get(key).is_some();
    top.filter_map(|(table, schema)| {
        let resolved = resolve(schema);
        match () {
            () if has(resolved) => Some(format!("[{table}]")),
            () if has(&resolved["items"]) => Some(format!("[[{table}]]")),
            () if has(&resolved["additionalProperties"]) => Some(format!("[{table}.NAME]")),
            () => None,
        }
    })
    .collect()
}

/// The candidate that a person may have meant. 0.8 takes `acces_tokn` for `access_token` but not `url` for `host`.
pub(super) fn closest<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = candidates.map(|candidate| (strsim::jaro_winkler(&text.to_lowercase(), &candidate.to_lowercase()), candidate));
    scored.filter(|(score, _)| *score > 0.8).max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, candidate)| candidate)
}

/// Removes the member at `steps`. A faulty element of an array takes its array with it, so that no other
/// element changes its index.
fn prune(json: &mut Json, steps: &[Step]) {
    let Some(member) = steps.iter().rposition(|step| matches!(step, Step::Key(_))) else { return };
    let holder = steps[..member].iter().try_fold(json, |json, step| match step {
        Step::Key(key) => json.get_mut(key),
        Step::Index(index) => json.get_mut(index),
    });
    if let (Some(Json::Object(members)), Step::Key(key)) = (holder, &steps[member]) {
        members.remove(key);
    }
}

/// A JSON pointer (RFC 6901) as a path; only the document knows whether `0` is an index or a key.
fn path_of(document: &Document, pointer: &str) -> Path {
    pointer.split('/').skip(1).fold(Path::root(), |path, segment| {
        let in_array = matches!(document.get(&path), Some(Node { value: Value::Array(_), .. }));
        match segment.parse() {
            Ok(index) if in_array => path.index(index),
            _ => path.key(&segment.replace("~1", "/").replace("~0", "~")),
        }
    })
}

/// TOML has no null: drops what schemars says about it for optional values.
fn without_null(schema: &mut Json) {
    match schema {
        Json::Array(elements) => elements.iter_mut().for_each(without_null),
        Json::Object(members) => {
            members.values_mut().for_each(without_null);
            if let Some(Json::Array(types)) = members.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    members.insert("type".to_owned(), only);
                }
            }
            if let Some(Json::Array(variants)) = members.get_mut("anyOf") {
                variants.retain(|variant| variant["type"] != "null");
                if let [Json::Object(only)] = variants.as_slice() {
                    let only = only.clone();
                    members.remove("anyOf");
                    members.extend(only);
                }
            }
            members.retain(|key, value| !(key == "default" && value.is_null()));
        }
        _ => {}
    }
}
