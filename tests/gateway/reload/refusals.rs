//! What is not put in force: files with mistakes, and what only a restart can change.

use serde_json::Value;

use super::{REFUSED, keys, more, status};
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

/// Half-written files, typos, missing ones: 220.
#[tokio::test]
async fn a_bad_file_changes_nothing_and_says_why() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream).set("server.watch_config=false").start().await;
    let good = gateway.written();
    let with = |table: &str| format!("{}\n{table}\n", more(&good)).into_bytes();
    let half = good.find("servers").expect("it has an upstream") + 12;
    let bad: Vec<(Vec<u8>, &str)> = vec![
        (b"\xff\xfe".to_vec(), "cannot read"),
        (Vec::new(), "routes"),
        (b"routes = []\n".to_vec(), "404 to everything"),
        (good.as_bytes()[..half].to_vec(), "not TOML"),
        (with("[[routes]"), "not TOML"),
        (with("[serve]"), "unknown key"),
        (with("[[routes]]\npath = \"/x\"\nupstream = \"app\"\nacess = \"public\""), "unknown key"),
        (with("[[routes]]\npath = \"/x\"\nupstream = \"ap\""), "no upstream called"),
        (with("[[routes]]\npath = \"/more\"\nupstream = \"app\""), "another route serves the same requests"),
        (with("[[routes]]\npath = \"/a/../b\"\nupstream = \"app\""), "path"),
        (with("[upstreams.tls]\nservers = [\"https://127.0.0.1:1\"]\n[[routes]]\npath = \"/x\"\nupstream = \"tls\""), "name"),
        (with("[[tests]]\npath = \"/public\"\nexpect = { decision = \"missing_token\" }"), "fails"),
    ];
    for (number, (text, why)) in (1..).zip(&bad) {
        gateway.write(text);
        let shown = String::from_utf8_lossy(text);
        let (code, answer) = gateway.reload().await;
        assert_eq!(code, 422, "{shown}: {answer}");
        assert!(answer.to_string().contains(why), "{shown}: {answer}");
        assert_eq!((status(&gateway, "/public/x").await, status(&gateway, "/more").await), (200, 404), "{shown}");
        assert_eq!(gateway.metric(REFUSED).await, Some(f64::from(number)));
    }
    std::fs::remove_file(gateway.config()).expect("it is ours");
    let (code, answer) = gateway.reload().await;
    assert!(code == 422 && answer.to_string().contains("cannot read"), "{answer}");
    eventually("a word in the log", async || gateway.output().contains("the old one stays").then_some(())).await;
    gateway.write(more(&good));
    assert_eq!(gateway.reload().await.0, 200, "once it is right, it is in force");
    assert_eq!(status(&gateway, "/more").await, 200);
}

/// By itself, too: an editor that saves half a file has not changed anything.
#[tokio::test]
async fn a_bad_file_that_was_noticed_is_logged_and_counted() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream).start().await;
    gateway.write("[server]\nlisten = [");
    eventually("a refusal", async || (gateway.metric(REFUSED).await == Some(1.0)).then_some(())).await;
    eventually("a word in the log", async || gateway.output().contains("the old one stays").then_some(())).await;
    assert_eq!(status(&gateway, "/public/x").await, 200);
}

#[tokio::test]
async fn every_problem_of_a_file_is_in_the_answer_with_its_place() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream).set("server.watch_config=false").start().await;
    let routes =
        "[[routes]]\npath = \"/x\"\nupstream = \"ap\"\n[[routes]]\npath = \"/y\"\nupstream = \"app\"\nacess = \"public\"\n";
    gateway.write(gateway.written() + routes);
    let (code, answer) = gateway.reload().await;
    assert_eq!((code, keys(&answer)), (422, vec!["routes[3].upstream", "routes[4].acess"]), "{answer}");
    for problem in answer["problems"].as_array().expect("a list") {
        assert!(problem["location"].as_str().is_some_and(|at| at.contains(".toml:")), "{problem}");
        assert!(problem["help"].is_string(), "{problem}");
    }
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_nothing_is_applied() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::in_front_of(&upstream).set("server.watch_config=false").start().await;
    let good = gateway.written();
    let admin = good.lines().find(|line| line.starts_with("admin = ")).expect("it has one").to_owned();
    for (text, expected) in [
        (good.replace("listen = [", "listen = [\"127.0.0.1:0\", "), vec!["server.listen"]),
        (good.replace(&admin, "admin = \"off\""), vec!["server.admin"]),
        (
            good.replace("[server]\n", "[server]\nthreads = 1\ndrain_timeout = \"1s\"\n"),
            vec!["server.threads", "server.drain_timeout"],
        ),
        (format!("{good}\n[store]\nurl = \"sqlite:other.db\"\n"), vec!["store.url"]),
        (format!("{good}\n[revocation]\nurl = \"redis://127.0.0.1:1\"\n"), vec!["revocation.url"]),
        (
            format!("{good}\n[auth]\naccess_token = \"5m\"\nregistration = \"closed\"\n[auth.signing]\nkeys = \"other.json\"\n"),
            vec!["auth.access_token", "auth.registration", "auth.signing"],
        ),
        (format!("{good}\n[telemetry]\nlevel = \"debug\"\n"), vec!["telemetry.level"]),
    ] {
        gateway.write(more(&text));
        let (code, answer) = gateway.reload().await;
        assert_eq!((code, keys(&answer)), (422, expected), "{answer}");
        let told = |problem: &Value| problem["help"].as_str().is_some_and(|help| help.contains("restart to change"));
        assert!(answer["problems"].as_array().expect("a list").iter().all(told), "{answer}");
        assert_eq!(status(&gateway, "/more").await, 404, "the rest of it was applied");
    }
    gateway.write(more(&good));
    assert_eq!(gateway.reload().await.0, 200);
}
