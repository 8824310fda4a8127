//! What must not be forgotten, in SQL: SQLite, PostgreSQL, MySQL or MariaDB by URL.
//!
//! One set of statements for all of them. Transactions begin with a write, on the row that decides (the user's or
//! the session's): it orders them on every database, and SQLite never has to turn a reader into a writer, which it
//! refuses while another writes. What differs between databases is in `connect`.

mod acme;
mod api_keys;
mod audit;
mod clients;
mod connect;
mod connections;
mod endings;
mod entities;
mod error;
mod migrations;
mod one_time;
mod purge;
mod revocations;
mod sessions;
mod users;

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use sea_orm::{DatabaseConnection, DatabaseTransaction, SqliteTransactionMode, TransactionOptions, TransactionTrait};
use secrecy::SecretString;
use uuid::Uuid;

use self::error::{STORE, corrupt, failed, is_lost_race};
use super::backoff::Backoff;
use super::{Probe, StoreError};
use crate::identity::one_time_token::TokenHash;

/// No operation takes longer; a database that hangs is a database that is down. Longer than SQLite's own wait for
/// another writer, so that the more precise error wins.
const DEADLINE: Duration = Duration::from_secs(5);

/// How often an operation is begun again after the database chose it as the victim of a deadlock.
const ATTEMPTS_MAX: u32 = 8;
const WAIT_FIRST: Duration = Duration::from_millis(4);
const WAIT_LONGEST: Duration = Duration::from_millis(200);

/// A pool of connections to one database.
#[derive(Debug, Clone)]
pub struct SqlStore {
    db: DatabaseConnection,
}

impl SqlStore {
    /// Connects, creating an SQLite file (mode 0600) and its directory if need be, and brings the schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the database does not answer; [`StoreError::Corrupt`] if its schema is newer
    /// than this version, or the URL is not one of a known database. No error holds the URL's password.
    pub async fn connect(url: &SecretString, connections_max: u32) -> Result<Self, StoreError> {
        let db = connect::open(url, connections_max).await?;
        connect::migrate(&db).await?;
        Ok(Self { db })
    }

    /// A transaction that is a writer from its first moment.
    async fn begin(&self) -> Result<DatabaseTransaction, StoreError> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        self.db.begin_with_options(options).await.map_err(failed)
    }
}

#[async_trait]
impl Probe for SqlStore {
    fn name(&self) -> &'static str {
        STORE
    }

    async fn probe(&self) -> Result<(), StoreError> {
        within_deadline(|| async { self.db.ping().await.map_err(failed) }).await
    }
}

/// Does `work`, again where it only lost a race against another transaction, and gives up when it exceeds
/// [`DEADLINE`]; an open transaction is rolled back by being dropped.
///
/// Beginning again is safe: the database has undone what the loser did.
async fn within_deadline<T, W>(work: impl Fn() -> W + Send) -> Result<T, StoreError>
where
    W: Future<Output = Result<T, StoreError>> + Send,
{
    let attempts = async {
        let mut backoff = Backoff::new(WAIT_FIRST, WAIT_LONGEST);
        for _ in 1..ATTEMPTS_MAX {
            match work().await {
                Err(error) if is_lost_race(&error) => tokio::time::sleep(backoff.next_wait()).await,
                done => return done,
            }
        }
        work().await
    };
    tokio::time::timeout(DEADLINE, attempts)
        .await
        .unwrap_or_else(|elapsed| Err(StoreError::Unavailable { store: STORE, source: Box::new(elapsed) }))
}

/// An instant as it is stored, rounded down.
fn millis(instant: Timestamp) -> i64 {
    instant.as_nanosecond().div_euclid(1_000_000).try_into().expect("jiff's whole range fits in 64 bits of milliseconds")
}

/// An instant as it is stored, rounded up: for ends of revocations, which must never come too early.
fn millis_up(instant: Timestamp) -> i64 {
    -(-instant.as_nanosecond()).div_euclid(1_000_000) as i64
}

fn instant(millis: i64, column: &str) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(millis).map_err(|_| corrupt(format!("{column} is {millis}, not an instant")))
}

fn uuid(text: &str, column: &str) -> Result<Uuid, StoreError> {
    Uuid::try_parse(text).map_err(|_| corrupt(format!("{column} is {text:?}, not a UUID")))
}

fn hash(bytes: Vec<u8>, column: &str) -> Result<TokenHash, StoreError> {
    bytes.try_into().map_err(|_| corrupt(format!("{column} is not a SHA-256")))
}
