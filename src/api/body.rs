//! Request bodies: JSON and nothing else, read one way only.
//!
//! Unknown and repeated fields, trailing bytes and NUL characters are refused: each of them is read differently by
//! some other program, and none is sent by an honest client.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use secrecy::SecretString;
use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde_json::error::Category;

use super::problem::Problem;
use crate::reason::Reason;

/// A required JSON body.
pub(super) struct Json<T>(pub(super) T);

/// A JSON body that may be absent.
pub(super) struct OptionalJson<T>(pub(super) Option<T>);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        check_media_type(request.headers())?;
        parse(&read(request, state).await?).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let media_type = check_media_type(request.headers());
        let body = read(request, state).await?;
        if body.is_empty() {
            return Ok(Self(None));
        }
        media_type?;
        parse(&body).map(|body| Self(Some(body)))
    }
}

/// A secret field. For `#[serde(deserialize_with = …)]`.
pub(super) fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

/// An optional secret field, with `#[serde(default)]`.
pub(super) fn optional_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(SecretString::from))
}

/// Tells a field that is `null` from one that is absent (RFC 7396), with `#[serde(default)]`.
pub(super) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

pub(super) fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let mut fields = headers.get_all(header::CONTENT_TYPE).iter();
    let essence = fields.next().and_then(|field| field.to_str().ok()?.split(';').next());
    if essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json")) && fields.next().is_none() {
        Ok(())
    } else {
        Err(Problem::new(Reason::UnsupportedMediaType).with_detail("the content-type must be application/json"))
    }
}

async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    Bytes::from_request(request, state).await.map_err(|rejection: BytesRejection| {
        Problem::new(if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE { Reason::BodyTooLarge } else { Reason::Malformed })
    })
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let malformed = |why: &'static str| Problem::new(Reason::Malformed).with_detail(why);
    let text = std::str::from_utf8(body).map_err(|_| malformed("the body is not UTF-8"))?;
    if escapes_nul(text) {
        // Databases disagree about NUL: PostgreSQL refuses it, others end the text there.
        return Err(malformed("the body contains a NUL character"));
    }
    // An array would be read as the fields in the order of their declaration: a second way to say everything.
    if text.trim_ascii_start().starts_with('[') {
        return Err(Problem::new(Reason::Invalid).with_detail("the body must be a JSON object"));
    }
    serde_json::from_str(text).map_err(|error| problem(&error))
}

/// Says what is wrong without repeating what was sent: it may be a password in the wrong place.
fn problem(error: &serde_json::Error) -> Problem {
    let place = || format!("line {}, column {}", error.line(), error.column());
    let text = error.to_string();
    match error.classify() {
        Category::Data if text.starts_with("duplicate field") => {
            Problem::new(Reason::Malformed).with_detail(format!("a field is repeated at {}", place()))
        }
        Category::Data if text.starts_with("missing field") || text.starts_with("unknown field") => {
            Problem::new(Reason::Invalid).with_detail(text)
        }
        Category::Data => Problem::new(Reason::Invalid).with_detail(format!("a value has the wrong type at {}", place())),
        Category::Syntax | Category::Eof | Category::Io => {
            Problem::new(Reason::Malformed).with_detail(format!("the body is not JSON at {}", place()))
        }
    }
}

/// Whether a JSON text has the escape `\u0000`; a raw NUL is no JSON to begin with.
fn escapes_nul(text: &str) -> bool {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|&byte| byte == b'\\') {
        if rest[at..].starts_with(br"\u0000") {
            return true;
        }
        // Whatever is escaped is passed over with its backslash, so that `\\u0000` is not mistaken for a NUL.
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq, Eq)]
    #[serde(deny_unknown_fields)]
    struct Pet {
        name: String,
        #[serde(default, deserialize_with = "present")]
        nick: Option<Option<String>>,
    }

    #[test]
    fn a_body_that_can_be_read_two_ways_is_malformed() {
        for body in [
            r#"{"name":"a","name":"b"}"#,
            r#"{"name":"a"} x"#,
            r#"{"name":"a"}{"name":"b"}"#,
            "{\"name\":\"a\0\"}",
            r#"{"name":"a\u0000b"}"#,
            r#"{"name":"\\\u0000"}"#,
            r#"{"name":"a"#,
            "\u{feff}{\"name\":\"a\"}",
            "name=a",
            "",
        ] {
            let refused = parse::<Pet>(body.as_bytes()).expect_err(&body[..body.len().min(40)]);
            assert_eq!(refused.reason(), Reason::Malformed, "{:?}", &body[..body.len().min(40)]);
        }
        assert_eq!(parse::<Pet>(b"{\"name\":\"\xff\"}").expect_err("not UTF-8").reason(), Reason::Malformed);
        let utf16: Vec<u8> = r#"{"name":"a"}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(parse::<Pet>(&utf16).expect_err("UTF-16").reason(), Reason::Malformed);
    }

    #[test]
    fn a_body_in_another_encoding_is_malformed() {
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
        for body in [utf16(r#"{"name":"a"}"#), utf16("\u{feff}{\"name\":\"a\"}"), b"{\"name\":\"\xe4\"}".to_vec()] {
            assert_eq!(parse::<Pet>(&body).expect_err("no UTF-8").reason(), Reason::Malformed, "{body:?}");
        }
    }

    #[test]
    fn a_body_with_other_fields_than_asked_for_is_invalid() {
        let nested = format!(r#"{{"other":{}"#, "[".repeat(100_000));
        for body in
            [r#"{"name":"a","role":"admin"}"#, r#"{"nick":"a"}"#, r#"{"name":7}"#, r#"["a","b"]"#, "null", nested.as_str()]
        {
            assert_eq!(parse::<Pet>(body.as_bytes()).expect_err("refused").reason(), Reason::Invalid, "{:.40}", body);
        }
    }

    #[test]
    fn a_refusal_does_not_repeat_what_was_sent() {
        for body in [r#"{"name":{"s3cret":1}}"#, r#"{"nick":["s3cret"],"name":"a"}"#, r#""s3cret""#, r#"{"name":"s3cret""#] {
            let refused = parse::<Pet>(body.as_bytes()).expect_err(body);
            assert!(!format!("{refused:?}").contains("s3cret"), "{refused:?}");
        }
    }

    #[test]
    fn an_escaped_backslash_before_u0000_is_text() {
        let pet = parse::<Pet>(br#"{"name":"\\u0000"}"#).expect("no NUL in it");
        assert_eq!(pet.name, r"\u0000");
    }

    #[test]
    fn null_is_told_from_absent() {
        assert_eq!(parse::<Pet>(br#"{"name":"a","nick":null}"#).expect("valid").nick, Some(None));
        assert_eq!(parse::<Pet>(br#"{"name":"a"}"#).expect("valid").nick, None);
    }

    #[test]
    fn only_one_content_type_of_json_will_do() {
        for (fields, accepted) in [
            (&["application/json"][..], true),
            (&["Application/JSON; charset=utf-8"], true),
            (&[], false),
            (&["text/plain"], false),
            (&["application/x-www-form-urlencoded"], false),
            (&["application/jsonp"], false),
            (&["application/json", "text/plain"], false),
        ] {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(header::CONTENT_TYPE, field.parse().expect("a header value"));
            }
            assert_eq!(check_media_type(&headers).is_ok(), accepted, "{fields:?}");
        }
    }
}
