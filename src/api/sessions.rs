//! `GET /sessions` and `DELETE /sessions/{id}`: the caller's devices.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::Shared;
use super::context::{Authenticated, RequestContext};
use super::document::{NotFound, Refusal};
use super::problem::Problem;
use crate::identity::session::{Session, SessionId};
use crate::reason::Reason;

/// The caller's live sessions, newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = Sessions)]
pub(super) struct SessionsBody {
    pub(super) sessions: Vec<SessionBody>,
}

/// One login.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub(super) struct SessionBody {
    #[schema(format = Uuid)]
    id: String,
    /// Whether it is the one that asks.
    current: bool,
    /// When the password was given.
    #[schema(format = DateTime)]
    created_at: String,
    /// When tokens were last issued.
    #[schema(format = DateTime)]
    refreshed_at: String,
    /// When it ends unless it is refreshed.
    #[schema(format = DateTime)]
    expires_at: String,
    /// Where the login came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    address: Option<String>,
    /// The `User-Agent` of the login.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    user_agent: Option<String>,
}

impl SessionBody {
    pub(super) fn new(session: Session, current: SessionId) -> Self {
        Self {
            id: session.id.to_string(),
            current: session.id == current,
            created_at: session.created_at.to_string(),
            refreshed_at: session.rotated_at.to_string(),
            expires_at: session.refresh_expires_at.min(session.ends_at).to_string(),
            address: session.address.map(|address| address.to_string()),
            user_agent: session.agent,
        }
    }
}

/// Lists the caller's live sessions.
#[utoipa::path(
    get, path = "/sessions", tag = "sessions", security(("bearer" = [])),
    responses((status = 200, description = "Live sessions, newest first", body = SessionsBody), Refusal)
)]
pub(super) async fn list(State(api): Shared, Authenticated(caller): Authenticated) -> Result<axum::Json<SessionsBody>, Problem> {
    let live = api.auth.live_sessions(&caller).await?;
    let sessions = live.into_iter().map(|session| SessionBody::new(session, caller.principal.session)).collect();
    Ok(axum::Json(SessionsBody { sessions }))
}

/// Ends one of the caller's sessions.
#[utoipa::path(
    delete, path = "/sessions/{id}", tag = "sessions", security(("bearer" = [])),
    params(("id" = String, Path, description = "As listed")),
    responses((status = 204, description = "No token of the session is accepted any more"), Refusal, NotFound)
)]
pub(super) async fn end(
    State(api): Shared,
    context: RequestContext,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id = id.parse().map_err(|_| Problem::new(Reason::NotFound).with_detail("there is no such session"))?;
    api.auth.revoke_session(&caller, SessionId(id), &context.origin()).await?;
    Ok(StatusCode::NO_CONTENT)
}
