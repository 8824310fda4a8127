//! Connections to a database server: how each is set up, and what it has to prove before it is used again.
//!
//! A pooled connection can outlive what it was made for. After a failover it may still lead to the old primary, which
//! now only reads; behind a cut cable it answers nothing. Both are found out before an operation is entrusted to it,
//! in the one round trip that asking costs anyway, and a new connection takes its place. One to SQLite whose commit failed
//! is not used again at all.

use std::time::Duration;

use sea_orm::sqlx::mysql::{MySql, MySqlConnection};
use sea_orm::sqlx::pool::PoolOptions;
use sea_orm::sqlx::postgres::{PgConnection, Postgres};
use sea_orm::sqlx::sqlite::Sqlite;
use sea_orm::sqlx::{self, Connection as _};

/// A connection that does not answer within this is replaced. Well below what waiting for a connection may take, so
/// that there is time for the replacement.
const ANSWER: Duration = Duration::from_secs(1);

/// One level for all of them, whatever the server's default. The server gives up what this process has given up long
/// ago, and does not keep rows for a process that stands still. What it acknowledges it has written, also where the
/// administrator chose speed: a logout that a crash undoes was none.
const POSTGRES_SETTINGS: &str = "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED;
    SET statement_timeout = '6s';
    SET idle_in_transaction_session_timeout = '10s';
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";
/// Without the strict mode a text that is too long is cut and stored.
const MYSQL_SETTINGS: [&str; 2] = [
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION innodb_lock_wait_timeout = 3, sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')",
];

/// A row where the server takes writes, none where it does not.
const POSTGRES_WRITES: &str = "SELECT 1 WHERE current_setting('transaction_read_only') = 'off'";
/// The variable is a number, in later versions a word.
const MYSQL_WRITES: &str = "SELECT 1 FROM dual WHERE @@global.read_only IN ('0', 'OFF')";

pub(super) fn to_postgres(options: PoolOptions<Postgres>) -> PoolOptions<Postgres> {
    options
        .test_before_acquire(false)
        .after_connect(|connection, _| {
            Box::pin(async move { sqlx::raw_sql(POSTGRES_SETTINGS).execute(connection).await.map(drop) })
        })
        .before_acquire(|connection, _| Box::pin(answered(postgres_writes(connection))))
        .after_release(|connection, _| Box::pin(answered(async { connection.ping().await.map(|()| true) })))
}

pub(super) fn to_mysql(options: PoolOptions<MySql>) -> PoolOptions<MySql> {
    options
        .test_before_acquire(false)
        .after_connect(|connection, _| {
            Box::pin(async move {
                for setting in MYSQL_SETTINGS {
                    sqlx::raw_sql(setting).execute(&mut *connection).await?;
                }
                Ok(())
            })
        })
        .before_acquire(|connection, _| Box::pin(answered(mysql_writes(connection))))
        .after_release(|connection, _| Box::pin(answered(async { connection.ping().await.map(|()| true) })))
}

/// A commit that fails, because the disk is full, ends the transaction, and the driver does not notice: it takes the next
/// one for a part of it, "commits" it by releasing a savepoint, and nothing of it is ever written, nor of any that follows
/// on this connection. All of them would be acknowledged.
pub(super) fn to_sqlite(options: PoolOptions<Sqlite>) -> PoolOptions<Sqlite> {
    options.after_release(|connection, _| {
        Box::pin(async move {
            if !connection.is_in_transaction() {
                return Ok(true);
            }
            // Most likely a rollback that is still to be done: the answer comes after it.
            connection.ping().await?;
            Ok(!connection.is_in_transaction())
        })
    })
}

async fn postgres_writes(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    Ok(!sqlx::raw_sql(POSTGRES_WRITES).fetch_all(connection).await?.is_empty())
}

async fn mysql_writes(connection: &mut MySqlConnection) -> Result<bool, sqlx::Error> {
    Ok(!sqlx::raw_sql(MYSQL_WRITES).fetch_all(connection).await?.is_empty())
}

/// Without a limit, each connection that was in use when the cable was cut would stay taken until TCP gives up, a
/// quarter of an hour later. That remains for one that is lost between our question after its use and sqlx's own, which
/// follows at once and has none.
async fn answered(answer: impl Future<Output = Result<bool, sqlx::Error>>) -> Result<bool, sqlx::Error> {
    tokio::time::timeout(ANSWER, answer).await.unwrap_or_else(|elapsed| Err(sqlx::Error::Io(elapsed.into())))
}
