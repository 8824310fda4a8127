//! `POST /reauthenticate`: the password again, for routes that ask for a recent one; and `/reauthenticate/send`, for a link
//! by mail that stands for it.

use axum::extract::State;
use axum::http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Shared;
use super::body::{self, OptionalJson};
use super::context::{Authenticated, RequestContext};
use super::cookie::{Ticket, UsedTicket};
use super::document::{NotFound, Refusal, TooMany};
use super::login::TokensBody;
use super::problem::Problem;
use crate::auth::FieldError;
use crate::auth::mail::Enclosure;
use crate::auth::reauthenticate::Evidence;

/// The caller's password, or the token of a link that was mailed to them, unless it was redeemed for a ticket before.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReauthenticateRequest {
    #[serde(default, deserialize_with = "body::optional_secret")]
    #[schema(value_type = Option<String>, format = Password)]
    password: Option<SecretString>,
    #[serde(default, deserialize_with = "body::optional_secret")]
    #[schema(value_type = Option<String>)]
    token: Option<SecretString>,
}

/// Repeats the password within the session, or shows a mailed token instead: the session's next tokens have a fresh
/// `auth_time`.
#[utoipa::path(
    post, path = "/reauthenticate", tag = "sessions", security(("bearer" = [])), request_body = Option<ReauthenticateRequest>,
    responses((status = 200, description = "The session's next tokens", body = TokensBody), Refusal, TooMany)
)]
pub(super) async fn reauthenticate(
    State(api): Shared,
    context: RequestContext,
    Authenticated(caller): Authenticated,
    ticket: Ticket,
    OptionalJson(request): OptionalJson<ReauthenticateRequest>,
) -> Result<(UsedTicket, axum::Json<TokensBody>), Problem> {
    let ReauthenticateRequest { password, token } = request.unwrap_or_default();
    let by_ticket = password.is_none() && token.is_none();
    let evidence = match &password {
        Some(_) if token.is_some() => return Err(invalid("must come without a token")),
        Some(password) => Evidence::Password(password),
        None if by_ticket && ticket.0.is_none() => return Err(invalid("is required unless there is a token")),
        None => Evidence::Mailed(ticket.or_token(token.as_ref())?),
    };
    let tokens = api.auth.reauthenticate(&caller, evidence, &context.origin()).await?;
    Ok((ticket.used_unless(!by_ticket), axum::Json(tokens.into())))
}

/// Has a link mailed to the caller that stands for their password, once.
#[utoipa::path(
    post, path = "/reauthenticate/send", tag = "one-time tokens", security(("bearer" = [])),
    responses((status = 202, description = "A mail is on its way"), Refusal, NotFound, TooMany)
)]
pub(super) async fn send(State(api): Shared, Authenticated(caller): Authenticated) -> Result<StatusCode, Problem> {
    api.auth.send_reauthentication(&caller, &Enclosure::default()).await?;
    Ok(StatusCode::ACCEPTED)
}

fn invalid(rule: &str) -> Problem {
    Problem::invalid(vec![FieldError::new("password", rule)])
}
