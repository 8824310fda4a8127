//! Proofs that documents name: each leads to a test that exists.

use std::collections::BTreeSet;
use std::path::Path;

use walkdir::WalkDir;

use super::{files, read, root, shown};

/// The test binaries, as documents name them, and `--lib`.
const TARGETS: [&str; 7] = ["--lib", "architecture", "auth", "binary", "documents", "gateway", "store_conformance"];

/// A test or several of them, as somebody would name them to `cargo test`.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    target: String,
    filter: String,
}

/// What the code spans of a Markdown text name: `gateway a::b`, `cargo test --test gateway a b`, `cargo test --lib a`.
/// An `…` at the end stands for the rest of a long name, one at the beginning for the path of the name before.
fn named_in(text: &str) -> Vec<Named> {
    let mut named: Vec<Named> = Vec::new();
    // Blocks first: their fences would be taken for spans.
    let prose: String = text.split("```").step_by(2).collect();
    for span in prose.split('`').skip(1).step_by(2) {
        let span = span.strip_prefix("cargo test ").unwrap_or(span);
        let mut words = span.strip_prefix("--test ").unwrap_or(span).split_whitespace();
        let Some(first) = words.next() else { continue };
        if let (Some(rest), Some(before)) = (first.strip_prefix("…::"), named.last()) {
            let path = before.filter.rsplit_once("::").map_or("", |(path, _)| path);
            named.push(Named { target: before.target.clone(), filter: format!("{path}::{}", rest.trim_end_matches('…')) });
        } else if TARGETS.contains(&first) {
            let one = |filter: &str| Named { target: first.to_owned(), filter: filter.trim_end_matches('…').to_owned() };
            named.extend(words.filter(|word| *word != "--").map(one));
        }
    }
    named
}

/// The paths of the functions of a target's files, tests among them, as `cargo test -- --list` would print them.
fn functions(target: &str) -> BTreeSet<String> {
    let folder = if target == "--lib" { root().join("src") } else { root().join("tests").join(target) };
    let file = folder.with_extension("rs");
    let sources = WalkDir::new(&folder).into_iter().filter_map(Result::ok).map(walkdir::DirEntry::into_path);
    let mut found = BTreeSet::new();
    for path in sources.chain([file]).filter(|path| path.extension().is_some_and(|end| end == "rs") && path.exists()) {
        let module = module(&path, &folder);
        let mut inline = "";
        for line in read(&path).lines() {
            inline = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(" {")).unwrap_or(inline);
            let line = line.trim_start().trim_start_matches("pub ").trim_start_matches("async ");
            if let Some((name, _)) = line.strip_prefix("fn ").and_then(|rest| rest.split_once(['(', '<'])) {
                let path: Vec<&str> = [&*module, inline, name].into_iter().filter(|part| !part.is_empty()).collect();
                found.insert(path.join("::"));
            }
        }
    }
    found
}

fn module(path: &Path, folder: &Path) -> String {
    let inside = path.strip_prefix(folder).unwrap_or(Path::new(""));
    let parts = inside.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect::<Vec<_>>();
    let parts = parts.iter().map(String::as_str).filter(|part| !["mod", "main", "lib"].contains(part));
    parts.collect::<Vec<_>>().join("::")
}

#[test]
fn every_test_that_a_document_names_exists() {
    let functions = TARGETS.map(|target| (target, functions(target)));
    let mut missing = Vec::new();
    let mut checked = 0;
    for path in files(&[".md"]) {
        for Named { target, filter } in named_in(&read(&path)) {
            checked += 1;
            let known = functions.iter().find(|(name, _)| *name == target).map(|(_, known)| known);
            if !known.is_some_and(|known| known.iter().any(|function| function.contains(&filter))) {
                missing.push(format!("{}: {target} {filter}", shown(&path)));
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
    assert!(checked > 40, "only {checked}");
}

#[test]
fn names_are_found_however_they_are_written() {
    let text = "(`gateway a::b_…`, `…::c_…`, not `gateway`), `cargo test --test auth d e`\n```text\n`auth no`\n```\nand `--lib\nf::tests`";
    let named: Vec<String> = named_in(text).into_iter().map(|named| format!("{} {}", named.target, named.filter)).collect();
    assert_eq!(named, ["gateway a::b_", "gateway a::c_", "auth d", "auth e", "--lib f::tests"]);
    let known = functions("documents");
    assert!(known.contains("named_tests::names_are_found_however_they_are_written") && !known.contains("named_tests::no"));
}
