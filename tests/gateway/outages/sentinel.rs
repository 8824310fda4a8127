//! A primary that sentinels watch over: it is found through a majority of them, followed when it changes, and no session that
//! was ended comes back, neither with writes that a failover lost nor at a primary that does not know yet that it was
//! replaced (204, 205, 208).

use super::acknowledgements::beside;
use super::*;
use crate::support::client::Actor;
use crate::support::services::redis_servers::{Server, Watched};

const AMNESIA: &str = r#"portcullis_revocation_republications_total{cause="amnesia"}"#;

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
    patiently("the refusal of what was revoked", async || match site.verdict(&leaving).await {
        (401, code) if code == "revoked_token" => Some(()),
        (503, code) if code == "revocation_unknown" => None,
        other => panic!("{other:?}"),
    })
    .await;
    patiently("the recovery", async || match site.verdict(&staying).await {
        (200, _) => Some(()),
        (503, code) if code == "revocation_unknown" => None,
        other => panic!("{other:?}"),
    })
    .await;
    assert!(site.gateway.metric(AMNESIA).await.expect("it is counted") >= 1.0, "everything was published again");
    let new = &fleet.servers[fleet.primary().expect("it is there")];
    assert_eq!(new.command::<Vec<String>>(&["KEYS", "revoked_sid:*"]).len(), 1);
    site.logs_out_again(&staying).await;
    site.keeps_out_again(&staying).await;
}

/// Failovers take their time, and this machine may be busy.
async fn patiently<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("not within a minute: {what}");
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
    let ends_at = |number: usize| if number % 2 == 0 { site.gateway.address } else { other.address };
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
