//! `POST /oauth/introspect` (RFC 7662): whether a token is accepted right now, for services that ask instead of
//! verifying. Same verdict as for a proxied request, by the same code.

use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::client;
use super::error::{OAuthError, OAuthRefusal};
use super::form::Form;
use crate::api::context::RequestContext;
use crate::api::{Api, Shared};
use crate::auth::Origin;
use crate::auth::authenticate::AuthenticateError;
use crate::identity::{Caller, Credential};
use crate::policy::bearer::{self, BearerError};
use crate::reason::Reason;

/// Lets a caller that is no registered client ask.
const ROLE: &str = "introspect";

/// The token to be judged.
#[derive(Deserialize, ToSchema)]
#[schema(as = IntrospectionRequest)]
#[expect(dead_code, reason = "read by the OpenAPI macros only")]
pub(in crate::api) struct IntrospectionRequest {
    /// An access token or an API key.
    token: String,
    /// Ignored: tokens are told apart by their looks.
    token_type_hint: Option<String>,
}

/// What the token says (RFC 7662 §2.2); only `active`, which is false, if it is not accepted.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = Introspection)]
pub(in crate::api) struct IntrospectionBody {
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    roles: Option<Vec<String>>,
}

/// Says whether a token is accepted, and for whom it speaks. For clients, and for callers with the role `introspect`.
/// A refresh token is never active: whoever asks would take it for an access token.
#[utoipa::path(
    post, path = "/oauth/introspect", tag = "oauth", security(("client" = []), ("bearer" = [])),
    request_body(content = IntrospectionRequest, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "The verdict", body = IntrospectionBody), OAuthRefusal)
)]
pub(in crate::api) async fn introspect(
    State(api): Shared,
    context: RequestContext,
    headers: HeaderMap,
    form: Form,
) -> Result<axum::Json<IntrospectionBody>, OAuthError> {
    admit(&api, &headers, &form, &context.origin()).await?;
    let token = form.required("token", "token is missing")?;
    match api.authenticator.authenticate(token).await {
        Ok(caller) => Ok(axum::Json(active(&caller, api.auth.audience()))),
        // Not known is not the same as not accepted: whoever asks must not remember a verdict.
        Err(error) => match unknown(error) {
            Some(reason) => Err(OAuthError::unavailable(reason)),
            None => Ok(axum::Json(IntrospectionBody::default())),
        },
    }
}

/// Whoever asks must be a client, or a caller with the role.
async fn admit(api: &Api, headers: &HeaderMap, form: &Form, from: &Origin) -> Result<(), OAuthError> {
    let token = match bearer::extract(headers) {
        Ok(token) => token,
        Err(BearerError::Repeated) => return Err(OAuthError::invalid_request("there is more than one authorization field")),
        Err(BearerError::Empty | BearerError::Malformed | BearerError::TooLong) => {
            return Err(OAuthError::invalid_token(Reason::BadToken));
        }
    };
    if let Some(token) = token {
        let caller = api.authenticator.authenticate(token).await;
        let caller = caller.map_err(|error| match unknown(error) {
            Some(reason) => OAuthError::unavailable(reason),
            None => OAuthError::invalid_token(error.reason()),
        })?;
        let may = caller.principal.roles.iter().any(|role| **role == *ROLE);
        return if may { Ok(()) } else { Err(OAuthError::insufficient_scope("the role `introspect` is required")) };
    }
    let credentials = client::credentials(headers, form)?;
    let credentials = credentials.ok_or_else(|| OAuthError::invalid_client("the caller does not say who it is"))?;
    api.auth.authenticate_client(&credentials, from).await?;
    Ok(())
}

/// The reason, if whether a token is accepted cannot be known now.
fn unknown(error: AuthenticateError) -> Option<Reason> {
    matches!(error, AuthenticateError::Unknown(_) | AuthenticateError::Issuer(_) | AuthenticateError::Unavailable)
        .then(|| error.reason())
}

fn active(Caller { principal, token, .. }: &Caller, audience: &str) -> IntrospectionBody {
    IntrospectionBody {
        active: true,
        scope: (!principal.scopes.is_empty()).then(|| principal.scopes.join(" ")),
        client_id: (principal.credential == Credential::Client).then(|| principal.subject.to_string()),
        username: principal.username.as_deref().map(str::to_owned),
        token_type: Some("Bearer"),
        exp: Some(token.expires_at.as_second()),
        iat: Some(token.issued_to_owner(principal).as_second()),
        sub: Some(principal.subject.to_string()),
        aud: Some(audience.to_owned()),
        iss: Some(principal.issuer.to_string()),
        jti: Some(token.jti.to_string()),
        sid: Some(principal.session.to_string()),
        roles: Some(principal.roles.iter().map(ToString::to_string).collect()),
    }
}
