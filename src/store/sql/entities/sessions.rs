//! Table `sessions`: one row per login.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sessions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub user_id: String,
    pub created_at: i64,
    pub ends_at: i64,
    pub ended_at: Option<i64>,
    pub generation: i64,
    pub rotated_at: i64,
    pub refresh_expires_at: i64,
    pub nonce: Vec<u8>,
    pub address: Option<String>,
    pub agent: Option<String>,
    pub authenticated_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
