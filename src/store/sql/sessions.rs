//! Sessions and their refresh chains in SQL.
//!
//! Rows are locked in one order everywhere (user, session, refresh tokens, revocations), so that no two
//! transactions can wait for each other.

use std::net::IpAddr;

use async_trait::async_trait;
use jiff::Timestamp;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, Condition, DatabaseTransaction, EntityTrait, ExprTrait, QueryFilter, QueryOrder};
use uuid::Uuid;

use super::endings::{change_password, refuse_older_logins, usable_sessions};
use super::entities::{refresh_tokens, sessions, users};
use super::error::{corrupt, failed};
use super::purge::purge;
use super::users::hold;
use super::{SqlStore, api_keys, instant, millis, revocations, uuid, within_deadline};
use crate::identity::password::PasswordHash;
use crate::identity::session::{Session, SessionId};
use crate::identity::user::UserId;
use crate::store::{Advance, Ending, Opening, Revocation, Sessions, StoreError};

#[async_trait]
impl Sessions for SqlStore {
    async fn open(&self, session: &Session, jti: Uuid) -> Result<Opening, StoreError> {
        within_deadline(|| async {
            let tx = self.begin().await?;
            // Holds the user's row, so that this login comes wholly before or wholly after an ending of all sessions:
            // before, and the ending sees the session; after, and `sessions_from` refuses it.
            let hold = users::Entity::update_many()
                .col_expr(users::Column::SessionsFrom, Expr::col(users::Column::SessionsFrom))
                .filter(users::Column::Id.eq(session.user.to_string()))
                .filter(users::Column::DisabledAt.is_null())
                .filter(users::Column::SessionsFrom.lte(millis(session.created_at)));
            if hold.exec(&tx).await.map_err(failed)?.rows_affected == 0 {
                return Ok(Opening::Refused);
            }
            sessions::Entity::insert(session_row(session)).exec_without_returning(&tx).await.map_err(failed)?;
            let issued = Issued { session: session.id, generation: session.generation, jti, at: session.rotated_at };
            issued.insert(session.refresh_expires_at, &tx).await?;
            tx.commit().await.map_err(failed)?;
            Ok(Opening::Opened)
        })
        .await
    }

    async fn find(&self, id: SessionId) -> Result<Option<Session>, StoreError> {
        within_deadline(|| async {
            let found = sessions::Entity::find_by_id(id.to_string()).one(&self.db).await.map_err(failed)?;
            found.map(session).transpose()
        })
        .await
    }

    async fn live(&self, user: UserId, now: Timestamp) -> Result<Vec<Session>, StoreError> {
        within_deadline(|| async {
            let live = sessions::Entity::find()
                .filter(sessions::Column::UserId.eq(user.to_string()))
                .filter(sessions::Column::EndedAt.is_null())
                .filter(sessions::Column::EndsAt.gt(millis(now)))
                .filter(sessions::Column::RefreshExpiresAt.gt(millis(now)))
                .order_by_desc(sessions::Column::CreatedAt)
                .order_by_desc(sessions::Column::Id);
            live.all(&self.db).await.map_err(failed)?.into_iter().map(session).collect()
        })
        .await
    }

    async fn advance(&self, advance: &Advance) -> Result<bool, StoreError> {
        within_deadline(|| async {
            let tx = self.begin().await?;
            let mut swap = sessions::Entity::update_many()
                .col_expr(sessions::Column::Generation, Expr::value(i64::from(advance.to)))
                .col_expr(sessions::Column::RotatedAt, Expr::value(millis(advance.at)))
                .col_expr(sessions::Column::RefreshExpiresAt, Expr::value(millis(advance.refresh_expires_at)))
                .filter(sessions::Column::Id.eq(advance.session.to_string()))
                .filter(sessions::Column::Generation.eq(i64::from(advance.from)))
                .filter(sessions::Column::EndedAt.is_null());
            if let Some(at) = advance.authenticated_at {
                swap = swap.col_expr(sessions::Column::AuthenticatedAt, Expr::value(millis(at)));
            }
            if swap.exec(&tx).await.map_err(failed)?.rows_affected == 0 {
                return Ok(false);
            }
            let used = refresh_tokens::Entity::update_many()
                .col_expr(refresh_tokens::Column::UsedAt, Expr::value(millis(advance.at)))
                .filter(refresh_tokens::Column::SessionId.eq(advance.session.to_string()))
                .filter(refresh_tokens::Column::Generation.eq(i64::from(advance.from)));
            used.exec(&tx).await.map_err(failed)?;
            let issued = Issued { session: advance.session, generation: advance.to, jti: advance.jti, at: advance.at };
            issued.insert(advance.refresh_expires_at, &tx).await?;
            tx.commit().await.map_err(failed)?;
            Ok(true)
        })
        .await
    }

    async fn touch(&self, id: SessionId, refresh_expires_at: Timestamp, at: Timestamp, jti: Uuid) -> Result<bool, StoreError> {
        let (until, at) = (millis(refresh_expires_at), millis(at));
        within_deadline(|| async {
            let tx = self.begin().await?;
            let held = || Expr::col(sessions::Column::RefreshExpiresAt);
            let slide = sessions::Entity::update_many()
                .col_expr(sessions::Column::RefreshExpiresAt, Expr::case(held().gt(until), held()).finally(until).into())
                .filter(sessions::Column::Id.eq(id.to_string()))
                .filter(sessions::Column::EndedAt.is_null())
                .filter(sessions::Column::EndsAt.gt(at))
                .filter(sessions::Column::RefreshExpiresAt.gt(at));
            if slide.exec(&tx).await.map_err(failed)?.rows_affected == 0 {
                return Ok(false);
            }
            let held = || Expr::col(refresh_tokens::Column::ExpiresAt);
            // Of the access token that goes with it: the record of an ending must outlive that one by its own clock.
            let issued = || Expr::col(refresh_tokens::Column::IssuedAt);
            let current = refresh_tokens::Entity::update_many()
                .col_expr(refresh_tokens::Column::ExpiresAt, Expr::case(held().gt(until), held()).finally(until).into())
                .col_expr(refresh_tokens::Column::IssuedAt, Expr::case(issued().gt(at), issued()).finally(at).into())
                .col_expr(refresh_tokens::Column::Jti, Expr::value(jti.hyphenated().to_string()))
                .filter(refresh_tokens::Column::SessionId.eq(id.to_string()))
                .filter(refresh_tokens::Column::UsedAt.is_null());
            current.exec(&tx).await.map_err(failed)?;
            tx.commit().await.map_err(failed)?;
            Ok(true)
        })
        .await
    }

    async fn end(&self, id: SessionId, ending: &Ending) -> Result<Vec<Revocation>, StoreError> {
        within_deadline(|| async {
            let tx = self.begin().await?;
            let records = ending.write(&[id], &tx).await?;
            tx.commit().await.map_err(failed)?;
            Ok(records)
        })
        .await
    }

    async fn end_all(&self, user: UserId, except: Option<SessionId>, ending: &Ending) -> Result<Vec<Revocation>, StoreError> {
        within_deadline(|| async {
            let tx = self.begin().await?;
            refuse_older_logins(user, ending.at).exec(&tx).await.map_err(failed)?;
            let records = ending.write(&usable_sessions(user, except, ending, &tx).await?, &tx).await?;
            tx.commit().await.map_err(failed)?;
            Ok(records)
        })
        .await
    }

    async fn change_password(
        &self,
        user: UserId,
        password: &PasswordHash,
        except: Option<SessionId>,
        ending: &Ending,
    ) -> Result<Vec<Revocation>, StoreError> {
        within_deadline(|| async {
            let tx = self.begin().await?;
            let records = change_password(user, password, except, ending, &tx).await?;
            tx.commit().await.map_err(failed)?;
            Ok(records)
        })
        .await
    }

    async fn set_disabled(&self, user: UserId, disabled: bool, ending: &Ending) -> Result<Option<Vec<Revocation>>, StoreError> {
        within_deadline(|| async {
            let tx = self.begin().await?;
            let change = if disabled {
                refuse_older_logins(user, ending.at).col_expr(users::Column::DisabledAt, Expr::value(millis(ending.at)))
            } else {
                users::Entity::update_many()
                    .col_expr(users::Column::DisabledAt, Expr::value(None::<i64>))
                    .filter(users::Column::Id.eq(user.to_string()))
            };
            if change.exec(&tx).await.map_err(failed)?.rows_affected == 0 {
                return Ok(None);
            }
            let records =
                if disabled { ending.write(&usable_sessions(user, None, ending, &tx).await?, &tx).await? } else { Vec::new() };
            tx.commit().await.map_err(failed)?;
            Ok(Some(records))
        })
        .await
    }

    async fn delete_user(&self, user: UserId, ending: &Ending) -> Result<Option<Vec<Revocation>>, StoreError> {
        within_deadline(|| async {
            let tx = self.begin().await?;
            if !hold(user, &tx).await? {
                return Ok(None);
            }
            let mut records = api_keys::issued_for_all(user, ending, &tx).await?;
            revocations::write(&tx, &records).await?;
            records.extend(ending.write(&usable_sessions(user, None, ending, &tx).await?, &tx).await?);
            // What is the user's goes with the row: the foreign keys say so.
            users::Entity::delete_by_id(user.to_string()).exec(&tx).await.map_err(failed)?;
            tx.commit().await.map_err(failed)?;
            Ok(Some(records))
        })
        .await
    }

    async fn purge(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let over = Condition::any()
            .add(sessions::Column::EndedAt.lt(millis(before)))
            .add(sessions::Column::EndsAt.lt(millis(before)))
            .add(sessions::Column::RefreshExpiresAt.lt(millis(before)));
        within_deadline(|| purge::<sessions::Entity, String>(&self.db, sessions::Column::Id, over.clone(), limit)).await
    }
}

/// What was issued with a generation.
struct Issued {
    session: SessionId,
    generation: u32,
    jti: Uuid,
    at: Timestamp,
}

impl Issued {
    async fn insert(self, expires_at: Timestamp, tx: &DatabaseTransaction) -> Result<(), StoreError> {
        let row = refresh_tokens::ActiveModel {
            session_id: Set(self.session.to_string()),
            generation: Set(i64::from(self.generation)),
            jti: Set(self.jti.hyphenated().to_string()),
            issued_at: Set(millis(self.at)),
            expires_at: Set(millis(expires_at)),
            used_at: Set(None),
            revoked_at: Set(None),
        };
        refresh_tokens::Entity::insert(row).exec_without_returning(tx).await.map(drop).map_err(failed)
    }
}

fn session_row(session: &Session) -> sessions::ActiveModel {
    sessions::ActiveModel {
        id: Set(session.id.to_string()),
        user_id: Set(session.user.to_string()),
        created_at: Set(millis(session.created_at)),
        ends_at: Set(millis(session.ends_at)),
        ended_at: Set(session.ended_at.map(millis)),
        generation: Set(i64::from(session.generation)),
        rotated_at: Set(millis(session.rotated_at)),
        refresh_expires_at: Set(millis(session.refresh_expires_at)),
        nonce: Set(session.nonce.to_vec()),
        address: Set(session.address.map(|address| address.to_string())),
        agent: Set(session.agent.clone()),
        authenticated_at: Set(Some(millis(session.authenticated_at))),
    }
}

fn session(row: sessions::Model) -> Result<Session, StoreError> {
    let id = uuid(&row.id, "sessions.id")?;
    let unreadable = |column: &str| corrupt(format!("sessions.{column} of {id} breaks its rules"));
    Ok(Session {
        id: SessionId(id),
        user: UserId(uuid(&row.user_id, "sessions.user_id")?),
        created_at: instant(row.created_at, "sessions.created_at")?,
        authenticated_at: instant(row.authenticated_at.unwrap_or(row.created_at), "sessions.authenticated_at")?,
        ends_at: instant(row.ends_at, "sessions.ends_at")?,
        ended_at: row.ended_at.map(|at| instant(at, "sessions.ended_at")).transpose()?,
        generation: row.generation.try_into().map_err(|_| unreadable("generation"))?,
        rotated_at: instant(row.rotated_at, "sessions.rotated_at")?,
        refresh_expires_at: instant(row.refresh_expires_at, "sessions.refresh_expires_at")?,
        nonce: row.nonce.try_into().map_err(|_| unreadable("nonce"))?,
        address: row.address.map(|text| text.parse::<IpAddr>()).transpose().map_err(|_| unreadable("address"))?,
        agent: row.agent,
    })
}
