//! Table `acme_orders`: orders that are under way.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "acme_orders")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub directory: Vec<u8>,
    #[sea_orm(primary_key, auto_increment = false)]
    pub host: Vec<u8>,
    pub url: String,
    pub sealed_key: Vec<u8>,
    pub created_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
