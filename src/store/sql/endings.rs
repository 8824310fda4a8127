//! How sessions end in SQL: the pieces that every ending is made of, inside the transaction of whoever ends them.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, Condition, DatabaseTransaction, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect, UpdateMany,
};

use super::entities::{refresh_tokens, sessions, users};
use super::error::failed;
use super::purge::DELETE_ROWS;
use super::{instant, millis, millis_up, one_time, revocations, uuid};
use crate::identity::one_time_token::OneTimeKind;
use crate::identity::password::PasswordHash;
use crate::identity::session::SessionId;
use crate::identity::user::UserId;
use crate::store::{Covers, Ending, Revocation, StoreError};

impl Ending {
    /// Ends these sessions and writes their records. Sessions that had ended keep the instant at which they did.
    pub(super) async fn write(&self, ids: &[SessionId], tx: &DatabaseTransaction) -> Result<Vec<Revocation>, StoreError> {
        for ids in ids.chunks(DELETE_ROWS) {
            let ids = || ids.iter().map(SessionId::to_string);
            let end = sessions::Entity::update_many()
                .col_expr(sessions::Column::EndedAt, Expr::value(millis(self.at)))
                .filter(sessions::Column::Id.is_in(ids()))
                .filter(sessions::Column::EndedAt.is_null());
            end.exec(tx).await.map_err(failed)?;
            let revoke = refresh_tokens::Entity::update_many()
                .col_expr(refresh_tokens::Column::RevokedAt, Expr::value(millis(self.at)))
                .filter(refresh_tokens::Column::SessionId.is_in(ids()))
                .filter(refresh_tokens::Column::RevokedAt.is_null());
            revoke.exec(tx).await.map_err(failed)?;
        }
        let ahead = self.ahead(ids, tx).await?;
        let until = |id: &SessionId| ahead.get(id).copied().unwrap_or(self.access_until);
        let ended = ids.iter().map(|id| Revocation { covers: Covers::Session(*id), expires_at: until(id) });
        let records: Vec<Revocation> = ended.chain(self.revocations.iter().cloned()).collect();
        revocations::write(tx, &records).await?;
        Ok(records)
    }

    /// How long an access token may live from the instant on at which it is issued, until every clock refuses it.
    fn access_life(&self) -> SignedDuration {
        self.access_until.duration_since(self.at)
    }

    /// Until when records have to be kept of those sessions of which a token was issued later than now: by a replica
    /// whose clock is ahead, or this one's is behind. By that clock the token lives, and so must its record. The last token
    /// of a session need not be the one that lives longest.
    async fn ahead(&self, ids: &[SessionId], tx: &DatabaseTransaction) -> Result<BTreeMap<SessionId, Timestamp>, StoreError> {
        let mut ahead = BTreeMap::new();
        for ids in ids.chunks(DELETE_ROWS) {
            let later = refresh_tokens::Entity::find()
                .select_only()
                .column(refresh_tokens::Column::SessionId)
                .column(refresh_tokens::Column::IssuedAt)
                .filter(refresh_tokens::Column::SessionId.is_in(ids.iter().map(SessionId::to_string)))
                .filter(refresh_tokens::Column::IssuedAt.gt(millis(self.at)))
                .order_by_asc(refresh_tokens::Column::IssuedAt);
            let later: Vec<(String, i64)> = later.into_tuple().all(tx).await.map_err(failed)?;
            for (id, issued_at) in later {
                let until = instant(issued_at, "refresh_tokens.issued_at")?.saturating_add(self.access_life());
                let until = until.expect("a length of time can always be added where the end is cut off");
                ahead.insert(SessionId(uuid(&id, "refresh_tokens.session_id")?), until);
            }
        }
        Ok(ahead)
    }
}

/// Holds the user's row and refuses logins that began before `at`. Rounded up: one that began in the same
/// millisecond, but earlier, may have read the old password.
pub(super) fn refuse_older_logins(user: UserId, at: Timestamp) -> UpdateMany<users::Entity> {
    let at = millis_up(at);
    let from = || Expr::col(users::Column::SessionsFrom);
    users::Entity::update_many()
        .col_expr(users::Column::SessionsFrom, Expr::case(from().gt(at), from()).finally(at).into())
        .filter(users::Column::Id.eq(user.to_string()))
}

/// Replaces the password and ends all sessions but one, in the caller's transaction. Links that stand for a password end
/// with the one that they stood for: whoever changes it may do so because somebody else read their mail.
pub(super) async fn change_password(
    user: UserId,
    password: &PasswordHash,
    except: Option<SessionId>,
    ending: &Ending,
    tx: &DatabaseTransaction,
) -> Result<Vec<Revocation>, StoreError> {
    let change = refuse_older_logins(user, ending.at).col_expr(users::Column::PasswordHash, Expr::value(password.as_stored()));
    change.exec(tx).await.map_err(failed)?;
    one_time::kill(user, &[OneTimeKind::PasswordReset, OneTimeKind::Reauthentication], tx).await?;
    if let Some(session) = except {
        // Whoever changes the password has just proved the old one.
        let proved = sessions::Entity::update_many()
            .col_expr(sessions::Column::AuthenticatedAt, Expr::value(millis(ending.at)))
            .filter(sessions::Column::Id.eq(session.to_string()))
            .filter(sessions::Column::UserId.eq(user.to_string()));
        proved.exec(tx).await.map_err(failed)?;
    }
    ending.write(&usable_sessions(user, except, ending, tx).await?, tx).await
}

/// The sessions of a user that are open, or ended so lately that their access tokens still live: an earlier attempt may
/// have recorded the ending and died before it was published, and whoever tries again is told that it is done.
///
/// To be called with the user's row held.
pub(super) async fn usable_sessions(
    user: UserId,
    except: Option<SessionId>,
    ending: &Ending,
    tx: &DatabaseTransaction,
) -> Result<Vec<SessionId>, StoreError> {
    let lately = ending.at.saturating_sub(ending.access_life());
    let lately = lately.expect("a length of time can always be taken off where the end is cut off");
    let ended = sessions::Column::EndedAt;
    let open = sessions::Entity::find()
        .select_only()
        .column(sessions::Column::Id)
        .filter(sessions::Column::UserId.eq(user.to_string()))
        .filter(Condition::any().add(ended.is_null()).add(ended.gt(millis(lately))))
        .order_by_asc(sessions::Column::Id);
    let ids: Vec<String> = open.into_tuple().all(tx).await.map_err(failed)?;
    let ids = ids.iter().map(|id| uuid(id, "sessions.id").map(SessionId)).collect::<Result<Vec<_>, _>>()?;
    Ok(ids.into_iter().filter(|id| Some(*id) != except).collect())
}
