//! What replicas share to have certificates by ACME. New tables only: the code before this one knows none of them.

use async_trait::async_trait;
use sea_orm::DbErr;
use sea_orm::sea_query::{Index, Table, TableCreateStatement};
use sea_orm_migration::schema::{big_integer, binary_len, integer, string_len, text, var_binary};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

/// SHA-256.
const HASH_BYTES: u32 = 32;
/// RFC 1035 §2.3.4; bytes, because databases compare text each in its own way.
const HOST_BYTES: u32 = 253;
const UUID_CHARS: u32 = 36;
const TOKEN_BYTES: u32 = 255;
/// An ECDSA key, or an account's URL with one, and what sealing adds.
const SEALED_BYTES: u32 = 4096;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20260401_000004_acme"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [accounts(), certificates(), orders(), leases(), challenges()] {
            manager.create_table(table).await?;
        }
        Ok(())
    }
}

fn accounts() -> TableCreateStatement {
    Table::create()
        .table("acme_accounts")
        .if_not_exists()
        .col(binary_len("directory", HASH_BYTES).primary_key())
        .col(text("contact"))
        .col(var_binary("credentials", SEALED_BYTES))
        .to_owned()
}

fn certificates() -> TableCreateStatement {
    of_hosts("acme_certificates")
        .col(big_integer("version"))
        .col(text("chain"))
        .col(var_binary("sealed_key", SEALED_BYTES))
        .to_owned()
}

fn orders() -> TableCreateStatement {
    of_hosts("acme_orders").col(text("url")).col(var_binary("sealed_key", SEALED_BYTES)).col(big_integer("created_at")).to_owned()
}

fn leases() -> TableCreateStatement {
    of_hosts("acme_leases")
        .col(string_len("owner", UUID_CHARS))
        .col(big_integer("held_until"))
        .col(integer("failures"))
        .to_owned()
}

fn challenges() -> TableCreateStatement {
    Table::create()
        .table("acme_challenges")
        .if_not_exists()
        .col(var_binary("token", TOKEN_BYTES).primary_key())
        .col(string_len("host", HOST_BYTES))
        .col(text("key_authorization"))
        .col(big_integer("expires_at"))
        .to_owned()
}

/// A table with a row for each host at each authority.
fn of_hosts(name: &'static str) -> TableCreateStatement {
    Table::create()
        .table(name)
        .if_not_exists()
        .col(binary_len("directory", HASH_BYTES))
        .col(var_binary("host", HOST_BYTES))
        .primary_key(Index::create().col("directory").col("host"))
        .to_owned()
}
