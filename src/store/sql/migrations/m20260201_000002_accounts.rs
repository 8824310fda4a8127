//! What accounts need beyond signing in: verified addresses, one-time tokens, the record of events, API keys,
//! clients.
//!
//! The code before this one knows none of it and goes on working: the new column may be null, and the rest is new
//! tables. Every statement can be repeated, because MySQL and MariaDB commit each one by itself.

use async_trait::async_trait;
use sea_orm::DbErr;
use sea_orm::sea_query::{ForeignKey, ForeignKeyAction, ForeignKeyCreateStatement, Index, Table, TableCreateStatement};
use sea_orm_migration::schema::{
    big_integer, big_integer_null, binary_len, binary_len_null, string_len, string_len_null, text, text_null, var_binary,
};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

/// Hyphenated UUID text.
const UUID_CHARS: u32 = 36;
/// SHA-256.
const HASH_BYTES: u32 = 32;
const EMAIL_CHARS: u32 = 254;
const NAME_CHARS: u32 = 128;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20260201_000002_accounts"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // MySQL has no `ADD COLUMN IF NOT EXISTS`.
        if !manager.has_column("users", "email_verified_at").await? {
            let add = Table::alter().table("users").add_column(big_integer_null("email_verified_at")).to_owned();
            manager.alter_table(add).await?;
        }
        for table in [one_time_tokens(), audit_events(), api_keys(), clients(), client_assertions()] {
            manager.create_table(table).await?;
        }
        for (name, table, columns) in [
            ("one_time_tokens_user_id_idx", "one_time_tokens", &["user_id"][..]),
            ("one_time_tokens_expires_at_idx", "one_time_tokens", &["expires_at"]),
            ("audit_events_at_idx", "audit_events", &["at"]),
            ("audit_events_subject_idx", "audit_events", &["subject", "id"]),
            ("api_keys_user_id_idx", "api_keys", &["user_id"]),
            ("client_assertions_expires_at_idx", "client_assertions", &["expires_at"]),
        ] {
            // Nor has it `CREATE INDEX IF NOT EXISTS`.
            if !manager.has_index(table, name).await? {
                let mut index = Index::create();
                for column in columns {
                    index.col(*column);
                }
                manager.create_index(index.name(name).table(table).to_owned()).await?;
            }
        }
        Ok(())
    }
}

fn one_time_tokens() -> TableCreateStatement {
    Table::create()
        .table("one_time_tokens")
        .if_not_exists()
        .col(string_len("id", UUID_CHARS).primary_key())
        .col(string_len("kind", 32))
        .col(binary_len("token_hash", HASH_BYTES))
        .col(binary_len_null("ticket_hash", HASH_BYTES))
        .col(binary_len_null("current_for", HASH_BYTES))
        .col(string_len_null("user_id", UUID_CHARS))
        .col(string_len_null("email", EMAIL_CHARS))
        .col(text("metadata"))
        // No foreign key: an invitation outlives the inviter.
        .col(string_len_null("created_by", UUID_CHARS))
        .col(big_integer("created_at"))
        .col(big_integer("expires_at"))
        .col(big_integer_null("redeemed_at"))
        .col(big_integer_null("ticket_expires_at"))
        .col(big_integer_null("spent_at"))
        .index(Index::create().name("one_time_tokens_token_key").unique().col("token_hash"))
        .index(Index::create().name("one_time_tokens_ticket_key").unique().col("ticket_hash"))
        .index(Index::create().name("one_time_tokens_current_key").unique().col("current_for"))
        .foreign_key(&mut goes_with_its_user("one_time_tokens_user_id_fkey", "one_time_tokens"))
        .to_owned()
}

/// No foreign keys: the record outlives those whom it is about.
fn audit_events() -> TableCreateStatement {
    Table::create()
        .table("audit_events")
        .if_not_exists()
        .col(string_len("id", UUID_CHARS).primary_key())
        .col(big_integer("at"))
        // Bytes, like everything that is compared with what comes from outside.
        .col(var_binary("kind", 64))
        .col(string_len("outcome", 32))
        .col(string_len_null("actor", 256))
        .col(string_len_null("subject", UUID_CHARS))
        .col(string_len_null("session_id", UUID_CHARS))
        .col(string_len_null("address", 45))
        .col(string_len_null("agent", 256))
        .col(text("detail"))
        .to_owned()
}

fn api_keys() -> TableCreateStatement {
    Table::create()
        .table("api_keys")
        .if_not_exists()
        .col(string_len("id", UUID_CHARS).primary_key())
        .col(string_len("user_id", UUID_CHARS))
        .col(string_len("name", NAME_CHARS))
        .col(string_len("prefix", 16))
        .col(binary_len("hash", HASH_BYTES))
        .col(text("scopes"))
        .col(big_integer("created_at"))
        .col(big_integer_null("expires_at"))
        .col(big_integer_null("last_used_at"))
        .col(big_integer_null("revoked_at"))
        .index(Index::create().name("api_keys_hash_key").unique().col("hash"))
        .foreign_key(&mut goes_with_its_user("api_keys_user_id_fkey", "api_keys"))
        .to_owned()
}

fn clients() -> TableCreateStatement {
    Table::create()
        .table("clients")
        .if_not_exists()
        .col(var_binary("id", NAME_CHARS).primary_key())
        .col(string_len("name", NAME_CHARS))
        .col(binary_len_null("secret_hash", HASH_BYTES))
        .col(text_null("public_keys"))
        .col(text("scopes"))
        .col(text("roles"))
        .col(big_integer("created_at"))
        .col(big_integer_null("disabled_at"))
        .to_owned()
}

fn client_assertions() -> TableCreateStatement {
    Table::create()
        .table("client_assertions")
        .if_not_exists()
        .col(binary_len("hash", HASH_BYTES).primary_key())
        .col(big_integer("expires_at"))
        .to_owned()
}

fn goes_with_its_user(name: &str, table: &'static str) -> ForeignKeyCreateStatement {
    let mut key = ForeignKey::create();
    key.name(name).from(table, "user_id").to("users", "id").on_delete(ForeignKeyAction::Cascade);
    key
}
