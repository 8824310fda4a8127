//! The configurations exactly as they are shipped, ports and all: they are accepted, and what they demonstrate only is
//! said.

use std::process::Command;

/// What `portcullis check` writes about a configuration; it must not refuse it.
fn checked(name: &str) -> String {
    let data = tempfile::tempdir().expect("a writable temporary directory");
    let config = format!("{}/examples/dialects/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    let output = command.args(["check", "--config", &config, "--data-dir"]).arg(data.path()).output().expect("it was built");
    let written = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{name}: {written}");
    written
}

#[test]
fn every_configuration_is_accepted_as_it_is() {
    for (name, warnings) in [
        ("mstack-auth", &[][..]),
        ("flowauth", &[]),
        ("token-demo", &[]),
        ("auth-service", &["the cookie `jqt` also travels without TLS"]),
        (
            "auth-using-nodejs",
            &["whoever logs in under an unknown name becomes a user", "anybody can read the names of all users"],
        ),
    ] {
        let written = checked(name);
        for warning in warnings {
            assert!(written.contains(warning), "{name}: {written}");
        }
        assert_eq!(written.matches("warning: ").count(), warnings.len(), "{name}: {written}");
    }
}
