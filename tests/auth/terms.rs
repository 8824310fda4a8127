//! Sessions under other terms than the gateway's own: those of a dialect.

use portcullis::auth::audit::Actor;
use std::sync::Arc;
use std::time::Duration;

use portcullis::auth::logout::LogoutError;
use portcullis::auth::refresh::RefreshError;
use portcullis::auth::revive::ReviveError;
use portcullis::auth::terms::{Renewal, SessionTerms};
use portcullis::auth::tokens::Tokens;
use portcullis::auth::{AuthSettings, Origin};
use portcullis::identity::access_token::{TokenPolicy, payload_of_verified};
use portcullis::identity::user::User;
use portcullis::store::memory::MemorySet;
use serde_json::{Map, Value, json};

use crate::support::{
    ACCESS_TOKEN, GRACE, Gate, PASSWORD, REFRESH_TOKEN, SESSION_MAX, SKEW, access, gate, gate_with, refresh, settings,
};

const SECOND: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_secs(15);
const WEEK: Duration = Duration::from_secs(7 * 86_400);

fn standing() -> SessionTerms {
    SessionTerms { access_token: SHORT, refresh_token: WEEK, renewal: Renewal::Stand, claims: None }
}

fn rotating() -> SessionTerms {
    SessionTerms { renewal: Renewal::Rotate { revokes_access: true }, ..standing() }
}

impl Gate {
    async fn login_under(&self, terms: &SessionTerms, username: &str) -> Tokens {
        self.auth.login_under(terms, username, PASSWORD, &Origin::default()).await.unwrap().tokens
    }

    async fn ada_under(&self, terms: &SessionTerms) -> Tokens {
        self.register("ada").await;
        self.login_under(terms, "ada").await
    }

    async fn renewed(&self, terms: &SessionTerms, tokens: &Tokens) -> Result<Tokens, RefreshError> {
        self.auth.refresh_under(terms, refresh(tokens), &Origin::default()).await
    }
}

fn said(tokens: &Tokens) -> Value {
    payload_of_verified(access(tokens)).unwrap()
}

#[tokio::test]
async fn lives_are_those_of_the_terms() {
    let gate = gate().await;
    let tokens = gate.ada_under(&standing()).await;
    // The clock stands at .400: the life of an access token begins with its whole second.
    assert_eq!(tokens.expires_in, SHORT - Duration::from_millis(400));
    assert_eq!(tokens.refresh_expires_in, WEEK);
    gate.clock.advance(SHORT + SKEW - Duration::from_millis(401));
    assert!(gate.accepts(&tokens).await);
    gate.clock.advance(Duration::from_millis(1));
    assert!(!gate.accepts(&tokens).await);
}

#[tokio::test]
async fn claims_are_those_of_the_terms_also_after_a_refresh() {
    let gate = gate().await;
    let claims = |user: &User| {
        let name = user.username.as_ref().map(|name| name.as_typed().to_owned());
        Map::from_iter([("name".to_owned(), json!(name)), ("sub".to_owned(), json!("somebody else"))])
    };
    let terms = SessionTerms { claims: Some(Arc::new(claims)), ..standing() };
    let tokens = gate.ada_under(&terms).await;
    let renewed = gate.renewed(&terms, &tokens).await.unwrap();
    let subject = gate.caller(&tokens).await.principal.subject.to_string();
    for tokens in [&tokens, &renewed] {
        assert_eq!((said(tokens)["name"].clone(), said(tokens)["sub"].clone()), (json!("ada"), json!(subject)));
    }
}

#[tokio::test]
async fn a_standing_refresh_token_stays_the_same_and_each_access_token_is_another() {
    let gate = gate().await;
    let tokens = gate.ada_under(&standing()).await;
    let mut ids = vec![said(&tokens)["jti"].clone()];
    for _ in 0..3 {
        gate.clock.advance(GRACE + SECOND);
        let renewed = gate.renewed(&standing(), &tokens).await.unwrap();
        assert_eq!(refresh(&renewed), refresh(&tokens));
        assert_eq!(renewed.expires_in, SHORT - Duration::from_millis(400));
        assert!(gate.accepts(&renewed).await);
        ids.push(said(&renewed)["jti"].clone());
    }
    ids.sort_by_key(ToString::to_string);
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[tokio::test]
async fn the_life_of_a_standing_refresh_token_begins_anew_with_each_use_up_to_the_sessions_own() {
    let gate = gate().await;
    let tokens = gate.ada_under(&standing()).await;
    let mut lived = Duration::ZERO;
    while lived + WEEK < SESSION_MAX {
        gate.clock.advance(WEEK - SECOND);
        lived += WEEK - SECOND;
        let renewed = gate.renewed(&standing(), &tokens).await.unwrap();
        assert_eq!(renewed.refresh_expires_in, WEEK.min(SESSION_MAX - lived));
    }
    gate.clock.advance(SESSION_MAX - lived - SECOND);
    assert!(gate.renewed(&standing(), &tokens).await.is_ok());
    gate.clock.advance(SECOND);
    assert!(matches!(gate.renewed(&standing(), &tokens).await, Err(RefreshError::Expired)));
}

#[tokio::test]
async fn a_standing_refresh_token_that_is_not_used_expires() {
    let gate = gate().await;
    let tokens = gate.ada_under(&standing()).await;
    gate.clock.advance(WEEK);
    assert!(matches!(gate.renewed(&standing(), &tokens).await, Err(RefreshError::Expired)));
}

#[tokio::test]
async fn every_access_token_of_a_standing_session_ends_with_it() {
    let gate = gate().await;
    let tokens = gate.ada_under(&standing()).await;
    let renewed = [gate.renewed(&standing(), &tokens).await.unwrap(), gate.renewed(&standing(), &tokens).await.unwrap()];
    gate.auth.logout(None, Some(refresh(&tokens)), &Origin::default()).await.unwrap();
    for tokens in [&tokens, &renewed[0], &renewed[1]] {
        assert!(!gate.accepts(tokens).await);
    }
    assert!(matches!(gate.renewed(&standing(), &tokens).await, Err(RefreshError::Ended)));
}

#[tokio::test]
async fn a_token_that_rotates_is_none_where_none_does() {
    let gate = gate().await;
    let tokens = gate.signed_in("ada").await;
    assert!(matches!(gate.renewed(&standing(), &tokens).await, Err(RefreshError::Forged)));
    assert!(gate.refreshes(&tokens).await, "nothing came of it");
}

#[tokio::test]
async fn a_token_that_stands_may_rotate_and_is_a_used_one_from_then_on() {
    let gate = gate().await;
    let tokens = gate.ada_under(&standing()).await;
    let rotated = gate.auth.refresh(refresh(&tokens), &Origin::default()).await.unwrap();
    assert!(matches!(gate.renewed(&standing(), &tokens).await, Err(RefreshError::Ended)), "within the grace");
    assert!(gate.accepts(&rotated).await);
    gate.clock.advance(GRACE);
    assert!(matches!(gate.renewed(&standing(), &tokens).await, Err(RefreshError::Reused(_))));
    assert!(!gate.accepts(&rotated).await && !gate.refreshes(&rotated).await);
}

#[tokio::test]
async fn a_refresh_revokes_the_access_token_before_it_where_the_terms_say_so() {
    let gate = gate().await;
    let first = gate.ada_under(&rotating()).await;
    let second = gate.renewed(&rotating(), &first).await.unwrap();
    assert!(!gate.accepts(&first).await);
    assert!(gate.accepts(&second).await);
    let again = gate.renewed(&rotating(), &first).await.unwrap();
    assert_eq!((access(&again), refresh(&again)), (access(&second), refresh(&second)));
    assert!(gate.accepts(&second).await, "a repetition revokes nothing");

    let own = gate.login("ada").await;
    gate.auth.refresh(refresh(&own), &Origin::default()).await.unwrap();
    assert!(gate.accepts(&own).await, "not under the gateway's own terms");
}

#[tokio::test]
async fn a_revocation_outlives_the_longest_access_token_of_any_terms() {
    let long = 4 * ACCESS_TOKEN;
    let policy = TokenPolicy { life_max: long, ..settings().tokens };
    let gate = gate_with(AuthSettings { tokens: policy, ..settings() }, MemorySet::new()).await;
    let terms = SessionTerms { access_token: long, refresh_token: REFRESH_TOKEN, ..standing() };
    let tokens = gate.ada_under(&terms).await;
    gate.auth.logout(None, Some(refresh(&tokens)), &Origin::default()).await.unwrap();
    gate.clock.advance(long - SECOND);
    assert!(!gate.accepts(&tokens).await, "it has not expired, and its revocation is not forgotten");
}

#[tokio::test]
async fn a_strict_logout_says_what_there_was_to_end() {
    let gate = gate().await;
    let tokens = gate.ada_under(&standing()).await;
    let other = gate.login("ada").await;
    assert!(matches!(gate.auth.logout_strictly("garbage", &Origin::default()).await, Err(LogoutError::Forged)));
    gate.auth.logout_strictly(refresh(&tokens), &Origin::default()).await.unwrap();
    for token in [refresh(&tokens), access(&tokens)] {
        assert!(matches!(gate.auth.logout_strictly(token, &Origin::default()).await, Err(LogoutError::Ended)));
    }
    // An expired access token still names its session.
    gate.clock.advance(ACCESS_TOKEN + SKEW);
    gate.auth.logout_strictly(access(&other), &Origin::default()).await.unwrap();
    assert!(!gate.refreshes(&other).await);
}

#[tokio::test]
async fn an_expired_access_token_is_revived_by_the_live_refresh_token_of_its_session() {
    let gate = gate().await;
    let (tokens, other) = (gate.ada_under(&standing()).await, gate.login_under(&standing(), "ada").await);
    gate.clock.advance(SHORT + SKEW);
    assert!(!gate.accepts(&tokens).await);
    let caller = gate.auth.revive(access(&tokens), refresh(&tokens)).await.unwrap();
    assert_eq!(caller.principal.username.as_deref(), Some("ada"));
    for stranger in [refresh(&other), "garbage", access(&tokens)] {
        assert!(matches!(gate.auth.revive(access(&tokens), stranger).await, Err(ReviveError::NotItsSession)), "{stranger}");
    }
    assert!(matches!(gate.auth.revive("garbage", refresh(&tokens)).await, Err(ReviveError::NotItsSession)));
    gate.clock.advance(WEEK - SHORT - SKEW);
    assert!(matches!(gate.auth.revive(access(&tokens), refresh(&tokens)).await, Err(ReviveError::Over)));
}

#[tokio::test]
async fn nothing_is_revived_after_a_logout_or_for_a_disabled_user() {
    let gate = gate().await;
    let user = gate.register("ada").await;
    let (tokens, other) = (gate.login_under(&standing(), "ada").await, gate.login_under(&standing(), "ada").await);
    gate.clock.advance(SHORT + SKEW);
    gate.auth.logout(None, Some(refresh(&tokens)), &Origin::default()).await.unwrap();
    assert!(matches!(gate.auth.revive(access(&tokens), refresh(&tokens)).await, Err(ReviveError::Over)));
    assert!(gate.auth.revive(access(&other), refresh(&other)).await.is_ok());
    gate.auth.set_user_disabled(user.id, true, &Actor::operator()).await.unwrap();
    assert!(matches!(gate.auth.revive(access(&other), refresh(&other)).await, Err(ReviveError::Over)));
}
