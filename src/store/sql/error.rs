//! What a database's error means to a caller.

use sea_orm::{DbErr, RuntimeErr, SqlErr};

use crate::store::{StoreError, Unique};

/// The name of this store in errors and in `/readyz`.
pub(super) const STORE: &str = "sql";

/// Classifies a driver's error. What is not known to be permanent counts as unavailable: trying again later is
/// harmless, because every write is a compare-and-swap or idempotent.
pub(super) fn failed(error: DbErr) -> StoreError {
    match error {
        DbErr::TryIntoErr { .. } | DbErr::Type(_) | DbErr::Json(_) | DbErr::ConvertFromU64(_) => corrupt(error.to_string()),
        DbErr::Query(RuntimeErr::SqlxError(ref source)) if is_decoding(source) => corrupt(error.to_string()),
        _ => StoreError::Unavailable { store: STORE, source: Box::new(error) },
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
