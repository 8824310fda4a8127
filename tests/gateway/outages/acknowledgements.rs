//! `min_replica_acks`: nobody is told that a session has ended before replicas of Redis have it, too (205).

use serde_json::json;

use super::redis_site::beside;
use super::*;
use crate::support::services::redis_servers::{Server, replicated};

const PENDING: &str = "portcullis_revocation_pending_publications";

fn records(server: &Server) -> usize {
    server.command::<Vec<String>>(&["KEYS", "revoked_sid:*"]).len()
}

#[tokio::test]
async fn a_logout_counts_when_a_replica_has_it_and_is_made_true_when_one_is_back() {
    let servers = replicated(1);
    let [primary, replica] = servers.as_slice() else { panic!("a primary and its replica") };
    let site = beside(&format!("url = \"{}\"\nmin_replica_acks = 1", primary.url())).await;
    let (staying, leaving, later) = (site.registered("ada").await, site.signed_in("ada").await, site.signed_in("ada").await);
    // A machine that runs other tests too may be slower than the time that a replica has.
    site.logs_out_again(&leaving).await;
    assert_eq!((records(primary), records(replica)), (1, 1), "both had it before anybody was told");
    site.keeps_out(&leaving).await;

    replica.pause();
    let ((), ()) = tokio::join!(site.cannot_log_out(&later), async {
        // Whoever only asks waits for no replica.
        for _ in 0..20 {
            site.lets_in(&staying).await;
        }
    });
    site.keeps_out(&later).await;
    assert_eq!(site.gateway.metric(PENDING).await, Some(1.0), "it is tried again");
    site.cannot_log_out(&later).await;

    replica.resume();
    eventually("the publication", async || (site.gateway.metric(PENDING).await? == 0.0).then_some(())).await;
    assert_eq!(records(replica), 2);
    site.logs_out_again(&later).await;
    site.lets_in(&staying).await;
}

#[tokio::test]
async fn without_enough_replicas_nobody_is_told_that_a_session_has_ended() {
    let mut servers = replicated(1);
    let site = beside(&format!("url = \"{}\"\nmin_replica_acks = 2", servers[0].url())).await;
    let (staying, leaving) = (site.registered("ada").await, site.signed_in("ada").await);
    site.lets_in(&staying).await;
    site.cannot_log_out(&leaving).await;
    servers[1].kill();
    site.cannot_log_out(&leaving).await;
    site.keeps_out(&leaving).await;
    site.lets_in(&staying).await;
    // Its end is recorded all the same, for whoever comes later.
    let replica = site.gateway.replica().await;
    assert_eq!(site.get_from(&replica, "/api", &leaving.access_token).await.status, 401);
    assert_eq!(leaving.at(replica.address).post("/auth/logout", &json!({})).await.0, 503);
}
