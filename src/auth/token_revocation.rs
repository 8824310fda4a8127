//! Revocation by whoever holds a token (RFC 7009): it could use it, so it may end it.

use std::time::Duration;

use jiff::Timestamp;

use crate::identity::access_token;
use crate::identity::machine_secret::{MachineSecret, SecretKind};
use crate::store::{Covers, Revocation};

use super::audit::{Event, Kind, Outcome};
use super::outage::Outage;
use super::{Auth, Origin};

/// By how much a clock may be behind this one: a token that expired longer ago is over by all of them, and whoever has many of
/// those must not fill the store.
const CLOCKS_DIFFER: Duration = Duration::from_hours(1);

impl Auth {
    /// Ends what a token stands for: an access token alone, a refresh token with its session, an API key. Nothing is
    /// to be ended of a token that is not ours, and that is success (RFC 7009 §2.2).
    ///
    /// # Errors
    /// The ending could not be made true everywhere. Trying again is safe.
    pub async fn revoke_token(&self, token: &str, from: &Origin) -> Result<(), Outage> {
        if let Some(key) = MachineSecret::parse(SecretKind::ApiKey, token) {
            return self.revoke_presented_key(&key, from).await;
        }
        if self.session_of_refresh_token(token).await?.is_some() {
            return self.logout(None, Some(token), from).await;
        }
        // Revoked ones count: the retry of a revocation that was recorded but not published must publish it.
        let Ok(caller) = access_token::verify_at_any_time(token, &self.ring.load(), &self.settings.tokens) else {
            return Ok(());
        };
        let (now, expires_at) = (self.now(), forgotten_at(caller.token.expires_at, self.settings.tokens.skew));
        if expires_at + CLOCKS_DIFFER <= now {
            return Ok(());
        }
        // One that is over by this clock may have been issued, and be accepted still, by one that is behind.
        let expires_at = expires_at.max(self.access_until(now));
        let record = [Revocation { covers: Covers::Token(caller.token.jti.clone()), expires_at }];
        self.revocations.record(&record).await?;
        self.publish(&record).await?;
        // A revoked token stays genuine until it expires: what it can have written is bounded.
        if self.throttle.is_news("token_revoked", &caller.token.jti) {
            self.audit(Event::by_caller(Kind::TokenRevoked, Outcome::Success, &caller, from)).await;
        }
        Ok(())
    }

    async fn revoke_presented_key(&self, key: &MachineSecret, from: &Origin) -> Result<(), Outage> {
        let Some(key) = self.api_keys.find(&key.hash()).await? else { return Ok(()) };
        let revoked = self.api_keys.revoke(key.user, key.id, &self.ending(self.now(), Vec::new())).await?;
        // None: deleted in this moment, by somebody who published its revocation.
        self.publish(&revoked.unwrap_or_default()).await?;
        let id = key.id.to_string();
        if self.throttle.is_news("api_key_revoked", &id) {
            let event = Event::new(Kind::ApiKeyRevoked, Outcome::Success, from);
            self.audit(event.about(key.user).with("key", id)).await;
        }
        Ok(())
    }
}

/// When the record of a token may be forgotten: no clock accepts it any more. The skew counts once for a verifier's leeway,
/// and once for the clock behind it.
pub(super) fn forgotten_at(expires_at: Timestamp, skew: Duration) -> Timestamp {
    expires_at + 2 * skew + Duration::from_secs(1)
}
