//! Clients, and the assertions they have used, in SQL.

use async_trait::async_trait;
use jiff::Timestamp;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect, SqlErr};

use super::entities::client_assertions;
use super::entities::clients::{ActiveModel, Column, Entity, Model};
use super::error::{corrupt, failed};
use super::purge::purge;
use super::{SqlStore, hash, instant, millis, millis_up, revocations, within_deadline};
use crate::identity::one_time_token::TokenHash;
use crate::identity::user::Role;
use crate::store::{Client, Clients, Ending, Page, Revocation, StoreError, Unique};

#[async_trait]
impl Clients for SqlStore {
    async fn add(&self, client: &Client) -> Result<(), StoreError> {
        within_deadline(|| async {
            let added = Entity::insert(row(client)).exec_without_returning(&self.db).await;
            added.map(drop).map_err(|error| match error.sql_err() {
                // The table has no other uniqueness rule.
                Some(SqlErr::UniqueConstraintViolation(_)) => StoreError::Conflict(Unique::Client),
                _ => failed(error),
            })
        })
        .await
    }

    async fn find(&self, id: &str) -> Result<Option<Client>, StoreError> {
        within_deadline(|| async {
            let found = Entity::find_by_id(id.as_bytes()).one(&self.db).await.map_err(failed)?;
            found.map(client).transpose()
        })
        .await
    }

    async fn list(&self, page: Page<&str>) -> Result<Vec<Client>, StoreError> {
        within_deadline(|| async {
            let mut query = Entity::find().order_by_asc(Column::Id).limit(u64::from(page.limit));
            if let Some(after) = page.after {
                query = query.filter(Column::Id.gt(after.as_bytes()));
            }
            query.all(&self.db).await.map_err(failed)?.into_iter().map(client).collect()
        })
        .await
    }

    async fn set_disabled(&self, id: &str, disabled: bool, ending: &Ending) -> Result<Option<Vec<Revocation>>, StoreError> {
        let disabled_at = disabled.then(|| millis(ending.at));
        within_deadline(|| async {
            let tx = self.begin().await?;
            let change =
                Entity::update_many().col_expr(Column::DisabledAt, Expr::value(disabled_at)).filter(Column::Id.eq(id.as_bytes()));
            if change.exec(&tx).await.map_err(failed)?.rows_affected == 0 {
                return Ok(None);
            }
            let records = if disabled { ending.revocations.clone() } else { Vec::new() };
            revocations::write(&tx, &records).await?;
            tx.commit().await.map_err(failed)?;
            Ok(Some(records))
        })
        .await
    }

    async fn delete(&self, id: &str, ending: &Ending) -> Result<Option<Vec<Revocation>>, StoreError> {
        within_deadline(|| async {
            let tx = self.begin().await?;
            if Entity::delete_by_id(id.as_bytes()).exec(&tx).await.map_err(failed)?.rows_affected == 0 {
                return Ok(None);
            }
            revocations::write(&tx, &ending.revocations).await?;
            tx.commit().await.map_err(failed)?;
            Ok(Some(ending.revocations.clone()))
        })
        .await
    }

    async fn use_assertion(&self, assertion: &TokenHash, expires_at: Timestamp) -> Result<bool, StoreError> {
        within_deadline(|| async {
            let row = client_assertions::ActiveModel { hash: Set(assertion.to_vec()), expires_at: Set(millis_up(expires_at)) };
            match client_assertions::Entity::insert(row).exec_without_returning(&self.db).await {
                Ok(_) => Ok(true),
                Err(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) => Ok(false),
                Err(error) => Err(failed(error)),
            }
        })
        .await
    }

    async fn assertion_was_used(&self, assertion: &TokenHash) -> Result<bool, StoreError> {
        within_deadline(|| async {
            let found = client_assertions::Entity::find_by_id(assertion.to_vec()).one(&self.db).await.map_err(failed)?;
            Ok(found.is_some())
        })
        .await
    }

    async fn purge_assertions(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        use client_assertions::{Column, Entity};
        let over = Condition::all().add(Column::ExpiresAt.lt(millis(before)));
        within_deadline(|| purge::<Entity, Vec<u8>>(&self.db, Column::Hash, over.clone(), limit)).await
    }
}

fn row(client: &Client) -> ActiveModel {
    let roles: Vec<&str> = client.roles.iter().map(Role::as_str).collect();
    ActiveModel {
        id: Set(client.id.as_bytes().to_vec()),
        name: Set(client.name.clone()),
        secret_hash: Set(client.secret_hash.map(|hash| hash.to_vec())),
        public_keys: Set(client.public_keys.clone()),
        scopes: Set(client.scopes.join(" ")),
        roles: Set(roles.join(" ")),
        created_at: Set(millis(client.created_at)),
        disabled_at: Set(client.disabled_at.map(millis)),
    }
}

fn client(row: Model) -> Result<Client, StoreError> {
    let id = String::from_utf8(row.id).map_err(|_| corrupt("clients.id is not text".to_owned()))?;
    let roles = row.roles.split_ascii_whitespace().map(Role::parse).collect::<Result<_, _>>();
    Ok(Client {
        name: row.name,
        secret_hash: row.secret_hash.map(|bytes| hash(bytes, "clients.secret_hash")).transpose()?,
        public_keys: row.public_keys,
        scopes: row.scopes.split_ascii_whitespace().map(str::to_owned).collect(),
        roles: roles.map_err(|_| corrupt(format!("clients.roles of {id:?} breaks its rules")))?,
        created_at: instant(row.created_at, "clients.created_at")?,
        disabled_at: row.disabled_at.map(|at| instant(at, "clients.disabled_at")).transpose()?,
        id,
    })
}
