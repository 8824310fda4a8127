//! A primary that sentinels watch over: it is found through a majority of them, followed when it changes, and no session that
//! was ended comes back, neither with writes that a failover lost nor at a primary that does not know yet that it was
//! replaced (204, 205, 208).

use super::redis_site::{AMNESIA, beside, patiently};
use super::*;
use crate::support::fault_proxy::{Fault, FaultProxy};
use crate::support::services::redis_servers::{Server, Watched};

/// As if it had never got what the primary has acknowledged.
fn forget(replica: &Server) {
    let _: String = replica.command(&["CONFIG", "SET", "replica-read-only", "no"]);
    for key in replica.command::<Vec<String>>(&["KEYS", "revoked_*"]) {
        let _: i64 = replica.command(&["DEL", &key]);
    }
    let _: i64 = replica.command(&["XTRIM", "revocation_feed", "MAXLEN", "0"]);
    let _: String = replica.command(&["CONFIG", "SET", "replica-read-only", "yes"]);
}

async fn loses_writes(mode: &str) {
    let mut fleet = Watched::start();
    let site = beside(&format!("{}\ncheck = \"{mode}\"", fleet.keys())).await;
    let (staying, leaving) = (site.registered("ada").await, site.signed_in("ada").await);
    site.lets_in(&leaving).await;
    leaving.log_out().await;
    site.keeps_out(&leaving).await;
    site.lets_in(&staying).await;

    let (primary, replicas) = fleet.servers.split_at_mut(1);
    replicas.iter().for_each(forget);
    primary[0].kill();
    patiently("another primary", async || fleet.primary().filter(|&at| at != 0)).await;
    // From here on it would be easy to say "not revoked".
    site.recovers(&staying, &leaving).await;
    assert!(site.gateway.metric(AMNESIA).await.expect("it is counted") >= 1.0, "everything was published again");
    let new = &fleet.servers[fleet.primary().expect("it is there")];
    assert_eq!(new.command::<Vec<String>>(&["KEYS", "revoked_sid:*"]).len(), 1);
    site.logs_out_again(&staying).await;
    site.keeps_out_again(&staying).await;
}

#[tokio::test]
async fn a_failover_that_loses_writes_brings_nobody_back_in_strict_mode() {
    loses_writes("strict").await;
}

#[tokio::test]
async fn a_failover_that_loses_writes_brings_nobody_back_in_mirror_mode() {
    loses_writes("mirror").await;
}

/// While a primary is replaced that is alive and well, there are two for a while. Sessions end at one replica of the gateway
/// and are used at the other: none is accepted once its end is acknowledged.
#[tokio::test]
async fn two_primaries_at_once_never_disagree_about_what_was_acknowledged() {
    const SESSIONS: usize = 30;
    let fleet = Watched::start();
    let site = beside(&fleet.keys()).await;
    let staying = site.registered("ada").await;
    let mut sessions: Vec<Actor> = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push(site.signed_in("ada").await);
    }
    let other = site.gateway.replica().await;
    let ends_at = |number: usize| if number.is_multiple_of(2) { site.gateway.address } else { other.address };
    for (number, actor) in sessions.iter().enumerate() {
        if number == 3 {
            let _: String = fleet.sentinels[0].command(&["SENTINEL", "FAILOVER", "main"]);
        }
        patiently("the acknowledgement of a logout", async || {
            match actor.at(ends_at(number)).post("/auth/logout", &json!({})).await.0 {
                204 => Some(()),
                503 => None,
                other => panic!("{other}"),
            }
        })
        .await;
        for gateway in [&site.gateway, &other] {
            let answer = site.get_from(gateway, "/api", &actor.access_token).await;
            assert!(matches!(answer.status, 401 | 503), "session {number}: {} after the acknowledgement", answer.status);
        }
    }
    let primary = patiently("another primary", async || fleet.primary().filter(|&at| at != 0)).await;
    assert!(fleet.servers[primary].shows("role:master"));
    patiently("the recovery", async || (site.verdict(&staying).await.0 == 200).then_some(())).await;
    for actor in &sessions {
        site.keeps_out_again(actor).await;
    }
}

/// The worst that a network can do: the primary is cut off from sentinels and replicas and still reached by both replicas of the
/// gateway, and one of them hears from no sentinel that there is another primary by now.
#[tokio::test]
async fn a_primary_that_is_cut_off_is_not_believed_by_whoever_still_reaches_it() {
    const SESSIONS: usize = 6;
    let fleet = Watched::start();
    for server in &fleet.servers {
        let _: String = server.command(&["ACL", "SETUSER", "gateway", "on", ">sesame", "+@all", "~*", "&*"]);
    }
    let login = "username = \"gateway\"\npassword = \"sesame\"";
    let site = beside(&format!("{}\n{login}", fleet.keys())).await;
    let mut networks = Vec::new();
    for sentinel in &fleet.sentinels {
        networks.push(FaultProxy::before(sentinel.port).await);
    }
    let urls: Vec<_> = networks.iter().map(|network| format!("redis://{}", network.address)).collect();
    let deaf = site.gateway.replica_with(&format!("revocation.sentinel.servers={}", urls.join(","))).await;
    let staying = site.registered("ada").await;
    let mut sessions: Vec<Actor> = Vec::new();
    for _ in 0..=SESSIONS {
        sessions.push(site.signed_in("ada").await);
    }
    let last = sessions.pop().expect("one more");

    networks.iter().for_each(|network| network.does(Fault::Silence));
    // Sentinels and replicas come as the default user.
    let _: String = fleet.servers[0].command(&["ACL", "SETUSER", "default", "off"]);
    let reached = redis::Client::open(format!("redis://gateway:sesame@127.0.0.1:{}", fleet.servers[0].port)).expect("a URL");
    let mut reached = reached.get_connection().expect("the gateway reaches it, too");
    let _: i64 = redis::cmd("CLIENT").arg(&["KILL", "USER", "default"]).query(&mut reached).expect("a command");

    let mut at_another = 0;
    for (number, actor) in sessions.iter().enumerate() {
        patiently("the acknowledgement of a logout", async || (site.log_out(actor).await.status == 204).then_some(())).await;
        let answer = site.get_from(&deaf, "/api", &actor.access_token).await;
        assert!(matches!(answer.status, 401 | 503), "session {number}: {} after the acknowledgement", answer.status);
        if number == 0 {
            // Those that follow end at the new one.
            patiently("another primary", async || fleet.primary().filter(|&at| at != 0)).await;
        } else {
            at_another += 1;
        }
    }
    assert_eq!(at_another, SESSIONS - 1);
    let role: String = redis::cmd("INFO").arg("replication").query(&mut reached).expect("a command");
    assert!(role.contains("role:master"), "the old one still believes to be the primary");
    // What is written there counts for nothing.
    assert_eq!(last.at(deaf.address).post("/auth/logout", &json!({})).await.0, 503);
    assert_eq!(site.get_from(&deaf, "/api", &staying.access_token).await.status, 503);
    site.recovers(&staying, &sessions[0]).await;

    networks.iter().for_each(|network| network.does(Fault::None));
    let heard = async || (site.get_from(&deaf, "/api", &staying.access_token).await.status == 200).then_some(());
    patiently("the recovery", heard).await;
    for actor in &sessions {
        assert_eq!(site.get_from(&deaf, "/api", &actor.access_token).await.status, 401);
    }
    assert_eq!(last.at(deaf.address).post("/auth/logout", &json!({})).await.0, 204);
    site.keeps_out_again(&last).await;
}

/// Whoever hears of no majority cannot know whether there is another primary by now.
#[tokio::test]
async fn without_a_majority_of_the_sentinels_nobody_is_let_in() {
    let fleet = Watched::start();
    let site = beside(&fleet.keys()).await;
    let (staying, leaving, later) = (site.registered("ada").await, site.signed_in("ada").await, site.signed_in("ada").await);
    leaving.log_out().await;
    fleet.sentinels[0].pause();
    site.lets_in_again(&staying).await;
    fleet.sentinels[1].pause();
    patiently("the end of the last word", async || (site.verdict(&staying).await.0 == 503).then_some(())).await;
    site.cannot_know(&staying).await;
    site.cannot_log_out(&later).await;
    fleet.sentinels[0].resume();
    fleet.sentinels[1].resume();
    site.lets_in_again(&staying).await;
    site.keeps_out_again(&leaving).await;
    site.logs_out_again(&later).await;
}
