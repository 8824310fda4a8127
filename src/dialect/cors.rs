//! Which pages of other origins may call: a list, compared byte by byte, and never a wildcard.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderName, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method};

use crate::policy::cors::{OriginError, origin};

/// The origins that may read answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    origins: Box<[HeaderValue]>,
    credentials: bool,
}

/// What to do about a request from a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CorsAnswer {
    /// A preflight: answer 204 with these fields and nothing else, before anything is checked. Browsers send no
    /// credentials with one. Fields for an origin that is not listed allow nothing.
    Preflight(HeaderMap),
    /// Any other request: go on, and set these fields on whatever answer it gets, in place of those of an upstream.
    Fields(HeaderMap),
}

/// For how long browsers remember a preflight: Chrome's own limit is two hours, Firefox's a day.
const MAX_AGE_SECS: &str = "600";
const METHODS: [Method; 6] = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

impl Cors {
    /// The pages of these origins may call. With `credentials`, also with their cookies: for dialects that set some.
    ///
    /// # Errors
    /// The first text that is not an origin, by its index.
    pub fn new(origins: &[String], credentials: bool) -> Result<Self, (usize, OriginError)> {
        let parsed = origins.iter().enumerate().map(|(index, text)| origin(text).map_err(|error| (index, error)));
        Ok(Self { origins: parsed.collect::<Result<_, _>>()?, credentials })
    }

    /// Whether the pages of this origin may call with their visitors' cookies.
    #[must_use]
    pub fn lets_use_cookies(&self, origin: &HeaderValue) -> bool {
        self.credentials && self.origins.contains(origin)
    }

    /// What a request with this head gets.
    #[must_use]
    pub fn answer(&self, method: &Method, headers: &HeaderMap) -> CorsAnswer {
        let requested = headers.get(ACCESS_CONTROL_REQUEST_METHOD);
        let preflight = *method == Method::OPTIONS && requested.is_some() && headers.contains_key(ORIGIN);
        // Answers differ by origin: a cache must not serve one origin's answer to another.
        let mut fields = HeaderMap::from_iter([(VARY, HeaderValue::from_static("origin"))]);
        let mut origins = headers.get_all(ORIGIN).iter();
        let known = origins.next().filter(|_| origins.next().is_none()).filter(|origin| self.origins.contains(origin));
        if let Some(origin) = known {
            fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            if self.credentials {
                fields.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            }
            if preflight {
                allow(&mut fields, requested, headers.get(ACCESS_CONTROL_REQUEST_HEADERS));
            }
        }
        if preflight { CorsAnswer::Preflight(fields) } else { CorsAnswer::Fields(fields) }
    }
}

/// What may be sent is decided when it is sent; the preflight repeats what is asked for, if it is well-formed.
fn allow(fields: &mut HeaderMap, method: Option<&HeaderValue>, names: Option<&HeaderValue>) {
    let known = method.filter(|method| METHODS.iter().any(|known| known.as_str().as_bytes() == method.as_bytes()));
    if let Some(method) = known {
        fields.insert(ACCESS_CONTROL_ALLOW_METHODS, method.clone());
    }
    let is_list = |names: &&HeaderValue| {
        let mut names = names.as_bytes().split(|&byte| byte == b',');
        names.all(|name| HeaderName::from_bytes(name.trim_ascii()).is_ok())
    };
    if let Some(names) = names.filter(is_list) {
        fields.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    fields.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE_SECS));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(credentials: bool) -> Cors {
        Cors::new(&["https://app.example".to_owned(), "http://localhost:8000".to_owned()], credentials).unwrap()
    }

    fn head(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn text<'a>(fields: &'a HeaderMap, name: &str) -> Option<&'a str> {
        fields.get(name).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn a_listed_origin_may_read_the_answer() {
        let CorsAnswer::Fields(fields) = cors(true).answer(&Method::POST, &head(&[("origin", "https://app.example")])) else {
            panic!("not a preflight")
        };
        assert_eq!(text(&fields, "access-control-allow-origin"), Some("https://app.example"));
        assert_eq!((text(&fields, "access-control-allow-credentials"), text(&fields, "vary")), (Some("true"), Some("origin")));
        let CorsAnswer::Fields(fields) = cors(false).answer(&Method::POST, &head(&[("origin", "http://localhost:8000")])) else {
            panic!("not a preflight")
        };
        assert_eq!(text(&fields, "access-control-allow-credentials"), None);
    }

    #[test]
    fn no_other_origin_may() {
        // Case 199: reflection, `null`, and a suffix that only looks alike.
        for origin in [
            "https://evil.example",
            "null",
            "https://app.example.evil",
            "https://app.example:8443",
            "http://app.example",
            "HTTPS://APP.EXAMPLE",
        ] {
            let answer = cors(true).answer(&Method::GET, &head(&[("origin", origin)]));
            assert_eq!(answer, CorsAnswer::Fields(head(&[("vary", "origin")])), "{origin}");
        }
        let mut twice = head(&[("origin", "https://app.example")]);
        twice.append("origin", HeaderValue::from_static("https://evil.example"));
        assert_eq!(cors(true).answer(&Method::GET, &twice), CorsAnswer::Fields(head(&[("vary", "origin")])));
    }

    #[test]
    fn a_preflight_is_answered_with_what_it_asks_for() {
        let asked = [
            ("origin", "https://app.example"),
            ("access-control-request-method", "DELETE"),
            ("access-control-request-headers", "authorization, content-type"),
        ];
        let CorsAnswer::Preflight(fields) = cors(true).answer(&Method::OPTIONS, &head(&asked)) else { panic!("a preflight") };
        assert_eq!(text(&fields, "access-control-allow-methods"), Some("DELETE"));
        assert_eq!(text(&fields, "access-control-allow-headers"), Some("authorization, content-type"));
        let other = [("origin", "https://evil.example"), asked[1], asked[2]];
        assert_eq!(cors(true).answer(&Method::OPTIONS, &head(&other)), CorsAnswer::Preflight(head(&[("vary", "origin")])));
        // An OPTIONS of its own is a request like any other.
        assert!(matches!(cors(true).answer(&Method::OPTIONS, &head(&asked[..1])), CorsAnswer::Fields(_)));
    }

    #[test]
    fn an_origin_is_written_as_browsers_send_it() {
        for (text, error) in [
            ("*", OriginError::Everybody),
            ("null", OriginError::Everybody),
            ("https://*.example", OriginError::Everybody),
            ("https://app.example/", OriginError::Form),
            ("https://App.example", OriginError::Form),
            ("https://app.example:443", OriginError::Form),
            ("https://.example", OriginError::Form),
            ("https://u@app.example", OriginError::Form),
            ("app.example", OriginError::Form),
            ("", OriginError::Form),
        ] {
            assert_eq!(Cors::new(&[text.to_owned()], false), Err((0, error)), "{text}");
        }
        assert!(Cors::new(&["https://app.example:8443".to_owned(), "http://[::1]:80000".to_owned()], true).is_err());
    }
}
