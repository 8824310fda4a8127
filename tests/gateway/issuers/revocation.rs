//! Tokens of other issuers, revoked here by whoever administers this gateway.

use serde_json::json;

use super::provider::Key;
use super::{refusal, two_issuers, verdict};
use crate::support::client::Actor;
use crate::support::site::Store;

#[tokio::test]
async fn an_administrator_revokes_a_foreign_token_by_all_of_it_and_its_session_by_the_id_that_services_see() {
    let (a, b) = (Key::new("k"), Key::new("k"));
    let site = two_issuers(Store::Redis, &a, &b).await;
    Actor::registered_with(site.gateway.address, "root", json!({})).await;
    site.gateway.command(&["user", "roles", "root", "--add", "admin"]);
    let root = site.signed_in("root").await;
    let token = |jti: &str, sid: &str| a.token(&json!({"iss": "https://a.example", "jti": jti, "sid": sid}));
    let (first, second, staying) = (token("1", "s1"), token("2", "s2"), token("3", "s3"));
    // Another issuer's with the same ids, and one that has none.
    let other = b.token(&json!({"iss": "https://b.example", "jti": "1", "sid": "s2"}));
    let nameless = b.token(&json!({"iss": "https://b.example", "sub": "nameless"}));
    let revoked = refusal(401, "revoked_token");
    for token in [&first, &second, &staying, &other, &nameless] {
        assert_eq!(verdict(&site, token).await.0, 200);
    }
    for token in [&first, &nameless] {
        assert_eq!(root.post("/auth/admin/revocations", &json!({"token": token})).await.0, 204);
        assert_eq!(verdict(&site, token).await, revoked);
    }
    assert_eq!(site.get("/api/second", &second).await.status, 200);
    let told = &site.upstream.requests("GET /api/second/")[0].head;
    let session = told.one("x-auth-session").expect("it is told").to_owned();
    assert_eq!(root.post("/auth/admin/revocations", &json!({"session": session})).await.0, 204);
    assert_eq!(verdict(&site, &second).await, revoked);
    for token in [&staying, &other] {
        assert_eq!(verdict(&site, token).await.0, 200);
    }
    let stranger = Key::new("k").token(&json!({"iss": "https://stranger.example", "jti": "1"}));
    assert_eq!(root.post("/auth/admin/revocations", &json!({"token": stranger})).await.0, 400);
}

/// Tokens that say nothing by themselves: only their issuer knows by which id they are looked up.
mod opaque {
    use serde_json::{Value, json};

    use super::super::provider::{Behaviour, Provider, now};
    use super::super::{refusal, verdict};
    use crate::support::client::Actor;
    use crate::support::site::{Site, Store};

    const OPAQUE: &str = "https://opaque.example";

    async fn site(store: Store, provider: &Provider) -> (Site, Actor) {
        let table = format!(
            "[[issuers]]\nname = 'opaque'\nissuer = '{OPAQUE}'\naudiences = ['api']\n[issuers.introspection]\n\
             url = 'http://{}/introspect'\nclient_id = 'g'\nclient_secret = 's'\ncache_for = '1m'\n",
            provider.address
        );
        let site = Site::changed(store, |gateway| gateway.set("auth.self_assigned_roles=[\"admin\"]").table(&table)).await;
        let root = Actor::registered_with(site.gateway.address, "root", json!({"roles": ["admin"]})).await;
        (site, root)
    }

    fn active(further: &Value) -> Behaviour {
        let mut answer = json!({"active": true, "iss": OPAQUE, "aud": "api", "sub": "ada", "iat": now(), "exp": now() + 600});
        for (name, value) in further.as_object().expect("an object") {
            answer[name] = value.clone();
        }
        Behaviour::Json(answer)
    }

    #[tokio::test]
    async fn a_whole_token_is_revoked_whether_its_issuer_names_it_or_not_and_is_written_nowhere() {
        for store in [Store::Embedded, Store::Redis, Store::Mirror] {
            let provider = Provider::with(Behaviour::Status(404)).await;
            let (mut site, root) = site(store, &provider).await;
            for (token, further) in [
                ("secret-token-1", json!({})),
                ("secret-token-2", json!({"jti": "j2"})),
                ("secret-token-3", json!({"jti": "j3", "sid": "s"})),
                ("secret-token-4", json!({"sid": "s"})),
            ] {
                provider.now_says(active(&further));
                assert_eq!(verdict(&site, token).await.0, 200, "{token}");
                let (status, body) = root.post("/auth/admin/revocations", &json!({"token": token})).await;
                assert_eq!(status, 204, "{token}: {body}");
                assert_eq!(verdict(&site, token).await, refusal(401, "revoked_token"), "{token}");
            }
            // Another one of the same session, which nobody asked about before.
            provider.now_says(active(&json!({"jti": "j5", "sid": "s"})));
            assert_eq!(verdict(&site, "secret-token-5").await.0, 200);
            let (_, record) = root.get("/auth/audit?kind=token_revoked").await;
            assert!(!record.to_string().contains("secret-token") && record["events"][3].is_object(), "{record}");
            if store != Store::Embedded {
                let keys: Vec<String> = site.redis().command(&["KEYS", "revoked_jti:*"]);
                assert!(keys.len() >= 4 && !keys.concat().contains("secret-token"), "{keys:?}");
            }
        }
    }

    #[tokio::test]
    async fn what_its_issuer_does_not_vouch_for_is_no_success() {
        let provider = Provider::with(Behaviour::Status(404)).await;
        let (_running, root) = site(Store::Embedded, &provider).await;
        provider.now_says(Behaviour::Status(500));
        let (status, body) = root.post("/auth/admin/revocations", &json!({"token": "secret-token-1"})).await;
        assert_eq!((status, &body["code"]), (503, &json!("unavailable")), "{body}");
        provider.now_says(Behaviour::Json(json!({"active": false})));
        let (status, body) = root.post("/auth/admin/revocations", &json!({"token": "secret-token-2"})).await;
        assert_eq!((status, &body["code"]), (400, &json!("invalid")), "{body}");
        assert!(!body.to_string().contains("secret-token"), "{body}");
        // What may be a secret of ours is shown to nobody.
        let asked = provider.questions().len();
        for ours in ["pck_nothing", "pcs_nothing", root.refresh_token.as_str()] {
            root.post("/auth/admin/revocations", &json!({"token": ours})).await;
        }
        assert_eq!(provider.questions().len(), asked);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_command_line_asks_too() {
        let provider = Provider::with(active(&json!({}))).await;
        let (site, _) = site(Store::Redis, &provider).await;
        provider.now_says(active(&json!({"jti": "j1"})));
        assert_eq!(verdict(&site, "secret-token-1").await.0, 200);
        let file = site.gateway.data().join("leaked");
        std::fs::write(&file, "secret-token-1\n").expect("a writable directory");
        // The provider runs in this process, and must be able to answer meanwhile.
        let said = tokio::task::block_in_place(|| site.gateway.command(&["revoke", "--token", &format!("@{}", file.display())]));
        assert!(said.contains("is revoked") && !said.contains("secret-token"), "{said}");
        assert_eq!(verdict(&site, "secret-token-1").await, refusal(401, "revoked_token"));
    }
}
