//! `/auth/verify` and the proxied path: one verdict, in the same words, on whatever is shown (case 183).

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::client::{Actor, Response};
use crate::support::eventually;
use crate::support::site::{Site, Store};

/// What a client learns of a verdict.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    status: u16,
    code: String,
    challenge: Option<String>,
}

impl Verdict {
    fn of(answer: &Response) -> Self {
        let challenge = answer.head.one("www-authenticate").map(str::to_owned);
        Self { status: answer.status, code: answer.code(), challenge }
    }
}

async fn asked(site: &Site, target: &str, credentials: &str) -> Response {
    site.gateway.connect().await.ask(format!("GET {target} HTTP/1.1\r\nhost: a\r\n{credentials}\r\n")).await
}

/// The verdict of both.
async fn verdict(site: &Site, credentials: &str) -> Verdict {
    let verified = Verdict::of(&asked(site, "/auth/verify", credentials).await);
    let proxied = Verdict::of(&asked(site, "/api/x", credentials).await);
    assert_eq!(verified, proxied, "{credentials}");
    verified
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

async fn api_key(owner: &Actor) -> (String, String) {
    let (status, made) = owner.post("/auth/api-keys", &json!({"name": "nightly"})).await;
    assert_eq!(status, 201, "{made}");
    let text = |name: &str| made[name].as_str().expect("text").to_owned();
    (text("key"), text("id"))
}

#[tokio::test]
async fn verify_and_the_proxy_agree_on_every_credential() {
    let site = Site::changed(Store::Embedded, |gateway| gateway.table("[auth.api_keys]\nscopes = [\"reports:read\"]")).await;
    let ada = site.registered("ada").await;
    let (gone, disabled) = (site.signed_in("ada").await, site.registered("eve").await);
    let (key, _) = api_key(&ada).await;
    let (revoked_key, id) = api_key(&ada).await;
    let (key_of_disabled, _) = api_key(&disabled).await;
    gone.log_out().await;
    assert_eq!(ada.delete(&format!("/auth/api-keys/{id}")).await.0, 204);
    site.gateway.command(&["user", "disable", "eve"]);
    let (head, rest) = ada.access_token.split_once('.').expect("a token");
    let (payload, signature) = rest.split_once('.').expect("a token");
    let other_payload = gone.access_token.split('.').nth(1).expect("a payload");
    for (credentials, code) in [
        (bearer(&ada.access_token), ""),
        (bearer(&ada.access_token).to_lowercase().replace(&ada.access_token.to_lowercase(), &ada.access_token), ""),
        (bearer(&key), ""),
        (String::new(), "missing_token"),
        ("authorization: Bearer\r\n".to_owned(), "missing_token"),
        ("authorization: Basic YTpi\r\n".to_owned(), "missing_token"),
        (format!("cookie: access_token={}\r\n", ada.access_token), "missing_token"),
        (bearer("null"), "bad_token"),
        (bearer(&ada.refresh_token), "bad_token"),
        (bearer(&format!(" {}", ada.access_token)), "bad_token"),
        (bearer(&format!("{},x", ada.access_token)), "bad_token"),
        (bearer(&format!("{head}.{other_payload}.{signature}")), "bad_token"),
        (bearer(&format!("{head}.{payload}.")), "bad_token"),
        (bearer(&format!("{payload}.{signature}")), "bad_token"),
        (bearer(&format!("{}A", &key[..key.len() - 1])), "bad_token"),
        (bearer(&"A".repeat(9000)), "bad_token"),
        (bearer(&gone.access_token), "revoked_token"),
        (bearer(&disabled.access_token), "revoked_token"),
        (bearer(&revoked_key), "revoked_token"),
        (bearer(&key_of_disabled), "revoked_token"),
        (bearer(&ada.access_token).repeat(2), "malformed"),
    ] {
        assert_eq!(verdict(&site, &credentials).await.code, code, "{credentials}");
    }
    // Case 183: what is handed to a proxy in front is what an upstream behind is told.
    let verified = asked(&site, "/auth/verify", &bearer(&ada.access_token)).await;
    let told = site.upstream.requests("GET /api/x ").swap_remove(0).head;
    let identity = |fields: &mut dyn Iterator<Item = (&str, &str)>| -> BTreeMap<String, String> {
        let ours = fields.filter(|(name, _)| name.to_ascii_lowercase().starts_with("x-auth-"));
        ours.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect()
    };
    let handed = identity(&mut verified.head.fields());
    assert_eq!(handed, identity(&mut told.fields()));
    assert!(handed.contains_key("x-auth-subject"), "{handed:?}");
}

#[tokio::test]
async fn verify_and_the_proxy_agree_on_an_expired_token() {
    let site = Site::changed(Store::Embedded, |gateway| gateway.set("auth.access_token=1s").set("auth.clock_skew=0s")).await;
    let ada = site.registered("ada").await;
    eventually("the end of the access token", async || (ada.get("/auth/verify").await.0 == 401).then_some(())).await;
    assert_eq!(verdict(&site, &bearer(&ada.access_token)).await.code, "expired_token");
}
