//! What runs beside the requests: rebuilding the revoked set, resolving upstream names, noticing new keys.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::Services;
use crate::admin::Reload;
use crate::clock::Clock;
use crate::config::Config;
use crate::identity::signing_keys::KeyRing;
use crate::proxy::Upstreams;
use crate::revocation::Revocations;
use crate::store::{OneTimeTokens, Sessions, key_file};

/// How often the key file is looked at.
const LOOK_AT_KEYS_EVERY: Duration = Duration::from_secs(2);
const PURGE_EVERY: Duration = Duration::from_secs(60);
/// So that the reuse of an old refresh token can still be told from nonsense.
const KEEP_ENDED_SESSIONS: Duration = Duration::from_secs(24 * 3600);
const PURGED_MAX: u32 = 1000;

/// Starts every background task; each ends when `until` is cancelled.
pub(super) fn start(services: &Services, config: &Config, upstreams: &Arc<Upstreams>, until: &CancellationToken) {
    tokio::spawn(Arc::clone(&services.revocations).maintain(until.clone()));
    let upstreams = Arc::clone(upstreams);
    tokio::spawn(until.clone().run_until_cancelled_owned(async move { upstreams.keep_resolving().await }));
    let keys = watch_keys(config.auth.keys.clone(), Arc::clone(&services.ring));
    tokio::spawn(until.clone().run_until_cancelled_owned(keys));
    let purging = purge_sessions(Arc::clone(&services.sessions), Arc::clone(&services.clock));
    tokio::spawn(until.clone().run_until_cancelled_owned(purging));
    let purging = purge_one_time_tokens(Arc::clone(&services.one_time), Arc::clone(&services.clock));
    tokio::spawn(until.clone().run_until_cancelled_owned(purging));
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

/// Reads revocations again on an operator's order.
pub(super) struct Rereader {
    revocations: Arc<Revocations>,
}

impl Rereader {
    pub(super) fn new(services: &Services) -> Self {
        Self { revocations: Arc::clone(&services.revocations) }
    }
}

#[async_trait::async_trait]
impl Reload for Rereader {
    async fn reload_revocations(&self) -> Result<(), String> {
        self.revocations.follow_now().await.map_err(|error| error.to_string())
    }
}
