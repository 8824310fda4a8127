//! Documents that cannot rot: every configuration that we show is accepted by the gateway, every manifest parses, every
//! metric and every error code is documented, alerts name only metrics that exist, and proofs are tests that exist.

#[path = "documents/named_tests.rs"]
mod named_tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis::config::{self, Environment, Source};
use portcullis::reason::Reason;
use portcullis::telemetry::labels::{CheckMode, CheckVerdict, JwksState, LogoutEnd, Outcome};
use portcullis::telemetry::metrics::Metrics;
use serde::Deserialize as _;
use walkdir::WalkDir;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files under the folders that ship, and those at the top, whose names end with one of `ends`.
fn files(ends: &[&str]) -> Vec<PathBuf> {
    let top = WalkDir::new(root()).max_depth(1).into_iter();
    let folders = ["deploy", "docs", "examples"].into_iter().map(|folder| root().join(folder)).filter(|folder| folder.exists());
    let found = top.chain(folders.flat_map(WalkDir::new)).map(|entry| entry.expect("the tree is readable").into_path());
    let named = |path: &PathBuf| path.is_file() && ends.iter().any(|end| path.to_string_lossy().ends_with(end));
    found.filter(named).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The code blocks of a Markdown text that are marked as `language`, each with its first line's number.
fn code_blocks(text: &str, language: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        match &mut open {
            Some(_) if line.trim() == "```" => blocks.extend(open.take()),
            Some((_, block)) => {
                block.push_str(line);
                block.push('\n');
            }
            None if line.trim() == format!("```{language}") => open = Some((number + 1, String::new())),
            None => {}
        }
    }
    blocks
}

/// What the gateway says about `text`, which stands in a file of that name; nothing if it accepts it.
fn refusal(text: &str, name: &str) -> Option<String> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join(name);
    std::fs::write(&path, text).expect("the file is written");
    let environment: Environment =
        [("DATABASE_URL", "postgres://portcullis:secret@postgres/portcullis"), ("REDIS_URL", "redis://redis:6379")]
            .into_iter()
            .collect();
    config::load(&Source { path, environment, ..Source::default() }).err().map(|report| report.render(false))
}

/// A part of a configuration, as documents show them, with what every configuration needs.
fn completed(part: &str) -> String {
    let table: toml::Table = part.parse().unwrap_or_default();
    let mut whole = part.to_owned();
    if !table.contains_key("routes") {
        whole.push_str(
            "\n[[routes]]\npath = \"/\"\nupstream = \"completed\"\n\n[upstreams.completed]\nservers = [\"http://127.0.0.1:1\"]\n",
        );
    } else if !table.contains_key("upstreams") {
        whole.push_str("\n[upstreams.app]\nservers = [\"http://127.0.0.1:1\"]\n");
    }
    whole
}

#[test]
fn every_configuration_file_is_accepted() {
    let ours =
        |path: &PathBuf| !["Cargo.toml", "clippy.toml", "rustfmt.toml", "deny.toml"].iter().any(|name| path.ends_with(name));
    let files: Vec<PathBuf> = files(&[".toml"]).into_iter().filter(ours).collect();
    assert!(files.len() >= 5, "only {files:?}");
    for file in files {
        if let Some(report) = refusal(&read(&file), "gateway.toml") {
            panic!("{} is refused:\n{report}", shown(&file));
        }
    }
}

#[test]
fn every_configuration_shown_in_a_document_is_accepted() {
    let mut seen = 0;
    for file in files(&[".md"]) {
        for (line, block) in code_blocks(&read(&file), "toml") {
            seen += 1;
            if let Some(report) = refusal(&completed(&block), "gateway.toml") {
                panic!("{}:{line}: this block is refused:\n{report}", shown(&file));
            }
        }
    }
    assert!(seen > 0, "README shows how to configure");
}

#[test]
fn a_document_with_a_misspelt_key_would_be_refused() {
    let report = refusal(&completed("[server]\nlisen = [\"127.0.0.1:1\"]\n"), "gateway.toml");
    assert!(report.is_some_and(|report| report.contains("lisen")));
}

#[test]
fn every_manifest_parses() {
    let files = files(&[".yaml", ".yml"]);
    assert!(files.len() >= 8, "only {files:?}");
    for file in files {
        for document in serde_yaml_ng::Deserializer::from_str(&read(&file)) {
            let value = serde_yaml_ng::Value::deserialize(document);
            let value = value.unwrap_or_else(|error| panic!("{}: {error}", shown(&file)));
            assert!(value.is_mapping(), "{}: an empty document", shown(&file));
        }
    }
}

#[test]
fn the_kustomization_names_every_manifest_that_is_applied() {
    let directory = root().join("deploy/kubernetes");
    let kustomization: serde_yaml_ng::Value =
        serde_yaml_ng::from_str(&read(&directory.join("kustomization.yaml"))).expect("it parses");
    let resources = kustomization["resources"].as_sequence().expect("a list");
    let named: BTreeSet<&str> = resources.iter().filter_map(serde_yaml_ng::Value::as_str).collect();
    let manifests = files(&[".yaml"]).into_iter().filter(|path| path.parent() == Some(&directory));
    let names: Vec<String> = manifests.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
    // The example of a Secret must not be applied: it would replace the real one.
    let applied = names.iter().map(String::as_str).filter(|name| !["kustomization.yaml", "secret.example.yaml"].contains(name));
    assert_eq!(named, applied.collect());
}

/// The names of the identity headers, in lower case.
fn identity_headers() -> BTreeSet<String> {
    let table: toml::Table = read(&root().join("gateway.toml")).parse().expect("it parses");
    let names = table["identity_headers"].as_table().expect("a table").values();
    names.filter_map(toml::Value::as_str).map(str::to_ascii_lowercase).collect()
}

/// What a proxy forwards of an identity header must be ours: a name that is left out here is one that clients can forge there.
#[test]
fn proxies_that_ask_take_every_identity_header_of_a_client_out() {
    let directory = root().join("deploy/forward-auth");
    let yaml = |name: &str| -> serde_yaml_ng::Value { serde_yaml_ng::from_str(&read(&directory.join(name))).expect("it parses") };
    let lower = |value: &serde_yaml_ng::Value| value.as_str().expect("text").to_ascii_lowercase();
    let mut replaced = identity_headers();
    assert!(replaced.len() >= 8, "{replaced:?}");

    let envoy = yaml("envoy.yaml");
    let manager = &envoy["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
    assert_eq!(manager["common_http_protocol_options"]["headers_with_underscores_action"].as_str(), Some("REJECT_REQUEST"));
    let filters = manager["http_filters"].as_sequence().expect("a list");
    let [removes, asks, _] = filters.as_slice() else { panic!("three filters, in this order") };
    let removed = removes["typed_config"]["mutations"]["request_mutations"].as_sequence().expect("a list");
    assert_eq!(removed.iter().map(|mutation| lower(&mutation["remove"])).collect::<BTreeSet<_>>(), replaced);
    let asks = &asks["typed_config"];
    assert_eq!(asks["failure_mode_allow"].as_bool(), Some(false));
    assert_eq!(asks["http_service"]["path_prefix"].as_str(), Some("/auth/verify"));
    let copied = asks["http_service"]["authorization_response"]["allowed_upstream_headers"]["patterns"].as_sequence();
    let copied = copied.expect("a list");
    let copies = |name: &String| {
        let exactly = |pattern: &serde_yaml_ng::Value| pattern["exact"].as_str() == Some(name);
        let by_prefix =
            |pattern: &serde_yaml_ng::Value| pattern["prefix"].as_str().is_some_and(|prefix| name.starts_with(prefix));
        copied.iter().any(|pattern| exactly(pattern) || by_prefix(pattern))
    };
    assert!(replaced.iter().all(copies), "{copied:?}");

    // The other two replace a bearer token in the same way.
    replaced.insert("authorization".to_owned());
    let traefik = yaml("traefik.yaml");
    let asks = &traefik["http"]["middlewares"]["portcullis"]["forwardAuth"];
    assert_eq!(asks["trustForwardHeader"].as_bool(), Some(false));
    assert!(asks["address"].as_str().is_some_and(|address| address.ends_with("/auth/verify")));
    assert_eq!(asks["authResponseHeaders"].as_sequence().expect("a list").iter().map(lower).collect::<BTreeSet<_>>(), replaced);
    assert_eq!(traefik["http"]["routers"]["app"]["middlewares"][0].as_str(), Some("portcullis"));

    // That nginx takes its file is tested with an nginx.
    let nginx = read(&directory.join("nginx.conf")).to_ascii_lowercase();
    for name in &replaced {
        assert!(nginx.contains(&format!("\n        proxy_set_header {name} ")), "nginx.conf passes {name} on");
    }
}

/// Every metric, by name: all handles are used once, so that each has a time series.
fn metrics() -> BTreeSet<String> {
    let metrics = Metrics::new();
    metrics.route("orders").ended(Outcome::Forwarded);
    metrics.upstream("app").answered(Duration::ZERO);
    metrics.certificate_expires("example", 0);
    metrics.servers("app").ejected();
    metrics.revocation(CheckMode::Strict).checked(CheckVerdict::Live, Duration::ZERO);
    metrics.jwks("corp").is(JwksState::Fresh, None);
    metrics.logouts("corp").ended(LogoutEnd::Session);
    let text = metrics.encode();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// The words of `text` that begin like our metrics.
fn metrics_named_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    words.filter(|word| word.starts_with("portcullis_")).collect()
}

#[test]
fn the_table_of_metrics_lists_exactly_those_that_exist() {
    let readme = read(&root().join("deploy/prometheus/README.md"));
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let documented: BTreeSet<&str> = rows.filter(|name| name.starts_with("portcullis_")).collect();
    let existing = metrics();
    assert_eq!(documented, existing.iter().map(String::as_str).collect());
}

#[test]
fn alerts_and_documents_name_only_metrics_that_exist() {
    let existing = metrics();
    let exists = |name: &str| {
        let parts = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
        existing.contains(name) || parts.is_some_and(|histogram| existing.contains(histogram))
    };
    for file in files(&["alerts.yaml", ".md", ".json"]) {
        for name in metrics_named_in(&read(&file)) {
            assert!(exists(name), "{} names {name}, which does not exist", shown(&file));
        }
    }
}

#[test]
fn alerts_match_only_label_values_that_exist() {
    let alerts = read(&root().join("deploy/prometheus/alerts.yaml"));
    let encoded = {
        let metrics = Metrics::new();
        for outcome in <Outcome as portcullis::telemetry::labels::Label>::ALL {
            metrics.route("r").ended(*outcome);
        }
        let _checks = metrics.revocation(CheckMode::Strict);
        metrics.encode()
    };
    for label in ["outcome", "reason", "verdict", "cause", "mode", "log"] {
        let opening = format!("{label}=\"");
        for value in alerts.split(&opening).skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(encoded.contains(&format!("{opening}{value}\"")), "an alert asks for {label}={value}, which never occurs");
        }
    }
}

#[test]
fn the_table_of_error_codes_lists_exactly_those_that_exist_with_their_status() {
    let text = read(&root().join("docs/errors.md"));
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        Some((cells.next()?.trim_end_matches('`').to_owned(), cells.next()?.to_owned()))
    });
    let existing = Reason::ALL.iter().map(|reason| (reason.word().to_owned(), reason.status().as_u16().to_string()));
    assert_eq!(rows.collect::<BTreeSet<_>>(), existing.collect());
}
