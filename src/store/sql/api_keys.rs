//! API keys in SQL.

use async_trait::async_trait;
use jiff::Timestamp;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, Condition, DatabaseTransaction, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::entities::api_keys::{ActiveModel, Column, Entity, Model};
use super::error::failed;
use super::purge::purge;
use super::{SqlStore, hash, instant, millis, revocations, users, uuid, within_deadline};
use crate::identity::one_time_token::TokenHash;
use crate::identity::session::SessionId;
use crate::identity::user::UserId;
use crate::store::{ApiKey, ApiKeys, Covers, Ending, Revocation, StoreError};

#[async_trait]
impl ApiKeys for SqlStore {
    async fn add(&self, key: &ApiKey) -> Result<bool, StoreError> {
        within_deadline(|| async {
            let tx = self.begin().await?;
            if !users::hold(key.user, &tx).await? {
                return Ok(false);
            }
            Entity::insert(row(key)).exec_without_returning(&tx).await.map_err(failed)?;
            tx.commit().await.map_err(failed)?;
            Ok(true)
        })
        .await
    }

    async fn find(&self, hash: &TokenHash) -> Result<Option<ApiKey>, StoreError> {
        within_deadline(|| async {
            let found = Entity::find().filter(Column::Hash.eq(hash.to_vec())).one(&self.db).await.map_err(failed)?;
            found.map(key).transpose()
        })
        .await
    }

    async fn find_by_id(&self, id: Uuid) -> Result<Option<ApiKey>, StoreError> {
        within_deadline(|| async {
            let found = Entity::find_by_id(id.hyphenated().to_string()).one(&self.db).await.map_err(failed)?;
            found.map(key).transpose()
        })
        .await
    }

    async fn list(&self, user: UserId) -> Result<Vec<ApiKey>, StoreError> {
        within_deadline(|| async {
            let keys = Entity::find()
                .filter(Column::UserId.eq(user.to_string()))
                .order_by_desc(Column::CreatedAt)
                .order_by_desc(Column::Id);
            keys.all(&self.db).await.map_err(failed)?.into_iter().map(key).collect()
        })
        .await
    }

    async fn revoke(&self, user: UserId, id: Uuid, ending: &Ending) -> Result<Option<Vec<Revocation>>, StoreError> {
        within_deadline(|| async {
            let tx = self.begin().await?;
            let revoked_at = Expr::col(Column::RevokedAt).if_null(millis(ending.at));
            let revoke = Entity::update_many()
                .col_expr(Column::RevokedAt, revoked_at)
                .filter(Column::Id.eq(id.hyphenated().to_string()))
                .filter(Column::UserId.eq(user.to_string()));
            if revoke.exec(&tx).await.map_err(failed)?.rows_affected == 0 {
                return Ok(None);
            }
            let mut records = vec![issued_for(id, ending)];
            records.extend(ending.revocations.iter().cloned());
            revocations::write(&tx, &records).await?;
            tx.commit().await.map_err(failed)?;
            Ok(Some(records))
        })
        .await
    }

    async fn touch(&self, id: Uuid, at: Timestamp) -> Result<(), StoreError> {
        let at = millis(at);
        let earlier = Condition::any().add(Column::LastUsedAt.is_null()).add(Column::LastUsedAt.lt(at));
        within_deadline(|| async {
            let touch = Entity::update_many()
                .col_expr(Column::LastUsedAt, Expr::value(at))
                .filter(Column::Id.eq(id.hyphenated().to_string()))
                .filter(earlier.clone());
            touch.exec(&self.db).await.map(drop).map_err(failed)
        })
        .await
    }

    async fn purge(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let before = millis(before);
        let over = Condition::any().add(Column::ExpiresAt.lt(before)).add(Column::RevokedAt.lt(before));
        within_deadline(|| purge::<Entity, String>(&self.db, Column::Id, over.clone(), limit)).await
    }
}

/// What revokes the tokens issued for each of a user's keys. To be called with the user's row held.
pub(super) async fn issued_for_all(
    user: UserId,
    ending: &Ending,
    tx: &DatabaseTransaction,
) -> Result<Vec<Revocation>, StoreError> {
    let ids = Entity::find().select_only().column(Column::Id).filter(Column::UserId.eq(user.to_string()));
    let ids: Vec<String> = ids.into_tuple().all(tx).await.map_err(failed)?;
    ids.iter().map(|id| Ok(issued_for(uuid(id, "api_keys.id")?, ending))).collect()
}

fn issued_for(id: Uuid, ending: &Ending) -> Revocation {
    Revocation { covers: Covers::Session(SessionId(id)), expires_at: ending.access_until }
}

fn row(key: &ApiKey) -> ActiveModel {
    ActiveModel {
        id: Set(key.id.hyphenated().to_string()),
        user_id: Set(key.user.to_string()),
        name: Set(key.name.clone()),
        prefix: Set(key.prefix.clone()),
        hash: Set(key.hash.to_vec()),
        scopes: Set(key.scopes.join(" ")),
        created_at: Set(millis(key.created_at)),
        expires_at: Set(key.expires_at.map(millis)),
        last_used_at: Set(key.last_used_at.map(millis)),
        revoked_at: Set(key.revoked_at.map(millis)),
    }
}

fn key(row: Model) -> Result<ApiKey, StoreError> {
    let at = |at: Option<i64>, column| at.map(|at| instant(at, column)).transpose();
    Ok(ApiKey {
        id: uuid(&row.id, "api_keys.id")?,
        user: UserId(uuid(&row.user_id, "api_keys.user_id")?),
        name: row.name,
        prefix: row.prefix,
        hash: hash(row.hash, "api_keys.hash")?,
        scopes: row.scopes.split_ascii_whitespace().map(str::to_owned).collect(),
        created_at: instant(row.created_at, "api_keys.created_at")?,
        expires_at: at(row.expires_at, "api_keys.expires_at")?,
        last_used_at: at(row.last_used_at, "api_keys.last_used_at")?,
        revoked_at: at(row.revoked_at, "api_keys.revoked_at")?,
    })
}
