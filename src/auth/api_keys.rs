//! API keys: what users make for programs of theirs, see in a list, and revoke.
//!
//! A key has its owner's roles at the time of use and its own scopes. It outlives a password change and a logout
//! everywhere, which are about sessions; it works no more once it is revoked or expired, or its owner is disabled or
//! deleted, or turns out to be another one than whoever made it (see `password_reset`).

use std::collections::BTreeSet;
use std::time::Duration;

use uuid::Uuid;

use crate::identity::Caller;
use crate::identity::machine_secret::{MachineSecret, SecretKind};
use crate::identity::scope::Scope;
use crate::identity::user::UserId;
pub use crate::store::ApiKey;

use super::audit::{Actor, Event, Kind, Outcome};
use super::outage::Outage;
use super::{Auth, FieldError, Origin};

/// Rules for API keys.
#[derive(Debug, Clone)]
pub struct ApiKeySettings {
    /// Scopes that users may give their keys.
    pub scopes: BTreeSet<Scope>,
    /// The longest life of a key, and its life unless a shorter one is asked for.
    pub life_max: Duration,
}

/// An API key to be made.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// What its owner calls it.
    pub name: String,
    /// What it may be used for, beside what needs no scope.
    pub scopes: Vec<String>,
    /// Its life.
    pub life: Option<Duration>,
}

/// Why an API key was not made or not revoked.
#[derive(Debug, thiserror::Error)]
pub enum ApiKeyError {
    /// The configuration has them off.
    #[error("api keys are switched off")]
    Disabled,
    /// The caller has no account here.
    #[error("there is no such user")]
    NoSuchUser,
    /// Fields break rules.
    #[error("a field is invalid")]
    Invalid(Vec<FieldError>),
    /// The caller has [`KEYS_MAX`] live ones.
    #[error("there are too many api keys")]
    TooMany,
    /// The caller has no such key; whether anybody has is not said.
    #[error("there is no such api key")]
    NoSuchKey,
    /// Not the caller's fault.
    #[error(transparent)]
    Outage(#[from] Outage),
}

/// Live keys of one user.
pub const KEYS_MAX: usize = 100;
const NAME_BYTES_MAX: usize = 128;
const SECOND: Duration = Duration::from_secs(1);

impl Auth {
    /// Makes a key for the caller. Its text is returned here and never again.
    ///
    /// # Errors
    /// See [`ApiKeyError`].
    pub async fn create_api_key(
        &self,
        caller: &Caller,
        new: NewApiKey,
        from: &Origin,
    ) -> Result<(ApiKey, MachineSecret), ApiKeyError> {
        let rules = self.settings.api_keys.as_ref().ok_or(ApiKeyError::Disabled)?;
        let user = self.owner(caller).ok_or(ApiKeyError::NoSuchUser)?;
        let life = new.life.unwrap_or(rules.life_max);
        let scopes = check(&new, life, rules).map_err(ApiKeyError::Invalid)?;
        let now = self.now();
        let keys = self.api_keys.list(user).await.map_err(Outage::from)?;
        let live = |key: &&ApiKey| key.revoked_at.is_none() && key.expires_at.is_none_or(|end| now < end);
        if keys.iter().filter(live).count() >= KEYS_MAX {
            return Err(ApiKeyError::TooMany);
        }
        let secret = MachineSecret::new(SecretKind::ApiKey, self.random(), self.random());
        let key = ApiKey {
            id: self.ordered_id(now),
            user,
            name: new.name,
            prefix: secret.prefix().to_owned(),
            hash: secret.hash(),
            scopes: scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
            created_at: now,
            expires_at: Some(now + life),
            last_used_at: None,
            revoked_at: None,
        };
        if !self.api_keys.add(&key).await.map_err(Outage::from)? {
            return Err(ApiKeyError::NoSuchUser);
        }
        let event = Event::by_caller(Kind::ApiKeyCreated, Outcome::Success, caller, from);
        self.audit(event.with("key", key.id.to_string()).with("scopes", key.scopes.clone())).await;
        Ok((key, secret))
    }

    /// The caller's keys, newest first.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn own_api_keys(&self, caller: &Caller) -> Result<Vec<ApiKey>, Outage> {
        match self.owner(caller) {
            Some(user) => self.user_api_keys(user).await,
            None => Ok(Vec::new()),
        }
    }

    /// Revokes one of the caller's keys. One that is revoked already counts, so that a retry publishes what the first
    /// try could only record.
    ///
    /// # Errors
    /// See [`ApiKeyError`].
    pub async fn revoke_own_api_key(&self, caller: &Caller, id: Uuid, from: &Origin) -> Result<(), ApiKeyError> {
        let user = self.owner(caller).ok_or(ApiKeyError::NoSuchKey)?;
        self.end_api_key(user, id, &Actor::caller(caller, from)).await
    }

    /// A user's keys, newest first.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn user_api_keys(&self, user: UserId) -> Result<Vec<ApiKey>, Outage> {
        Ok(self.api_keys.list(user).await?)
    }

    /// Revokes a key, whoever's it is.
    ///
    /// # Errors
    /// See [`ApiKeyError`].
    pub async fn revoke_api_key(&self, id: Uuid, by: &Actor) -> Result<(), ApiKeyError> {
        let key = self.api_keys.find_by_id(id).await.map_err(Outage::from)?.ok_or(ApiKeyError::NoSuchKey)?;
        self.end_api_key(key.user, id, by).await
    }

    pub(super) async fn end_api_key(&self, user: UserId, id: Uuid, by: &Actor) -> Result<(), ApiKeyError> {
        let ended = self.api_keys.revoke(user, id, &self.ending(self.now(), Vec::new())).await.map_err(Outage::from)?;
        self.publish(&ended.ok_or(ApiKeyError::NoSuchKey)?).await?;
        self.audit(Event::by(Kind::ApiKeyRevoked, by).about(user).with("key", id.to_string())).await;
        Ok(())
    }

    /// Revokes every key of a user. Those that are revoked count, too: a retry publishes what the first try could only
    /// record.
    pub(super) async fn end_api_keys(&self, user: UserId, by: &Actor) -> Result<(), Outage> {
        for key in self.api_keys.list(user).await? {
            let ended = self.api_keys.revoke(user, key.id, &self.ending(self.now(), Vec::new())).await?;
            self.publish(&ended.unwrap_or_default()).await?;
            if key.revoked_at.is_none() {
                self.audit(Event::by(Kind::ApiKeyRevoked, by).about(user).with("key", key.id.to_string())).await;
            }
        }
        Ok(())
    }
}

/// The scopes, if every field keeps the rules.
fn check(new: &NewApiKey, life: Duration, rules: &ApiKeySettings) -> Result<BTreeSet<Scope>, Vec<FieldError>> {
    let mut errors = Vec::new();
    if new.name.trim().is_empty() || new.name.len() > NAME_BYTES_MAX || new.name.chars().any(char::is_control) {
        errors.push(FieldError::new("name", "must be 1 to 128 bytes without control characters"));
    }
    let scopes: BTreeSet<Scope> = new.scopes.iter().filter_map(|scope| Scope::parse(scope).ok()).collect();
    if scopes.len() != new.scopes.len() || !scopes.is_subset(&rules.scopes) {
        errors.push(FieldError::new("scopes", "must be different ones of those that the gateway allows for api keys"));
    }
    if !(SECOND..=rules.life_max).contains(&life) {
        let most = rules.life_max.as_secs();
        errors.push(FieldError::new("expires_in", format_args!("must be 1 to {most} seconds")));
    }
    if errors.is_empty() { Ok(scopes) } else { Err(errors) }
}
