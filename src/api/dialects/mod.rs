//! Requests in the wire format of an existing system: what the dialect reads from one is done by the very use cases of
//! the gateway's own API, and what comes of it is written as the dialect says.
//!
//! A dialect says how an answer reads. What an answer must carry besides is said here, for all of them: no cache may
//! keep it, a 401 has a challenge, a cookie of ours is set and cleared, and the log learns why something was refused.

mod one_time;
mod operations;
mod page;
mod refusal;

use std::fmt;
use std::sync::Arc;

use axum::http::request::Parts;
use axum::http::{HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::body::check_media_type;
use super::context::RequestContext;
use super::problem::Problem;
use crate::auth::Auth;
use crate::auth::authenticate::Authenticator;
use crate::auth::revive::ReviveError;
use crate::auth::tokens::Tokens;
use crate::dialect::{Answer, Dialect, DialectRoute, Inputs, Operation, Sources, UserValues, Values, parse_body};
use crate::identity::Caller;
use crate::reason::Reason;

use refusal::Refusal;
pub use refusal::refused;

/// Performs what the routes of dialects name.
pub struct DialectApi {
    auth: Arc<Auth>,
    authenticator: Arc<Authenticator>,
}

impl fmt::Debug for DialectApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DialectApi").finish_non_exhaustive()
    }
}

/// One request to a route.
struct Call<'a> {
    dialect: &'a Arc<Dialect>,
    route: &'a DialectRoute,
    context: RequestContext,
}

/// What an operation yields; nothing of what it does not yield.
#[derive(Default)]
struct Done {
    user: Option<UserValues>,
    users: Vec<UserValues>,
    tokens: Option<Tokens>,
    claims: Option<Value>,
    kind: Option<String>,
    metadata: Option<Value>,
    /// The ticket of a redeemed one-time token: goes into its cookie and nowhere else.
    ticket: Option<SecretString>,
    /// Whether a ticket was used up, and its cookie is good for nothing any more.
    spends_ticket: bool,
}

impl DialectApi {
    /// Over these use cases.
    #[must_use]
    pub fn new(auth: Arc<Auth>, authenticator: Arc<Authenticator>) -> Self {
        Self { auth, authenticator }
    }

    /// Answers a request to `route` of `dialect`. The answer carries its [`Reason`] as an extension if it is a refusal.
    pub async fn answer(
        &self,
        dialect: &Arc<Dialect>,
        route: &DialectRoute,
        head: &Parts,
        body: &[u8],
        context: RequestContext,
    ) -> Response<Bytes> {
        let id = context.request_id.clone();
        let outcome = match read(dialect, route, head, body) {
            Ok(inputs) => self.perform(&Call { dialect, route, context }, inputs).await,
            Err(refusal) => Err(refusal),
        };
        match outcome {
            Ok(done) => succeeded(dialect, route, &done),
            Err(refusal) => {
                let over = route.operation == Operation::Logout && refusal.leaves_no_session();
                let mut response = refusal.render(dialect, Some(route), &id);
                if over {
                    clear_cookies(dialect, &mut response);
                }
                response
            }
        }
    }

    /// The caller of an expired access token whose session's refresh token came along.
    ///
    /// # Errors
    /// What the client is told: that the token has expired if the refresh token has nothing to do with it.
    pub async fn revive(&self, expired: &str, refresh_token: &str) -> Result<Arc<Caller>, Reason> {
        self.auth.revive(expired, refresh_token).await.map_err(|error| match error {
            ReviveError::NotItsSession => Reason::ExpiredToken,
            ReviveError::Over => Reason::RevokedToken,
            ReviveError::Unknown(_) => Reason::RevocationUnknown,
            ReviveError::Outage(outage) => Problem::from(outage).reason(),
        })
    }
}

/// What the operation is told.
fn read(dialect: &Dialect, route: &DialectRoute, head: &Parts, body: &[u8]) -> Result<Inputs, Refusal> {
    if page::borrows_a_cookie(dialect, route, head) {
        return Err(Refusal::new(Reason::Forbidden).with_detail("this page may not use the cookie of its visitor"));
    }
    let body = if route.reads_body() && !body.is_empty() {
        // What a page of another origin can send without being asked is not of this type.
        check_media_type(&head.headers)?;
        parse_body(body).map_err(|error| Refusal::new(Reason::Malformed).with_detail(error.to_string()))?
    } else {
        None
    };
    let sources = Sources { headers: &head.headers, query: head.uri.query(), body: body.as_ref() };
    Ok(route.inputs(&sources)?)
}

fn succeeded(dialect: &Dialect, route: &DialectRoute, done: &Done) -> Response<Bytes> {
    let tokens = done.tokens.as_ref();
    let answer = route.render_ok(&Values {
        access_token: tokens.map(|tokens| tokens.access_token.expose_secret()),
        expires_in: tokens.map(|tokens| tokens.expires_in.as_secs()),
        refresh_token: tokens.map(|tokens| tokens.refresh_token.expose_secret()),
        refresh_expires_in: tokens.map(|tokens| tokens.refresh_expires_in.as_secs()),
        user: done.user.as_ref(),
        users: &done.users,
        claims: done.claims.as_ref(),
        kind: done.kind.as_deref(),
        metadata: done.metadata.as_ref(),
    });
    let mut response = response(answer);
    if dialect.sets_refresh_cookie(route)
        && let (Some(cookie), Some(tokens)) = (&dialect.refresh_cookie, tokens)
    {
        set_cookie(&mut response, &cookie.set(tokens.refresh_token.expose_secret()));
    }
    if let (Some(cookie), Some(ticket)) = (&dialect.ticket_cookie, &done.ticket) {
        set_cookie(&mut response, &cookie.set(ticket.expose_secret()));
    }
    if let (Some(cookie), true) = (&dialect.ticket_cookie, done.spends_ticket) {
        set_cookie(&mut response, &cookie.clear());
    }
    if route.operation == Operation::Logout {
        clear_cookies(dialect, &mut response);
    }
    response
}

/// An answer as it is sent.
fn response(answer: Answer) -> Response<Bytes> {
    let mut response = Response::new(answer.body);
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    if let Some(content_type) = answer.content_type {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn clear_cookies(dialect: &Dialect, response: &mut Response<Bytes>) {
    for cookie in [&dialect.refresh_cookie, &dialect.ticket_cookie].into_iter().flatten() {
        set_cookie(response, &cookie.clear());
    }
}

fn set_cookie(response: &mut Response<Bytes>, cookie: &str) {
    let mut value = HeaderValue::from_str(cookie).expect("a checked name and a token of ours make a field value");
    value.set_sensitive(true);
    response.headers_mut().append(header::SET_COOKIE, value);
}

/// The answer to a preflight, to which the CORS fields of every answer are added.
#[must_use]
pub fn preflight() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
