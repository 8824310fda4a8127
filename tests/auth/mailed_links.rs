//! Links by mail: whom they are sent to, how often, how often they are tried, and what ends them.

use std::time::Duration;

use axum::http::header;
use portcullis::auth::Origin;
use portcullis::auth::api_keys::NewApiKey;
use portcullis::auth::audit::Actor;
use portcullis::identity::machine_secret::MachineSecret;
use portcullis::identity::user::UserId;
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::api::post;
use crate::one_time::{NEW, forget, refused, registered, reset, without_id};
use crate::support::{PASSWORD, gate};

#[tokio::test]
async fn a_reset_goes_to_the_address_on_record_and_to_none_that_only_looks_like_it() {
    let gate = gate().await;
    registered(&gate, "lila").await;
    // Case 160: what is typed is looked up, and never written to.
    for email in [
        "LILA@Example.COM",
        "l\u{131}la@example.com",
        "lila@ex\u{430}mple.com",
        "l\u{ec}la@example.com",
        "lila@example.com@example.net",
        "\"lila@example.com\"@example.net",
        "lila@example.com,eve@example.net",
        "lila@example.com ",
        "lila@example.com.",
        "lila+x@example.com",
    ] {
        forget(&gate, email).await;
    }
    let mails = gate.mails().await;
    assert_eq!(mails.iter().map(|mail| mail.to.as_str()).collect::<Vec<_>>(), ["lila <lila@example.com>"]);
}

#[tokio::test]
async fn tokens_are_not_tried_for_long_from_one_network() {
    let gate = gate().await;
    let router = gate.router();
    registered(&gate, "ada").await;
    forget(&gate, "ada@example.com").await;
    let token = gate.mails().await.remove(0).token;
    let reset = |token: &str| json!({"token": token, "new_password": NEW});
    let deeds = |token: &str| {
        [
            ("/auth/one-time-tokens/redeem", json!({"token": token})),
            ("/auth/password/reset", reset(token)),
            ("/auth/email/verify", json!({"token": token})),
            ("/auth/register", json!({"username": "eve", "password": NEW, "invitation": token})),
        ]
    };
    for attempt in 0..30 {
        // Whatever it is tried for, it is one budget.
        let (path, body) = &deeds(&"A".repeat(43))[attempt % 4];
        assert_eq!(post(&router, path, None, body.clone()).await.status, 400, "{attempt}");
    }
    for (path, body) in deeds(&token) {
        let refused = post(&router, path, None, body).await;
        assert_eq!((refused.status.as_u16(), &refused.body["code"]), (429, &json!("too_many")), "{path}");
        assert!(refused.headers.contains_key(header::RETRY_AFTER), "{path}");
    }
    gate.clock.advance(Duration::from_secs(700));
    for _ in 0..40 {
        let weak = json!({"token": token, "new_password": "short"});
        assert_eq!(post(&router, "/auth/password/reset", None, weak).await.status, 400, "a good token is no guess");
    }
    assert_eq!(post(&router, "/auth/password/reset", None, reset(&token)).await.status, 204);
}

#[tokio::test]
async fn new_passwords_are_asked_for_only_so_often_from_one_network_whoever_they_are_for() {
    let gate = gate().await;
    let router = gate.router();
    registered(&gate, "ada").await;
    let mut answers = Vec::new();
    for attempt in 0..32 {
        let email = ["ada@example.com", "nobody@example.com"][attempt % 2];
        answers.push(post(&router, "/auth/password/forgot", None, json!({"email": email})).await);
    }
    assert!(answers[..30].iter().all(|answer| answer.status == 202));
    // Known or not: the same refusal.
    let refused: Vec<_> = answers.drain(30..).map(|answer| (answer.headers.clone(), without_id(answer))).collect();
    assert_eq!((refused[0].1.0, &refused[0].1.1["code"]), (429, &json!("too_many")));
    assert_eq!(refused[0], refused[1]);
    gate.clock.advance(Duration::from_secs(700));
    assert_eq!(post(&router, "/auth/password/forgot", None, json!({"email": "ada@example.com"})).await.status, 202);
}

#[tokio::test]
async fn a_changed_password_ends_the_link_that_could_undo_the_change() {
    let gate = gate().await;
    registered(&gate, "ada").await;
    let caller = gate.caller(&gate.login("ada").await).await;
    let mut seen = Vec::new();
    forget(&gate, "ada@example.com").await;
    let token = gate.mailed_token(&mut seen).await;
    gate.auth.change_password(&caller, PASSWORD, NEW, &Origin::default()).await.unwrap();
    assert!(refused(&reset(&gate, &token).await), "somebody else read that mail");

    forget(&gate, "ada@example.com").await;
    let token = gate.mailed_token(&mut seen).await;
    gate.auth
        .set_user_password(caller.principal.subject.parse().map(UserId).unwrap(), &PASSWORD.into(), &Actor::operator())
        .await
        .unwrap();
    assert!(refused(&reset(&gate, &token).await));
}

#[tokio::test]
async fn who_takes_over_an_account_by_mail_shares_it_with_nobody_who_was_there_before() {
    let gate = gate().await;
    registered(&gate, "ada").await;
    // Somebody who does not read the mail of that address, and knows that its owner will come.
    let squatter = gate.caller(&gate.login("ada").await).await;
    let new = || NewApiKey { name: "nightly".to_owned(), scopes: Vec::new(), life: None };
    let (_, left_behind) = gate.auth.create_api_key(&squatter, new(), &Origin::default()).await.unwrap();
    let passes = async |key: &MachineSecret| gate.authenticator.authenticate(key.text().expose_secret()).await.is_ok();
    assert!(passes(&left_behind).await);
    let mut seen = Vec::new();
    forget(&gate, "ada@example.com").await;
    let token = gate.mailed_token(&mut seen).await;
    reset(&gate, &token).await.unwrap();
    assert!(!passes(&left_behind).await);

    // From now on it is known whose keys they are.
    let owner = gate.caller(&gate.auth.login("ada", NEW, &Origin::default()).await.unwrap()).await;
    assert_eq!(gate.auth.profile(&owner).await.unwrap().email_verified_at, Some(gate.now()));
    let (_, own) = gate.auth.create_api_key(&owner, new(), &Origin::default()).await.unwrap();
    forget(&gate, "ada@example.com").await;
    let token = gate.mailed_token(&mut seen).await;
    reset(&gate, &token).await.unwrap();
    assert!(passes(&own).await, "a forgotten password stops no program");
}
