//! The OpenAPI document is true: schemathesis makes requests up from it, right ones and wrong ones, fires them at a
//! running gateway, and compares each answer with what the document says of it. How it asks, and what is not asked for
//! which reason, is in `openapi/schemathesis.toml`. An endpoint is part of this as soon as it is in the document.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::client::Actor;
use crate::support::gateway::Gateway;
use crate::support::process::{self, Output, Process};
use crate::support::upstream::Upstream;

/// Some thousand requests take a quarter of a minute on a quiet machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// Everything that the document speaks of is switched on, and nobody is asked to wait.
const CONFIGURATION: &str = r#"
[auth]
issuer = "https://app.example"
public_url = "https://app.example"
registration = "open"
self_assigned_roles = ["admin"]

[auth.throttle]
insecure_off = true

[auth.mail]
transport = "file"
from = "Gate <gate@app.example>"
per_address = 1000

[[issuers]]
name = "corp"
issuer = "https://id.example"
audiences = ["api"]
jwks = '{"kty":"OKP","crv":"Ed25519","x":"qsLEJNN2C5CoxJqcpqQs0CBD1eoup5v_CJFTDmoS6yc"}'
[issuers.backchannel_logout]
audiences = ["gate"]
"#;

/// Requests that were made up must get through to these, or nothing was compared but refusals.
const DONE: [(&str, &str, u64); 8] = [
    ("POST", "/auth/register", 201),
    ("POST", "/auth/login", 200),
    ("POST", "/auth/refresh", 200),
    ("POST", "/auth/password", 204),
    ("POST", "/auth/invitations", 201),
    ("PATCH", "/auth/me", 200),
    ("GET", "/auth/sessions", 200),
    ("POST", "/auth/logout-all", 204),
];

/// Where `make test` puts it, and what to do if it is not there.
fn schemathesis() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("`tmp` is in the target directory");
    let home = target.join("schemathesis");
    let program = home.join("bin/schemathesis");
    let (home, requirements) = (home.display(), asset("requirements.txt"));
    let install = format!("python3 -m venv {home} && {home}/bin/pip install -r {}", requirements.display());
    assert!(program.exists(), "schemathesis is needed: make test, or {install}");
    program
}

fn asset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateway/openapi").join(name)
}

/// Every success that the gateway wrote into its access log.
fn successes(log: &str) -> BTreeSet<(String, String, u64)> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let seen = lines.filter_map(|line| {
        let text = |name: &str| line[name].as_str().map(str::to_owned);
        Some((text("method")?, text("path")?, line["status"].as_u64()?))
    });
    seen.filter(|(_, _, status)| (200..300).contains(status)).collect()
}

#[tokio::test]
async fn every_answer_is_as_the_document_says() {
    let (program, upstream) = (schemathesis(), Upstream::echo().await);
    let gateway = Gateway::in_front_of(&upstream).table(CONFIGURATION).start().await;
    // The configuration's dictionaries know her name and password.
    Actor::registered_with(gateway.address, "ada", json!({"email": "ada@example.com"})).await;
    let (directory, output) = (TempDir::new().expect("a writable temporary directory"), Output::default());
    let api = format!("http://{}/auth", gateway.address);

    let mut command = Command::new(program);
    command.arg("--config-file").arg(asset("schemathesis.toml")).args(["run", "--no-color", &format!("{api}/openapi.json")]);
    command.env("SCHEMATHESIS_HOOKS", asset("hooks.py")).env("PORTCULLIS_API", &api);
    // Whatever it leaves behind goes with the directory; nothing is asked of a proxy.
    command.current_dir(directory.path()).env("PYTHONDONTWRITEBYTECODE", "1").env("NO_PROXY", "127.0.0.1");
    let mut schemathesis = Process::start(&mut command, &output);
    let ended = async {
        while !schemathesis.has_ended() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, ended).await;
    assert!(in_time.is_ok(), "not within {PATIENCE:?}:\n{}", process::text(&output));
    let status = schemathesis.exit().await;
    assert!(status.success(), "{status}:\n{}", process::text(&output));

    // Nobody here can sign one.
    let logouts = r#"portcullis_backchannel_logouts_total{issuer="corp",result="refused"}"#;
    assert!(gateway.metric(logouts).await.is_some_and(|refused| refused > 0.0), "no logout token was sent to an issuer");
    let successes = successes(&gateway.output());
    for (method, path, status) in DONE {
        assert!(successes.contains(&(method.to_owned(), path.to_owned(), status)), "no {method} {path} → {status}");
    }
}
