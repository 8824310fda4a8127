//! What programs read to find their way: the OpenAPI document, and the keys that verify our tokens.

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi, ToSchema};

use super::Shared;
use super::document::Refusal;
use super::oauth::error::OAuthErrorBody;
use super::problem::{FieldProblem, ProblemBody};
use crate::identity::signing_keys::PublicKey;

/// The frame of the document; paths and schemas come from the handlers.
#[derive(OpenApi)]
#[openapi(
    info(title = "Portcullis", description = "Users, sessions and tokens of the gateway."),
    modifiers(&Bearer),
    components(schemas(ProblemBody<'static>, FieldProblem<'static>, OAuthErrorBody)),
    tags(
        (name = "users", description = "Registration and profile"),
        (name = "sessions", description = "Login, refresh, logout, devices"),
        (name = "one-time tokens", description = "Password reset, e-mail verification, invitations"),
        (name = "api keys", description = "Keys of users' programs"),
        (name = "oauth", description = "Tokens of clients; revocation and introspection (RFC 6749, 7009, 7662)"),
        (name = "discovery", description = "This document and the verification keys"),
    )
)]
pub(super) struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("at+jwt").build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
        let client = HttpBuilder::new().scheme(HttpAuthScheme::Basic).build();
        components.add_security_scheme("client", SecurityScheme::Http(client));
    }
}

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "discovery",
    responses((status = 200, description = "The OpenAPI document", body = serde_json::Value), Refusal)
)]
pub(super) async fn openapi(State(api): Shared) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], api.document.clone())
}

/// Keys that verify our tokens (RFC 7517 §5).
#[derive(Serialize, ToSchema)]
#[schema(as = Jwks)]
pub(super) struct JwksBody {
    keys: Vec<serde_json::Map<String, serde_json::Value>>,
}

/// Long enough to spare us a request per verification; a new key is published well before it signs.
const JWKS_CACHE: HeaderValue = HeaderValue::from_static("public, max-age=60");

/// The public signing keys, those not signing yet included. Secret keys (HS256) are never among them.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "discovery",
    responses((status = 200, description = "A JSON Web Key Set", body = JwksBody), Refusal)
)]
pub(super) async fn jwks(State(api): Shared) -> impl IntoResponse {
    let keys = api.auth.ring().public_keys().map(jwk).collect();
    ([(header::CACHE_CONTROL, JWKS_CACHE)], axum::Json(JwksBody { keys }))
}

fn jwk(key: PublicKey<'_>) -> serde_json::Map<String, serde_json::Value> {
    let own = [("kid", key.kid), ("alg", key.algorithm.name()), ("use", "sig")];
    let members = key.members.iter().map(|(name, value)| (*name, value.as_str()));
    own.into_iter().chain(members).map(|(name, value)| (name.to_owned(), value.into())).collect()
}
