//! Tokens that their issuer must be asked about.

use serde_json::{Value, json};

use super::provider::{Behaviour, Provider, now};
use super::{passes, refusal, verdict};
use crate::support::site::{Site, Store};

async fn site(provider: &Provider, further: &str) -> Site {
    let table = format!(
        "[[issuers]]\nname = 'opaque'\nissuer = 'https://opaque.example'\naudiences = ['api']\n[issuers.introspection]\n\
         url = 'http://{}/introspect'\nclient_id = 'gate:1'\nclient_secret = 's&t'\ntimeout = '5s'\n{further}",
        provider.address
    );
    Site::changed(Store::Embedded, |gateway| gateway.table(&table)).await
}

fn active() -> Value {
    json!({"active": true, "iss": "https://opaque.example", "aud": "api", "sub": "ada", "iat": now(), "exp": now() + 600})
}

#[tokio::test]
async fn an_active_token_passes_and_is_asked_about_once_a_while() {
    let provider = Provider::with(Behaviour::Status(404)).await;
    let site = site(&provider, "cache_for = '1m'\n").await;
    provider.now_says(Behaviour::Json(active()));
    let asking = (0..8).map(|_| site.get("/api", "tok-1"));
    for answer in futures_util::future::join_all(asking).await {
        assert_eq!(answer.status, 200);
    }
    let told = &site.upstream.requests("GET /api/")[0].head;
    assert_eq!((told.one("x-auth-issuer"), told.one("x-auth-subject")), (Some("https://opaque.example"), Some("ada")));
    assert_eq!(verdict(&site, "tok-1").await.0, 200);
    // "gate%3A1:s%26t"
    let question = ("Basic Z2F0ZSUzQTE6cyUyNnQ=".to_owned(), "token=tok%2D1&token_type_hint=access_token".to_owned());
    assert_eq!(provider.questions(), [question]);
    provider.now_says(Behaviour::Json(json!({"active": false})));
    assert_eq!(verdict(&site, "tok-2").await, refusal(401, "bad_token"));
    assert_eq!(verdict(&site, "tok-1").await.0, 200, "believed for a minute");
}

#[tokio::test]
async fn what_the_issuer_does_not_say_is_not_believed() {
    let provider = Provider::with(Behaviour::Status(404)).await;
    let site = site(&provider, "cache_for = '0s'\n").await;
    let with = |name: &str, value: Value| {
        let mut answer = active();
        answer[name] = value;
        Behaviour::Json(answer)
    };
    for (name, answer, expected) in [
        ("inactive", Behaviour::Json(json!({"active": false})), refusal(401, "bad_token")),
        ("for another audience", with("aud", json!("other")), refusal(401, "bad_token")),
        ("of another issuer", with("iss", json!("https://opaque.example/")), refusal(401, "bad_token")),
        ("expired", with("exp", json!(now() - 60)), refusal(401, "bad_token")),
        ("without an end", with("exp", Value::Null), refusal(401, "bad_token")),
        ("garbage", Behaviour::Text("application/json", "yes".to_owned()), refusal(503, "unavailable")),
        ("text", with("active", json!("true")), refusal(503, "unavailable")),
        ("HTML", Behaviour::Text("text/html", active().to_string()), refusal(503, "unavailable")),
        ("oversized", with("x", json!("x".repeat(64 * 1024))), refusal(503, "unavailable")),
        ("wrong credentials", Behaviour::Status(401), refusal(503, "unavailable")),
        ("redirected", Behaviour::Redirect("/introspect".to_owned()), refusal(503, "unavailable")),
        ("silent", Behaviour::Silent, refusal(503, "unavailable")),
    ] {
        provider.now_says(answer);
        assert_eq!(verdict(&site, "tok").await, expected, "{name}");
    }
    provider.now_says(Behaviour::Json(active()));
    assert_eq!(verdict(&site, "tok").await.0, 200);
}

#[tokio::test]
async fn a_refusal_is_believed_for_a_moment_and_an_outage_is_not() {
    let provider = Provider::with(Behaviour::Status(404)).await;
    let site = site(&provider, "cache_for = '1m'\n").await;
    provider.now_says(Behaviour::Json(json!({"active": false})));
    for _ in 0..50 {
        assert_eq!(verdict(&site, "tok").await, refusal(401, "bad_token"));
    }
    let asked = provider.questions().len();
    assert!((1..50).contains(&asked), "{asked} questions about one token");
    // Not for the minute of a good answer: the token may have been issued just now.
    provider.now_says(Behaviour::Json(active()));
    passes(&site, "tok").await;
    provider.now_says(Behaviour::Status(500));
    let before = provider.questions().len();
    for asked in 1..=3 {
        assert_eq!(verdict(&site, "other").await, refusal(503, "unavailable"));
        assert_eq!(provider.questions().len(), before + asked);
    }
    provider.now_says(Behaviour::Json(active()));
    assert_eq!(verdict(&site, "other").await.0, 200);
}

#[tokio::test]
async fn no_secret_of_ours_is_shown_to_another_issuer() {
    let provider = Provider::with(Behaviour::Status(404)).await;
    let site = site(&provider, "").await;
    provider.now_says(Behaviour::Json(active()));
    let ada = site.registered("ada").await;
    site.lets_in(&ada).await;
    let refresh = ada.refresh_token.clone();
    for token in [refresh.as_str(), "pck_abc", "pcs_abc", "a.b.c"] {
        assert_eq!(verdict(&site, token).await.0, 401, "{token}");
    }
    assert_eq!(provider.questions(), []);
}
