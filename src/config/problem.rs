//! What is wrong with a configuration, said so that one can repair it: file, line, caret, what to write instead.

use std::fmt;
use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::place::Place;

/// Whether a configuration can be used in spite of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// It is used, and somebody should look at it.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Whether the configuration is refused for it.
    pub severity: Severity,
    /// The key, like `routes[2].path`; empty for the file as a whole.
    pub path: String,
    /// What is wrong, with the offending value unless it may be secret.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    pub(super) place: Option<Place>,
    pub(super) label: Option<String>,
    pub(super) related: Option<(Place, String)>,
}

impl Problem {
    /// An error about the value called `path`.
    pub fn error(path: impl fmt::Display, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            path: path.to_string(),
            message: message.into(),
            help: None,
            place: None,
            label: None,
            related: None,
        }
    }

    /// The same as a warning.
    pub fn warning(path: impl fmt::Display, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(path, message) }
    }

    /// Says what to write instead.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Points at the text.
    pub(super) fn at(mut self, place: Option<Place>) -> Self {
        self.place = place;
        self
    }

    /// Says a few words beside the caret.
    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Points at a second place that explains the first.
    pub(super) fn related(mut self, place: Option<Place>, label: impl Into<String>) -> Self {
        self.related = place.map(|place| (place, label.into()));
        self
    }
}

/// A text that problems point into.
#[derive(Debug, Clone)]
pub struct SourceText {
    /// The file's path as it was given, `--set` or `environment`.
    pub name: String,
    /// The text, with the credentials of secret values blotted out.
    pub text: String,
}

/// All problems of one configuration, errors first and then in the order of the text.
#[derive(Debug, Clone, Default)]
pub struct Report {
    problems: Vec<Problem>,
    sources: Vec<SourceText>,
}

impl Report {
    /// `secrets` are the spans of credentials: they are blotted out of every snippet.
    pub(super) fn new(mut problems: Vec<Problem>, mut sources: Vec<SourceText>, secrets: &[Place]) -> Self {
        problems.sort_by_key(|problem| {
            let place = problem.place.as_ref().map(|place| (place.source, place.span.start));
            (problem.severity != Severity::Error, place)
        });
        for secret in secrets {
            if let Some(source) = sources.get_mut(secret.source) {
                source.text = blotted(&source.text, &secret.span);
            }
        }
        Self { problems, sources }
    }

    /// The same report with one more error, about something that the file only names: it has no place in the text.
    #[must_use]
    pub fn with_error(self, path: &str, message: String) -> Self {
        self.with(Problem::error(path, message))
    }

    /// The same with one more problem, first.
    #[must_use]
    pub fn with(mut self, problem: Problem) -> Self {
        self.problems.insert(0, problem);
        self
    }

    /// The same report with one more error.
    pub(super) fn with_problem(mut self, problem: Problem) -> Self {
        let errors = self.problems.iter().take_while(|problem| problem.severity == Severity::Error).count();
        self.problems.insert(errors, problem);
        self
    }

    /// Every problem.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// Whether the configuration must be refused.
    #[must_use]
    pub fn refuses(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Where a problem is, as `gateway.toml:12:8` (line and column from 1), if it is anywhere.
    #[must_use]
    pub fn location(&self, problem: &Problem) -> Option<String> {
        let place = problem.place.as_ref()?;
        let source = self.sources.get(place.source)?;
        let before = &source.text[..source.text.floor_char_boundary(place.span.start)];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |text| text.chars().count()) + 1;
        Some(format!("{}:{line}:{column}", source.name))
    }

    /// The report for people, in colour if the terminal shows any.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled().decor_style(DecorStyle::Unicode) } else { Renderer::plain() };
        let mut text = String::new();
        for problem in &self.problems {
            text.push_str(&self.render_one(problem, &renderer));
            text.push_str("\n\n");
        }
        text.push_str(&self.summary());
        text
    }

    fn summary(&self) -> String {
        let errors = self.problems.iter().filter(|problem| problem.severity == Severity::Error).count();
        let warnings = self.problems.len() - errors;
        let count = |n: usize, noun: &str| format!("{n} {noun}{}", if n == 1 { "" } else { "s" });
        match (errors, warnings) {
            (0, warnings) => count(warnings, "warning"),
            (errors, 0) => count(errors, "error"),
            (errors, warnings) => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
        }
    }

    fn render_one(&self, problem: &Problem, renderer: &Renderer) -> String {
        let level = match problem.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = match problem.path.as_str() {
            "" => problem.message.clone(),
            path => format!("{path}: {}", problem.message),
        };
        let mut group = Group::with_title(level.primary_title(title));
        if let Some(place) = &problem.place
            && let Some(source) = self.sources.get(place.source)
        {
            let mut primary = AnnotationKind::Primary.span(within(&source.text, &place.span));
            if let Some(label) = &problem.label {
                primary = primary.label(label.as_str());
            }
            let mut snippet = Snippet::source(source.text.as_str()).path(source.name.as_str()).annotation(primary);
            let related = problem.related.as_ref().filter(|(other, _)| other.source == place.source);
            if let Some((other, label)) = related {
                let span = within(&source.text, &other.span);
                snippet = snippet.annotation(AnnotationKind::Context.span(span).label(label.as_str()));
            }
            group = group.element(snippet);
        }
        if let Some(help) = &problem.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        renderer.render(&[group])
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Report {}

/// A span that the renderer can draw: on character boundaries, inside the text, on its first line only. A table's
/// span can cover many lines, and a caret under its first one says enough.
fn within(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(span.start);
    let end = text.ceil_char_boundary(span.end).max(start);
    let line_end = text[start..end].find('\n').map_or(end, |offset| start + offset);
    start..line_end
}

/// The text with every character of `span` replaced by as many `*` as it has bytes, so that other spans still fit.
fn blotted(text: &str, span: &Range<usize>) -> String {
    let span = text.floor_char_boundary(span.start)..text.ceil_char_boundary(span.end);
    let mut blotted = text.to_owned();
    blotted.replace_range(span.clone(), &"*".repeat(span.len()));
    blotted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(problem: Problem, text: &str, secrets: &[Place]) -> Report {
        Report::new(vec![problem], vec![SourceText { name: "gateway.toml".to_owned(), text: text.to_owned() }], secrets)
    }

    #[test]
    fn a_report_shows_file_line_caret_and_what_to_write_instead() {
        let problem = Problem::error("auth.acess_token", "unknown key")
            .at(Some(Place { source: 0, span: 7..18 }))
            .label("did you mean `access_token`?")
            .help("write access_token");
        let text = report(problem, "[auth]\nacess_token = 5\n", &[]).render(false);
        for part in [
            "error: auth.acess_token: unknown key",
            "gateway.toml:2:1",
            "^^^^^^^^^^^ did you mean",
            "help: write access_token",
            "1 error",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
    }

    #[test]
    fn credentials_are_blotted_out_of_snippets() {
        let text = "url = \"postgres://ada:hünter2@db/p\"\n";
        let start = text.find("ada").expect("present");
        let secret = Place { source: 0, span: start..start + "ada:hünter2".len() };
        let problem = Problem::error("store.url", "no").at(Some(Place { source: 0, span: 6..text.len() - 1 }));
        let rendered = report(problem, text, &[secret]).render(false);
        assert!(!rendered.contains("nter2") && rendered.contains("@db/p"), "{rendered}");
    }

    #[test]
    fn errors_come_before_warnings_and_then_in_the_order_of_the_text() {
        let at = |start: usize| Some(Place { source: 0, span: start..start + 1 });
        let problems = vec![
            Problem::warning("a", "first in the text").at(at(0)),
            Problem::error("c", "last").at(at(4)),
            Problem::error("b", "second").at(at(2)),
        ];
        let report = Report::new(problems, vec![SourceText { name: String::new(), text: "a\nb\nc\n".to_owned() }], &[]);
        let order: Vec<_> = report.problems().iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(order, ["b", "c", "a"]);
        assert_eq!(report.summary(), "2 errors, 1 warning");
    }
}
