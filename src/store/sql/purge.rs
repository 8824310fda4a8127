//! Forgetting rows that are over, in steps so small that nobody waits for them.

use std::time::Duration;

use sea_orm::{ColumnTrait, Condition, DatabaseConnection, EntityTrait, QueryFilter, QuerySelect, TryGetableMany, Value};

use super::error::failed;
use crate::store::StoreError;

/// Rows per `DELETE`, below every database's limit of bound values.
pub(super) const DELETE_ROWS: usize = 500;

/// Between two steps. Whoever waits for SQLite looks again only now and then, ever less often.
const PAUSE: Duration = Duration::from_millis(20);

/// Deletes at most `limit` rows that are `over`; returns how many. `Key` is the type of the table's key.
///
/// They are chosen first and deleted by key: no two of the databases agree on `DELETE … LIMIT`, and each step is a
/// transaction of its own, so that logins get their turn in between.
pub(super) async fn purge<Entity, Key>(
    db: &DatabaseConnection,
    key: Entity::Column,
    over: Condition,
    limit: u32,
) -> Result<u64, StoreError>
where
    Entity: EntityTrait,
    Key: TryGetableMany + Into<Value> + Clone + Send + Sync,
{
    let chosen = Entity::find().select_only().column(key).filter(over.clone()).limit(u64::from(limit));
    let chosen: Vec<Key> = chosen.into_tuple().all(db).await.map_err(failed)?;
    let mut purged = 0;
    for (step, keys) in chosen.chunks(DELETE_ROWS).enumerate() {
        if step > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        // The condition again, because a row may have been given a longer life since.
        let delete = Entity::delete_many().filter(key.is_in(keys.iter().cloned())).filter(over.clone());
        purged += delete.exec(db).await.map_err(failed)?.rows_affected;
    }
    Ok(purged)
}
