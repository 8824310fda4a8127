//! Routes and callers for the tests of rules: valid, and plain but for what a test sets.

use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use crate::identity::session::SessionId;
use crate::identity::{Caller, Credential, Kept, Principal, TokenFacts};

use super::access::{Access, OnUnknown, Requirements};
use super::host::HostPattern;
use super::pattern::PathPattern;
use super::route::Route;

/// The issuer of [`caller`].
pub(crate) const ISSUER: &str = "https://auth.example";

/// A route that needs a token, for every method, named after what it matches.
pub(crate) fn route(host: Option<&str>, path: &str) -> Route {
    Route {
        name: format!("{}{path}", host.unwrap_or_default()).into(),
        host: host.map(|host| HostPattern::parse(host).expect("a valid host")),
        path: PathPattern::parse(path, false).expect("a valid path"),
        methods: Box::default(),
        conditions: None,
        upstream: "app".into(),
        access: Access::Authenticated,
        require: Requirements::default(),
        on_unknown: OnUnknown::Deny,
        pass_token: false,
        websocket: false,
        origins: Box::default(),
        body_bytes_max: 1024,
        timeouts: None,
        filters: None,
    }
}

/// Ada, with these roles.
pub(crate) fn caller(roles: &[&str]) -> Caller {
    let issuer: Arc<str> = ISSUER.into();
    let session = SessionId(Uuid::from_u128(7));
    Caller {
        principal: Principal {
            issuer: Arc::clone(&issuer),
            subject: "ada-id".into(),
            username: Some("ada".into()),
            email: Some("ada@example.com".into()),
            roles: roles.iter().map(|&role| role.into()).collect(),
            session,
            scopes: Box::default(),
            auth_time: Timestamp::UNIX_EPOCH,
            credential: Credential::Session,
        },
        token: TokenFacts {
            issuer,
            jti: "jti-1".into(),
            session,
            subject: "ada-id".into(),
            issued_at: Timestamp::UNIX_EPOCH,
            expires_at: Timestamp::MAX,
        },
        kept: Kept::default(),
    }
}
