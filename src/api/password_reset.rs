//! `POST /password/forgot` and `/password/reset`: a new password for who forgot the old one.

use axum::extract::State;
use axum::http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;

use super::Shared;
use super::body::{self, Json};
use super::context::RequestContext;
use super::cookie::{Ticket, UsedTicket};
use super::document::{Forbidden, Refusal, TooMany};
use super::problem::Problem;
use crate::auth::mail::Enclosure;
use crate::auth::password_reset::Forgetful;

/// Who forgot their password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ForgotRequest {
    email: String,
}

/// A new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResetRequest {
    /// The token of the link, unless it was redeemed for a ticket before.
    #[serde(default, deserialize_with = "body::optional_secret")]
    #[schema(value_type = Option<String>)]
    token: Option<SecretString>,
    #[serde(deserialize_with = "body::secret")]
    #[schema(value_type = String, format = Password, min_length = 8)]
    new_password: SecretString,
}

/// Has a link for a new password mailed to this address, if it is a user's. The answer is the same if it is not.
#[utoipa::path(
    post, path = "/password/forgot", tag = "one-time tokens", request_body = ForgotRequest,
    responses((status = 202, description = "If there is such a user, a mail is on its way"), Refusal, Forbidden, TooMany)
)]
pub(super) async fn forgot(
    State(api): Shared,
    context: RequestContext,
    Json(request): Json<ForgotRequest>,
) -> Result<StatusCode, Problem> {
    api.auth.request_password_reset(Forgetful::Email(request.email), Enclosure::default(), context.origin()).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Sets a new password with the token of a link, or with the ticket it was redeemed for. Ends every session of the
/// user, and signs nobody in.
#[utoipa::path(
    post, path = "/password/reset", tag = "one-time tokens", request_body = ResetRequest,
    responses((status = 204, description = "Changed; no earlier token of the user is accepted any more"), Refusal, TooMany)
)]
pub(super) async fn reset(
    State(api): Shared,
    context: RequestContext,
    ticket: Ticket,
    Json(request): Json<ResetRequest>,
) -> Result<(StatusCode, UsedTicket), Problem> {
    let proof = ticket.or_token(request.token.as_ref())?;
    api.auth.reset_password(proof, request.new_password.expose_secret(), &context.origin()).await?;
    Ok((StatusCode::NO_CONTENT, ticket.used_unless(request.token.is_some())))
}
