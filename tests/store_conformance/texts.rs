//! Texts mean what they say (security cases 162, 163): nothing is folded, cut, padded or executed.

use portcullis::identity::one_time_token::OneTimeKind;
use portcullis::identity::user::{LoginName, Username};
use portcullis::store::{
    ApiKeys, AuditFilter, AuditLog, Covers, NewUser, OneTimeTokens, Page, Revocation, RevocationLog, Sessions, StoreError, Users,
};
use uuid::Uuid;

use super::api_keys::api_key;
use super::audit::event;
use super::database::{Database, on_every_database};
use super::one_time::one_time;
use super::{now, secs, session, user};

const HOSTILE: [&str; 9] = [
    "'; DROP TABLE users; --",
    "' OR '1'='1",
    "\" OR \"\"=\"",
    "\\'; DELETE FROM users; -- \\",
    "%",
    "_",
    "$1 ? :id {}",
    "`users`",
    "/*!50000 SELECT 1*/",
];

fn named(name: &str) -> NewUser {
    let mut new = user("x");
    new.user.username = Some(Username::parse(name).expect("a name"));
    new.user.email = None;
    new
}

fn login(name: &str) -> LoginName {
    LoginName::Username(Username::parse(name).expect("a name"))
}

async fn hostile_texts_are_literal_wherever_they_stand(Database { store, .. }: Database) {
    Users::add(&store, &user("ada")).await.expect("nobody has the name");
    for text in HOSTILE {
        assert!(store.find_by_login(&login(text)).await.expect("there").is_none(), "{text:?} is nobody yet");
        let mut new = named(text);
        (new.user.given_name, new.user.family_name) = (Some(text.to_owned()), Some(text.to_owned()));
        Users::add(&store, &new).await.expect("nobody has the name");
        let (found, _) = store.find_by_login(&login(text)).await.expect("there").expect("found");
        assert_eq!(found, new.user);
        assert!(store.set_names(new.user.id, Some(text), None).await.expect("there"));

        let mut login = session(new.user.id, now());
        login.agent = Some(text.to_owned());
        let _ = store.open(&login, Uuid::new_v4()).await.expect("there");
        assert_eq!(Sessions::find(&store, login.id).await.expect("there"), Some(login));
        let record = Revocation { covers: Covers::Token(text.into()), expires_at: now() + secs(60) };
        store.record(&[record]).await.expect("there");
        let wanted = AuditFilter { kind: Some(text.to_owned()), ..AuditFilter::default() };
        assert!(AuditLog::list(&store, &wanted, Page { after: None, limit: 10 }).await.expect("there").is_empty());
    }
    assert_eq!(Users::list(&store, Page { after: None, limit: 100 }).await.expect("there").len(), 1 + HOSTILE.len());
    assert_eq!(store.unexpired(now(), i64::MIN, 100).await.expect("there").len(), HOSTILE.len());
}

async fn names_that_a_collation_takes_for_one_are_many(Database { store, .. }: Database) {
    // Accents, the sharp s, characters outside the basic plane, a character that collations ignore.
    let names = ["resume", "résumé", "strasse", "straße", "😀", "😁", "ada", "a\u{ad}da"];
    for name in names {
        Users::add(&store, &named(name)).await.unwrap_or_else(|error| panic!("{name:?}: {error}"));
    }
    for name in names {
        let (found, _) = store.find_by_login(&login(name)).await.expect("there").expect("found");
        assert_eq!(found.username, Some(Username::parse(name).expect("a name")));
    }
}

async fn the_longest_names_are_kept_whole(Database { store, .. }: Database) {
    // One character of three bytes that NFKC spells in eighteen.
    let long = "\u{fdfa}".repeat(42);
    Users::add(&store, &named(&long)).await.expect("nobody has the name");
    let (found, _) = store.find_by_login(&login(&long)).await.expect("there").expect("found");
    assert_eq!(found.username.expect("a name").as_typed(), long);
}

async fn hashes_are_compared_byte_by_byte(Database { store, .. }: Database) {
    // Letters in two cases, and bytes that a text column would pad, strip or refuse.
    let hashes = [[b'a'; 32], [b'A'; 32], [b' '; 32], [0; 32], [0xff; 32]];
    let ada = user("ada");
    Users::add(&store, &ada).await.expect("nobody has the name");
    for (number, hash) in hashes.into_iter().enumerate() {
        assert!(ApiKeys::find(&store, &hash).await.expect("there").is_none());
        assert!(OneTimeTokens::find(&store, &hash).await.expect("there").is_none());
        let key = api_key(ada.user.id, hash[0]);
        assert!(ApiKeys::add(&store, &key).await.expect("there"));
        let token = one_time(OneTimeKind::Invitation, None, hash[0]);
        assert!(store.issue(&token).await.expect("there"));
        assert_eq!(ApiKeys::find(&store, &hash).await.expect("there").map(|found| found.id), Some(key.id));
        let found = OneTimeTokens::find(&store, &hash).await.expect("there");
        assert_eq!(found.map(|found| found.id), Some(token.id), "of {number}");
    }
}

/// PostgreSQL keeps no NUL in a text. The use cases refuse it first; should one come through, nothing breaks.
async fn a_nul_character_breaks_nothing(Database { store, .. }: Database) {
    let mut with_nul = user("ada");
    with_nul.user.given_name = Some("A\0da".to_owned());
    match Users::add(&store, &with_nul).await {
        Ok(()) => {
            assert_eq!(Users::find(&store, with_nul.user.id).await.expect("there"), Some(with_nul.user));
        }
        Err(error) => {
            assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
            assert!(Users::find(&store, with_nul.user.id).await.expect("there").is_none());
        }
    }
    Users::add(&store, &user("bob")).await.expect("the store goes on");
}

/// The use cases refuse it first; should one come through, it is refused, not cut.
async fn a_text_that_is_too_long_is_not_cut(Database { store, .. }: Database) {
    let ada = user("ada");
    Users::add(&store, &ada).await.expect("nobody has the name");
    let mut login = session(ada.user.id, now());
    login.agent = Some("x".repeat(100_000));
    match store.open(&login, Uuid::new_v4()).await {
        Ok(_) => assert_eq!(Sessions::find(&store, login.id).await.expect("there"), Some(login)),
        Err(error) => assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}"),
    }
    let _ = store.open(&session(ada.user.id, now()), Uuid::new_v4()).await.expect("the store goes on");
}

async fn kinds_of_events_are_compared_byte_by_byte(Database { store, .. }: Database) {
    store.write(&event(0, "login", None)).await.expect("there");
    for (kind, found) in [("login", 1), ("Login", 0), ("login ", 0), ("lógin", 0)] {
        let wanted = AuditFilter { kind: Some(kind.to_owned()), ..AuditFilter::default() };
        let listed = AuditLog::list(&store, &wanted, Page { after: None, limit: 10 }).await.expect("there");
        assert_eq!(listed.len(), found, "{kind:?}");
    }
}

on_every_database! {
    hostile_texts_are_literal_wherever_they_stand,
    names_that_a_collation_takes_for_one_are_many,
    the_longest_names_are_kept_whole,
    hashes_are_compared_byte_by_byte,
    a_nul_character_breaks_nothing,
    a_text_that_is_too_long_is_not_cut,
    kinds_of_events_are_compared_byte_by_byte,
}
