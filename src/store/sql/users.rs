//! Users and their password hashes in SQL.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use jiff::Timestamp;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait};
use uuid::Uuid;

use super::entities::{user_roles, users};
use super::error::{corrupt, failed, failed_user};
use super::{SqlStore, instant, millis, uuid, within_deadline};
use crate::identity::password::PasswordHash;
use crate::identity::user::{Email, LoginName, Role, User, UserId, Username};
use crate::store::{NewUser, Page, StoreError, Users};

#[async_trait]
impl Users for SqlStore {
    async fn add(&self, new: &NewUser) -> Result<(), StoreError> {
        within_deadline(|| async {
            let tx = self.begin().await?;
            insert(new, &tx).await?;
            tx.commit().await.map_err(failed)
        })
        .await
    }

    async fn find(&self, id: UserId) -> Result<Option<User>, StoreError> {
        within_deadline(|| async {
            let found = users::Entity::find_by_id(id.to_string()).one(&self.db).await.map_err(failed)?;
            Ok(self.with_roles(Vec::from_iter(found)).await?.pop())
        })
        .await
    }

    async fn find_by_login(&self, login: &LoginName) -> Result<Option<(User, PasswordHash)>, StoreError> {
        let named = match login {
            LoginName::Username(name) => users::Column::UsernameCanonical.eq(name.canonical().as_bytes()),
            LoginName::Email(address) => users::Column::EmailCanonical.eq(address.canonical().as_bytes()),
        };
        within_deadline(|| async {
            let Some(found) = users::Entity::find().filter(named.clone()).one(&self.db).await.map_err(failed)? else {
                return Ok(None);
            };
            let password = PasswordHash::from_stored(found.password_hash.clone());
            Ok(self.with_roles(vec![found]).await?.pop().map(|user| (user, password)))
        })
        .await
    }

    async fn password(&self, id: UserId) -> Result<Option<PasswordHash>, StoreError> {
        within_deadline(|| async {
            let found = users::Entity::find_by_id(id.to_string()).one(&self.db).await.map_err(failed)?;
            Ok(found.map(|row| PasswordHash::from_stored(row.password_hash)))
        })
        .await
    }

    async fn list(&self, page: Page<UserId>) -> Result<Vec<User>, StoreError> {
        within_deadline(|| async {
            let mut query = users::Entity::find().order_by_asc(users::Column::Id).limit(u64::from(page.limit));
            if let Some(after) = page.after {
                query = query.filter(users::Column::Id.gt(after.to_string()));
            }
            self.with_roles(query.all(&self.db).await.map_err(failed)?).await
        })
        .await
    }

    async fn upgrade_password(&self, id: UserId, expected: &PasswordHash, upgraded: &PasswordHash) -> Result<bool, StoreError> {
        within_deadline(|| async {
            let update = users::Entity::update_many()
                .col_expr(users::Column::PasswordHash, Expr::value(upgraded.as_stored()))
                .filter(users::Column::Id.eq(id.to_string()))
                .filter(users::Column::PasswordHash.eq(expected.as_stored()));
            Ok(update.exec(&self.db).await.map_err(failed)?.rows_affected == 1)
        })
        .await
    }

    async fn set_roles(&self, id: UserId, roles: &BTreeSet<Role>) -> Result<bool, StoreError> {
        within_deadline(|| async {
            let tx = self.begin().await?;
            // Two calls at once must not mix their roles.
            if !hold(id, &tx).await? {
                return Ok(false);
            }
            let old = user_roles::Entity::delete_many().filter(user_roles::Column::UserId.eq(id.to_string()));
            old.exec(&tx).await.map_err(failed)?;
            insert_roles(&tx, id, roles).await?;
            tx.commit().await.map_err(failed)?;
            Ok(true)
        })
        .await
    }

    async fn another_may(&self, except: UserId, role: &Role) -> Result<bool, StoreError> {
        within_deadline(|| async {
            let holders = user_roles::Entity::find()
                .select_only()
                .column(user_roles::Column::UserId)
                .filter(user_roles::Column::Role.eq(role.as_str().as_bytes()))
                .filter(user_roles::Column::UserId.ne(except.to_string()))
                .into_query();
            let others =
                users::Entity::find().filter(users::Column::DisabledAt.is_null()).filter(users::Column::Id.in_subquery(holders));
            Ok(others.one(&self.db).await.map_err(failed)?.is_some())
        })
        .await
    }

    async fn set_names(&self, id: UserId, given_name: Option<&str>, family_name: Option<&str>) -> Result<bool, StoreError> {
        within_deadline(|| async {
            let update = users::Entity::update_many()
                .col_expr(users::Column::GivenName, Expr::value(given_name.map(str::to_owned)))
                .col_expr(users::Column::FamilyName, Expr::value(family_name.map(str::to_owned)))
                .filter(users::Column::Id.eq(id.to_string()));
            Ok(update.exec(&self.db).await.map_err(failed)?.rows_affected == 1)
        })
        .await
    }

    async fn set_email_verified(&self, id: UserId, email: &Email, at: Timestamp) -> Result<bool, StoreError> {
        within_deadline(|| async {
            let update = users::Entity::update_many()
                .col_expr(users::Column::EmailVerifiedAt, Expr::value(millis(at)))
                .filter(users::Column::Id.eq(id.to_string()))
                .filter(users::Column::EmailCanonical.eq(email.canonical().as_bytes()));
            Ok(update.exec(&self.db).await.map_err(failed)?.rows_affected == 1)
        })
        .await
    }

    async fn import(&self, users: &[NewUser]) -> Vec<Result<(), StoreError>> {
        let mut outcomes = Vec::with_capacity(users.len());
        for user in users {
            outcomes.push(self.add(user).await);
            if !matches!(outcomes.last(), Some(Ok(()) | Err(StoreError::Conflict(_)))) {
                break;
            }
        }
        outcomes
    }
}

impl SqlStore {
    /// Rows with their roles as users, in the same order. Two statements however many rows.
    async fn with_roles(&self, rows: Vec<users::Model>) -> Result<Vec<User>, StoreError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let ids = rows.iter().map(|row| row.id.clone());
        let found = user_roles::Entity::find().filter(user_roles::Column::UserId.is_in(ids)).all(&self.db);
        let mut roles: BTreeMap<String, BTreeSet<Role>> = BTreeMap::new();
        for row in found.await.map_err(failed)? {
            roles.entry(row.user_id).or_default().insert(role(&row.role)?);
        }
        rows.into_iter()
            .map(|row| {
                let roles = roles.remove(&row.id).unwrap_or_default();
                user(row, roles)
            })
            .collect()
    }
}

/// Holds the user's row until the transaction ends, and changes nothing. False if there is no such user.
pub(super) async fn hold(id: UserId, tx: &DatabaseTransaction) -> Result<bool, StoreError> {
    let hold = users::Entity::update_many()
        .col_expr(users::Column::CreatedAt, Expr::col(users::Column::CreatedAt))
        .filter(users::Column::Id.eq(id.to_string()));
    Ok(hold.exec(tx).await.map_err(failed)?.rows_affected == 1)
}

/// Adds a user with their roles.
pub(super) async fn insert(new: &NewUser, tx: &DatabaseTransaction) -> Result<(), StoreError> {
    users::Entity::insert(row(new)).exec_without_returning(tx).await.map_err(failed_user)?;
    insert_roles(tx, new.user.id, &new.user.roles).await
}

async fn insert_roles(tx: &DatabaseTransaction, id: UserId, roles: &BTreeSet<Role>) -> Result<(), StoreError> {
    if roles.is_empty() {
        return Ok(());
    }
    let rows = roles
        .iter()
        .map(|role| user_roles::ActiveModel { user_id: Set(id.to_string()), role: Set(role.as_str().as_bytes().to_vec()) });
    user_roles::Entity::insert_many(rows).exec_without_returning(tx).await.map(drop).map_err(failed)
}

fn row(NewUser { user, password }: &NewUser) -> users::ActiveModel {
    users::ActiveModel {
        id: Set(user.id.to_string()),
        username: Set(user.username.as_ref().map(|name| name.as_typed().to_owned())),
        username_canonical: Set(user.username.as_ref().map(|name| name.canonical().as_bytes().to_vec())),
        email: Set(user.email.as_ref().map(|address| address.as_typed().to_owned())),
        email_canonical: Set(user.email.as_ref().map(|address| address.canonical().as_bytes().to_vec())),
        given_name: Set(user.given_name.clone()),
        family_name: Set(user.family_name.clone()),
        password_hash: Set(password.as_stored().to_owned()),
        disabled_at: Set(user.disabled_at.map(millis)),
        created_at: Set(millis(user.created_at)),
        sessions_from: Set(0),
        email_verified_at: Set(user.email_verified_at.map(millis)),
    }
}

fn user(row: users::Model, roles: BTreeSet<Role>) -> Result<User, StoreError> {
    let id: Uuid = uuid(&row.id, "users.id")?;
    let unreadable = |column: &str| corrupt(format!("users.{column} of {id} breaks its rules"));
    Ok(User {
        id: UserId(id),
        username: row.username.map(|typed| Username::parse(&typed)).transpose().map_err(|_| unreadable("username"))?,
        email: row.email.map(|typed| Email::parse(&typed)).transpose().map_err(|_| unreadable("email"))?,
        email_verified_at: row.email_verified_at.map(|at| instant(at, "users.email_verified_at")).transpose()?,
        given_name: row.given_name,
        family_name: row.family_name,
        roles,
        disabled_at: row.disabled_at.map(|at| instant(at, "users.disabled_at")).transpose()?,
        created_at: instant(row.created_at, "users.created_at")?,
    })
}

fn role(bytes: &[u8]) -> Result<Role, StoreError> {
    let text = str::from_utf8(bytes).ok();
    text.and_then(|text| Role::parse(text).ok()).ok_or_else(|| corrupt("user_roles.role is not a role".to_owned()))
}
