//! One-time tokens in SQL. Each step of a token's life is one `UPDATE` whose conditions only one caller can meet.
//!
//! Where a step touches a user too, the user's row is held first, in the order that all transactions keep.

use async_trait::async_trait;
use aws_lc_rs::digest;
use jiff::Timestamp;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, UpdateMany};

use super::entities::one_time_tokens::{ActiveModel, Column, Entity, Model};
use super::error::{corrupt, failed, failed_race};
use super::purge::purge;
use super::{SqlStore, endings, instant, millis, users, uuid, within_deadline};
use crate::identity::one_time_token::{OneTimeKind, OneTimeToken, TokenHash};
use crate::identity::password::PasswordHash;
use crate::identity::user::{Email, UserId};
use crate::store::{Ending, NewOneTimeToken, NewUser, OneTimeTokens, Revocation, StoreError};

#[async_trait]
impl OneTimeTokens for SqlStore {
    async fn issue(&self, new: &NewOneTimeToken) -> Result<bool, StoreError> {
        within_deadline(|| async {
            let tx = self.begin().await?;
            if let Some(user) = new.user
                && !users::hold(user, &tx).await?
            {
                return Ok(false);
            }
            let current_for = current_for(new);
            if let Some(current_for) = &current_for {
                // Of two that are issued at once for one address, the second waits here or at the unique index for
                // the first, and is tried again if it had not seen it.
                let older = Entity::delete_many().filter(Column::CurrentFor.eq(current_for.clone()));
                older.exec(&tx).await.map_err(failed)?;
            }
            Entity::insert(row(new, current_for)).exec_without_returning(&tx).await.map_err(failed_race)?;
            tx.commit().await.map_err(failed)?;
            Ok(true)
        })
        .await
    }

    async fn find(&self, token: &TokenHash) -> Result<Option<OneTimeToken>, StoreError> {
        within_deadline(|| one(Column::TokenHash, token, &self.db)).await
    }

    async fn redeem(
        &self,
        token: &TokenHash,
        ticket: &TokenHash,
        ticket_expires_at: Timestamp,
        at: Timestamp,
    ) -> Result<Option<OneTimeToken>, StoreError> {
        within_deadline(|| async {
            let tx = self.begin().await?;
            let swap = Entity::update_many()
                .col_expr(Column::RedeemedAt, Expr::value(millis(at)))
                .col_expr(Column::TicketHash, Expr::value(ticket.to_vec()))
                .col_expr(Column::TicketExpiresAt, Expr::value(millis(ticket_expires_at)))
                .filter(Column::TokenHash.eq(token.to_vec()))
                .filter(Column::RedeemedAt.is_null())
                .filter(Column::ExpiresAt.gt(millis(at)));
            if swap.exec(&tx).await.map_err(failed)?.rows_affected == 0 {
                return Ok(None);
            }
            let redeemed = one(Column::TokenHash, token, &tx).await?;
            tx.commit().await.map_err(failed)?;
            Ok(redeemed)
        })
        .await
    }

    async fn by_ticket(&self, ticket: &TokenHash) -> Result<Option<OneTimeToken>, StoreError> {
        within_deadline(|| one(Column::TicketHash, ticket, &self.db)).await
    }

    async fn spend(&self, ticket: &TokenHash, kind: OneTimeKind, at: Timestamp) -> Result<Option<OneTimeToken>, StoreError> {
        within_deadline(|| async {
            let tx = self.begin().await?;
            if spend(ticket, kind, at).exec(&tx).await.map_err(failed)?.rows_affected == 0 {
                return Ok(None);
            }
            let spent = one(Column::TicketHash, ticket, &tx).await?;
            tx.commit().await.map_err(failed)?;
            Ok(spent)
        })
        .await
    }

    async fn spend_reset(
        &self,
        ticket: &TokenHash,
        password: &PasswordHash,
        ending: &Ending,
    ) -> Result<Option<(UserId, Vec<Revocation>)>, StoreError> {
        within_deadline(|| async {
            // Whose it is never changes, so it may be read before the transaction.
            let Some(user) = one(Column::TicketHash, ticket, &self.db).await?.and_then(|token| token.user) else {
                return Ok(None);
            };
            let tx = self.begin().await?;
            users::hold(user, &tx).await?;
            let spend = spend(ticket, OneTimeKind::PasswordReset, ending.at);
            if spend.exec(&tx).await.map_err(failed)?.rows_affected == 0 {
                return Ok(None);
            }
            let records = endings::change_password(user, password, None, ending, &tx).await?;
            tx.commit().await.map_err(failed)?;
            Ok(Some((user, records)))
        })
        .await
    }

    async fn spend_invitation(
        &self,
        ticket: &TokenHash,
        new: &NewUser,
        at: Timestamp,
    ) -> Result<Option<OneTimeToken>, StoreError> {
        within_deadline(|| async {
            let tx = self.begin().await?;
            if spend(ticket, OneTimeKind::Invitation, at).exec(&tx).await.map_err(failed)?.rows_affected == 0 {
                return Ok(None);
            }
            users::insert(new, &tx).await?;
            let spent = one(Column::TicketHash, ticket, &tx).await?;
            tx.commit().await.map_err(failed)?;
            Ok(spent)
        })
        .await
    }

    async fn kill(&self, user: UserId, kind: OneTimeKind) -> Result<u64, StoreError> {
        within_deadline(|| async { kill(user, &[kind], &self.db).await }).await
    }

    async fn purge(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let before = millis(before);
        let no_ticket = Condition::any().add(Column::TicketExpiresAt.is_null()).add(Column::TicketExpiresAt.lt(before));
        let over = Condition::all().add(Column::ExpiresAt.lt(before)).add(no_ticket);
        within_deadline(|| purge::<Entity, String>(&self.db, Column::Id, over.clone(), limit)).await
    }
}

/// Makes what is unspent of a user's tokens of these kinds, and of their tickets, good for nothing. Returns how many.
pub(super) async fn kill(user: UserId, kinds: &[OneTimeKind], db: &impl ConnectionTrait) -> Result<u64, StoreError> {
    let unspent = Entity::delete_many()
        .filter(Column::UserId.eq(user.to_string()))
        .filter(Column::Kind.is_in(kinds.iter().map(|kind| kind.as_str())))
        .filter(Column::SpentAt.is_null());
    Ok(unspent.exec(db).await.map_err(failed)?.rows_affected)
}

/// Spends the ticket, for one caller only.
fn spend(ticket: &TokenHash, kind: OneTimeKind, at: Timestamp) -> UpdateMany<Entity> {
    Entity::update_many()
        .col_expr(Column::SpentAt, Expr::value(millis(at)))
        .col_expr(Column::CurrentFor, Expr::value(None::<Vec<u8>>))
        .filter(Column::TicketHash.eq(ticket.to_vec()))
        .filter(Column::Kind.eq(kind.as_str()))
        .filter(Column::SpentAt.is_null())
        .filter(Column::TicketExpiresAt.gt(millis(at)))
}

async fn one(column: Column, hash: &TokenHash, db: &impl ConnectionTrait) -> Result<Option<OneTimeToken>, StoreError> {
    let found = Entity::find().filter(column.eq(hash.to_vec())).one(db).await.map_err(failed)?;
    found.map(token).transpose()
}

/// SHA-256 of the kind and of the user or the address, each told from the other. None for a token for neither.
fn current_for(new: &NewOneTimeToken) -> Option<Vec<u8>> {
    let whom = match (new.user, &new.email) {
        (Some(user), _) => format!("user {user}"),
        (None, Some(email)) => format!("email {}", email.canonical()),
        (None, None) => return None,
    };
    let text = format!("{} for {whom}", new.kind.as_str());
    Some(digest::digest(&digest::SHA256, text.as_bytes()).as_ref().to_vec())
}

fn row(new: &NewOneTimeToken, current_for: Option<Vec<u8>>) -> ActiveModel {
    ActiveModel {
        id: Set(new.id.hyphenated().to_string()),
        kind: Set(new.kind.as_str().to_owned()),
        token_hash: Set(new.token_hash.to_vec()),
        ticket_hash: Set(None),
        current_for: Set(current_for),
        user_id: Set(new.user.map(|user| user.to_string())),
        email: Set(new.email.as_ref().map(|email| email.as_typed().to_owned())),
        metadata: Set(new.metadata.clone()),
        created_by: Set(new.created_by.map(|user| user.to_string())),
        created_at: Set(millis(new.created_at)),
        expires_at: Set(millis(new.expires_at)),
        redeemed_at: Set(None),
        ticket_expires_at: Set(None),
        spent_at: Set(None),
    }
}

fn token(row: Model) -> Result<OneTimeToken, StoreError> {
    let id = uuid(&row.id, "one_time_tokens.id")?;
    let unreadable = |column: &str| corrupt(format!("one_time_tokens.{column} of {id} breaks its rules"));
    let user = |text: Option<String>, column| text.map(|text| uuid(&text, column).map(UserId)).transpose();
    let at = |at: Option<i64>, column| at.map(|at| instant(at, column)).transpose();
    Ok(OneTimeToken {
        id,
        kind: OneTimeKind::parse(&row.kind).ok_or_else(|| unreadable("kind"))?,
        user: user(row.user_id, "one_time_tokens.user_id")?,
        email: row.email.map(|typed| Email::parse(&typed)).transpose().map_err(|_| unreadable("email"))?,
        metadata: row.metadata,
        created_by: user(row.created_by, "one_time_tokens.created_by")?,
        created_at: instant(row.created_at, "one_time_tokens.created_at")?,
        expires_at: instant(row.expires_at, "one_time_tokens.expires_at")?,
        redeemed_at: at(row.redeemed_at, "one_time_tokens.redeemed_at")?,
        ticket_expires_at: at(row.ticket_expires_at, "one_time_tokens.ticket_expires_at")?,
        spent_at: at(row.spent_at, "one_time_tokens.spent_at")?,
    })
}
