//! The closed list of reasons for which a request is refused or fails.
//!
//! One word per reason, shared by the response body (`code`), the access log and the metrics, so that an
//! operator who sees a word in one of them finds it in the others. Deciding code returns a reason; the edge
//! counts it, logs it and answers with it.

use http::StatusCode;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal, $status:ident, $title:literal;)+) => {
        /// Why a request was refused or failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[doc = $doc])+ $name,)+ }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The word for bodies, logs and metrics. Stable: clients match on it.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }

            /// The HTTP status that the gateway's own answers carry.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)+ }
            }

            /// The short, human-readable summary of the problem type (RFC 9457 §3.1.3).
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }
        }
    };
}

reasons! {
    /// The request is not well-formed HTTP, or is open to two readings.
    Malformed = "malformed", BAD_REQUEST, "The request is malformed";
    /// A body field breaks a rule; `errors` says which.
    Invalid = "invalid", BAD_REQUEST, "The request body is invalid";
    /// The body is not JSON.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "The media type is not supported";
    /// What was to be created exists already.
    Conflict = "conflict", CONFLICT, "It exists already";
    /// Name and password do not match; never says which of the two was wrong.
    Credentials = "credentials", UNAUTHORIZED, "The credentials are wrong";
    /// The route needs a token and none was sent (RFC 6750 §3.1).
    MissingToken = "missing_token", UNAUTHORIZED, "An access token is required";
    /// The token is not one that this gateway accepts.
    BadToken = "bad_token", UNAUTHORIZED, "The token is not valid";
    /// The token was valid and has expired.
    ExpiredToken = "expired_token", UNAUTHORIZED, "The token has expired";
    /// The token, its session or all its subject's tokens were revoked.
    RevokedToken = "revoked_token", UNAUTHORIZED, "The token has been revoked";
    /// The one-time token or its ticket is unknown, expired, used, or good for something else; never says which.
    BadTicket = "bad_ticket", BAD_REQUEST, "The one-time token is not valid";
    /// The route asks for a more recent password; see `POST /reauthenticate` (RFC 9470).
    Reauthenticate = "reauthenticate", UNAUTHORIZED, "The password must be given again";
    /// The caller is known and may not do this.
    Forbidden = "forbidden", FORBIDDEN, "Not allowed";
    /// A page of this origin may not open a WebSocket here (RFC 6455 §10.2).
    ForeignOrigin = "foreign_origin", FORBIDDEN, "Not for pages of this origin";
    /// No route matches: denied by default.
    NotFound = "not_found", NOT_FOUND, "Nothing is served here";
    /// The path is served, this method is not.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "The method is not allowed here";
    /// The connection is for another host than the request (RFC 9110 §15.5.20).
    Misdirected = "misdirected", MISDIRECTED_REQUEST, "This connection is for another host";
    /// A method outside the gateway's list, on any route.
    MethodUnknown = "method_unknown", NOT_IMPLEMENTED, "The method is not implemented";
    /// The client did not send what it began within the deadline.
    RequestTimeout = "request_timeout", REQUEST_TIMEOUT, "The request took too long to arrive";
    /// The body is larger than the route allows.
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "The request body is too large";
    /// The request target is longer than the gateway allows.
    TargetTooLong = "target_too_long", URI_TOO_LONG, "The request target is too long";
    /// The header section is larger than the gateway allows (RFC 6585 §5).
    HeadersTooLarge = "headers_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE, "The request header section is too large";
    /// An expectation other than `100-continue` (RFC 9110 §10.1.1).
    ExpectationFailed = "expectation_failed", EXPECTATION_FAILED, "The expectation cannot be met";
    /// A limit on work or rate was reached; `Retry-After` says when to come back.
    TooMany = "too_many", TOO_MANY_REQUESTS, "Too many requests";
    /// Whether the token is revoked cannot be known now: refused, fail closed.
    RevocationUnknown = "revocation_unknown", SERVICE_UNAVAILABLE, "Revocation cannot be checked right now";
    /// A store that this operation needs cannot be reached, or the gateway is overloaded.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "Temporarily unavailable";
    /// The upstream has as many requests as it may have; refused without waiting.
    UpstreamBusy = "upstream_busy", SERVICE_UNAVAILABLE, "The upstream has enough to do";
    /// No server of the upstream is well; refused without trying.
    UpstreamUnhealthy = "upstream_unhealthy", SERVICE_UNAVAILABLE, "The upstream is not well";
    /// The upstream could not be connected to.
    UpstreamUnreachable = "upstream_unreachable", BAD_GATEWAY, "The upstream cannot be reached";
    /// The upstream's answer was not valid HTTP, or broke off.
    UpstreamInvalid = "upstream_invalid", BAD_GATEWAY, "The upstream's answer is not valid";
    /// The upstream did not answer in time.
    UpstreamTimeout = "upstream_timeout", GATEWAY_TIMEOUT, "The upstream did not answer in time";
    /// A fault in the gateway itself.
    Internal = "internal", INTERNAL_SERVER_ERROR, "Internal error";
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn every_word_is_unique_and_an_error_status() {
        let words: std::collections::HashSet<_> = Reason::ALL.iter().map(|reason| reason.word()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert!(reason.status().is_client_error() || reason.status().is_server_error(), "{}", reason.word());
        }
    }
}
