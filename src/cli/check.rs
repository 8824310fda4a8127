//! `portcullis check`: everything that is wrong, at once, `[[tests]]` that fail among it, without starting or creating anything.

use clap::Args;
use serde::Serialize;

use super::failure::Failure;
use super::output::{self, Format};
use crate::app;
use crate::config::problem::{Problem, Severity};
use crate::config::{Config, Report, Source};

const AFTER_HELP: &str = "\
Connects to nothing: whether the database and Redis answer is seen by running the gateway and asking /readyz.

Examples:
  portcullis check --config gateway.toml
  portcullis check --json | jq -r '.[] | \"\\(.location) \\(.message)\"'

Exits with 64 if the configuration is refused, with 0 if it is not, also when there are warnings.";

/// What `check` takes.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Check {
    #[command(flatten)]
    format: Format,
}

/// A problem for programs.
#[derive(Debug, Serialize)]
struct ProblemJson<'a> {
    severity: &'static str,
    key: &'a str,
    message: &'a str,
    help: Option<&'a str>,
    /// `file:line:column`, both from 1.
    location: Option<String>,
}

impl Check {
    pub(super) fn run(self, source: &Source) -> Result<(), Failure> {
        let inspected = app::inspect(source);
        let report = match &inspected {
            Ok(config) => &config.warnings,
            Err(report) => report,
        };
        if self.format.json {
            output::print_json(&problems(report))?;
            return inspected.map(drop).map_err(|_| Failure::RefusedAsPrinted);
        }
        let config = inspected?;
        if !config.warnings.is_empty() {
            eprintln!("{}", config.warnings.render(output::in_colour(&std::io::stderr(), &source.environment)));
        }
        output::print(&format!("{} is valid: {}", source.path.display(), summary(&config)))
    }
}

fn problems<'a>(report: &'a Report) -> Vec<ProblemJson<'a>> {
    let json = |problem: &'a Problem| {
        let Problem { severity, path, message, help, .. } = problem;
        let severity = match severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        ProblemJson { severity, key: path, message, help: help.as_deref(), location: report.location(problem) }
    };
    report.problems().iter().map(json).collect()
}

fn summary(config: &Config) -> String {
    let mut parts = vec![
        output::count(config.routes.len(), "route"),
        output::count(config.upstreams.len(), "upstream"),
        match &config.revocation {
            Some(_) => "revocations in Redis".to_owned(),
            None => "revocations in memory and SQL".to_owned(),
        },
    ];
    match config.tests.len() {
        0 => {}
        tests => parts.push(format!("{} passed", output::count(tests, "test"))),
    }
    match config.warnings.problems().len() {
        0 => {}
        warnings => parts.push(output::count(warnings, "warning")),
    }
    parts.join(", ")
}
