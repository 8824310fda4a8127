//! gRPC: what a request of it is, and how it is refused.
//!
//! A gRPC client reads `grpc-status`, and of an answer without one only guesses. So a refusal is what a server of its own
//! would say: status 200 and nothing but fields ("Trailers-Only" in gRPC's PROTOCOL-HTTP2.md). Inside the gateway it stays the
//! refusal that it is: log and metrics have the HTTP status.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, Version, header};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;

use crate::reason::Reason;

const CONTENT_TYPE: &str = "application/grpc";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// When a client may try again, by gRPC's proposal A6.
const GRPC_RETRY_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
/// What a message must not have as it is: all but ASCII from space to `~`, and `%` itself.
const MESSAGE: AsciiSet = CONTROLS.add(b'%');

/// The codes of gRPC that refusals have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// Whether the request is one of gRPC: over HTTP/2, as gRPC always is, and with its content type. Not gRPC-Web
/// (`application/grpc-web`), whose clients expect HTTP's own statuses.
pub(super) fn is_request(request: &RequestHeader) -> bool {
    request.version == Version::HTTP_2 && has_its_type(&request.headers)
}

/// `application/grpc`, alone or with `+proto` and the like, or with parameters.
pub(super) fn has_its_type(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes) else { return false };
    let Some((kind, rest)) = value.split_at_checked(CONTENT_TYPE.len()) else { return false };
    kind.eq_ignore_ascii_case(CONTENT_TYPE.as_bytes()) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// What a server says of itself by this answer: an answer of gRPC without a body that says UNAVAILABLE is what 503 is.
pub(super) fn status(response: &ResponseHeader) -> u16 {
    let unavailable = response.version == Version::HTTP_2 && response.headers.get(GRPC_STATUS).is_some_and(|code| code == "14");
    if unavailable { 503 } else { response.status.as_u16() }
}

/// Whether an answer is one that [`refusal`] made, or a server of gRPC that refused in the same way.
pub(super) fn is_refusal(response: &ResponseHeader) -> bool {
    response.headers.contains_key(GRPC_STATUS)
}

/// A refusal as gRPC has it. What its fields say besides (challenge, `Retry-After`) is told as metadata.
pub(super) fn refusal(http: Response<Bytes>, reason: Reason, decision_id: &str) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::new());
    *answer.headers_mut() = http.into_parts().0.headers;
    let headers = answer.headers_mut();
    let pushback = headers.get(header::RETRY_AFTER).and_then(|secs| secs.to_str().ok()?.parse::<u64>().ok());
    if let Some(secs) = pushback {
        headers.insert(GRPC_RETRY_PUSHBACK, HeaderValue::from(secs.saturating_mul(1000)));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    tell(reason, decision_id, headers);
    answer
}

fn tell(reason: Reason, decision_id: &str, fields: &mut HeaderMap) {
    let message = format!("{} (decision {decision_id})", reason.word());
    let message = utf8_percent_encode(&message, &MESSAGE).to_string();
    fields.insert(GRPC_STATUS, HeaderValue::from(code(reason) as u16));
    fields.insert(GRPC_MESSAGE, HeaderValue::try_from(message).expect("percent-encoded text is visible ASCII and spaces"));
}

/// The end of an answer that has begun and must not go on.
pub(super) fn trailers(reason: Reason, decision_id: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    tell(reason, decision_id, &mut trailers);
    trailers
}

/// An answer that is its end.
pub(super) fn trailers_only(reason: Reason, decision_id: &str) -> HeaderMap {
    let mut fields = trailers(reason, decision_id);
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    fields
}

/// Ends an answer of gRPC that has begun and cannot go on, with trailers that say so. Nothing is said where the answer is
/// complete already, or is none of gRPC.
pub(super) async fn break_off(session: &mut Session, reason: Reason, decision_id: &str) {
    let of_grpc = session.response_written().is_some_and(|head| has_its_type(&head.headers));
    if !of_grpc || !is_request(session.req_header()) {
        return;
    }
    let Some(session) = session.as_downstream_mut().as_custom_mut() else { return };
    // The client may have gone meanwhile; then there is nobody to tell.
    drop(session.write_trailers(trailers(reason, decision_id)).await);
}

/// The code for a reason. Where gRPC's http-grpc-status-mapping.md has the HTTP status, the code is the one that a client
/// makes of it, except where there is a better word: that table is for those who know nothing but the status. (429 and 504
/// are UNAVAILABLE there, which says "try again at once".) The rest is as gRPC's statuscodes.md describes the codes.
fn code(reason: Reason) -> Code {
    match reason {
        Reason::Malformed | Reason::ExpectationFailed | Reason::Internal => Code::Internal,
        Reason::Invalid | Reason::UnsupportedMediaType | Reason::BadTicket => Code::InvalidArgument,
        Reason::Conflict => Code::AlreadyExists,
        Reason::Credentials
        | Reason::MissingToken
        | Reason::BadToken
        | Reason::ExpiredToken
        | Reason::RevokedToken
        | Reason::Reauthenticate => Code::Unauthenticated,
        Reason::Forbidden | Reason::ForeignOrigin => Code::PermissionDenied,
        Reason::NotFound | Reason::MethodNotAllowed | Reason::MethodUnknown => Code::Unimplemented,
        Reason::BodyTooLarge | Reason::TargetTooLong | Reason::HeadersTooLarge | Reason::TooMany => Code::ResourceExhausted,
        Reason::RequestTimeout | Reason::UpstreamTimeout => Code::DeadlineExceeded,
        // Another connection would help.
        Reason::Misdirected
        | Reason::RevocationUnknown
        | Reason::Unavailable
        | Reason::UpstreamBusy
        | Reason::UpstreamUnhealthy
        | Reason::UpstreamUnreachable
        | Reason::UpstreamInvalid => Code::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::problem::Problem;

    /// The table of docs/errors.md.
    #[test]
    fn every_reason_has_its_code() {
        let expected = [
            ("malformed", 13),
            ("invalid", 3),
            ("unsupported_media_type", 3),
            ("conflict", 6),
            ("credentials", 16),
            ("missing_token", 16),
            ("bad_token", 16),
            ("expired_token", 16),
            ("revoked_token", 16),
            ("bad_ticket", 3),
            ("reauthenticate", 16),
            ("forbidden", 7),
            ("foreign_origin", 7),
            ("not_found", 12),
            ("method_not_allowed", 12),
            ("misdirected", 14),
            ("method_unknown", 12),
            ("request_timeout", 4),
            ("body_too_large", 8),
            ("target_too_long", 8),
            ("headers_too_large", 8),
            ("expectation_failed", 13),
            ("too_many", 8),
            ("revocation_unknown", 14),
            ("unavailable", 14),
            ("upstream_busy", 14),
            ("upstream_unhealthy", 14),
            ("upstream_unreachable", 14),
            ("upstream_invalid", 14),
            ("upstream_timeout", 4),
            ("internal", 13),
        ];
        let codes: Vec<_> = Reason::ALL.iter().map(|reason| (reason.word(), code(*reason) as u16)).collect();
        assert_eq!(codes, expected);
    }

    fn request(version: Version, content_type: &'static str) -> RequestHeader {
        let mut head = RequestHeader::build("POST", b"/a.B/C", None).unwrap();
        head.insert_header("content-type", content_type).unwrap();
        head.set_version(version);
        head
    }

    #[test]
    fn grpc_is_known_by_its_content_type_over_http_2() {
        for (content_type, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/gRPC; charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/grpcs", false),
            ("application/json", false),
            ("application/grp", false),
        ] {
            assert_eq!(is_request(&request(Version::HTTP_2, content_type)), expected, "{content_type}");
            assert!(!is_request(&request(Version::HTTP_11, content_type)), "{content_type}");
        }
    }

    #[test]
    fn a_refusal_is_fields_alone_and_keeps_what_the_problem_said_in_them() {
        let fields = |reason, id: &str| {
            let answer = refusal(Problem::new(reason).into_bytes_response(Some(id)), reason, id);
            assert!(answer.status() == 200 && answer.body().is_empty());
            answer.headers().clone()
        };
        let revoked = fields(Reason::RevokedToken, "0f");
        assert_eq!(revoked["content-type"], "application/grpc");
        assert_eq!(revoked["grpc-status"], "16");
        assert_eq!(revoked["grpc-message"], "revoked_token (decision 0f)");
        assert!(revoked.contains_key("www-authenticate") && !revoked.contains_key("grpc-retry-pushback-ms"));
        let busy = fields(Reason::UpstreamBusy, "100% sure\n");
        assert_eq!(busy["grpc-message"], "upstream_busy (decision 100%25 sure%0A)");
        assert_eq!(busy["retry-after"], "1");
        assert_eq!(busy["grpc-retry-pushback-ms"], "1000");
    }

    #[test]
    fn an_answer_that_is_no_more_than_unavailable_counts_as_503() {
        let answer = |version, code: &'static str| {
            let mut head = ResponseHeader::build(200, None).unwrap();
            head.set_version(version);
            head.insert_header("grpc-status", code).unwrap();
            status(&head)
        };
        assert_eq!(answer(Version::HTTP_2, "14"), 503);
        assert_eq!(answer(Version::HTTP_2, "13"), 200, "a request that makes an application stumble ejects nothing");
        assert_eq!(answer(Version::HTTP_11, "14"), 200);
    }
}
