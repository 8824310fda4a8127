//! What replicas share to have certificates by ACME, in SQL. No row is locked for longer than a statement: work that
//! takes minutes is kept apart by leases.

use async_trait::async_trait;
use jiff::Timestamp;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{ColumnTrait, EntityTrait, ExprTrait, QueryFilter, QuerySelect, SqlErr};
use uuid::Uuid;

use super::entities::{acme_accounts, acme_certificates, acme_challenges, acme_leases, acme_orders};
use super::error::{corrupt, failed, failed_race};
use super::{SqlStore, instant, millis, millis_up, within_deadline};
use crate::store::{Acme, AcmeAccount, AcmeCertificate, AcmeChallenge, AcmeName, AcmeOrder, StoreError};

#[async_trait]
impl Acme for SqlStore {
    async fn take_lease(
        &self,
        name: &AcmeName,
        owner: Uuid,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<u32>, StoreError> {
        use acme_leases::{ActiveModel, Column, Entity};
        within_deadline(|| async {
            // Looked at first: replicas ask every few seconds, and most of the time the answer is no.
            let Some(row) = Entity::find_by_id(key(name)).one(&self.db).await.map_err(failed)? else {
                let (directory, host) = key(name);
                let row = ActiveModel {
                    directory: Set(directory),
                    host: Set(host),
                    owner: Set(owner.to_string()),
                    held_until: Set(millis_up(until)),
                    failures: Set(0),
                };
                return match Entity::insert(row).exec_without_returning(&self.db).await {
                    Ok(_) => Ok(Some(0)),
                    Err(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) => Ok(None),
                    Err(error) => Err(failed(error)),
                };
            };
            if row.held_until > millis(now) {
                return Ok(None);
            }
            let swap = Entity::update_many()
                .col_expr(Column::Owner, Expr::value(owner.to_string()))
                .col_expr(Column::HeldUntil, Expr::value(millis_up(until)))
                .filter(of_lease(name))
                .filter(Column::Owner.eq(row.owner))
                .filter(Column::HeldUntil.eq(row.held_until));
            let swapped = swap.exec(&self.db).await.map_err(failed)?.rows_affected == 1;
            let failures = u32::try_from(row.failures).map_err(|_| corrupt("acme_leases.failures is negative".to_owned()))?;
            Ok(swapped.then_some(failures))
        })
        .await
    }

    async fn extend_lease(&self, name: &AcmeName, owner: Uuid, until: Timestamp) -> Result<bool, StoreError> {
        use acme_leases::{Column, Entity};
        within_deadline(|| async {
            let extend = Entity::update_many()
                .col_expr(Column::HeldUntil, Expr::value(millis_up(until)))
                .filter(of_lease(name))
                .filter(Column::Owner.eq(owner.to_string()));
            Ok(extend.exec(&self.db).await.map_err(failed)?.rows_affected == 1)
        })
        .await
    }

    async fn rest_lease(&self, name: &AcmeName, owner: Uuid, until: Timestamp, failures: u32) -> Result<(), StoreError> {
        use acme_leases::{Column, Entity};
        within_deadline(|| async {
            let rest = Entity::update_many()
                .col_expr(Column::Owner, Expr::value(String::new()))
                .col_expr(Column::HeldUntil, Expr::value(millis_up(until)))
                .col_expr(Column::Failures, Expr::value(i32::try_from(failures).unwrap_or(i32::MAX)))
                .filter(of_lease(name))
                .filter(Column::Owner.eq(owner.to_string()));
            rest.exec(&self.db).await.map(drop).map_err(failed)
        })
        .await
    }

    async fn end_lease(&self, name: &AcmeName, owner: Uuid) -> Result<(), StoreError> {
        use acme_leases::{Column, Entity};
        within_deadline(|| async {
            let end = Entity::delete_many().filter(of_lease(name)).filter(Column::Owner.eq(owner.to_string()));
            end.exec(&self.db).await.map(drop).map_err(failed)
        })
        .await
    }

    async fn account(&self, name: &AcmeName) -> Result<Option<AcmeAccount>, StoreError> {
        within_deadline(|| async {
            let found = acme_accounts::Entity::find_by_id(name.directory.to_vec()).one(&self.db).await.map_err(failed)?;
            Ok(found.map(|row| AcmeAccount { contact: row.contact, credentials: row.credentials }))
        })
        .await
    }

    async fn save_account(&self, name: &AcmeName, account: &AcmeAccount) -> Result<(), StoreError> {
        use acme_accounts::{ActiveModel, Column, Entity};
        within_deadline(|| async {
            let row = ActiveModel {
                directory: Set(name.directory.to_vec()),
                contact: Set(account.contact.clone()),
                credentials: Set(account.credentials.clone()),
            };
            let replace = OnConflict::column(Column::Directory).update_columns([Column::Contact, Column::Credentials]).to_owned();
            Entity::insert(row).on_conflict(replace).exec_without_returning(&self.db).await.map(drop).map_err(failed)
        })
        .await
    }

    async fn order(&self, name: &AcmeName) -> Result<Option<AcmeOrder>, StoreError> {
        within_deadline(|| async {
            let found = acme_orders::Entity::find_by_id(key(name)).one(&self.db).await.map_err(failed)?;
            let order = |row: acme_orders::Model| {
                let created_at = instant(row.created_at, "acme_orders.created_at")?;
                Ok(AcmeOrder { url: row.url, key: row.sealed_key, created_at })
            };
            found.map(order).transpose()
        })
        .await
    }

    async fn save_order(&self, name: &AcmeName, order: &AcmeOrder) -> Result<(), StoreError> {
        use acme_orders::{ActiveModel, Column, Entity};
        within_deadline(|| async {
            let (directory, host) = key(name);
            let row = ActiveModel {
                directory: Set(directory),
                host: Set(host),
                url: Set(order.url.clone()),
                sealed_key: Set(order.key.clone()),
                created_at: Set(millis(order.created_at)),
            };
            let replace = OnConflict::columns([Column::Directory, Column::Host])
                .update_columns([Column::Url, Column::SealedKey, Column::CreatedAt])
                .to_owned();
            Entity::insert(row).on_conflict(replace).exec_without_returning(&self.db).await.map(drop).map_err(failed)
        })
        .await
    }

    async fn forget_order(&self, name: &AcmeName) -> Result<(), StoreError> {
        within_deadline(|| async { acme_orders::Entity::delete_by_id(key(name)).exec(&self.db).await.map(drop).map_err(failed) })
            .await
    }

    async fn versions(&self, directory: &[u8; 32]) -> Result<Vec<(String, i64)>, StoreError> {
        use acme_certificates::{Column, Entity};
        within_deadline(|| async {
            let query = Entity::find().select_only().columns([Column::Host, Column::Version]);
            let query = query.filter(Column::Directory.eq(directory.to_vec()));
            let rows: Vec<(Vec<u8>, i64)> = query.into_tuple().all(&self.db).await.map_err(failed)?;
            let text = |host| String::from_utf8(host).map_err(|_| corrupt("acme_certificates.host is not text".to_owned()));
            rows.into_iter().map(|(host, version)| Ok((text(host)?, version))).collect()
        })
        .await
    }

    async fn certificate(&self, name: &AcmeName) -> Result<Option<AcmeCertificate>, StoreError> {
        within_deadline(|| async {
            let found = acme_certificates::Entity::find_by_id(key(name)).one(&self.db).await.map_err(failed)?;
            Ok(found.map(|row| AcmeCertificate { chain: row.chain, key: row.sealed_key }))
        })
        .await
    }

    async fn save_certificate(&self, name: &AcmeName, certificate: &AcmeCertificate) -> Result<(), StoreError> {
        use acme_certificates::{ActiveModel, Column, Entity};
        within_deadline(|| async {
            let (directory, host) = key(name);
            let tx = self.begin().await?;
            let replace = Entity::update_many()
                .col_expr(Column::Version, Expr::col(Column::Version).add(1))
                .col_expr(Column::Chain, Expr::value(certificate.chain.clone()))
                .col_expr(Column::SealedKey, Expr::value(certificate.key.clone()))
                .filter(Column::Directory.eq(directory.clone()))
                .filter(Column::Host.eq(host.clone()));
            if replace.exec(&tx).await.map_err(failed)?.rows_affected == 0 {
                let row = ActiveModel {
                    directory: Set(directory),
                    host: Set(host),
                    version: Set(1),
                    chain: Set(certificate.chain.clone()),
                    sealed_key: Set(certificate.key.clone()),
                };
                Entity::insert(row).exec_without_returning(&tx).await.map_err(failed_race)?;
            }
            acme_orders::Entity::delete_by_id(key(name)).exec(&tx).await.map_err(failed)?;
            tx.commit().await.map_err(failed)
        })
        .await
    }

    async fn add_challenge(&self, challenge: &AcmeChallenge, now: Timestamp) -> Result<(), StoreError> {
        use acme_challenges::{ActiveModel, Column, Entity};
        within_deadline(|| async {
            let over = Entity::delete_many().filter(Column::ExpiresAt.lte(millis(now)));
            over.exec(&self.db).await.map_err(failed)?;
            let row = ActiveModel {
                token: Set(challenge.token.as_bytes().to_vec()),
                host: Set(challenge.host.clone()),
                key_authorization: Set(challenge.key_authorization.clone()),
                expires_at: Set(millis(challenge.expires_at)),
            };
            let replace = OnConflict::column(Column::Token)
                .update_columns([Column::Host, Column::KeyAuthorization, Column::ExpiresAt])
                .to_owned();
            Entity::insert(row).on_conflict(replace).exec_without_returning(&self.db).await.map(drop).map_err(failed)
        })
        .await
    }

    async fn challenges(&self, now: Timestamp, limit: u32) -> Result<Vec<AcmeChallenge>, StoreError> {
        use acme_challenges::{Column, Entity};
        within_deadline(|| async {
            let query = Entity::find().filter(Column::ExpiresAt.gt(millis(now))).limit(u64::from(limit));
            let challenge = |row: acme_challenges::Model| {
                let token = String::from_utf8(row.token).map_err(|_| corrupt("acme_challenges.token is not text".to_owned()))?;
                let expires_at = instant(row.expires_at, "acme_challenges.expires_at")?;
                Ok(AcmeChallenge { token, host: row.host, key_authorization: row.key_authorization, expires_at })
            };
            query.all(&self.db).await.map_err(failed)?.into_iter().map(challenge).collect()
        })
        .await
    }

    async fn remove_challenge(&self, token: &str) -> Result<(), StoreError> {
        let token = token.as_bytes().to_vec();
        within_deadline(|| async {
            acme_challenges::Entity::delete_by_id(token.clone()).exec(&self.db).await.map(drop).map_err(failed)
        })
        .await
    }
}

fn key(name: &AcmeName) -> (Vec<u8>, Vec<u8>) {
    (name.directory.to_vec(), name.host.as_bytes().to_vec())
}

fn of_lease(name: &AcmeName) -> sea_orm::Condition {
    use acme_leases::Column;
    let (directory, host) = key(name);
    sea_orm::Condition::all().add(Column::Directory.eq(directory)).add(Column::Host.eq(host))
}
