//! Many at once: operations that meet on the same rows wait for each other or are begun again, and none fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis::identity::one_time_token::OneTimeKind;
use portcullis::identity::password::PasswordHash;
use portcullis::identity::session::SessionId;
use portcullis::identity::user::UserId;
use portcullis::store::sql::SqlStore;
use portcullis::store::{Advance, ApiKeys, OneTimeTokens, Opening, RevocationLog, Sessions, StoreError, Users};
use sea_orm::{ConnectionTrait as _, TransactionTrait as _};
use uuid::Uuid;

use super::api_keys::api_key;
use super::database::{Database, on_every_database, on_mariadb, on_postgres};
use super::one_time::one_time;
use super::{ending, eventually, now, role, secs, session, user};

/// One of everything that touches a user's rows.
async fn deed(store: &SqlStore, number: u8, users: [UserId; 2]) -> Result<(), StoreError> {
    let user = users[usize::from(number) % 2];
    let at = now() + secs(1);
    match number % 8 {
        0 => store.end_all(user, None, &ending(at)).await.map(drop),
        1 => {
            let login = session(user, now() + secs(u64::from(number)));
            if store.open(&login, Uuid::new_v4()).await? == Opening::Opened {
                let refresh_expires_at = at + secs(86_400);
                let step = Advance {
                    session: login.id,
                    from: 0,
                    to: 1,
                    jti: Uuid::new_v4(),
                    at,
                    refresh_expires_at,
                    authenticated_at: None,
                };
                store.advance(&step).await?;
                store.end(login.id, &ending(at)).await?;
            }
            Ok(())
        }
        2 => store.change_password(user, &PasswordHash::from_stored("new".to_owned()), None, &ending(at)).await.map(drop),
        3 => store.set_roles(user, &[role("user"), role("admin")].into()).await.map(drop),
        4 => store.issue(&one_time(OneTimeKind::PasswordReset, Some(user), number)).await.map(drop),
        5 => {
            let key = api_key(user, number);
            ApiKeys::add(store, &key).await?;
            store.revoke(user, key.id, &ending(at)).await.map(drop)
        }
        6 => store.set_disabled(user, number % 16 == 6, &ending(at)).await.map(drop),
        _ => store.end(SessionId(Uuid::from_u128(u128::from(number % 4))), &ending(at)).await.map(drop),
    }
}

async fn operations_on_the_same_rows_do_not_fail_each_other(Database { store, .. }: Database) {
    let (ada, bob) = (user("ada"), user("bob"));
    for new in [&ada, &bob] {
        Users::add(&store, new).await.expect("nobody has the name");
    }
    let users = [ada.user.id, bob.user.id];
    let deeds: Vec<_> = (0..128)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move { deed(&store, number, users).await })
        })
        .collect();
    for (number, deed) in deeds.into_iter().enumerate() {
        deed.await.expect("no panic").unwrap_or_else(|error| panic!("deed {number}: {error:?}"));
    }
    for user in users {
        let records = store.delete_user(user, &ending(now() + secs(500))).await.expect("there").expect("there is such a user");
        let recorded = store.unexpired(now(), i64::MIN, 1000).await.expect("there");
        assert!(records.iter().all(|record| recorded.iter().any(|(_, recorded)| recorded == record)));
        assert_eq!(store.live(user, now()).await.expect("there"), []);
    }
}

async fn a_user_who_is_deleted_while_tokens_and_keys_are_made_leaves_none(Database { store, .. }: Database) {
    let ada = user("ada");
    Users::add(&store, &ada).await.expect("nobody has the name");
    let ada = ada.user.id;
    let makers: Vec<_> = (0..32)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                let token = one_time(OneTimeKind::PasswordReset, Some(ada), number);
                store.issue(&token).await.expect("the store waits for its turn");
                let key = api_key(ada, number);
                ApiKeys::add(&store, &key).await.expect("the store waits for its turn");
            })
        })
        .collect();
    assert!(store.delete_user(ada, &ending(now())).await.expect("there").is_some());
    for maker in makers {
        maker.await.expect("no panic");
    }
    assert_eq!(ApiKeys::list(&store, ada).await.expect("there"), []);
    assert_eq!(store.kill(ada, OneTimeKind::PasswordReset).await.expect("there"), 0);
}

/// Security case 184: in the time of one purge, others get their turn again and again.
async fn logins_complete_while_a_purge_of_many_rows_runs(Database { store, place }: Database) {
    const OVER: usize = 10_000;
    let ada = user("ada");
    Users::add(&store, &ada).await.expect("nobody has the name");
    let connection = place.connect().await;
    for ids in (0..OVER).collect::<Vec<_>>().chunks(500) {
        let row = |id: &usize| format!("('{}','{}',0,1,0,0,1,'0123456789abcdef')", Uuid::from_u128(*id as u128), ada.user.id);
        let rows: Vec<_> = ids.iter().map(row).collect();
        let columns = "id, user_id, created_at, ends_at, generation, rotated_at, refresh_expires_at, nonce";
        let insert = format!("INSERT INTO sessions ({columns}) VALUES {}", rows.join(","));
        connection.execute_unprepared(&insert).await.expect("the table is there");
    }
    let over = Arc::new(AtomicBool::new(false));
    let purge = tokio::spawn({
        let (store, over) = (store.clone(), Arc::clone(&over));
        async move {
            let purged = Sessions::purge(&store, now(), OVER as u32).await;
            over.store(true, Ordering::Release);
            purged
        }
    });
    let mut logins = 0;
    while !over.load(Ordering::Acquire) {
        let login = session(ada.user.id, now());
        let opened = tokio::time::timeout(Duration::from_secs(2), store.open(&login, Uuid::new_v4())).await;
        assert_eq!(opened.expect("a login does not wait for the purge").expect("there"), Opening::Opened);
        logins += 1;
    }
    assert_eq!(purge.await.expect("no panic").expect("there"), OVER as u64);
    assert!(logins > 1, "{logins} logins in the time of the purge");
    assert_eq!(store.live(ada.user.id, now()).await.expect("there").len(), logins);
}

on_every_database! {
    operations_on_the_same_rows_do_not_fail_each_other,
    a_user_who_is_deleted_while_tokens_and_keys_are_made_leaves_none,
    logins_complete_while_a_purge_of_many_rows_runs,
}

/// Another program takes the same rows in the other order, and the database sacrifices the store's transaction.
async fn the_victim_of_a_deadlock_is_begun_again(Database { store, place }: Database) {
    let ada = user("ada");
    Users::add(&store, &ada).await.expect("nobody has the name");
    let (ada, login) = (ada.user.id, session(ada.user.id, now()));
    assert_eq!(store.open(&login, Uuid::new_v4()).await.expect("there"), Opening::Opened);

    let other = place.connect().await;
    let transaction = other.begin().await.expect("the database is there");
    if place.url.starts_with("postgres") {
        transaction.execute_unprepared("SET LOCAL deadlock_timeout = '60s'").await.expect("an administrator may");
    }
    // With more changes than the store's transaction, which MariaDB then chooses.
    transaction.execute_unprepared("UPDATE sessions SET agent = 'other'").await.expect("the table is there");
    for number in 0..20 {
        let fill = format!("INSERT INTO client_assertions VALUES ('{number:032}', 0)");
        transaction.execute_unprepared(&fill).await.expect("the table is there");
    }
    let ending_all = tokio::spawn({
        let store = store.clone();
        async move { store.end_all(ada, None, &ending(now())).await }
    });
    eventually("the store waits for the session", || async { (place.waiting().await == 1).then_some(()) }).await;
    transaction.execute_unprepared("UPDATE users SET given_name = 'other'").await.expect("the store's transaction gives way");
    transaction.commit().await.expect("the database is there");
    let records = ending_all.await.expect("no panic").expect("it is begun again");
    assert_eq!(records.len(), 1);
    assert_eq!(store.live(ada, now()).await.expect("there"), []);
}

#[tokio::test]
async fn the_victim_of_a_deadlock_in_postgres_is_begun_again() {
    the_victim_of_a_deadlock_is_begun_again(Database::at(on_postgres().await).await).await;
}

#[tokio::test]
async fn the_victim_of_a_deadlock_in_mariadb_is_begun_again() {
    the_victim_of_a_deadlock_is_begun_again(Database::at(on_mariadb().await).await).await;
}
