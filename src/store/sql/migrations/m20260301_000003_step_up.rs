//! When the password was last given within a session.
//!
//! The code before this one leaves the column null, which then means the login.

use async_trait::async_trait;
use sea_orm::DbErr;
use sea_orm::sea_query::Table;
use sea_orm_migration::schema::big_integer_null;
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20260301_000003_step_up"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // MySQL has no `ADD COLUMN IF NOT EXISTS`.
        if manager.has_column("sessions", "authenticated_at").await? {
            return Ok(());
        }
        manager.alter_table(Table::alter().table("sessions").add_column(big_integer_null("authenticated_at")).to_owned()).await
    }
}
