//! `POST /email/verify/send` and `/email/verify`: the proof that a user reads their mail.

use axum::extract::State;
use axum::http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Shared;
use super::body::{self, OptionalJson};
use super::context::{Authenticated, RequestContext};
use super::cookie::{Ticket, UsedTicket};
use super::document::{Conflict, Forbidden, NotFound, Refusal, TooMany};
use super::problem::Problem;
use crate::auth::mail::Enclosure;

/// The token of the link, unless it was redeemed for a ticket before.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyEmailRequest {
    #[serde(default, deserialize_with = "body::optional_secret")]
    #[schema(value_type = Option<String>)]
    token: Option<SecretString>,
}

/// Has a link mailed to the caller that verifies their address.
#[utoipa::path(
    post, path = "/email/verify/send", tag = "one-time tokens", security(("bearer" = [])),
    responses((status = 202, description = "A mail is on its way"), Refusal, Forbidden, NotFound, Conflict, TooMany)
)]
pub(super) async fn send(State(api): Shared, Authenticated(caller): Authenticated) -> Result<StatusCode, Problem> {
    api.auth.send_verification(&caller, &Enclosure::default()).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Verifies the address that a link was mailed to, while it is its user's.
#[utoipa::path(
    post, path = "/email/verify", tag = "one-time tokens", request_body = Option<VerifyEmailRequest>,
    responses((status = 204, description = "The address is verified"), Refusal, TooMany)
)]
pub(super) async fn verify(
    State(api): Shared,
    context: RequestContext,
    ticket: Ticket,
    OptionalJson(request): OptionalJson<VerifyEmailRequest>,
) -> Result<(StatusCode, UsedTicket), Problem> {
    let token = request.and_then(|request| request.token);
    api.auth.verify_email(ticket.or_token(token.as_ref())?, &context.origin()).await?;
    Ok((StatusCode::NO_CONTENT, ticket.used_unless(token.is_some())))
}
