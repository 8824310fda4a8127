//! The terms of a session: how long its tokens live, and what a refresh does. The gateway's own API has one set of them,
//! each dialect may have another.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::identity::user::User;

use super::AuthSettings;

/// Under which terms tokens are issued.
#[derive(Clone)]
pub struct SessionTerms {
    /// Life of an access token, whole seconds; at most `TokenPolicy::life_max`.
    pub access_token: Duration,
    /// Life of a refresh token, from its last use on.
    pub refresh_token: Duration,
    /// What a refresh does.
    pub renewal: Renewal,
    /// What access tokens say besides the standard claims; those cannot be replaced.
    pub claims: Option<FurtherClaims>,
}

/// Makes the claims of a user's tokens.
pub type FurtherClaims = Arc<dyn Fn(&User) -> Map<String, Value> + Send + Sync>;

/// What a refresh does with the tokens before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// The refresh token gets a successor, and its reuse ends the session (RFC 9700 §4.14.2).
    Rotate {
        /// Whether the access token that was issued with the predecessor is revoked.
        revokes_access: bool,
    },
    /// The refresh token stays good, for clients that have no way to receive another: its life begins anew.
    Stand,
}

impl fmt::Debug for SessionTerms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionTerms")
            .field("access_token", &self.access_token)
            .field("refresh_token", &self.refresh_token)
            .field("renewal", &self.renewal)
            .finish_non_exhaustive()
    }
}

impl AuthSettings {
    /// The terms of the gateway's own API.
    #[must_use]
    pub fn terms(&self) -> SessionTerms {
        let renewal = Renewal::Rotate { revokes_access: false };
        SessionTerms { access_token: self.access_token, refresh_token: self.refresh_token, renewal, claims: None }
    }
}
