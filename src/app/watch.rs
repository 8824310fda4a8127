//! What runs beside the requests: rebuilding the revoked set, what is known of upstreams, noticing new keys.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::Services;
use crate::clock::Clock;
use crate::config::Config;
use crate::identity::signing_keys::KeyRing;
use crate::proxy::Live;
use crate::revocation::streams::StreamWatch;
use crate::store::{ApiKeys, AuditLog, Clients, OneTimeTokens, Sessions, key_file};

/// How often the key file is looked at.
const LOOK_AT_KEYS_EVERY: Duration = Duration::from_secs(2);
const PURGE_EVERY: Duration = Duration::from_secs(60);
/// So that the reuse of an old refresh token can still be told from nonsense.
const KEEP_ENDED_SESSIONS: Duration = Duration::from_secs(24 * 3600);
const PURGED_MAX: u32 = 1000;
/// Several events may go with one act.
const PURGED_EVENTS_MAX: u32 = 5000;
/// So that their owners find them in the list and see when they were last used.
const KEEP_ENDED_API_KEYS: Duration = Duration::from_secs(90 * 24 * 3600);
/// Beyond their own end, which includes the skew.
const KEEP_ASSERTIONS: Duration = Duration::from_secs(60);

/// Starts every background task; each ends when `until` is cancelled.
pub(super) fn start(services: &Services, config: &Config, live: &Live, until: &CancellationToken) {
    tokio::spawn(Arc::clone(&services.revocations).maintain(until.clone()));
    let authenticator = Arc::clone(&services.authenticator);
    let ending = StreamWatch {
        streams: Arc::clone(&services.streams),
        revocations: Arc::clone(&services.revocations),
        sessions: Arc::clone(&services.sessions),
        skew: config.auth.clock_skew,
        foreign: Box::new(move || authenticator.foreign_policies()),
    };
    tokio::spawn(until.clone().run_until_cancelled_owned(ending.run()));
    let live = live.clone();
    tokio::spawn(until.clone().run_until_cancelled_owned(async move { live.maintain_upstreams().await }));
    let keys = watch_keys(config.auth.keys.clone(), Arc::clone(&services.ring));
    tokio::spawn(until.clone().run_until_cancelled_owned(keys));
    let purging = purge_sessions(Arc::clone(&services.sessions), Arc::clone(&services.clock));
    tokio::spawn(until.clone().run_until_cancelled_owned(purging));
    let purging = purge_one_time_tokens(Arc::clone(&services.one_time), Arc::clone(&services.clock));
    tokio::spawn(until.clone().run_until_cancelled_owned(purging));
    let purging = purge_audit(Arc::clone(&services.audit), Arc::clone(&services.clock), config.auth.audit_keep);
    tokio::spawn(until.clone().run_until_cancelled_owned(purging));
    let purging = purge_secrets(Arc::clone(&services.api_keys), Arc::clone(&services.clients), Arc::clone(&services.clock));
    tokio::spawn(until.clone().run_until_cancelled_owned(purging));
}

/// Forgets events that are older than they are to be kept, in small portions, too.
async fn purge_audit(audit: Arc<dyn AuditLog>, clock: Arc<dyn Clock>, keep: Duration) {
    let mut rounds = tokio::time::interval(PURGE_EVERY);
    loop {
        rounds.tick().await;
        match audit.purge(clock.now() - keep, PURGED_EVENTS_MAX).await {
            Ok(0) => {}
            Ok(purged) => tracing::debug!(purged, "forgot old events of the audit log"),
            Err(error) => tracing::warn!(%error, "old events stay in the audit log for now"),
        }
    }
}

/// Forgets sessions that are long over. In small portions, so that no login waits for one.
async fn purge_sessions(sessions: Arc<dyn Sessions>, clock: Arc<dyn Clock>) {
    let mut rounds = tokio::time::interval(PURGE_EVERY);
    loop {
        rounds.tick().await;
        match sessions.purge(clock.now() - KEEP_ENDED_SESSIONS, PURGED_MAX).await {
            Ok(0) => {}
            Ok(purged) => tracing::debug!(purged, "forgot sessions that are over"),
            Err(error) => tracing::warn!(%error, "ended sessions stay in the database for now"),
        }
    }
}

/// Forgets one-time tokens that have expired with their tickets: nothing can be done with them.
async fn purge_one_time_tokens(tokens: Arc<dyn OneTimeTokens>, clock: Arc<dyn Clock>) {
    let mut rounds = tokio::time::interval(PURGE_EVERY);
    loop {
        rounds.tick().await;
        match tokens.purge(clock.now(), PURGED_MAX).await {
            Ok(0) => {}
            Ok(purged) => tracing::debug!(purged, "forgot one-time tokens that have expired"),
            Err(error) => tracing::warn!(%error, "expired one-time tokens stay in the database for now"),
        }
    }
}

/// Forgets API keys that are long over, and assertions that no clock accepts any more.
async fn purge_secrets(api_keys: Arc<dyn ApiKeys>, clients: Arc<dyn Clients>, clock: Arc<dyn Clock>) {
    let mut rounds = tokio::time::interval(PURGE_EVERY);
    loop {
        rounds.tick().await;
        let now = clock.now();
        let keys = api_keys.purge(now - KEEP_ENDED_API_KEYS, PURGED_MAX).await;
        let assertions = clients.purge_assertions(now - KEEP_ASSERTIONS, PURGED_MAX).await;
        for failed in [keys.err(), assertions.err()].into_iter().flatten() {
            tracing::warn!(error = %failed, "ended api keys and used assertions stay in the database for now");
        }
    }
}

/// Swaps the ring whenever the file changes. A file that cannot be read changes nothing and is reported once.
async fn watch_keys(path: PathBuf, ring: Arc<ArcSwap<KeyRing>>) {
    let mut seen = modified(&path).await;
    loop {
        tokio::time::sleep(LOOK_AT_KEYS_EVERY).await;
        let now = modified(&path).await;
        if now == seen {
            continue;
        }
        seen = now;
        let read = tokio::task::spawn_blocking({
            let path = path.clone();
            move || key_file::load(&path)
        });
        match read.await.map_err(anyhow::Error::from).and_then(|file| Ok(KeyRing::new(file?.signing)?)) {
            Ok(keys) => {
                ring.store(Arc::new(keys));
                tracing::info!(file = %path.display(), "signing keys read again");
            }
            Err(error) => tracing::error!(file = %path.display(), %error, "signing keys not read; the old ones stay"),
        }
    }
}

async fn modified(path: &std::path::Path) -> Option<SystemTime> {
    tokio::fs::metadata(path).await.and_then(|metadata| metadata.modified()).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use uuid::Uuid;

    use super::*;
    use crate::clock::ManualClock;
    use crate::identity::password::PasswordHash;
    use crate::identity::user::{User, UserId, Username};
    use crate::store::sql::SqlStore;
    use crate::store::{ApiKey, NewUser, Users};

    #[tokio::test]
    async fn what_programs_can_use_no_more_is_forgotten_and_the_rest_is_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite:{}", directory.path().join("portcullis.db").display());
        let store = Arc::new(SqlStore::connect(&url.into(), 2).await.expect("a new database"));
        let clock = Arc::new(ManualClock::at("2026-11-21T07:30:00Z".parse().expect("an instant")));
        let start = clock.now();
        let user = User {
            id: UserId(Uuid::now_v7()),
            username: Some(Username::parse("ada").expect("a name")),
            email: None,
            given_name: None,
            family_name: None,
            roles: BTreeSet::new(),
            email_verified_at: None,
            disabled_at: None,
            created_at: start,
        };
        let key = |secret: u8, revoked_at| ApiKey {
            id: Uuid::now_v7(),
            user: user.id,
            name: "nightly".to_owned(),
            prefix: "pck_abcdefgh".to_owned(),
            hash: [secret; 32],
            scopes: Vec::new(),
            created_at: start,
            expires_at: None,
            last_used_at: None,
            revoked_at,
        };
        let password = PasswordHash::from_stored("$argon2id$".to_owned());
        Users::add(&*store, &NewUser { user: user.clone(), password }).await.expect("nobody has the name");
        for key in [key(1, Some(start)), key(2, None), key(3, Some(start + Duration::from_secs(1)))] {
            assert!(ApiKeys::add(&*store, &key).await.expect("there"));
        }
        clock.advance(KEEP_ENDED_API_KEYS + Duration::from_millis(1));
        let now = clock.now();
        assert!(store.use_assertion(&[1; 32], now - KEEP_ASSERTIONS - Duration::from_millis(1)).await.expect("there"));
        assert!(store.use_assertion(&[2; 32], now - KEEP_ASSERTIONS).await.expect("there"));

        let purging = tokio::spawn(purge_secrets(store.clone(), store.clone(), clock));
        while !store.use_assertion(&[1; 32], now).await.expect("there") {
            tokio::task::yield_now().await;
        }
        purging.abort();
        assert!(!store.use_assertion(&[2; 32], now).await.expect("there"), "a clock may still accept it");
        let kept: Vec<_> = ApiKeys::list(&*store, user.id).await.expect("there").into_iter().map(|key| key.hash[0]).collect();
        assert_eq!(kept.iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from([2, 3]));
    }
}
