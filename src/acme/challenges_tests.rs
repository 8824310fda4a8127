//! What is looked for, and how often anything is.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::future::join_all;
use jiff::Timestamp;
use uuid::Uuid;

use super::*;
use crate::acme::seal::SealingKey;
use crate::clock::SystemClock;
use crate::store::{AcmeAccount, AcmeCertificate, AcmeName, AcmeOrder, StoreError};
use crate::telemetry::metrics::Metrics;

const HOST: &str = "a.example";

/// A store with one challenge, `token` for `a.example`, that counts how often it is asked.
#[derive(Default)]
struct Counting {
    looks: AtomicUsize,
    down: AtomicBool,
}

#[async_trait]
impl Acme for Counting {
    async fn challenges(&self, now: Timestamp, _: u32) -> Result<Vec<AcmeChallenge>, StoreError> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        if self.down.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable { store: "sql", source: "a test wants it so".into() });
        }
        let (token, host, key_authorization) = ("token".to_owned(), HOST.to_owned(), "token.thumbprint".to_owned());
        Ok(vec![AcmeChallenge { token, host, key_authorization, expires_at: now }])
    }

    async fn take_lease(&self, _: &AcmeName, _: Uuid, _: Timestamp, _: Timestamp) -> Result<Option<u32>, StoreError> {
        unreachable!("who answers takes no lease")
    }
    async fn extend_lease(&self, _: &AcmeName, _: Uuid, _: Timestamp) -> Result<bool, StoreError> {
        unreachable!("who answers has no lease")
    }
    async fn rest_lease(&self, _: &AcmeName, _: Uuid, _: Timestamp, _: u32) -> Result<(), StoreError> {
        unreachable!("who answers has no lease")
    }
    async fn end_lease(&self, _: &AcmeName, _: Uuid) -> Result<(), StoreError> {
        unreachable!("who answers has no lease")
    }
    async fn account(&self, _: &AcmeName) -> Result<Option<AcmeAccount>, StoreError> {
        unreachable!("who answers needs no account")
    }
    async fn save_account(&self, _: &AcmeName, _: &AcmeAccount) -> Result<(), StoreError> {
        unreachable!("who answers changes nothing")
    }
    async fn order(&self, _: &AcmeName) -> Result<Option<AcmeOrder>, StoreError> {
        unreachable!("who answers needs no order")
    }
    async fn save_order(&self, _: &AcmeName, _: &AcmeOrder) -> Result<(), StoreError> {
        unreachable!("who answers changes nothing")
    }
    async fn forget_order(&self, _: &AcmeName) -> Result<(), StoreError> {
        unreachable!("who answers changes nothing")
    }
    async fn versions(&self, _: &[u8; 32]) -> Result<Vec<(String, i64)>, StoreError> {
        unreachable!("who answers shows nothing")
    }
    async fn certificate(&self, _: &AcmeName) -> Result<Option<AcmeCertificate>, StoreError> {
        unreachable!("who answers shows nothing")
    }
    async fn save_certificate(&self, _: &AcmeName, _: &AcmeCertificate) -> Result<(), StoreError> {
        unreachable!("who answers changes nothing")
    }
    async fn add_challenge(&self, _: &AcmeChallenge, _: Timestamp) -> Result<(), StoreError> {
        unreachable!("who answers changes nothing")
    }
    async fn remove_challenge(&self, _: &str) -> Result<(), StoreError> {
        unreachable!("who answers changes nothing")
    }
}

fn counting() -> (Challenges, Arc<Counting>) {
    let store = Arc::new(Counting::default());
    let parts = AcmeParts {
        store: store.clone(),
        sealing: SealingKey::new(&[7; 32]),
        clock: Arc::new(SystemClock),
        metrics: Arc::new(Metrics::new()),
        runtime: Handle::current(),
    };
    (Challenges::new(&[HOST.into()], &parts), store)
}

#[tokio::test]
async fn all_who_ask_together_share_one_look_and_looks_are_rare() {
    let (challenges, store) = counting();
    let asked = SystemClock.monotonic();
    let answers = join_all((0..500).map(|_| challenges.key_authorization(HOST, "token"))).await;
    assert!(answers.iter().all(|answer| answer.as_deref() == Some("token.thumbprint")));
    assert_eq!(store.looks.load(Ordering::SeqCst), 1);
    for _ in 0..3 {
        assert_eq!(challenges.key_authorization(HOST, "other").await, None);
    }
    assert_eq!(store.looks.load(Ordering::SeqCst), 4, "what was found before is not believed later");
    assert!(SystemClock.monotonic() - asked >= 3 * LOOK_EVERY_MIN);
}

#[tokio::test]
async fn what_is_no_token_or_no_host_of_ours_is_not_looked_for() {
    let (challenges, store) = counting();
    let long = "x".repeat(TOKEN_BYTES_MAX + 1);
    for none in ["", "token/", "token?x", "tok.en", "t%6Fken", "tökên", &long] {
        assert_eq!(challenges.key_authorization(HOST, none).await, None, "{none}");
    }
    for host in ["b.example", "", "x.a.example"] {
        assert_eq!(challenges.key_authorization(host, "token").await, None, "{host}");
        assert!(challenges.handshake(host).await.is_none(), "{host}");
    }
    assert_eq!(store.looks.load(Ordering::SeqCst), 0);
    let config = challenges.handshake(HOST).await.expect("it is asked about this one");
    assert_eq!(config.alpn_protocols, [b"acme-tls/1"]);
}

#[tokio::test]
async fn without_a_database_nothing_new_is_answered() {
    let (challenges, store) = counting();
    store.down.store(true, Ordering::SeqCst);
    assert_eq!(challenges.key_authorization(HOST, "token").await, None);
    assert!(challenges.handshake(HOST).await.is_none());
}
