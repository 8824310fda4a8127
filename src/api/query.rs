//! Query strings: read one way only, like bodies. Unknown and repeated parameters are refused.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::auth::FieldError;
use crate::reason::Reason;

/// The parameters of a query.
pub(super) struct Query<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let parsed = axum::extract::Query::try_from_uri(&parts.uri);
        // What the parser says names parameters, never a value that was sent.
        parsed.map(|query| Self(query.0)).map_err(|_| {
            Problem::new(Reason::Invalid).with_detail("the query has a parameter that is unknown, repeated or of the wrong type")
        })
    }
}

/// Rows on a page unless the client says otherwise, and the most that it may say.
const PAGE: u32 = 50;
const PAGE_MAX: u32 = 500;

/// How many rows a page is to have.
pub(super) fn page_limit(asked: Option<u32>) -> Result<u32, Problem> {
    match asked {
        None => Ok(PAGE),
        Some(rows) if (1..=PAGE_MAX).contains(&rows) => Ok(rows),
        Some(_) => Err(Problem::invalid(vec![FieldError::new("limit", format_args!("must be 1 to {PAGE_MAX}"))])),
    }
}

/// Where the next page begins: after the last row, if this page is full.
pub(super) fn next<T>(rows: &[T], limit: u32, id: impl Fn(&T) -> String) -> Option<String> {
    rows.last().filter(|_| u32::try_from(rows.len()) == Ok(limit)).map(id)
}
