//! From what is written to what is meant: every value is read, compared with the others, and every problem is
//! collected. A value with a problem is replaced by a harmless one so that the rest can still be checked; a
//! [`Config`] leaves this module only if nothing refuses it.

mod acme;
mod auth;
mod dialects;
mod filters;
mod headers;
mod issuers;
mod listeners;
mod mail;
mod redis_servers;
mod routes;
mod server;
mod store;
mod trials;
mod upstreams;

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use super::document::Document;
use super::file::{File, LogFormat, LogLevel};
use super::place::Path;
use super::problem::Problem;
use super::secret::Environment;
use super::units::{DurationText, SizeText};
use super::{Config, Report, Telemetry};

/// What reading the values needs, and the problems found so far.
pub(super) struct Check<'a> {
    document: &'a Document,
    environment: &'a Environment,
    data_dir: &'a FilePath,
    problems: Vec<Problem>,
}

/// Checks what the values mean. The configuration is only usable if no problem is an error.
pub(super) fn validate(
    document: &Document,
    file: &File,
    environment: &Environment,
    data_dir: &FilePath,
) -> (Config, Vec<Problem>) {
    let mut check = Check { document, environment, data_dir, problems: Vec::new() };
    let root = Path::root();
    let server = server::server(&mut check, &root.key("server"), &file.server);
    let auth = auth::auth(&mut check, &root.key("auth"), &file.auth);
    let store = store::store(&mut check, &root.key("store"), &file.store);
    let revocation = store::revocation(&mut check, &root.key("revocation"), &file.revocation);
    store::replicas(&mut check, &store, &file.revocation);
    let upstreams = upstreams::upstreams(&mut check, &root.key("upstreams"), &file.upstreams);
    upstreams::no_loops(&mut check, &root.key("upstreams"), &file.upstreams, &server);
    let identity_headers = headers::identity_headers(&mut check, &root.key("identity_headers"), &file.identity_headers);
    let defaults = routes::Defaults {
        body_bytes_max: server.limits.body_bytes_max,
        pass_token: file.identity_headers.pass_token,
        auth_prefix: &auth.prefix,
        self_assigned_roles: &auth.self_assigned_roles,
        around: filters::Around { reserved: filters::reserved(&file.identity_headers), has_redis: revocation.is_some() },
    };
    let routes = routes::routes(&mut check, &root.key("routes"), &file.routes, &defaults);
    routes::unused_upstreams(&mut check, &root.key("upstreams"), &file.routes);
    let around = dialects::Surroundings { auth: &auth, server: &server, routes: &routes };
    let dialects = dialects::dialects(&mut check, &root.key("dialects"), &file.dialects, &around);
    let issuers = issuers::issuers(&mut check, &root.key("issuers"), &file.issuers, &auth);
    let telemetry = telemetry(&file.telemetry);
    let data_dir = data_dir.to_owned();
    let warnings = Report::default();
    let config = Config {
        server,
        auth,
        store,
        revocation,
        upstreams,
        routes,
        dialects,
        issuers,
        tests: Vec::new(),
        identity_headers,
        telemetry,
        data_dir,
        warnings,
        written: Arc::default(),
    };
    let tests = trials::trials(&mut check, &root.key("tests"), &file.tests, &config);
    (Config { tests, ..config }, check.problems)
}

fn telemetry(file: &super::file::Telemetry) -> Telemetry {
    use tracing::level_filters::LevelFilter;
    let level = match file.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    Telemetry { json: file.format == LogFormat::Json, level, access_log: file.access_log }
}

impl Check<'_> {
    /// Reports that the configuration must be refused for the value at `path`.
    fn refuse(&mut self, path: &Path, message: impl Into<String>, help: impl Into<String>) {
        let problem = Problem::error(path, message).at(self.document.place(path)).help(help);
        self.problems.push(problem);
    }

    /// Reports that somebody should look at the value at `path`.
    fn warn(&mut self, path: &Path, message: impl Into<String>, help: impl Into<String>) {
        let problem = Problem::warning(path, message).at(self.document.place(path)).help(help);
        self.problems.push(problem);
    }

    /// Whether something was reported about the value at `path`.
    fn has_problem(&self, path: &Path) -> bool {
        let path = path.to_string();
        self.problems.iter().any(|problem| problem.path == path)
    }

    /// Reports that two values do not go together.
    fn clash(&mut self, path: &Path, message: impl Into<String>, other: &Path, label: &str, help: &str) {
        let other = self.document.place(other);
        let problem = Problem::error(path, message).at(self.document.place(path)).related(other, label).help(help);
        self.problems.push(problem);
    }

    /// The value of a result whose error says what is wrong and what to write.
    fn parsed<T, E: Display>(&mut self, path: &Path, result: Result<T, E>, help: &str) -> Option<T> {
        result.map_err(|error| self.refuse(path, error.to_string(), help)).ok()
    }

    /// A duration within bounds; zero if it is not.
    fn duration(&mut self, path: &Path, text: &DurationText, bounds: RangeInclusive<Duration>) -> Duration {
        let between = || {
            let (least, most) = (humantime::format_duration(*bounds.start()), humantime::format_duration(*bounds.end()));
            format!("write a duration from {least} to {most}, like \"15m\" (units: ms, s, m, h, d)")
        };
        match text.value() {
            Some(duration) if bounds.contains(&duration) => return duration,
            Some(_) => self.refuse(path, format!("{:?} is out of bounds", text.0), between()),
            None => self.refuse(path, format!("{:?} is not a duration", text.0), between()),
        }
        Duration::ZERO
    }

    /// A size within bounds, in bytes; zero if it is not.
    fn size(&mut self, path: &Path, text: &SizeText, bounds: RangeInclusive<u64>) -> u64 {
        let between = || {
            let shown = |bytes: u64| bytesize::ByteSize::b(bytes).to_string();
            format!("write a size from {} to {}, like \"64KiB\"", shown(*bounds.start()), shown(*bounds.end()))
        };
        match text.value() {
            Some(size) if bounds.contains(&size) => return size,
            Some(_) => self.refuse(path, format!("{:?} is out of bounds", text.0), between()),
            None => self.refuse(path, format!("{:?} is not a size", text.0), between()),
        }
        0
    }
}

/// Bounds that more than one section uses.
const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
