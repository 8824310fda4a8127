//! Table `users`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub username: Option<String>,
    pub username_canonical: Option<Vec<u8>>,
    pub email: Option<String>,
    pub email_canonical: Option<Vec<u8>>,
    pub given_name: Option<String>,
    pub family_name: Option<String>,
    pub password_hash: String,
    pub disabled_at: Option<i64>,
    pub created_at: i64,
    /// Sessions whose login began before this are refused: all of the user's were ended then.
    pub sessions_from: i64,
    pub email_verified_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
