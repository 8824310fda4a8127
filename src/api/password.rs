//! `POST /password`: the caller's new password.

use axum::extract::State;
use axum::http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;

use super::Shared;
use super::body::{self, Json};
use super::context::Authenticated;
use super::problem::{Problem, Refusal};

/// The old password and the new one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PasswordChange {
    #[serde(deserialize_with = "body::secret")]
    #[schema(value_type = String, format = Password)]
    current_password: SecretString,
    #[serde(deserialize_with = "body::secret")]
    #[schema(value_type = String, format = Password)]
    new_password: SecretString,
}

/// Changes the caller's password and ends their other sessions.
#[utoipa::path(
    post, path = "/password", tag = "users", security(("bearer" = [])), request_body = PasswordChange,
    responses((status = 204, description = "Changed; no other session's token is accepted any more"), Refusal)
)]
pub(super) async fn change(
    State(api): Shared,
    Authenticated(caller): Authenticated,
    Json(request): Json<PasswordChange>,
) -> Result<StatusCode, Problem> {
    let PasswordChange { current_password, new_password } = request;
    api.auth.change_password(&caller, current_password.expose_secret(), new_password.expose_secret()).await?;
    Ok(StatusCode::NO_CONTENT)
}
