//! Form bodies (`application/x-www-form-urlencoded`), read one way only.
//!
//! A parameter that is there twice is refused (RFC 6749 §3.2), whatever it is called: two readers would take different
//! ones. One without a value counts as absent, and unknown ones are ignored, as the RFC has it. The query is never read.

use std::collections::BTreeMap;
use std::fmt;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};

use super::error::OAuthError;

/// The parameters of a request.
pub(in crate::api) struct Form(BTreeMap<String, String>);

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

/// More than any request has; bounds what a body of separators costs.
const PARAMETERS_MAX: usize = 32;

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = OAuthError;

    async fn from_request(request: Request, state: &S) -> Result<Self, OAuthError> {
        if !is_form(request.headers()) {
            return Err(OAuthError::invalid_request("the content-type must be application/x-www-form-urlencoded"));
        }
        let body = Bytes::from_request(request, state).await.map_err(|rejection: BytesRejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                OAuthError::too_large()
            } else {
                OAuthError::invalid_request("the body could not be read")
            }
        })?;
        let text = std::str::from_utf8(&body).map_err(|_| OAuthError::invalid_request("the body is not UTF-8"))?;
        Self::parse(text)
    }
}

impl Form {
    fn parse(text: &str) -> Result<Self, OAuthError> {
        let mut parameters = BTreeMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(name), Some(value)) = (decoded(name), decoded(value)) else {
                return Err(OAuthError::invalid_request("a parameter is not percent-encoded UTF-8"));
            };
            if parameters.insert(name, value).is_some() {
                return Err(OAuthError::invalid_request("a parameter is repeated"));
            }
            if parameters.len() > PARAMETERS_MAX {
                return Err(OAuthError::invalid_request("there are too many parameters"));
            }
        }
        Ok(Self(parameters))
    }

    /// The value of a parameter, unless it is absent or empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The value of a parameter that must be there.
    pub(super) fn required(&self, name: &str, missing: &'static str) -> Result<&str, OAuthError> {
        self.get(name).ok_or_else(|| OAuthError::invalid_request(missing))
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let mut fields = headers.get_all(header::CONTENT_TYPE).iter();
    let essence = fields.next().and_then(|field| field.to_str().ok()?.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"))
        && fields.next().is_none()
}

/// Undoes `application/x-www-form-urlencoded`; none for what no encoder writes: stray `%`, other encodings than UTF-8,
/// and NUL, which databases disagree about.
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let [high, low, after @ ..] = rest else { return None };
                rest = after;
                u8::try_from(char::from(*high).to_digit(16)? * 16 + char::from(*low).to_digit(16)?).ok()?
            }
            byte => *byte,
        });
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_browsers_write_it() {
        let form = Form::parse("grant_type=client_credentials&scope=a+b%20c&&empty=&flag&n%C3%A4me=%2B").expect("a form");
        assert_eq!(form.get("grant_type"), Some("client_credentials"));
        assert_eq!(form.get("scope"), Some("a b c"));
        assert_eq!(form.get("näme"), Some("+"));
        assert_eq!((form.get("empty"), form.get("flag"), form.get("other")), (None, None, None));
    }

    #[test]
    fn what_can_be_read_two_ways_is_refused() {
        let many: String = (0..40).map(|n| format!("p{n}=1&")).collect();
        for body in ["a=1&a=2", "a=1&%61=2", "x=1&x=1", "a=&a=1", "a=%", "a=%4", "a=%zz", "a=%ff", "a=%00", "%00=1", &many] {
            assert!(Form::parse(body).is_err(), "{body}");
        }
    }

    #[test]
    fn only_one_content_type_of_a_form_will_do() {
        for (fields, accepted) in [
            (&["application/x-www-form-urlencoded"][..], true),
            (&["Application/X-WWW-Form-Urlencoded; charset=UTF-8"], true),
            (&[], false),
            (&["application/json"], false),
            (&["multipart/form-data; boundary=x"], false),
            (&["application/x-www-form-urlencoded", "application/json"], false),
        ] {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(header::CONTENT_TYPE, field.parse().expect("a header value"));
            }
            assert_eq!(is_form(&headers), accepted, "{fields:?}");
        }
    }
}
