//! `/admin/revocations`: what administrators revoke, by whatever they have of it.

use axum::extract::State;
use axum::http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Shared;
use super::body::{self, Json};
use super::context::{Administrator, RequestContext};
use super::document::{NotFound, Refusal};
use super::problem::Problem;
use crate::auth::audit::Actor;
use crate::auth::revocation::Target;
use crate::identity::session::SessionId;
use crate::reason::Reason;

/// What is to be revoked: exactly one of these.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Revocation {
    /// A whole token: an access token, of this gateway or of one of its issuers, which is asked about an opaque one; a refresh
    /// token, with its session; an API key.
    #[serde(default, deserialize_with = "body::optional_secret")]
    #[schema(value_type = Option<String>, format = Password)]
    token: Option<SecretString>,
    /// The `jti` of an access token of this gateway; for another issuer's, the hexadecimal SHA-256 of issuer, a zero byte and
    /// `jti`.
    jti: Option<String>,
    /// The `sid` of a session, or the id of an API key.
    session: Option<Uuid>,
    /// The id, the name or the e-mail address of a user, all of whose sessions end.
    user: Option<String>,
}

impl Revocation {
    fn target(self) -> Result<Target, Problem> {
        let Self { token, jti, session, user } = self;
        let targets = [
            token.map(Target::Token),
            jti.map(Target::TokenId),
            session.map(|id| Target::Session(SessionId(id))),
            user.map(Target::User),
        ];
        let mut targets = targets.into_iter().flatten();
        match (targets.next(), targets.next()) {
            (Some(target), None) => Ok(target),
            _ => Err(Problem::new(Reason::Invalid).with_detail("exactly one of token, jti, session and user must be given")),
        }
    }
}

/// Revokes a token, a session, or all sessions of a user.
#[utoipa::path(
    post, path = "/admin/revocations", tag = "administration", security(("bearer" = [])), request_body = Revocation,
    responses((status = 204, description = "Nothing that was revoked is accepted any more"), Refusal, NotFound)
)]
pub(super) async fn revoke(
    State(api): Shared,
    context: RequestContext,
    Administrator(caller): Administrator,
    Json(request): Json<Revocation>,
) -> Result<StatusCode, Problem> {
    let foreign = api.authenticator.foreign_policies();
    let target = request.target()?.introspected(&api.authenticator).await?;
    api.auth.revoke(&target, &foreign, &Actor::caller(&caller, &context.origin())).await?;
    Ok(StatusCode::NO_CONTENT)
}
