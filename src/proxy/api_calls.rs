//! Requests that the gateway answers itself: from pingora's session to its own API, or to a dialect's, and back.
//!
//! Both run on the application's own runtime, so that password hashing, SQL and Redis never occupy a thread that
//! proxies, and so that an operation which was begun is finished even if its client hangs up.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::BodyExt;
use pingora::prelude::*;
use pingora::proxy::Session;
use tokio::runtime::Handle;
use tokio::task::JoinError;
use tower::ServiceExt;

use super::context::Exchange;
use crate::api;
use crate::api::context::RequestContext;
use crate::api::dialects::{self, DialectApi};
use crate::dialect::{Dialect, DialectRoute};
use crate::identity::Caller;
use crate::reason::Reason;

/// What the gateway answers itself, reachable from a proxy thread.
pub struct ApiCalls {
    router: Router,
    dialects: Arc<DialectApi>,
    runtime: Handle,
    prefix: String,
    body_bytes_max: usize,
}

/// What answers a request.
pub(super) enum Answerer {
    /// The gateway's own API.
    Api,
    /// A route of a dialect.
    Route(Arc<Dialect>, Arc<DialectRoute>),
    /// Nobody: the CORS fields are all of it.
    Preflight,
}

/// Why a call got no answer.
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
    /// Calls `router` on `runtime` for paths under `prefix`, and `dialects` for their routes, reading bodies of at most
    /// `body_bytes_max` bytes.
    #[must_use]
    pub fn new(router: Router, dialects: Arc<DialectApi>, runtime: Handle, prefix: String, body_bytes_max: usize) -> Self {
        Self { router, dialects, runtime, prefix, body_bytes_max }
    }

    /// Whether the gateway itself answers this canonical path.
    pub(super) fn serves(&self, path: &str) -> bool {
        api::serves(&self.prefix, path)
    }

    /// What follows the path of questions about other requests in a target; none if
    /// that is not where it leads.
    pub(super) fn below_questions<'a>(&self, target: &'a [u8]) -> Option<&'a [u8]> {
        let below = target.strip_prefix(self.prefix.as_bytes())?.strip_prefix(api::verify::PATH.as_bytes())?;
        matches!(below, [] | [b'/' | b'?', ..]).then_some(below)
    }

    /// The answer to a request; it has the reason as an extension if it is a refusal.
    pub(super) async fn answer(
        &self,
        session: &mut Session,
        ctx: &Exchange,
        by: Answerer,
        context: RequestContext,
    ) -> std::result::Result<Response<Bytes>, CallError> {
        let body = match by {
            Answerer::Preflight => return Ok(dialects::preflight()),
            Answerer::Api | Answerer::Route(..) => self.read_body(session).await?,
        };
        let head = session.req_header();
        let target = ctx.destination.as_ref().map_or("/", |destination| destination.target.path_and_query());
        let mut request = Request::builder().method(&head.method).uri(target);
        if let Some(headers) = request.headers_mut() {
            headers.clone_from(&head.headers);
        }
        let request = request.body(body).map_err(|_| CallError::Refused(Reason::Malformed))?;
        let answer = match by {
            Answerer::Route(dialect, route) => {
                let dialects = Arc::clone(&self.dialects);
                let (head, body) = request.into_parts();
                self.runtime.spawn(async move { dialects.answer(&dialect, &route, &head, &body, context).await })
            }
            Answerer::Api | Answerer::Preflight => {
                let router = self.router.clone();
                self.runtime.spawn(routed(router, request, context))
            }
        };
        answer.await.map_err(|error| CallError::Refused(lost(&error)))
    }

    /// The caller of an expired access token whose session's refresh token came along.
    pub(super) async fn revive(&self, expired: String, refresh_token: String) -> std::result::Result<Arc<Caller>, Reason> {
        let dialects = Arc::clone(&self.dialects);
        let revived = self.runtime.spawn(async move { dialects.revive(&expired, &refresh_token).await });
        revived.await.unwrap_or_else(|error| Err(lost(&error)))
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

/// A handler panicked: the request fails, the process lives. Or the process is at its end and begins nothing any more.
fn lost(error: &JoinError) -> Reason {
    if error.is_cancelled() { Reason::Unavailable } else { Reason::Internal }
}

async fn routed(router: Router, mut request: Request<Bytes>, context: RequestContext) -> Response<Bytes> {
    request.extensions_mut().insert(context);
    let response = router.oneshot(request.map(Body::from)).await.unwrap_or_else(|never| match never {});
    let (parts, body) = response.into_parts();
    // The router's bodies are in memory already; collecting them cannot fail.
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Response::from_parts(parts, body)
}
