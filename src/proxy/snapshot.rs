//! What requests are served by, as one immutable value that a reload replaces as a whole.
//!
//! A request takes the snapshot in force when it begins and keeps it to its end, so that it is never decided by one
//! configuration and forwarded by another. What must outlive a reload (pooled connections, counters, remembered tokens,
//! an upstream whose settings are the same) is shared between snapshots and not part of any.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::head_guard::GuardSettings;
use super::outcome::Recorder;
use super::{ProxyParts, Upstreams, denial};

/// One configuration at work.
pub(super) struct Snapshot {
    pub(super) parts: ProxyParts,
    /// With the time series of these routes.
    pub(super) recorder: Arc<Recorder>,
    /// For heads that are not requests yet.
    pub(super) guard: Arc<GuardSettings>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("routes", &self.parts.route_names.len()).finish_non_exhaustive()
    }
}

/// The snapshot in force.
#[derive(Debug, Clone)]
pub struct Live {
    cell: Arc<ArcSwap<Snapshot>>,
    /// Told of each replacement.
    replaced: watch::Sender<()>,
}

impl Live {
    /// Puts the first one in force.
    #[must_use]
    pub fn new(parts: ProxyParts) -> Self {
        Self { cell: Arc::new(ArcSwap::from_pointee(Snapshot::new(parts))), replaced: watch::Sender::default() }
    }

    /// Puts another one in force for every request that begins from now on.
    pub fn replace(&self, parts: ProxyParts) {
        self.cell.store(Arc::new(Snapshot::new(parts)));
        self.replaced.send_replace(());
    }

    /// The upstreams in force.
    #[must_use]
    pub fn upstreams(&self) -> Arc<Upstreams> {
        Arc::clone(&self.cell.load().parts.upstreams)
    }

    /// Keeps what is known of the servers in force up to date, for ever.
    pub async fn maintain_upstreams(&self) {
        let mut replaced = self.replaced.subscribe();
        loop {
            replaced.mark_unchanged();
            let upstreams = self.upstreams();
            let maintaining = async {
                upstreams.maintain().await;
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = maintaining => {}
                // The sender is this.
                _ = replaced.changed() => {}
            }
        }
    }

    /// The snapshot for a request that begins now.
    pub(super) fn load(&self) -> Arc<Snapshot> {
        self.cell.load_full()
    }

    /// For who looks often and cares only whether it is another one.
    pub(super) fn cell(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.cell)
    }
}

impl Snapshot {
    fn new(parts: ProxyParts) -> Self {
        let routes = parts.route_names.iter().map(|route| &**route);
        let (metrics, clock) = (Arc::clone(&parts.metrics), Arc::clone(&parts.clock));
        let recorder = Arc::new(Recorder::new(metrics, parts.access_log.clone(), clock, routes));
        let guard = GuardSettings {
            limits: parts.limits,
            header_timeout: parts.timeouts.header,
            refuse: {
                let (recorder, ids) = (Arc::clone(&recorder), Arc::clone(&parts.ids));
                Box::new(move |reason, client| {
                    let id = ids.next();
                    recorder.refused_unparsed(reason, client, &id);
                    denial::farewell(reason, &id)
                })
            },
        };
        Self { parts, recorder, guard: Arc::new(guard) }
    }
}
