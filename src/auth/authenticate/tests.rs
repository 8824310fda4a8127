//! What is remembered of a token, and what never is.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use super::*;
use crate::clock::ManualClock;
use crate::identity::access_token::Claims;
use crate::identity::session::SessionId;
use crate::identity::signing_keys::{Algorithm, SigningKey};
use crate::identity::{Credential, Principal, TokenFacts};

const LIFE: Duration = Duration::from_secs(900);
const SKEW: Duration = Duration::from_secs(5);

/// Answers what it was told to, and remembers what it was asked.
struct Scripted(Mutex<(Verdict, Vec<TokenFacts>)>);

#[async_trait]
impl CheckRevocation for Scripted {
    async fn check(&self, token: &TokenFacts) -> Verdict {
        let mut script = self.0.lock().expect("no panic while held");
        script.1.push(token.clone());
        script.0
    }
}

impl Scripted {
    fn answers(&self, verdict: Verdict) {
        self.0.lock().expect("no panic while held").0 = verdict;
    }

    fn asked(&self) -> usize {
        self.0.lock().expect("no panic while held").1.len()
    }
}

struct World {
    authenticator: Authenticator,
    ring: Arc<ArcSwap<KeyRing>>,
    clock: Arc<ManualClock>,
    revocations: Arc<Scripted>,
    token: String,
}

fn ring() -> KeyRing {
    let instant = Timestamp::UNIX_EPOCH;
    KeyRing::new(vec![SigningKey::generate(Algorithm::EdDsa, instant, instant).expect("generated")]).expect("one key")
}

fn world(cache_entries: usize) -> World {
    let now = Timestamp::from_second(1_800_000_000).expect("a year of this century");
    let keys = ring();
    let issuer: Arc<str> = "https://gate.example".into();
    let principal = Principal {
        issuer: issuer.clone(),
        subject: "ada".into(),
        username: None,
        email: None,
        roles: Box::default(),
        session: SessionId(Uuid::from_u128(1)),
        scopes: Box::default(),
        auth_time: now,
        credential: Credential::Session,
    };
    let claims = Claims {
        principal,
        audience: "api".into(),
        jti: Uuid::from_u128(2),
        issued_at: now,
        expires_at: now + LIFE,
        further: serde_json::Map::new(),
    };
    let token = access_token::sign(&claims, keys.signer(now).expect("a key")).expect("signed");
    let policy = TokenPolicy { issuer, audience: "api".into(), skew: SKEW, life_max: LIFE };
    let (ring, clock) = (Arc::new(ArcSwap::from_pointee(keys)), Arc::new(ManualClock::at(now)));
    let revocations = Arc::new(Scripted(Mutex::new((Verdict::Live, Vec::new()))));
    let authenticator = Authenticator::new(ring.clone(), policy, revocations.clone(), clock.clone(), cache_entries);
    World { authenticator, ring, clock, revocations, token: token.expose_secret().to_owned() }
}

#[tokio::test]
async fn a_genuine_token_names_its_caller_every_time_and_is_verified_once() {
    let world = world(100);
    let first = world.authenticator.authenticate(&world.token).await.expect("live");
    let second = world.authenticator.authenticate(&world.token).await.expect("live");
    assert_eq!(&*first.principal.subject, "ada");
    assert!(Arc::ptr_eq(&first, &second), "the second time from memory");
    assert_eq!(world.revocations.asked(), 2, "revocation is never from memory");
}

#[tokio::test]
async fn without_a_cache_every_request_is_verified() {
    let world = world(0);
    let first = world.authenticator.authenticate(&world.token).await.expect("live");
    let second = world.authenticator.authenticate(&world.token).await.expect("live");
    assert!(!Arc::ptr_eq(&first, &second));
}

#[tokio::test]
async fn only_a_verified_token_is_recalled_and_only_under_the_same_keys() {
    let world = world(100);
    let recall = |token: &str| world.authenticator.recall(token.as_bytes());
    assert_eq!(recall(&world.token), Ok(None), "nobody has verified it");
    let caller = world.authenticator.authenticate(&world.token).await.expect("live");
    assert_eq!(recall(&world.token), Ok(Some(Arc::clone(&caller))));
    assert_eq!(recall(&world.token[1..]), Ok(None), "with the same end");
    assert_eq!(world.revocations.asked(), 1, "whether it was revoked is another question");
    world.ring.store(Arc::new(ring()));
    assert_eq!(recall(&world.token), Ok(None), "the key is gone");
}

#[tokio::test]
async fn a_recalled_token_expires_like_any_other() {
    let world = world(100);
    assert!(world.authenticator.authenticate(&world.token).await.is_ok());
    world.clock.advance(LIFE + SKEW - Duration::from_secs(1));
    assert!(world.authenticator.recall(world.token.as_bytes()).is_ok_and(|caller| caller.is_some()));
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.authenticator.recall(world.token.as_bytes()), Err(AuthenticateError::Token(TokenError::Expired)));
}

#[tokio::test]
async fn a_remembered_token_is_refused_from_its_revocation_on() {
    let world = world(100);
    assert!(world.authenticator.authenticate(&world.token).await.is_ok());
    for (verdict, refusal) in [
        (Verdict::Revoked(RevokedBy::Session), AuthenticateError::Revoked(RevokedBy::Session)),
        (Verdict::Unknown(UnknownWhy::Deadline), AuthenticateError::Unknown(UnknownWhy::Deadline)),
    ] {
        world.revocations.answers(verdict);
        assert_eq!(world.authenticator.authenticate(&world.token).await, Err(refusal));
    }
    world.revocations.answers(Verdict::Live);
    assert!(world.authenticator.authenticate(&world.token).await.is_ok(), "a refusal is not remembered either");
}

// Case 150.
#[tokio::test]
async fn a_forged_token_asks_no_store() {
    let world = world(100);
    let cut = world.token.rfind('.').expect("three parts") + 1;
    let other = if world.token[cut..].starts_with('A') { "B" } else { "A" };
    let forged = format!("{}{other}{}", &world.token[..cut], &world.token[cut + 1..]);
    for token in [forged.as_str(), "", "a.b.c", &world.token[1..]] {
        assert!(matches!(world.authenticator.authenticate(token).await, Err(AuthenticateError::Token(_))), "{token}");
    }
    assert_eq!(world.revocations.asked(), 0);
}

#[tokio::test]
async fn a_text_that_ends_like_a_remembered_token_is_another_token() {
    let world = world(100);
    assert!(world.authenticator.authenticate(&world.token).await.is_ok());
    let alike = format!("x{}", world.token);
    assert!(world.authenticator.authenticate(&alike).await.is_err());
}

#[tokio::test]
async fn a_remembered_token_expires_like_any_other() {
    for cache_entries in [0, 100] {
        let world = world(cache_entries);
        assert!(world.authenticator.authenticate(&world.token).await.is_ok());
        world.clock.advance(LIFE + SKEW - Duration::from_nanos(1));
        assert!(world.authenticator.authenticate(&world.token).await.is_ok(), "the last instant");
        world.clock.advance(Duration::from_nanos(1));
        let expired = world.authenticator.authenticate(&world.token).await;
        assert_eq!(expired, Err(AuthenticateError::Token(TokenError::Expired)));
    }
}

/// A token of a clock that was ahead was remembered while it was, and lived an hour longer than the record of its
/// revocation.
#[tokio::test]
async fn a_remembered_token_is_not_valid_yet_once_the_clock_is_set_back_behind_its_beginning() {
    let world = world(100);
    assert!(world.authenticator.authenticate(&world.token).await.is_ok());
    world.clock.set_back(SKEW);
    assert!(world.authenticator.authenticate(&world.token).await.is_ok());
    world.clock.set_back(Duration::from_secs(1));
    let refused = world.authenticator.authenticate(&world.token).await.expect_err("it begins later");
    assert_eq!(refused, AuthenticateError::Token(TokenError::NotYet));
}

#[tokio::test]
async fn a_remembered_token_dies_with_its_key() {
    let world = world(100);
    assert!(world.authenticator.authenticate(&world.token).await.is_ok());
    let old = world.ring.swap(Arc::new(ring()));
    let refused = world.authenticator.authenticate(&world.token).await;
    assert_eq!(refused, Err(AuthenticateError::Token(TokenError::UnknownKey)));
    world.ring.store(old);
    assert!(world.authenticator.authenticate(&world.token).await.is_ok());
}

#[test]
fn a_client_learns_no_more_than_it_needs() {
    for (error, reason) in [
        (AuthenticateError::Token(TokenError::Expired), Reason::ExpiredToken),
        (AuthenticateError::Token(TokenError::Signature), Reason::BadToken),
        (AuthenticateError::Token(TokenError::UnknownKey), Reason::BadToken),
        (AuthenticateError::Revoked(RevokedBy::Token), Reason::RevokedToken),
        (AuthenticateError::Unknown(UnknownWhy::Rebuilding), Reason::RevocationUnknown),
    ] {
        assert_eq!(error.reason(), reason);
    }
}
