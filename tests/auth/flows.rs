//! Registration and login: who gets in, who does not, and what the refused can learn.

use std::sync::Arc;
use std::time::Duration;

use portcullis::auth::audit::Actor;
use portcullis::auth::login::LoginError;
use portcullis::auth::password_change::PasswordChangeError;
use portcullis::auth::profile::NamesPatch;
use portcullis::auth::register::{NewAccount, RegisterError};
use portcullis::auth::{AuthSettings, Origin, Registration};
use portcullis::identity::password::{self, Hashing, Password, PasswordPolicy};
use portcullis::identity::user::{User, UserId, Username};
use portcullis::store::memory::MemorySet;
use portcullis::store::{NewUser, Users as _};
use uuid::Uuid;

use crate::support::{PASSWORD, account, gate, gate_with, role, settings};

#[tokio::test]
async fn a_login_yields_a_token_that_says_who_it_was() {
    let gate = gate().await;
    let user = gate.register("Ada").await;

    let origin = Origin { address: Some([192, 0, 2, 7].into()), agent: Some("ü".repeat(200)) };
    let tokens = gate.auth.login("aDA", PASSWORD, &origin).await.unwrap();

    let caller = gate.caller(&tokens).await;
    assert_eq!(*caller.principal.subject, user.id.to_string());
    assert_eq!(caller.principal.username.as_deref(), Some("Ada"));
    assert_eq!(caller.principal.roles[..], [Box::from("user")]);
    let sessions = gate.auth.live_sessions(&caller).await.unwrap();
    assert_eq!(sessions[0].id, caller.principal.session);
    assert_eq!(sessions[0].address, origin.address);
    assert_eq!(sessions[0].agent, Some("ü".repeat(128)), "cut at a character's border");
}

#[tokio::test]
async fn unknown_wrong_and_disabled_are_answered_alike() {
    let gate = gate().await;
    gate.register("ada").await;
    let eve = gate.register("eve").await;
    gate.auth.set_user_disabled(eve.id, true, &Actor::operator()).await.unwrap();

    for (name, password) in [
        ("ada", "wrong horse battery staple"),
        ("nobody", PASSWORD),
        ("not a name\u{7}", PASSWORD),
        ("a@b@c", PASSWORD),
        ("eve", PASSWORD),
        ("%", PASSWORD),
        ("' OR 1=1 --", PASSWORD),
    ] {
        let refused = gate.auth.login(name, password, &Origin::default()).await;
        assert!(matches!(refused, Err(LoginError::Credentials)), "{name}");
    }
    assert!(gate.auth.login("ada", PASSWORD, &Origin::default()).await.is_ok());
}

#[tokio::test]
async fn a_password_is_the_same_however_its_accents_are_typed() {
    let gate = gate().await;
    let composed = "caf\u{e9} au lait, s'il vous pla\u{ee}t";
    let decomposed = "cafe\u{301} au lait, s'il vous plai\u{302}t";
    gate.auth.register(NewAccount { password: composed.into(), ..account("ada") }, &Origin::default()).await.unwrap();

    assert!(gate.auth.login("ada", decomposed, &Origin::default()).await.is_ok());
    let without_accents = gate.auth.login("ada", "cafe au lait, s'il vous plait", &Origin::default()).await;
    assert!(matches!(without_accents, Err(LoginError::Credentials)));
}

#[tokio::test]
async fn a_bcrypt_hash_is_upgraded_by_the_login_that_proves_it() {
    let gate = gate().await;
    let bcrypt = PasswordPolicy { hashing: Hashing::Bcrypt { cost: 10 }, ..PasswordPolicy::default() };
    let hash = password::hash(&bcrypt, &Password::new(PASSWORD).unwrap(), [3; 16]).unwrap();
    let user = User {
        id: UserId(Uuid::from_u128(7)),
        username: Some(Username::parse("imported").unwrap()),
        email: None,
        given_name: None,
        family_name: None,
        roles: [role("user")].into(),
        email_verified_at: None,
        disabled_at: None,
        created_at: gate.now(),
    };
    gate.store.add(&NewUser { user: user.clone(), password: hash.clone() }).await.unwrap();

    assert!(gate.auth.login("imported", "wrong password", &Origin::default()).await.is_err());
    assert_eq!(gate.store.password(user.id).await.unwrap(), Some(hash), "a wrong password upgrades nothing");
    gate.login("imported").await;

    let upgraded = gate.store.password(user.id).await.unwrap().unwrap();
    assert!(upgraded.as_stored().starts_with("$argon2id$"));
    gate.login("imported").await;
    assert_eq!(gate.store.password(user.id).await.unwrap(), Some(upgraded), "upgraded once");
}

#[tokio::test]
async fn one_name_is_registered_once_however_many_try_at_once() {
    let gate = gate().await;
    let auth = Arc::clone(&gate.auth);
    let attempts = (0..16).map(|n| {
        let auth = Arc::clone(&auth);
        tokio::spawn(async move { auth.register(account(if n % 2 == 0 { "ada" } else { "ADA" }), &Origin::default()).await })
    });
    let mut registered = 0;
    for attempt in attempts.collect::<Vec<_>>() {
        match attempt.await.unwrap() {
            Ok(_) => registered += 1,
            Err(error) => assert!(matches!(error, RegisterError::Taken("username")), "{error}"),
        }
    }
    assert_eq!(registered, 1);
}

#[tokio::test]
async fn new_users_get_the_default_roles_and_may_ask_only_for_listed_ones() {
    let gate = gate().await;
    let asking = |roles: &[&str]| NewAccount { roles: roles.iter().map(|&role| role.to_owned()).collect(), ..account("ada") };

    let refused = gate.auth.register(asking(&["beta", "admin"]), &Origin::default()).await;
    assert!(matches!(refused, Err(RegisterError::Invalid(errors)) if errors[0].field == "roles"));

    let user = gate.auth.register(asking(&["beta"]), &Origin::default()).await.unwrap();
    assert_eq!(user.roles, [role("beta"), role("user")].into());
}

#[tokio::test]
async fn every_broken_rule_is_named_at_once() {
    let gate = gate().await;
    let broken = NewAccount {
        username: Some(" ada".to_owned()),
        email: Some("a@b@c".to_owned()),
        password: "short".into(),
        given_name: Some("A\u{0}".to_owned()),
        family_name: Some(String::new()),
        roles: vec!["a b".to_owned()],
    };
    let Err(RegisterError::Invalid(errors)) = gate.auth.register(broken, &Origin::default()).await else {
        panic!("it was accepted")
    };
    let mut fields: Vec<_> = errors.iter().map(|error| error.field).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["email", "family_name", "given_name", "password", "roles", "username"]);

    let nameless = NewAccount { username: None, ..account("") };
    assert!(matches!(gate.auth.register(nameless, &Origin::default()).await, Err(RegisterError::Invalid(_))));
}

#[tokio::test]
async fn a_password_that_everybody_tries_first_cannot_be_chosen() {
    let gate = gate().await;
    for (password, rule) in [("Password123", "most common"), ("Lovelace1815", "user name"), ("ada@home.example", "address")] {
        let email = Some("ada@home.example".to_owned());
        let chosen = NewAccount { password: password.into(), email, ..account("lovelace") };
        let Err(RegisterError::Invalid(errors)) = gate.auth.register(chosen, &Origin::default()).await else {
            panic!("{password} was accepted")
        };
        assert_eq!((errors.len(), errors[0].field), (1, "password"));
        assert!(errors[0].message.contains(rule), "{}", errors[0].message);
    }
    let tokens = gate.signed_in("lovelace").await;
    let caller = gate.caller(&tokens).await;
    let refused = gate.auth.change_password(&caller, PASSWORD, "12lovelace34", &Origin::default()).await;
    assert!(matches!(refused, Err(PasswordChangeError::Invalid(errors)) if errors[0].field == "new_password"));
}

#[tokio::test]
async fn closed_registration_leaves_adding_users_to_the_operator() {
    let closed = AuthSettings { registration: Registration::Closed, ..settings() };
    let gate = gate_with(closed, MemorySet::new()).await;
    assert!(matches!(gate.auth.register(account("ada"), &Origin::default()).await, Err(RegisterError::Closed)));

    let admin = NewAccount { roles: vec!["admin".to_owned()], ..account("ada") };
    let added = gate.auth.add_user(admin, &Actor::operator()).await.unwrap();
    assert!(added.roles.contains(&role("admin")));
    gate.login("ada").await;
}

#[tokio::test]
async fn an_overlong_password_is_refused_before_any_work() {
    let gate = gate().await;
    gate.register("ada").await;
    let refused = gate.auth.login("ada", &"x".repeat(1 << 20), &Origin::default()).await;
    assert!(matches!(refused, Err(LoginError::Invalid(_))));
}

#[tokio::test]
async fn names_change_and_go_only_where_the_patch_says_so() {
    let gate = gate().await;
    let tokens = gate.signed_in("ada").await;
    let caller = gate.caller(&tokens).await;
    let patch = NamesPatch { given_name: Some(Some("Ada".to_owned())), family_name: Some(Some("Lovelace".to_owned())) };
    gate.auth.change_names(&caller, patch, &Origin::default()).await.unwrap();

    gate.auth.change_names(&caller, NamesPatch { given_name: Some(None), family_name: None }, &Origin::default()).await.unwrap();

    let user = gate.auth.profile(&caller).await.unwrap();
    assert_eq!((user.given_name, user.family_name), (None, Some("Lovelace".to_owned())));
    let broken = NamesPatch { given_name: Some(Some("A\nB".to_owned())), family_name: None };
    assert!(gate.auth.change_names(&caller, broken, &Origin::default()).await.is_err());
}

#[tokio::test]
async fn an_access_token_dies_at_its_expiry_and_its_leeway() {
    let gate = gate().await;
    let tokens = gate.signed_in("ada").await;
    let expires_at = gate.caller(&tokens).await.token.expires_at;
    let to_end = Duration::try_from(expires_at.duration_since(gate.now())).unwrap();

    gate.clock.advance(to_end);
    gate.clock.advance(Duration::from_secs(4));
    assert!(gate.accepts(&tokens).await, "within the allowed skew");
    gate.clock.advance(Duration::from_secs(2));
    assert!(!gate.accepts(&tokens).await);
}
