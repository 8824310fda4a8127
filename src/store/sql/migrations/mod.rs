//! The schema's history. A migration that was released is never edited; each works with the code before it and
//! after it, so that replicas can be updated one by one.

mod m20260101_000001_users_and_sessions;
mod m20260201_000002_accounts;
mod m20260301_000003_step_up;
mod m20260401_000004_acme;

use sea_orm_migration::{MigrationTrait, MigratorTrait};

/// All migrations, in order.
pub(super) struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20260101_000001_users_and_sessions::Migration),
            Box::new(m20260201_000002_accounts::Migration),
            Box::new(m20260301_000003_step_up::Migration),
            Box::new(m20260401_000004_acme::Migration),
        ]
    }
}
