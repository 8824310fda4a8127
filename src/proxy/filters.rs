//! What a route does besides deciding, in the phases of a request: preflights, rate limits, redirects, edits of fields.
//!
//! A route without filters costs a branch in each phase.

use std::fmt::Write as _;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use pingora::http::ResponseHeader;
use pingora::prelude::*;

use super::context::Exchange;
use crate::admission::rates::{Known, Spent};
use crate::admission::{Denied, Destination, Way};
use crate::policy::access::Permit;
use crate::policy::filters::{FieldEdits, Filters};
use crate::policy::rewrite::Redirect;

/// The fields of draft-ietf-httpapi-ratelimit-headers-10.
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What comes before a token is looked at: every answer, refusals included, gets the route's CORS fields; limits that
/// need no caller are taken from.
pub(super) async fn before_token(
    head: &Parts,
    ctx: &mut Exchange,
    way: &Way<'_>,
    filters: &Filters,
) -> std::result::Result<(), Denied> {
    // Requests in a dialect have the dialect's.
    if let Some(cors) = filters.cors.as_ref().filter(|_| ctx.cors.is_empty()) {
        ctx.cors = cors.fields(&head.headers);
    }
    take(ctx, way, filters, Known::Address(ctx.client)).await
}

/// What comes once the caller is known.
pub(super) async fn after_token(
    ctx: &mut Exchange,
    way: &Way<'_>,
    filters: &Filters,
    permit: &Permit,
) -> std::result::Result<(), Denied> {
    let caller = permit.caller().map(|caller| &**caller);
    take(ctx, way, filters, Known::Caller(caller, ctx.client)).await
}

async fn take(ctx: &mut Exchange, way: &Way<'_>, filters: &Filters, known: Known<'_>) -> std::result::Result<(), Denied> {
    if filters.limits.is_empty() {
        return Ok(());
    }
    let spent = ctx.snapshot.parts.rates.take(way.route(), &filters.limits, known).await;
    if !spent.is_empty() {
        tell(&spent, ctx.limits.get_or_insert_default());
    }
    let refused = spent.iter().filter(|spent| !spent.taken.allowed).map(|spent| spent.taken.retry_after).max();
    refused.map_or(Ok(()), |retry_after| Err(Denied::TooMany(retry_after)))
}

/// The answer of a route that redirects.
pub(super) fn redirection(
    Destination { host, target }: &Destination,
    way: &Way<'_>,
    to: &Redirect,
) -> std::result::Result<Response<Bytes>, Denied> {
    let location = to.location(&way.route().path, target, host).map_err(Denied::Target)?;
    let mut answer = Response::new(Bytes::new());
    *answer.status_mut() = to.status;
    answer.headers_mut().insert(header::LOCATION, location);
    Ok(answer)
}

/// Makes the route's changes to an upstream's answer.
pub(super) fn edit_response(edits: &FieldEdits, response: &mut ResponseHeader) -> Result<()> {
    edits.remove.iter().for_each(|name| drop(response.remove_header(name)));
    edits.set.iter().try_for_each(|(name, value)| response.insert_header(name, value))?;
    edits.add.iter().try_for_each(|(name, value)| response.append_header(name, value).map(drop))
}

/// Puts what limits say in place of what an upstream says of limits of its own.
pub(super) fn replace_limits(response: &mut ResponseHeader, fields: Option<&HeaderMap>) -> Result<()> {
    fields.into_iter().flatten().try_for_each(|(name, value)| response.insert_header(name, value))
}

/// Adds what is left of each limit to what was said already: lists, each in one field.
fn tell(spent: &[Spent], fields: &mut HeaderMap) {
    let said = |name| fields.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default().to_owned();
    let (mut left, mut policy) = (said(&RATELIMIT), said(&RATELIMIT_POLICY));
    for Spent { name, policy: (quota, window), taken } in spent {
        let comma = if left.is_empty() { "" } else { ", " };
        // Rounded up: whoever comes back exactly then must not be too early.
        let full_in = taken.full_in.as_millis().div_ceil(1000);
        let written = write!(left, "{comma}\"{name}\";r={};t={full_in}", taken.remaining);
        written.and_then(|()| write!(policy, "{comma}\"{name}\";q={quota};w={window}")).expect("writing to a string cannot fail");
    }
    for (name, text) in [(RATELIMIT, left), (RATELIMIT_POLICY, policy)] {
        fields.insert(name, HeaderValue::try_from(text).expect("names of limits are letters, digits and `-`"));
    }
}
