//! What a request offers to be read: its header fields, query and JSON body. Whatever has two readings is malformed.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::COOKIE;
use percent_encoding::percent_decode;
use serde_json::Value;

use super::place::Place;
use crate::policy::bearer::{self, BearerError};

/// A request as inputs are read from it.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The header fields.
    pub headers: &'a HeaderMap,
    /// The query, without its `?`.
    pub query: Option<&'a str>,
    /// The body, as [`super::parse_body`] reads it; none if there was none.
    pub body: Option<&'a Value>,
}

/// What stands at a place.
#[derive(Debug, PartialEq)]
pub(super) enum Found<'a> {
    Text(Cow<'a, str>),
    Json(&'a Value),
}

impl<'a> Found<'a> {
    pub(super) fn into_text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(text),
            Self::Json(value) => value.as_str().map(Cow::Borrowed),
        }
    }
}

/// Why a place cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It is there twice, or in no encoding that is ours.
    Malformed,
    /// The body is not an object.
    NoObject,
    /// A bearer token that cannot be one.
    BadToken,
}

impl<'a> Sources<'a> {
    /// What stands at the place. Empty text and `null` are as good as nothing, which is what the clients of existing
    /// systems mean by them: a cleared cookie, a form field left empty.
    pub(super) fn find(&self, place: &Place) -> Result<Option<Found<'a>>, Unreadable> {
        let found = match place {
            Place::Body(member) => self.member(member)?.map(Found::Json),
            Place::Query(name) => self.parameter(name)?.map(Found::Text),
            Place::Cookie(name) => self.cookie(name)?.map(|value| Found::Text(Cow::Borrowed(value))),
            Place::Bearer => self.bearer()?.map(|token| Found::Text(Cow::Borrowed(token))),
        };
        Ok(found.filter(|found| match found {
            Found::Text(text) => !text.is_empty(),
            Found::Json(Value::String(text)) => !text.is_empty(),
            Found::Json(value) => !value.is_null(),
        }))
    }

    fn member(&self, name: &str) -> Result<Option<&'a Value>, Unreadable> {
        match self.body {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(members)) => Ok(members.get(name)),
            Some(_) => Err(Unreadable::NoObject),
        }
    }

    /// The one parameter of that name (`application/x-www-form-urlencoded`).
    fn parameter(&self, name: &str) -> Result<Option<Cow<'a, str>>, Unreadable> {
        let mut found = None;
        for pair in self.query.unwrap_or_default().split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if decoded(key) != Ok(Cow::Borrowed(name)) {
                continue;
            }
            // Which of two counts differs from one reader to the next.
            if found.replace(decoded(value)?).is_some() {
                return Err(Unreadable::Malformed);
            }
        }
        Ok(found)
    }

    /// The one cookie of that name. A second one was put there by somebody else, a sibling domain or an earlier
    /// attacker, and no order of the two says which: neither counts (RFC 6265 §8.6).
    fn cookie(&self, name: &str) -> Result<Option<&'a str>, Unreadable> {
        let mut found = None;
        for field in self.headers.get_all(COOKIE) {
            for pair in field.as_bytes().split(|&byte| byte == b';') {
                let pair = pair.trim_ascii();
                let Some(value) = pair.strip_prefix(name.as_bytes()).map(<[u8]>::trim_ascii_start) else { continue };
                let Some(value) = value.strip_prefix(b"=") else { continue };
                let text = std::str::from_utf8(value.trim_ascii()).map_err(|_| Unreadable::Malformed)?;
                if found.replace(text).is_some() {
                    return Err(Unreadable::Malformed);
                }
            }
        }
        Ok(found)
    }

    fn bearer(&self) -> Result<Option<&'a str>, Unreadable> {
        match bearer::extract(self.headers) {
            Ok(token) => Ok(token),
            Err(BearerError::Empty) => Ok(None),
            Err(BearerError::Repeated) => Err(Unreadable::Malformed),
            Err(BearerError::Malformed | BearerError::TooLong) => Err(Unreadable::BadToken),
        }
    }
}

/// `+` is a space and `%41` an `A`. Bytes that are not UTF-8, and NUL, are in nobody's name.
fn decoded(text: &str) -> Result<Cow<'_, str>, Unreadable> {
    let spaced = if text.contains('+') { Cow::Owned(text.replace('+', " ")) } else { Cow::Borrowed(text) };
    let decoded = match spaced {
        Cow::Borrowed(text) => percent_decode(text.as_bytes()).decode_utf8(),
        Cow::Owned(text) => percent_decode(text.as_bytes()).decode_utf8().map(|text| Cow::Owned(text.into_owned())),
    };
    decoded.ok().filter(|text| !text.contains('\0')).ok_or(Unreadable::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn headers(fields: &[(&'static str, &[u8])]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), http::HeaderValue::from_bytes(value).unwrap())).collect()
    }

    fn text(value: &str) -> Result<Option<Found<'_>>, Unreadable> {
        Ok(Some(Found::Text(value.into())))
    }

    #[test]
    fn a_cookie_that_is_there_twice_is_malformed_in_either_order() {
        // Case 194: another cookie of the same name, in the same field or in another (HTTP/2 crumbs).
        let jqt = Place::Cookie("jqt".into());
        for fields in [
            &[("cookie", &b"jqt=theirs; jqt=mine"[..])][..],
            &[("cookie", b"jqt=mine;jqt=theirs")],
            &[("cookie", b"jqt=mine"), ("cookie", b"a=b"), ("cookie", b"jqt=theirs")],
            &[("cookie", b"jqt=mine; jqt =theirs")],
            &[("cookie", b"jqt=; jqt=mine")],
        ] {
            let headers = headers(fields);
            let sources = Sources { headers: &headers, query: None, body: None };
            assert_eq!(sources.find(&jqt), Err(Unreadable::Malformed), "{fields:?}");
        }
        let headers = headers(&[("cookie", b"a=\xff; xjqt=1"), ("cookie", b"jqt=mine=; jqtx=2; jqt")]);
        let sources = Sources { headers: &headers, query: None, body: None };
        assert_eq!(sources.find(&jqt), text("mine="));
        assert_eq!(sources.find(&Place::Cookie("a".into())), Err(Unreadable::Malformed));
        assert_eq!(sources.find(&Place::Cookie("none".into())), Ok(None));
    }

    #[test]
    fn a_parameter_is_decoded_and_may_not_be_repeated() {
        let headers = HeaderMap::new();
        let find = |query, name: &str| {
            let sources = Sources { headers: &headers, query: Some(query), body: None };
            sources.find(&Place::Query(name.into())).map(|found| found.map(|found| format!("{found:?}")))
        };
        assert_eq!(find("a=1&token=x%20y+z&b", "token"), Ok(Some("Text(\"x y z\")".to_owned())));
        assert_eq!(find("tok%65n=1", "token"), Ok(Some("Text(\"1\")".to_owned())));
        assert_eq!(find("token", "token"), Ok(None));
        for query in ["token=1&token=2", "token=1&tok%65n=1", "token=%ff", "token=%00"] {
            assert_eq!(find(query, "token"), Err(Unreadable::Malformed), "{query}");
        }
    }

    #[test]
    fn a_member_of_the_body_keeps_its_type_and_nothing_is_nothing() {
        let headers = HeaderMap::new();
        let body = json!({"name": "ada", "empty": "", "null": null, "n": 7});
        let sources = Sources { headers: &headers, query: None, body: Some(&body) };
        let find = |name: &str| sources.find(&Place::Body(name.into()));
        assert_eq!(find("n"), Ok(Some(Found::Json(&json!(7)))));
        assert_eq!((find("empty"), find("null"), find("absent")), (Ok(None), Ok(None), Ok(None)));
        let list = json!(["ada"]);
        assert_eq!(Sources { body: Some(&list), ..sources }.find(&Place::Body("name".into())), Err(Unreadable::NoObject));
        assert_eq!(Sources { body: None, ..sources }.find(&Place::Body("name".into())), Ok(None));
    }

    #[test]
    fn a_bearer_token_is_read_as_everywhere() {
        let find = |fields: &[(&'static str, &[u8])]| {
            let headers = headers(fields);
            let sources = Sources { headers: &headers, query: None, body: None };
            sources.find(&Place::Bearer).map(|found| found.is_some())
        };
        assert_eq!(find(&[("authorization", b"bearer abc")]), Ok(true));
        assert_eq!(find(&[("authorization", b"Bearer ")]), Ok(false));
        assert_eq!(find(&[("authorization", b"Basic abc")]), Ok(false));
        assert_eq!(find(&[("authorization", b"Bearer a b")]), Err(Unreadable::BadToken));
        assert_eq!(find(&[("authorization", b"Bearer a"), ("authorization", b"Bearer a")]), Err(Unreadable::Malformed));
    }

    proptest! {
        #[test]
        fn no_query_and_no_cookie_field_can_panic(query in "\\PC{0,40}", cookie in prop::collection::vec(0x20u8..0x7f, 0..40)) {
            let headers = headers(&[("cookie", &cookie)]);
            let sources = Sources { headers: &headers, query: Some(&query), body: None };
            let _ = (sources.find(&Place::Query("a".into())), sources.find(&Place::Cookie("a".into())));
        }

        #[test]
        fn a_cookie_among_others_is_found(before in "[a-z]{1,5}=[a-z]{0,5}; ", value in "[A-Za-z0-9._-]{1,20}", after in "(; [a-z]{1,5}=[a-z]{0,5})?") {
            let headers = headers(&[("cookie", format!("{before}A={value}{after}").as_bytes())]);
            let sources = Sources { headers: &headers, query: None, body: None };
            prop_assert_eq!(sources.find(&Place::Cookie("A".into())), text(&value));
        }
    }
}
