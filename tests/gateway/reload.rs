//! Another configuration for a gateway that runs (220): by signal, by its file, by order; all of it or nothing.

mod load;
mod refusals;
mod trials;

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::upstream::{Answer, Step, Upstream};

/// One more route that anybody may use.
fn more(text: &str) -> String {
    format!("{text}\n[[routes]]\npath = \"/more\"\nupstream = \"app\"\naccess = \"public\"\n")
}

async fn status(gateway: &Gateway, path: &str) -> u16 {
    gateway.connect().await.ask(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await.status
}

async fn serves_more(gateway: &Gateway) {
    eventually("the new route", async || (status(gateway, "/more").await == 200).then_some(())).await;
}

const APPLIED: &str = r#"portcullis_config_reload_total{outcome="applied"}"#;
const UNCHANGED: &str = r#"portcullis_config_reload_total{outcome="unchanged"}"#;
const REFUSED: &str = r#"portcullis_config_reload_total{outcome="refused"}"#;

#[tokio::test]
async fn the_admin_listener_reloads_and_says_what_has_changed() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream).set("server.watch_config=false").start().await;
    let since = gateway.metric("portcullis_config_last_reload_success_timestamp_seconds").await.expect("since the start");
    assert_eq!(status(&gateway, "/more").await, 404);
    let before = gateway.written();
    gateway.write(more(&before).replace("[server]\n", "[server]\nidle_timeout = \"50s\"\n"));
    assert_eq!(gateway.reload().await, (200, json!({"changed": ["server.idle_timeout", "routes./more"]})));
    assert_eq!(status(&gateway, "/more").await, 200);
    assert_eq!(gateway.reload().await, (200, json!({"changed": []})));
    gateway.write(&before);
    assert_eq!(gateway.reload().await.0, 200);
    assert_eq!(status(&gateway, "/more").await, 404);
    assert_eq!((gateway.metric(APPLIED).await, gateway.metric(UNCHANGED).await), (Some(2.0), Some(1.0)));
    assert!(gateway.metric("portcullis_config_last_reload_success_timestamp_seconds").await >= Some(since));
}

#[tokio::test]
async fn a_hangup_reloads() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream).set("server.watch_config=false").start().await;
    gateway.write(more(&gateway.written()));
    gateway.hang_up();
    serves_more(&gateway).await;
    eventually("a word about it", async || gateway.output().contains("configuration read again").then_some(())).await;
}

#[tokio::test]
async fn a_file_that_is_replaced_or_written_over_is_reloaded_by_itself() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let before = gateway.written();
    gateway.write(more(&before));
    serves_more(&gateway).await;
    std::fs::write(gateway.config(), &before).expect("a writable directory");
    eventually("the end of the route", async || (status(&gateway, "/more").await == 404).then_some(())).await;
}

/// As Kubernetes does with the volume of a ConfigMap: the file is a link through a link, and only that one changes.
#[tokio::test]
async fn a_symbolic_link_that_leads_elsewhere_is_followed() {
    use std::os::unix::fs::symlink;
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let (file, before) = (gateway.config().to_owned(), gateway.written());
    let volume = file.parent().expect("it is in a directory");
    let version = |name: &str, text: &str| {
        std::fs::create_dir(volume.join(name)).expect("a writable directory");
        std::fs::write(volume.join(name).join("gateway.toml"), text).expect("a writable directory");
    };
    let link = |target: &str, name: &str| {
        symlink(target, volume.join("..new")).expect("a writable directory");
        std::fs::rename(volume.join("..new"), volume.join(name)).expect("a writable directory");
    };
    version("..1", &more(&before));
    link("..1", "..data");
    link("..data/gateway.toml", file.file_name().and_then(|name| name.to_str()).expect("a name"));
    serves_more(&gateway).await;
    version("..2", &before);
    link("..2", "..data");
    eventually("the end of the route", async || (status(&gateway, "/more").await == 404).then_some(())).await;
}

#[tokio::test]
async fn a_request_ends_by_the_configuration_that_it_began_with() {
    let finish = Arc::new(Notify::new());
    let until = Arc::clone(&finish);
    let upstream = Upstream::answering(move |head| match head.word(1) {
        "/slow" => {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow".to_vec();
            Answer::steps([Step::Wait(Arc::clone(&until)), Step::Send(answer)])
        }
        _ => Answer::echo(head),
    })
    .await;
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let before = gateway.written();
    gateway.write(format!("{before}\n[[routes]]\npath = \"/slow\"\nupstream = \"app\"\naccess = \"public\"\n"));
    assert_eq!(gateway.reload().await.0, 200);
    let mut slow = gateway.connect().await;
    slow.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    eventually("the request at the upstream", async || (upstream.requests("/slow").len() == 1).then_some(())).await;
    // Its route is gone, and everything else is for callers with a token.
    gateway.write(before.replace("access = \"public\"", ""));
    assert_eq!(gateway.reload().await.0, 200);
    assert_eq!(status(&gateway, "/public/x").await, 401);
    finish.notify_one();
    let answer = slow.response().await.expect("it is finished");
    assert_eq!((answer.status, answer.text().as_str()), (200, "slow"));
    // On the same connection, what begins now is decided anew.
    assert_eq!(slow.ask("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await.status, 404);
}

/// Limits of heads hold on connections that are open already, too.
#[tokio::test]
async fn a_kept_connection_is_guarded_by_the_new_limits() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let mut client = gateway.connect().await;
    let request = format!("GET /public/x HTTP/1.1\r\nhost: a\r\nx-long: {}\r\n\r\n", "a".repeat(2000));
    assert_eq!(client.ask(&request).await.status, 200);
    gateway.write(format!("{}\n[server.limits]\nheaders = \"1KiB\"\n", gateway.written()));
    assert_eq!(gateway.reload().await, (200, json!({"changed": ["server.limits"]})));
    // The guard was armed for the next head before the reload; the gate looks at the same limits.
    assert_eq!(client.ask(&request).await.status, 431);
}

/// Whom an upstream is told about is the business of the snapshot as well.
#[tokio::test]
async fn identity_headers_and_the_access_log_follow_a_reload() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let ada = gateway.registered("ada").await;
    let renamed = "[identity_headers]\nusername = \"X-Who\"\n[telemetry]\naccess_log = false\n";
    gateway.write(format!("{}\n{renamed}", gateway.written()));
    assert_eq!(gateway.reload().await, (200, json!({"changed": ["telemetry.access_log", "identity_headers"]})));
    upstream.take_requests();
    assert_eq!(ada.get("/api/silent").await.0, 200);
    let seen = upstream.take_requests();
    assert_eq!((seen[0].head.one("x-who"), seen[0].head.one("x-auth-username")), (Some("ada"), None));
    assert!(!gateway.output().contains("/api/silent"), "{}", gateway.output());
}

fn keys(answer: &Value) -> Vec<&str> {
    let problems = answer["problems"].as_array().expect("a list of problems");
    problems.iter().filter_map(|problem| problem["key"].as_str()).collect()
}
