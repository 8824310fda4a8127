//! Who is calling: verifies an access token or reads an API key, and asks whether it was revoked.
//!
//! Verification is remembered, revocation is not: a signature costs tens of microseconds and stays true, while
//! "not revoked" is true only for the request that asked. A remembered token is believed until it expires and
//! for as long as the same keys are in force.

mod api_keys;
mod foreign;

use std::hash::{Hash, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{Equivalent, UnitWeighter};

use crate::clock::Clock;
use crate::identity::Caller;
use crate::identity::access_token::{self, TokenError, TokenPolicy};
use crate::identity::foreign_token::ForeignPolicy;
use crate::identity::machine_secret::MachineSecret;
use crate::identity::signing_keys::KeyRing;
use crate::issuers::{IssuerOutage, Issuers};
use crate::reason::Reason;
use crate::revocation::verdict::{CheckRevocation, UnknownWhy, Verdict};
use crate::store::RevokedBy;

pub use api_keys::{ApiKeyParts, ApiKeyRefusal};

use api_keys::ApiKeyReader;
use foreign::{ForeignReader, Reading};

/// Recognises callers by their access tokens and API keys.
pub struct Authenticator {
    ring: Arc<ArcSwap<KeyRing>>,
    policy: TokenPolicy,
    revocations: Arc<dyn CheckRevocation>,
    clock: Arc<dyn Clock>,
    verified: Cache<TokenText, Verified, UnitWeighter, RandomState>,
    /// None where API keys are switched off.
    api_keys: Option<ApiKeyReader>,
    /// Whether there is any foreign issuer: all that a request pays where there is none.
    any_foreign: AtomicBool,
    foreign: ArcSwap<ForeignReader>,
}

/// Why a caller is not recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticateError {
    /// The token itself is not acceptable.
    #[error(transparent)]
    Token(TokenError),
    /// It was, and has been revoked.
    #[error("the token has been revoked")]
    Revoked(RevokedBy),
    /// Whether it was revoked cannot be known: refused.
    #[error("whether the token has been revoked is not known")]
    Unknown(UnknownWhy),
    /// The API key is not acceptable.
    #[error("the api key is not accepted")]
    ApiKey(ApiKeyRefusal),
    /// A foreign issuer's keys are not known, or it does not answer: refused.
    #[error(transparent)]
    Issuer(IssuerOutage),
    /// The store of API keys cannot be asked: refused.
    #[error("the api key cannot be looked up")]
    Unavailable,
}

/// What to do with a genuine token of which nobody can say whether it was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// It is refused.
    Refused,
    /// It passes, unless what this process remembers speaks against it.
    Admitted,
}

/// Who a credential speaks for.
#[derive(Debug, Clone)]
pub struct Recognised {
    /// The caller.
    pub caller: Arc<Caller>,
    /// Nobody could say whether it was revoked, and that was to be no hindrance.
    pub doubtful: bool,
}

impl Recognised {
    fn for_certain(caller: Arc<Caller>) -> Self {
        Self { caller, doubtful: false }
    }

    /// What becomes of a caller whom nobody can vouch for.
    fn despite(why: UnknownWhy, doubt: Doubt, caller: Arc<Caller>) -> Result<Self, AuthenticateError> {
        if doubt.passes(why) { Ok(Self { caller, doubtful: true }) } else { Err(AuthenticateError::Unknown(why)) }
    }
}

impl Doubt {
    fn passes(self, why: UnknownWhy) -> bool {
        self == Self::Admitted && why != UnknownWhy::Suspected
    }
}

/// A token's text as a cache key: compared in full, hashed by its end.
///
/// The end is signature, so that among verified tokens it is as good as random, and hashing 43 bytes costs a
/// tenth of hashing them all. The hash is keyed (SipHash), and only verified tokens are stored, so that nobody
/// can fill a bucket by choosing texts.
#[derive(Clone, PartialEq, Eq)]
struct TokenText(Box<[u8]>);

/// The same, borrowed, for look-ups.
struct TokenRef<'a>(&'a [u8]);

/// 43 characters of base64url are 256 bits: an HS256 signature, or the end of a longer one.
const HASHED_BYTES: usize = 43;

/// What was proved about a token.
#[derive(Clone)]
struct Verified {
    caller: Arc<Caller>,
    /// The [`KeyRing::fingerprint`] under which it was.
    ring: u64,
}

impl AuthenticateError {
    /// What the client is told.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Token(TokenError::Expired) => Reason::ExpiredToken,
            Self::Token(_) => Reason::BadToken,
            Self::Revoked(_) => Reason::RevokedToken,
            Self::Unknown(_) => Reason::RevocationUnknown,
            Self::ApiKey(ApiKeyRefusal::Unknown) => Reason::BadToken,
            Self::ApiKey(ApiKeyRefusal::Expired) => Reason::ExpiredToken,
            Self::ApiKey(ApiKeyRefusal::Revoked | ApiKeyRefusal::Owner) => Reason::RevokedToken,
            Self::Unavailable | Self::Issuer(_) => Reason::Unavailable,
        }
    }

    /// What the log is told beside the reason.
    #[must_use]
    pub const fn reason_detail(self) -> &'static str {
        match self {
            Self::Token(error) => error.reason_detail(),
            Self::Revoked(RevokedBy::Token) => "token",
            Self::Revoked(RevokedBy::Session) => "session",
            Self::Revoked(RevokedBy::Principal) => "principal",
            Self::Unknown(why) => why.word(),
            Self::ApiKey(ApiKeyRefusal::Unknown) => "unknown_api_key",
            Self::ApiKey(ApiKeyRefusal::Expired) => "expired_api_key",
            Self::ApiKey(ApiKeyRefusal::Revoked) => "revoked_api_key",
            Self::ApiKey(ApiKeyRefusal::Owner) => "owner_of_api_key",
            Self::Unavailable => "api_keys_unavailable",
            Self::Issuer(IssuerOutage::Keys) => "issuer_keys_missing",
            Self::Issuer(IssuerOutage::Introspection) => "introspection_unavailable",
        }
    }
}

impl Authenticator {
    /// An authenticator that remembers about `cache_entries` verified tokens; 0 remembers none.
    #[must_use]
    pub fn new(
        ring: Arc<ArcSwap<KeyRing>>,
        policy: TokenPolicy,
        revocations: Arc<dyn CheckRevocation>,
        clock: Arc<dyn Clock>,
        cache_entries: usize,
    ) -> Self {
        let entries = u64::try_from(cache_entries).unwrap_or(u64::MAX);
        let verified = Cache::with(cache_entries, entries, UnitWeighter, RandomState::new(), DefaultLifecycle::default());
        let foreign = ArcSwap::from_pointee(ForeignReader::new(Issuers::default()));
        let any_foreign = AtomicBool::new(false);
        Self { ring, policy, revocations, clock, verified, api_keys: None, any_foreign, foreign }
    }

    /// The same, accepting API keys.
    #[must_use]
    pub fn with_api_keys(self, parts: ApiKeyParts) -> Self {
        let (clock, issuer) = (Arc::clone(&self.clock), Arc::clone(&self.policy.issuer));
        Self { api_keys: Some(ApiKeyReader::new(parts, clock, issuer, self.policy.skew)), ..self }
    }

    /// Accepts tokens of the issuers that `replace` makes from now on, and of no others; it is shown those before them.
    pub fn use_issuers(&self, replace: impl FnOnce(&Issuers) -> Issuers) {
        let reader = ForeignReader::new(replace(self.foreign.load().issuers()));
        let any = !reader.is_empty();
        self.foreign.store(Arc::new(reader));
        self.any_foreign.store(any, Ordering::Release);
    }

    /// What the tokens of each other issuer must say to be accepted.
    #[must_use]
    pub fn foreign_policies(&self) -> Vec<Arc<ForeignPolicy>> {
        self.foreign.load().issuers().policies().cloned().collect()
    }

    /// The caller whom `token` speaks for.
    ///
    /// The revoked set is asked about genuine tokens only (RFC 8725 §3.1), and about those every time.
    ///
    /// # Errors
    /// The token is not acceptable, was revoked, or may have been.
    pub async fn authenticate(&self, token: &str) -> Result<Arc<Caller>, AuthenticateError> {
        self.recognise(token, Doubt::Refused).await.map(|recognised| recognised.caller)
    }

    /// The same, where the revoked set may be without an answer.
    ///
    /// # Errors
    /// The token is not acceptable, was revoked, or may have been and that is not to pass.
    pub async fn recognise(&self, token: &str, doubt: Doubt) -> Result<Recognised, AuthenticateError> {
        if MachineSecret::is_api_key(token) {
            let unknown = AuthenticateError::ApiKey(ApiKeyRefusal::Unknown);
            let keys = self.api_keys.as_ref().ok_or(unknown)?;
            // In a box of its own, so that the future of every other request stays small.
            return Box::pin(keys.authenticate(token, &*self.revocations, doubt)).await;
        }
        if self.any_foreign.load(Ordering::Acquire) && !self.remembers(token) {
            let foreign = self.foreign.load_full();
            match foreign.read(token, self.clock.now())? {
                Reading::NotForeign => {}
                Reading::Caller(caller) => return self.vouch_for(caller, doubt).await,
                // In a box of its own, like an API key's.
                Reading::Ask(issuer) => return self.vouch_for(Box::pin(foreign::ask(issuer, token)).await?, doubt).await,
            }
        }
        self.vouch_for(self.verify(token).map_err(AuthenticateError::Token)?, doubt).await
    }

    /// The caller of a token that was verified before; none if it was not, or under other keys. Its bytes were found to be a
    /// token's then. Whether it was revoked since is for [`Self::vouch_for`] to say.
    ///
    /// # Errors
    /// It has expired since.
    pub fn recall(&self, token: &[u8]) -> Result<Option<Arc<Caller>>, AuthenticateError> {
        let Some(verified) = self.verified.get(&TokenRef(token)) else { return Ok(None) };
        if verified.ring != self.ring.load().fingerprint() {
            return Ok(None);
        }
        self.in_time(verified.caller, self.clock.now()).map(Some).map_err(AuthenticateError::Token)
    }

    /// Asks whether a caller's token was revoked.
    ///
    /// # Errors
    /// It was, or may have been and that is not to pass.
    pub async fn vouch_for(&self, caller: Arc<Caller>, doubt: Doubt) -> Result<Recognised, AuthenticateError> {
        let verdict = match self.revocations.at_hand(&caller.token) {
            Some(verdict) => verdict,
            None => self.revocations.check(&caller.token).await,
        };
        match verdict {
            Verdict::Live => Ok(Recognised::for_certain(caller)),
            Verdict::Revoked(by) => Err(AuthenticateError::Revoked(by)),
            Verdict::Unknown(why) => Recognised::despite(why, doubt, caller),
        }
    }

    /// Whether it is a token of ours that was verified before.
    fn remembers(&self, token: &str) -> bool {
        self.verified.get(&TokenRef(token.as_bytes())).is_some()
    }

    fn verify(&self, token: &str) -> Result<Arc<Caller>, TokenError> {
        let ring = self.ring.load();
        let now = self.clock.now();
        if let Some(verified) = self.verified.get(&TokenRef(token.as_bytes()))
            && verified.ring == ring.fingerprint()
        {
            return self.in_time(verified.caller, now);
        }
        let caller = Arc::new(access_token::verify(token, &ring, &self.policy, now)?);
        let verified = Verified { caller: Arc::clone(&caller), ring: ring.fingerprint() };
        self.verified.insert(TokenText(token.as_bytes().into()), verified);
        Ok(caller)
    }

    /// A remembered caller whose token has not expired since, and whose beginning is not in the future again: a clock
    /// that was ahead and was set right must not leave tokens behind that outlive their revocation.
    fn in_time(&self, caller: Arc<Caller>, now: Timestamp) -> Result<Arc<Caller>, TokenError> {
        if self.policy.ahead(caller.token.issued_at, now) {
            return Err(TokenError::NotYet);
        }
        if self.policy.expired(caller.token.expires_at, now) {
            return Err(TokenError::Expired);
        }
        Ok(caller)
    }
}

impl Hash for TokenRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0[self.0.len().saturating_sub(HASHED_BYTES)..]);
    }
}

impl Hash for TokenText {
    fn hash<H: Hasher>(&self, state: &mut H) {
        TokenRef(&self.0).hash(state);
    }
}

impl Equivalent<TokenText> for TokenRef<'_> {
    fn equivalent(&self, key: &TokenText) -> bool {
        *self.0 == *key.0
    }
}

#[cfg(test)]
mod tests;
