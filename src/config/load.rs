//! From a path to a [`Config`], or to the report of everything that is wrong with it.

use std::path::{Path as FilePath, PathBuf};

use super::document::{Document, Value};
use super::place::{Path, Place};
use super::problem::{Problem, Report, Severity, SourceText};
use super::secret::Environment;
use super::{Config, overrides, schema, validate};

/// The reference configuration: every key, its default, and why one would change it. It can be run as it is.
pub const EXAMPLE: &str = include_str!("../../gateway.toml");

/// Where a configuration comes from.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// `key=value`, each over the file and the environment.
    pub sets: Vec<String>,
    /// For `PORTCULLIS__…` and `{ env = "…" }`.
    pub environment: Environment,
    /// Where relative paths live; `data` beside the file unless set.
    pub data_dir: Option<PathBuf>,
}

impl Source {
    /// Where relative paths live.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        let beside = || self.path.parent().unwrap_or(FilePath::new("")).join("data");
        self.data_dir.clone().unwrap_or_else(beside)
    }
}

/// Reads, overrides and checks a configuration.
///
/// # Errors
/// Every problem at once. What is only to be looked at is in [`Config::warnings`].
pub fn load(source: &Source) -> Result<Config, Report> {
    match std::fs::read_to_string(&source.path) {
        Ok(text) => read(&text, source),
        Err(error) => {
            let problem = Problem::error("", format!("cannot read {}: {error}", source.path.display()));
            let help = "name the file with --config, or begin with `portcullis config default > gateway.toml`";
            Err(Report::new(vec![problem.help(help)], Vec::new(), &[]))
        }
    }
}

/// [`load`] with the text in hand.
pub(super) fn read(text: &str, source: &Source) -> Result<Config, Report> {
    let (mut document, mut problems) = Document::parse(&source.path.display().to_string(), text);
    // What a syntax error hides would be reported as missing: one thing at a time.
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(report(problems, document));
    }
    problems.extend(overrides::apply(&mut document, &source.environment, &source.sets));
    let (file, structural) = schema::read(&document);
    problems.extend(structural);
    let (config, semantic) = validate::validate(&document, &file, &source.environment, &source.data_dir());
    problems.extend(semantic);
    let report = report(problems, document);
    if report.refuses() { Err(report) } else { Ok(Config { warnings: report, written: std::sync::Arc::new(file), ..config }) }
}

fn report(problems: Vec<Problem>, document: Document) -> Report {
    let mut secrets: Vec<_> =
        document.sources.iter().enumerate().flat_map(|(index, source)| credentials(index, source)).collect();
    for keys in [&["store", "url"][..], &["revocation", "url"], &["auth", "mail", "url"]] {
        let node = document.get(&keys.iter().fold(Path::root(), |path, key| path.key(key)));
        // A URL has its credentials blotted out above and may show the rest; anything else is shown not at all.
        if let Some(node) = node
            && let Value::Scalar(serde_json::Value::String(text)) = &node.value
            && !text.contains("://")
            && !text.starts_with("sqlite:")
        {
            secrets.push(node.place.clone());
        }
    }
    Report::new(problems, document.sources, &secrets)
}

/// Everything between `://` and `@`, wherever it stands: also where a mistake hides what key it belongs to.
fn credentials(source: usize, text: &SourceText) -> impl Iterator<Item = Place> {
    text.text.match_indices("://").filter_map(move |(start, scheme_end)| {
        let start = start + scheme_end.len();
        let line = text.text[start..].lines().next().unwrap_or_default();
        // Up to the last `@` in front of white space or a quote: passwords may contain `@`, badly written ones do.
        let word = line.split([' ', '\t', '"', '\'']).next().unwrap_or_default();
        word.rfind('@').map(|end| Place { source, span: start..start + end })
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
