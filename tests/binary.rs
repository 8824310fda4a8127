//! The built executable as an operator meets it: what it prints, what it refuses, how it exits.

#![expect(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

#[path = "binary/administration.rs"]
mod administration;
#[path = "binary/audit.rs"]
mod audit;
#[path = "binary/configuration.rs"]
mod configuration;
#[path = "binary/import.rs"]
mod import;
#[path = "binary/keys.rs"]
mod keys;
#[path = "binary/revoke.rs"]
mod revoke;
#[path = "support/services.rs"]
mod services;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// No admin listener: a gateway that happens to run on the machine of the test is none of its business.
const CONFIGURATION: &str = "\
[server]
admin = \"off\"

[upstreams.app]
servers = [\"http://127.0.0.1:3000\"]

[[routes]]
path = \"/\"
upstream = \"app\"
";

/// A directory with a `gateway.toml`, in which commands are run.
struct Place {
    directory: TempDir,
}

/// How a command ended.
#[derive(Debug)]
struct Done {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Place {
    /// With a configuration that is valid.
    fn new() -> Self {
        Self::with(CONFIGURATION)
    }

    /// With this configuration.
    fn with(configuration: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("gateway.toml"), configuration).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs `portcullis` with these words, and nothing on standard input.
    fn run(&self, words: &str) -> Done {
        self.run_with(words, "")
    }

    /// Runs `portcullis` with these words, and `input` on standard input.
    fn run_with(&self, words: &str, input: &str) -> Done {
        let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(words.split_whitespace())
            .current_dir(self.directory.path())
            // Whatever the tester's shell sets for a gateway of theirs stays out.
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that reads nothing may be gone already.
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        let output = child.wait_with_output().unwrap();
        Done {
            code: output.status.code().expect("no signal ended it"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Done {
    /// What it printed, given that it did what it was asked to.
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }

    /// What it printed as JSON.
    #[track_caller]
    fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// What it complained about, given that it exited with `code` and printed nothing else.
    #[track_caller]
    fn refused(self, code: i32) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{self:?}");
        self.stderr
    }
}

#[track_caller]
fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}
