//! `GET /audit`: the record of who did what, for administrators.

use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::Shared;
use super::context::Administrator;
use super::document::Refusal;
use super::problem::Problem;
use super::query::{Query, next, page_limit};
use crate::auth::FieldError;
use crate::auth::audit::{Kind, Record, RecordFilter};
use crate::identity::user::UserId;

/// Which events to list: those that every given parameter fits.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// Done to the user with this id.
    user: Option<Uuid>,
    /// Of this kind, such as `login_failed`.
    kind: Option<String>,
    /// At this instant (RFC 3339) or later.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Before this instant (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Only what comes after the event with this id: `next` of the page before.
    after: Option<Uuid>,
    /// At most so many: 1 to 500.
    limit: Option<u32>,
}

/// A page of events, newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEvents)]
pub(super) struct AuditBody {
    events: Vec<EventBody>,
    /// To be sent as `after` for the next page. Absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Something that happened to an account.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEvent)]
pub(super) struct EventBody {
    id: String,
    #[schema(format = DateTime)]
    at: String,
    /// What, by a word of a closed list.
    kind: String,
    /// `success`, `failure` or `refused`.
    outcome: String,
    /// Who did it: a user's id, a client's, or `operator`.
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<String>,
    /// The id of the user to whom it was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    /// What else is to be known of an event of this kind.
    #[schema(value_type = Object)]
    detail: Value,
}

impl From<Record> for EventBody {
    fn from(event: Record) -> Self {
        Self {
            id: event.id.to_string(),
            at: event.at.to_string(),
            kind: event.kind,
            outcome: event.outcome,
            actor: event.actor,
            user: event.subject.map(|user| user.to_string()),
            session: event.session.map(|session| session.to_string()),
            address: event.address.map(|address| address.to_string()),
            user_agent: event.agent,
            detail: serde_json::from_str(&event.detail).unwrap_or_default(),
        }
    }
}

/// Lists what happened to accounts, newest first.
#[utoipa::path(
    get, path = "/audit", tag = "administration", security(("bearer" = [])), params(AuditQuery),
    responses((status = 200, description = "A page of events", body = AuditBody), Refusal)
)]
pub(super) async fn list(
    State(api): Shared,
    Administrator(_): Administrator,
    Query(query): Query<AuditQuery>,
) -> Result<axum::Json<AuditBody>, Problem> {
    if query.kind.as_deref().is_some_and(|kind| Kind::parse(kind).is_none()) {
        let known: Vec<_> = Kind::ALL.iter().map(|kind| kind.word()).collect();
        return Err(Problem::invalid(vec![FieldError::new("kind", format_args!("must be one of {}", known.join(", ")))]));
    }
    let limit = page_limit(query.limit)?;
    let filter = RecordFilter { subject: query.user.map(UserId), kind: query.kind, since: query.since, until: query.until };
    let events = api.auth.audit_events(&filter, query.after, limit).await?;
    let next = next(&events, limit, |event| event.id.to_string());
    Ok(axum::Json(AuditBody { events: events.into_iter().map(EventBody::from).collect(), next }))
}
