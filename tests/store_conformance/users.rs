//! What every store of users promises.

use std::collections::BTreeSet;

use portcullis::identity::password::PasswordHash;
use portcullis::identity::user::{LoginName, UserId};
use portcullis::store::{Page, StoreError, Unique, Users};
use uuid::Uuid;

use super::{role, sqlite, user};

fn login(text: &str) -> LoginName {
    LoginName::parse(text).expect("a login name")
}

#[tokio::test]
async fn a_user_is_found_as_added_by_id_name_and_address_in_any_case() {
    let (store, _directory) = sqlite().await;
    let ada = user("Ada");
    store.add(&ada).await.expect("nobody has the name");
    assert_eq!(store.find(ada.user.id).await.expect("there").as_ref(), Some(&ada.user));
    for name in ["ADA", "ada", "ada@EXAMPLE.com"] {
        let (found, password) = store.find_by_login(&login(name)).await.expect("there").expect("found");
        assert_eq!((found, password), (ada.user.clone(), ada.password.clone()));
    }
    assert!(store.find_by_login(&login("adå")).await.expect("there").is_none(), "accents distinguish");
}

#[tokio::test]
async fn a_name_or_address_in_any_case_is_taken_once_and_nothing_is_half_written() {
    let (store, _directory) = sqlite().await;
    store.add(&user("ada")).await.expect("nobody has the name");
    let mut same_name = user("ADA");
    same_name.user.email = None;
    assert!(matches!(store.add(&same_name).await, Err(StoreError::Conflict(Unique::Username))));
    let mut same_address = user("ada");
    same_address.user.username = None;
    assert!(matches!(store.add(&same_address).await, Err(StoreError::Conflict(Unique::Email))));
    assert!(store.find(same_name.user.id).await.expect("there").is_none());
}

#[tokio::test]
async fn of_many_registrations_of_one_name_one_succeeds() {
    let (store, _directory) = sqlite().await;
    let attempts = (0..16).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.add(&user("ada")).await })
    });
    let mut added = 0;
    for attempt in attempts.collect::<Vec<_>>() {
        match attempt.await.expect("no panic") {
            Ok(()) => added += 1,
            Err(StoreError::Conflict(_)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(added, 1);
}

#[tokio::test]
async fn users_without_an_address_do_not_conflict() {
    let (store, _directory) = sqlite().await;
    for name in ["ada", "bob"] {
        let mut new = user(name);
        new.user.email = None;
        store.add(&new).await.expect("no address is no conflict");
    }
}

#[tokio::test]
async fn a_listing_goes_on_where_its_page_ended() {
    let (store, _directory) = sqlite().await;
    let mut ids = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        let new = user(name);
        store.add(&new).await.expect("nobody has the name");
        ids.push(new.user.id);
    }
    ids.sort();
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(Page { after, limit: 2 }).await.expect("there");
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        listed.extend(page.iter().map(|user| user.id));
    }
    assert_eq!(listed, ids);
}

#[tokio::test]
async fn roles_and_names_are_replaced_and_an_unknown_user_is_reported() {
    let (store, _directory) = sqlite().await;
    let ada = user("ada");
    store.add(&ada).await.expect("nobody has the name");
    let roles = BTreeSet::from([role("admin")]);
    assert!(store.set_roles(ada.user.id, &roles).await.expect("there"));
    assert!(store.set_roles(ada.user.id, &roles).await.expect("there"), "the same roles again are no error");
    assert!(store.set_names(ada.user.id, None, Some("Lovelace")).await.expect("there"));
    let found = store.find(ada.user.id).await.expect("there").expect("found");
    assert_eq!((found.roles, found.given_name, found.family_name.as_deref()), (roles, None, Some("Lovelace")));
    let nobody = UserId(Uuid::new_v4());
    assert!(!store.set_roles(nobody, &BTreeSet::new()).await.expect("there"));
    assert!(!store.set_names(nobody, None, None).await.expect("there"));
    assert!(store.password(nobody).await.expect("there").is_none());
}

#[tokio::test]
async fn an_upgrade_does_not_undo_a_password_that_changed_meanwhile() {
    let (store, _directory) = sqlite().await;
    let ada = user("ada");
    store.add(&ada).await.expect("nobody has the name");
    let hash = |text: &str| PasswordHash::from_stored(text.to_owned());
    assert!(store.upgrade_password(ada.user.id, &ada.password, &hash("new")).await.expect("there"));
    assert!(!store.upgrade_password(ada.user.id, &ada.password, &hash("newer")).await.expect("there"));
    assert_eq!(store.password(ada.user.id).await.expect("there"), Some(hash("new")));
}
