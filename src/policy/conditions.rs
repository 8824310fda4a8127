//! What a route asks of header fields and of the query, besides host, path and method.
//!
//! A field or parameter that a candidate asks for and that is sent twice has two readings, one of which an upstream may
//! prefer: the request is refused rather than routed by one of them.

use std::borrow::Cow;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

/// Values that must all be there. Names appear once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Header fields by name; values are compared byte by byte.
    headers: Box<[(HeaderName, HeaderValue)]>,
    /// Parameters of the query by name, both decoded.
    query: Box<[(Box<str>, Box<str>)]>,
}

/// A field or parameter that decides is there more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeated;

impl Conditions {
    /// These conditions, whatever their order.
    #[must_use]
    pub fn new(mut headers: Vec<(HeaderName, HeaderValue)>, mut query: Vec<(Box<str>, Box<str>)>) -> Self {
        headers.sort_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
        query.sort();
        Self { headers: headers.into(), query: query.into() }
    }

    /// How many header fields and how many parameters: what asks for more is more specific, fields first.
    #[must_use]
    pub fn weight(&self) -> (usize, usize) {
        (self.headers.len(), self.query.len())
    }

    /// Whether a request has all of them.
    ///
    /// # Errors
    /// One of those that are asked for is there more than once.
    pub fn met(&self, headers: &HeaderMap, query: Option<&str>) -> Result<bool, Repeated> {
        let mut all = true;
        for (name, value) in &self.headers {
            all &= one(headers.get_all(name).iter())? == Some(value);
        }
        for (name, value) in &self.query {
            let named = parameters(query).filter(|(other, _)| **other == **name).map(|(_, value)| value);
            all &= one(named)?.is_some_and(|other| *other == **value);
        }
        Ok(all)
    }
}

fn one<T>(mut values: impl Iterator<Item = T>) -> Result<Option<T>, Repeated> {
    let first = values.next();
    if values.next().is_some() { Err(Repeated) } else { Ok(first) }
}

/// Names and values, decoded as forms are.
fn parameters(query: Option<&str>) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    })
}

fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(headers: &[(&'static str, &'static str)], query: &[(&str, &str)]) -> Conditions {
        let field =
            |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let headers = headers.iter().map(field).collect();
        Conditions::new(headers, query.iter().map(|&(name, value)| (name.into(), value.into())).collect())
    }

    #[test]
    fn every_condition_must_be_met() {
        let asked = conditions(&[("x-version", "2")], &[("beta", "yes please")]);
        let headers =
            |value: &'static str| HeaderMap::from_iter([(HeaderName::from_static("x-version"), HeaderValue::from_static(value))]);
        for query in ["beta=yes%20please", "a=1&beta=yes+please", "%62eta=yes%20please&&b"] {
            assert_eq!(asked.met(&headers("2"), Some(query)), Ok(true), "{query}");
        }
        for query in [None, Some(""), Some("beta"), Some("beta=no"), Some("Beta=yes+please"), Some("x=beta=yes+please")] {
            assert_eq!(asked.met(&headers("2"), query), Ok(false), "{query:?}");
        }
        assert_eq!(asked.met(&headers("3"), Some("beta=yes+please")), Ok(false));
        assert_eq!(asked.met(&HeaderMap::new(), Some("beta=yes+please")), Ok(false));
    }

    #[test]
    fn what_is_sent_twice_is_refused_only_where_it_decides() {
        let asked = conditions(&[("x-version", "2")], &[("beta", "1")]);
        let mut twice = HeaderMap::from_iter([(HeaderName::from_static("x-version"), HeaderValue::from_static("2"))]);
        assert_eq!(asked.met(&twice, Some("beta=1&beta=1")), Err(Repeated));
        assert_eq!(asked.met(&twice, Some("beta=1&b%65ta=2")), Err(Repeated));
        assert_eq!(asked.met(&twice, Some("beta=1&other=1&other=2")), Ok(true));
        twice.append("x-version", HeaderValue::from_static("3"));
        assert_eq!(asked.met(&twice, Some("beta=1")), Err(Repeated));
    }
}
