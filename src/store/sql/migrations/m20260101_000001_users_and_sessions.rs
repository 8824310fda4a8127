//! Users and their roles, sessions and their refresh chains, and the record of revocations.
//!
//! Every statement says `IF NOT EXISTS`: MySQL and MariaDB commit each one by itself, so a migration that was
//! interrupted must be able to begin again.

use async_trait::async_trait;
use sea_orm::DbErr;
use sea_orm::sea_query::{ForeignKey, ForeignKeyAction, Index, Table, TableCreateStatement};
use sea_orm_migration::schema::{
    big_integer, big_integer_null, big_pk_auto, string_len, string_len_null, text_null, var_binary, var_binary_null,
};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

/// Hyphenated UUID text.
const UUID_CHARS: u32 = 36;
/// A canonical name can be longer than the typed one: NFKC turns some characters into eighteen.
const USERNAME_CANONICAL_BYTES: u32 = 2048;
/// The longest key that InnoDB indexes.
const EMAIL_CANONICAL_BYTES: u32 = 3072;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20260101_000001_users_and_sessions"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [users(), user_roles(), sessions(), refresh_tokens(), revocations()] {
            manager.create_table(table).await?;
        }
        for (name, table, column) in [
            ("sessions_user_id_idx", "sessions", "user_id"),
            ("sessions_ends_at_idx", "sessions", "ends_at"),
            ("revocations_expires_at_idx", "revocations", "expires_at"),
        ] {
            // MySQL has no `CREATE INDEX IF NOT EXISTS`.
            if !manager.has_index(table, name).await? {
                manager.create_index(Index::create().name(name).table(table).col(column).to_owned()).await?;
            }
        }
        Ok(())
    }
}

fn users() -> TableCreateStatement {
    Table::create()
        .table("users")
        .if_not_exists()
        .col(string_len("id", UUID_CHARS).primary_key())
        .col(string_len_null("username", 128))
        .col(var_binary_null("username_canonical", USERNAME_CANONICAL_BYTES))
        .col(string_len_null("email", 254))
        .col(var_binary_null("email_canonical", EMAIL_CANONICAL_BYTES))
        .col(text_null("given_name"))
        .col(text_null("family_name"))
        .col(string_len("password_hash", 512))
        .col(big_integer_null("disabled_at"))
        .col(big_integer("created_at"))
        .col(big_integer("sessions_from"))
        .index(Index::create().name("users_username_key").unique().col("username_canonical"))
        .index(Index::create().name("users_email_key").unique().col("email_canonical"))
        .to_owned()
}

fn user_roles() -> TableCreateStatement {
    Table::create()
        .table("user_roles")
        .if_not_exists()
        .col(string_len("user_id", UUID_CHARS))
        .col(var_binary("role", 64))
        .primary_key(Index::create().name("user_roles_pkey").col("user_id").col("role"))
        .foreign_key(
            ForeignKey::create()
                .name("user_roles_user_id_fkey")
                .from("user_roles", "user_id")
                .to("users", "id")
                .on_delete(ForeignKeyAction::Cascade),
        )
        .to_owned()
}

fn sessions() -> TableCreateStatement {
    Table::create()
        .table("sessions")
        .if_not_exists()
        .col(string_len("id", UUID_CHARS).primary_key())
        .col(string_len("user_id", UUID_CHARS))
        .col(big_integer("created_at"))
        .col(big_integer("ends_at"))
        .col(big_integer_null("ended_at"))
        .col(big_integer("generation"))
        .col(big_integer("rotated_at"))
        .col(big_integer("refresh_expires_at"))
        .col(var_binary("nonce", 16))
        .col(string_len_null("address", 45))
        .col(string_len_null("agent", 256))
        .foreign_key(
            ForeignKey::create()
                .name("sessions_user_id_fkey")
                .from("sessions", "user_id")
                .to("users", "id")
                .on_delete(ForeignKeyAction::Cascade),
        )
        .to_owned()
}

fn refresh_tokens() -> TableCreateStatement {
    Table::create()
        .table("refresh_tokens")
        .if_not_exists()
        .col(string_len("session_id", UUID_CHARS))
        .col(big_integer("generation"))
        .col(string_len("jti", UUID_CHARS))
        .col(big_integer("issued_at"))
        .col(big_integer("expires_at"))
        .col(big_integer_null("used_at"))
        .col(big_integer_null("revoked_at"))
        .primary_key(Index::create().name("refresh_tokens_pkey").col("session_id").col("generation"))
        .foreign_key(
            ForeignKey::create()
                .name("refresh_tokens_session_id_fkey")
                .from("refresh_tokens", "session_id")
                .to("sessions", "id")
                .on_delete(ForeignKeyAction::Cascade),
        )
        .to_owned()
}

fn revocations() -> TableCreateStatement {
    Table::create()
        .table("revocations")
        .if_not_exists()
        .col(big_pk_auto("sequence"))
        .col(var_binary("fingerprint", 32))
        .col(string_len("kind", 16))
        .col(text_null("token_id"))
        .col(string_len_null("session_id", UUID_CHARS))
        .col(text_null("issuer"))
        .col(text_null("subject"))
        .col(big_integer_null("not_before"))
        .col(big_integer("expires_at"))
        .index(Index::create().name("revocations_fingerprint_key").unique().col("fingerprint"))
        .to_owned()
}
