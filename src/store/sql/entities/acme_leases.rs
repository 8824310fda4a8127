//! Table `acme_leases`: who works on which certificate, or when somebody may again.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "acme_leases")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub directory: Vec<u8>,
    #[sea_orm(primary_key, auto_increment = false)]
    pub host: Vec<u8>,
    /// Empty after a failure.
    pub owner: String,
    pub held_until: i64,
    pub failures: i32,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
