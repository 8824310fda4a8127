//! What is secret is in no log, no metric and no refusal, and at rest only where it must be (P20). Every secret that
//! goes in is written down; afterwards everything that came out is searched for it.

use std::sync::Mutex;

use serde_json::{Value, json};

use crate::support::client::Actor;
use crate::support::gateway::Gateway;
use crate::support::services::Redis;
use crate::support::upstream::{Answer, Upstream};

const PASSWORD: &str = "canary-password-of-ada";
const WRONG_PASSWORD: &str = "canary-password-that-is-wrong";
const NEW_PASSWORD: &str = "canary-password-that-is-new";
const REDIS_PASSWORD: &str = "canary-password-of-redis";
/// In a query, a cookie, a key of somebody's API: whatever a client may send that is no business of ours.
const OTHER: &str = "canary-of-a-client";
/// `ada:canary-of-basic`
const BASIC: &str = "YWRhOmNhbmFyeS1vZi1iYXNpYw==";
const OF_UPSTREAM: &str = "canary-of-the-upstream";

/// A gateway that says all that it can say, and everybody's secrets.
struct Stage {
    gateway: Gateway,
    upstream: Upstream,
    redis: Redis,
    secrets: Mutex<Vec<String>>,
    /// The bodies of everything but 2xx.
    refusals: Mutex<Vec<String>>,
}

impl Stage {
    async fn new(format: &str) -> Self {
        let upstream = Upstream::answering(|head| match head.word(1) {
            "/public/garbage" => Answer::raw(format!("HTTP/1.1 200 OK\r\nset-cookie {OF_UPSTREAM}\r\n\r\n")),
            "/public/conflict" => Answer::raw(format!(
                "HTTP/1.1 200 OK\r\nset-cookie: {OF_UPSTREAM}\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"
            )),
            "/public/chunks" => Answer::raw(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{OF_UPSTREAM}\r\n")),
            _ => Answer::echo(head),
        })
        .await;
        let redis = Redis::start();
        let _: String = redis.command(&["CONFIG", "SET", "requirepass", REDIS_PASSWORD]);
        let url = redis.url().replace("redis://", &format!("redis://:{REDIS_PASSWORD}@"));
        let gateway = Gateway::in_front_of(&upstream)
            .table("[auth]\nrotation_grace = \"0s\"")
            .table(&format!("[revocation]\nurl = \"{url}\"\ndeadline = \"1s\""))
            .table(&format!("[telemetry]\nlevel = \"debug\"\nformat = \"{format}\""))
            .start()
            .await;
        let secrets = [PASSWORD, WRONG_PASSWORD, NEW_PASSWORD, REDIS_PASSWORD, OTHER, BASIC, OF_UPSTREAM];
        let (secrets, refusals) = (Mutex::new(secrets.map(str::to_owned).into()), Mutex::default());
        Self { gateway, upstream, redis, secrets, refusals }
    }

    fn is_secret(&self, secret: &str) {
        self.secrets.lock().expect("nobody panics while holding this").push(secret.to_owned());
    }

    fn note(&self, status: u16, body: &str) {
        if !(200..300).contains(&status) {
            self.refusals.lock().expect("nobody panics while holding this").push(body.to_owned());
        }
    }

    async fn raw(&self, request: &str) -> u16 {
        let answer = self.gateway.connect().await.ask(request).await;
        self.note(answer.status, &answer.text());
        answer.status
    }

    async fn post(&self, actor: &Actor, path: &str, body: Value) -> (u16, Value) {
        let (status, answer) = actor.post(path, &body).await;
        self.note(status, &answer.to_string());
        for token in ["access_token", "refresh_token"] {
            // The signature alone would be worth as much as the whole to whoever can guess the rest.
            if let Some(token) = answer[token].as_str() {
                self.is_secret(token);
                self.is_secret(token.rsplit('.').next().expect("a first piece"));
            }
        }
        (status, answer)
    }

    /// Accounts and sessions, in every way that goes well and most that do not.
    async fn accounts(&self) -> Actor {
        let mut ada = self.gateway.anonymous();
        let expect = |(status, body): (u16, Value), expected: u16| {
            assert_eq!(status, expected, "{body}");
            body
        };
        for (path, body, status) in [
            ("/auth/register", json!({"username": "ada", "password": PASSWORD}), 201),
            ("/auth/register", json!({"username": "ada", "password": PASSWORD}), 409),
            ("/auth/register", json!({"username": "bob", "password": PASSWORD, "password_confirmation": WRONG_PASSWORD}), 400),
            ("/auth/register", json!({"username": "bob", "password": PASSWORD, "roles": OTHER}), 400),
            ("/auth/register", json!({"username": [PASSWORD], "password": {"is": PASSWORD}}), 400),
            ("/auth/register", json!({"username": "bob", "password": PASSWORD, "pasword": PASSWORD}), 400),
            ("/auth/register", json!({"username": PASSWORD.repeat(100), "password": PASSWORD.repeat(100)}), 400),
            ("/auth/login", json!({"username": "ada", "password": WRONG_PASSWORD}), 401),
            ("/auth/login", json!({"username": PASSWORD, "password": PASSWORD}), 401),
            ("/auth/refresh", json!({"refresh_token": OTHER}), 401),
            ("/auth/refresh", json!({"refresh_token": [OTHER]}), 400),
            ("/auth/logout", json!({"refresh_token": OTHER}), 204),
        ] {
            expect(self.post(&ada, path, body).await, status);
        }
        for body in [format!("{{\"password\": \"{PASSWORD}\""), format!("{{\"password\": {PASSWORD}}}"), PASSWORD.to_owned()] {
            let head = "POST /auth/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
            assert_eq!(self.raw(&format!("{head}content-length: {}\r\n\r\n{body}", body.len())).await, 400);
        }
        let sign_in = json!({"username": "ada", "password": PASSWORD});
        let stolen = expect(self.post(&ada, "/auth/login", sign_in.clone()).await, 200);
        expect(self.post(&ada, "/auth/refresh", json!({"refresh_token": stolen["refresh_token"]})).await, 200);
        expect(self.post(&ada, "/auth/refresh", json!({"refresh_token": stolen["refresh_token"]})).await, 401);
        ada.take(&expect(self.post(&ada, "/auth/login", sign_in.clone()).await, 200));
        let wrong = json!({"current_password": WRONG_PASSWORD, "new_password": NEW_PASSWORD});
        expect(self.post(&ada, "/auth/password", wrong).await, 401);
        let right = json!({"current_password": PASSWORD, "new_password": NEW_PASSWORD});
        expect(self.post(&ada, "/auth/password", right).await, 204);
        ada
    }

    /// Keys and secrets of programs, in every way that goes well and most that do not.
    async fn programs(&self, ada: &Actor) {
        let (status, made) = self.post(ada, "/auth/api-keys", json!({"name": "nightly"})).await;
        assert_eq!(status, 201, "{made}");
        let key = made["key"].as_str().expect("it is shown once").to_owned();
        let added = self.gateway.command(&["client", "add", "billing", "--json"]);
        let added: Value = serde_json::from_str(&added).expect("JSON");
        let secret = added["client_secret"].as_str().expect("it is shown once").to_owned();
        let other_end = |text: &str| format!("{}{}", &text[..text.len() - 1], if text.ends_with('x') { 'y' } else { 'x' });
        let (mistyped, wrong) = (other_end(&key), other_end(&secret));
        for text in [&key, &secret, &mistyped, &wrong] {
            self.is_secret(text);
            // What stands behind the part that lists may show.
            self.is_secret(&text[13..]);
        }
        for (target, token, status) in [("/api", &key, 200), ("/api", &mistyped, 401), ("/auth/me", &key, 403)] {
            let request = format!("GET {target} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n");
            assert_eq!(self.raw(&request).await, status, "{target}");
        }
        for (path, secret, further, status) in [
            ("/auth/oauth/token", &secret, "grant_type=client_credentials".to_owned(), 200),
            ("/auth/oauth/token", &wrong, "grant_type=client_credentials".to_owned(), 401),
            ("/auth/oauth/token", &secret, format!("grant_type={secret}"), 400),
            ("/auth/oauth/token", &secret, format!("{secret}=1&{secret}=2"), 400),
            ("/auth/oauth/token", &secret, format!("grant_type=client_credentials&scope={secret}"), 400),
            ("/auth/oauth/introspect", &secret, format!("token={key}"), 200),
            ("/auth/oauth/introspect", &wrong, format!("token={key}"), 401),
            ("/auth/oauth/revoke", &wrong, format!("token={key}"), 401),
            ("/auth/oauth/revoke", &secret, format!("token={key}"), 200),
        ] {
            let form = format!("client_id=billing&client_secret={secret}&{further}");
            let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-www-form-urlencoded\r\n");
            assert_eq!(
                self.raw(&format!("{head}content-length: {}\r\n\r\n{form}", form.len())).await,
                status,
                "{path} {further}"
            );
        }
        let request = format!("GET /api HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {key}\r\n\r\n");
        assert_eq!(self.raw(&request).await, 401, "it was revoked");
    }

    /// Requests that carry secrets wherever one can.
    async fn requests(&self, token: &str) {
        let tampered = format!("{}x", &token[..token.len() - 1]);
        self.is_secret(&tampered);
        let fields = format!("host: a\r\ncookie: session={OTHER}\r\nx-api-key: {OTHER}\r\n");
        for (target, authorization, status) in [
            (format!("/api?access_token={token}&key={OTHER}"), format!("Bearer {token}"), 200),
            (format!("/public?key={OTHER}"), format!("Basic {BASIC}"), 200),
            (format!("/api?key={OTHER}"), format!("Basic {BASIC}"), 401),
            (format!("/api?key={OTHER}"), format!("Bearer {tampered}"), 401),
            (format!("/optional?key={OTHER}"), format!("Bearer {tampered}"), 401),
            (format!("/api?key={OTHER}"), format!("Bearer {token} {token}"), 401),
            (format!("/api?key={OTHER}"), format!("Bearer {}", token.repeat(40)), 401),
            (format!("/api?key={OTHER}"), format!("Bearer {token}\r\nauthorization: Basic {BASIC}"), 400),
            (format!("/nowhere?key={OTHER}"), format!("Bearer {token}"), 404),
            (format!("/api/../x?key={OTHER}"), format!("Bearer {token}"), 400),
            (format!("/auth/nowhere?key={OTHER}"), format!("Bearer {token}"), 404),
            (format!("/auth/verify?key={OTHER}"), format!("Bearer {tampered}"), 401),
            ("/public/garbage".to_owned(), format!("Bearer {token}"), 502),
            ("/public/conflict".to_owned(), format!("Bearer {token}"), 502),
        ] {
            let request = format!("GET {target} HTTP/1.1\r\n{fields}authorization: {authorization}\r\n\r\n");
            assert_eq!(self.raw(&request).await, status, "{request}");
        }
        // A response that breaks off has begun to be passed on.
        self.raw(&format!("GET /public/chunks HTTP/1.1\r\n{fields}\r\n")).await;
        for path in ["/auth/login", "/public"] {
            let head =
                format!("POST {path} HTTP/1.1\r\n{fields}content-type: application/json\r\ntransfer-encoding: chunked\r\n");
            let broken = format!("{head}\r\n{{\"password\": \"{PASSWORD}\"}}\r\n");
            assert_eq!(self.raw(&broken).await, 400, "{broken}");
        }
        // Heads that are refused before they are parsed.
        for broken in
            [format!("authorization : Bearer {token}"), format!("authorization Bearer {token}"), format!("\0{token}: x")]
        {
            let request = format!("GET /api?key={OTHER} HTTP/1.1\r\n{fields}{broken}\r\n\r\n");
            assert_eq!(self.raw(&request).await, 400, "{request}");
        }
    }

    /// Everything that came out of the gateway, and everything that it keeps, without the secrets that it must keep.
    async fn judge(mut self) {
        let metrics = self.gateway.admin("/metrics").await.expect("it listens").1;
        let ready = self.gateway.admin("/readyz").await.expect("it listens").1;
        self.gateway.terminate();
        assert!(self.gateway.exit().await.success());
        let log = self.gateway.output();
        // The judge is judged: what is no secret is found.
        for known in ["DEBUG", "/public/garbage", "revoked_token", "upstream_invalid", "redis"] {
            assert!(log.contains(known), "no {known} in the log:\n{log}");
        }
        let keys = std::fs::read_to_string(self.gateway.data().join("keys.json")).expect("it has keys");
        strings(&serde_json::from_str(&keys).expect("it is JSON")).iter().for_each(|key| self.is_secret(key));
        let refusals = self.refusals.lock().expect("nobody panicked while holding this").join("\n");
        for (place, text) in [("log", &log), ("metrics", &metrics), ("readiness", &ready), ("refusals", &refusals)] {
            for secret in self.secrets.lock().expect("nobody panicked while holding this").iter() {
                let line = text.lines().find(|line| line.contains(secret.as_str()));
                assert!(line.is_none(), "{secret:?} is in the {place}: {}", line.unwrap_or_default());
            }
        }
        self.judge_database();
    }

    /// A stolen database signs nobody in.
    fn judge_database(&self) {
        for file in std::fs::read_dir(self.gateway.data()).expect("it has data") {
            let path = file.expect("it can be listed").path();
            if path.file_name().is_some_and(|name| name == "keys.json") {
                continue;
            }
            let content = std::fs::read(&path).expect("it can be read");
            let content = String::from_utf8_lossy(&content);
            for secret in self.secrets.lock().expect("nobody panicked while holding this").iter() {
                assert!(!content.contains(secret.as_str()), "{secret:?} is in {}", path.display());
            }
        }
    }
}

/// Every text in a key file that is long enough to be a key.
fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) if text.len() >= 40 => vec![text.clone()],
        Value::Array(values) => values.iter().flat_map(strings).collect(),
        Value::Object(members) => {
            members.iter().filter(|(name, _)| *name != "kid").flat_map(|(_, value)| strings(value)).collect()
        }
        _ => Vec::new(),
    }
}

async fn no_secret_leaves_the_gateway(format: &str) {
    let mut stage = Stage::new(format).await;
    let ada = stage.accounts().await;
    stage.requests(&ada.access_token).await;
    stage.programs(&ada).await;
    stage.redis.kill();
    assert_eq!(
        stage.raw(&format!("GET /api HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", ada.access_token)).await,
        503
    );
    assert_eq!(stage.post(&ada, "/auth/logout", json!({"refresh_token": ada.refresh_token})).await.0, 503);
    assert_eq!(
        stage.raw(&format!("GET /api HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", ada.access_token)).await,
        401
    );
    stage.upstream.stop();
    assert_eq!(
        stage.raw(&format!("GET /public?key={OTHER} HTTP/1.1\r\nhost: a\r\nauthorization: Basic {BASIC}\r\n\r\n")).await,
        502
    );
    stage.judge().await;
}

#[tokio::test]
async fn no_secret_leaves_the_gateway_as_text() {
    no_secret_leaves_the_gateway("text").await;
}

#[tokio::test]
async fn no_secret_leaves_the_gateway_as_json() {
    no_secret_leaves_the_gateway("json").await;
}

/// What cannot be used is shown, without its password.
#[tokio::test]
async fn a_refused_configuration_is_shown_without_its_passwords() {
    for (table, shown) in [
        ("[revocation]\nurl = \"redis://:CANARY@\"", "revocation"),
        ("[revocation]\nurl = \"http://ada:CANARY@localhost\"", "revocation"),
        ("[revocation]\nurl = \"redis://:CANARY@localhost\"\nurl = 1", "url"),
        ("[revocation]\nurl = \"redis://:CANARY@localhost\" deadline", "gateway"),
        ("[revocation]\nurl = \"redis://:CANARY@localhost\"\ndedline = \"1s\"", "dedline"),
        ("[revocation]\nurl = [\"redis://:CANARY@localhost\"]", "revocation"),
        ("[revocation]\nurl = \"redis://:CANARY@localhost:port\"", "revocation"),
        ("[store]\nurl = \"postgres://ada:CANARY@127.0.0.1:1/db\"", "store"),
        ("[store]\nurl = \"postgres://ada:CANARY@127.0.0.1:1/db\"\n[revocation]\ninsecure_single_replica = true", "store"),
        ("[store]\nurl = \"postgre://ada:CANARY@127.0.0.1:1/db\"", "store"),
    ] {
        let upstream = Upstream::echo().await;
        let table = table.replace("CANARY", REDIS_PASSWORD);
        let (status, output) = Gateway::in_front_of(&upstream).table(&table).set("telemetry.level=debug").refused().await;
        assert!(!status.success(), "{table}: {output}");
        assert!(output.contains(shown) && !output.contains(REDIS_PASSWORD), "{table}:\n{output}");
        let set = table.split_once("url = ").expect("each has one").1.lines().next().expect("a line");
        let set = format!("{}.url={}", if table.starts_with("[store]") { "store" } else { "revocation" }, set.trim_matches('"'));
        let (_, output) = Gateway::in_front_of(&upstream).set(&set).set("telemetry.level=loud").refused().await;
        assert!(output.contains("loud") && !output.contains(REDIS_PASSWORD), "{set}:\n{output}");
    }
}
