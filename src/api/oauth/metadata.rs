//! `/.well-known/oauth-authorization-server` (RFC 8414): where a client finds the endpoints, and what they can do.
//!
//! Every URL comes from the configuration. Taken from `Host`, they would send a client's secrets wherever whoever wrote
//! that field likes.

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::Shared;
use crate::api::document::{NotFound, Refusal};
use crate::api::problem::Problem;
use crate::reason::Reason;

/// The names by which clients know this gateway: they ask for the metadata at the issuer's host, so the endpoints are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// The issuer, an http(s) URL without a path.
    pub issuer: String,
    /// Its scheme and authority, without trailing slash.
    pub origin: String,
}

/// How clients find and use the endpoints (RFC 8414 §2).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuthorizationServer)]
pub(in crate::api) struct MetadataBody {
    issuer: String,
    token_endpoint: String,
    revocation_endpoint: String,
    introspection_endpoint: String,
    jwks_uri: String,
    grant_types_supported: &'static [&'static str],
    /// None: there is no authorization endpoint.
    response_types_supported: &'static [&'static str],
    token_endpoint_auth_methods_supported: &'static [&'static str],
    token_endpoint_auth_signing_alg_values_supported: &'static [&'static str],
    revocation_endpoint_auth_methods_supported: &'static [&'static str],
    revocation_endpoint_auth_signing_alg_values_supported: &'static [&'static str],
    introspection_endpoint_auth_methods_supported: &'static [&'static str],
    introspection_endpoint_auth_signing_alg_values_supported: &'static [&'static str],
}

/// `none`: a public client refreshes, and whoever holds a token may end it.
const METHODS: &[&str] = &["none", "client_secret_basic", "client_secret_post", "private_key_jwt"];
const METHODS_OF_CLIENTS: &[&str] = &["client_secret_basic", "client_secret_post", "private_key_jwt"];
const ALGORITHMS: &[&str] = &["EdDSA", "ES256", "RS256"];
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// Where the endpoints are and what they can do. Served if `auth.issuer` is the URL of a host.
#[utoipa::path(
    get, path = "/.well-known/oauth-authorization-server", tag = "discovery",
    responses((status = 200, description = "The metadata", body = MetadataBody), Refusal, NotFound)
)]
pub(in crate::api) async fn metadata(State(api): Shared) -> Result<impl IntoResponse, Problem> {
    let endpoints = api.settings.endpoints.as_ref();
    let endpoints =
        endpoints.ok_or_else(|| Problem::new(Reason::NotFound).with_detail("auth.issuer is not the URL of a host"))?;
    let (root, prefix) = (&endpoints.origin, &api.settings.prefix);
    let body = MetadataBody {
        issuer: endpoints.issuer.clone(),
        token_endpoint: format!("{root}{prefix}/oauth/token"),
        revocation_endpoint: format!("{root}{prefix}/oauth/revoke"),
        introspection_endpoint: format!("{root}{prefix}/oauth/introspect"),
        jwks_uri: format!("{root}/.well-known/jwks.json"),
        grant_types_supported: &["refresh_token", "client_credentials"],
        response_types_supported: &[],
        token_endpoint_auth_methods_supported: METHODS,
        token_endpoint_auth_signing_alg_values_supported: ALGORITHMS,
        revocation_endpoint_auth_methods_supported: METHODS,
        revocation_endpoint_auth_signing_alg_values_supported: ALGORITHMS,
        introspection_endpoint_auth_methods_supported: METHODS_OF_CLIENTS,
        introspection_endpoint_auth_signing_alg_values_supported: ALGORITHMS,
    };
    Ok(([(header::CACHE_CONTROL, CACHE)], axum::Json(body)))
}
