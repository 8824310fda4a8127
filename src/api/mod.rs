//! The gateway's own API as an axum router: `http::Request` in, `http::Response` out; it knows no proxy and no store.
//!
//! Every endpoint is in `endpoints`, which is at once the router and its OpenAPI document, so neither can have
//! what the other lacks. Bodies stand beside their handlers.

mod api_keys;
pub mod audit;
pub mod body;
pub mod context;
mod cookie;
pub mod dialects;
pub mod discovery;
mod document;
pub mod email;
pub mod invitations;
pub mod login;
pub mod me;
mod oauth;
pub mod one_time;
pub mod password;
pub mod password_reset;
pub mod problem;
mod query;
pub mod reauthenticate;
pub mod register;
mod revocations;
pub mod sessions;
pub mod users;
pub mod verify;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware;
use axum::response::Response;
use bytes::Bytes;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Auth;
use crate::auth::authenticate::Authenticator;
use crate::identity::Principal;
use crate::reason::Reason;
use problem::Problem;

pub use oauth::metadata::Endpoints;

/// What the API is told about its surroundings.
#[derive(Clone)]
pub struct ApiSettings {
    /// Path prefix of every endpoint but the well-known ones, without trailing slash: `/auth`.
    pub prefix: String,
    /// The largest request body, in bytes; larger is 413.
    pub body_bytes_max: usize,
    /// The identity headers of a principal, as `forwarding` sets them: `/verify` answers with the very same ones.
    pub identity_headers: IdentityHeaders,
    /// How clients find the OAuth endpoints; none if the issuer is not a URL.
    pub endpoints: Option<Endpoints>,
}

/// Yields the identity headers of a principal.
pub type IdentityHeaders = Arc<dyn Fn(&Principal) -> Vec<(HeaderName, HeaderValue)> + Send + Sync>;

impl fmt::Debug for ApiSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiSettings")
            .field("prefix", &self.prefix)
            .field("body_bytes_max", &self.body_bytes_max)
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}

/// What handlers share.
struct Api {
    auth: Arc<Auth>,
    authenticator: Arc<Authenticator>,
    settings: ApiSettings,
    /// The OpenAPI document, rendered once.
    document: Bytes,
}

type Shared = axum::extract::State<Arc<Api>>;

/// Every endpoint: the router, and the document made from the same list.
fn endpoints(prefix: &str) -> OpenApiRouter<Arc<Api>> {
    let api = OpenApiRouter::new()
        .routes(routes!(register::register))
        .routes(routes!(login::login))
        .routes(routes!(login::refresh))
        .routes(routes!(login::logout))
        .routes(routes!(login::logout_all))
        .routes(routes!(verify::verify))
        .routes(routes!(me::show, me::change))
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::end))
        .routes(routes!(password::change))
        .routes(routes!(password_reset::forgot))
        .routes(routes!(password_reset::reset))
        .routes(routes!(email::send))
        .routes(routes!(email::verify))
        .routes(routes!(invitations::invite))
        .routes(routes!(one_time::redeem))
        .routes(routes!(reauthenticate::reauthenticate))
        .routes(routes!(reauthenticate::send))
        .routes(routes!(revocations::revoke))
        .routes(routes!(audit::list))
        .routes(routes!(users::list, users::add))
        .routes(routes!(users::show, users::change, users::delete))
        .routes(routes!(users::disable))
        .routes(routes!(users::enable))
        .routes(routes!(users::set_roles))
        .routes(routes!(users::sessions, users::end_sessions))
        .routes(routes!(api_keys::create, api_keys::list))
        .routes(routes!(api_keys::revoke))
        .routes(routes!(oauth::token::token))
        .routes(routes!(oauth::revoke::revoke))
        .routes(routes!(oauth::introspect::introspect))
        .routes(routes!(oauth::backchannel_logout::receive))
        .routes(routes!(discovery::openapi));
    let root = OpenApiRouter::with_openapi(discovery::Document::openapi());
    root.nest(prefix, api).routes(routes!(discovery::jwks)).routes(routes!(oauth::metadata::metadata))
}

/// Whether the gateway itself answers this canonical path, its API being under `prefix`.
#[must_use]
pub fn serves(prefix: &str, path: &str) -> bool {
    let under_prefix = path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    under_prefix || matches!(path, "/.well-known/jwks.json" | "/.well-known/oauth-authorization-server")
}

/// The API as a service. Requests must carry a [`context::RequestContext`] as an extension.
pub fn router(auth: Arc<Auth>, authenticator: Arc<Authenticator>, settings: ApiSettings) -> Router {
    let (router, document) = endpoints(&settings.prefix).split_for_parts();
    let document = document::render(&document, &settings.prefix);
    let limit = DefaultBodyLimit::max(settings.body_bytes_max);
    router
        .fallback(async || Problem::new(Reason::NotFound))
        .method_not_allowed_fallback(async || Problem::new(Reason::MethodNotAllowed))
        .layer(limit)
        .layer(middleware::map_response(uncached))
        .layer(middleware::from_fn(problem::name_decision))
        .with_state(Arc::new(Api { auth, authenticator, settings, document }))
}

/// Nothing here may be stored by a cache unless its handler says so: tokens and profiles least of all.
async fn uncached(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
