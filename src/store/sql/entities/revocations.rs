//! Table `revocations`: what the revoked set is rebuilt from.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "revocations")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub sequence: i64,
    /// SHA-256 over what is covered: one row for each, however often it is revoked.
    pub fingerprint: Vec<u8>,
    /// `token`, `session` or `principal`.
    pub kind: String,
    pub token_id: Option<String>,
    pub session_id: Option<String>,
    pub issuer: Option<String>,
    pub subject: Option<String>,
    pub not_before: Option<i64>,
    pub expires_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
