//! Complete mediation: by whatever way a token of another issuer comes in, it opens nothing unless it is genuine, in its time,
//! for this gateway and not revoked (P2).

use serde_json::{Value, json};

use super::provider::{Key, now};
use crate::support::site::{Site, Store};
use crate::support::websocket::{open_with, websocket_server};

const A: &str = "https://a.example";

/// A gateway that everything can be asked of, and the secret of a client that may introspect.
async fn site(key: &Key) -> (Site, String) {
    let (chat, _) = websocket_server().await;
    let jwks = json!({"keys": [key.jwk()]});
    let site = Site::changed(Store::Redis, |gateway| {
        gateway
            .set("server.trusted_proxies=[\"127.0.0.1/32\"]")
            .table(&format!("[upstreams.chat]\nservers = [\"http://{chat}\"]"))
            .table("[[routes]]\nupstream = \"chat\"\npath = \"/ws\"\nwebsocket = true")
            .table(&format!(
                "[[issuers]]\nname = 'a'\nissuer = '{A}'\naudiences = ['api']\njwks = '{jwks}'\n\
                 [issuers.backchannel_logout]\naudiences = ['gate']\n"
            ))
    })
    .await;
    let client: Value = serde_json::from_str(&site.gateway.command(&["client", "add", "asker", "--json"])).expect("JSON");
    (site, client["client_secret"].as_str().expect("it is shown once").to_owned())
}

/// What a token opens, by the name of the way in.
async fn opened(site: &Site, secret: &str, token: &str) -> Vec<&'static str> {
    let bearer = format!("Bearer {token}");
    let asked = async |fields: &str| {
        let question = format!("GET /auth/verify HTTP/1.1\r\nhost: a\r\nauthorization: {bearer}\r\n{fields}\r\n");
        site.gateway.connect().await.ask(question).await.status == 200
    };
    let socket = async |fields: &[(&'static str, &str)]| open_with(site.gateway.address, "/ws", fields).await.is_ok();
    let form = [("token", token), ("client_id", "asker"), ("client_secret", secret)];
    let (status, active) = site.gateway.anonymous().form("/auth/oauth/introspect", &form).await;
    assert_eq!(status, 200, "{active}");
    let ways = [
        ("a route", site.get("/api", token).await.status == 200),
        ("a route for everybody who says who it is", site.get("/optional", token).await.status == 200),
        ("a question about the token", asked("").await),
        ("nginx's question", asked("x-original-method: GET\r\nx-original-uri: /api/x\r\n").await),
        ("traefik's question", asked("x-forwarded-method: GET\r\nx-forwarded-uri: /api/x\r\nx-forwarded-host: a\r\n").await),
        ("a WebSocket", socket(&[("authorization", &bearer)]).await),
        ("a page's WebSocket", socket(&[("sec-websocket-protocol", &format!("bearer, {token}"))]).await),
        ("introspection", active["active"] == true),
    ];
    ways.into_iter().filter(|(_, open)| *open).map(|(name, _)| name).collect()
}

#[tokio::test]
async fn what_opens_one_way_opens_every_way_and_what_opens_none_opens_none() {
    let (a, other) = (Key::new("k"), Key::new("k"));
    let (site, secret) = site(&a).await;
    let say = |key: &Key, further: Value| {
        let mut claims = json!({"iss": A, "jti": "1", "sid": "s1"});
        for (name, value) in further.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        key.token(&claims)
    };
    let (good, staying) = (say(&a, json!({})), say(&a, json!({"jti": "2", "sid": "s2"})));
    assert_eq!(opened(&site, &secret, &good).await.len(), 8, "{:?}", opened(&site, &secret, &good).await);
    let nothing: [&str; 0] = [];
    for (name, token) in [
        ("forged", say(&other, json!({}))),
        ("expired", say(&a, json!({"iat": now() - 600, "exp": now() - 60}))),
        ("for others", say(&a, json!({"aud": "others"}))),
        ("of nobody", say(&a, json!({"iss": "https://nobody.example"}))),
        ("of the future", say(&a, json!({"iat": now() + 300, "exp": now() + 600}))),
        ("too long a life", say(&a, json!({"exp": now() + 100_000}))),
        ("unsigned", good.rsplit_once('.').expect("three parts").0.to_owned() + "."),
        ("an event", say(&a, json!({"events": {"urn:any": {}}}))),
    ] {
        assert_eq!(opened(&site, &secret, &token).await, nothing, "{name}");
    }
    let claims = json!({
        "iss": A, "aud": "gate", "iat": now(), "exp": now() + 60, "jti": "l", "sid": "s1",
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
    });
    let logout = a.signed(&json!({"alg": "EdDSA", "kid": "k", "typ": "logout+jwt"}), &claims);
    let (status, body) = site.gateway.anonymous().form("/auth/backchannel-logout/a", &[("logout_token", &logout)]).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(opened(&site, &secret, &good).await, nothing);
    assert_eq!(opened(&site, &secret, &logout).await, nothing);
    assert_eq!(opened(&site, &secret, &staying).await.len(), 8);
}
