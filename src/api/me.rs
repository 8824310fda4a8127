//! `GET /me` and `PATCH /me`: the caller's profile.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Shared;
use super::body::{self, Json};
use super::context::{Authenticated, RequestContext};
use super::document::{NotFound, Refusal};
use super::problem::Problem;
use super::register::UserBody;
use crate::auth::profile::NamesPatch;

/// What to change: an absent field stays as it is, `null` takes it away (RFC 7396).
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProfilePatch {
    #[serde(default, deserialize_with = "body::present")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    given_name: Option<Option<String>>,
    #[serde(default, deserialize_with = "body::present")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    family_name: Option<Option<String>>,
}

impl From<ProfilePatch> for NamesPatch {
    fn from(patch: ProfilePatch) -> Self {
        Self { given_name: patch.given_name, family_name: patch.family_name }
    }
}

/// The caller, as registered now.
#[utoipa::path(
    get, path = "/me", tag = "users", security(("bearer" = [])),
    responses((status = 200, description = "The user", body = UserBody), Refusal, NotFound)
)]
pub(super) async fn show(State(api): Shared, Authenticated(caller): Authenticated) -> Result<axum::Json<UserBody>, Problem> {
    Ok(axum::Json(api.auth.profile(&caller).await?.into()))
}

/// Changes the caller's names.
#[utoipa::path(
    patch, path = "/me", tag = "users", security(("bearer" = [])), request_body = ProfilePatch,
    responses((status = 200, description = "The user as changed", body = UserBody), Refusal, NotFound)
)]
pub(super) async fn change(
    State(api): Shared,
    context: RequestContext,
    Authenticated(caller): Authenticated,
    Json(patch): Json<ProfilePatch>,
) -> Result<axum::Json<UserBody>, Problem> {
    Ok(axum::Json(api.auth.change_names(&caller, patch.into(), &context.origin()).await?.into()))
}
