//! What a database's error means to a caller.

use sea_orm::sqlx::error::DatabaseError;
use sea_orm::sqlx::mysql::MySqlDatabaseError;
use sea_orm::{DbErr, RuntimeErr, SqlErr};

use crate::store::{StoreError, Unique};

/// The name of this store in errors and in `/readyz`.
pub(super) const STORE: &str = "sql";

/// SQLSTATE of a serialization failure (MySQL: deadlock) and of a deadlock in PostgreSQL.
const LOST_RACE_STATES: [&str; 2] = ["40001", "40P01"];
/// MySQL and MariaDB: lock wait timeout; record has changed since last read. Both have the SQLSTATE of anything.
const LOST_RACE_NUMBERS: [u16; 2] = [1205, 1020];

/// Of transactions that were in each other's way, this one was undone. It may be begun again at once.
#[derive(Debug, thiserror::Error)]
#[error("lost a race against another transaction")]
struct LostRace(#[source] DbErr);

/// Classifies a driver's error. What is not known to be permanent counts as unavailable: trying again later is
/// harmless, because every write is a compare-and-swap or idempotent.
pub(super) fn failed(error: DbErr) -> StoreError {
    match error {
        DbErr::TryIntoErr { .. } | DbErr::Type(_) | DbErr::Json(_) | DbErr::ConvertFromU64(_) => corrupt(error.to_string()),
        DbErr::Query(RuntimeErr::SqlxError(ref source)) if is_decoding(source) => corrupt(error.to_string()),
        _ if reported(&error).is_some_and(lost_race) => lost(error),
        _ => StoreError::Unavailable { store: STORE, source: Box::new(error) },
    }
}

/// Like [`failed`], where another transaction's row in the way means that it came first, unseen.
pub(super) fn failed_race(error: DbErr) -> StoreError {
    match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => lost(error),
        _ => failed(error),
    }
}

/// Whether the operation may simply be begun again.
pub(super) fn is_lost_race(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable { source, .. } if source.is::<LostRace>())
}

fn lost(error: DbErr) -> StoreError {
    StoreError::Unavailable { store: STORE, source: Box::new(LostRace(error)) }
}

/// What the database itself said, if it said something.
fn reported(error: &DbErr) -> Option<&dyn DatabaseError> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(source))
        | DbErr::Exec(RuntimeErr::SqlxError(source))
        | DbErr::Query(RuntimeErr::SqlxError(source)) => source.as_database_error(),
        _ => None,
    }
}

fn lost_race(error: &dyn DatabaseError) -> bool {
    match error.try_downcast_ref::<MySqlDatabaseError>() {
        Some(mysql) if LOST_RACE_NUMBERS.contains(&mysql.number()) => true,
        _ => error.code().is_some_and(|state| LOST_RACE_STATES.contains(&&*state)),
    }
}

fn is_decoding(error: &sea_orm::sqlx::Error) -> bool {
    use sea_orm::sqlx::Error::{ColumnDecode, ColumnNotFound, Decode};
    matches!(error, ColumnDecode { .. } | ColumnNotFound(_) | Decode(_))
}

/// A row that does not mean what this version expects. `what` must not hold secrets.
pub(super) fn corrupt(what: String) -> StoreError {
    StoreError::Corrupt { store: STORE, what }
}

/// Like [`failed`], for the insertion of a user: tells which uniqueness rule refused it.
pub(super) fn failed_user(error: DbErr) -> StoreError {
    let Some(SqlErr::UniqueConstraintViolation(message)) = error.sql_err() else { return failed(error) };
    // PostgreSQL and MySQL end their message with the constraint's name, SQLite with table and column. Only the
    // end is looked at: before it, MySQL quotes what the user typed.
    let tail = message.rsplit([' ', '.', '`', '"', '\'']).find(|word| !word.is_empty()).unwrap_or_default();
    match tail {
        "users_username_key" | "username_canonical" => StoreError::Conflict(Unique::Username),
        "users_email_key" | "email_canonical" => StoreError::Conflict(Unique::Email),
        _ => failed(error),
    }
}
