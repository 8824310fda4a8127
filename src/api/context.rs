//! What a handler may know about its request besides the body: where it came from, and for whom it speaks.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::Api;
use super::problem::Problem;
use crate::auth::Origin;
use crate::identity::{Caller, Credential};
use crate::policy::bearer;
use crate::reason::Reason;

/// Facts about the request that its path to the router established. An extension of every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestContext {
    /// The client, through trusted proxies only.
    pub client: IpAddr,
    /// `User-Agent`, if it is text.
    pub user_agent: Option<String>,
    /// Names the request in the log.
    pub request_id: String,
}

impl RequestContext {
    /// Where a login comes from.
    pub(super) fn origin(&self) -> Origin {
        Origin { address: Some(self.client), agent: self.user_agent.clone() }
    }
}

impl<S: Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Refused rather than guessed: its absence is a fault of whoever called the router.
        parts.extensions.get().cloned().ok_or_else(|| Problem::new(Reason::Internal))
    }
}

/// Whoever calls: a user in a session, a client, or an API key. Its token is genuine, unexpired and not revoked.
pub(super) struct AnyCaller(pub(super) Arc<Caller>);

impl FromRequestParts<Arc<Api>> for AnyCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let token = bearer::extract(&parts.headers)?.ok_or_else(|| Problem::new(Reason::MissingToken))?;
        Ok(Self(api.authenticator.authenticate(token).await?))
    }
}

/// A user in a session, whose access token is genuine, unexpired and not revoked. Never a client or an API key: what
/// a program holds must not be able to change passwords, sessions or keys, or it could outlive its own revocation.
pub(super) struct Authenticated(pub(super) Arc<Caller>);

impl FromRequestParts<Arc<Api>> for Authenticated {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let AnyCaller(caller) = AnyCaller::from_request_parts(parts, api).await?;
        match caller.principal.credential {
            Credential::Session => Ok(Self(caller)),
            Credential::Client | Credential::ApiKey => {
                Err(Problem::new(Reason::Forbidden).with_detail("this is for users in a session, not for clients and api keys"))
            }
            Credential::Foreign => Err(Problem::new(Reason::Forbidden)
                .with_detail("this is for accounts of this gateway, not for those of other issuers")),
        }
    }
}

/// The same, who is an administrator, too.
pub(super) struct Administrator(pub(super) Arc<Caller>);

impl FromRequestParts<Arc<Api>> for Administrator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let Authenticated(caller) = Authenticated::from_request_parts(parts, api).await?;
        if api.auth.is_administrator(&caller) {
            return Ok(Self(caller));
        }
        Err(Problem::new(Reason::Forbidden).with_detail("this is for administrators"))
    }
}

/// The bearer token as sent, for logout: it may be expired, revoked, or not ours at all.
pub(super) struct SentToken(pub(super) Option<String>);

impl<S: Sync> FromRequestParts<S> for SentToken {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self(bearer::extract(&parts.headers)?.map(str::to_owned)))
    }
}
