//! The databases on which every promise of the SQL store is tried, each test with one of its own.

use portcullis::store::sql::SqlStore;
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement};

use super::services::databases::{mariadb, postgres};

/// A store under test, and where its database is.
pub(crate) struct Database {
    pub(crate) store: SqlStore,
    pub(crate) place: Place,
}

/// Where a database is, or will be once it is opened.
pub(crate) struct Place {
    pub(crate) url: String,
    /// What holds SQLite's file.
    _home: Option<tempfile::TempDir>,
}

/// Connections of one store: fewer than the tasks that the tests run at once, so that some have to wait.
const CONNECTIONS_MAX: u32 = 8;

/// A file that is not there yet; it is removed with its directory.
pub(crate) async fn on_sqlite() -> Place {
    let home = tempfile::tempdir().expect("a temporary directory");
    Place { url: format!("sqlite:{}", home.path().join("gate.db").display()), _home: Some(home) }
}

/// An empty database on this process' PostgreSQL.
pub(crate) async fn on_postgres() -> Place {
    Place { url: postgres().database().await, _home: None }
}

/// An empty database on this process' MariaDB.
pub(crate) async fn on_mariadb() -> Place {
    Place { url: mariadb().database().await, _home: None }
}

impl Place {
    /// A store of this database, with a pool of its own.
    pub(crate) async fn open(&self) -> SqlStore {
        SqlStore::connect(&self.url.clone().into(), CONNECTIONS_MAX).await.expect("the database opens")
    }

    /// A connection like another program's.
    pub(crate) async fn connect(&self) -> DatabaseConnection {
        sea_orm::Database::connect(&self.url).await.expect("the database is there")
    }

    /// How many transactions of this database wait for a row; not for SQLite, where they wait for the file.
    pub(crate) async fn waiting(&self) -> usize {
        let waiting = if self.url.starts_with("postgres") {
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        } else {
            // `innodb_trx` would say it better, but shows the past to whoever asks again within a tenth of a second.
            "SELECT 1 FROM information_schema.processlist WHERE db = DATABASE() AND state = 'Updating'"
        };
        let connection = self.connect().await;
        let waiting = Statement::from_string(connection.get_database_backend(), waiting);
        let waiting = connection.query_all_raw(waiting).await.expect("an administrator may");
        connection.close().await.expect("a connection can be closed");
        waiting.len()
    }

    /// Executes statements as another program would.
    pub(crate) async fn execute(&self, statements: &[&str]) {
        let connection = self.connect().await;
        for statement in statements {
            connection.execute_unprepared(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        connection.close().await.expect("a connection can be closed");
    }
}

impl Database {
    pub(crate) async fn at(place: Place) -> Self {
        Self { store: place.open().await, place }
    }
}

/// Makes a test of each promise and each database.
macro_rules! on_every_database {
    ($($promise:ident,)+) => {
        $crate::database::on_databases! { on_sqlite on_postgres on_mariadb: $($promise,)+ }
    };
}
pub(crate) use on_every_database;

macro_rules! on_databases {
    ($database:ident $($more:ident)*: $($promise:ident,)+) => {
        mod $database {
            $(
                #[tokio::test]
                async fn $promise() {
                    let place = $crate::database::$database().await;
                    super::$promise($crate::database::Database::at(place).await).await;
                }
            )+
        }
        $crate::database::on_databases! { $($more)*: $($promise,)+ }
    };
    (: $($promise:ident,)+) => {};
}
pub(crate) use on_databases;
