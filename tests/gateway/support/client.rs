//! Clients: one that writes any bytes to a socket, and people who use the gateway as intended.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::in_time;
use super::wire::{End, Head, Incoming, Unframed};

/// A connection on which anything can be sent.
#[derive(Debug)]
pub(crate) struct Talk<S> {
    incoming: Incoming<S>,
}

/// The same without TLS.
pub(crate) type RawClient = Talk<TcpStream>;

/// One response.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) end: End,
}

impl Response {
    /// The `code` of a problem document; empty if the body is none.
    pub(crate) fn code(&self) -> String {
        let problem: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        problem["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl RawClient {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = in_time("connecting to the gateway", TcpStream::connect(address)).await.expect("the gateway listens");
        stream.set_nodelay(true).expect("a TCP socket has this option");
        Self::over(stream)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    /// Over a connection that is there already.
    pub(crate) fn over(stream: S) -> Self {
        Self { incoming: Incoming::new(stream) }
    }

    pub(crate) fn stream(&mut self) -> &mut S {
        self.incoming.stream()
    }

    /// Sends bytes. The gateway may have closed the connection already: then its answer is what matters.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = in_time("sending to the gateway", self.incoming.stream().write_all(bytes.as_ref())).await;
        drop(sent);
    }

    /// Ends the sending direction only.
    pub(crate) async fn finish_sending(&mut self) {
        drop(self.incoming.stream().shutdown().await);
    }

    /// The head of the next response, final or interim; none if the connection ended before one was complete.
    pub(crate) async fn head(&mut self) -> Option<Head> {
        in_time("a response head", self.incoming.head()).await
    }

    /// The next response to a request with this method; none if the connection ended before its head was complete.
    pub(crate) async fn response_to(&mut self, method: &str) -> Option<Response> {
        let head = self.head().await?;
        let status = head.word(1).parse().unwrap_or_else(|_| panic!("no status: {}", head.raw.escape_ascii()));
        let bodyless = method == "HEAD" || status < 200 || status == 204 || status == 304;
        let (body, end) = if bodyless {
            (Vec::new(), End::Complete)
        } else {
            in_time("a response body", self.incoming.body(&head, Unframed::UntilClose)).await
        };
        Some(Response { status, head, body, end })
    }

    pub(crate) async fn response(&mut self) -> Option<Response> {
        self.response_to("GET").await
    }

    /// Sends a request and reads its response.
    ///
    /// # Panics
    /// The connection ended instead.
    pub(crate) async fn ask(&mut self, request: impl AsRef<[u8]>) -> Response {
        self.send(request).await;
        self.response().await.expect("a response instead of the end of the connection")
    }

    /// Body bytes as they come, until there are at least `count` unread ones; fewer at the end of the stream.
    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let incoming = &mut self.incoming;
        in_time("bytes of a response", async { while incoming.unread().len() < count && incoming.more().await {} }).await;
        self.incoming.take_unread()
    }

    /// Everything up to the end of the connection.
    ///
    /// # Panics
    /// The connection stays open.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let incoming = &mut self.incoming;
        in_time("the end of the connection", async { while incoming.more().await {} }).await;
        self.incoming.take_unread()
    }
}

/// Somebody with an HTTP client and perhaps an account.
#[derive(Debug, Clone)]
pub(crate) struct Actor {
    http: reqwest::Client,
    base: String,
    /// From the last sign-in.
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
}

/// A password that every rule accepts.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

impl Actor {
    /// Somebody without an account.
    pub(crate) fn anonymous(gateway: SocketAddr) -> Self {
        Self {
            http: reqwest::Client::new(),
            base: format!("http://{gateway}"),
            access_token: String::new(),
            refresh_token: String::new(),
        }
    }

    /// Somebody who registered by this name and signed in.
    pub(crate) async fn registered(gateway: SocketAddr, username: &str) -> Self {
        Self::registered_with(gateway, username, json!({})).await
    }

    /// The same for somebody who said more about themselves than name and password.
    pub(crate) async fn registered_with(gateway: SocketAddr, username: &str, further: Value) -> Self {
        let mut account = json!({"username": username, "password": PASSWORD});
        let further = further.as_object().expect("members").clone();
        account.as_object_mut().expect("members").extend(further);
        let registered = Self::anonymous(gateway).post("/auth/register", &account).await;
        assert_eq!(registered.0, 201, "registering {username}: {}", registered.1);
        Self::signed_in(gateway, username).await
    }

    /// Somebody who has an account by this name and signed in: a session of its own.
    pub(crate) async fn signed_in(gateway: SocketAddr, username: &str) -> Self {
        let mut actor = Self::anonymous(gateway);
        let (status, tokens) = actor.post("/auth/login", &json!({"username": username, "password": PASSWORD})).await;
        assert_eq!(status, 200, "signing {username} in: {tokens}");
        actor.take(&tokens);
        actor
    }

    /// Goes on with these tokens.
    pub(crate) fn take(&mut self, tokens: &Value) {
        tokens["access_token"].as_str().expect("an access token").clone_into(&mut self.access_token);
        tokens["refresh_token"].as_str().expect("a refresh token").clone_into(&mut self.refresh_token);
    }

    /// The same person at another gateway.
    pub(crate) fn at(&self, gateway: SocketAddr) -> Self {
        Self { base: format!("http://{gateway}"), ..self.clone() }
    }

    /// Posts JSON, with the access token if there is one: status and body.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.answer(self.http.post(format!("{}{path}", self.base)).json(body)).await
    }

    /// Posts JSON for a client behind a proxy that writes this `X-Forwarded-For`: status and answer.
    pub(crate) async fn post_from(&self, client: &str, path: &str, body: &Value) -> (u16, Value) {
        self.answer(self.http.post(format!("{}{path}", self.base)).header("x-forwarded-for", client).json(body)).await
    }

    /// Sends JSON by another method, with the access token if there is one: status and body.
    pub(crate) async fn send(&self, method: reqwest::Method, path: &str, body: &Value) -> (u16, Value) {
        self.answer(self.http.request(method, format!("{}{path}", self.base)).json(body)).await
    }

    /// Posts a form, with the access token if there is one: status and body.
    pub(crate) async fn form(&self, path: &str, fields: &[(&str, &str)]) -> (u16, Value) {
        // None of the values that tests send needs to be encoded.
        let form: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = self.http.post(format!("{}{path}", self.base)).body(form.join("&"));
        self.answer(request.header("content-type", "application/x-www-form-urlencoded")).await
    }

    /// Gets a path, with the access token if there is one: status and body.
    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.answer(self.http.get(format!("{}{path}", self.base))).await
    }

    /// Deletes a path, with the access token if there is one: status and body.
    pub(crate) async fn delete(&self, path: &str) -> (u16, Value) {
        self.answer(self.http.delete(format!("{}{path}", self.base))).await
    }

    /// Exchanges the refresh token, without the access token: status and body.
    pub(crate) async fn refresh(&self) -> (u16, Value) {
        let request = self.http.post(format!("{}/auth/refresh", self.base));
        self.answer_anonymous(request.json(&json!({"refresh_token": self.refresh_token}))).await
    }

    /// Signs out.
    ///
    /// # Panics
    /// It was not acknowledged.
    pub(crate) async fn log_out(&self) {
        let (status, body) = self.post("/auth/logout", &json!({})).await;
        assert_eq!(status, 204, "signing out: {body}");
    }

    /// A claim of the access token, as the gateway reads it.
    pub(crate) async fn claim(&self, name: &str) -> String {
        let (status, claims) = self.get("/auth/verify").await;
        assert_eq!(status, 200, "{claims}");
        match &claims[name] {
            Value::Null => panic!("no `{name}`: {claims}"),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        let authorized = !self.access_token.is_empty();
        self.answer_anonymous(if authorized { request.bearer_auth(&self.access_token) } else { request }).await
    }

    async fn answer_anonymous(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        let response = in_time("an answer", request.send()).await.expect("the gateway answers");
        let status = response.status().as_u16();
        let body = response.text().await.expect("a whole body");
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }
}
