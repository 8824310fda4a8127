//! Endings: logout in all its forms, password change, disabling. What returned is true.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use portcullis::auth::Origin;
use portcullis::auth::audit::Actor;
use portcullis::auth::login::LoginError;
use portcullis::auth::outage::Outage;
use portcullis::auth::password_change::PasswordChangeError;
use portcullis::auth::refresh::RefreshError;
use portcullis::auth::sessions::RevokeSessionError;
use portcullis::auth::users::AdminError;
use portcullis::identity::TokenFacts;
use portcullis::identity::session::SessionId;
use portcullis::store::memory::MemorySet;
use portcullis::store::{RebuildTicket, Revocation, RevokedBy, RevokedSet, StoreError};
use uuid::Uuid;

use crate::support::{ACCESS_TOKEN, PASSWORD, access, gate, gate_with, refresh, role, settings};

const NEW_PASSWORD: &str = "another horse, another staple";

#[tokio::test]
async fn a_logout_by_access_token_ends_the_session() {
    let gate = gate().await;
    let tokens = gate.signed_in("ada").await;
    let elsewhere = gate.login("ada").await;
    assert!(gate.accepts(&tokens).await);

    gate.auth.logout(Some(access(&tokens)), None, &Origin::default()).await.unwrap();

    assert!(!gate.accepts(&tokens).await);
    assert!(matches!(gate.auth.refresh(refresh(&tokens), &Origin::default()).await, Err(RefreshError::Ended)));
    assert!(gate.accepts(&elsewhere).await && gate.refreshes(&elsewhere).await);
}

#[tokio::test]
async fn a_logout_by_any_refresh_token_of_the_session_ends_it() {
    let gate = gate().await;
    let first = gate.signed_in("ada").await;
    let second = gate.auth.refresh(refresh(&first), &Origin::default()).await.unwrap();

    gate.auth.logout(None, Some(refresh(&first)), &Origin::default()).await.unwrap();

    assert!(!gate.accepts(&first).await);
    assert!(!gate.accepts(&second).await);
    assert!(!gate.refreshes(&second).await);
}

#[tokio::test]
async fn a_logout_by_an_expired_access_token_still_ends_the_session() {
    let gate = gate().await;
    let tokens = gate.signed_in("ada").await;
    gate.clock.advance(ACCESS_TOKEN * 2);
    assert!(!gate.accepts(&tokens).await);

    gate.auth.logout(Some(access(&tokens)), None, &Origin::default()).await.unwrap();

    assert!(matches!(gate.auth.refresh(refresh(&tokens), &Origin::default()).await, Err(RefreshError::Ended)));
}

#[tokio::test]
async fn a_logout_with_what_is_not_ours_succeeds_and_ends_nothing() {
    let gate = gate().await;
    let tokens = gate.signed_in("ada").await;
    let mut tampered = access(&tokens).to_owned();
    let last = if tampered.pop() == Some('A') { 'B' } else { 'A' };
    // The last character of an Ed25519 signature has unused bits; the one before it has none.
    tampered.insert(tampered.len() - 1, last);
    for (access_token, refresh_token) in
        [(Some("garbage"), None), (None, Some("garbage")), (Some(tampered.as_str()), Some("AAAA")), (None, None)]
    {
        gate.auth.logout(access_token, refresh_token, &Origin::default()).await.unwrap();
    }
    assert!(gate.accepts(&tokens).await && gate.refreshes(&tokens).await);

    gate.auth.logout(Some(access(&tokens)), None, &Origin::default()).await.unwrap();
    gate.auth.logout(Some(access(&tokens)), None, &Origin::default()).await.expect("twice is no error");
}

#[tokio::test]
async fn logout_everywhere_ends_every_session_and_no_later_one() {
    let gate = gate().await;
    let phone = gate.signed_in("ada").await;
    let laptop = gate.login("ada").await;
    let bystander = gate.signed_in("bob").await;

    gate.auth.logout_all(&*gate.caller(&phone).await, &Origin::default()).await.unwrap();

    for tokens in [&phone, &laptop] {
        assert!(!gate.accepts(tokens).await);
        assert!(!gate.refreshes(tokens).await);
    }
    assert!(gate.accepts(&bystander).await);
    let again = gate.login("ada").await;
    assert!(gate.accepts(&again).await, "a login in the same second lives");
}

#[tokio::test]
async fn a_password_change_keeps_this_session_and_ends_the_others() {
    let gate = gate().await;
    let here = gate.signed_in("ada").await;
    let elsewhere = gate.login("ada").await;

    gate.auth.change_password(&*gate.caller(&here).await, PASSWORD, NEW_PASSWORD, &Origin::default()).await.unwrap();

    assert!(gate.accepts(&here).await && gate.refreshes(&here).await);
    assert!(!gate.accepts(&elsewhere).await);
    assert!(!gate.refreshes(&elsewhere).await);
    assert!(gate.auth.login("ada", PASSWORD, &Origin::default()).await.is_err());
    assert!(gate.auth.login("ada", NEW_PASSWORD, &Origin::default()).await.is_ok());
}

#[tokio::test]
async fn a_password_is_changed_only_by_who_knows_it_and_to_a_good_one() {
    let gate = gate().await;
    let tokens = gate.signed_in("ada").await;
    let elsewhere = gate.login("ada").await;
    let caller = gate.caller(&tokens).await;

    let wrong = gate.auth.change_password(&caller, "not my password", NEW_PASSWORD, &Origin::default()).await;
    assert!(matches!(wrong, Err(PasswordChangeError::Credentials)));
    let short = gate.auth.change_password(&caller, PASSWORD, "short", &Origin::default()).await;
    assert!(matches!(short, Err(PasswordChangeError::Invalid(errors)) if errors[0].field == "new_password"));

    assert!(gate.accepts(&elsewhere).await);
    gate.login("ada").await;
}

#[tokio::test]
async fn a_disabled_user_is_out_until_enabled() {
    let gate = gate().await;
    let user = gate.register("ada").await;
    let tokens = gate.login("ada").await;

    gate.auth.set_user_disabled(user.id, true, &Actor::operator()).await.unwrap();

    assert!(!gate.accepts(&tokens).await);
    assert!(matches!(gate.auth.refresh(refresh(&tokens), &Origin::default()).await, Err(RefreshError::Ended)));
    assert!(gate.auth.login("ada", PASSWORD, &Origin::default()).await.is_err());

    gate.auth.set_user_disabled(user.id, false, &Actor::operator()).await.unwrap();
    assert!(!gate.refreshes(&tokens).await, "what ended stays ended");
    let again = gate.login("ada").await;
    assert!(gate.accepts(&again).await);
}

#[tokio::test]
async fn taking_a_role_away_ends_the_sessions_that_carry_it_and_granting_one_does_not() {
    let gate = gate().await;
    let user = gate.register("ada").await;
    let tokens = gate.login("ada").await;

    gate.auth.set_user_roles(user.id, &[role("user"), role("admin")].into(), &Actor::operator()).await.unwrap();
    assert!(gate.accepts(&tokens).await);
    let promoted = gate.auth.refresh(refresh(&tokens), &Origin::default()).await.unwrap();
    assert!(gate.caller(&promoted).await.principal.roles.iter().any(|held| **held == *"admin"));

    gate.auth.set_user_roles(user.id, &[role("user")].into(), &Actor::operator()).await.unwrap();
    assert!(!gate.accepts(&promoted).await);
    assert!(!gate.refreshes(&promoted).await);
}

#[tokio::test]
async fn a_device_is_ended_by_its_owner_only() {
    let gate = gate().await;
    let phone = gate.signed_in("ada").await;
    let laptop = gate.login("ada").await;
    let stranger = gate.signed_in("eve").await;
    let (ada, eve) = (gate.caller(&laptop).await, gate.caller(&stranger).await);
    let device = gate.caller(&phone).await.principal.session;

    let refused = gate.auth.revoke_session(&eve, device, &Origin::default()).await;
    assert!(matches!(refused, Err(RevokeSessionError::NotFound)));
    let unknown = gate.auth.revoke_session(&ada, SessionId(Uuid::from_u128(1)), &Origin::default()).await;
    assert!(matches!(unknown, Err(RevokeSessionError::NotFound)));
    assert!(gate.accepts(&phone).await);

    gate.auth.revoke_session(&ada, device, &Origin::default()).await.unwrap();
    assert!(!gate.accepts(&phone).await && !gate.refreshes(&phone).await);
    assert!(gate.accepts(&laptop).await);
    assert_eq!(gate.auth.live_sessions(&ada).await.unwrap().len(), 1);
}

/// A revoked set that can be cut off.
struct Cut {
    set: Arc<MemorySet>,
    off: AtomicBool,
}

#[async_trait]
impl RevokedSet for Cut {
    async fn lookup(&self, token: &TokenFacts) -> Result<Option<RevokedBy>, StoreError> {
        self.set.lookup(token).await
    }
    async fn publish(&self, revocations: &[Revocation], now: Timestamp) -> Result<(), StoreError> {
        if self.off.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable { store: "redis", source: "cut off".into() });
        }
        self.set.publish(revocations, now).await
    }
    async fn begin_rebuild(&self) -> Result<RebuildTicket, StoreError> {
        self.set.begin_rebuild().await
    }
    async fn finish_rebuild(&self, ticket: RebuildTicket) -> Result<(), StoreError> {
        self.set.finish_rebuild(ticket).await
    }
    async fn needs_rebuild(&self) {
        self.set.needs_rebuild().await;
    }
}

#[tokio::test]
async fn a_logout_that_could_not_be_published_is_no_success_and_can_be_retried() {
    let cut = Arc::new(Cut { set: MemorySet::new(), off: AtomicBool::new(false) });
    let gate = gate_with(settings(), Arc::clone(&cut) as Arc<dyn RevokedSet>).await;
    let tokens = gate.signed_in("ada").await;
    assert!(gate.accepts(&tokens).await);

    cut.off.store(true, Ordering::SeqCst);
    let failed = gate.auth.logout(Some(access(&tokens)), None, &Origin::default()).await;
    assert!(matches!(failed, Err(Outage::NotPublished(_))));
    assert!(!gate.refreshes(&tokens).await, "SQL has it already");

    cut.off.store(false, Ordering::SeqCst);
    gate.auth.logout(Some(access(&tokens)), None, &Origin::default()).await.unwrap();
    assert!(!gate.accepts(&tokens).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_token_lives_that_a_login_or_refresh_got_while_everything_was_ended() {
    let gate = gate().await;
    for _ in 0..4 {
        let user = gate.register(&format!("u{}", Uuid::now_v7())).await;
        let name = user.username.unwrap().as_typed().to_owned();
        let tokens = gate.login(&name).await;
        let login = tokio::spawn({
            let (auth, name) = (Arc::clone(&gate.auth), name.clone());
            async move { auth.login(&name, PASSWORD, &Origin::default()).await.ok() }
        });
        let refreshed = tokio::spawn({
            let (auth, token) = (Arc::clone(&gate.auth), refresh(&tokens).to_owned());
            async move { auth.refresh(&token, &Origin::default()).await.ok() }
        });
        gate.auth.set_user_disabled(user.id, true, &Actor::operator()).await.unwrap();
        for raced in [login.await.unwrap(), refreshed.await.unwrap()].into_iter().flatten().chain([tokens]) {
            assert!(!gate.accepts(&raced).await);
            assert!(!gate.refreshes(&raced).await);
        }
    }
}

#[tokio::test]
async fn nobody_is_given_more_roles_than_a_token_can_carry() {
    let gate = gate().await;
    let tokens = gate.signed_in("ada").await;
    let user = gate.auth.find_user("ada").await.unwrap().id;
    let roles = |count: usize| (0..count).map(|number| role(&format!("role{number}"))).chain([role("user")]).collect();
    let refused = gate.auth.set_user_roles(user, &roles(64), &Actor::operator()).await;
    assert!(matches!(refused, Err(AdminError::Invalid(errors)) if errors[0].field == "roles"));
    assert!(gate.accepts(&tokens).await, "nothing has changed");
    gate.auth.set_user_roles(user, &roles(63), &Actor::operator()).await.unwrap();
    assert!(gate.accepts(&gate.login("ada").await).await);
}

#[tokio::test]
async fn a_right_password_is_never_called_wrong_where_the_clock_is_behind() {
    let gate = gate().await;
    let tokens = gate.signed_in("ada").await;
    gate.auth.logout_all(&*gate.caller(&tokens).await, &Origin::default()).await.unwrap();
    // Another replica: no session may begin before the instant at which all ended.
    gate.clock.set_back(Duration::from_secs(2));
    let early = gate.auth.login("ada", PASSWORD, &Origin::default()).await;
    assert!(matches!(early, Err(LoginError::Outage(_))), "it is to be tried again: {early:?}");
    let wrong = gate.auth.login("ada", "not it, not at all", &Origin::default()).await;
    assert!(matches!(wrong, Err(LoginError::Credentials)));
    gate.clock.advance(Duration::from_millis(2001));
    assert!(gate.accepts(&gate.login("ada").await).await);
}
