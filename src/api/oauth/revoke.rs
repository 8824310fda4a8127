//! `POST /oauth/revoke` (RFC 7009): ends what a token stands for.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;

use super::client;
use super::error::{OAuthError, OAuthRefusal};
use super::form::Form;
use crate::api::Shared;
use crate::api::context::RequestContext;

/// The token to end.
#[derive(Deserialize, ToSchema)]
#[schema(as = RevocationRequest)]
#[expect(dead_code, reason = "read by the OpenAPI macros only")]
pub(in crate::api) struct RevocationRequest {
    /// An access token, a refresh token (which ends its session), or an API key.
    token: String,
    /// Ignored: tokens are told apart by their looks.
    token_type_hint: Option<String>,
}

/// Ends what a token stands for. Also for tokens that have ended, and for those that are not ours. Whoever holds a token
/// may end it; a client that says who it is must say the truth.
#[utoipa::path(
    post, path = "/oauth/revoke", tag = "oauth", security((), ("client" = [])),
    request_body(content = RevocationRequest, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "The token is not accepted any more"), OAuthRefusal)
)]
pub(in crate::api) async fn revoke(
    State(api): Shared,
    context: RequestContext,
    headers: HeaderMap,
    form: Form,
) -> Result<StatusCode, OAuthError> {
    let token = form.required("token", "token is missing")?;
    if let Some(credentials) = client::credentials(&headers, &form)? {
        api.auth.authenticate_client(&credentials, &context.origin()).await?;
    }
    api.auth.revoke_token(token, &context.origin()).await?;
    Ok(StatusCode::OK)
}
