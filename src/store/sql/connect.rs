//! Opening a pool and bringing the schema up to date: the only place that knows one database from another.

use std::collections::BTreeSet;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend, TransactionTrait};
use sea_orm::{SqliteTransactionMode, Statement, TransactionOptions};
use sea_orm_migration::MigratorTrait;
use secrecy::{ExposeSecret, SecretString};

use super::connections;
use super::error::{STORE, corrupt, failed};
use super::migrations::Migrator;
use crate::store::StoreError;

/// How long to wait for a connection, new or from the pool.
const ACQUIRE: Duration = Duration::from_secs(3);
/// How long SQLite waits for another writer; a writer holds the file for a few milliseconds.
const SQLITE_BUSY: Duration = Duration::from_secs(3);
/// Connections are renewed, so that none stays with a server that was replaced behind its name.
const LIFETIME: Duration = Duration::from_secs(300);
/// Replicas that start together migrate one after the other.
const MIGRATION: Duration = Duration::from_secs(60);
/// Names the migration lock of PostgreSQL: "portcull" in ASCII.
const LOCK_ID: i64 = 0x706f_7274_6375_6c6c;
/// Names the migration lock of MySQL and MariaDB, in at most 64 characters.
const MYSQL_LOCK: &str = "CONCAT('portcullis ', MD5(DATABASE()))";

#[derive(Debug, thiserror::Error)]
#[error("another process holds the migration lock")]
struct NotLocked;

pub(super) async fn open(url: &SecretString, connections_max: u32) -> Result<DatabaseConnection, StoreError> {
    let text = url.expose_secret();
    let known = [DbBackend::Sqlite, DbBackend::Postgres, DbBackend::MySql];
    if !known.iter().any(|backend| backend.is_prefix_of(text)) {
        // The driver's own error would repeat the URL, password and all.
        return Err(corrupt("the URL is not one of sqlite:, postgres:// or mysql://".to_owned()));
    }
    let sqlite = DbBackend::Sqlite.is_prefix_of(text);
    let mut options = ConnectOptions::new(text);
    options
        .max_connections(connections_max)
        .connect_timeout(ACQUIRE)
        .acquire_timeout(ACQUIRE)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(with_sqlite_settings);
    if sqlite {
        let parsed = SqliteConnectOptions::from_str(text).map_err(|error| corrupt(format!("the SQLite URL: {error}")))?;
        if is_in_memory(text) {
            // Each connection would otherwise have a database of its own, and an idle one would forget it.
            options.max_connections(1).min_connections(1).idle_timeout(None).max_lifetime(None);
        } else {
            create_private(parsed.get_filename()).map_err(unavailable)?;
            options.map_sqlx_sqlite_pool_opts(connections::to_sqlite);
        }
    } else {
        options.max_lifetime(LIFETIME);
        options.map_sqlx_postgres_pool_opts(connections::to_postgres).map_sqlx_mysql_pool_opts(connections::to_mysql);
    }
    Database::connect(options).await.map_err(failed)
}

fn is_in_memory(url: &str) -> bool {
    url.contains(":memory:") || url.contains("mode=memory")
}

/// WAL, so that readers and a writer do not wait for each other; `FULL`, because with WAL anything less may forget
/// an acknowledged logout when the power fails.
fn with_sqlite_settings(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(SQLITE_BUSY)
        .foreign_keys(true)
}

/// Creates the file, readable by its owner only, before SQLite would create it readable by all. Its `-wal` and
/// `-shm` companions inherit the mode.
fn create_private(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    if let Some(directory) = file.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn unavailable(source: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable { store: STORE, source: Box::new(source) }
}

/// Applies what is missing, one replica at a time, and refuses a schema that a newer version has changed.
pub(super) async fn migrate(db: &DatabaseConnection) -> Result<(), StoreError> {
    tokio::time::timeout(MIGRATION, async {
        // For SQLite the transaction itself is the lock.
        let options =
            TransactionOptions { sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate), ..Default::default() };
        let tx = db.begin_with_options(options).await.map_err(failed)?;
        lock(&tx).await?;
        let outcome = migrate_locked(&tx).await;
        unlock(&tx).await?;
        outcome?;
        tx.commit().await.map_err(failed)
    })
    .await
    .map_err(unavailable)?
}

async fn migrate_locked(tx: &DatabaseTransaction) -> Result<(), StoreError> {
    let known: BTreeSet<String> = Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
    let applied = Migrator::get_migration_models(tx).await.map_err(failed)?;
    if let Some(newer) = applied.iter().find(|applied| !known.contains(&applied.version)) {
        return Err(corrupt(format!("its schema is newer than this version: migration {:?} is not known", newer.version)));
    }
    Migrator::up(tx, None).await.map_err(failed)
}

/// PostgreSQL's lock belongs to one database. MySQL's belongs to the server, so it is named after the database.
async fn lock(tx: &DatabaseTransaction) -> Result<(), StoreError> {
    match tx.get_database_backend() {
        DbBackend::Postgres => {
            let lock = format!("SET LOCAL statement_timeout = 0; SELECT pg_advisory_xact_lock({LOCK_ID})");
            tx.execute_unprepared(&lock).await.map(drop).map_err(failed)
        }
        DbBackend::MySql => {
            let lock = format!("SELECT GET_LOCK({MYSQL_LOCK}, {}) AS held", MIGRATION.as_secs());
            let row = tx.query_one_raw(Statement::from_string(DbBackend::MySql, lock)).await.map_err(failed)?;
            let held: Option<i64> = row.and_then(|row| row.try_get("", "held").ok());
            if held == Some(1) { Ok(()) } else { Err(unavailable(NotLocked)) }
        }
        _ => Ok(()),
    }
}

/// PostgreSQL's lock ends with the transaction; MySQL's belongs to the connection, which goes back to the pool.
async fn unlock(tx: &DatabaseTransaction) -> Result<(), StoreError> {
    match tx.get_database_backend() {
        DbBackend::MySql => tx.execute_unprepared(&format!("SELECT RELEASE_LOCK({MYSQL_LOCK})")).await.map(drop).map_err(failed),
        _ => Ok(()),
    }
}
