//! Refusals as `application/problem+json` (RFC 9457), and the one table from every error of `auth` to its word.

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
use crate::auth::authenticate::AuthenticateError;
use crate::auth::email_verification::SendVerificationError;
use crate::auth::invitation::InviteError;
use crate::auth::login::LoginError;
use crate::auth::logout::LogoutError;
use crate::auth::mail::{NoPostage, NotMailed};
use crate::auth::one_time::OneTimeError;
use crate::auth::outage::Outage;
use crate::auth::password_change::PasswordChangeError;
use crate::auth::password_reset::PasswordResetError;
use crate::auth::profile::ProfileError;
use crate::auth::refresh::RefreshError;
use crate::auth::register::RegisterError;
use crate::auth::sessions::RevokeSessionError;
use crate::auth::throttle::Throttled;
use crate::policy::bearer::BearerError;
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
    status: u16,
    /// What can be said about this occurrence.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    /// The word to match on: one of a closed, documented list.
    code: &'static str,
    /// Which fields break which rules.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldProblem<'a>>,
    /// Names this refusal in the gateway's access log.
    #[serde(skip_serializing_if = "Option::is_none")]
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
/// For problems that pass: long enough not to be a storm, short enough not to be noticed.
const RETRY_AFTER_SECS: u64 = 1;

impl Problem {
    /// A refusal of this kind.
    #[must_use]
    pub fn new(reason: Reason) -> Self {
        let challenge = match reason {
            Reason::MissingToken | Reason::Credentials => Some(CHALLENGE),
            Reason::BadToken | Reason::ExpiredToken | Reason::RevokedToken => Some(CHALLENGE_INVALID_TOKEN),
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

    /// Fields break rules.
    #[must_use]
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        Self { errors, ..Self::new(Reason::Invalid) }
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
            let challenge = HeaderValue::try_from(&**challenge).expect("a challenge is made of constants and numbers");
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

impl From<Outage> for Problem {
    fn from(outage: Outage) -> Self {
        let reason = outage.reason();
        let cause: &dyn std::error::Error = &outage;
        // The client learns that it may try again, the operator what broke.
        if reason == Reason::Internal {
            tracing::error!(error = cause, code = reason.word(), "a request to the API failed");
        } else {
            tracing::warn!(error = cause, code = reason.word(), "a request to the API failed");
        }
        Self::new(reason)
    }
}

impl From<Throttled> for Problem {
    fn from(throttled: Throttled) -> Self {
        Self { retry_after: Some(throttled.retry_after), ..Self::new(Reason::TooMany) }
    }
}

impl From<LoginError> for Problem {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Invalid(errors) => Self::invalid(errors),
            LoginError::Credentials => Self::new(Reason::Credentials),
            LoginError::Throttled(throttled) => throttled.into(),
            LoginError::Outage(outage) => outage.into(),
        }
    }
}

impl From<RegisterError> for Problem {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::Closed => Self::new(Reason::Forbidden).with_detail("registration is closed"),
            RegisterError::NotInvited => Self::new(Reason::Forbidden).with_detail("registration needs an invitation"),
            RegisterError::BadInvitation => Self::new(Reason::BadTicket),
            RegisterError::Invalid(errors) => Self::invalid(errors),
            RegisterError::Taken(field) => {
                Self { errors: vec![FieldError::new(field, "is taken")], ..Self::new(Reason::Conflict) }
            }
            RegisterError::Throttled(throttled) => throttled.into(),
            RegisterError::Outage(outage) => outage.into(),
        }
    }
}

impl From<RefreshError> for Problem {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Forged => Self::new(Reason::BadToken),
            RefreshError::Expired => Self::new(Reason::ExpiredToken),
            RefreshError::Ended => Self::new(Reason::RevokedToken),
            RefreshError::Reused(session) => {
                tracing::warn!(%session, "a used refresh token came back: the session has been ended");
                Self::new(Reason::RevokedToken).with_detail("this refresh token was used before; sign in again")
            }
            RefreshError::Outage(outage) => outage.into(),
        }
    }
}

impl From<PasswordChangeError> for Problem {
    fn from(error: PasswordChangeError) -> Self {
        match error {
            PasswordChangeError::Invalid(errors) => Self::invalid(errors),
            PasswordChangeError::Credentials => Self::new(Reason::Credentials).with_detail("the current password is wrong"),
            PasswordChangeError::Throttled(throttled) => throttled.into(),
            PasswordChangeError::Outage(outage) => outage.into(),
        }
    }
}

impl From<OneTimeError> for Problem {
    fn from(error: OneTimeError) -> Self {
        match error {
            OneTimeError::Refused => Self::new(Reason::BadTicket),
            OneTimeError::Outage(outage) => outage.into(),
        }
    }
}

impl From<PasswordResetError> for Problem {
    fn from(error: PasswordResetError) -> Self {
        match error {
            PasswordResetError::Invalid(errors) => Self::invalid(errors),
            PasswordResetError::Refused => Self::new(Reason::BadTicket),
            PasswordResetError::Outage(outage) => outage.into(),
        }
    }
}

impl From<NoPostage> for Problem {
    fn from(error: NoPostage) -> Self {
        match error {
            NoPostage::Off => Self::new(Reason::Forbidden).with_detail("this gateway sends no mail"),
            NoPostage::TooMany => {
                let within = Some(Duration::from_secs(3600));
                let full = Self::new(Reason::TooMany).with_detail("this address was sent enough mail for the hour");
                Self { retry_after: within, ..full }
            }
            NoPostage::Full => Self::new(Reason::Unavailable),
        }
    }
}

impl From<NotMailed> for Problem {
    fn from(error: NotMailed) -> Self {
        match error {
            NotMailed::NoPostage(why) => why.into(),
            NotMailed::Outage(outage) => outage.into(),
        }
    }
}

impl From<SendVerificationError> for Problem {
    fn from(error: SendVerificationError) -> Self {
        match error {
            SendVerificationError::NotFound => ProfileError::NotFound.into(),
            SendVerificationError::NoAddress => Self::new(Reason::NotFound).with_detail("the user has no e-mail address"),
            SendVerificationError::Verified => Self::new(Reason::Conflict).with_detail("the e-mail address is verified already"),
            SendVerificationError::NotMailed(why) => why.into(),
        }
    }
}

impl From<InviteError> for Problem {
    fn from(error: InviteError) -> Self {
        match error {
            InviteError::Closed => Self::new(Reason::Forbidden).with_detail("registration is closed"),
            InviteError::Forbidden => Self::new(Reason::Forbidden).with_detail(InviteError::Forbidden.to_string()),
            InviteError::Invalid(errors) => Self::invalid(errors),
            InviteError::NoPostage(why) => why.into(),
            InviteError::Outage(outage) => outage.into(),
        }
    }
}

impl From<RevokeSessionError> for Problem {
    fn from(error: RevokeSessionError) -> Self {
        match error {
            RevokeSessionError::NotFound => Self::new(Reason::NotFound).with_detail("there is no such session"),
            RevokeSessionError::Outage(outage) => outage.into(),
        }
    }
}

impl From<LogoutError> for Problem {
    fn from(error: LogoutError) -> Self {
        match error {
            LogoutError::Forged => Self::new(Reason::BadToken),
            LogoutError::Ended => Self::new(Reason::RevokedToken),
            LogoutError::Outage(outage) => outage.into(),
        }
    }
}

impl From<ProfileError> for Problem {
    fn from(error: ProfileError) -> Self {
        match error {
            ProfileError::NotFound => Self::new(Reason::NotFound).with_detail("the token's subject has no account here"),
            ProfileError::Invalid(errors) => Self::invalid(errors),
            ProfileError::Outage(outage) => outage.into(),
        }
    }
}

impl From<BearerError> for Problem {
    fn from(error: BearerError) -> Self {
        match error {
            BearerError::Repeated => Self {
                challenge: Some(Cow::Borrowed(CHALLENGE_INVALID_REQUEST)),
                ..Self::new(Reason::Malformed).with_detail("there is more than one authorization field")
            },
            BearerError::Empty => Self::new(Reason::MissingToken),
            BearerError::Malformed | BearerError::TooLong => Self::new(Reason::BadToken),
        }
    }
}

impl From<AuthenticateError> for Problem {
    fn from(error: AuthenticateError) -> Self {
        // Which check failed would help only those who try; the log has it.
        tracing::debug!(code = error.reason().word(), detail = error.reason_detail(), "an access token was refused");
        Self::new(error.reason())
    }
}

/// The documents' line for every refusal.
#[derive(utoipa::IntoResponses)]
#[response(status = "default", description = "A problem (RFC 9457)", content_type = "application/problem+json")]
#[expect(dead_code, reason = "read by the OpenAPI macros only")]
pub(super) struct Refusal(#[to_schema] ProblemBody<'static>);

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
            let token_was_sent = matches!(reason, Reason::BadToken | Reason::ExpiredToken | Reason::RevokedToken);
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
