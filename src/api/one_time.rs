//! `POST /one-time-tokens/redeem`: the token of a link for a ticket.
//!
//! Only POST: programs that look through mail follow its links with GET, and must not use them up.

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;
use super::body::{self, Json};
use super::context::RequestContext;
use super::cookie;
use super::document::{Refusal, TooMany};
use super::problem::Problem;
use crate::reason::Reason;

/// A one-time token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RedeemRequest {
    /// As in the link.
    #[serde(deserialize_with = "body::secret")]
    #[schema(value_type = String)]
    token: SecretString,
}

/// What the ticket is good for. The ticket itself is a cookie.
#[derive(Serialize, ToSchema)]
#[schema(as = Redeemed)]
pub(super) struct RedeemedBody {
    /// `password_reset`, `email_verification`, `invitation` or `reauthentication`.
    kind: &'static str,
    /// What goes with it: the roles and the e-mail address of an invitation.
    #[schema(value_type = Object)]
    metadata: serde_json::Value,
}

/// Redeems the token of a link, once, for a ticket: a cookie that is good for the deed for an hour.
#[utoipa::path(
    post, path = "/one-time-tokens/redeem", tag = "one-time tokens", request_body = RedeemRequest,
    responses(
        (status = 200, description = "What the ticket is good for", body = RedeemedBody,
         headers(("Set-Cookie" = String, description = "The ticket: `__Host-portcullis-ticket`"))),
        Refusal, TooMany,
    )
)]
pub(super) async fn redeem(
    State(api): Shared,
    context: RequestContext,
    Json(request): Json<RedeemRequest>,
) -> Result<([(HeaderName, HeaderValue); 1], axum::Json<RedeemedBody>), Problem> {
    let redeemed = api.auth.redeem(request.token.expose_secret(), &context.origin()).await?;
    let metadata = serde_json::from_str(&redeemed.metadata).map_err(|_| Problem::new(Reason::Internal))?;
    let cookie = [(header::SET_COOKIE, cookie::set(&redeemed.ticket, redeemed.expires_in))];
    Ok((cookie, axum::Json(RedeemedBody { kind: redeemed.kind.as_str(), metadata })))
}
