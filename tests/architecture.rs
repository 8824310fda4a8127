//! The borders inside the crate, checked: who may import whom, which outside crates are spoken where, that every
//! file says what it is for, and that time is read in one place.
//!
//! The tables below are the ones in ARCHITECTURE.md. A module that needs something new changes the table, and the
//! reviewer sees it; nothing in the code that is judged can switch a rule off.

#[path = "architecture/scan.rs"]
mod scan;

use std::fmt::Write as _;
use std::path::Path;

use scan::{File, Reference};

/// Module → the modules that it may import besides its own parts.
///
/// The longest name that fits a module is its row. `store` means all of it, `store!` only what has no row of its
/// own: the traits and their types, not the adapters.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    // rank 0
    ("clock", &[]),
    ("limit", &[]),
    ("reason", &[]),
    ("client_addr", &[]),
    ("telemetry", &["reason"]),
    ("outbound", &[]),
    ("identity", &[]),
    // rank 1
    ("policy", &["identity"]),
    ("store", &["identity", "limit"]),
    // rank 2
    ("store::sql", &["identity", "store!", "telemetry"]),
    ("store::redis", &["identity", "store!", "telemetry", "clock", "limit"]),
    ("store::memory", &["identity", "store!", "telemetry"]),
    ("store::key_file", &["identity", "store!", "clock"]),
    ("revocation", &["identity", "store!", "clock", "telemetry"]),
    // Letters wait as stores are waited for.
    ("mail", &["identity", "store::backoff", "clock", "telemetry"]),
    ("issuers", &["identity", "outbound", "clock", "telemetry"]),
    // A link with a token in it looks the same in our mail and in a dialect's.
    ("auth", &["identity", "store!", "revocation", "mail", "issuers", "clock", "limit", "reason", "dialect::Link"]),
    ("tls", &[]),
    // What is ordered is shown by `tls`, and shared by replicas in the store.
    ("acme", &["store!", "tls", "outbound", "clock", "telemetry"]),
    ("forwarding", &["identity", "policy", "client_addr", "reason"]),
    ("dialect", &["identity", "policy", "limit", "reason"]),
    // The checks of the language are the language's; the file only says where a fault is written.
    ("config", &["identity", "policy", "dialect", "mail", "limit", "client_addr", "reason"]),
    // rank 3
    ("admission", &["identity", "policy", "auth", "store!", "limit", "client_addr", "clock", "reason"]),
    // One rule says what a bearer token looks like, in whichever head it comes.
    ("api", &["identity", "auth", "dialect", "client_addr", "reason", "policy::bearer"]),
    // rank 4
    (
        "proxy",
        &[
            "identity",
            "admission",
            "api",
            "forwarding",
            "dialect",
            "policy",
            // What admitted a request ends it, too.
            "revocation::streams",
            "limit",
            "client_addr",
            "tls",
            "acme",
            "telemetry",
            "clock",
            "reason",
        ],
    ),
    ("admin", &["telemetry", "store!", "revocation", "admission", "reason"]),
    // rank 5
    ("app", &["*"]),
    ("cli", &["*"]),
    ("main", &["*"]),
    ("lib", &["*"]),
];

/// Outside crate → the modules that may speak it.
const SPOKEN_ONLY_IN: &[(&str, &[&str])] = &[
    ("pingora", &["proxy", "app"]),
    ("pingora_timeout", &["proxy"]),
    ("h2", &["proxy::http2"]),
    ("tokio_rustls", &["proxy"]),
    ("x509_parser", &["tls"]),
    ("ppp", &["proxy"]),
    ("sea_orm", &["store::sql"]),
    ("sea_orm_migration", &["store::sql"]),
    ("redis", &["store::redis"]),
    ("axum", &["api", "admin", "app", "proxy::api_calls"]),
    ("prometheus", &["telemetry"]),
    ("reqwest", &["outbound", "issuers", "acme"]),
    ("webpki_roots", &["outbound"]),
    ("instant_acme", &["acme"]),
    ("rcgen", &["acme"]),
    ("lettre", &["mail"]),
    ("minijinja", &["mail"]),
    ("jsonwebtoken", &["identity"]),
    ("anyhow", &["app", "cli", "main"]),
    ("indicatif", &["cli"]),
];

/// What reads the present. Everyone but `clock` takes it as an argument. A method call `.elapsed()` is noted as
/// `Instant::elapsed`.
const CLOCK_READS: &[&str] =
    &["SystemTime::now", "Instant::now", "Instant::elapsed", "Timestamp::now", "Zoned::now", "Utc::now", "Local::now"];

/// Every rule that `file` breaks, one line each, with file and line.
fn judge(file: &File) -> Vec<String> {
    let mut broken = Vec::new();
    if !file.has_doc {
        broken.push(format!("{}:1: no `//!` comment says what the file is for", file.path));
    }
    for reference in &file.references {
        let clock = reads_clock(reference).filter(|_| !is_within(&file.module, "clock"));
        let found = [
            clock.map(|read| format!("{read} outside clock; take a Clock or an instant")),
            (!reference.in_test).then(|| forbidden_import(file, reference)).flatten(),
            (!reference.in_test).then(|| forbidden_crate(file, reference)).flatten(),
        ];
        broken.extend(found.into_iter().flatten().map(|what| format!("{}:{}: {what}", file.path, reference.line)));
    }
    broken
}

fn forbidden_import(file: &File, reference: &Reference) -> Option<String> {
    let imported = reference.crate_path()?;
    (!may_import(&file.module, &imported)).then(|| format!("{} may not import {imported}", file.module))
}

fn forbidden_crate(file: &File, reference: &Reference) -> Option<String> {
    let (name, homes) = SPOKEN_ONLY_IN.iter().find(|(name, _)| reference.is_outside(name))?;
    let at_home = homes.iter().any(|home| is_within(&file.module, home));
    (!at_home).then(|| format!("{} may not use the crate {name}, only {} may", file.module, homes.join(" and ")))
}

fn may_import(importer: &str, imported: &str) -> bool {
    let Some((home, allowed)) = row(importer) else { return false };
    let own_part = row(imported).is_some_and(|(name, _)| name == home) || is_within(imported, importer);
    own_part || allowed.iter().any(|entry| allows(entry, imported))
}

fn allows(entry: &str, imported: &str) -> bool {
    match entry.strip_suffix('!') {
        Some(without_parts) => row(imported).is_some_and(|(name, _)| name == without_parts),
        None => entry == "*" || is_within(imported, entry),
    }
}

/// The row of the longest name that `module` lies in.
fn row(module: &str) -> Option<(&'static str, &'static [&'static str])> {
    let rows = MAY_IMPORT.iter().filter(|(name, _)| is_within(module, name));
    rows.max_by_key(|(name, _)| name.len()).copied()
}

fn is_within(module: &str, ancestor: &str) -> bool {
    module.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn reads_clock(reference: &Reference) -> Option<&'static str> {
    CLOCK_READS.iter().copied().find(|read| reference.ends_with(read))
}

fn source() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn judge_tree(source: &Path) -> Vec<String> {
    scan::tree(source).iter().flat_map(judge).collect()
}

#[test]
fn every_file_keeps_to_the_architecture() {
    let broken = judge_tree(&source());
    let list = broken.iter().fold(String::new(), |mut list, line| {
        let _ = writeln!(list, "  {line}");
        list
    });
    assert!(broken.is_empty(), "the architecture is broken in {} places:\n{list}", broken.len());
}

#[test]
fn every_module_of_the_crate_has_a_row() {
    let files = scan::tree(&source());
    let without: Vec<_> = files.iter().filter(|file| row(&file.module).is_none()).map(|file| &file.path).collect();
    assert!(without.is_empty(), "no row of the import table covers {without:?}");
}

/// Judges a tree that holds one file, and compares the lines that are found wrong.
#[track_caller]
fn assert_found(path: &str, text: &str, expected: &[&str]) {
    let tree = tempfile::tempdir().expect("a temporary directory");
    let file = tree.path().join(path);
    std::fs::create_dir_all(file.parent().expect("a file lies in a directory")).expect("a directory is made");
    std::fs::write(&file, text).expect("the file is written");
    assert_eq!(judge_tree(tree.path()), expected);
}

#[test]
fn an_import_against_the_table_is_found_with_file_and_line() {
    let text = "//! Doc.\nuse http::Method;\nuse crate::store::Users;\n";
    assert_found("policy/route.rs", text, &["src/policy/route.rs:3: policy::route may not import store::Users"]);
}

#[test]
fn an_import_that_the_table_allows_is_not_reported() {
    let text = "//! Doc.\nuse crate::identity::user::Role;\nuse super::path::PathPrefix;\n";
    assert_found("policy/route.rs", text, &[]);
}

#[test]
fn imports_are_found_however_they_are_written() {
    let text = r#"//! Doc.
use crate::{
    identity::Caller,
    store::{self as memory, sql::{SqlStore as Rows}},
};
use crate::auth::*;
fn f() {
    let _ = crate::config::load();
    tracing::info!("{}", crate::telemetry::metrics::CONTENT_TYPE);
}
fn g(_: super::super::api::Problem) {}
pub(in crate::policy) fn h() {}
"#;
    let expected = [
        "src/policy/access.rs:4: policy::access may not import store",
        "src/policy/access.rs:4: policy::access may not import store::sql::SqlStore",
        "src/policy/access.rs:6: policy::access may not import auth",
        "src/policy/access.rs:8: policy::access may not import config::load",
        "src/policy/access.rs:9: policy::access may not import telemetry::metrics::CONTENT_TYPE",
        "src/policy/access.rs:11: policy::access may not import api::Problem",
    ];
    assert_found("policy/access.rs", text, &expected);
}

#[test]
fn test_modules_may_import_anything_but_may_not_read_the_clock() {
    let text = "//! Doc.
#[cfg(test)]
mod tests {
    use crate::store::memory::MemorySet;
    fn now() { std::time::Instant::now(); }
}
";
    let expected = ["src/policy/mod.rs:5: Instant::now outside clock; take a Clock or an instant"];
    assert_found("policy/mod.rs", text, &expected);
}

#[test]
fn files_of_test_modules_are_tests() {
    let tree = tempfile::tempdir().expect("a temporary directory");
    let write = |path: &str, text: &str| {
        let file = tree.path().join(path);
        std::fs::create_dir_all(file.parent().expect("a file lies in a directory")).expect("a directory is made");
        std::fs::write(file, text).expect("the file is written");
    };
    let import = "//! Doc.\nuse crate::store::memory::MemorySet;\n";
    write("policy/mod.rs", "//! Doc.\n#[cfg(test)]\nmod tests;\n");
    write("policy/tests.rs", import);
    write("policy/path.rs", "//! Doc.\n#[cfg(test)]\n#[path = \"path_tests.rs\"]\nmod tests;\nmod rules;\n");
    write("policy/path_tests.rs", import);
    write("policy/path/rules.rs", import);
    assert_eq!(
        judge_tree(tree.path()),
        ["src/policy/path/rules.rs:2: policy::path::rules may not import store::memory::MemorySet"]
    );
}

#[test]
fn whoever_may_import_the_traits_may_not_import_the_adapters() {
    let text = "//! Doc.\nuse crate::store::{Users, sql::SqlStore};\n";
    assert_found("auth/login.rs", text, &["src/auth/login.rs:2: auth::login may not import store::sql::SqlStore"]);

    let text = "//! Doc.\nuse crate::store::redis::RedisSet;\n";
    assert_found(
        "store/sql/users.rs",
        text,
        &["src/store/sql/users.rs:2: store::sql::users may not import store::redis::RedisSet"],
    );

    assert_found("store/redis/epoch.rs", "//! Doc.\nuse crate::store::StoreError;\nuse super::RedisSet;\n", &[]);
    assert_found("store/mod.rs", "//! Doc.\npub mod sql;\npub use self::sql::SqlStore;\n", &[]);
}

#[test]
fn a_crate_is_spoken_only_where_it_belongs() {
    let text = "//! Doc.\nuse pingora::proxy::Session;\nfn f() -> sea_orm::DbErr { g() }\n";
    let expected = [
        "src/api/login.rs:2: api::login may not use the crate pingora, only proxy and app may",
        "src/api/login.rs:3: api::login may not use the crate sea_orm, only store::sql may",
    ];
    assert_found("api/login.rs", text, &expected);
    assert_found("proxy/mod.rs", "//! Doc.\nuse pingora::proxy::Session;\n", &[]);
    assert_found("store/redis.rs", "//! Doc.\nuse ::redis::Client;\nuse redis::Cmd;\n", &[]);
    // A module of the same name is not the crate.
    assert_found("store/mod.rs", "//! Doc.\npub mod redis;\npub use redis::RedisSet;\n", &[]);
}

#[test]
fn time_is_read_only_in_the_clock() {
    let text = "//! Doc.\nuse std::time;\nfn f() { time::Instant::now();\n chrono::Utc::now();\n start.elapsed(); }\n";
    let expected = [
        "src/limit.rs:3: Instant::now outside clock; take a Clock or an instant",
        "src/limit.rs:4: Utc::now outside clock; take a Clock or an instant",
        "src/limit.rs:5: Instant::elapsed outside clock; take a Clock or an instant",
    ];
    assert_found("limit.rs", text, &expected);
    assert_found("clock.rs", text, &[]);
}

#[test]
fn a_file_without_a_doc_comment_is_found() {
    let text = "/// Not the file's.\npub struct Limit;\n";
    assert_found("limit.rs", text, &["src/limit.rs:1: no `//!` comment says what the file is for"]);
}
