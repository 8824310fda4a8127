//! What every store of sessions, and the record of revocations beside them, promises.

use jiff::Timestamp;
use portcullis::identity::password::PasswordHash;
use portcullis::identity::session::{Session, SessionId};
use portcullis::identity::user::UserId;
use portcullis::store::sql::SqlStore;
use portcullis::store::{Advance, Covers, Opening, Revocation, RevocationLog, Sessions, Users};
use uuid::Uuid;

use super::{ending, now, revoked_before, revoked_session, revoked_token, secs, session, sqlite, user};

async fn store_with_ada() -> (SqlStore, UserId, tempfile::TempDir) {
    let (store, directory) = sqlite().await;
    let ada = user("ada");
    store.add(&ada).await.expect("nobody has the name");
    (store, ada.user.id, directory)
}

async fn open(store: &SqlStore, user: UserId, created_at: Timestamp) -> Session {
    let session = session(user, created_at);
    assert_eq!(store.open(&session, Uuid::new_v4()).await.expect("there"), Opening::Opened);
    session
}

fn step(session: &Session, from: u32) -> Advance {
    let at = now() + secs(1);
    let refresh_expires_at = at + secs(86_400);
    Advance { session: session.id, from, to: from + 1, jti: Uuid::new_v4(), at, refresh_expires_at }
}

async fn recorded(store: &SqlStore) -> Vec<Revocation> {
    let all = store.unexpired(now(), i64::MIN, 1000).await.expect("there");
    all.into_iter().map(|(_, revocation)| revocation).collect()
}

#[tokio::test]
async fn a_session_is_found_as_opened() {
    let (store, ada, _directory) = store_with_ada().await;
    let opened = open(&store, ada, now()).await;
    assert_eq!(Sessions::find(&store, opened.id).await.expect("there"), Some(opened));
    assert_eq!(Sessions::find(&store, SessionId(Uuid::new_v4())).await.expect("there"), None);
}

#[tokio::test]
async fn of_many_advances_from_one_generation_one_succeeds() {
    let (store, ada, _directory) = store_with_ada().await;
    let opened = open(&store, ada, now()).await;
    let attempts = (0..32).map(|_| {
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

#[tokio::test]
async fn an_ended_session_does_not_advance_and_its_revocation_is_written_with_it() {
    let (store, ada, _directory) = store_with_ada().await;
    let opened = open(&store, ada, now()).await;
    let records = store.end(opened.id, &ending(now())).await.expect("there");
    assert_eq!(records, [revoked_session(opened.id, now() + secs(900))]);
    assert_eq!(recorded(&store).await, records);
    assert!(!store.advance(&step(&opened, 0)).await.expect("there"));
    assert_eq!(store.live(ada, now()).await.expect("there"), []);
}

#[tokio::test]
async fn ending_again_is_harmless_and_extends_the_record() {
    let (store, ada, _directory) = store_with_ada().await;
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

#[tokio::test]
async fn all_sessions_end_except_the_one_that_is_kept() {
    let (store, ada, _directory) = store_with_ada().await;
    let kept = open(&store, ada, now()).await;
    let ended = open(&store, ada, now() + secs(1)).await;
    let bob = user("bob");
    store.add(&bob).await.expect("nobody has the name");
    let of_bob = open(&store, bob.user.id, now()).await;
    let mut all = ending(now() + secs(2));
    all.revocations.push(revoked_before("someone", now()));
    let records = store.end_all(ada, Some(kept.id), &all).await.expect("there");
    assert_eq!(records, [revoked_session(ended.id, now() + secs(902)), revoked_before("someone", now())]);
    assert_eq!(recorded(&store).await, records);
    assert_eq!(store.live(ada, now()).await.expect("there"), [kept]);
    assert_eq!(store.live(bob.user.id, now()).await.expect("there"), [of_bob]);
}

#[tokio::test]
async fn a_login_that_began_before_all_sessions_ended_is_refused() {
    let (store, ada, _directory) = store_with_ada().await;
    store.end_all(ada, None, &ending(now())).await.expect("there");
    let refused = session(ada, now() - std::time::Duration::from_millis(1));
    assert_eq!(store.open(&refused, Uuid::new_v4()).await.expect("there"), Opening::Refused);
    assert_eq!(Sessions::find(&store, refused.id).await.expect("there"), None);
    open(&store, ada, now()).await;
}

#[tokio::test]
async fn no_session_survives_a_password_change_that_raced_with_logins() {
    let (store, ada, _directory) = store_with_ada().await;
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

#[tokio::test]
async fn a_disabled_user_has_no_sessions_and_opens_none_until_enabled() {
    let (store, ada, _directory) = store_with_ada().await;
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

#[tokio::test]
async fn live_sessions_are_listed_newest_first_until_they_expire() {
    let (store, ada, _directory) = store_with_ada().await;
    let older = open(&store, ada, now()).await;
    let newer = open(&store, ada, now() + secs(1)).await;
    let expiry = older.refresh_expires_at;
    assert_eq!(store.live(ada, now()).await.expect("there"), [newer.clone(), older.clone()]);
    assert_eq!(store.live(ada, expiry - secs(1)).await.expect("there"), [newer.clone(), older]);
    assert_eq!(store.live(ada, expiry).await.expect("there"), [newer]);
}

#[tokio::test]
async fn a_purge_forgets_what_is_over_and_nothing_else() {
    let (store, ada, _directory) = store_with_ada().await;
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

#[tokio::test]
async fn the_record_is_read_in_pages_without_what_has_expired() {
    let (store, _directory) = sqlite().await;
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

#[tokio::test]
async fn a_record_is_kept_once_and_only_grows() {
    let (store, _directory) = sqlite().await;
    let later = now() + secs(60);
    for before in [now(), later, now()] {
        store.record(&[revoked_before("ada", before)]).await.expect("there");
    }
    let kept = recorded(&store).await;
    assert_eq!(kept, [revoked_before("ada", later)]);
    assert!(matches!(&kept[0].covers, Covers::Principal { before, .. } if *before == later));
}
