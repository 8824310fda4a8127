//! Refusals as `application/problem+json` (RFC 9457), and the one table from every error of `auth` to its word.

mod errors;

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Response, header};
use axum::middleware::Next;
use axum::response::IntoResponse;
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use super::context::RequestContext;
use crate::auth::FieldError;
use crate::reason::Reason;

/// A refusal on its way to the client. As a response it carries its [`Reason`] as an extension, so that whoever
/// writes the access log finds it without reading the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    reason: Reason,
    detail: Option<Cow<'static, str>>,
    errors: Vec<FieldError>,
    challenge: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
}

/// The body of every refusal (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// Names the kind of problem: `urn:portcullis:problem:` and the code.
    #[serde(rename = "type")]
    kind: String,
    /// The same for every problem of this kind.
    title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What can be said about this occurrence.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<&'a str>,
    /// The word to match on: one of a closed, documented list.
    code: &'static str,
    /// Which fields break which rules.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldProblem<'a>>,
    /// Names this refusal in the gateway's access log.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    decision_id: Option<&'a str>,
}

/// A rule that one field breaks.
#[derive(Debug, Serialize, ToSchema)]
pub struct FieldProblem<'a> {
    /// The field.
    field: &'static str,
    /// The rule, to be read after the field's name.
    message: &'a str,
}

/// No token was sent, or credentials other than a token were wrong: no `error` (RFC 6750 §3.1).
pub(super) const CHALLENGE: &str = r#"Bearer realm="portcullis""#;
const CHALLENGE_INVALID_TOKEN: &str = r#"Bearer realm="portcullis", error="invalid_token""#;
const CHALLENGE_INVALID_REQUEST: &str = r#"Bearer realm="portcullis", error="invalid_request""#;
/// The token is good and the password too long ago (RFC 9470 §3).
const CHALLENGE_STEP_UP: &str = r#"Bearer realm="portcullis", error="insufficient_user_authentication""#;
/// For problems that pass: long enough not to be a storm, short enough not to be noticed.
const RETRY_AFTER_SECS: u64 = 1;

impl Problem {
    /// A refusal of this kind.
    #[must_use]
    pub fn new(reason: Reason) -> Self {
        let challenge = match reason {
            Reason::MissingToken | Reason::Credentials => Some(CHALLENGE),
            Reason::BadToken | Reason::ExpiredToken | Reason::RevokedToken => Some(CHALLENGE_INVALID_TOKEN),
            Reason::Reauthenticate => Some(CHALLENGE_STEP_UP),
            _ => None,
        };
        Self { reason, detail: None, errors: Vec::new(), challenge: challenge.map(Cow::Borrowed), retry_after: None }
    }

    /// With what can be said about this occurrence: never a value that was sent.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The password was given too long ago: at most so long is asked for (RFC 9470 §3).
    #[must_use]
    pub fn reauthenticate(max_age: Duration) -> Self {
        let challenge = format!("{CHALLENGE_STEP_UP}, max_age=\"{}\"", max_age.as_secs());
        Self { challenge: Some(challenge.into()), ..Self::new(Reason::Reauthenticate) }
    }

    /// Too many requests: so long until one may pass again.
    #[must_use]
    pub fn too_many(retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(Reason::TooMany) }
    }

    /// Fields break rules.
    #[must_use]
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        Self { errors, ..Self::new(Reason::Invalid) }
    }

    /// The token is not good for one of these scopes, which have spaces between them (RFC 6750 §3.1).
    #[must_use]
    pub fn insufficient_scope(required: &str) -> Self {
        let challenge = format!(r#"{CHALLENGE}, error="insufficient_scope", scope="{required}""#);
        Self { challenge: Some(challenge.into()), ..Self::new(Reason::Forbidden) }
    }

    /// The kind of refusal.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// What can be said about this occurrence.
    pub(super) fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// Which fields break which rules.
    pub(super) fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    fn body<'a>(&'a self, decision_id: Option<&'a str>) -> ProblemBody<'a> {
        let errors = self.errors.iter().map(|error| FieldProblem { field: error.field, message: &error.message });
        ProblemBody {
            kind: format!("urn:portcullis:problem:{}", self.reason.word()),
            title: self.reason.title(),
            status: self.reason.status().as_u16(),
            detail: self.detail.as_deref(),
            code: self.reason.word(),
            errors: errors.collect(),
            decision_id,
        }
    }

    fn json(&self, decision_id: Option<&str>) -> Bytes {
        serde_json::to_vec(&self.body(decision_id)).expect("a problem is made of strings and numbers").into()
    }

    /// The whole answer, for whoever serves it without axum. `decision_id` names the request in the access log.
    #[must_use]
    pub fn into_bytes_response(self, decision_id: Option<&str>) -> Response<Bytes> {
        let mut response = Response::new(self.json(decision_id));
        *response.status_mut() = self.reason.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = &self.challenge {
            let challenge = HeaderValue::from_str(challenge).expect("challenges and scopes are visible ASCII");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if matches!(self.reason.status().as_u16(), 429 | 503) {
            // Rounded up: who comes back exactly then must not be too early.
            let secs =
                self.retry_after.map_or(RETRY_AFTER_SECS, |wait| wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX));
            headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        response.extensions_mut().insert(self.reason);
        response.extensions_mut().insert(self);
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        self.into_bytes_response(None).map(Body::from)
    }
}

/// Puts the request's id into refusals: handlers do not know it.
pub(super) async fn name_decision(request: Request, next: Next) -> axum::response::Response {
    let id = request.extensions().get().map(|context: &RequestContext| context.request_id.clone());
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        *response.body_mut() = Body::from(problem.json(id.as_deref()));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_401_challenges_and_only_a_token_that_was_sent_is_called_invalid() {
        for reason in Reason::ALL {
            let response = Problem::new(*reason).into_bytes_response(None);
            let challenge = response.headers().get(header::WWW_AUTHENTICATE).map(|value| value.to_str().unwrap());
            assert_eq!(challenge.is_some(), reason.status().as_u16() == 401, "{}", reason.word());
            let names_an_error = challenge.is_some_and(|challenge| challenge.contains("error="));
            let token_was_sent =
                matches!(reason, Reason::BadToken | Reason::ExpiredToken | Reason::RevokedToken | Reason::Reauthenticate);
            assert_eq!(names_an_error, token_was_sent, "{}", reason.word());
        }
    }

    #[test]
    fn a_refusal_that_passes_says_when_to_come_back() {
        for (reason, expected) in [
            (Reason::Unavailable, true),
            (Reason::RevocationUnknown, true),
            (Reason::TooMany, true),
            (Reason::Credentials, false),
        ] {
            let response = Problem::new(reason).into_bytes_response(None);
            assert_eq!(response.headers().contains_key(header::RETRY_AFTER), expected, "{}", reason.word());
        }
    }

    #[test]
    fn a_step_up_says_how_recent_the_password_must_be() {
        let response = Problem::reauthenticate(Duration::from_mins(5)).into_bytes_response(None);
        let expected = r#"Bearer realm="portcullis", error="insufficient_user_authentication", max_age="300""#;
        assert_eq!(
            (response.status().as_u16(), &response.headers()[header::WWW_AUTHENTICATE]),
            (401, &HeaderValue::from_static(expected))
        );
    }

    #[test]
    fn a_problem_names_its_kind_its_fields_and_its_reason_for_the_log() {
        let response = Problem::invalid(vec![FieldError::new("email", "must not be empty")]).into_bytes_response(None);
        assert_eq!(response.extensions().get::<Reason>(), Some(&Reason::Invalid));
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        let expected = serde_json::json!({
            "type": "urn:portcullis:problem:invalid", "title": "The request body is invalid", "status": 400,
            "code": "invalid", "errors": [{"field": "email", "message": "must not be empty"}],
        });
        assert_eq!(body, expected);
    }
}
