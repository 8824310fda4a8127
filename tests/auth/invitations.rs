//! Invitations: who may invite, what an invitation gives, and to whom.

use portcullis::auth::audit::Actor;
use std::sync::Arc;

use axum::http::{Method, header};
use portcullis::auth::invitation::{InviteError, Invited, NewInvitation};
use portcullis::auth::one_time::Proof;
use portcullis::auth::register::{NewAccount, RegisterError};
use portcullis::auth::{AuthSettings, Origin, Registration};
use portcullis::identity::Caller;
use portcullis::store::memory::MemorySet;
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::api::{post, request, send};
use crate::support::{Gate, PASSWORD, account, gate, gate_with, role, settings};

async fn by_invitation() -> Gate {
    gate_with(AuthSettings { registration: Registration::Invitation, ..settings() }, MemorySet::new()).await
}

/// Somebody with these roles, signed in.
async fn holder(gate: &Gate, name: &str, roles: &[&str]) -> Arc<Caller> {
    let roles = roles.iter().map(|&role| role.to_owned()).collect();
    gate.auth.add_user(NewAccount { roles, ..account(name) }, &Actor::operator()).await.unwrap();
    gate.caller(&gate.login(name).await).await
}

fn to(email: Option<&str>, roles: &[&str]) -> NewInvitation {
    let roles = roles.iter().map(|&role| role.to_owned()).collect();
    NewInvitation { email: email.map(str::to_owned), roles, ..NewInvitation::default() }
}

async fn invited(gate: &Gate, new: NewInvitation) -> Invited {
    gate.auth.invite_as_operator(new).await.unwrap()
}

async fn accept(gate: &Gate, account: NewAccount, invited: &Invited) -> Result<portcullis::identity::user::User, RegisterError> {
    gate.auth.accept_invitation(account, Proof::Token(invited.token.expose_secret()), &Origin::default()).await
}

#[tokio::test]
async fn who_was_invited_registers_with_the_roles_of_the_invitation_once() {
    let gate = by_invitation().await;
    assert!(matches!(gate.auth.register(account("ada"), &Origin::default()).await, Err(RegisterError::NotInvited)));
    let invited = invited(&gate, to(None, &["editor"])).await;
    assert_eq!(
        invited.link.as_ref().unwrap().expose_secret(),
        &format!("https://app.example/join#{}", invited.token.expose_secret())
    );

    let user = accept(&gate, account("ada"), &invited).await.unwrap();

    assert_eq!(user.roles, [role("editor"), role("user")].into());
    assert!(matches!(accept(&gate, account("eve"), &invited).await, Err(RegisterError::BadInvitation)));
}

#[tokio::test]
async fn of_many_who_accept_at_once_one_succeeds() {
    let gate = by_invitation().await;
    let invited = Arc::new(invited(&gate, to(None, &[])).await);
    let accepting: Vec<_> = (0..16)
        .map(|n| {
            let (auth, invited) = (Arc::clone(&gate.auth), Arc::clone(&invited));
            tokio::spawn(async move {
                let proof = Proof::Token(invited.token.expose_secret());
                auth.accept_invitation(account(&format!("user{n}")), proof, &Origin::default()).await
            })
        })
        .collect();
    let mut accepted = 0;
    for each in accepting {
        match each.await.unwrap() {
            Ok(_) => accepted += 1,
            Err(error) => assert!(matches!(error, RegisterError::BadInvitation), "{error}"),
        }
    }
    assert_eq!(accepted, 1);
}

#[tokio::test]
async fn roles_in_the_request_are_refused_unless_the_invitation_gives_them() {
    let gate = gate().await;
    let invited = invited(&gate, to(None, &["editor"])).await;
    let asking = |role: &str| NewAccount { roles: vec![role.to_owned()], ..account("ada") };
    for asked in ["admin", "beta"] {
        let refused = accept(&gate, asking(asked), &invited).await;
        assert!(matches!(refused, Err(RegisterError::Invalid(errors)) if errors[0].field == "roles"), "{asked}");
    }
    let user = accept(&gate, asking("editor"), &invited).await.unwrap();
    assert!(user.roles.contains(&role("editor")) && !user.roles.contains(&role("admin")));
}

#[tokio::test]
async fn an_invitation_for_an_address_is_mailed_to_it_and_good_for_no_other() {
    let gate = by_invitation().await;
    let admin = holder(&gate, "root", &["admin"]).await;
    let new = to(Some("Ada@example.com"), &["editor"]);
    let invited = gate.auth.invite(&admin, new, None, &Origin::default()).await.unwrap();
    let mails = gate.mails().await;
    assert!(invited.mailed);
    assert_eq!((&*mails[0].to, &*mails[0].token), ("Ada@example.com", invited.token.expose_secret()));

    let other = NewAccount { email: Some("eve@example.com".to_owned()), ..account("eve") };
    assert!(matches!(accept(&gate, other, &invited).await, Err(RegisterError::Invalid(errors)) if errors[0].field == "email"));
    let user = accept(&gate, account("ada"), &invited).await.unwrap();

    assert_eq!(user.email.unwrap().as_typed(), "Ada@example.com");
    assert_eq!(user.email_verified_at, Some(gate.now()), "only who reads its mail can have the link");
    gate.auth.login("ada@example.com", PASSWORD, &Default::default()).await.unwrap();
}

#[tokio::test]
async fn a_name_that_is_taken_leaves_the_invitation_good() {
    let gate = by_invitation().await;
    holder(&gate, "ada", &[]).await;
    let invited = invited(&gate, to(None, &[])).await;
    assert!(matches!(accept(&gate, account("ADA"), &invited).await, Err(RegisterError::Taken("username"))));
    accept(&gate, account("ada2"), &invited).await.unwrap();
}

#[tokio::test]
async fn who_may_invite_gives_away_only_what_they_have() {
    let gate = gate().await;
    let admin = holder(&gate, "root", &["admin"]).await;
    let inviter = holder(&gate, "host", &["invite", "editor"]).await;
    let user = holder(&gate, "ada", &["editor"]).await;

    assert!(matches!(gate.auth.invite(&user, to(None, &[]), None, &Origin::default()).await, Err(InviteError::Forbidden)));
    for roles in [&["admin"][..], &["editor", "billing"], &["a role"]] {
        let refused = gate.auth.invite(&inviter, to(None, roles), None, &Origin::default()).await;
        assert!(matches!(refused, Err(InviteError::Invalid(errors)) if errors[0].field == "roles"), "{roles:?}");
    }
    gate.auth.invite(&inviter, to(None, &["editor", "beta", "user"]), None, &Origin::default()).await.unwrap();
    gate.auth.invite(&admin, to(None, &["billing"]), None, &Origin::default()).await.unwrap();
    let refused = gate.auth.invite(&admin, to(Some("nowhere"), &[]), None, &Origin::default()).await;
    assert!(matches!(refused, Err(InviteError::Invalid(errors)) if errors[0].field == "email"));
}

#[tokio::test]
async fn an_inviter_who_left_or_lost_a_role_leaves_no_way_in() {
    let gate = gate().await;
    let admin = holder(&gate, "root", &["admin"]).await;
    let inviter = holder(&gate, "host", &["invite", "editor"]).await;
    let by_admin = gate.auth.invite(&admin, to(None, &["billing"]), None, &Origin::default()).await.unwrap();
    let by_inviter = gate.auth.invite(&inviter, to(None, &["editor"]), None, &Origin::default()).await.unwrap();

    let id = gate.auth.find_user("root").await.unwrap().id;
    gate.auth.set_user_disabled(id, true, &Actor::operator()).await.unwrap();
    let host = gate.auth.find_user("host").await.unwrap().id;
    gate.auth.set_user_roles(host, &[role("invite")].into(), &Actor::operator()).await.unwrap();

    for invited in [&by_admin, &by_inviter] {
        assert!(matches!(accept(&gate, account("ada"), invited).await, Err(RegisterError::BadInvitation)));
    }
    gate.auth.set_user_roles(host, &[role("invite"), role("editor")].into(), &Actor::operator()).await.unwrap();
    accept(&gate, account("ada"), &by_inviter).await.unwrap();
}

#[tokio::test]
async fn closed_registration_is_closed_to_the_invited_too() {
    let closed = AuthSettings { registration: Registration::Closed, ..settings() };
    let gate = gate_with(closed, MemorySet::new()).await;
    assert!(matches!(gate.auth.invite_as_operator(to(None, &[])).await, Err(InviteError::Closed)));
    let refused = gate.auth.accept_invitation(account("ada"), Proof::Token("x"), &Origin::default()).await;
    assert!(matches!(refused, Err(RegisterError::Closed)));
}

#[tokio::test]
async fn the_api_invites_and_a_browser_accepts_with_its_cookie() {
    let gate = by_invitation().await;
    let router = gate.router();
    holder(&gate, "host", &["invite"]).await;
    let tokens = gate.login("host").await;
    let bearer = Some(tokens.access_token.expose_secret());
    let invitation = post(&router, "/auth/invitations", bearer, json!({"roles": ["invite"]})).await;
    assert_eq!((invitation.status.as_u16(), &invitation.body["mailed"]), (201, &json!(false)));

    let redeemed = post(&router, "/auth/one-time-tokens/redeem", None, json!({"token": invitation.body["token"]})).await;
    assert_eq!(redeemed.body, json!({"kind": "invitation", "metadata": {"roles": ["invite"], "mailed": false}}));
    let cookie = redeemed.headers[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let mut register = request(Method::POST, "/auth/register", None);
    register.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    register.headers_mut().insert(header::COOKIE, cookie.parse().unwrap());
    *register.body_mut() = json!({"username": "ada", "password": PASSWORD}).to_string().into();
    let registered = send(&router, register).await;
    assert_eq!((registered.status.as_u16(), &registered.body["roles"]), (201, &json!(["invite", "user"])));
    assert!(registered.headers[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));

    let mailed = post(&router, "/auth/invitations", bearer, json!({"email": "eve@example.com"})).await;
    assert_eq!((mailed.status.as_u16(), &mailed.body["mailed"]), (201, &json!(true)));
    assert!(mailed.body.get("token").is_none() && mailed.body.get("link").is_none(), "its reader alone has it");
    assert_eq!(post(&router, "/auth/invitations", None, json!({})).await.status, 401);
}

#[tokio::test]
async fn where_anybody_may_register_the_ticket_of_another_deed_is_beside_the_point() {
    let gate = gate().await;
    let invited = invited(&gate, to(None, &["editor"])).await;
    let redeemed = gate.auth.redeem(invited.token.expose_secret(), &Origin::default()).await.unwrap();
    gate.auth.register_with_ticket(account("ada"), "no ticket at all", &Origin::default()).await.unwrap();
    let ticket = redeemed.ticket.expose_secret();
    let eve = gate.auth.register_with_ticket(account("eve"), ticket, &Origin::default()).await.unwrap();
    assert!(eve.roles.contains(&role("editor")));
    // Spent: to register without the roles that one was promised would be a surprise.
    let again = gate.auth.register_with_ticket(account("bob"), ticket, &Origin::default()).await;
    assert!(matches!(again, Err(RegisterError::BadInvitation)));
}
