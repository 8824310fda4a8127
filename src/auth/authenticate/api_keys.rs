//! Recognises callers by their API keys.
//!
//! A key is not signed: what it stands for is in the database, and is believed for [`LIFE_MAX`] at most before it is
//! read again. That its revocation and its owner's disabling count at once nevertheless is the revoked set's work:
//!
//! * The key's id is the session of its caller, so revoking it is revoking that session.
//! * The caller counts as issued when it was read. Whatever ends the owner's tokens (disabling, the loss of a role,
//!   a new password, a logout everywhere) covers what was read before it; that is then no refusal, but the reason
//!   to read again, and the database has known since before the record was published. A role that is only added
//!   shows when the key is next read.
//!
//! Reading happens on the application's runtime: no thread that proxies waits for SQL, and a client that hangs up
//! leaves nothing half done.

use std::hash::RandomState;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::{AuthenticateError, CheckRevocation, Doubt, Recognised};
use crate::clock::Clock;
use crate::identity::machine_secret::{MachineSecret, SecretKind};
use crate::identity::one_time_token::TokenHash;
use crate::identity::session::SessionId;
use crate::identity::user::User;
use crate::identity::{Caller, Credential, Kept, Principal, TokenFacts};
use crate::revocation::verdict::Verdict;
use crate::store::{ApiKey, ApiKeys, RevokedBy, StoreError, Users};

/// How long what was read is believed. Records of the revoked set must live longer, so it is never longer than an
/// access token lives either.
const LIFE_MAX: Duration = Duration::from_secs(30);
/// Keys remembered at a time; each costs about a kilobyte.
const CACHE_ENTRIES: usize = 10_000;
/// Keys read at a time: whoever makes up well-formed keys must not take every connection of the pool.
const READS_MAX: usize = 4;
/// How often at most the use of a key is written down.
const TOUCH_EVERY: Duration = Duration::from_secs(60);

/// Why an API key is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiKeyRefusal {
    /// Mistyped, or nobody's.
    Unknown,
    /// It was good.
    Expired,
    /// It was revoked.
    Revoked,
    /// Its owner is disabled or gone.
    Owner,
}

/// What reading keys needs.
#[expect(missing_debug_implementations, reason = "ports have nothing to show")]
#[derive(Clone)]
pub struct ApiKeyParts {
    /// The keys.
    pub keys: Arc<dyn ApiKeys>,
    /// Their owners.
    pub users: Arc<dyn Users>,
    /// Where stores are read.
    pub runtime: Handle,
    /// Life of an access token.
    pub access_token: Duration,
}

/// Reads API keys and remembers them for a short while.
pub(super) struct ApiKeyReader {
    parts: ApiKeyParts,
    clock: Arc<dyn Clock>,
    issuer: Arc<str>,
    skew: Duration,
    life: Duration,
    known: Cache<TokenHash, Known, UnitWeighter, RandomState>,
    reads: Arc<Semaphore>,
}

/// A key as it was read.
#[derive(Clone)]
struct Known {
    caller: Arc<Caller>,
    expires_at: Option<Timestamp>,
    read_at: Instant,
}

impl ApiKeyReader {
    pub(super) fn new(parts: ApiKeyParts, clock: Arc<dyn Clock>, issuer: Arc<str>, skew: Duration) -> Self {
        let entries = u64::try_from(CACHE_ENTRIES).unwrap_or(u64::MAX);
        let known = Cache::with(CACHE_ENTRIES, entries, UnitWeighter, RandomState::new(), DefaultLifecycle::default());
        let (life, reads) = (LIFE_MAX.min(parts.access_token), Arc::new(Semaphore::new(READS_MAX)));
        Self { parts, clock, issuer, skew, life, known, reads }
    }

    /// The caller whom a key speaks for, unless it was revoked.
    pub(super) async fn authenticate(
        &self,
        token: &str,
        revocations: &dyn CheckRevocation,
        doubt: Doubt,
    ) -> Result<Recognised, AuthenticateError> {
        let secret = MachineSecret::parse(SecretKind::ApiKey, token).ok_or(AuthenticateError::ApiKey(ApiKeyRefusal::Unknown))?;
        let hash = secret.hash();
        let (known, fresh) = match self.remembered(&hash) {
            Some(known) => (known, false),
            None => (self.read(hash).await?, true),
        };
        let known = match revocations.check(&known.caller.token).await {
            Verdict::Live => known,
            // Read after this request began: whatever was acknowledged before it was in the database.
            Verdict::Revoked(RevokedBy::Principal) if fresh => known,
            Verdict::Revoked(RevokedBy::Principal) => self.read(hash).await?,
            Verdict::Revoked(by) => return Err(AuthenticateError::Revoked(by)),
            Verdict::Unknown(why) if doubt.passes(why) => {
                // The database knows of every key whether it was revoked.
                let known = if fresh { known } else { self.read(hash).await? };
                return Recognised::despite(why, doubt, self.in_time(known)?);
            }
            Verdict::Unknown(why) => return Err(AuthenticateError::Unknown(why)),
        };
        self.in_time(known).map(Recognised::for_certain)
    }

    fn remembered(&self, hash: &TokenHash) -> Option<Known> {
        let known = self.known.get(hash)?;
        (self.clock.monotonic().saturating_duration_since(known.read_at) < self.life).then_some(known)
    }

    fn in_time(&self, known: Known) -> Result<Arc<Caller>, AuthenticateError> {
        if known.expires_at.is_some_and(|end| self.clock.now() >= end) {
            return Err(AuthenticateError::ApiKey(ApiKeyRefusal::Expired));
        }
        Ok(known.caller)
    }

    /// Reads a key and its owner, and remembers both if they are good.
    async fn read(&self, hash: TokenHash) -> Result<Known, AuthenticateError> {
        // Before the store is asked: what it answers may be older than any later instant.
        let (now, read_at) = (self.clock.now(), self.clock.monotonic());
        let (parts, reads) = (self.parts.clone(), Arc::clone(&self.reads));
        let read = self.parts.runtime.spawn(async move {
            let _permit = reads.acquire().await.ok();
            find(&parts, &hash, now).await
        });
        let found = match read.await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "an api key could not be looked up");
                return Err(AuthenticateError::Unavailable);
            }
            Err(_) => return Err(AuthenticateError::Unavailable),
        };
        let (key, user) = found.map_err(AuthenticateError::ApiKey)?;
        let known = Known { expires_at: key.expires_at, caller: Arc::new(self.caller(key, &user, now)), read_at };
        self.known.insert(hash, known.clone());
        Ok(known)
    }

    fn caller(&self, key: ApiKey, user: &User, now: Timestamp) -> Caller {
        // Records of a principal are cut to the second and written by clocks that may be behind this one: what was
        // read in the same second, or within the skew, must count as read before.
        let issued_at =
            Timestamp::from_second((now - self.skew).as_second()).expect("an instant cut to the second stays in range");
        let issued_at = issued_at - Duration::from_millis(1);
        let subject: Box<str> = key.user.to_string().into();
        let session = SessionId(key.id);
        let mut scopes: Vec<Box<str>> = key.scopes.into_iter().map(Into::into).collect();
        scopes.sort_unstable();
        let token = TokenFacts {
            issuer: Arc::clone(&self.issuer),
            jti: session.to_string().into(),
            session,
            subject: subject.clone(),
            issued_at,
            expires_at: key.expires_at.unwrap_or(Timestamp::MAX),
        };
        let principal = Principal {
            issuer: Arc::clone(&self.issuer),
            subject,
            username: user.username.as_ref().map(|name| name.as_typed().into()),
            email: user.email.as_ref().map(|email| email.as_typed().into()),
            roles: user.roles.iter().map(|role| role.as_str().into()).collect(),
            scopes: scopes.into(),
            session,
            // The owner proved who they are when they made it.
            auth_time: key.created_at,
            credential: Credential::ApiKey,
        };
        Caller { principal, token, kept: Kept::default() }
    }
}

/// The key and its owner, if both are good at `now`; notes the use.
async fn find(
    parts: &ApiKeyParts,
    hash: &TokenHash,
    now: Timestamp,
) -> Result<Result<(ApiKey, User), ApiKeyRefusal>, StoreError> {
    let Some(key) = parts.keys.find(hash).await? else { return Ok(Err(ApiKeyRefusal::Unknown)) };
    if key.revoked_at.is_some() {
        return Ok(Err(ApiKeyRefusal::Revoked));
    }
    if key.expires_at.is_some_and(|end| now >= end) {
        return Ok(Err(ApiKeyRefusal::Expired));
    }
    let owner = parts.users.find(key.user).await?;
    let Some(owner) = owner.filter(|owner| owner.disabled_at.is_none()) else { return Ok(Err(ApiKeyRefusal::Owner)) };
    if key.last_used_at.is_none_or(|last| now.duration_since(last) >= TOUCH_EVERY.try_into().unwrap_or_default()) {
        let (keys, id) = (Arc::clone(&parts.keys), key.id);
        // Nobody waits for it, and nothing depends on it.
        parts.runtime.spawn(async move { drop(keys.touch(id, now).await) });
    }
    Ok(Ok((key, owner)))
}
