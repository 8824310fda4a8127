//! What every store promises to replicas that have their certificates by ACME.

use std::sync::Arc;

use portcullis::store::{Acme, AcmeAccount, AcmeCertificate, AcmeChallenge, AcmeName, AcmeOrder};
use uuid::Uuid;

use super::database::{Database, on_every_database};
use super::{now, secs};

fn name(directory: u8, host: &str) -> AcmeName {
    AcmeName { directory: [directory; 32], host: host.into() }
}

fn certificate(text: &str) -> AcmeCertificate {
    AcmeCertificate { chain: text.repeat(3000), key: vec![0, 255, 7] }
}

fn order(url: &str) -> AcmeOrder {
    AcmeOrder { url: url.to_owned(), key: vec![1; 200], created_at: now() }
}

async fn of_many_replicas_one_takes_the_lease(Database { store, .. }: Database) {
    let store = Arc::new(store);
    // Once where there is no row yet, and once where a lease has run out.
    for at in [now(), now() + secs(15)] {
        let takes = (0..16).map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.take_lease(&name(1, "a.example"), Uuid::new_v4(), at, at + secs(15)).await })
        });
        let mut taken = 0;
        for take in takes.collect::<Vec<_>>() {
            taken += usize::from(take.await.expect("no panic").expect("the store waits for its turn").is_some());
        }
        assert_eq!(taken, 1, "{at}");
    }
}

async fn a_lease_is_free_from_its_end_on_and_not_before(Database { store, .. }: Database) {
    let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
    let lease = name(1, "a.example");
    let (end, tick) = (now() + secs(15), jiff::SignedDuration::from_millis(1));
    assert_eq!(store.take_lease(&lease, first, now(), end).await.expect("there"), Some(0));
    assert_eq!(store.take_lease(&lease, second, end - tick, end + secs(15)).await.expect("there"), None);
    assert!(store.extend_lease(&lease, first, end + secs(5)).await.expect("there"));
    assert_eq!(store.take_lease(&lease, second, end, end + secs(15)).await.expect("there"), None, "it was extended");
    assert_eq!(store.take_lease(&lease, second, end + secs(5), end + secs(20)).await.expect("there"), Some(0));
    assert!(!store.extend_lease(&lease, first, end + secs(99)).await.expect("there"), "it is the other one's");
    // What the one that was too slow does harms nobody.
    store.rest_lease(&lease, first, end + secs(999), 7).await.expect("there");
    store.end_lease(&lease, first).await.expect("there");
    assert!(store.extend_lease(&lease, second, end + secs(20)).await.expect("there"));
    store.end_lease(&lease, second).await.expect("there");
    assert_eq!(store.take_lease(&lease, first, now(), end).await.expect("there"), Some(0), "it was given up");
    // Another host, and the same at another authority, are nobody's.
    for other in [name(1, "b.example"), name(2, "a.example"), name(1, "")] {
        assert_eq!(store.take_lease(&other, second, now(), end).await.expect("there"), Some(0), "{other:?}");
    }
}

async fn after_a_failure_nobody_tries_before_its_time(Database { store, .. }: Database) {
    let (first, second, lease) = (Uuid::new_v4(), Uuid::new_v4(), name(1, "a.example"));
    let (end, again) = (now() + secs(15), now() + secs(60));
    store.take_lease(&lease, first, now(), end).await.expect("there");
    store.rest_lease(&lease, first, again, 3).await.expect("there");
    for owner in [first, second] {
        let early = again - jiff::SignedDuration::from_millis(1);
        assert_eq!(store.take_lease(&lease, owner, early, again + secs(15)).await.expect("there"), None);
    }
    assert!(!store.extend_lease(&lease, first, again).await.expect("there"), "it is nobody's");
    assert_eq!(store.take_lease(&lease, second, again, again + secs(15)).await.expect("there"), Some(3));
}

async fn an_account_is_kept_for_each_authority(Database { store, .. }: Database) {
    let (one, two) = (name(1, ""), name(2, ""));
    assert_eq!(store.account(&one).await.expect("there"), None);
    let account = |contact: &str| AcmeAccount { contact: contact.to_owned(), credentials: vec![0, 1, 255] };
    store.save_account(&one, &account("ops@example.com")).await.expect("there");
    store.save_account(&one, &account("new@example.com")).await.expect("there");
    assert_eq!(store.account(&one).await.expect("there"), Some(account("new@example.com")));
    assert_eq!(store.account(&two).await.expect("there"), None);
}

async fn a_certificate_ends_its_order_and_grows_in_version(Database { store, .. }: Database) {
    let (a, b) = (name(1, "a.example"), name(1, "b.example"));
    store.save_order(&a, &order("https://ca.example/1")).await.expect("there");
    store.save_order(&a, &order("https://ca.example/2")).await.expect("there");
    store.save_order(&b, &order("https://ca.example/3")).await.expect("there");
    assert_eq!(store.order(&a).await.expect("there"), Some(order("https://ca.example/2")));
    assert_eq!(store.certificate(&a).await.expect("there"), None);
    store.save_certificate(&a, &certificate("first")).await.expect("there");
    assert_eq!(store.order(&a).await.expect("there"), None);
    assert_eq!(store.order(&b).await.expect("there"), Some(order("https://ca.example/3")));
    assert_eq!(store.versions(&[1; 32]).await.expect("there"), [("a.example".to_owned(), 1)]);
    store.save_certificate(&a, &certificate("second")).await.expect("there");
    assert_eq!(store.certificate(&a).await.expect("there"), Some(certificate("second")));
    assert_eq!(store.versions(&[1; 32]).await.expect("there"), [("a.example".to_owned(), 2)]);
    assert_eq!(store.versions(&[2; 32]).await.expect("there"), []);
    store.forget_order(&b).await.expect("there");
    assert_eq!(store.order(&b).await.expect("there"), None);
}

async fn a_challenge_is_answered_until_it_expires(Database { store, .. }: Database) {
    let challenge = |token: &str, secs_left: u64| AcmeChallenge {
        token: token.to_owned(),
        host: "a.example".to_owned(),
        key_authorization: format!("{token}.thumbprint"),
        expires_at: now() + secs(secs_left),
    };
    // Tokens are base64url: case is all that tells some of them apart.
    for each in [challenge("token", 10), challenge("TOKEN", 20), challenge("other", 30)] {
        store.add_challenge(&each, now()).await.expect("there");
    }
    let tokens = async |after| {
        let mut tokens: Vec<_> = store.challenges(now() + secs(after), 9).await.expect("there");
        tokens.sort_by(|one, two| one.token.cmp(&two.token));
        tokens
    };
    assert_eq!(tokens(9).await, [challenge("TOKEN", 20), challenge("other", 30), challenge("token", 10)]);
    assert_eq!(tokens(10).await, [challenge("TOKEN", 20), challenge("other", 30)]);
    store.remove_challenge("TOKEN").await.expect("there");
    store.add_challenge(&challenge("new", 99), now() + secs(30)).await.expect("there");
    assert_eq!(tokens(0).await, [challenge("new", 99)], "what had expired was forgotten");
}

on_every_database! {
    of_many_replicas_one_takes_the_lease,
    a_lease_is_free_from_its_end_on_and_not_before,
    after_a_failure_nobody_tries_before_its_time,
    an_account_is_kept_for_each_authority,
    a_certificate_ends_its_order_and_grows_in_version,
    a_challenge_is_answered_until_it_expires,
}
