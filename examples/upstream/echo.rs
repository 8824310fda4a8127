//! Answers that tell what the service was handed.

use aws_lc_rs::digest;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use crate::{Body, full};

/// How the gateway spells an identity: `x-auth-subject` is shown as `subject`.
const IDENTITY_PREFIX: &str = "x-auth-";

/// Whom the gateway says is calling; empty for nobody.
pub(crate) fn identity(headers: &HeaderMap) -> Map<String, Value> {
    let named = headers.iter().filter_map(|(name, value)| Some((name.as_str().strip_prefix(IDENTITY_PREFIX)?, value)));
    named.map(|(name, value)| (name.to_owned(), text(value.as_bytes()))).collect()
}

/// The request as it arrived.
pub(crate) fn seen(request: &Request<Incoming>) -> Value {
    let mut headers: Map<String, Value> = Map::new();
    for (name, value) in request.headers() {
        match headers.entry(name.as_str()).or_insert_with(|| json!([])) {
            Value::Array(values) => values.push(text(value.as_bytes())),
            _ => unreachable!("every entry is made as an array"),
        }
    }
    json!({
        "method": request.method().as_str(),
        "path": request.uri().path_and_query().map_or("*", |target| target.as_str()),
        "version": format!("{:?}", request.version()),
        "headers": headers,
        "identity": identity(request.headers()),
    })
}

/// Reads the body to its end and says how much it was.
pub(crate) async fn upload(request: Request<Incoming>) -> anyhow::Result<Response<Body>> {
    let (mut hash, mut bytes) = (digest::Context::new(&digest::SHA256), 0);
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            hash.update(data);
            bytes += data.len();
        }
    }
    let sha256: String = hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(json(StatusCode::OK, &json!({ "bytes": bytes, "sha256": sha256 })))
}

/// The page of auth-using-NodeJs.
pub(crate) fn posts() -> Response<Body> {
    let mut response = Response::new(full("<h1>Welcome</h1>"));
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

/// The answer of the Token-Based Authentication Demo.
pub(crate) fn protected() -> Response<Body> {
    json(StatusCode::OK, &json!({ "message": "Welcome to protected routes" }))
}

/// A JSON answer, one line long.
pub(crate) fn json(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(full(format!("{value}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

fn text(bytes: &[u8]) -> Value {
    String::from_utf8_lossy(bytes).into_owned().into()
}
