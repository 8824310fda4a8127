//! Logout tokens by keys that are not known yet, and issuers that come and go: most of them send a logout once, and never
//! again.

use super::*;
use crate::issuers::provider::set;

/// A gateway that knows the keys of `a`, and waits so long for others.
async fn followed(provider: &Provider, fetch_timeout: &str) -> Site {
    let keys = format!(
        "refresh_min = '1s'\nrefresh_max = '1h'\nkeep_keys_for = '2h'\nfetch_timeout = '{fetch_timeout}'\n\
         [issuers.backchannel_logout]\naudiences = ['gate']\n"
    );
    let tables = format!("[auth.throttle]\ninsecure_off = true\n{}", provider.table("a", &keys));
    let site = Site::changed(Store::Redis, |gateway| gateway.table(&tables)).await;
    eventually("the keys", async || (provider.fetches() > 0).then_some(())).await;
    site
}

#[tokio::test]
async fn a_logout_by_a_new_key_is_heard_the_first_time() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let provider = Provider::with(set(&[&old])).await;
    let site = followed(&provider, "15s").await;
    let live = access(&old, json!({"jti": "1", "sid": "s1"}));
    super::super::passes(&site, &live).await;
    // In an hour the set would be fetched by itself.
    provider.now_serves(set(&[&old, &new]));
    acknowledged(&site.gateway, &logout(&new, json!({"sid": "s1"}))).await;
    keeps_out(&site, &[&live]).await;
    // By a key that the issuer does not have, after another look.
    let before = provider.fetches();
    let refused = sent(&site.gateway, "a", &logout(&Key::new("nobodys"), json!({"sid": "s1"}))).await;
    assert_eq!((refused.status, provider.fetches() - before), (400, 1), "{}", refused.text());
}

#[tokio::test]
async fn where_the_keys_cannot_be_fetched_a_logout_is_to_come_again() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let provider = Provider::with(set(&[&old])).await;
    let site = followed(&provider, "2s").await;
    let live = access(&old, json!({"jti": "1", "sid": "s1"}));
    super::super::passes(&site, &live).await;
    provider.now_serves(Behaviour::Status(500));
    let token = logout(&new, json!({"sid": "s1"}));
    let answer = sent(&site.gateway, "a", &token).await;
    assert_eq!((answer.status, answer.head.one("retry-after").is_some()), (503, true), "{}", answer.text());
    lets_in(&site, &[&live]).await;
    // By a key that is known, it needs nobody.
    acknowledged(&site.gateway, &logout(&old, json!({"sid": "s2", "jti": "l2"}))).await;
    provider.now_serves(set(&[&new, &old]));
    eventually("the acknowledgement", async || (sent(&site.gateway, "a", &token).await.status == 200).then_some(())).await;
    keeps_out(&site, &[&live]).await;
}

#[tokio::test]
async fn an_issuer_without_keys_can_end_nothing_yet() {
    let (key, nobody) = (Key::new("k"), crate::support::upstream::nobody().await);
    let table = format!(
        "[[issuers]]\nname = 'a'\nissuer = '{A}'\naudiences = ['api']\njwks_url = 'http://{nobody}/keys'\n\
         [issuers.backchannel_logout]\naudiences = ['gate']\n"
    );
    let site = Site::changed(Store::Embedded, |gateway| gateway.table(&table)).await;
    assert_eq!(sent(&site.gateway, "a", &logout(&key, json!({"sid": "s1"}))).await.status, 503);
}

#[tokio::test]
async fn an_issuer_may_end_sessions_while_the_configuration_says_so() {
    let a = Key::new("k");
    let site = Site::changed(Store::Embedded, |gateway| gateway).await;
    let before = site.gateway.written();
    let reloaded = async |table: &str| {
        site.gateway.write(format!("{before}{table}"));
        let (status, told) = site.gateway.reload().await;
        assert_eq!(status, 200, "{told}");
    };
    let token = |jti: &str| logout(&a, json!({"sid": "s1", "jti": jti}));
    assert_eq!(sent(&site.gateway, "a", &token("1")).await.status, 404);
    reloaded(&issuer("a", &a, "")).await;
    assert_eq!(sent(&site.gateway, "a", &token("2")).await.status, 404);
    reloaded(&ending("a", &a, "")).await;
    acknowledged(&site.gateway, &token("3")).await;
    assert_eq!(ended(&site, "session").await, 1.0);
    let live = access(&a, json!({"jti": "1", "sid": "s1"}));
    keeps_out(&site, &[&live]).await;
    reloaded("").await;
    assert_eq!(sent(&site.gateway, "a", &token("4")).await.status, 404);
    let (_, metrics) = site.gateway.admin("/metrics").await.expect("it listens");
    assert!(!metrics.contains(r#"issuer="a""#), "what is gone is no more shown:\n{metrics}");
    // It comes back, and what it ended is as before.
    reloaded(&ending("a", &a, "")).await;
    keeps_out(&site, &[&live]).await;
}
