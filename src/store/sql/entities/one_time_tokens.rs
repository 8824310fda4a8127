//! Table `one_time_tokens`: what mails and invitations carry, by the hash of its secret.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "one_time_tokens")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub kind: String,
    pub token_hash: Vec<u8>,
    pub ticket_hash: Option<Vec<u8>>,
    /// SHA-256 of the kind and of whom it is for, while it is not spent: unique, so that one of a kind is good at a time.
    pub current_for: Option<Vec<u8>>,
    pub user_id: Option<String>,
    pub email: Option<String>,
    pub metadata: String,
    pub created_by: Option<String>,
    pub created_at: i64,
    pub expires_at: i64,
    pub redeemed_at: Option<i64>,
    pub ticket_expires_at: Option<i64>,
    pub spent_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
