//! `POST /oauth/token`: a refresh token for the next pair, or a client's credentials for a token of its own.
//!
//! There is no password grant (RFC 9700 §2.4): users sign in at `/login`.

use axum::extract::State;
use axum::http::HeaderMap;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::client;
use super::error::{OAuthError, OAuthRefusal};
use super::form::Form;
use crate::api::context::RequestContext;
use crate::api::{Api, Shared};
use crate::auth::Origin;
use crate::identity::scope::Scope;

/// What to grant for. A client authenticates with HTTP Basic, with `client_id` and `client_secret`, or with an
/// assertion; whoever refreshes needs no client.
#[derive(Deserialize, ToSchema)]
#[schema(as = TokenRequest)]
#[expect(dead_code, reason = "read by the OpenAPI macros only")]
pub(in crate::api) struct TokenRequest {
    /// `refresh_token` or `client_credentials`.
    grant_type: String,
    /// For `refresh_token`.
    refresh_token: Option<String>,
    /// With spaces between them; all that there are unless sent.
    scope: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    /// `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`.
    client_assertion_type: Option<String>,
    /// A JWT signed with the client's key (RFC 7523).
    client_assertion: Option<String>,
}

/// A token, and a refresh token if it has one (RFC 6749 §5.1).
#[derive(Serialize, ToSchema)]
#[schema(as = OAuthTokens)]
pub(in crate::api) struct TokenBody {
    access_token: String,
    /// Always `Bearer`.
    token_type: &'static str,
    /// Seconds.
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// With spaces between them.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
}

/// Exchanges a refresh token, or a client's credentials, for an access token.
#[utoipa::path(
    post, path = "/oauth/token", tag = "oauth", security((), ("client" = [])),
    request_body(content = TokenRequest, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "The token", body = TokenBody), OAuthRefusal)
)]
pub(in crate::api) async fn token(
    State(api): Shared,
    context: RequestContext,
    headers: HeaderMap,
    form: Form,
) -> Result<axum::Json<TokenBody>, OAuthError> {
    let from = context.origin();
    match form.required("grant_type", "grant_type is missing")? {
        "refresh_token" => refresh(&api, &headers, &form, &from).await,
        "client_credentials" => {
            let credentials = client::credentials(&headers, &form)?;
            let credentials = credentials.ok_or_else(|| OAuthError::invalid_client("the client does not say who it is"))?;
            let token = api.auth.grant_to_client(&credentials, form.get("scope"), &from).await?;
            Ok(axum::Json(TokenBody {
                access_token: token.access_token.expose_secret().to_owned(),
                token_type: "Bearer",
                expires_in: token.expires_in.as_secs(),
                refresh_token: None,
                scope: listed(token.scopes.iter().map(String::as_str)),
            }))
        }
        _ => Err(OAuthError::unsupported_grant_type()),
    }
}

async fn refresh(api: &Api, headers: &HeaderMap, form: &Form, from: &Origin) -> Result<axum::Json<TokenBody>, OAuthError> {
    let presented = form.required("refresh_token", "refresh_token is missing")?;
    // The refresh token is all that a public client has; a client that does say who it is must say the truth.
    if let Some(credentials) = client::credentials(headers, form)? {
        api.auth.authenticate_client(&credentials, from).await?;
    }
    let scopes = api.auth.session_scopes();
    if let Some(asked) = form.get("scope") {
        // A token of a session has all of them: a repeated refresh must be answered with the same one.
        let asked = Scope::parse_list(asked).map_err(|_| OAuthError::invalid_scope())?;
        if !asked.iter().all(|scope| scopes.contains(scope)) {
            return Err(OAuthError::invalid_scope());
        }
    }
    let tokens = api.auth.refresh(presented, from).await?;
    Ok(axum::Json(TokenBody {
        access_token: tokens.access_token.expose_secret().to_owned(),
        token_type: "Bearer",
        expires_in: tokens.expires_in.as_secs(),
        refresh_token: Some(tokens.refresh_token.expose_secret().to_owned()),
        scope: listed(scopes.iter().map(Scope::as_str)),
    }))
}

fn listed<'a>(scopes: impl Iterator<Item = &'a str>) -> Option<String> {
    let list = scopes.collect::<Vec<_>>().join(" ");
    (!list.is_empty()).then_some(list)
}
