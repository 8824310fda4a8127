//! Key sets that change, vanish or are none.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::provider::{Behaviour, Key, Provider, set};
use super::{passes, refusal, verdict};
use crate::support::eventually;
use crate::support::site::{Site, Store};

/// The shortest times that the configuration takes.
const BRISK: &str = "refresh_min = '1s'\nrefresh_max = '1s'\nfetch_timeout = '2s'\n";

async fn site(provider: &Provider, further: &str) -> Site {
    let table = provider.table("corp", further);
    Site::changed(Store::Embedded, |gateway| gateway.table(&table)).await
}

fn token(key: &Key, jti: &str) -> String {
    key.token(&json!({"iss": "https://corp.example", "jti": jti}))
}

/// Waits until the keys were fetched so many more times.
async fn fetched(provider: &Provider, more: usize) {
    let before = provider.fetches();
    eventually("further fetches", async || (provider.fetches() >= before + more).then_some(())).await;
}

#[tokio::test]
async fn a_new_key_is_good_once_it_was_fetched_and_the_old_one_is_not_any_more() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let provider = Provider::with(set(&[&old])).await;
    // By itself, the set would be fetched again in an hour: it is the unknown key that asks.
    let site = site(&provider, "refresh_min = '1s'\nrefresh_max = '1h'\nkeep_keys_for = '2h'\n").await;
    let (by_old, by_new) = (token(&old, "1"), token(&new, "2"));
    passes(&site, &by_old).await;
    provider.now_serves(set(&[&new]));
    assert_eq!(verdict(&site, &by_new).await, refusal(401, "bad_token"), "no request waits for a fetch");
    assert_eq!(verdict(&site, &by_old).await.0, 200);
    passes(&site, &by_new).await;
    assert_eq!(verdict(&site, &by_old).await, refusal(401, "bad_token"), "remembered, and gone with its key");
}

#[tokio::test]
async fn a_storm_of_unknown_keys_causes_no_storm_of_fetches() {
    let (key, strange) = (Key::new("k"), Key::new("strange"));
    let provider = Provider::with(set(&[&key])).await;
    let site = site(&provider, "refresh_min = '1h'\nrefresh_max = '1h'\n").await;
    passes(&site, &token(&key, "1")).await;
    for index in 0..50 {
        let header = json!({"alg": "EdDSA", "kid": format!("k{index}"), "typ": "at+jwt"});
        let forged = strange.token_with(&header, &json!({"iss": "https://corp.example", "jti": "1"}));
        assert_eq!(verdict(&site, &forged).await, refusal(401, "bad_token"));
    }
    assert_eq!(verdict(&site, &token(&key, "2")).await.0, 200);
    assert_eq!(provider.fetches(), 1);
}

#[tokio::test]
async fn a_set_is_fetched_again_when_the_issuer_says_within_bounds() {
    let (old, new) = (Key::new("k"), Key::new("k"));
    let keys = |key: &Key| json!({"keys": [key.jwk()]});
    // No token asks for a fetch: the id of the key stays.
    for (seconds, bounds) in [
        // As the issuer says, and no later than we say.
        (1, "refresh_min = '1s'\nrefresh_max = '1h'\n"),
        (86_400, "refresh_min = '1s'\nrefresh_max = '1s'\n"),
    ] {
        let provider = Provider::with(Behaviour::Cached(seconds, keys(&old))).await;
        let site = site(&provider, &format!("{bounds}keep_keys_for = '2h'\n")).await;
        passes(&site, &token(&old, "1")).await;
        provider.now_serves(Behaviour::Cached(86_400, keys(&new)));
        passes(&site, &token(&new, "2")).await;
        assert_eq!(verdict(&site, &token(&old, "3")).await, refusal(401, "bad_token"));
    }
    let provider = Provider::with(Behaviour::Cached(0, keys(&old))).await;
    let site = site(&provider, "refresh_min = '1h'\nrefresh_max = '1h'\n").await;
    passes(&site, &token(&old, "1")).await;
    for index in 0..20 {
        assert_eq!(verdict(&site, &token(&old, &format!("{index}"))).await.0, 200);
    }
    assert_eq!(provider.fetches(), 1, "no sooner than we say");
}

// Case 145.
#[tokio::test]
async fn a_set_that_is_none_changes_nothing() {
    let (key, other) = (Key::new("k"), Key::new("other"));
    let elsewhere = Provider::with(set(&[&other])).await;
    let provider = Provider::with(set(&[&key])).await;
    let site = site(&provider, BRISK).await;
    let good = token(&key, "1");
    passes(&site, &good).await;
    let keys = |keys: serde_json::Value| Behaviour::Json(json!({"keys": keys}));
    let mut private = other.jwk();
    private["d"] = json!("AA");
    let padded = format!("{}{}", " ".repeat(64 * 1024), json!({"keys": [other.jwk()]}));
    for behaviour in [
        Behaviour::Text("application/json", "garbage".to_owned()),
        Behaviour::Text("text/html", json!({"keys": [other.jwk()]}).to_string()),
        Behaviour::Text("application/json", padded),
        Behaviour::Redirect(format!("http://{}/keys", elsewhere.address)),
        Behaviour::Silent,
        Behaviour::Status(500),
        keys(json!([])),
        keys(json!([other.jwk(), other.jwk()])),
        keys(json!([private])),
        keys(json!([other.jwk(), {"kty": "oct", "k": "AA"}])),
    ] {
        provider.now_serves(behaviour);
        // The second begins after the first was done with.
        fetched(&provider, 2).await;
        assert_eq!(verdict(&site, &good).await.0, 200);
        assert_eq!(verdict(&site, &token(&other, "1")).await, refusal(401, "bad_token"));
    }
    assert_eq!(elsewhere.fetches(), 0, "no redirect is followed");
    provider.now_serves(set(&[&other]));
    passes(&site, &token(&other, "1")).await;
}

// Case 146.
#[tokio::test]
async fn known_keys_outlive_a_restart_while_the_issuer_is_down_and_not_their_bound() {
    let key = Key::new("k");
    let provider = Provider::with(set(&[&key])).await;
    let mut site = site(&provider, &format!("{BRISK}keep_keys_for = '15s'\n")).await;
    let good = token(&key, "1");
    passes(&site, &good).await;
    // Two fetches later, the first was written.
    fetched(&provider, 2).await;
    let directory = site.gateway.data().join("issuers");
    let files: Vec<_> = std::fs::read_dir(&directory).expect("it was made").map(|file| file.expect("readable").path()).collect();
    let kept = files.iter().find(|path| path.extension().is_some_and(|end| end == "json")).expect("the keys are kept");
    assert_eq!(std::fs::metadata(kept).expect("there").permissions().mode() & 0o777, 0o600);
    provider.now_serves(Behaviour::Status(503));
    site.gateway.kill();
    site.gateway.restart().await;
    assert_eq!(verdict(&site, &good).await.0, 200, "by the keys that were kept");
    eventually("the end of the keys", async || (site.get("/api", &good).await.status == 503).then_some(())).await;
    assert_eq!(verdict(&site, &good).await, refusal(503, "unavailable"));
    eventually("the metric", async || {
        let (_, metrics) = site.gateway.admin("/metrics").await?;
        metrics.contains(r#"portcullis_jwks_state{issuer="corp",state="missing"} 1"#).then_some(())
    })
    .await;
    provider.now_serves(set(&[&key]));
    passes(&site, &good).await;
}
