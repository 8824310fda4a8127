//! The record of revocations in SQL: one row for each thing that is revoked, however often.

use async_trait::async_trait;
use aws_lc_rs::digest;
use jiff::Timestamp;
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::sea_query::{CaseStatement, Expr, OnConflict};
use sea_orm::{ColumnTrait, Condition, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect};

use super::entities::revocations::{ActiveModel, Column, Entity};
use super::error::{corrupt, failed};
use super::purge::purge;
use super::{SqlStore, instant, millis, millis_up, uuid, within_deadline};
use crate::identity::session::SessionId;
use crate::store::{Covers, Revocation, RevocationLog, StoreError};

/// What is read of a row, a million times when a mirror begins: by place, not by name, and without the fingerprint.
const READ: [Column; 8] = [
    Column::Sequence,
    Column::Kind,
    Column::TokenId,
    Column::SessionId,
    Column::Issuer,
    Column::Subject,
    Column::NotBefore,
    Column::ExpiresAt,
];
type Row = (i64, String, Option<String>, Option<String>, Option<String>, Option<String>, Option<i64>, i64);

#[async_trait]
impl RevocationLog for SqlStore {
    async fn record(&self, revocations: &[Revocation]) -> Result<(), StoreError> {
        within_deadline(|| async {
            let tx = self.begin().await?;
            write(&tx, revocations).await?;
            tx.commit().await.map_err(failed)
        })
        .await
    }

    async fn unexpired(&self, now: Timestamp, after: i64, limit: u32) -> Result<Vec<(i64, Revocation)>, StoreError> {
        within_deadline(|| async {
            let rows = Entity::find()
                .select_only()
                .columns(READ)
                .filter(Column::Sequence.gt(after))
                .filter(Column::ExpiresAt.gt(millis(now)))
                .order_by_asc(Column::Sequence)
                .limit(u64::from(limit));
            let rows = rows.into_tuple::<Row>().all(&self.db).await.map_err(failed)?;
            rows.into_iter().map(|row| Ok((row.0, revocation(row)?))).collect()
        })
        .await
    }

    async fn purge(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let over = Condition::all().add(Column::ExpiresAt.lt(millis(before)));
        within_deadline(|| purge::<Entity, i64>(&self.db, Column::Sequence, over.clone(), limit)).await
    }
}

/// Writes records inside a transaction. A record that exists is never weakened: its expiry and its instant only grow.
pub(super) async fn write(db: &impl ConnectionTrait, revocations: &[Revocation]) -> Result<(), StoreError> {
    for revocation in revocations {
        let expires_at = millis_up(revocation.expires_at);
        let mut on_conflict = OnConflict::column(Column::Fingerprint);
        on_conflict.value(Column::ExpiresAt, larger(Column::ExpiresAt, expires_at));
        if let Covers::Principal { before, .. } = &revocation.covers {
            on_conflict.value(Column::NotBefore, larger(Column::NotBefore, millis_up(*before)));
        }
        let insert = Entity::insert(row(revocation, expires_at)).on_conflict(on_conflict);
        insert.exec_without_returning(db).await.map_err(failed)?;
    }
    Ok(())
}

/// The larger of a column and a value. `MAX` of two values is `GREATEST` elsewhere; `CASE` is the same everywhere.
fn larger(column: Column, value: i64) -> CaseStatement {
    let held = || Expr::col((Entity, column));
    Expr::case(held().gt(value), held()).finally(value)
}

fn row(revocation: &Revocation, expires_at: i64) -> ActiveModel {
    let empty = ActiveModel {
        sequence: NotSet,
        fingerprint: Set(fingerprint(&revocation.covers)),
        kind: NotSet,
        token_id: Set(None),
        session_id: Set(None),
        issuer: Set(None),
        subject: Set(None),
        not_before: Set(None),
        expires_at: Set(expires_at),
    };
    match &revocation.covers {
        Covers::Token(id) => ActiveModel { kind: Set("token".to_owned()), token_id: Set(Some(id.to_string())), ..empty },
        Covers::Session(id) => ActiveModel { kind: Set("session".to_owned()), session_id: Set(Some(id.to_string())), ..empty },
        Covers::Principal { issuer, subject, before } => ActiveModel {
            kind: Set("principal".to_owned()),
            issuer: Set(Some(issuer.to_string())),
            subject: Set(Some(subject.to_string())),
            // Rounded up: a token issued in the same millisecond, before the instant, must be covered.
            not_before: Set(Some(millis_up(*before))),
            ..empty
        },
    }
}

/// SHA-256 over the kind and the parts, each with its length, so that no two things share a fingerprint. A unique
/// index over the texts themselves would exceed InnoDB's limit and ignore case there.
fn fingerprint(covers: &Covers) -> Vec<u8> {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut part = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    };
    match covers {
        Covers::Token(id) => {
            part(b"token");
            part(id.as_bytes());
        }
        Covers::Session(id) => {
            part(b"session");
            part(id.0.as_bytes());
        }
        Covers::Principal { issuer, subject, .. } => {
            part(b"principal");
            part(issuer.as_bytes());
            part(subject.as_bytes());
        }
    }
    context.finish().as_ref().to_vec()
}

fn revocation(
    (sequence, kind, token_id, session_id, issuer, subject, not_before, expires_at): Row,
) -> Result<Revocation, StoreError> {
    let expires_at = instant(expires_at, "revocations.expires_at")?;
    let covers = match (kind.as_str(), token_id, session_id, issuer, subject, not_before) {
        ("token", Some(id), ..) => Covers::Token(id.into()),
        ("session", _, Some(id), ..) => Covers::Session(SessionId(uuid(&id, "revocations.session_id")?)),
        ("principal", _, _, Some(issuer), Some(subject), Some(before)) => Covers::Principal {
            issuer: issuer.into(),
            subject: subject.into(),
            before: instant(before, "revocations.not_before")?,
        },
        (kind, ..) => return Err(corrupt(format!("revocation {sequence} of kind {kind:?} lacks its parts"))),
    };
    Ok(Revocation { covers, expires_at })
}
