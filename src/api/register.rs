//! `POST /register`.

use axum::extract::State;
use axum::http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;
use super::body::{self, Json};
use super::context::RequestContext;
use super::cookie::{Ticket, UsedTicket};
use super::document::{Conflict, Forbidden, Refusal, TooMany};
use super::problem::Problem;
use crate::auth::FieldError;
use crate::auth::one_time::Proof;
use crate::auth::register::NewAccount;
use crate::identity::user::User;

/// Who is to be registered.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RegisterRequest {
    /// A name to sign in with. At least one of `username` and `email` is needed.
    #[schema(min_length = 1, max_length = 128, pattern = "^[^@]+$")]
    username: Option<String>,
    /// An address to sign in with.
    #[schema(format = "email", max_length = 254)]
    email: Option<String>,
    #[serde(deserialize_with = "body::secret")]
    #[schema(value_type = String, format = Password, min_length = 8)]
    password: SecretString,
    /// If sent, must be equal to `password`.
    #[serde(default, deserialize_with = "body::optional_secret")]
    #[schema(value_type = Option<String>, format = Password)]
    password_confirmation: Option<SecretString>,
    #[schema(min_length = 1, max_length = 128)]
    given_name: Option<String>,
    #[schema(min_length = 1, max_length = 128)]
    family_name: Option<String>,
    /// Roles to have, as far as new users may ask for them.
    #[serde(default)]
    #[schema(max_items = 64)]
    roles: Vec<String>,
    /// The token of an invitation, unless it was redeemed for a ticket before. Its roles are given, and none beside.
    #[serde(default, deserialize_with = "body::optional_secret")]
    #[schema(value_type = Option<String>)]
    invitation: Option<SecretString>,
}

/// A user as shown to themselves.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub(super) struct UserBody {
    /// Stable: the `sub` of the user's tokens.
    #[schema(format = Uuid)]
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    email: Option<String>,
    /// Whether the user was proved to read the mail of `email`.
    email_verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    given_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    family_name: Option<String>,
    roles: Vec<String>,
    #[schema(format = DateTime)]
    created_at: String,
}

impl From<User> for UserBody {
    fn from(user: User) -> Self {
        Self {
            id: user.id.to_string(),
            username: user.username.map(|name| name.as_typed().to_owned()),
            email: user.email.map(|email| email.as_typed().to_owned()),
            email_verified: user.email_verified_at.is_some(),
            given_name: user.given_name,
            family_name: user.family_name,
            roles: user.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            created_at: user.created_at.to_string(),
        }
    }
}

/// Registers a user: anybody, or whoever was invited, as configured.
#[utoipa::path(
    post, path = "/register", tag = "users", request_body = RegisterRequest,
    responses((status = 201, description = "The user", body = UserBody), Refusal, Forbidden, Conflict, TooMany)
)]
pub(super) async fn register(
    State(api): Shared,
    context: RequestContext,
    ticket: Ticket,
    Json(request): Json<RegisterRequest>,
) -> Result<(StatusCode, UsedTicket, axum::Json<UserBody>), Problem> {
    let confirmed = request.password_confirmation.as_ref();
    if confirmed.is_some_and(|confirmation| confirmation.expose_secret() != request.password.expose_secret()) {
        return Err(Problem::invalid(vec![FieldError::new("password_confirmation", "must be equal to the password")]));
    }
    let account = NewAccount {
        username: request.username,
        email: request.email,
        password: request.password,
        given_name: request.given_name,
        family_name: request.family_name,
        roles: request.roles,
    };
    let user = match (&request.invitation, &ticket.0) {
        (Some(token), _) => api.auth.accept_invitation(account, Proof::Token(token.expose_secret()), &context.origin()).await?,
        (None, Some(ticket)) => api.auth.register_with_ticket(account, ticket.expose_secret(), &context.origin()).await?,
        (None, None) => api.auth.register(account, &context.origin()).await?,
    };
    let used = ticket.used_unless(request.invitation.is_some());
    Ok((StatusCode::CREATED, used, axum::Json(user.into())))
}
