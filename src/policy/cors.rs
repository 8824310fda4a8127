//! Which pages of other origins may call a route (the CORS protocol of the Fetch Standard).
//!
//! A preflight is answered before anything is checked: it brings no credentials, and says only what may be asked. The
//! request that follows is decided like any other. CORS keeps no program away; it lets browsers show answers to pages.

use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
    CONTENT_LENGTH, ORIGIN, TRANSFER_ENCODING, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

/// Whose pages may read answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Every page, without its visitor's cookies.
    Any,
    /// These, compared byte by byte.
    Listed(Box<[HeaderValue]>),
}

/// What pages of other origins may do with a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// Whose pages.
    pub origins: Origins,
    /// With which methods; empty means those of the route.
    pub methods: Box<[Method]>,
    /// Which request fields beyond those that are always allowed.
    pub headers: Box<[HeaderName]>,
    /// Which response fields a page may read beyond those that it always may.
    pub expose: Option<HeaderValue>,
    /// Whether with cookies. Never for [`Origins::Any`].
    pub credentials: bool,
    /// How long a browser may remember a preflight; in whole seconds.
    pub max_age: Duration,
}

/// The text is not an origin that can be compared with what browsers send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// `*`, or `null`, which every sandboxed frame sends.
    #[error("would let every page call, with its visitors' cookies")]
    Everybody,
    /// Not scheme, host and port as browsers write them.
    #[error("is not an origin as browsers send it")]
    Form,
}

/// An origin in the one form in which browsers send it (RFC 6454 §6.2): lower case, no default port, no slash.
///
/// # Errors
/// It is none, or stands for many.
pub fn origin(text: &str) -> Result<HeaderValue, OriginError> {
    if text == "null" || text.contains('*') {
        return Err(OriginError::Everybody);
    }
    let uri: Uri = text.parse().map_err(|_| OriginError::Form)?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(OriginError::Form) };
    let implied = matches!((scheme, authority.port_u16()), ("https", Some(443)) | ("http", Some(80)));
    let port = authority.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    // An empty label stands in `https://.example`, which is the suffix that some frameworks take.
    let one_host = !authority.host().split('.').any(str::is_empty);
    let canonical = format!("{scheme}://{}{port}", authority.host()).to_ascii_lowercase();
    if implied || !one_host || canonical != text {
        return Err(OriginError::Form);
    }
    HeaderValue::from_str(text).map_err(|_| OriginError::Form)
}

/// The method that a preflight asks for; none if the request is none. It has an origin, names a method and brings no body:
/// what else is sent with OPTIONS is decided like any request.
#[must_use]
pub fn preflight<'a>(method: &Method, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
    let asked = headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| *method == Method::OPTIONS)?;
    let body =
        headers.contains_key(TRANSFER_ENCODING) || headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    (headers.contains_key(ORIGIN) && !body).then_some(asked)
}

impl Cors {
    /// The fields of an answer to a request with these fields, in place of those of an upstream.
    #[must_use]
    pub fn fields(&self, headers: &HeaderMap) -> HeaderMap {
        let mut fields = HeaderMap::with_capacity(6);
        match &self.origins {
            Origins::Any => {
                fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            Origins::Listed(listed) => {
                // Answers differ by origin: a cache must not serve one origin's answer to another.
                fields.insert(VARY, HeaderValue::from_static("origin"));
                let mut origins = headers.get_all(ORIGIN).iter();
                let origin = origins.next().filter(|origin| origins.next().is_none() && listed.contains(origin));
                let Some(origin) = origin else { return fields };
                fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                if self.credentials {
                    fields.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
                }
            }
        }
        if let Some(expose) = &self.expose {
            fields.insert(ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
        fields
    }

    /// The fields of the answer to a preflight. `taken` are the methods that the route takes; empty means any.
    #[must_use]
    pub fn preflight_fields(&self, headers: &HeaderMap, taken: &[Method]) -> HeaderMap {
        let mut fields = self.fields(headers);
        fields.remove(ACCESS_CONTROL_EXPOSE_HEADERS);
        if !fields.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            return fields;
        }
        let listed = if self.methods.is_empty() { taken } else { &self.methods };
        let asked = headers.get(ACCESS_CONTROL_REQUEST_METHOD).and_then(|asked| Method::from_bytes(asked.as_bytes()).ok());
        let asked = asked.filter(|asked| KNOWN.contains(asked) && (listed.is_empty() || takes(listed, asked)));
        if let Some(asked) = asked {
            let method = HeaderValue::from_str(asked.as_str()).expect("methods are visible ASCII");
            fields.insert(ACCESS_CONTROL_ALLOW_METHODS, method);
        }
        if headers.contains_key(ACCESS_CONTROL_REQUEST_HEADERS) && !self.headers.is_empty() {
            let names = self.headers.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(", ");
            let names = HeaderValue::try_from(names).expect("header names are visible ASCII");
            fields.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
        }
        fields.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(self.max_age.as_secs()));
        fields
    }
}

const KNOWN: [Method; 6] = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

fn takes(listed: &[Method], asked: &Method) -> bool {
    listed.contains(asked) || (*asked == Method::HEAD && listed.contains(&Method::GET))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(credentials: bool) -> Cors {
        Cors {
            origins: Origins::Listed([origin("https://app.example").expect("an origin")].into()),
            methods: Box::default(),
            headers: [HeaderName::from_static("authorization"), HeaderName::from_static("content-type")].into(),
            expose: Some(HeaderValue::from_static("etag")),
            credentials,
            max_age: Duration::from_mins(10),
        }
    }

    fn head(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect()
    }

    #[test]
    fn a_listed_origin_may_read_the_answer_and_no_other_may() {
        let fields = cors(true).fields(&head(&[("origin", "https://app.example")]));
        let expected = [
            ("vary", "origin"),
            ("access-control-allow-origin", "https://app.example"),
            ("access-control-allow-credentials", "true"),
            ("access-control-expose-headers", "etag"),
        ];
        assert_eq!(fields, head(&expected));
        // Case 199: reflection, `null`, and a suffix that only looks alike.
        let strangers = ["https://evil.example", "null", "https://app.example.evil", "http://app.example", "HTTPS://APP.EXAMPLE"];
        for stranger in strangers {
            assert_eq!(cors(true).fields(&head(&[("origin", stranger)])), head(&[("vary", "origin")]), "{stranger}");
        }
        let mut twice = head(&[("origin", "https://app.example")]);
        twice.append("origin", HeaderValue::from_static("https://evil.example"));
        assert_eq!(cors(true).fields(&twice), head(&[("vary", "origin")]));
        let any = Cors { origins: Origins::Any, expose: None, ..cors(false) };
        assert_eq!(any.fields(&head(&[("origin", "https://x.example")])), head(&[("access-control-allow-origin", "*")]));
    }

    #[test]
    fn a_preflight_is_told_what_the_route_takes() {
        let asked = |origin, method| {
            let names = ("access-control-request-headers", "authorization, x-other");
            head(&[("origin", origin), ("access-control-request-method", method), names])
        };
        let fields = cors(false).preflight_fields(&asked("https://app.example", "PUT"), &[Method::GET, Method::PUT]);
        let mut expected = head(&[
            ("vary", "origin"),
            ("access-control-allow-origin", "https://app.example"),
            ("access-control-allow-methods", "PUT"),
            ("access-control-allow-headers", "authorization, content-type"),
            ("access-control-max-age", "600"),
        ]);
        assert_eq!(fields, expected);
        expected.remove("access-control-allow-methods");
        for method in ["DELETE", "TRACE", "no method"] {
            let fields = cors(false).preflight_fields(&asked("https://app.example", method), &[Method::GET, Method::PUT]);
            assert_eq!(fields, expected, "{method}");
        }
        let stranger = cors(true).preflight_fields(&asked("https://evil.example", "PUT"), &[]);
        assert_eq!(stranger, head(&[("vary", "origin")]));
    }

    #[test]
    fn only_options_with_an_origin_and_a_method_and_without_a_body_is_a_preflight() {
        // Case 77.
        let asked = [("origin", "https://app.example"), ("access-control-request-method", "PUT"), ("content-length", "0")];
        assert!(preflight(&Method::OPTIONS, &head(&asked)).is_some());
        assert!(preflight(&Method::GET, &head(&asked)).is_none());
        assert!(preflight(&Method::OPTIONS, &head(&asked[..1])).is_none());
        assert!(preflight(&Method::OPTIONS, &head(&asked[1..])).is_none());
        for body in [("content-length", "1"), ("transfer-encoding", "chunked")] {
            assert!(preflight(&Method::OPTIONS, &head(&[asked[0], asked[1], body])).is_none(), "{body:?}");
        }
    }
}
