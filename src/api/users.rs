//! `/users`: accounts as administrators see and change them. No hash ever leaves.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::Shared;
use super::body::{self, Json};
use super::context::{Administrator, RequestContext};
use super::document::{Conflict, NotFound, Refusal};
use super::me::ProfilePatch;
use super::problem::Problem;
use super::query::{Query, next, page_limit};
use super::sessions::{SessionBody, SessionsBody};
use crate::auth::FieldError;
use crate::auth::audit::Actor;
use crate::auth::register::NewAccount;
use crate::auth::users::AdminError;
use crate::identity::user::{Role, User, UserId};

/// A user as administrators see them.
#[derive(Serialize, ToSchema)]
#[schema(as = Account)]
pub(super) struct AccountBody {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    /// When the user was last proved to read the mail of the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    email_verified_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    given_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    family_name: Option<String>,
    roles: Vec<String>,
    /// Since when the user may not sign in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    disabled_at: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
}

impl From<User> for AccountBody {
    fn from(user: User) -> Self {
        Self {
            id: user.id.to_string(),
            username: user.username.map(|name| name.as_typed().to_owned()),
            email: user.email.map(|email| email.as_typed().to_owned()),
            email_verified_at: user.email_verified_at.map(|at| at.to_string()),
            given_name: user.given_name,
            family_name: user.family_name,
            roles: user.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            disabled_at: user.disabled_at.map(|at| at.to_string()),
            created_at: user.created_at.to_string(),
        }
    }
}

/// A page of users, in the order in which they were added.
#[derive(Serialize, ToSchema)]
#[schema(as = Accounts)]
pub(super) struct AccountsBody {
    users: Vec<AccountBody>,
    /// To be sent as `after` for the next page. Absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Which users to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AccountsQuery {
    /// Only the user with this name, or with this address if it has an `@`.
    name: Option<String>,
    /// Only users after the one with this id: `next` of the page before.
    after: Option<Uuid>,
    /// At most so many: 1 to 500.
    limit: Option<u32>,
}

/// Who is to be added, with any roles.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAccountRequest {
    /// At least one of `username` and `email` is needed.
    username: Option<String>,
    email: Option<String>,
    #[serde(deserialize_with = "body::secret")]
    #[schema(value_type = String, format = Password)]
    password: SecretString,
    given_name: Option<String>,
    family_name: Option<String>,
    /// Roles to have beyond those that every new user gets.
    #[serde(default)]
    roles: Vec<String>,
}

/// Exactly the roles to have.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RolesRequest {
    roles: Vec<String>,
}

/// A user named by the path: an id that is none belongs to nobody.
pub(super) struct Account(UserId);

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Account {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, state: &S) -> Result<Self, Problem> {
        let Path(id) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| AdminError::NoSuchUser)?;
        Ok(Self(UserId(id.parse().map_err(|_| AdminError::NoSuchUser)?)))
    }
}

/// Lists users.
#[utoipa::path(
    get, path = "/users", tag = "administration", security(("bearer" = [])), params(AccountsQuery),
    responses((status = 200, description = "A page of users", body = AccountsBody), Refusal)
)]
pub(super) async fn list(
    State(api): Shared,
    Administrator(_): Administrator,
    Query(query): Query<AccountsQuery>,
) -> Result<axum::Json<AccountsBody>, Problem> {
    let limit = page_limit(query.limit)?;
    let users = match query.name {
        Some(name) => match api.auth.find_user(&name).await {
            Ok(user) => vec![user],
            Err(AdminError::NoSuchUser) => Vec::new(),
            Err(error) => return Err(error.into()),
        },
        None => api.auth.list_users_after(query.after.map(UserId), limit).await?,
    };
    let next = next(&users, limit, |user| user.id.to_string());
    Ok(axum::Json(AccountsBody { users: users.into_iter().map(AccountBody::from).collect(), next }))
}

/// Adds a user.
#[utoipa::path(
    post, path = "/users", tag = "administration", security(("bearer" = [])), request_body = NewAccountRequest,
    responses((status = 201, description = "The user", body = AccountBody), Refusal, Conflict)
)]
pub(super) async fn add(
    State(api): Shared,
    context: RequestContext,
    Administrator(caller): Administrator,
    Json(request): Json<NewAccountRequest>,
) -> Result<(StatusCode, axum::Json<AccountBody>), Problem> {
    let NewAccountRequest { username, email, password, given_name, family_name, roles } = request;
    let account = NewAccount { username, email, password, given_name, family_name, roles };
    let user = api.auth.add_user(account, &Actor::caller(&caller, &context.origin())).await?;
    Ok((StatusCode::CREATED, axum::Json(user.into())))
}

/// One user.
#[utoipa::path(
    get, path = "/users/{id}", tag = "administration", security(("bearer" = [])),
    params(("id" = String, Path, description = "As listed")),
    responses((status = 200, description = "The user", body = AccountBody), Refusal, NotFound)
)]
pub(super) async fn show(
    State(api): Shared,
    Administrator(_): Administrator,
    Account(id): Account,
) -> Result<axum::Json<AccountBody>, Problem> {
    Ok(axum::Json(api.auth.user(id).await?.into()))
}

/// Changes a user's names.
#[utoipa::path(
    patch, path = "/users/{id}", tag = "administration", security(("bearer" = [])), request_body = ProfilePatch,
    params(("id" = String, Path, description = "As listed")),
    responses((status = 200, description = "The user as changed", body = AccountBody), Refusal, NotFound)
)]
pub(super) async fn change(
    State(api): Shared,
    context: RequestContext,
    Administrator(caller): Administrator,
    Account(id): Account,
    Json(patch): Json<ProfilePatch>,
) -> Result<axum::Json<AccountBody>, Problem> {
    let by = Actor::caller(&caller, &context.origin());
    Ok(axum::Json(api.auth.change_user(id, patch.into(), &by).await?.into()))
}

/// Deletes a user with everything that is theirs, and ends their sessions.
#[utoipa::path(
    delete, path = "/users/{id}", tag = "administration", security(("bearer" = [])),
    params(("id" = String, Path, description = "As listed")),
    responses((status = 204, description = "Deleted; no token of the user is accepted any more"), Refusal, NotFound)
)]
pub(super) async fn delete(
    State(api): Shared,
    context: RequestContext,
    Administrator(caller): Administrator,
    Account(id): Account,
) -> Result<StatusCode, Problem> {
    api.auth.delete_user(id, &Actor::caller(&caller, &context.origin())).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Signs a user out everywhere and lets them in no more.
#[utoipa::path(
    post, path = "/users/{id}/disable", tag = "administration", security(("bearer" = [])),
    params(("id" = String, Path, description = "As listed")),
    responses((status = 204, description = "Disabled; no token of the user is accepted any more"), Refusal, NotFound)
)]
pub(super) async fn disable(
    State(api): Shared,
    context: RequestContext,
    Administrator(caller): Administrator,
    Account(id): Account,
) -> Result<StatusCode, Problem> {
    api.auth.set_user_disabled(id, true, &Actor::caller(&caller, &context.origin())).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets a disabled user in again.
#[utoipa::path(
    post, path = "/users/{id}/enable", tag = "administration", security(("bearer" = [])),
    params(("id" = String, Path, description = "As listed")),
    responses((status = 204, description = "Enabled"), Refusal, NotFound)
)]
pub(super) async fn enable(
    State(api): Shared,
    context: RequestContext,
    Administrator(caller): Administrator,
    Account(id): Account,
) -> Result<StatusCode, Problem> {
    api.auth.set_user_disabled(id, false, &Actor::caller(&caller, &context.origin())).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Replaces a user's roles. Taking one away ends the user's sessions, because tokens that still carry it are out.
#[utoipa::path(
    put, path = "/users/{id}/roles", tag = "administration", security(("bearer" = [])), request_body = RolesRequest,
    params(("id" = String, Path, description = "As listed")),
    responses((status = 200, description = "The user as changed", body = AccountBody), Refusal, NotFound)
)]
pub(super) async fn set_roles(
    State(api): Shared,
    context: RequestContext,
    Administrator(caller): Administrator,
    Account(id): Account,
    Json(request): Json<RolesRequest>,
) -> Result<axum::Json<AccountBody>, Problem> {
    let roles = request.roles.iter().map(|role| Role::parse(role)).collect::<Result<_, _>>();
    let roles = roles.map_err(|rule| Problem::invalid(vec![FieldError::new("roles", rule)]))?;
    api.auth.set_user_roles(id, &roles, &Actor::caller(&caller, &context.origin())).await?;
    Ok(axum::Json(api.auth.user(id).await?.into()))
}

/// Where a user is signed in, newest first.
#[utoipa::path(
    get, path = "/users/{id}/sessions", tag = "administration", security(("bearer" = [])),
    params(("id" = String, Path, description = "As listed")),
    responses((status = 200, description = "Live sessions, newest first", body = SessionsBody), Refusal, NotFound)
)]
pub(super) async fn sessions(
    State(api): Shared,
    Administrator(caller): Administrator,
    Account(id): Account,
) -> Result<axum::Json<SessionsBody>, Problem> {
    let user = api.auth.user(id).await?;
    let live = api.auth.user_sessions(user.id).await?;
    let sessions = live.into_iter().map(|session| SessionBody::new(session, caller.principal.session)).collect();
    Ok(axum::Json(SessionsBody { sessions }))
}

/// Ends every session of a user.
#[utoipa::path(
    delete, path = "/users/{id}/sessions", tag = "administration", security(("bearer" = [])),
    params(("id" = String, Path, description = "As listed")),
    responses((status = 204, description = "No token of the user is accepted any more"), Refusal, NotFound)
)]
pub(super) async fn end_sessions(
    State(api): Shared,
    context: RequestContext,
    Administrator(caller): Administrator,
    Account(id): Account,
) -> Result<StatusCode, Problem> {
    let user = api.auth.user(id).await?;
    api.auth.end_user_sessions(user.id, &Actor::caller(&caller, &context.origin())).await?;
    Ok(StatusCode::NO_CONTENT)
}
