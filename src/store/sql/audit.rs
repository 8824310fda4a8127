//! The record of who did what, in SQL.

use async_trait::async_trait;
use jiff::Timestamp;
use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::entities::audit_events::{ActiveModel, Column, Entity, Model};
use super::error::{corrupt, failed};
use super::purge::purge;
use super::{SqlStore, instant, millis, uuid, within_deadline};
use crate::identity::session::SessionId;
use crate::identity::user::UserId;
use crate::store::{AuditEvent, AuditFilter, AuditLog, Page, StoreError};

const TYPED_BYTES_MAX: usize = 256;

#[async_trait]
impl AuditLog for SqlStore {
    async fn write(&self, event: &AuditEvent) -> Result<(), StoreError> {
        within_deadline(|| async { Entity::insert(row(event)).exec_without_returning(&self.db).await.map(drop).map_err(failed) })
            .await
    }

    async fn list(&self, filter: &AuditFilter, page: Page<Uuid>) -> Result<Vec<AuditEvent>, StoreError> {
        let wanted = Condition::all()
            .add_option(filter.subject.map(|user| Column::Subject.eq(user.to_string())))
            .add_option(filter.kind.as_deref().map(|kind| Column::Kind.eq(kind.as_bytes())))
            .add_option(filter.since.map(|since| Column::At.gte(millis(since))))
            .add_option(filter.until.map(|until| Column::At.lt(millis(until))))
            .add_option(page.after.map(|after| Column::Id.lt(after.hyphenated().to_string())));
        within_deadline(|| async {
            let rows = Entity::find().filter(wanted.clone()).order_by_desc(Column::Id).limit(u64::from(page.limit));
            rows.all(&self.db).await.map_err(failed)?.into_iter().map(event).collect()
        })
        .await
    }

    async fn purge(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let over = Condition::all().add(Column::At.lt(millis(before)));
        within_deadline(|| purge::<Entity, String>(&self.db, Column::Id, over.clone(), limit)).await
    }
}

/// PostgreSQL keeps no NUL in a text.
fn storable(text: &str) -> String {
    text[..text.floor_char_boundary(TYPED_BYTES_MAX)].replace('\0', "\u{fffd}")
}

fn row(event: &AuditEvent) -> ActiveModel {
    ActiveModel {
        id: Set(event.id.hyphenated().to_string()),
        at: Set(millis(event.at)),
        kind: Set(event.kind.clone().into_bytes()),
        outcome: Set(event.outcome.clone()),
        actor: Set(event.actor.as_deref().map(storable)),
        subject: Set(event.subject.map(|user| user.to_string())),
        session_id: Set(event.session.map(|session| session.to_string())),
        address: Set(event.address.map(|address| address.to_string())),
        agent: Set(event.agent.as_deref().map(storable)),
        detail: Set(event.detail.replace('\0', "\u{fffd}")),
    }
}

fn event(row: Model) -> Result<AuditEvent, StoreError> {
    let id = uuid(&row.id, "audit_events.id")?;
    let unreadable = |column: &str| corrupt(format!("audit_events.{column} of {id} breaks its rules"));
    Ok(AuditEvent {
        id,
        at: instant(row.at, "audit_events.at")?,
        kind: String::from_utf8(row.kind).map_err(|_| unreadable("kind"))?,
        outcome: row.outcome,
        actor: row.actor,
        subject: row.subject.map(|text| uuid(&text, "audit_events.subject").map(UserId)).transpose()?,
        session: row.session_id.map(|text| uuid(&text, "audit_events.session_id").map(SessionId)).transpose()?,
        address: row.address.map(|text| text.parse()).transpose().map_err(|_| unreadable("address"))?,
        agent: row.agent,
        detail: row.detail,
    })
}
