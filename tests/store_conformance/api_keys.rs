//! What every store of API keys promises.

use portcullis::identity::session::SessionId;
use portcullis::identity::user::UserId;
use portcullis::store::sql::SqlStore;
use portcullis::store::{ApiKey, ApiKeys, RevocationLog, Users};
use uuid::Uuid;

use super::database::{Database, on_every_database};
use super::{ending, now, revoked_session, revoked_token, secs, user};

/// A key that does not expire; `secret` tells its hash from another's.
pub(crate) fn api_key(user: UserId, secret: u8) -> ApiKey {
    ApiKey {
        id: Uuid::now_v7(),
        user,
        name: "the nightly job".to_owned(),
        prefix: "pk_Ab3dE".to_owned(),
        hash: [secret; 32],
        scopes: vec!["reports:read".to_owned(), "reports:write".to_owned()],
        created_at: now(),
        expires_at: None,
        last_used_at: None,
        revoked_at: None,
    }
}

async fn ada_in(store: &SqlStore) -> UserId {
    let ada = user("ada");
    Users::add(store, &ada).await.expect("nobody has the name");
    ada.user.id
}

async fn find(store: &SqlStore, key: &ApiKey) -> Option<ApiKey> {
    ApiKeys::find(store, &key.hash).await.expect("there")
}

async fn a_key_is_found_as_added_by_its_hash(Database { store, .. }: Database) {
    let ada = ada_in(&store).await;
    let full = ApiKey { expires_at: Some(now() + secs(60)), last_used_at: Some(now()), ..api_key(ada, 1) };
    let bare = ApiKey { scopes: Vec::new(), ..api_key(ada, 2) };
    for key in [&full, &bare] {
        assert!(ApiKeys::add(&store, key).await.expect("there"));
        assert_eq!(find(&store, key).await.as_ref(), Some(key));
        assert_eq!(store.find_by_id(key.id).await.expect("there").as_ref(), Some(key));
    }
    assert_eq!(find(&store, &api_key(ada, 3)).await, None);
    assert_eq!(store.find_by_id(Uuid::new_v4()).await.expect("there"), None);
    assert!(!ApiKeys::add(&store, &api_key(UserId(Uuid::new_v4()), 4)).await.expect("there"), "nobody's key is not added");
}

async fn a_users_keys_are_listed_newest_first(Database { store, .. }: Database) {
    let (ada, bob) = (ada_in(&store).await, user("bob"));
    Users::add(&store, &bob).await.expect("nobody has the name");
    let (older, newer) = (api_key(ada, 1), ApiKey { created_at: now() + secs(1), ..api_key(ada, 2) });
    for key in [&older, &newer, &api_key(bob.user.id, 3)] {
        assert!(ApiKeys::add(&store, key).await.expect("there"));
    }
    assert_eq!(ApiKeys::list(&store, ada).await.expect("there"), [newer, older]);
}

async fn a_key_is_revoked_by_its_owner_with_the_tokens_issued_for_it(Database { store, .. }: Database) {
    let (ada, bob) = (ada_in(&store).await, user("bob"));
    Users::add(&store, &bob).await.expect("nobody has the name");
    let key = api_key(ada, 1);
    assert!(ApiKeys::add(&store, &key).await.expect("there"));
    let mut ending = ending(now());
    ending.revocations.push(revoked_token("a"));
    assert_eq!(store.revoke(bob.user.id, key.id, &ending).await.expect("there"), None, "not his key");
    assert_eq!(find(&store, &key).await.expect("found").revoked_at, None);

    let records = vec![revoked_session(SessionId(key.id), now() + secs(900)), revoked_token("a")];
    assert_eq!(store.revoke(ada, key.id, &ending).await.expect("there"), Some(records.clone()));
    ending.at = now() + secs(1);
    assert_eq!(store.revoke(ada, key.id, &ending).await.expect("there"), Some(records.clone()), "again is harmless");
    assert_eq!(find(&store, &key).await.expect("found").revoked_at, Some(now()), "the first revocation stands");
    let recorded = store.unexpired(now(), i64::MIN, 10).await.expect("there");
    assert_eq!(recorded.into_iter().map(|(_, record)| record).collect::<Vec<_>>(), records);
}

async fn the_last_use_only_moves_forward(Database { store, .. }: Database) {
    let ada = ada_in(&store).await;
    let key = api_key(ada, 1);
    assert!(ApiKeys::add(&store, &key).await.expect("there"));
    for at in [now() + secs(1), now()] {
        ApiKeys::touch(&store, key.id, at).await.expect("there");
        assert_eq!(find(&store, &key).await.expect("found").last_used_at, Some(now() + secs(1)));
    }
    ApiKeys::touch(&store, Uuid::new_v4(), now()).await.expect("a key that is gone is not touched");
}

async fn a_purge_forgets_keys_that_are_over(Database { store, .. }: Database) {
    let ada = ada_in(&store).await;
    let expiring = ApiKey { expires_at: Some(now()), ..api_key(ada, 1) };
    let (revoked, good) = (ApiKey { revoked_at: Some(now()), ..api_key(ada, 2) }, api_key(ada, 3));
    for key in [&expiring, &revoked, &good] {
        assert!(ApiKeys::add(&store, key).await.expect("there"));
    }
    assert_eq!(ApiKeys::purge(&store, now(), 100).await.expect("there"), 0);
    assert_eq!(ApiKeys::purge(&store, now() + secs(1), 100).await.expect("there"), 2);
    assert_eq!(ApiKeys::list(&store, ada).await.expect("there"), [good]);
}

on_every_database! {
    a_key_is_found_as_added_by_its_hash,
    a_users_keys_are_listed_newest_first,
    a_key_is_revoked_by_its_owner_with_the_tokens_issued_for_it,
    the_last_use_only_moves_forward,
    a_purge_forgets_keys_that_are_over,
}
