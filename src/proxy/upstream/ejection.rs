//! Doing without servers that fail: what requests tell about them.
//!
//! The last server in service is never ejected, and never more than the configured share: when everything fails,
//! the fault is likely elsewhere, and some answer is better than none.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::server::Server;
use super::settings::EjectionSettings;
use super::{Upstream, Upstreams};

/// How often ends of ejections are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What is known about servers that were ejected.
#[derive(Debug, Default)]
pub(super) struct Ejections(HashMap<SocketAddr, Ejection>);

#[derive(Debug)]
struct Ejection {
    until: Instant,
    lasts: Duration,
}

impl Upstreams {
    /// Puts servers back into service at the end of their ejection, for ever.
    pub(super) async fn keep_readmitting(&self) {
        if !self.by_name.values().any(|upstream| upstream.settings.ejection.is_some()) {
            return;
        }
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            for upstream in self.by_name.values().filter(|upstream| upstream.out.load(Ordering::Relaxed) > 0) {
                upstream.readmit(self.clock.monotonic());
            }
        }
    }
}

impl Upstream {
    /// A request to this server went well.
    pub(in crate::proxy) fn succeeded(&self, server: &Server) {
        if server.failures.load(Ordering::Relaxed) > 0 {
            server.failures.store(0, Ordering::Relaxed);
        }
    }

    /// A request to this server failed, through no fault of the client's.
    pub(in crate::proxy) fn failed(&self, server: &Server, now: Instant) {
        let Some(rules) = &self.settings.ejection else { return };
        let failures = server.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures >= rules.failures && !server.ejected.load(Ordering::Relaxed) {
            self.eject(server, rules, now);
        }
    }

    fn eject(&self, server: &Server, rules: &EjectionSettings, now: Instant) {
        let mut ejections = self.ejections.lock().expect("no holder of the ejections panics");
        let fleet = self.fleet.load();
        let ejected = fleet.servers.iter().filter(|other| other.ejected.load(Ordering::Relaxed)).count();
        let others = fleet.servers.iter().filter(|other| !std::ptr::eq(&***other, server) && !other.is_out()).count();
        let share = fleet.servers.len() * rules.share as usize / 100;
        if others == 0 || ejected >= share.max(1) || server.ejected.load(Ordering::Relaxed) {
            return;
        }
        // Twice as long as the last time, unless it did well since for as long as that lasted.
        let before = ejections.0.get(&server.address);
        let relapse = before.filter(|before| now.saturating_duration_since(before.until) <= before.lasts);
        let lasts = relapse.map_or(rules.time, |before| before.lasts.saturating_mul(2).min(rules.time_max));
        ejections.0.insert(server.address, Ejection { until: now + lasts, lasts });
        server.ejected.store(true, Ordering::Relaxed);
        self.recount();
        self.metrics.ejected();
        let upstream = &*self.settings.name;
        tracing::warn!(upstream, server = %server.address, failures = rules.failures, ?lasts, "upstream server ejected");
    }

    /// Puts servers back into service whose ejection has ended by `now`. They are on probation: one more failure is
    /// enough, one success makes up for all.
    pub(super) fn readmit(&self, now: Instant) {
        let Some(rules) = &self.settings.ejection else { return };
        let mut ejections = self.ejections.lock().expect("no holder of the ejections panics");
        let fleet = self.fleet.load();
        for server in fleet.servers.iter().filter(|server| server.ejected.load(Ordering::Relaxed)) {
            if ejections.0.get(&server.address).is_none_or(|ejection| ejection.until <= now) {
                server.failures.store(rules.failures - 1, Ordering::Relaxed);
                server.ejected.store(false, Ordering::Relaxed);
                tracing::info!(upstream = &*self.settings.name, server = %server.address, "upstream server back in service");
            }
        }
        // What a name does not lead to any more is forgotten.
        ejections.0.retain(|address, _| fleet.servers.iter().any(|server| server.address == *address));
        self.recount();
    }
}
