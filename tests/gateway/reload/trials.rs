//! `[[tests]]` of the configuration: `check`, the start and every reload try them.

use serde_json::json;

use super::status;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

const PASSES: &str = "[[tests]]\nname = \"api is closed\"\npath = \"/api/users\"\nexpect = { decision = \"missing_token\" }\n";
/// As the one above, for a configuration that says otherwise.
const OPENED: &str = "[[routes]]\npath = \"/api/users\"\nupstream = \"app\"\naccess = \"public\"\n";

#[tokio::test]
async fn a_test_that_fails_is_told_by_check_with_its_line() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream).set("server.watch_config=false").start().await;
    let good = gateway.written();
    gateway.write(format!("{good}{PASSES}"));
    let (code, text) = gateway.check();
    assert!(code == Some(0) && text.contains("1 test passed"), "{text}");
    gateway.write(format!("{good}{PASSES}{OPENED}"));
    let (code, text) = gateway.check();
    let line = good.lines().count() + 4;
    assert_eq!(code, Some(64), "{text}");
    for part in [
        "tests[0].expect.decision: test \"api is closed\" fails: expected \"missing_token\", got \"allow\"",
        &format!(".toml:{line}:23"),
        "by the route \"/api/users\" to the upstream \"app\"",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[tokio::test]
async fn a_reload_that_fails_a_test_changes_nothing() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream).set("server.watch_config=false").start().await;
    let good = gateway.written();
    gateway.write(format!("{good}{PASSES}"));
    assert_eq!(gateway.reload().await, (200, json!({"changed": ["tests"]})));
    gateway.write(format!("{good}{PASSES}{OPENED}"));
    let (code, answer) = gateway.reload().await;
    assert_eq!(code, 422, "{answer}");
    let problem = &answer["problems"][0];
    assert_eq!(problem["key"], "tests[0].expect.decision");
    let message = "test \"api is closed\" fails: expected \"missing_token\", got \"allow\"";
    assert_eq!(problem["message"], message);
    assert!(
        problem["location"].as_str().is_some_and(|at| at.ends_with(&format!(":{}:23", good.lines().count() + 4))),
        "{answer}"
    );
    assert_eq!(status(&gateway, "/api/users").await, 401);
}

#[tokio::test]
async fn a_gateway_whose_tests_fail_does_not_start() {
    let upstream = Upstream::echo().await;
    let (exit, output) = Gateway::in_front_of(&upstream).table(PASSES).table(OPENED).refused().await;
    assert_eq!(exit.code(), Some(64), "{output}");
    assert!(output.contains("test \"api is closed\" fails"), "{output}");
}
