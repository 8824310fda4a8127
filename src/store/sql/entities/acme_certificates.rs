//! Table `acme_certificates`: certificates that were issued.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "acme_certificates")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub directory: Vec<u8>,
    #[sea_orm(primary_key, auto_increment = false)]
    pub host: Vec<u8>,
    /// Grows with each one that takes the place of another.
    pub version: i64,
    pub chain: String,
    pub sealed_key: Vec<u8>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
