//! `POST /login`, `/refresh`, `/logout` and `/logout-all`: the life of a session.

use axum::extract::State;
use axum::http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;
use super::body::{self, Json, OptionalJson};
use super::context::{Authenticated, RequestContext, SentToken};
use super::document::{Refusal, TooMany, Unauthorized};
use super::problem::Problem;
use crate::auth::FieldError;
use crate::auth::tokens::Tokens;
use crate::identity::machine_secret::MachineSecret;
use crate::reason::Reason;

/// Name and password. Exactly one of the three names.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LoginRequest {
    #[schema(min_length = 1)]
    username: Option<String>,
    #[schema(min_length = 1)]
    email: Option<String>,
    /// A user name or an e-mail address.
    #[schema(min_length = 1)]
    identifier: Option<String>,
    #[serde(deserialize_with = "body::secret")]
    #[schema(value_type = String, format = Password, min_length = 1)]
    password: SecretString,
}

/// An access token and the refresh token for the next one (RFC 6749 §5.1).
#[derive(Serialize, ToSchema)]
#[schema(as = Tokens)]
pub(super) struct TokensBody {
    access_token: String,
    /// Always `Bearer`.
    token_type: &'static str,
    /// Seconds.
    expires_in: u64,
    /// Good for one exchange.
    refresh_token: String,
    /// Seconds.
    refresh_expires_in: u64,
}

impl From<Tokens> for TokensBody {
    fn from(tokens: Tokens) -> Self {
        Self {
            access_token: tokens.access_token.expose_secret().to_owned(),
            token_type: "Bearer",
            expires_in: tokens.expires_in.as_secs(),
            refresh_token: tokens.refresh_token.expose_secret().to_owned(),
            refresh_expires_in: tokens.refresh_expires_in.as_secs(),
        }
    }
}

/// A refresh token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RefreshRequest {
    #[serde(deserialize_with = "body::secret")]
    #[schema(value_type = String)]
    refresh_token: SecretString,
}

/// The refresh token of the session to end, for clients whose access token is gone.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LogoutRequest {
    #[serde(default, deserialize_with = "body::optional_secret")]
    #[schema(value_type = Option<String>)]
    refresh_token: Option<SecretString>,
}

/// Signs in.
#[utoipa::path(
    post, path = "/login", tag = "sessions", request_body = LoginRequest,
    responses((status = 200, description = "The session's first tokens", body = TokensBody), Refusal, Unauthorized, TooMany)
)]
pub(super) async fn login(
    State(api): Shared,
    context: RequestContext,
    Json(request): Json<LoginRequest>,
) -> Result<axum::Json<TokensBody>, Problem> {
    let LoginRequest { username, email, identifier, password } = request;
    let names: Vec<String> = [username, email, identifier].into_iter().flatten().collect();
    let [name] = &names[..] else {
        let rule = "or `email` or `identifier` is required, and only one of them";
        return Err(Problem::invalid(vec![FieldError::new("username", rule)]));
    };
    let tokens = api.auth.login(name, password.expose_secret(), &context.origin()).await?;
    Ok(axum::Json(tokens.into()))
}

/// Exchanges a refresh token for the next pair. Safe to repeat within the grace window: the answer is the same.
#[utoipa::path(
    post, path = "/refresh", tag = "sessions", request_body = RefreshRequest,
    responses((status = 200, description = "The session's next tokens", body = TokensBody), Refusal, Unauthorized)
)]
pub(super) async fn refresh(
    State(api): Shared,
    context: RequestContext,
    Json(request): Json<RefreshRequest>,
) -> Result<axum::Json<TokensBody>, Problem> {
    Ok(axum::Json(api.auth.refresh(request.refresh_token.expose_secret(), &context.origin()).await?.into()))
}

/// Ends the session of a token: the bearer token, the refresh token in the body, or both. Also for tokens that have
/// expired, and for sessions that have ended.
#[utoipa::path(
    post, path = "/logout", tag = "sessions", request_body = Option<LogoutRequest>, security((), ("bearer" = [])),
    responses((status = 204, description = "No token of the session is accepted any more"), Refusal)
)]
pub(super) async fn logout(
    State(api): Shared,
    context: RequestContext,
    SentToken(access_token): SentToken,
    OptionalJson(request): OptionalJson<LogoutRequest>,
) -> Result<StatusCode, Problem> {
    let refresh_token = request.as_ref().and_then(|request| request.refresh_token.as_ref()).map(|token| token.expose_secret());
    if access_token.is_none() && refresh_token.is_none() {
        return Err(Problem::new(Reason::MissingToken));
    }
    if access_token.as_deref().is_some_and(MachineSecret::is_api_key) {
        // A 204 would say that it is not accepted any more.
        return Err(Problem::new(Reason::Forbidden).with_detail("an api key has no session: delete the key"));
    }
    api.auth.logout(access_token.as_deref(), refresh_token, &context.origin()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends every session of the caller, this one included.
#[utoipa::path(
    post, path = "/logout-all", tag = "sessions", security(("bearer" = [])),
    responses((status = 204, description = "No token of the user is accepted any more"), Refusal)
)]
pub(super) async fn logout_all(
    State(api): Shared,
    context: RequestContext,
    Authenticated(caller): Authenticated,
) -> Result<StatusCode, Problem> {
    api.auth.logout_all(&caller, &context.origin()).await?;
    Ok(StatusCode::NO_CONTENT)
}
