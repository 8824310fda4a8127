//! Requests that the gateway answers itself: from pingora's session to the axum router and back.
//!
//! The router runs on the application's own runtime, so that password hashing, SQL and Redis never occupy a
//! thread that proxies, and so that an operation which was begun is finished even if its client hangs up.

use axum::Router;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::BodyExt;
use pingora::http::ResponseHeader;
use pingora::prelude::*;
use pingora::proxy::Session;
use tokio::runtime::Handle;
use tower::ServiceExt;

use crate::api::context::RequestContext;
use crate::reason::Reason;

/// The `/auth` API, reachable from a proxy thread.
pub struct ApiCalls {
    router: Router,
    runtime: Handle,
    prefix: String,
    body_bytes_max: usize,
}

/// Why a call got no answer from the router.
pub(super) enum CallError {
    /// To be answered with this reason.
    Refused(Reason),
    /// The client is gone.
    Downstream(Box<Error>),
}

impl From<Box<Error>> for CallError {
    fn from(error: Box<Error>) -> Self {
        Self::Downstream(error)
    }
}

impl ApiCalls {
    /// Calls `router` on `runtime` for paths under `prefix`, reading bodies of at most `body_bytes_max` bytes.
    #[must_use]
    pub fn new(router: Router, runtime: Handle, prefix: String, body_bytes_max: usize) -> Self {
        Self { router, runtime, prefix, body_bytes_max }
    }

    /// Whether the gateway itself answers this canonical path.
    pub(super) fn serves(&self, path: &str) -> bool {
        let under_prefix = path.strip_prefix(self.prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        under_prefix || path == "/.well-known/jwks.json"
    }

    /// Answers the request; returns the reason if the API refused it.
    pub(super) async fn answer(
        &self,
        session: &mut Session,
        target: &str,
        context: RequestContext,
    ) -> std::result::Result<Option<Reason>, CallError> {
        let body = self.read_body(session).await?;
        let head = session.req_header();
        let mut request = Request::builder().method(&head.method).uri(target);
        if let Some(headers) = request.headers_mut() {
            headers.clone_from(&head.headers);
        }
        let request = request.extension(context).body(Body::from(body)).map_err(|_| CallError::Refused(Reason::Malformed))?;
        let router = self.router.clone();
        let answer = self.runtime.spawn(async move {
            let response = router.oneshot(request).await.unwrap_or_else(|never| match never {});
            let (parts, body) = response.into_parts();
            // The router's bodies are in memory already; collecting them cannot fail.
            let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            Response::from_parts(parts, body)
        });
        // A panic in a handler: the request fails, the process lives.
        let answer = answer.await.map_err(|_| CallError::Refused(Reason::Internal))?;
        let reason = answer.extensions().get::<Reason>().copied();
        write(session, answer).await?;
        Ok(reason)
    }

    async fn read_body(&self, session: &mut Session) -> std::result::Result<Bytes, CallError> {
        if session.as_mut().is_body_empty() {
            return Ok(Bytes::new());
        }
        if session.req_header().headers.contains_key(http::header::EXPECT) {
            session.as_mut().write_continue_response().await?;
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = session.as_mut().read_request_body().await? {
            if body.len() + chunk.len() > self.body_bytes_max {
                return Err(CallError::Refused(Reason::BodyTooLarge));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}

async fn write(session: &mut Session, answer: Response<Bytes>) -> Result<()> {
    let head_only = session.req_header().method == http::Method::HEAD;
    let (parts, body) = answer.into_parts();
    let mut response = ResponseHeader::build(parts.status, Some(parts.headers.len() + 1))?;
    for (name, value) in &parts.headers {
        response.append_header(name, value)?;
    }
    if parts.status != http::StatusCode::NO_CONTENT {
        response.insert_header(http::header::CONTENT_LENGTH, body.len())?;
    }
    let end = head_only || body.is_empty();
    session.write_response_header(Box::new(response), end).await?;
    if end { Ok(()) } else { session.write_response_body(Some(body), true).await }
}
