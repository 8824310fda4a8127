//! `POST /invitations`: letting somebody register.

use axum::extract::State;
use axum::http::StatusCode;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;
use super::body::Json;
use super::context::{Authenticated, RequestContext};
use super::document::{Forbidden, Refusal, TooMany};
use super::problem::Problem;
use crate::auth::invitation::{Invited, NewInvitation};

/// Whom to invite.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct InvitationRequest {
    /// Whoever accepts gets this address and no other. The link is mailed to it if mail is configured.
    #[schema(format = "email", max_length = 254)]
    email: Option<String>,
    /// Roles beyond the default ones: any for `admin`, one's own for `invite`.
    #[serde(default)]
    #[schema(max_items = 64)]
    roles: Vec<String>,
}

/// An invitation.
#[derive(Serialize, ToSchema)]
#[schema(as = Invitation)]
pub(super) struct InvitationBody {
    #[schema(format = Uuid)]
    id: String,
    /// When it can no longer be accepted.
    #[schema(format = DateTime)]
    expires_at: String,
    /// Whether the link was mailed. Then its reader alone has it: `token` and `link` are absent.
    mailed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    token: Option<String>,
    /// Absent, too, if the configuration does not say where people reach this gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    link: Option<String>,
}

impl From<Invited> for InvitationBody {
    fn from(invited: Invited) -> Self {
        let told = !invited.mailed;
        Self {
            id: invited.id.to_string(),
            expires_at: invited.expires_at.to_string(),
            mailed: invited.mailed,
            token: told.then(|| invited.token.expose_secret().to_owned()),
            link: invited.link.filter(|_| told).map(|link| link.expose_secret().to_owned()),
        }
    }
}

/// Invites somebody to register. Needs the role `invite`, or an administrator.
#[utoipa::path(
    post, path = "/invitations", tag = "one-time tokens", security(("bearer" = [])), request_body = InvitationRequest,
    responses((status = 201, description = "The invitation; good for one registration", body = InvitationBody), Refusal, Forbidden, TooMany)
)]
pub(super) async fn invite(
    State(api): Shared,
    context: RequestContext,
    Authenticated(caller): Authenticated,
    Json(request): Json<InvitationRequest>,
) -> Result<(StatusCode, axum::Json<InvitationBody>), Problem> {
    let new = NewInvitation { email: request.email, roles: request.roles, ..NewInvitation::default() };
    let invited = api.auth.invite(&caller, new, None, &context.origin()).await?;
    Ok((StatusCode::CREATED, axum::Json(invited.into())))
}
