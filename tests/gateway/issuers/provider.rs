//! An identity provider of the test's own: a key set and an introspection endpoint that do as they are told, and count.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// A key with its id.
pub(super) struct Key {
    pub(super) kid: &'static str,
    pair: Ed25519KeyPair,
}

/// How an endpoint behaves.
#[derive(Clone)]
pub(super) enum Behaviour {
    Json(Value),
    /// To be believed for so many seconds.
    Cached(u64, Value),
    Text(&'static str, String),
    Status(u16),
    /// To another address.
    Redirect(String),
    /// It takes the request and says nothing.
    Silent,
}

struct Shared {
    keys: Mutex<Behaviour>,
    fetches: AtomicUsize,
    introspection: Mutex<Behaviour>,
    questions: Mutex<Vec<(String, String)>>,
}

/// The provider, until it is dropped.
pub(super) struct Provider {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

impl Key {
    pub(super) fn new(kid: &'static str) -> Self {
        Self { kid, pair: Ed25519KeyPair::generate().expect("a key pair") }
    }

    pub(super) fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key());
        json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": self.kid, "x": x})
    }

    /// A token that says this; `exp`, `iat` and `aud` unless it says otherwise.
    pub(super) fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({"alg": "EdDSA", "kid": self.kid, "typ": "at+jwt"}), claims)
    }

    pub(super) fn token_with(&self, header: &Value, claims: &Value) -> String {
        self.signature(message(header, claims))
    }

    /// A token that says this and nothing else.
    pub(super) fn signed(&self, header: &Value, claims: &Value) -> String {
        self.signature(written(header, claims))
    }

    fn signature(&self, message: String) -> String {
        let signature = self.pair.sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// What is signed of a token.
pub(super) fn message(header: &Value, claims: &Value) -> String {
    let mut whole = json!({"aud": "api", "sub": "ada", "iat": now(), "exp": now() + 600});
    for (name, value) in claims.as_object().expect("an object") {
        whole[name] = value.clone();
    }
    written(header, &whole)
}

pub(super) fn written(header: &Value, claims: &Value) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// Seconds since the epoch.
#[expect(clippy::disallowed_methods, reason = "the tokens of a test are issued now")]
pub(super) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

pub(super) fn set(keys: &[&Key]) -> Behaviour {
    Behaviour::Json(json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}))
}

impl Behaviour {
    async fn answer(self) -> Response {
        match self {
            Self::Json(value) => ([("content-type", "application/json")], value.to_string()).into_response(),
            Self::Cached(seconds, value) => {
                let fields =
                    [("content-type", "application/json".to_owned()), ("cache-control", format!("public, max-age={seconds}"))];
                (fields, value.to_string()).into_response()
            }
            Self::Text(media_type, text) => ([("content-type", media_type)], text).into_response(),
            Self::Status(status) => StatusCode::from_u16(status).expect("a status").into_response(),
            Self::Redirect(to) => (StatusCode::FOUND, [("location", to)], Body::empty()).into_response(),
            Self::Silent => pending().await,
        }
    }
}

impl Provider {
    pub(super) async fn with(keys: Behaviour) -> Self {
        let shared = Arc::new(Shared {
            keys: Mutex::new(keys),
            fetches: AtomicUsize::new(0),
            introspection: Mutex::new(Behaviour::Status(404)),
            questions: Mutex::default(),
        });
        let router = Router::new().route("/keys", get(fetched)).route("/introspect", post(asked)).with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves until it is dropped") });
        Self { address, shared, serving }
    }

    pub(super) fn now_serves(&self, keys: Behaviour) {
        *self.shared.keys.lock().expect("no panic while held") = keys;
    }

    pub(super) fn now_says(&self, answer: Behaviour) {
        *self.shared.introspection.lock().expect("no panic while held") = answer;
    }

    /// How often its keys were fetched.
    pub(super) fn fetches(&self) -> usize {
        self.shared.fetches.load(Ordering::SeqCst)
    }

    /// What it was asked: credentials and body.
    pub(super) fn questions(&self) -> Vec<(String, String)> {
        self.shared.questions.lock().expect("no panic while held").clone()
    }

    /// The table of an issuer whose keys are here.
    pub(super) fn table(&self, name: &str, further: &str) -> String {
        format!(
            "[[issuers]]\nname = '{name}'\nissuer = 'https://{name}.example'\naudiences = ['api']\njwks_url = 'http://{}/keys'\n{further}",
            self.address
        )
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn fetched(State(shared): State<Arc<Shared>>) -> Response {
    shared.fetches.fetch_add(1, Ordering::SeqCst);
    let behaviour = shared.keys.lock().expect("no panic while held").clone();
    behaviour.answer().await
}

async fn asked(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: String) -> Response {
    let credentials = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    shared.questions.lock().expect("no panic while held").push((credentials.to_owned(), body));
    let behaviour = shared.introspection.lock().expect("no panic while held").clone();
    behaviour.answer().await
}
