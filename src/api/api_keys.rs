//! `/api-keys`: keys that users make for programs of theirs.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;
use super::body::Json;
use super::context::{Authenticated, RequestContext};
use super::document::{Conflict, NotFound, Refusal};
use super::problem::Problem;
use crate::auth::api_keys::{ApiKey, NewApiKey};
use crate::reason::Reason;

/// A key to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ApiKeyRequest {
    /// What to call it.
    name: String,
    /// What it may be used for, of what the gateway allows for keys.
    #[serde(default)]
    scopes: Vec<String>,
    /// Seconds; as long as the gateway allows unless sent.
    expires_in: Option<u64>,
}

/// A key as it is listed.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub(super) struct ApiKeyBody {
    id: String,
    name: String,
    /// Its first characters, by which its owner recognises it.
    prefix: String,
    scopes: Vec<String>,
    #[schema(format = DateTime)]
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// About when it was last used.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    last_used_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    revoked_at: Option<String>,
}

/// A key that was made.
#[derive(Serialize, ToSchema)]
#[schema(as = NewApiKey)]
pub(super) struct NewApiKeyBody {
    /// To be sent as a bearer token. Never shown again.
    key: String,
    #[serde(flatten)]
    api_key: ApiKeyBody,
}

/// The caller's keys, newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKeys)]
pub(super) struct ApiKeysBody {
    api_keys: Vec<ApiKeyBody>,
}

impl From<ApiKey> for ApiKeyBody {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id.hyphenated().to_string(),
            name: key.name,
            prefix: key.prefix,
            scopes: key.scopes,
            created_at: key.created_at.to_string(),
            expires_at: key.expires_at.map(|at| at.to_string()),
            last_used_at: key.last_used_at.map(|at| at.to_string()),
            revoked_at: key.revoked_at.map(|at| at.to_string()),
        }
    }
}

/// Makes a key, which is shown once.
#[utoipa::path(
    post, path = "/api-keys", tag = "api keys", security(("bearer" = [])), request_body = ApiKeyRequest,
    responses((status = 201, description = "The key", body = NewApiKeyBody), Refusal, Conflict, NotFound)
)]
pub(super) async fn create(
    State(api): Shared,
    context: RequestContext,
    Authenticated(caller): Authenticated,
    Json(request): Json<ApiKeyRequest>,
) -> Result<(StatusCode, axum::Json<NewApiKeyBody>), Problem> {
    let ApiKeyRequest { name, scopes, expires_in } = request;
    let new = NewApiKey { name, scopes, life: expires_in.map(Duration::from_secs) };
    let (key, secret) = api.auth.create_api_key(&caller, new, &context.origin()).await?;
    let body = NewApiKeyBody { key: secret.text().expose_secret().to_owned(), api_key: key.into() };
    Ok((StatusCode::CREATED, axum::Json(body)))
}

/// Lists the caller's keys, expired and revoked ones included.
#[utoipa::path(
    get, path = "/api-keys", tag = "api keys", security(("bearer" = [])),
    responses((status = 200, description = "Keys, newest first", body = ApiKeysBody), Refusal)
)]
pub(super) async fn list(State(api): Shared, Authenticated(caller): Authenticated) -> Result<axum::Json<ApiKeysBody>, Problem> {
    let keys = api.auth.own_api_keys(&caller).await?;
    Ok(axum::Json(ApiKeysBody { api_keys: keys.into_iter().map(ApiKeyBody::from).collect() }))
}

/// Revokes one of the caller's keys.
#[utoipa::path(
    delete, path = "/api-keys/{id}", tag = "api keys", security(("bearer" = [])),
    params(("id" = String, Path, description = "As listed")),
    responses((status = 204, description = "The key is not accepted any more"), Refusal, NotFound)
)]
pub(super) async fn revoke(
    State(api): Shared,
    context: RequestContext,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id = id.parse().map_err(|_| Problem::new(Reason::NotFound).with_detail("there is no such api key"))?;
    api.auth.revoke_own_api_key(&caller, id, &context.origin()).await?;
    Ok(StatusCode::NO_CONTENT)
}
