//! `check`, `run`, `config`, `completions` and `--help`.

use std::process::{Command, Stdio};

use super::{CONFIGURATION, Place, assert_says};

/// Three mistakes: in a name, in a value, and in what a route refers to.
const BAD: &str = "\
[auth]
acces_token = \"15m\"
refresh_token = \"soon\"

[upstreams.app]
servers = [\"http://127.0.0.1:3000\"]

[[routes]]
path = \"/\"
upstream = \"ap\"
";

/// What is said about each of them: message, place, and what to write instead.
const COMPLAINTS: [&str; 8] = [
    "error: auth.acces_token: unknown key",
    "gateway.toml:2:1",
    "^^^^^^^^^^^ did you mean `access_token`?",
    "error: auth.refresh_token",
    "gateway.toml:3:17",
    "error: routes[0].upstream",
    "gateway.toml:10:12",
    "3 errors",
];

#[test]
fn check_reports_every_problem_with_file_line_and_caret() {
    let complaints = Place::with(BAD).run("check").refused(64);
    assert_says(&complaints, &COMPLAINTS);
    assert!(!complaints.contains('\u{1b}'), "colours are for terminals");
}

#[test]
fn run_refuses_to_start_with_a_bad_configuration_and_names_every_problem() {
    let place = Place::with(BAD);
    assert_says(&place.run("run").refused(64), &COMPLAINTS);
    assert!(!place.path("data").exists(), "nothing is created for a gateway that does not start");
}

#[test]
fn every_command_refuses_a_bad_configuration() {
    let place = Place::with(BAD);
    for words in ["user list", "session list ada", "keys list"] {
        assert_says(&place.run(words).refused(64), &COMPLAINTS);
    }
}

#[test]
fn check_lists_problems_for_programs() {
    let done = Place::with(BAD).run("check --json");
    assert_eq!((done.code, done.stderr.as_str()), (64, ""));
    let problems: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    let severities: Vec<_> = problems.as_array().unwrap().iter().map(|problem| problem["severity"].as_str().unwrap()).collect();
    assert_eq!(severities, ["error", "error", "error", "warning"], "the upstream that no route uses is only to be looked at");
    assert_eq!(problems[0]["key"], "auth.acces_token");
    assert_eq!(problems[0]["location"], "gateway.toml:2:1");
    assert_eq!(Place::new().run("check --json").json(), serde_json::json!([]));
}

#[test]
fn check_says_in_one_line_that_a_configuration_is_valid_and_creates_nothing() {
    let place = Place::new();
    let said = place.run("check").ok();
    assert_eq!(said, "gateway.toml is valid: 1 route, 1 upstream, revocations in memory and SQL\n");
    assert!(!place.path("data").exists());
}

#[test]
fn overrides_count_before_and_behind_the_command() {
    let place = Place::new();
    let complaints = place.run("--set auth.issuer= check --set auth.acces_token=5m").refused(64);
    assert_says(&complaints, &["auth.issuer", "auth.acces_token: unknown key", "2 errors"]);
}

#[test]
fn a_missing_configuration_is_refused_with_how_to_begin() {
    let complaint = Place::new().run("run --config elsewhere.toml").refused(64);
    assert_says(&complaint, &["cannot read elsewhere.toml", "portcullis config default > gateway.toml"]);
}

#[test]
fn the_reference_configuration_passes_the_check() {
    let reference = Place::new().run("config default").ok();
    assert_says(&Place::with(&reference).run("check").ok(), &["gateway.toml is valid: 5 routes"]);
}

#[test]
fn the_schema_is_json_that_knows_every_table() {
    let schema = Place::new().run("config schema").json();
    for table in ["server", "auth", "store", "revocation", "upstreams", "routes", "identity_headers", "telemetry"] {
        assert!(schema["properties"][table].is_object(), "{table}");
    }
}

#[test]
fn help_mentions_every_command_and_every_exit_code() {
    let place = Place::new();
    let commands = ["run", "check", "user", "session", "keys", "config", "completions"];
    let help = place.run("--help").ok();
    assert_says(&help, &commands.map(|command| format!("\n  {command} ")).each_ref().map(String::as_str));
    assert_says(&help, &["Exit codes:", "\n  0 ", "\n  1 ", "\n  2 ", "\n  64 ", "Examples:", "--config", "--data-dir", "--set"]);
    for (command, parts) in [
        ("user", &["add", "list", "disable", "enable", "roles", "password"][..]),
        ("session", &["list", "revoke"]),
        ("keys", &["list", "rotate", "retire", "remove"]),
        ("config", &["default", "schema"]),
    ] {
        let help = place.run(&format!("{command} --help")).ok();
        for part in parts {
            assert_says(&help, &[&format!("\n  {part} ")]);
        }
    }
}

#[test]
fn what_is_not_understood_exits_with_2() {
    let place = Place::new();
    for words in
        ["", "rnu", "run --confg x", "user add", "session revoke", "user roles ada --add a --clear", "user roles ada --add a,b!"]
    {
        assert_eq!(place.run(words).code, 2, "{words:?}");
    }
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        assert_says(&Place::new().run(&format!("completions {shell}")).ok(), &["portcullis", "session", "data-dir"]);
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_key_file_that_others_may_read_is_refused_with_the_command_that_repairs_it() {
    use std::os::unix::fs::PermissionsExt as _;

    let place = Place::with(CONFIGURATION);
    place.run("user list").ok();
    let keys = place.path("data/keys.json");
    let set_mode = |mode| std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o644);
    for (words, code) in [("check", 64), ("run", 64), ("user list", 1), ("keys list", 1)] {
        assert_says(&place.run(words).refused(code), &["mode 0644", "chmod 600 data/keys.json"]);
    }
    set_mode(0o600);
    place.run("check").ok();
    std::fs::write(&keys, "{}").unwrap();
    assert_says(&place.run("check").refused(64), &["auth.signing.keys", "data/keys.json is not valid"]);
}
