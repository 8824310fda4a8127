//! `GET /verify`: whether a token is accepted right now, and what it says.
//!
//! This is about the token alone. Where a trusted proxy says which request it has in its hands (nginx `auth_request`,
//! Traefik ForwardAuth, Envoy's HTTP ext_authz), the answer is that of the routes, and is not given here but by what decides
//! about proxied requests.

use axum::extract::State;
use axum::http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::Shared;
use super::context::AnyCaller;
use super::document::Refusal;
use super::problem::Problem;
use crate::identity::{Caller, Credential};

/// Below the prefix; other proxies ask about their requests here, too.
pub const PATH: &str = "/verify";

/// What the token says, by its claims' names (RFC 9068 §2.2).
#[derive(Serialize, ToSchema)]
#[schema(as = Claims)]
pub(super) struct ClaimsBody {
    iss: String,
    sub: String,
    sid: String,
    jti: String,
    /// Seconds since 1970.
    iat: i64,
    /// Seconds since 1970.
    exp: i64,
    /// Seconds since 1970.
    auth_time: i64,
    roles: Vec<String>,
    /// With spaces between them.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    preferred_username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    email: Option<String>,
}

impl From<&Caller> for ClaimsBody {
    fn from(Caller { principal, token, .. }: &Caller) -> Self {
        Self {
            iss: principal.issuer.to_string(),
            sub: principal.subject.to_string(),
            sid: principal.session.to_string(),
            jti: token.jti.to_string(),
            iat: token.issued_to_owner(principal).as_second(),
            exp: token.expires_at.as_second(),
            auth_time: principal.auth_time.as_second(),
            roles: principal.roles.iter().map(ToString::to_string).collect(),
            scope: (!principal.scopes.is_empty()).then(|| principal.scopes.join(" ")),
            client_id: (principal.credential == Credential::Client).then(|| principal.subject.to_string()),
            preferred_username: principal.username.as_deref().map(str::to_owned),
            email: principal.email.as_deref().map(str::to_owned),
        }
    }
}

/// Says whether the bearer token is accepted, and for whom it speaks.
#[utoipa::path(
    get, path = "/verify", tag = "sessions", security(("bearer" = [])),
    responses((status = 200, description = "Accepted; the identity headers say for whom, too", body = ClaimsBody), Refusal)
)]
pub(super) async fn verify(
    State(api): Shared,
    AnyCaller(caller): AnyCaller,
) -> Result<(HeaderMap, axum::Json<ClaimsBody>), Problem> {
    let headers = (api.settings.identity_headers)(&caller.principal).into_iter().collect();
    Ok((headers, axum::Json(ClaimsBody::from(&*caller))))
}
