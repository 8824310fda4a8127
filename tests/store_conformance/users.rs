//! What every store of users promises.

use std::collections::BTreeSet;

use portcullis::identity::password::PasswordHash;
use portcullis::identity::user::{Email, LoginName, UserId};
use portcullis::store::{Page, StoreError, Unique, Users};
use uuid::Uuid;

use super::database::{Database, on_every_database};
use super::{now, role, user};

fn login(text: &str) -> LoginName {
    LoginName::parse(text).expect("a login name")
}

async fn a_user_is_found_as_added_by_id_name_and_address_in_any_case(Database { store, .. }: Database) {
    let ada = user("Ada");
    store.add(&ada).await.expect("nobody has the name");
    assert_eq!(store.find(ada.user.id).await.expect("there").as_ref(), Some(&ada.user));
    for name in ["ADA", "ada", "ada@EXAMPLE.com"] {
        let (found, password) = store.find_by_login(&login(name)).await.expect("there").expect("found");
        assert_eq!((found, password), (ada.user.clone(), ada.password.clone()));
    }
    assert!(store.find_by_login(&login("adå")).await.expect("there").is_none(), "accents distinguish");
}

async fn a_name_or_address_in_any_case_is_taken_once_and_nothing_is_half_written(Database { store, .. }: Database) {
    store.add(&user("ada")).await.expect("nobody has the name");
    let mut same_name = user("ADA");
    same_name.user.email = None;
    assert!(matches!(store.add(&same_name).await, Err(StoreError::Conflict(Unique::Username))));
    let mut same_address = user("ada");
    same_address.user.username = None;
    assert!(matches!(store.add(&same_address).await, Err(StoreError::Conflict(Unique::Email))));
    assert!(store.find(same_name.user.id).await.expect("there").is_none());
}

async fn whether_another_may_do_something_leaves_out_the_disabled_and_similar_roles(Database { store, .. }: Database) {
    let (ada, grace) = (user("ada"), user("grace"));
    store.add(&ada).await.expect("nobody has the name");
    assert!(!store.another_may(ada.user.id, &role("user")).await.expect("there"));
    store.add(&grace).await.expect("nobody has the name");
    assert!(store.another_may(ada.user.id, &role("user")).await.expect("there"));
    assert!(!store.another_may(ada.user.id, &role("USER")).await.expect("there"), "roles are compared exactly");
    portcullis::store::Sessions::set_disabled(&store, grace.user.id, true, &super::ending(now())).await.expect("there");
    assert!(!store.another_may(ada.user.id, &role("user")).await.expect("there"));
}

async fn of_64_registrations_of_one_name_in_two_cases_one_succeeds(Database { store, .. }: Database) {
    let attempts = (0..64).map(|number| {
        let (store, name) = (store.clone(), if number % 2 == 0 { "ada" } else { "ADA" });
        tokio::spawn(async move { store.add(&user(name)).await })
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

async fn users_without_an_address_do_not_conflict(Database { store, .. }: Database) {
    for name in ["ada", "bob"] {
        let mut new = user(name);
        new.user.email = None;
        store.add(&new).await.expect("no address is no conflict");
    }
}

async fn a_listing_goes_on_where_its_page_ended(Database { store, .. }: Database) {
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

async fn roles_and_names_are_replaced_and_an_unknown_user_is_reported(Database { store, .. }: Database) {
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

async fn an_upgrade_does_not_undo_a_password_that_changed_meanwhile(Database { store, .. }: Database) {
    let ada = user("ada");
    store.add(&ada).await.expect("nobody has the name");
    let hash = |text: &str| PasswordHash::from_stored(text.to_owned());
    assert!(store.upgrade_password(ada.user.id, &ada.password, &hash("new")).await.expect("there"));
    assert!(!store.upgrade_password(ada.user.id, &ada.password, &hash("newer")).await.expect("there"));
    assert_eq!(store.password(ada.user.id).await.expect("there"), Some(hash("new")));
}

async fn an_address_is_verified_only_while_it_is_the_users(Database { store, .. }: Database) {
    let ada = user("ada");
    store.add(&ada).await.expect("nobody has the name");
    let address = |text: &str| Email::parse(text).expect("an address");
    assert!(!store.set_email_verified(ada.user.id, &address("old@example.com"), now()).await.expect("there"));
    assert_eq!(store.find(ada.user.id).await.expect("there").expect("found").email_verified_at, None);
    assert!(store.set_email_verified(ada.user.id, &address("ADA@example.com"), now()).await.expect("there"));
    assert_eq!(store.find(ada.user.id).await.expect("there").expect("found").email_verified_at, Some(now()));
    assert!(!store.set_email_verified(UserId(Uuid::new_v4()), &address("ada@example.com"), now()).await.expect("there"));
}

async fn a_user_is_added_as_already_verified_and_disabled(Database { store, .. }: Database) {
    let mut ada = user("ada");
    (ada.user.email_verified_at, ada.user.disabled_at) = (Some(now()), Some(now()));
    store.add(&ada).await.expect("nobody has the name");
    assert_eq!(store.find(ada.user.id).await.expect("there"), Some(ada.user));
}

async fn an_import_adds_whom_it_can_and_says_who_was_there(Database { store, .. }: Database) {
    let users = [user("ada"), user("bob"), user("Ada"), user("eve")];
    store.add(&user("BOB")).await.expect("nobody has the name");
    let outcomes = store.import(&users).await;
    let taken = |outcome: &Result<(), StoreError>| matches!(outcome, Err(StoreError::Conflict(Unique::Username | Unique::Email)));
    assert_eq!(outcomes.len(), 4);
    assert!(outcomes[0].is_ok() && outcomes[3].is_ok(), "{outcomes:?}");
    assert!(taken(&outcomes[1]) && taken(&outcomes[2]), "{outcomes:?}");
    assert_eq!(store.list(Page { after: None, limit: 10 }).await.expect("there").len(), 3);
}

on_every_database! {
    a_user_is_found_as_added_by_id_name_and_address_in_any_case,
    a_name_or_address_in_any_case_is_taken_once_and_nothing_is_half_written,
    of_64_registrations_of_one_name_in_two_cases_one_succeeds,
    whether_another_may_do_something_leaves_out_the_disabled_and_similar_roles,
    users_without_an_address_do_not_conflict,
    a_listing_goes_on_where_its_page_ended,
    roles_and_names_are_replaced_and_an_unknown_user_is_reported,
    an_upgrade_does_not_undo_a_password_that_changed_meanwhile,
    an_address_is_verified_only_while_it_is_the_users,
    a_user_is_added_as_already_verified_and_disabled,
    an_import_adds_whom_it_can_and_says_who_was_there,
}
