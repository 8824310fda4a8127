//! Recognises callers by tokens of other issuers.
//!
//! What was verified is remembered with the issuer and the edition of its keys, in a cache of its own: a token of one
//! issuer is never found in the name of another, nor after its key is gone.

use std::hash::RandomState;
use std::sync::Arc;

use jiff::Timestamp;
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use super::{AuthenticateError, Authenticator, TokenRef, TokenText};
use crate::identity::Caller;
use crate::identity::access_token::TokenError;
use crate::identity::foreign_token;
use crate::identity::machine_secret::MachineSecret;
use crate::identity::machine_secret::SecretKind;
use crate::identity::refresh_token::PresentedRefreshToken;
use crate::issuers::logout::LogoutReceiver;
use crate::issuers::{Issuer, IssuerOutage, Issuers};

/// Tokens remembered at a time; each costs about a kilobyte.
const CACHE_ENTRIES: usize = 50_000;

/// Reads tokens of other issuers.
pub(super) struct ForeignReader {
    issuers: Issuers,
    verified: Cache<TokenText, Verified, UnitWeighter, RandomState>,
}

/// What was proved about a token.
#[derive(Clone)]
struct Verified {
    caller: Arc<Caller>,
    /// Which issuer's it is: its place among them.
    issuer: usize,
    /// The edition of the issuer's keys under which it was.
    edition: u64,
}

/// What is known about a token without asking anybody.
pub(super) enum Reading<'a> {
    /// No other issuer's: it may be ours.
    NotForeign,
    /// A genuine token of an issuer.
    Caller(Arc<Caller>),
    /// This issuer must be asked.
    Ask(&'a Issuer),
}

impl Authenticator {
    /// What the issuer of an opaque token says about it; none if nobody is to be asked about it. Whether it was revoked here
    /// is not looked up.
    pub async fn ask_about(&self, token: &str) -> Option<Result<Arc<Caller>, AuthenticateError>> {
        let foreign = self.foreign.load_full();
        let Reading::Ask(issuer) = foreign.opaque(token) else { return None };
        Some(ask(issuer, token).await)
    }

    /// What takes the logout tokens of the issuer that the configuration calls so, if any are taken.
    #[must_use]
    pub fn logout_receiver(&self, name: &str) -> Option<Arc<LogoutReceiver>> {
        self.foreign.load().issuers().logout_receiver(name)
    }
}

impl ForeignReader {
    pub(super) fn new(issuers: Issuers) -> Self {
        let entries = u64::try_from(CACHE_ENTRIES).unwrap_or(u64::MAX);
        let verified = Cache::with(CACHE_ENTRIES, entries, UnitWeighter, RandomState::new(), DefaultLifecycle::default());
        Self { issuers, verified }
    }

    pub(super) fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    pub(super) fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    /// Whose token it is, verified if it is a JWT of an issuer whose keys are known.
    pub(super) fn read(&self, token: &str, now: Timestamp) -> Result<Reading<'_>, AuthenticateError> {
        if let Some(caller) = self.remembered(token, now)? {
            return Ok(Reading::Caller(caller));
        }
        let Some(issuer) = foreign_token::claimed_issuer(token) else { return Ok(self.opaque(token)) };
        match self.issuers.find(&issuer) {
            None => Ok(Reading::NotForeign),
            Some((_, issuer)) if !issuer.has_keys() => Ok(Reading::Ask(issuer)),
            Some((place, issuer)) => {
                let verified = issuer.verify(token, now).map_err(AuthenticateError::Issuer)?;
                let (caller, edition) = verified.map_err(AuthenticateError::Token)?;
                let caller = Arc::new(caller);
                let verified = Verified { caller: Arc::clone(&caller), issuer: place, edition };
                self.verified.insert(TokenText(token.as_bytes().into()), verified);
                Ok(Reading::Caller(caller))
            }
        }
    }

    fn remembered(&self, token: &str, now: Timestamp) -> Result<Option<Arc<Caller>>, AuthenticateError> {
        let Some(Verified { caller, issuer, edition }) = self.verified.get(&TokenRef(token.as_bytes())) else { return Ok(None) };
        let Some(issuer) = self.issuers.at(issuer) else { return Ok(None) };
        if issuer.edition(now).map_err(AuthenticateError::Issuer)? != edition {
            self.verified.remove(&TokenRef(token.as_bytes()));
            return Ok(None);
        }
        // As with tokens of our own: one of a clock that was ahead must not outlive its revocation.
        if issuer.policy().ahead(caller.token.issued_at, now) {
            return Err(AuthenticateError::Token(TokenError::NotYet));
        }
        if issuer.policy().expired(caller.token.expires_at, now) {
            return Err(AuthenticateError::Token(TokenError::Expired));
        }
        Ok(Some(caller))
    }

    /// Who is to be asked about what is no JWT. Never about what may be a secret of ours.
    fn opaque(&self, token: &str) -> Reading<'_> {
        let jwt = token.bytes().filter(|byte| *byte == b'.').count() == 2;
        let ours = PresentedRefreshToken::parse(token).is_ok() || token.starts_with(SecretKind::Client.mark());
        if jwt || ours || MachineSecret::is_api_key(token) {
            return Reading::NotForeign;
        }
        self.issuers.asked_about(token).map_or(Reading::NotForeign, Reading::Ask)
    }
}

/// What an issuer says about a token.
pub(super) async fn ask(issuer: &Issuer, token: &str) -> Result<Arc<Caller>, AuthenticateError> {
    let verdict: Result<_, IssuerOutage> = issuer.introspect(token).await;
    verdict.map_err(AuthenticateError::Issuer)?.map_err(AuthenticateError::Token)
}
