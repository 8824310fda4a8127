//! What takes the logout tokens of one issuer (OpenID Connect Back-Channel Logout 1.0): verified with the very keys of its
//! access tokens.
//!
//! A token by a key that is not known is worth a look at the issuer before it is refused, unlike an access token: most issuers
//! send a logout once, and nobody comes back with it.

use std::sync::Arc;

use jiff::Timestamp;

use super::{IssuerOutage, Keys};
use crate::identity::access_token::TokenError;
use crate::identity::foreign_token::{self, ForeignPolicy, Logout, LogoutPolicy};
use crate::telemetry::issuers::LogoutMetrics;

pub use crate::telemetry::labels::LogoutEnd;

/// Takes the logout tokens of one issuer.
#[derive(Debug)]
pub struct LogoutReceiver {
    pub(super) name: Box<str>,
    pub(super) policy: Arc<ForeignPolicy>,
    pub(super) rules: LogoutPolicy,
    pub(super) keys: Keys,
    pub(super) metrics: LogoutMetrics,
}

impl LogoutReceiver {
    /// What logs call the issuer.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the issuer's access tokens must say.
    #[must_use]
    pub fn policy(&self) -> &ForeignPolicy {
        &self.policy
    }

    /// Verifies a logout token with the keys in force at `now`.
    ///
    /// # Errors
    /// There are no keys that may be used; or, within, the first rule that the token breaks.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Result<Logout, TokenError>, IssuerOutage> {
        let known = self.keys.known(now)?;
        Ok(foreign_token::verify_logout(token, &known.keys, &self.policy, &self.rules, now))
    }

    /// Waits until the keys were fetched once more, no longer than a fetch may take. Keys that never change are as good now.
    ///
    /// # Errors
    /// They were not: it was tried in vain, or not long enough ago that it may be tried again.
    pub async fn look_for_keys(&self) -> Result<(), IssuerOutage> {
        match &self.keys {
            Keys::Static(_) => Ok(()),
            Keys::Fetched(jwks) => jwks.fetched_again().await.ok_or(IssuerOutage::Keys),
        }
    }

    /// Counts what became of a token.
    pub fn count(&self, end: LogoutEnd) {
        self.metrics.ended(end);
    }
}
