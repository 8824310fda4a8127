//! `POST /backchannel-logout/{issuer}`: where another issuer says that somebody is signed out there (OpenID Connect
//! Back-Channel Logout 1.0 §2.5 to §2.8).

use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::error::{OAuthError, OAuthErrorBody, OAuthRefusal};
use super::form::Form;
use crate::api::Shared;
use crate::api::context::RequestContext;
use crate::api::problem::ProblemBody;

/// Who is signed out.
#[derive(Deserialize, ToSchema)]
#[schema(as = BackchannelLogoutRequest)]
#[expect(dead_code, reason = "read by the OpenAPI macros only")]
pub(in crate::api) struct LogoutRequest {
    /// A JWT signed by the issuer, as its specification has it (§2.4).
    logout_token: String,
}

/// Takes a logout token of one of the `[[issuers]]` that has `[issuers.backchannel_logout]`. Whatever its tokens open ends:
/// for the session that the logout token names, or else for its subject. A token that comes again ends nothing more.
#[utoipa::path(
    post, path = "/backchannel-logout/{issuer}", tag = "oauth", security(()),
    params(("issuer" = String, Path, description = "The issuer's name in the configuration", pattern = "^[A-Za-z0-9._-]+$", max_length = 64)),
    request_body(content = LogoutRequest, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "No token that was issued before is accepted any more"),
        (
            status = 400, description = "It is no logout token of the issuer, or the path has two readings",
            content((OAuthErrorBody = "application/json"), (ProblemBody<'static> = "application/problem+json")),
        ),
        OAuthRefusal
    )
)]
pub(in crate::api) async fn receive(
    State(api): Shared,
    Path(issuer): Path<String>,
    context: RequestContext,
    form: Form,
) -> Result<StatusCode, OAuthError> {
    let receiver = api.authenticator.logout_receiver(&issuer).ok_or_else(OAuthError::no_such_issuer)?;
    let token = form.required("logout_token", "logout_token is missing")?;
    api.auth.backchannel_logout(&receiver, token, &context.origin()).await?;
    Ok(StatusCode::OK)
}
