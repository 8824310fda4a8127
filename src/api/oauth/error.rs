//! Refusals as OAuth words them (RFC 6749 §5.2), and the table from every error of `auth` to its word.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::backchannel_logout::BackchannelLogoutError;
use crate::auth::client_credentials::{ClientAuthError, GrantError};
use crate::auth::outage::Outage;
use crate::auth::refresh::RefreshError;
use crate::auth::throttle::Throttled;
use crate::identity::access_token::TokenError;
use crate::reason::Reason;

/// A refusal of an OAuth endpoint. As a response it carries its [`Reason`] as an extension, for the access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::api) struct OAuthError {
    error: &'static str,
    /// For whoever writes the client: never a value that was sent.
    description: &'static str,
    reason: Reason,
    status: StatusCode,
    challenge: Option<&'static str>,
    /// As the other endpoints have it unless it is known.
    retry_after: Option<Duration>,
}

/// The body of every refusal (RFC 6749 §5.2).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OAuthError)]
pub(in crate::api) struct OAuthErrorBody {
    /// The word to match on.
    error: &'static str,
    /// For people.
    error_description: &'static str,
}

/// RFC 6749 §5.2: the scheme that a client may authenticate with.
const CHALLENGE_CLIENT: &str = r#"Basic realm="portcullis", charset="UTF-8""#;
const CHALLENGE_TOKEN: &str = r#"Bearer realm="portcullis", error="invalid_token""#;
const CHALLENGE_ROLE: &str = r#"Bearer realm="portcullis", error="insufficient_scope""#;
/// As the other endpoints have it: long enough not to be a storm, short enough not to be noticed.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl OAuthError {
    const fn new(error: &'static str, description: &'static str, reason: Reason) -> Self {
        Self { error, description, reason, status: StatusCode::BAD_REQUEST, challenge: None, retry_after: None }
    }

    /// The request is not what the endpoint reads.
    pub(super) const fn invalid_request(description: &'static str) -> Self {
        Self::new("invalid_request", description, Reason::Malformed)
    }

    /// The body is larger than the endpoint takes.
    pub(super) const fn too_large() -> Self {
        let error = Self::new("invalid_request", "the body is too large", Reason::BodyTooLarge);
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, ..error }
    }

    /// No issuer of that name may say that somebody is signed out.
    pub(super) const fn no_such_issuer() -> Self {
        let error = Self::new("invalid_request", "no issuer of this name sends logout tokens here", Reason::NotFound);
        Self { status: StatusCode::NOT_FOUND, ..error }
    }

    /// The client is not recognised, or did not say who it is.
    pub(super) const fn invalid_client(description: &'static str) -> Self {
        let error = Self::new("invalid_client", description, Reason::Credentials);
        Self { status: StatusCode::UNAUTHORIZED, challenge: Some(CHALLENGE_CLIENT), ..error }
    }

    /// The bearer token of a caller that is no client is not accepted (RFC 6750 §3.1).
    pub(super) const fn invalid_token(reason: Reason) -> Self {
        let error = Self::new("invalid_token", "the bearer token is not accepted", reason);
        Self { status: StatusCode::UNAUTHORIZED, challenge: Some(CHALLENGE_TOKEN), ..error }
    }

    /// The caller is known and may not ask this.
    pub(super) const fn insufficient_scope(description: &'static str) -> Self {
        let error = Self::new("insufficient_scope", description, Reason::Forbidden);
        Self { status: StatusCode::FORBIDDEN, challenge: Some(CHALLENGE_ROLE), ..error }
    }

    /// A grant that this gateway does not have.
    pub(super) const fn unsupported_grant_type() -> Self {
        Self::new("unsupported_grant_type", "this gateway grants for refresh_token and client_credentials", Reason::Invalid)
    }

    /// More was asked for than may be had.
    pub(super) const fn invalid_scope() -> Self {
        Self::new("invalid_scope", "a requested scope is malformed or not granted", Reason::Invalid)
    }

    /// The refresh token gets no successor.
    const fn invalid_grant(description: &'static str, reason: Reason) -> Self {
        Self::new("invalid_grant", description, reason)
    }

    /// It may work later.
    pub(super) const fn unavailable(reason: Reason) -> Self {
        let error = Self::new("temporarily_unavailable", "try again", reason);
        Self { status: StatusCode::SERVICE_UNAVAILABLE, ..error }
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let body = OAuthErrorBody { error: self.error, error_description: self.description };
        let mut response = (self.status, axum::Json(body)).into_response();
        let headers = response.headers_mut();
        if let Some(challenge) = self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            // Rounded up: who comes back exactly then must not be too early.
            let secs = self.retry_after.unwrap_or(RETRY_AFTER).as_millis().div_ceil(1000);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(u64::try_from(secs).unwrap_or(u64::MAX)));
        }
        response.extensions_mut().insert(self.reason);
        response
    }
}

/// RFC 6749 has no word of its own for it: that of what may work later, with the status of RFC 6585 §4.
impl From<Throttled> for OAuthError {
    fn from(throttled: Throttled) -> Self {
        let error = Self::new("temporarily_unavailable", "too many failed attempts", Reason::TooMany);
        Self { status: StatusCode::TOO_MANY_REQUESTS, retry_after: Some(throttled.retry_after), ..error }
    }
}

impl From<Outage> for OAuthError {
    fn from(outage: Outage) -> Self {
        let reason = outage.reason();
        let cause: &dyn std::error::Error = &outage;
        if reason == Reason::Internal {
            tracing::error!(error = cause, code = reason.word(), "a request to an oauth endpoint failed");
            let error = Self::new("server_error", "a fault in the gateway", reason);
            return Self { status: StatusCode::INTERNAL_SERVER_ERROR, ..error };
        }
        tracing::warn!(error = cause, code = reason.word(), "a request to an oauth endpoint failed");
        Self::unavailable(reason)
    }
}

impl From<ClientAuthError> for OAuthError {
    fn from(error: ClientAuthError) -> Self {
        match error {
            ClientAuthError::Refused => Self::invalid_client("the client is not recognised"),
            ClientAuthError::Throttled(throttled) => throttled.into(),
            ClientAuthError::Outage(outage) => outage.into(),
        }
    }
}

impl From<GrantError> for OAuthError {
    fn from(error: GrantError) -> Self {
        match error {
            GrantError::Client(error) => error.into(),
            GrantError::Scope => Self::invalid_scope(),
            GrantError::Outage(outage) => outage.into(),
        }
    }
}

impl From<RefreshError> for OAuthError {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Forged => Self::invalid_grant("not a refresh token of this gateway", Reason::BadToken),
            RefreshError::Expired => Self::invalid_grant("the refresh token has expired", Reason::ExpiredToken),
            RefreshError::Ended => Self::invalid_grant("the session has ended", Reason::RevokedToken),
            RefreshError::Reused(session) => {
                tracing::warn!(%session, "a used refresh token came back: the session has been ended");
                Self::invalid_grant("this refresh token was used before", Reason::RevokedToken)
            }
            RefreshError::Outage(outage) => outage.into(),
        }
    }
}

impl From<BackchannelLogoutError> for OAuthError {
    fn from(error: BackchannelLogoutError) -> Self {
        match error {
            BackchannelLogoutError::Refused(TokenError::Expired) => {
                Self::new("invalid_request", "the logout token has expired, or was issued too long ago", Reason::ExpiredToken)
            }
            BackchannelLogoutError::Refused(why) => Self::new("invalid_request", broken_rule(why), Reason::BadToken),
            BackchannelLogoutError::Throttled(throttled) => throttled.into(),
            BackchannelLogoutError::Keys(_) => Self::unavailable(Reason::Unavailable),
            BackchannelLogoutError::Outage(outage) => outage.into(),
        }
    }
}

/// Which rule of a logout token was broken, for whoever runs the issuer: what is signed is no secret to them, and whoever
/// forges learns no more than that the signature is none.
const fn broken_rule(why: TokenError) -> &'static str {
    match why {
        TokenError::TooLong | TokenError::Malformed | TokenError::Header => {
            "the logout token is not a JWT that this gateway reads"
        }
        TokenError::UnknownKey | TokenError::Algorithm | TokenError::Signature | TokenError::Inactive => {
            "no key of the issuer verifies the logout token"
        }
        TokenError::Type => "it is no logout token: see `typ`, `events` and `nonce`",
        TokenError::Claims => "a claim of the logout token is missing, repeated or of the wrong type",
        TokenError::Issuer => "the logout token is of another issuer",
        TokenError::Audience => "the logout token is for another audience",
        TokenError::Life | TokenError::NotYet | TokenError::Expired => "the times of the logout token do not fit",
    }
}

/// The documents' line for every refusal of an OAuth endpoint.
#[derive(utoipa::IntoResponses)]
#[response(status = "default", description = "An error (RFC 6749 §5.2)", content_type = "application/json")]
#[expect(dead_code, reason = "read by the OpenAPI macros only")]
pub(in crate::api) struct OAuthRefusal(#[to_schema] OAuthErrorBody);
