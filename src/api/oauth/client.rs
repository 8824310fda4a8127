//! How a client says who it is: HTTP Basic, a secret in the form, or a signed assertion, and only one of them
//! (RFC 6749 §2.3, RFC 7523 §2.2).

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error::OAuthError;
use super::form::{Form, decoded};
use crate::auth::client_credentials::ClientCredentials;
use crate::policy::bearer;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const BASIC: &[u8] = b"basic ";

/// The client's credentials; none for a public client, which has none. A bearer token is none of a client's either.
///
/// # Errors
/// There is more than one way in which the client says who it is, or one that cannot be read.
pub(super) fn credentials(headers: &HeaderMap, form: &Form) -> Result<Option<ClientCredentials>, OAuthError> {
    let id = form.get("client_id");
    let basic = basic(headers)?;
    let secret = form.get("client_secret");
    let assertion = assertion(form)?;
    match (basic, secret, assertion) {
        (None, None, None) => Ok(None),
        (Some((user, _)), None, None) if id.is_some_and(|id| id != user) => {
            Err(OAuthError::invalid_request("client_id and the authorization field name different clients"))
        }
        (Some((id, secret)), None, None) => Ok(Some(ClientCredentials::Secret { id, secret: secret.into() })),
        (None, Some(secret), None) => {
            let id = id.ok_or_else(|| OAuthError::invalid_request("client_secret needs client_id"))?;
            Ok(Some(ClientCredentials::Secret { id: id.to_owned(), secret: secret.into() }))
        }
        (None, None, Some(assertion)) => {
            Ok(Some(ClientCredentials::Assertion { id: id.map(str::to_owned), assertion: assertion.into() }))
        }
        _ => Err(OAuthError::invalid_request("the client authenticates in more than one way")),
    }
}

fn assertion(form: &Form) -> Result<Option<&str>, OAuthError> {
    match (form.get("client_assertion"), form.get("client_assertion_type")) {
        (None, None) => Ok(None),
        (Some(assertion), Some(ASSERTION_TYPE)) => Ok(Some(assertion)),
        (Some(_), _) => Err(OAuthError::invalid_request("client_assertion_type must be that of a JWT (RFC 7523 §2.2)")),
        (None, Some(_)) => Err(OAuthError::invalid_request("client_assertion is missing")),
    }
}

/// Name and secret, each form-encoded before they were joined (RFC 6749 §2.3.1).
fn basic(headers: &HeaderMap) -> Result<Option<(String, String)>, OAuthError> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let Some(field) = fields.next() else { return Ok(None) };
    if fields.next().is_some() {
        return Err(OAuthError::invalid_request("there is more than one authorization field"));
    }
    if bearer::is_bearer(field) {
        return Ok(None);
    }
    let unreadable = || OAuthError::invalid_client("the authorization field is not one of HTTP Basic");
    let (scheme, credentials) = field.as_bytes().split_at_checked(BASIC.len()).ok_or_else(unreadable)?;
    if !scheme.eq_ignore_ascii_case(BASIC) {
        return Err(unreadable());
    }
    let text = STANDARD.decode(credentials).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(unreadable)?;
    let (id, secret) = text.split_once(':').ok_or_else(unreadable)?;
    Ok(Some((decoded(id).ok_or_else(unreadable)?, decoded(secret).ok_or_else(unreadable)?)))
}
