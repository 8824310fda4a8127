//! The cost of passwords, as clients meet it: the same for everybody, and bounded however many ask at once.

use serde_json::json;

use crate::support::client::PASSWORD;
use crate::support::gateway::Gateway;
use crate::support::site::{Site, Store};

/// Password hashes that the gateway has computed.
async fn hashes(gateway: &Gateway) -> u64 {
    let (_, metrics) = gateway.admin("/metrics").await.expect("it listens");
    let line = metrics.lines().find_map(|line| line.strip_prefix("portcullis_hashing_duration_seconds_count "));
    line.expect("it is counted").trim().parse().expect("a number")
}

#[tokio::test]
async fn whoever_is_refused_costs_one_hash_whether_or_not_they_exist() {
    let site = Site::with(Store::Embedded).await;
    site.registered("ada").await;
    site.registered("eve").await;
    site.gateway.command(&["user", "disable", "eve"]);
    // Case 151: the time of an answer is the time of its hash.
    for (name, password) in [
        ("ada", "not it, not at all"),
        ("nobody", "not it, not at all"),
        ("nobody@example.com", PASSWORD),
        ("no name of anybody's: \u{7}", PASSWORD),
        ("eve", PASSWORD),
        ("eve", "not it, not at all"),
    ] {
        let before = hashes(&site.gateway).await;
        let (status, _) = site.gateway.anonymous().post("/auth/login", &json!({"identifier": name, "password": password})).await;
        assert_eq!((status, hashes(&site.gateway).await - before), (401, 1), "{name}");
    }
}

#[tokio::test]
async fn a_storm_of_logins_waits_in_a_short_queue_and_requests_go_on() {
    let site =
        Site::changed(Store::Embedded, |gateway| gateway.set("auth.password.workers=1").set("auth.password.queue=2")).await;
    let ada = site.registered("ada").await;
    // Case 156.
    let storm: Vec<_> = (0..40)
        .map(|_| {
            let anyone = site.gateway.anonymous();
            let login = json!({"username": "ada", "password": PASSWORD});
            tokio::spawn(async move { anyone.post("/auth/login", &login).await })
        })
        .collect();
    for _ in 0..20 {
        site.lets_in(&ada).await;
    }
    let (mut in_time, mut refused) = (0, 0);
    for login in storm {
        match login.await.expect("no panic") {
            (200, _) => in_time += 1,
            (status, problem) => {
                assert_eq!((status, &problem["code"]), (503, &json!("unavailable")), "{problem}");
                refused += 1;
            }
        }
    }
    assert!(in_time >= 3 && refused >= 1, "{in_time} in time, {refused} refused");
    assert_eq!(
        site.gateway.anonymous().post("/auth/login", &json!({"username": "ada", "password": "x".repeat(4096)})).await.0,
        400
    );
    site.signed_in("ada").await;
}
