//! Refresh: exactly one successor, and what happens to copies.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use portcullis::auth::AuthSettings;
use portcullis::auth::Origin;
use portcullis::auth::refresh::RefreshError;
use portcullis::store::memory::MemorySet;

use crate::support::{ACCESS_TOKEN, GRACE, REFRESH_TOKEN, SESSION_MAX, access, gate, gate_with, refresh, settings};

const MILLISECOND: Duration = Duration::from_millis(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_refreshes_of_one_token_yield_one_successor() {
    let gate = gate().await;
    let tokens = gate.signed_in("ada").await;

    let refreshes: Vec<_> = (0..96)
        .map(|_| {
            let (auth, token) = (Arc::clone(&gate.auth), refresh(&tokens).to_owned());
            tokio::spawn(async move { auth.refresh(&token, &Origin::default()).await })
        })
        .collect();
    let mut answers = HashSet::new();
    let mut last = None;
    for answer in refreshes {
        let successor = answer.await.unwrap().unwrap();
        answers.insert((refresh(&successor).to_owned(), access(&successor).to_owned()));
        last = Some(successor);
    }

    assert_eq!(answers.len(), 1);
    let successor = last.unwrap();
    assert!(gate.accepts(&successor).await);
    assert!(gate.refreshes(&successor).await, "nobody was logged out");
}

#[tokio::test]
async fn the_predecessor_is_answered_with_its_successor_until_the_grace_ends() {
    let gate = gate().await;
    let first = gate.signed_in("ada").await;
    let second = gate.auth.refresh(refresh(&first), &Origin::default()).await.unwrap();

    gate.clock.advance(GRACE - MILLISECOND);
    let repeated = gate.auth.refresh(refresh(&first), &Origin::default()).await.unwrap();
    assert_eq!(refresh(&repeated), refresh(&second));
    assert_eq!(access(&repeated), access(&second));
    assert!(gate.accepts(&second).await);

    gate.clock.advance(MILLISECOND);
    assert!(matches!(gate.auth.refresh(refresh(&first), &Origin::default()).await, Err(RefreshError::Reused(_))));
    assert!(!gate.accepts(&second).await, "its access tokens are revoked");
    assert!(matches!(gate.auth.refresh(refresh(&second), &Origin::default()).await, Err(RefreshError::Ended)));
}

#[tokio::test]
async fn a_grandparent_ends_the_session_even_within_the_grace() {
    let gate = gate().await;
    let first = gate.signed_in("ada").await;
    let second = gate.auth.refresh(refresh(&first), &Origin::default()).await.unwrap();
    let third = gate.auth.refresh(refresh(&second), &Origin::default()).await.unwrap();

    assert!(matches!(gate.auth.refresh(refresh(&first), &Origin::default()).await, Err(RefreshError::Reused(_))));
    assert!(!gate.refreshes(&third).await);
    assert!(!gate.accepts(&third).await);
}

#[tokio::test]
async fn a_reuse_ends_its_own_session_only() {
    let gate = gate().await;
    let phone = gate.signed_in("ada").await;
    let laptop = gate.login("ada").await;
    let next = gate.auth.refresh(refresh(&phone), &Origin::default()).await.unwrap();
    gate.auth.refresh(refresh(&next), &Origin::default()).await.unwrap();

    assert!(!gate.refreshes(&phone).await);

    assert!(gate.accepts(&laptop).await);
    assert!(gate.refreshes(&laptop).await);
}

#[tokio::test]
async fn a_refresh_token_dies_at_its_expiry() {
    let gate = gate().await;
    let tokens = gate.signed_in("ada").await;
    gate.clock.advance(REFRESH_TOKEN - MILLISECOND);
    let next = gate.auth.refresh(refresh(&tokens), &Origin::default()).await.unwrap();
    gate.clock.advance(REFRESH_TOKEN);
    assert!(matches!(gate.auth.refresh(refresh(&next), &Origin::default()).await, Err(RefreshError::Expired)));
}

#[tokio::test]
async fn no_refresh_moves_the_end_of_a_session() {
    let gate = gate().await;
    let mut tokens = gate.signed_in("ada").await;
    let step = SESSION_MAX / 4;
    for _ in 0..3 {
        gate.clock.advance(step);
        tokens = gate.auth.refresh(refresh(&tokens), &Origin::default()).await.unwrap();
    }
    gate.clock.advance(step - MILLISECOND);
    tokens = gate.auth.refresh(refresh(&tokens), &Origin::default()).await.unwrap();
    assert!(tokens.expires_in < ACCESS_TOKEN, "no access token outlives its session");
    gate.clock.advance(MILLISECOND);
    assert!(matches!(gate.auth.refresh(refresh(&tokens), &Origin::default()).await, Err(RefreshError::Expired)));
}

#[tokio::test]
async fn without_a_grace_a_token_is_good_for_one_use() {
    let strict = AuthSettings { rotation_grace: Duration::ZERO, ..settings() };
    let gate = gate_with(strict, MemorySet::new()).await;
    let first = gate.signed_in("ada").await;
    gate.auth.refresh(refresh(&first), &Origin::default()).await.unwrap();
    assert!(matches!(gate.auth.refresh(refresh(&first), &Origin::default()).await, Err(RefreshError::Reused(_))));
}

#[tokio::test]
async fn neither_kind_of_token_stands_in_for_the_other() {
    let gate = gate().await;
    let tokens = gate.signed_in("ada").await;
    assert!(matches!(gate.auth.refresh(access(&tokens), &Origin::default()).await, Err(RefreshError::Forged)));
    assert!(gate.authenticator.authenticate(refresh(&tokens)).await.is_err());
}

#[tokio::test]
async fn a_tampered_refresh_token_is_refused_and_harms_nobody() {
    let gate = gate().await;
    let tokens = gate.signed_in("ada").await;
    let genuine = refresh(&tokens);
    for at in [0, 20, 24, 40, genuine.len() - 2] {
        let mut bytes = genuine.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(bytes).unwrap();
        assert!(matches!(gate.auth.refresh(&forged, &Origin::default()).await, Err(RefreshError::Forged)), "byte {at}");
    }
    assert!(gate.refreshes(&tokens).await);
}

#[tokio::test]
async fn a_clock_that_is_set_back_ends_no_session_and_revives_none() {
    let gate = gate().await;
    let hour = Duration::from_secs(3600);
    let first = gate.signed_in("ada").await;
    let over = gate.login("ada").await;
    gate.auth.logout(Some(access(&over)), None, &Origin::default()).await.unwrap();
    gate.clock.advance(hour);
    let second = gate.auth.refresh(refresh(&first), &Origin::default()).await.unwrap();

    gate.clock.set_back(hour);

    // Case 182: a token from the future counts nowhere; the session goes on with the next one.
    assert!(!gate.accepts(&second).await);
    let third = gate.auth.refresh(refresh(&second), &Origin::default()).await.unwrap();
    assert!(gate.accepts(&third).await);
    assert!(!gate.accepts(&over).await && !gate.refreshes(&over).await);
    gate.clock.advance(hour);
    assert!(gate.refreshes(&third).await);
}
