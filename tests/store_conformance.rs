//! One suite of promises for every store: what holds for one adapter holds for all of them.
//!
//! SQL promises run on SQLite and on real PostgreSQL and MariaDB servers, those of the revoked set in memory and on a
//! real Redis. What only a server of its own can suffer (being killed, paused, flushed) is in `outages` and
//! `database_outages`.

#[path = "store_conformance/acme.rs"]
mod acme;
#[path = "store_conformance/api_keys.rs"]
mod api_keys;
#[path = "store_conformance/audit.rs"]
mod audit;
#[path = "store_conformance/clients.rs"]
mod clients;
#[path = "store_conformance/counters.rs"]
mod counters;
#[path = "store_conformance/crowds.rs"]
mod crowds;
#[path = "store_conformance/database.rs"]
mod database;
#[path = "store_conformance/database_outages.rs"]
mod database_outages;
#[path = "store_conformance/feed.rs"]
mod feed;
#[path = "store_conformance/one_time.rs"]
mod one_time;
#[path = "store_conformance/outages.rs"]
mod outages;
#[path = "store_conformance/rates.rs"]
mod rates;
#[path = "store_conformance/revoked_set.rs"]
mod revoked_set;
#[path = "store_conformance/schema.rs"]
mod schema;
#[path = "support/services.rs"]
mod services;
#[path = "store_conformance/sessions.rs"]
mod sessions;
#[path = "store_conformance/sqlite.rs"]
mod sqlite;
#[path = "store_conformance/texts.rs"]
mod texts;
#[path = "store_conformance/users.rs"]
mod users;

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::Timestamp;
use portcullis::clock::{Clock as _, SystemClock};
use portcullis::identity::TokenFacts;
use portcullis::identity::password::PasswordHash;
use portcullis::identity::session::{Session, SessionId};
use portcullis::identity::user::{Email, Role, User, UserId, Username};
use portcullis::store::redis::{RedisPlace, RedisServers, Stopwatch};
use portcullis::store::{Covers, Ending, NewUser, Revocation, RevokedSet};
use portcullis::telemetry::metrics::Metrics;
use uuid::Uuid;

const ISSUER: &str = "https://id.example";

fn stopwatch() -> Stopwatch {
    Stopwatch { clock: Arc::new(SystemClock), metrics: Arc::new(Metrics::new()) }
}

/// Where one server is that tests have started.
fn place(url: &str) -> Arc<RedisPlace> {
    RedisPlace::new(&RedisServers::at(url.into()), "", Arc::new(SystemClock)).expect("the URL is ours")
}

/// Records in Redis expire by its own clock, so tests live in the present; it stands still, so that every test lives
/// in one second.
fn now() -> Timestamp {
    static NOW: LazyLock<Timestamp> = LazyLock::new(|| {
        let now = SystemClock.now();
        Timestamp::from_second(now.as_second()).expect("the present is an instant")
    });
    *NOW
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn user(name: &str) -> NewUser {
    let user = User {
        id: UserId(Uuid::now_v7()),
        username: Some(Username::parse(name).expect("a name")),
        email: Some(Email::parse(&format!("{name}@example.com")).expect("an address")),
        given_name: Some("Ada".to_owned()),
        family_name: None,
        roles: BTreeSet::from([role("user"), role("User")]),
        email_verified_at: None,
        disabled_at: None,
        created_at: now(),
    };
    NewUser { user, password: PasswordHash::from_stored("$argon2id$old".to_owned()) }
}

fn role(text: &str) -> Role {
    Role::parse(text).expect("a role")
}

fn session(user: UserId, created_at: Timestamp) -> Session {
    Session {
        id: SessionId(Uuid::new_v4()),
        user,
        created_at,
        authenticated_at: created_at,
        ends_at: created_at + secs(90 * 86_400),
        ended_at: None,
        generation: 0,
        rotated_at: created_at,
        refresh_expires_at: created_at + secs(30 * 86_400),
        nonce: [7; 16],
        address: Some("2001:db8::1".parse().expect("an address")),
        agent: Some("curl/8".to_owned()),
    }
}

fn ending(at: Timestamp) -> Ending {
    Ending { at, access_until: at + secs(900), revocations: Vec::new() }
}

fn token(jti: &str, session: SessionId, subject: &str, issued_at: Timestamp) -> TokenFacts {
    let expires_at = issued_at + secs(900);
    TokenFacts { issuer: ISSUER.into(), jti: jti.into(), session, subject: subject.into(), issued_at, expires_at }
}

fn revoked_token(jti: &str) -> Revocation {
    Revocation { covers: Covers::Token(jti.into()), expires_at: now() + secs(900) }
}

fn revoked_session(id: SessionId, expires_at: Timestamp) -> Revocation {
    Revocation { covers: Covers::Session(id), expires_at }
}

fn revoked_before(subject: &str, before: Timestamp) -> Revocation {
    let covers = Covers::Principal { issuer: ISSUER.into(), subject: subject.into(), before };
    Revocation { covers, expires_at: now() + secs(900) }
}

/// Tries until it holds: for what another process or task brings about, within a minute.
async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, attempt: impl Fn() -> F) -> T {
    let tries = async {
        loop {
            if let Some(done) = attempt().await {
                return done;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(secs(60), tries).await.unwrap_or_else(|_| panic!("not within a minute: {what}"))
}

/// Completes the set with these records, as soon as it can be reached.
async fn complete(set: &dyn RevokedSet, records: &[Revocation]) {
    let rebuild = || async {
        let ticket = set.begin_rebuild().await.ok()?;
        set.publish(records, now()).await.ok()?;
        set.finish_rebuild(ticket).await.ok()
    };
    eventually("the set is completed", rebuild).await;
}
