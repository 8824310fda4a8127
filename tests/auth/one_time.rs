//! One-time tokens over a real database: redeemed, spent, refused; password reset and e-mail verification.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, header};
use portcullis::auth::Origin;
use portcullis::auth::audit::{Actor, RecordFilter};
use portcullis::auth::mail::{Enclosure, NoPostage, NotMailed, NotSent};
use portcullis::auth::one_time::{OneTimeError, Proof};
use portcullis::auth::password_reset::{Forgetful, PasswordResetError};
use portcullis::auth::reauthenticate::{Evidence, ReauthenticateError};
use portcullis::auth::register::NewAccount;
use portcullis::identity::one_time_token::OneTimeSecret;
use portcullis::identity::user::User;
use portcullis::store::OneTimeTokens as _;
use sea_orm::{ConnectionTrait as _, Database};
use serde_json::{Value, json};

use crate::api::{Answer, post, request, send};
use crate::support::{Gate, Mailed, PASSWORD, account, gate};

pub(crate) const NEW: &str = "a new password for the gate";

pub(crate) async fn registered(gate: &Gate, name: &str) -> User {
    let email = Some(format!("{name}@example.com"));
    gate.auth.register(NewAccount { email, ..account(name) }, &portcullis::auth::Origin::default()).await.unwrap()
}

pub(crate) async fn forget(gate: &Gate, email: &str) {
    let who = Forgetful::Email(email.to_owned());
    gate.auth.request_password_reset(who, Enclosure::default(), Origin::default()).await.unwrap();
}

pub(crate) async fn reset(gate: &Gate, token: &str) -> Result<(), PasswordResetError> {
    gate.auth.reset_password(Proof::Token(token), NEW, &Origin::default()).await
}

pub(crate) fn refused(outcome: &Result<(), PasswordResetError>) -> bool {
    matches!(outcome, Err(PasswordResetError::Refused))
}

#[tokio::test]
async fn a_mailed_token_sets_a_new_password_once_and_ends_every_session() {
    let gate = gate().await;
    registered(&gate, "ada").await;
    let before = gate.login("ada").await;
    forget(&gate, "ADA@example.com").await;
    let mails = gate.mails().await;
    assert_eq!(mails[0].to, "ada <ada@example.com>");

    reset(&gate, &mails[0].token).await.unwrap();

    assert!(!gate.accepts(&before).await && !gate.refreshes(&before).await);
    assert!(gate.auth.login("ada", PASSWORD, &Default::default()).await.is_err());
    gate.auth.login("ada", NEW, &Default::default()).await.unwrap();
    assert!(refused(&reset(&gate, &mails[0].token).await), "it is spent");
}

#[tokio::test]
async fn nobody_is_written_to_who_is_unknown_disabled_or_no_address_at_all() {
    let gate = gate().await;
    let eve = registered(&gate, "eve").await;
    gate.auth.set_user_disabled(eve.id, true, &Actor::operator()).await.unwrap();
    for email in ["nobody@example.com", "eve@example.com", "no address", "", "eve", "a@b\r\nBcc: c@d"] {
        forget(&gate, email).await;
    }
    assert_eq!(gate.mails().await, []);
}

#[tokio::test]
async fn a_newer_token_ends_the_older() {
    let gate = gate().await;
    registered(&gate, "ada").await;
    let mut seen = Vec::new();
    forget(&gate, "ada@example.com").await;
    let older = gate.mailed_token(&mut seen).await;
    forget(&gate, "ada@example.com").await;
    let newer = gate.mailed_token(&mut seen).await;

    assert!(refused(&reset(&gate, &older).await));
    reset(&gate, &newer).await.unwrap();
}

#[tokio::test]
async fn an_address_that_had_enough_mail_keeps_its_last_link() {
    let gate = gate().await;
    registered(&gate, "ada").await;
    let mut seen = Vec::new();
    let mut last = String::new();
    for _ in 0..5 {
        forget(&gate, "ada@example.com").await;
        last = gate.mailed_token(&mut seen).await;
    }
    // Case 191: what else is asked for sends nothing, and must not end the link that was sent.
    for _ in 0..20 {
        forget(&gate, "ada@example.com").await;
    }
    assert_eq!(gate.mails().await.len(), 5);
    reset(&gate, &last).await.unwrap();
}

#[tokio::test]
async fn a_token_is_good_until_its_expiry() {
    for (later, good) in [(3599, true), (3600, false)] {
        let gate = gate().await;
        registered(&gate, "ada").await;
        forget(&gate, "ada@example.com").await;
        let token = gate.mails().await.remove(0).token;
        gate.clock.advance(Duration::from_secs(later));
        assert_eq!(reset(&gate, &token).await.is_ok(), good, "{later} s");
    }
}

#[tokio::test]
async fn a_ticket_is_good_for_an_hour_also_if_its_token_expires_meanwhile() {
    for (later, good) in [(3599, true), (3600, false)] {
        let gate = gate().await;
        registered(&gate, "ada").await;
        forget(&gate, "ada@example.com").await;
        let token = gate.mails().await.remove(0).token;
        gate.clock.advance(Duration::from_secs(3599));
        let redeemed = gate.auth.redeem(&token, &Origin::default()).await.unwrap();
        gate.clock.advance(Duration::from_secs(later));
        let outcome = gate.auth.reset_password(Proof::Ticket(text(&redeemed.ticket)), NEW, &Origin::default()).await;
        assert_eq!(outcome.is_ok(), good, "{later} s");
    }
}

fn text(secret: &secrecy::SecretString) -> &str {
    secrecy::ExposeSecret::expose_secret(secret)
}

#[tokio::test]
async fn of_64_who_use_a_token_at_once_one_succeeds() {
    let gate = gate().await;
    registered(&gate, "ada").await;
    forget(&gate, "ada@example.com").await;
    let token = gate.mails().await.remove(0).token;
    let uses: Vec<_> = (0..64)
        .map(|n| {
            let (auth, token) = (Arc::clone(&gate.auth), token.clone());
            tokio::spawn(async move {
                // Half of them redeem, half of them reset with the token itself: it is used once by either.
                if n % 2 == 0 {
                    auth.redeem(&token, &Origin::default()).await.is_ok()
                } else {
                    auth.reset_password(Proof::Token(&token), NEW, &Origin::default()).await.is_ok()
                }
            })
        })
        .collect();
    let mut succeeded = 0;
    for each in uses {
        succeeded += usize::from(each.await.unwrap());
    }
    assert_eq!(succeeded, 1);
}

#[tokio::test]
async fn a_weak_password_costs_nobody_their_link() {
    let gate = gate().await;
    registered(&gate, "ada").await;
    forget(&gate, "ada@example.com").await;
    let token = gate.mails().await.remove(0).token;
    let weak = gate.auth.reset_password(Proof::Token(&token), "short", &Origin::default()).await;
    assert!(matches!(weak, Err(PasswordResetError::Invalid(errors)) if errors[0].field == "new_password"));
    reset(&gate, &token).await.unwrap();
}

#[tokio::test]
async fn a_deed_that_stopped_half_way_can_be_tried_again_with_the_same_token() {
    let gate = gate().await;
    registered(&gate, "ada").await;
    forget(&gate, "ada@example.com").await;
    let token = gate.mails().await.remove(0).token;
    // What a reset leaves behind that loses the database after its first step.
    let secret = OneTimeSecret::parse(&token).unwrap();
    let until = gate.now() + Duration::from_secs(60);
    gate.store.redeem(&secret.hash(), &secret.own_ticket().hash(), until, gate.now()).await.unwrap().unwrap();

    reset(&gate, &token).await.unwrap();
    assert!(refused(&reset(&gate, &token).await));
}

#[tokio::test]
async fn a_redeemed_token_is_of_no_use_beside_its_ticket() {
    let gate = gate().await;
    registered(&gate, "ada").await;
    forget(&gate, "ada@example.com").await;
    let token = gate.mails().await.remove(0).token;
    let redeemed = gate.auth.redeem(&token, &Origin::default()).await.unwrap();
    assert!(refused(&reset(&gate, &token).await));
    assert!(matches!(gate.auth.redeem(&token, &Origin::default()).await, Err(OneTimeError::Refused)));
    // Nor is a token a ticket.
    assert!(refused(&gate.auth.reset_password(Proof::Ticket(&token), NEW, &Origin::default()).await));
    gate.auth.reset_password(Proof::Ticket(text(&redeemed.ticket)), NEW, &Origin::default()).await.unwrap();
}

#[tokio::test]
async fn an_address_is_verified_by_what_was_mailed_to_it() {
    let gate = gate().await;
    registered(&gate, "ada").await;
    let caller = gate.caller(&gate.login("ada").await).await;
    assert_eq!(gate.auth.profile(&caller).await.unwrap().email_verified_at, None);
    gate.auth.send_verification(&caller, &Enclosure::default()).await.unwrap();
    let token = gate.mails().await.remove(0).token;

    gate.auth.verify_email(Proof::Token(&token), &Origin::default()).await.unwrap();

    assert_eq!(gate.auth.profile(&caller).await.unwrap().email_verified_at, Some(gate.now()));
    let filter = RecordFilter { kind: Some("email_verified".to_owned()), ..RecordFilter::default() };
    let recorded = gate.auth.audit_events(&filter, None, 10).await.unwrap();
    assert_eq!(recorded[0].actor.as_deref(), Some(&*caller.principal.subject));
    assert!(matches!(gate.auth.verify_email(Proof::Token(&token), &Origin::default()).await, Err(OneTimeError::Refused)));
    let again = gate.auth.send_verification(&caller, &Enclosure::default()).await;
    assert!(matches!(again, Err(NotSent::Verified)));
    let nameless = gate.caller(&gate.signed_in("nobody").await).await;
    assert!(matches!(gate.auth.send_verification(&nameless, &Enclosure::default()).await, Err(NotSent::NoAddress)));
}

#[tokio::test]
async fn whoever_asks_too_often_is_told_and_keeps_the_last_link() {
    let gate = gate().await;
    registered(&gate, "ada").await;
    let caller = gate.caller(&gate.login("ada").await).await;
    let (mut seen, mut last) = (Vec::new(), String::new());
    for _ in 0..5 {
        gate.auth.send_verification(&caller, &Enclosure::default()).await.unwrap();
        last = gate.mailed_token(&mut seen).await;
    }
    let refused = gate.auth.send_verification(&caller, &Enclosure::default()).await;
    assert!(matches!(refused, Err(NotSent::NotMailed(NotMailed::NoPostage(NoPostage::TooMany)))));
    gate.auth.verify_email(Proof::Token(&last), &Origin::default()).await.unwrap();
}

/// The user has another address from now on.
async fn moves_to(gate: &Gate, user: &User, email: &str) {
    let url = format!("sqlite:{}", gate.data.path().join("gate.db").display());
    let database = Database::connect(url).await.unwrap();
    let id = user.id;
    let update = format!("UPDATE users SET email = '{email}', email_canonical = CAST('{email}' AS BLOB) WHERE id = '{id}'");
    assert_eq!(database.execute_unprepared(&update).await.unwrap().rows_affected(), 1);
}

#[tokio::test]
async fn what_was_mailed_to_an_address_is_dead_once_the_user_has_another() {
    let gate = gate().await;
    let user = registered(&gate, "ada").await;
    let caller = gate.caller(&gate.login("ada").await).await;
    let mut seen = Vec::new();
    gate.auth.send_verification(&caller, &Enclosure::default()).await.unwrap();
    let verification = gate.mailed_token(&mut seen).await;
    forget(&gate, "ada@example.com").await;
    let password = gate.mailed_token(&mut seen).await;

    moves_to(&gate, &user, "ada@example.org").await;

    assert!(matches!(gate.auth.verify_email(Proof::Token(&verification), &Origin::default()).await, Err(OneTimeError::Refused)));
    assert!(refused(&reset(&gate, &password).await));
    assert_eq!(gate.auth.profile(&caller).await.unwrap().email_verified_at, None);
}

#[tokio::test]
async fn a_link_by_mail_stands_for_the_password_of_its_user_once() {
    let gate = gate().await;
    registered(&gate, "ada").await;
    registered(&gate, "eve").await;
    let (ada, eve) = (gate.caller(&gate.login("ada").await).await, gate.caller(&gate.login("eve").await).await);
    let enclosure = Enclosure { metadata: [("for".to_owned(), json!("the vault"))].into_iter().collect(), link: None };
    gate.auth.send_reauthentication(&ada, &enclosure).await.unwrap();
    let mut seen = Vec::new();
    let token = gate.mailed_token(&mut seen).await;
    let by =
        async |caller, token| gate.auth.reauthenticate(caller, Evidence::Mailed(Proof::Token(token)), &Origin::default()).await;
    let refused = |outcome| matches!(outcome, Err(ReauthenticateError::Refused));

    assert!(refused(by(&eve, &token).await), "somebody else's");
    gate.clock.advance(Duration::from_secs(60));
    let before = ada.principal.auth_time;
    let fresh = gate.caller(&by(&ada, &token).await.unwrap()).await;
    assert_eq!(fresh.principal.session, ada.principal.session);
    assert!(fresh.principal.auth_time > before);
    assert!(refused(by(&ada, &token).await), "used");

    gate.auth.send_reauthentication(&ada, &enclosure).await.unwrap();
    let token = gate.mailed_token(&mut seen).await;
    let redeemed = gate.auth.redeem(&token, &Origin::default()).await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&redeemed.metadata).unwrap(), json!({"for": "the vault"}));
    let ticket = Evidence::Mailed(Proof::Ticket(text(&redeemed.ticket)));
    gate.auth.reauthenticate(&ada, ticket, &Origin::default()).await.unwrap();

    gate.auth.send_reauthentication(&ada, &enclosure).await.unwrap();
    let late = gate.mailed_token(&mut seen).await;
    gate.clock.advance(Duration::from_secs(600));
    let caller = gate.caller(&gate.login("ada").await).await;
    assert!(refused(by(&caller, &late).await), "expired");
}

pub(crate) fn without_id(mut answer: Answer) -> (u16, Value) {
    answer.body.as_object_mut().unwrap().remove("decision_id");
    (answer.status.as_u16(), answer.body)
}

#[tokio::test]
async fn whatever_is_wrong_with_a_token_the_answer_is_the_same() {
    let gate = gate().await;
    let router = gate.router();
    registered(&gate, "ada").await;
    registered(&gate, "eve").await;
    let caller = gate.caller(&gate.login("ada").await).await;
    let mut seen: Vec<Mailed> = Vec::new();
    gate.auth.send_verification(&caller, &Enclosure::default()).await.unwrap();
    let other_purpose = gate.mailed_token(&mut seen).await;
    forget(&gate, "eve@example.com").await;
    let used = gate.mailed_token(&mut seen).await;
    reset(&gate, &used).await.unwrap();
    let redeemed = {
        forget(&gate, "eve@example.com").await;
        gate.mailed_token(&mut seen).await
    };
    gate.auth.redeem(&redeemed, &Origin::default()).await.unwrap();
    forget(&gate, "ada@example.com").await;
    let killed = gate.mailed_token(&mut seen).await;
    forget(&gate, "ada@example.com").await;
    let expired = gate.mailed_token(&mut seen).await;
    gate.clock.advance(Duration::from_secs(3600));

    let mut answers = Vec::new();
    for token in ["x", "", &"A".repeat(43), &other_purpose, &used, &redeemed, &killed, &expired] {
        let reset = json!({"token": token, "new_password": NEW});
        answers.push(without_id(post(&router, "/auth/password/reset", None, reset).await));
        if token != other_purpose {
            answers.push(without_id(post(&router, "/auth/email/verify", None, json!({"token": token})).await));
            answers.push(without_id(post(&router, "/auth/one-time-tokens/redeem", None, json!({"token": token})).await));
        }
        let register = json!({"username": "eve2", "password": NEW, "invitation": token});
        answers.push(without_id(post(&router, "/auth/register", None, register).await));
    }
    answers.push(without_id(post(&router, "/auth/password/reset", None, json!({"new_password": NEW})).await));
    let expected = json!({
        "type": "urn:portcullis:problem:bad_ticket", "title": "The one-time token is not valid", "status": 400, "code": "bad_ticket",
    });
    for answer in answers {
        assert_eq!(answer, (400, expected.clone()));
    }
}

#[tokio::test]
async fn a_browser_redeems_its_link_and_spends_the_cookie() {
    let gate = gate().await;
    let router = gate.router();
    registered(&gate, "ada").await;
    assert_eq!(post(&router, "/auth/password/forgot", None, json!({"email": "ada@example.com"})).await.status, 202);
    let token = gate.mails().await.remove(0).token;

    let redeemed = post(&router, "/auth/one-time-tokens/redeem", None, json!({"token": token})).await;
    assert_eq!((redeemed.status.as_u16(), redeemed.body), (200, json!({"kind": "password_reset", "metadata": {}})));
    let cookie = redeemed.headers[header::SET_COOKIE].to_str().unwrap().to_owned();
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert!(pair.starts_with("__Host-portcullis-ticket=") && !pair.contains(&token));
    assert_eq!(attributes, "Max-Age=3600; Path=/; Secure; HttpOnly; SameSite=Strict");

    let with_cookie = |body: Value| {
        let mut request = request(Method::POST, "/auth/password/reset", None);
        request.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
        request.headers_mut().insert(header::COOKIE, pair.parse().unwrap());
        *request.body_mut() = body.to_string().into();
        send(&router, request)
    };
    let weak = with_cookie(json!({"new_password": "short"})).await;
    assert_eq!((weak.status.as_u16(), weak.headers.get(header::SET_COOKIE)), (400, None), "the ticket is as good as before");
    let done = with_cookie(json!({"new_password": NEW})).await;
    assert_eq!((done.status.as_u16(), done.body), (204, Value::Null), "nobody is signed in by it");
    assert!(
        done.headers[header::SET_COOKIE].to_str().unwrap().starts_with("__Host-portcullis-ticket=; Max-Age=0; Path=/; Secure")
    );
    assert_eq!(with_cookie(json!({"new_password": NEW})).await.status, 400);
}

#[tokio::test]
async fn following_a_link_consumes_nothing() {
    let gate = gate().await;
    let router = gate.router();
    registered(&gate, "ada").await;
    forget(&gate, "ada@example.com").await;
    let token = gate.mails().await.remove(0).token;
    for path in ["/auth/one-time-tokens/redeem", "/auth/password/reset", "/auth/email/verify"] {
        for method in [Method::GET, Method::HEAD] {
            let answer = send_bodyless(&router, method, &format!("{path}?token={token}")).await;
            assert_eq!(answer, 405, "{path}");
        }
    }
    reset(&gate, &token).await.unwrap();
}

async fn send_bodyless(router: &axum::Router, method: Method, path: &str) -> u16 {
    use tower::ServiceExt as _;
    router.clone().oneshot(request(method, path, None)).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn asking_for_a_new_password_is_answered_alike_for_everybody() {
    let gate = gate().await;
    let router = gate.router();
    registered(&gate, "ada").await;
    for email in ["ada@example.com", "nobody@example.com", "no address"] {
        let answer = post(&router, "/auth/password/forgot", None, json!({"email": email})).await;
        assert_eq!((answer.status.as_u16(), answer.body), (202, Value::Null), "{email}");
    }
}
