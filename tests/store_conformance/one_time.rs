//! What every store of one-time tokens promises.

use jiff::Timestamp;
use portcullis::identity::one_time_token::{OneTimeKind, OneTimeToken, TokenHash};
use portcullis::identity::password::PasswordHash;
use portcullis::identity::user::{Email, UserId};
use portcullis::store::sql::SqlStore;
use portcullis::store::{NewOneTimeToken, OneTimeTokens, RevocationLog, Sessions, StoreError, Unique, Users};
use uuid::Uuid;

use super::database::{Database, on_every_database};
use super::{ending, now, revoked_session, secs, session, user};

/// A token that expires after ten minutes; `secret` tells its hash from another's.
pub(crate) fn one_time(kind: OneTimeKind, user: Option<UserId>, secret: u8) -> NewOneTimeToken {
    NewOneTimeToken {
        id: Uuid::now_v7(),
        kind,
        token_hash: [secret; 32],
        user,
        email: None,
        metadata: r#"{"roles":["user"]}"#.to_owned(),
        created_by: None,
        created_at: now(),
        expires_at: now() + secs(600),
    }
}

fn invitation(address: &str, secret: u8) -> NewOneTimeToken {
    let email = Some(Email::parse(address).expect("an address"));
    NewOneTimeToken { email, ..one_time(OneTimeKind::Invitation, None, secret) }
}

fn ticket_of(token: &NewOneTimeToken) -> TokenHash {
    token.token_hash.map(|byte| !byte)
}

fn ticket_expiry() -> Timestamp {
    now() + secs(3600)
}

async fn ada_in(store: &SqlStore) -> UserId {
    let ada = user("ada");
    store.add(&ada).await.expect("nobody has the name");
    ada.user.id
}

async fn issue(store: &SqlStore, token: &NewOneTimeToken) {
    assert!(store.issue(token).await.expect("there"), "its user is there");
}

async fn redeem(store: &SqlStore, token: &NewOneTimeToken, at: Timestamp) -> Option<OneTimeToken> {
    store.redeem(&token.token_hash, &ticket_of(token), ticket_expiry(), at).await.expect("there")
}

async fn issue_and_redeem(store: &SqlStore, token: &NewOneTimeToken) {
    issue(store, token).await;
    assert!(redeem(store, token, now()).await.is_some());
}

/// How many of 64 attempts at once succeed.
async fn successes<F: Future<Output = bool> + Send + 'static>(attempt: impl Fn(u8) -> F) -> usize {
    let attempts: Vec<_> = (0..64).map(|number| tokio::spawn(attempt(number))).collect();
    let mut successes = 0;
    for attempt in attempts {
        successes += usize::from(attempt.await.expect("no panic"));
    }
    successes
}

async fn a_token_goes_from_issued_to_redeemed_to_spent(Database { store, .. }: Database) {
    let ada = ada_in(&store).await;
    let mut new = one_time(OneTimeKind::EmailVerification, Some(ada), 1);
    (new.email, new.created_by) = (Some(Email::parse("Ada@example.com").expect("an address")), Some(ada));
    issue(&store, &new).await;
    let issued = OneTimeTokens::find(&store, &new.token_hash).await.expect("there").expect("found");
    let expected = OneTimeToken {
        id: new.id,
        kind: new.kind,
        user: new.user,
        email: new.email.clone(),
        metadata: new.metadata.clone(),
        created_by: new.created_by,
        created_at: new.created_at,
        expires_at: new.expires_at,
        redeemed_at: None,
        ticket_expires_at: None,
        spent_at: None,
    };
    assert_eq!(issued, expected);
    assert_eq!(store.by_ticket(&ticket_of(&new)).await.expect("there"), None);

    let redeemed = redeem(&store, &new, now() + secs(1)).await;
    let expected = OneTimeToken { redeemed_at: Some(now() + secs(1)), ticket_expires_at: Some(ticket_expiry()), ..expected };
    assert_eq!(redeemed, Some(expected.clone()));
    assert_eq!(store.by_ticket(&ticket_of(&new)).await.expect("there"), Some(expected.clone()));

    let spent = store.spend(&ticket_of(&new), new.kind, now() + secs(2)).await.expect("there");
    let expected = OneTimeToken { spent_at: Some(now() + secs(2)), ..expected };
    assert_eq!(spent, Some(expected.clone()));
    assert_eq!(OneTimeTokens::find(&store, &new.token_hash).await.expect("there"), Some(expected));
}

async fn a_token_is_redeemed_once_and_only_before_it_expires(Database { store, .. }: Database) {
    let ada = ada_in(&store).await;
    let new = one_time(OneTimeKind::PasswordReset, Some(ada), 1);
    issue(&store, &new).await;
    assert_eq!(redeem(&store, &new, new.expires_at).await, None);
    assert!(redeem(&store, &new, new.expires_at - secs(1)).await.is_some());
    assert_eq!(redeem(&store, &new, now()).await, None, "it has been redeemed");
    let unknown = one_time(OneTimeKind::PasswordReset, Some(ada), 2);
    assert_eq!(redeem(&store, &unknown, now()).await, None);
}

async fn a_ticket_is_spent_once_for_its_own_kind_and_only_before_it_expires(Database { store, .. }: Database) {
    let ada = ada_in(&store).await;
    let new = one_time(OneTimeKind::EmailVerification, Some(ada), 1);
    issue_and_redeem(&store, &new).await;
    let spend = async |kind, at| store.spend(&ticket_of(&new), kind, at).await.expect("there").is_some();
    assert!(!spend(OneTimeKind::PasswordReset, now()).await, "a verification resets no password");
    assert!(!spend(new.kind, ticket_expiry()).await);
    assert!(spend(new.kind, ticket_expiry() - secs(1)).await);
    assert!(!spend(new.kind, now()).await, "it has been spent");
    assert!(store.spend(&new.token_hash, new.kind, now()).await.expect("there").is_none(), "the token is not its ticket");
}

async fn of_64_redemptions_at_once_one_succeeds(Database { store, .. }: Database) {
    let ada = ada_in(&store).await;
    let new = one_time(OneTimeKind::PasswordReset, Some(ada), 1);
    issue(&store, &new).await;
    let redemption = |number| {
        let (store, token) = (store.clone(), new.token_hash);
        async move {
            let redeemed = store.redeem(&token, &[100 + number; 32], ticket_expiry(), now()).await;
            redeemed.expect("the store waits for its turn").is_some()
        }
    };
    assert_eq!(successes(redemption).await, 1);
}

async fn of_64_spendings_at_once_one_succeeds(Database { store, .. }: Database) {
    let ada = ada_in(&store).await;
    let new = one_time(OneTimeKind::Reauthentication, Some(ada), 1);
    issue_and_redeem(&store, &new).await;
    let spending = |_| {
        let (store, ticket) = (store.clone(), ticket_of(&new));
        async move {
            let spent = store.spend(&ticket, OneTimeKind::Reauthentication, now()).await;
            spent.expect("the store waits for its turn").is_some()
        }
    };
    assert_eq!(successes(spending).await, 1);
}

async fn a_new_token_kills_the_older_ones_of_its_kind_and_user(Database { store, .. }: Database) {
    let (ada, bob) = (ada_in(&store).await, user("bob"));
    store.add(&bob).await.expect("nobody has the name");
    let older = one_time(OneTimeKind::PasswordReset, Some(ada), 1);
    let other_kind = one_time(OneTimeKind::EmailVerification, Some(ada), 2);
    let other_user = one_time(OneTimeKind::PasswordReset, Some(bob.user.id), 3);
    for token in [&older, &other_kind, &other_user] {
        issue(&store, token).await;
    }
    issue(&store, &one_time(OneTimeKind::PasswordReset, Some(ada), 4)).await;
    assert_eq!(redeem(&store, &older, now()).await, None);
    assert!(redeem(&store, &other_kind, now()).await.is_some());
    assert!(redeem(&store, &other_user, now()).await.is_some());

    issue(&store, &one_time(OneTimeKind::PasswordReset, Some(bob.user.id), 5)).await;
    let spent = store.spend(&ticket_of(&other_user), OneTimeKind::PasswordReset, now()).await.expect("there");
    assert_eq!(spent, None, "the ticket of a killed token is dead too");
}

async fn a_new_invitation_kills_the_older_one_for_its_address_in_any_case(Database { store, .. }: Database) {
    let (older, other) = (invitation("ada@example.com", 1), invitation("bob@example.com", 2));
    let (one, two) = (one_time(OneTimeKind::Invitation, None, 3), one_time(OneTimeKind::Invitation, None, 4));
    for token in [&older, &other, &one, &two] {
        issue(&store, token).await;
    }
    issue(&store, &invitation("ADA@example.com", 5)).await;
    assert_eq!(redeem(&store, &older, now()).await, None);
    for token in [&other, &one, &two] {
        assert!(redeem(&store, token, now()).await.is_some(), "{token:?}");
    }
}

async fn a_spent_token_is_remembered_when_a_new_one_is_issued(Database { store, .. }: Database) {
    let older = invitation("ada@example.com", 1);
    issue_and_redeem(&store, &older).await;
    assert!(store.spend(&ticket_of(&older), OneTimeKind::Invitation, now()).await.expect("there").is_some());
    issue(&store, &invitation("ada@example.com", 2)).await;
    assert!(OneTimeTokens::find(&store, &older.token_hash).await.expect("there").is_some());
}

async fn of_tokens_issued_at_once_one_is_good(Database { store, .. }: Database) {
    for (round, user) in [(0, Some(ada_in(&store).await)), (100, None)] {
        let issuing = |number: u8| {
            let (store, mut new) = (store.clone(), one_time(OneTimeKind::Invitation, user, round + number));
            new.email = Some(Email::parse("ada@example.com").expect("an address"));
            async move { store.issue(&new).await.expect("the store waits for its turn") }
        };
        assert_eq!(successes(issuing).await, 64);
        let mut good = 0;
        for number in 0..64 {
            let found = OneTimeTokens::find(&store, &[round + number; 32]).await.expect("there");
            good += usize::from(found.is_some());
        }
        assert_eq!(good, 1);
    }
}

async fn a_token_for_nobody_known_is_not_issued(Database { store, .. }: Database) {
    let gone = one_time(OneTimeKind::PasswordReset, Some(UserId(Uuid::new_v4())), 1);
    assert!(!store.issue(&gone).await.expect("there"));
    assert_eq!(OneTimeTokens::find(&store, &gone.token_hash).await.expect("there"), None);
}

async fn a_reset_changes_the_password_and_ends_every_session_once(Database { store, .. }: Database) {
    let ada = ada_in(&store).await;
    let login = session(ada, now());
    let _ = store.open(&login, Uuid::new_v4()).await.expect("there");
    let reset = one_time(OneTimeKind::PasswordReset, Some(ada), 1);
    issue_and_redeem(&store, &reset).await;
    let new = PasswordHash::from_stored("new".to_owned());
    let done = store.spend_reset(&ticket_of(&reset), &new, &ending(now())).await.expect("there");
    assert_eq!(done, Some((ada, vec![revoked_session(login.id, now() + secs(900))])));
    assert_eq!(store.password(ada).await.expect("there"), Some(new));
    assert_eq!(store.live(ada, now()).await.expect("there"), []);
    assert_eq!(store.unexpired(now(), i64::MIN, 10).await.expect("there").len(), 1);

    let again = PasswordHash::from_stored("newer".to_owned());
    assert_eq!(store.spend_reset(&ticket_of(&reset), &again, &ending(now())).await.expect("there"), None);
    assert_ne!(store.password(ada).await.expect("there"), Some(again));
}

async fn a_password_that_changes_takes_the_links_along_that_stood_for_it(Database { store, .. }: Database) {
    let ada = ada_in(&store).await;
    let login = session(ada, now());
    let _ = store.open(&login, Uuid::new_v4()).await.expect("there");
    let kinds = [OneTimeKind::PasswordReset, OneTimeKind::Reauthentication, OneTimeKind::EmailVerification];
    let [reset, again, verification] = [1, 2, 3].map(|secret| one_time(kinds[usize::from(secret) - 1], Some(ada), secret));
    issue(&store, &reset).await;
    issue_and_redeem(&store, &again).await;
    issue_and_redeem(&store, &verification).await;

    let new = PasswordHash::from_stored("new".to_owned());
    store.change_password(ada, &new, Some(login.id), &ending(now())).await.expect("there");

    // Whoever has read the mail before must not undo the change, nor stand for the new password.
    assert_eq!(redeem(&store, &reset, now()).await, None);
    assert_eq!(store.spend(&ticket_of(&again), OneTimeKind::Reauthentication, now()).await.expect("there"), None);
    let verified = store.spend(&ticket_of(&verification), OneTimeKind::EmailVerification, now()).await.expect("there");
    assert!(verified.is_some(), "it stands for no password");
}

async fn a_ticket_of_another_kind_resets_nothing(Database { store, .. }: Database) {
    let ada = ada_in(&store).await;
    let login = session(ada, now());
    let _ = store.open(&login, Uuid::new_v4()).await.expect("there");
    let verification = one_time(OneTimeKind::EmailVerification, Some(ada), 1);
    issue_and_redeem(&store, &verification).await;
    let new = PasswordHash::from_stored("new".to_owned());
    assert_eq!(store.spend_reset(&ticket_of(&verification), &new, &ending(now())).await.expect("there"), None);
    assert_ne!(store.password(ada).await.expect("there"), Some(new));
    assert_eq!(store.live(ada, now()).await.expect("there"), [login]);
}

async fn an_invitation_is_spent_with_the_registration_and_not_without_it(Database { store, .. }: Database) {
    ada_in(&store).await;
    let invitation = invitation("bob@example.com", 1);
    issue_and_redeem(&store, &invitation).await;
    let ticket = ticket_of(&invitation);
    let taken = store.spend_invitation(&ticket, &user("ADA"), now()).await;
    assert!(matches!(taken, Err(StoreError::Conflict(Unique::Username | Unique::Email))), "{taken:?}");
    let bob = user("bob");
    assert!(store.spend_invitation(&ticket, &bob, now()).await.expect("there").is_some());
    assert_eq!(Users::find(&store, bob.user.id).await.expect("there"), Some(bob.user));
    let eve = user("eve");
    assert_eq!(store.spend_invitation(&ticket, &eve, now()).await.expect("there"), None);
    assert_eq!(Users::find(&store, eve.user.id).await.expect("there"), None);
}

async fn killed_tokens_cannot_be_redeemed(Database { store, .. }: Database) {
    let ada = ada_in(&store).await;
    let (reset, other) =
        (one_time(OneTimeKind::PasswordReset, Some(ada), 1), one_time(OneTimeKind::EmailVerification, Some(ada), 2));
    issue(&store, &reset).await;
    issue(&store, &other).await;
    assert_eq!(store.kill(ada, OneTimeKind::PasswordReset).await.expect("there"), 1);
    assert_eq!(store.kill(ada, OneTimeKind::PasswordReset).await.expect("there"), 0);
    assert_eq!(redeem(&store, &reset, now()).await, None);
    assert!(redeem(&store, &other, now()).await.is_some());
}

async fn a_purge_forgets_tokens_whose_tickets_have_expired_too(Database { store, .. }: Database) {
    let (unredeemed, redeemed) = (invitation("ada@example.com", 1), invitation("bob@example.com", 2));
    issue(&store, &unredeemed).await;
    issue_and_redeem(&store, &redeemed).await;
    let purge = async |before| OneTimeTokens::purge(&store, before, 100).await.expect("there");
    assert_eq!(purge(unredeemed.expires_at).await, 0, "it expired at this instant, not before");
    assert_eq!(purge(unredeemed.expires_at + secs(1)).await, 1);
    assert_eq!(purge(ticket_expiry()).await, 0);
    assert_eq!(purge(ticket_expiry() + secs(1)).await, 1);
}

on_every_database! {
    a_token_goes_from_issued_to_redeemed_to_spent,
    a_token_is_redeemed_once_and_only_before_it_expires,
    a_ticket_is_spent_once_for_its_own_kind_and_only_before_it_expires,
    of_64_redemptions_at_once_one_succeeds,
    of_64_spendings_at_once_one_succeeds,
    a_new_token_kills_the_older_ones_of_its_kind_and_user,
    a_new_invitation_kills_the_older_one_for_its_address_in_any_case,
    a_spent_token_is_remembered_when_a_new_one_is_issued,
    of_tokens_issued_at_once_one_is_good,
    a_token_for_nobody_known_is_not_issued,
    a_reset_changes_the_password_and_ends_every_session_once,
    a_password_that_changes_takes_the_links_along_that_stood_for_it,
    a_ticket_of_another_kind_resets_nothing,
    an_invitation_is_spent_with_the_registration_and_not_without_it,
    killed_tokens_cannot_be_redeemed,
    a_purge_forgets_tokens_whose_tickets_have_expired_too,
}
