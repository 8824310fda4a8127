//! What every store of sessions, and the record of revocations beside them, promises.

use jiff::Timestamp;
use portcullis::identity::one_time_token::OneTimeKind;
use portcullis::identity::password::PasswordHash;
use portcullis::identity::session::{Session, SessionId};
use portcullis::identity::user::UserId;
use portcullis::store::sql::SqlStore;
use portcullis::store::{Advance, ApiKeys, Covers, OneTimeTokens, Opening, Revocation, RevocationLog, Sessions, Users};
use uuid::Uuid;

use super::api_keys::api_key;
use super::database::{Database, on_every_database};
use super::one_time::one_time;
use super::{ending, now, revoked_before, revoked_session, revoked_token, secs, session, user};

async fn add_ada(store: &SqlStore) -> UserId {
    let ada = user("ada");
    Users::add(store, &ada).await.expect("nobody has the name");
    ada.user.id
}

async fn open(store: &SqlStore, user: UserId, created_at: Timestamp) -> Session {
    let session = session(user, created_at);
    assert_eq!(store.open(&session, Uuid::new_v4()).await.expect("there"), Opening::Opened);
    session
}

fn step(session: &Session, from: u32) -> Advance {
    let at = now() + secs(1);
    let refresh_expires_at = at + secs(86_400);
    Advance { session: session.id, from, to: from + 1, jti: Uuid::new_v4(), at, refresh_expires_at, authenticated_at: None }
}

async fn recorded(store: &SqlStore) -> Vec<Revocation> {
    let all = store.unexpired(now(), i64::MIN, 1000).await.expect("there");
    all.into_iter().map(|(_, revocation)| revocation).collect()
}

async fn a_session_is_found_as_opened(Database { store, .. }: Database) {
    let ada = add_ada(&store).await;
    let opened = open(&store, ada, now()).await;
    assert_eq!(Sessions::find(&store, opened.id).await.expect("there"), Some(opened));
    assert_eq!(Sessions::find(&store, SessionId(Uuid::new_v4())).await.expect("there"), None);
}

async fn an_advance_notes_a_password_only_where_one_was_given(Database { store, .. }: Database) {
    let ada = add_ada(&store).await;
    let opened = open(&store, ada, now()).await;
    let found = async || Sessions::find(&store, opened.id).await.expect("there").expect("found").authenticated_at;
    assert!(store.advance(&step(&opened, 0)).await.expect("there"));
    assert_eq!(found().await, now());
    let proved = Advance { authenticated_at: Some(now() + secs(1)), ..step(&opened, 1) };
    assert!(store.advance(&proved).await.expect("there"));
    assert!(!store.advance(&Advance { authenticated_at: Some(now() + secs(9)), ..step(&opened, 1) }).await.expect("there"));
    assert_eq!(found().await, now() + secs(1));
    let hash = PasswordHash::from_stored("$argon2id$new".to_owned());
    store.change_password(ada, &hash, Some(opened.id), &ending(now() + secs(2))).await.expect("there");
    assert_eq!(found().await, now() + secs(2), "whoever changes the password has given the old one");
}

async fn of_200_advances_from_one_generation_one_succeeds(Database { store, .. }: Database) {
    let ada = add_ada(&store).await;
    let opened = open(&store, ada, now()).await;
    let attempts = (0..200).map(|_| {
        let (store, advance) = (store.clone(), step(&opened, 0));
        tokio::spawn(async move { store.advance(&advance).await })
    });
    let mut advanced = 0;
    for attempt in attempts.collect::<Vec<_>>() {
        advanced += u32::from(attempt.await.expect("no panic").expect("the store waits for its turn"));
    }
    assert_eq!(advanced, 1);
    let found = Sessions::find(&store, opened.id).await.expect("there").expect("found");
    assert_eq!((found.generation, found.rotated_at), (1, now() + secs(1)));
}

async fn an_ended_session_does_not_advance_and_its_revocation_is_written_with_it(Database { store, .. }: Database) {
    let ada = add_ada(&store).await;
    let opened = open(&store, ada, now()).await;
    let records = store.end(opened.id, &ending(now())).await.expect("there");
    assert_eq!(records, [revoked_session(opened.id, now() + secs(900))]);
    assert_eq!(recorded(&store).await, records);
    assert!(!store.advance(&step(&opened, 0)).await.expect("there"));
    assert_eq!(store.live(ada, now()).await.expect("there"), []);
}

async fn ending_again_is_harmless_and_extends_the_record(Database { store, .. }: Database) {
    let ada = add_ada(&store).await;
    let opened = open(&store, ada, now()).await;
    store.end(opened.id, &ending(now())).await.expect("there");
    store.end(opened.id, &ending(now() + secs(60))).await.expect("there");
    store.end(opened.id, &ending(now())).await.expect("there");
    assert_eq!(recorded(&store).await, [revoked_session(opened.id, now() + secs(960))]);
    let found = Sessions::find(&store, opened.id).await.expect("there").expect("found");
    assert_eq!(found.ended_at, Some(now()), "the first ending stands");
    let unknown = SessionId(Uuid::new_v4());
    assert_eq!(store.end(unknown, &ending(now())).await.expect("there").len(), 1, "also for a forgotten session");
}

/// The first attempt may have been recorded and never published: then its caller asks again, perhaps another replica.
async fn ending_all_sessions_again_covers_those_whose_tokens_still_live(Database { store, .. }: Database) {
    let ada = add_ada(&store).await;
    let ended = open(&store, ada, now()).await;
    store.end_all(ada, None, &ending(now())).await.expect("there");
    for (later, expected) in [(899, vec![revoked_session(ended.id, now() + secs(1799))]), (900, Vec::new())] {
        let records = store.end_all(ada, None, &ending(now() + secs(later))).await.expect("there");
        assert_eq!(records, expected, "{later} s later");
    }
    let found = Sessions::find(&store, ended.id).await.expect("there").expect("it is kept");
    assert_eq!(found.ended_at, Some(now()), "it ended when it ended");
}

/// The clock that issued the token is ahead of the one that ends the session, or the latter is behind.
async fn a_record_outlives_the_last_token_by_the_clock_that_issued_it(Database { store, .. }: Database) {
    let ada = add_ada(&store).await;
    for ahead in [0, 1, 3600] {
        let session = open(&store, ada, now() + secs(ahead)).await;
        // By a clock that is right: its token is the last one, and not the one that lives longest.
        assert!(store.advance(&step(&session, 0)).await.expect("there"));
        let records = store.end(session.id, &ending(now() + secs(1))).await.expect("there");
        assert_eq!(records, [revoked_session(session.id, now() + secs(ahead.max(1) + 900))], "{ahead} s");
    }
}

async fn all_sessions_end_except_the_one_that_is_kept(Database { store, .. }: Database) {
    let ada = add_ada(&store).await;
    let kept = open(&store, ada, now()).await;
    let ended = open(&store, ada, now() + secs(1)).await;
    let bob = user("bob");
    Users::add(&store, &bob).await.expect("nobody has the name");
    let of_bob = open(&store, bob.user.id, now()).await;
    let mut all = ending(now() + secs(2));
    all.revocations.push(revoked_before("someone", now()));
    let records = store.end_all(ada, Some(kept.id), &all).await.expect("there");
    assert_eq!(records, [revoked_session(ended.id, now() + secs(902)), revoked_before("someone", now())]);
    assert_eq!(recorded(&store).await, records);
    assert_eq!(store.live(ada, now()).await.expect("there"), [kept]);
    assert_eq!(store.live(bob.user.id, now()).await.expect("there"), [of_bob]);
}

async fn a_login_that_began_before_all_sessions_ended_is_refused(Database { store, .. }: Database) {
    let ada = add_ada(&store).await;
    store.end_all(ada, None, &ending(now())).await.expect("there");
    let refused = session(ada, now() - std::time::Duration::from_millis(1));
    assert_eq!(store.open(&refused, Uuid::new_v4()).await.expect("there"), Opening::Refused);
    assert_eq!(Sessions::find(&store, refused.id).await.expect("there"), None);
    open(&store, ada, now()).await;
}

async fn no_session_survives_a_password_change_that_raced_with_logins(Database { store, .. }: Database) {
    let ada = add_ada(&store).await;
    let logins = (0..24).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.open(&session(ada, now()), Uuid::new_v4()).await })
    });
    let logins: Vec<_> = logins.collect();
    let new = PasswordHash::from_stored("new".to_owned());
    let records = store.change_password(ada, &new, None, &ending(now() + secs(1))).await.expect("there");
    let mut opened = 0;
    for login in logins {
        opened += usize::from(login.await.expect("no panic").expect("there") == Opening::Opened);
    }
    assert_eq!(records.len(), opened, "each session that opened was ended and revoked; the others were refused");
    assert_eq!(store.live(ada, now()).await.expect("there"), []);
    assert_eq!(store.password(ada).await.expect("there"), Some(new));
}

async fn a_disabled_user_has_no_sessions_and_opens_none_until_enabled(Database { store, .. }: Database) {
    let ada = add_ada(&store).await;
    let opened = open(&store, ada, now()).await;
    let records = store.set_disabled(ada, true, &ending(now())).await.expect("there");
    assert_eq!(records, Some(vec![revoked_session(opened.id, now() + secs(900))]));
    assert_eq!(Users::find(&store, ada).await.expect("there").expect("found").disabled_at, Some(now()));
    let refused = store.open(&session(ada, now() + secs(5)), Uuid::new_v4()).await.expect("there");
    assert_eq!(refused, Opening::Refused);
    assert_eq!(store.set_disabled(ada, false, &ending(now())).await.expect("there"), Some(Vec::new()));
    open(&store, ada, now() + secs(5)).await;
    let nobody = UserId(Uuid::new_v4());
    assert_eq!(store.set_disabled(nobody, true, &ending(now())).await.expect("there"), None);
}

async fn live_sessions_are_listed_newest_first_until_they_expire(Database { store, .. }: Database) {
    let ada = add_ada(&store).await;
    let older = open(&store, ada, now()).await;
    let newer = open(&store, ada, now() + secs(1)).await;
    let expiry = older.refresh_expires_at;
    assert_eq!(store.live(ada, now()).await.expect("there"), [newer.clone(), older.clone()]);
    assert_eq!(store.live(ada, expiry - secs(1)).await.expect("there"), [newer.clone(), older]);
    assert_eq!(store.live(ada, expiry).await.expect("there"), [newer]);
}

async fn a_purge_forgets_what_is_over_and_nothing_else(Database { store, .. }: Database) {
    let ada = add_ada(&store).await;
    let (ended, live) = (open(&store, ada, now()).await, open(&store, ada, now()).await);
    store.end(ended.id, &ending(now())).await.expect("there");
    assert_eq!(Sessions::purge(&store, now(), 100).await.expect("there"), 0, "it ended at this instant, not before");
    assert_eq!(Sessions::purge(&store, now() + secs(1), 100).await.expect("there"), 1);
    assert_eq!(Sessions::find(&store, ended.id).await.expect("there"), None);
    assert!(Sessions::find(&store, live.id).await.expect("there").is_some());

    let expiry = now() + secs(900);
    assert_eq!(RevocationLog::purge(&store, expiry, 100).await.expect("there"), 0);
    assert_eq!(RevocationLog::purge(&store, expiry + secs(1), 100).await.expect("there"), 1);
}

async fn the_record_is_read_in_pages_without_what_has_expired(Database { store, .. }: Database) {
    let records: Vec<_> = (0..5).map(|number| revoked_token(&number.to_string())).collect();
    store.record(&records).await.expect("there");
    let expired = revoked_session(SessionId(Uuid::new_v4()), now());
    store.record(&[expired]).await.expect("there");
    let (mut read, mut after) = (Vec::new(), i64::MIN);
    loop {
        let page = store.unexpired(now(), after, 2).await.expect("there");
        let Some((last, _)) = page.last() else { break };
        after = *last;
        read.extend(page.into_iter().map(|(_, revocation)| revocation));
    }
    assert_eq!(read, records);
}

async fn a_record_is_kept_once_and_only_grows(Database { store, .. }: Database) {
    let later = now() + secs(60);
    for before in [now(), later, now()] {
        store.record(&[revoked_before("ada", before)]).await.expect("there");
    }
    let kept = recorded(&store).await;
    assert_eq!(kept, [revoked_before("ada", later)]);
    assert!(matches!(&kept[0].covers, Covers::Principal { before, .. } if *before == later));
}

async fn a_touched_session_lives_longer_and_keeps_its_generation(Database { store, .. }: Database) {
    let ada = add_ada(&store).await;
    let opened = open(&store, ada, now()).await;
    let later = opened.refresh_expires_at + secs(60);
    assert!(Sessions::touch(&store, opened.id, later, now() + secs(1), Uuid::new_v4()).await.expect("there"));
    assert!(Sessions::touch(&store, opened.id, later - secs(30), now() + secs(1), Uuid::new_v4()).await.expect("there"));
    let touched = Sessions::find(&store, opened.id).await.expect("there");
    assert_eq!(touched, Some(Session { refresh_expires_at: later, ..opened.clone() }), "a life is never shortened");
    assert!(store.advance(&step(&opened, 0)).await.expect("there"), "its refresh token is still the current one");
}

async fn a_session_that_is_over_cannot_be_touched(Database { store, .. }: Database) {
    let ada = add_ada(&store).await;
    let touch = async |session: &Session, at: Timestamp| {
        Sessions::touch(&store, session.id, session.ends_at, at, Uuid::new_v4()).await.expect("there")
    };
    let expiring = open(&store, ada, now()).await;
    assert!(!touch(&expiring, expiring.refresh_expires_at).await, "its refresh token has expired at this instant");
    assert!(touch(&expiring, expiring.refresh_expires_at - secs(1)).await);
    assert!(!touch(&expiring, expiring.ends_at).await);
    let ended = open(&store, ada, now()).await;
    store.end(ended.id, &ending(now())).await.expect("there");
    assert!(!touch(&ended, now()).await);
    assert!(!touch(&session(ada, now()), now()).await, "it was never opened");
}

async fn a_deleted_user_leaves_nothing_but_revocations(Database { store, .. }: Database) {
    let (ada, bob) = (add_ada(&store).await, user("bob"));
    Users::add(&store, &bob).await.expect("nobody has the name");
    let (of_ada, of_bob) = (open(&store, ada, now()).await, open(&store, bob.user.id, now()).await);
    let key = api_key(ada, 1);
    assert!(ApiKeys::add(&store, &key).await.expect("there"));
    let reset = one_time(OneTimeKind::PasswordReset, Some(ada), 1);
    assert!(store.issue(&reset).await.expect("there"));

    let mut ending = ending(now());
    ending.revocations.push(revoked_before(&ada.to_string(), now()));
    let records = store.delete_user(ada, &ending).await.expect("there").expect("there is such a user");
    let until = now() + secs(900);
    let sid_of_key = SessionId(key.id);
    assert_eq!(records, [revoked_session(sid_of_key, until), revoked_session(of_ada.id, until), ending.revocations[0].clone()]);
    assert_eq!(recorded(&store).await, records);

    assert!(Users::find(&store, ada).await.expect("there").is_none());
    assert!(Sessions::find(&store, of_ada.id).await.expect("there").is_none());
    assert!(ApiKeys::find(&store, &key.hash).await.expect("there").is_none());
    assert!(OneTimeTokens::find(&store, &reset.token_hash).await.expect("there").is_none());
    assert_eq!(store.open(&session(ada, now() + secs(5)), Uuid::new_v4()).await.expect("there"), Opening::Refused);
    assert_eq!(store.delete_user(ada, &ending).await.expect("there"), None);
    assert_eq!(store.live(bob.user.id, now()).await.expect("there"), [of_bob]);
    Users::add(&store, &user("ada")).await.expect("the name is free again");
}

on_every_database! {
    a_session_is_found_as_opened,
    of_200_advances_from_one_generation_one_succeeds,
    an_advance_notes_a_password_only_where_one_was_given,
    an_ended_session_does_not_advance_and_its_revocation_is_written_with_it,
    ending_again_is_harmless_and_extends_the_record,
    ending_all_sessions_again_covers_those_whose_tokens_still_live,
    a_record_outlives_the_last_token_by_the_clock_that_issued_it,
    all_sessions_end_except_the_one_that_is_kept,
    a_login_that_began_before_all_sessions_ended_is_refused,
    no_session_survives_a_password_change_that_raced_with_logins,
    a_disabled_user_has_no_sessions_and_opens_none_until_enabled,
    live_sessions_are_listed_newest_first_until_they_expire,
    a_purge_forgets_what_is_over_and_nothing_else,
    the_record_is_read_in_pages_without_what_has_expired,
    a_record_is_kept_once_and_only_grows,
    a_touched_session_lives_longer_and_keeps_its_generation,
    a_session_that_is_over_cannot_be_touched,
    a_deleted_user_leaves_nothing_but_revocations,
}
