//! `POST /password`: the caller's new password.

use axum::extract::State;
use axum::http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;

use super::Shared;
use super::body::{self, Json};
use super::context::{Authenticated, RequestContext};
use super::document::{Refusal, TooMany};
use super::problem::Problem;

/// The old password and the new one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PasswordChange {
    #[serde(deserialize_with = "body::secret")]
    #[schema(value_type = String, format = Password, min_length = 1)]
    current_password: SecretString,
    #[serde(deserialize_with = "body::secret")]
    #[schema(value_type = String, format = Password, min_length = 8)]
    new_password: SecretString,
}

/// Changes the caller's password and ends their other sessions.
#[utoipa::path(
    post, path = "/password", tag = "users", security(("bearer" = [])), request_body = PasswordChange,
    responses((status = 204, description = "Changed; no other session's token is accepted any more"), Refusal, TooMany)
)]
pub(super) async fn change(
    State(api): Shared,
    context: RequestContext,
    Authenticated(caller): Authenticated,
    Json(request): Json<PasswordChange>,
) -> Result<StatusCode, Problem> {
    let PasswordChange { current_password, new_password } = request;
    let (current, new) = (current_password.expose_secret(), new_password.expose_secret());
    api.auth.change_password(&caller, current, new, &context.origin()).await?;
    Ok(StatusCode::NO_CONTENT)
}
