//! A Redis Cluster of six: the revoked set is on one of its primaries, whole, and is followed when that one is replaced (203,
//! 205, 208).

use super::redis_site::{AMNESIA, beside, patiently};
use super::*;
use crate::support::services::redis_servers::{Cluster, TAG};

async fn loses_its_primary(mode: &str) {
    let mut cluster = Cluster::start();
    let site = beside(&format!("{}\ncheck = \"{mode}\"", cluster.keys())).await;
    let (staying, leaving) = (site.registered("ada").await, site.signed_in("ada").await);
    site.lets_in(&leaving).await;
    leaving.log_out().await;
    site.keeps_out(&leaving).await;

    let holder = cluster.holder().expect("somebody serves the set");
    cluster.nodes[holder].kill();
    let promoted = patiently("a promotion", async || cluster.holder()).await;
    assert_ne!(promoted, holder);
    site.recovers(&staying, &leaving).await;
    assert!(site.gateway.metric(AMNESIA).await.expect("it is counted") >= 1.0, "everything was published again");
    site.logs_out_again(&staying).await;
    site.keeps_out_again(&staying).await;
    let records: Vec<String> = cluster.nodes[promoted].command(&["KEYS", &format!("{TAG}revoked_sid:*")]);
    assert_eq!(records.len(), 2);

    // The old one comes back as a replica: nobody asks it.
    cluster.nodes[holder].restart_until(&[], "Ready to accept connections");
    patiently("it follows", async || cluster.nodes[holder].shows("role:slave").then_some(())).await;
    site.recovers(&site.signed_in("ada").await, &leaving).await;
    assert_eq!(cluster.holder(), Some(promoted));
}

#[tokio::test]
async fn a_primary_that_dies_is_replaced_and_nobody_comes_back_in_strict_mode() {
    loses_its_primary("strict").await;
}

#[tokio::test]
async fn a_primary_that_dies_is_replaced_and_nobody_comes_back_in_mirror_mode() {
    loses_its_primary("mirror").await;
}

/// The set, the feed, the counters of attempts and the rate limits: one look-up or script needs several of them.
#[tokio::test]
async fn everything_is_in_one_slot() {
    let cluster = Cluster::start();
    let table = format!("[revocation]\ndeadline = \"1s\"\n{}", cluster.keys());
    let limited = "path = \"/limited\"\nrate_limits = [{ limit = \"1/1h\", per = \"route\", shared = true }]";
    let site = Site::changed(Store::Embedded, |gateway| gateway.table(&table).route(limited)).await;
    let (staying, leaving) = (site.registered("ada").await, site.signed_in("ada").await);
    leaving.log_out().await;
    site.gateway.command(&["revoke", "--user", "ada"]);
    let wrong = json!({"username": "ada", "password": "not the password"});
    assert_eq!(site.gateway.anonymous().post("/auth/login", &wrong).await.0, 401);
    let replica = site.gateway.replica().await;
    let grace = Actor::registered(replica.address, "grace").await;
    assert_eq!(site.get("/limited", &grace.access_token).await.status, 200);
    assert_eq!(site.get_from(&replica, "/limited", &grace.access_token).await.status, 429, "replicas count together");
    site.keeps_out_again(&staying).await;

    let holder = cluster.holder().expect("somebody serves the set");
    let keys: Vec<String> = cluster.nodes[holder].command(&["KEYS", "*"]);
    for kind in ["revoked_sid:", "revoked_before:", "revocation_epoch", "revocation_feed", "attempts:", "rate:"] {
        assert!(keys.iter().any(|key| key.starts_with(&format!("{TAG}{kind}"))), "no {kind} in {keys:?}");
    }
    for (at, node) in cluster.nodes.iter().enumerate().filter(|(_, node)| node.shows("role:master")) {
        let count: usize = node.command(&["DBSIZE"]);
        assert_eq!(count > 0, at == holder, "node {at} has {count} keys");
    }
}

/// A primary that is alone serves nothing, and whoever hears of no majority lets nobody in.
#[tokio::test]
async fn a_cluster_without_a_majority_lets_nobody_in() {
    let cluster = Cluster::start();
    let site = beside(&cluster.keys()).await;
    let (staying, leaving, later) = (site.registered("ada").await, site.signed_in("ada").await, site.signed_in("ada").await);
    leaving.log_out().await;
    let holder = cluster.holder().expect("somebody serves the set");
    let others: Vec<_> = (0..cluster.nodes.len()).filter(|at| *at != holder).collect();
    for &at in &others {
        cluster.nodes[at].pause();
    }
    patiently("the end of the last word", async || (site.verdict(&staying).await.0 == 503).then_some(())).await;
    site.cannot_know(&staying).await;
    site.cannot_log_out(&later).await;
    assert_eq!(site.get("/public", "").await.status, 200);
    let alone = || cluster.nodes[holder].try_command::<i64>(&["EXISTS", &format!("{TAG}revocation_epoch")]);
    patiently("CLUSTERDOWN", async || alone().is_err_and(|error| error.code() == Some("CLUSTERDOWN")).then_some(())).await;
    site.cannot_know(&staying).await;
    for &at in &others {
        cluster.nodes[at].resume();
    }
    site.recovers(&staying, &leaving).await;
    site.logs_out_again(&later).await;
}

/// The slot is given to another primary by an operator, with what is in it.
#[tokio::test]
async fn a_slot_that_moves_is_followed() {
    let cluster = Cluster::start();
    let site = beside(&cluster.keys()).await;
    let (staying, leaving) = (site.registered("ada").await, site.signed_in("ada").await);
    leaving.log_out().await;
    let holder = cluster.holder().expect("somebody serves the set");
    let target =
        (0..cluster.nodes.len()).find(|&at| at != holder && cluster.nodes[at].shows("role:master")).expect("three primaries");
    let slot: u16 = cluster.nodes[holder].command(&["CLUSTER", "KEYSLOT", TAG]);
    let (slot, id) = (slot.to_string(), |at: usize| cluster.nodes[at].command::<String>(&["CLUSTER", "MYID"]));
    let (from, to) = (id(holder), id(target));
    let _: String = cluster.nodes[target].command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from]);
    let _: String = cluster.nodes[holder].command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to]);
    let port = cluster.nodes[target].port.to_string();
    patiently("the slot is empty", async || {
        let keys: Vec<String> = cluster.nodes[holder].command(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
        for key in &keys {
            // A key may be gone by itself meanwhile: NOKEY.
            let _: String = cluster.nodes[holder].command(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]);
        }
        // Half of the set is here and half of it there: it is no set.
        assert!(matches!(site.verdict(&leaving).await.0, 401 | 503));
        keys.is_empty().then_some(())
    })
    .await;
    for at in [target, holder] {
        let _: String = cluster.nodes[at].command(&["CLUSTER", "SETSLOT", &slot, "NODE", &to]);
    }
    site.recovers(&staying, &leaving).await;
    assert_eq!(cluster.holder(), Some(target));
    site.logs_out_again(&staying).await;
    site.keeps_out_again(&staying).await;
}
