//! Requests in the wire format of an existing system: which system's, and what that changes on the way.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, header};
use pingora::http::ResponseHeader;
use pingora::prelude::*;
use pingora::proxy::Session;

use super::api_calls::Answerer;
use super::snapshot::Snapshot;
use crate::admission::{Denied, Destination, Way};
use crate::dialect::{CorsAnswer, Dialect};
use crate::policy::access::Permit;
use crate::policy::bearer;

/// What a request's dialect means for it.
#[derive(Default)]
pub(super) struct Front {
    /// Whose wire format it is in, if any.
    pub(super) dialect: Option<Arc<Dialect>>,
    /// CORS fields, for whatever answer it gets.
    pub(super) cors: HeaderMap,
    /// Who answers it; none if it is for the gateway's own API or for an upstream.
    pub(super) answerer: Option<Answerer>,
}

/// Finds out in whose wire format a request is. A preflight is answered before anything else is looked at: it brings
/// no credentials.
pub(super) fn front(snapshot: &Snapshot, session: &Session, head: &Parts, Destination { host, target }: &Destination) -> Front {
    if snapshot.parts.dialects.is_empty() {
        return Front::default();
    }
    let local = session.as_downstream().server_addr().and_then(|address| address.as_inet());
    let path = target.path();
    let dialect = snapshot.parts.dialects.for_request(local.map_or(0, std::net::SocketAddr::port), host, &path);
    let Some(dialect) = dialect else { return Front::default() };
    let route = dialect.route(&head.method, &path);
    let route = route.map(|route| Answerer::Route(Arc::clone(dialect), Arc::clone(route)));
    let (cors, answerer) = match dialect.cors.as_ref().map(|cors| cors.answer(&head.method, &head.headers)) {
        Some(CorsAnswer::Preflight(fields)) => (fields, Some(Answerer::Preflight)),
        Some(CorsAnswer::Fields(fields)) => (fields, route),
        None => (HeaderMap::new(), route),
    };
    Front { dialect: Some(Arc::clone(dialect)), cors, answerer }
}

/// Decides whether the request may be forwarded. Where its dialect lets a cookie revive an access token that has
/// expired, and nothing else is wrong with the token, the session decides.
pub(super) async fn admit(
    snapshot: &Snapshot,
    head: &Parts,
    way: &Way<'_>,
    dialect: Option<&Arc<Dialect>>,
) -> std::result::Result<Permit, Denied> {
    let denied = match snapshot.parts.gate.admit(way, head).await {
        Err(denied) if denied.is_expiry() => denied,
        decided => return decided,
    };
    let dialect = dialect.filter(|dialect| dialect.cookie_revives);
    let cookie = dialect.and_then(|dialect| dialect.refresh_token_in(&head.headers));
    let (Some(cookie), Ok(Some(token))) = (cookie, bearer::extract(&head.headers)) else { return Err(denied) };
    let caller = snapshot.parts.api.revive(token.to_owned(), cookie.into_owned()).await.map_err(Denied::NotRevived)?;
    snapshot.parts.gate.admit_as(caller, way)
}

/// The fields that say which pages may read an answer: the dialect's or the route's word is the only one.
const CORS: [header::HeaderName; 6] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
];

/// Puts these fields in place of an upstream's. What else an answer varies by is still the upstream's to say.
pub(super) fn replace_cors(response: &mut ResponseHeader, fields: &HeaderMap) -> Result<()> {
    if fields.is_empty() {
        return Ok(());
    }
    CORS.iter().for_each(|name| drop(response.remove_header(name)));
    fields.iter().try_for_each(|(name, value)| response.append_header(name, value).map(drop))
}
