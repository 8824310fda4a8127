//! What every store of clients promises.

use std::collections::BTreeSet;

use portcullis::store::{Client, Clients, Page, RevocationLog, StoreError, Unique};

use super::database::{Database, on_every_database};
use super::{ending, now, revoked_before, role, secs};

fn client(id: &str) -> Client {
    Client {
        id: id.to_owned(),
        name: "Billing".to_owned(),
        secret_hash: Some([7; 32]),
        public_keys: None,
        scopes: vec!["invoices:read".to_owned()],
        roles: BTreeSet::from([role("service"), role("Service")]),
        created_at: now(),
        disabled_at: None,
    }
}

async fn a_client_is_found_as_added(Database { store, .. }: Database) {
    let keys = Some(r#"{"keys":[]}"#.to_owned());
    let bare = Client { secret_hash: None, public_keys: keys, scopes: vec![], roles: BTreeSet::new(), ..client("bare") };
    for client in [&client("billing"), &bare] {
        Clients::add(&store, client).await.expect("the id is free");
        assert_eq!(Clients::find(&store, &client.id).await.expect("there").as_ref(), Some(client));
    }
    assert_eq!(Clients::find(&store, "nobody").await.expect("there"), None);
}

async fn client_ids_are_compared_byte_by_byte(Database { store, .. }: Database) {
    for id in ["billing", "Billing", "billing ", "billíng"] {
        Clients::add(&store, &client(id)).await.expect("the id is free");
    }
    let taken = Clients::add(&store, &client("Billing")).await;
    assert!(matches!(taken, Err(StoreError::Conflict(Unique::Client))), "{taken:?}");
    assert_eq!(Clients::find(&store, "BILLING").await.expect("there"), None);
}

async fn clients_are_listed_in_pages(Database { store, .. }: Database) {
    for id in ["c", "a", "B"] {
        Clients::add(&store, &client(id)).await.expect("the id is free");
    }
    let page = async |after| {
        let page = Clients::list(&store, Page { after, limit: 2 }).await.expect("there");
        page.into_iter().map(|client| client.id).collect::<Vec<_>>()
    };
    assert_eq!(page(None).await, ["B", "a"]);
    assert_eq!(page(Some("a")).await, ["c"]);
}

async fn a_client_is_disabled_with_its_tokens_until_enabled(Database { store, .. }: Database) {
    Clients::add(&store, &client("billing")).await.expect("the id is free");
    let mut ending = ending(now());
    ending.revocations.push(revoked_before("billing", now()));
    let records = ending.revocations.clone();
    assert_eq!(Clients::set_disabled(&store, "billing", true, &ending).await.expect("there"), Some(records));
    assert_eq!(Clients::find(&store, "billing").await.expect("there").expect("found").disabled_at, Some(now()));
    assert_eq!(store.unexpired(now(), i64::MIN, 10).await.expect("there").len(), 1);
    assert_eq!(Clients::set_disabled(&store, "billing", false, &ending).await.expect("there"), Some(Vec::new()));
    assert_eq!(Clients::find(&store, "billing").await.expect("there").expect("found").disabled_at, None);
    assert_eq!(Clients::set_disabled(&store, "nobody", true, &ending).await.expect("there"), None);
}

async fn a_deleted_client_leaves_its_revocations(Database { store, .. }: Database) {
    Clients::add(&store, &client("billing")).await.expect("the id is free");
    let mut ending = ending(now());
    ending.revocations.push(revoked_before("billing", now()));
    let records = ending.revocations.clone();
    assert_eq!(store.delete("billing", &ending).await.expect("there"), Some(records));
    assert_eq!(Clients::find(&store, "billing").await.expect("there"), None);
    assert_eq!(store.unexpired(now(), i64::MIN, 10).await.expect("there").len(), 1);
    assert_eq!(store.delete("billing", &ending).await.expect("there"), None);
}

async fn an_assertion_is_used_once_until_it_is_forgotten(Database { store, .. }: Database) {
    let uses = (0..16).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.use_assertion(&[1; 32], now()).await })
    });
    let mut first = 0;
    for used in uses.collect::<Vec<_>>() {
        first += u32::from(used.await.expect("no panic").expect("the store waits for its turn"));
    }
    assert_eq!(first, 1);
    assert!(store.use_assertion(&[2; 32], now() + secs(60)).await.expect("there"));
    assert!(store.assertion_was_used(&[1; 32]).await.expect("there"));
    assert!(!store.assertion_was_used(&[3; 32]).await.expect("there"));
    assert_eq!(store.purge_assertions(now(), 100).await.expect("there"), 0);
    assert_eq!(store.purge_assertions(now() + secs(1), 100).await.expect("there"), 1);
    assert!(store.use_assertion(&[1; 32], now()).await.expect("there"));
    assert!(!store.use_assertion(&[2; 32], now()).await.expect("there"));
}

on_every_database! {
    a_client_is_found_as_added,
    client_ids_are_compared_byte_by_byte,
    clients_are_listed_in_pages,
    a_client_is_disabled_with_its_tokens_until_enabled,
    a_deleted_client_leaves_its_revocations,
    an_assertion_is_used_once_until_it_is_forgotten,
}
