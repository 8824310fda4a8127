//! What the parts of one connection know of each other: how many requests are open, and whether its client has gone
//! too far.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use ipnet::IpNet;
use pingora::protocols::Digest;
use tokio::sync::Notify;

use super::FAULTS_MAX;
use crate::client_addr;
use crate::proxy::arrival::Arrival;
use crate::proxy::head_guard::GuardSettings;
use crate::reason::Reason;

/// One connection's.
pub(super) struct Ward {
    arrival: Arc<Arrival>,
    client: Option<IpAddr>,
    settings: Arc<GuardSettings>,
    open: AtomicUsize,
    /// Told when the last open request ends.
    ended: Notify,
    /// Whether many clients share the connection, by a proxy that is trusted: the faults of one must not end it for all.
    shared: bool,
    faults: AtomicUsize,
    /// Why the connection is to end, if it is.
    alarm: OnceLock<Reason>,
    alarmed: Notify,
}

impl Ward {
    pub(super) fn new(arrival: Arc<Arrival>, digest: &Digest, trusted_proxies: &[IpNet], settings: Arc<GuardSettings>) -> Self {
        let own = || Some(digest.socket_digest.as_ref()?.peer_addr()?.as_inet()?.ip());
        let client = arrival.peer.or_else(own);
        Self {
            client,
            shared: client.is_some_and(|client| client_addr::is_trusted(client, trusted_proxies)),
            arrival,
            settings,
            open: AtomicUsize::new(0),
            ended: Notify::new(),
            faults: AtomicUsize::new(0),
            alarm: OnceLock::new(),
            alarmed: Notify::new(),
        }
    }

    pub(super) fn arrival(&self) -> &Arc<Arrival> {
        &self.arrival
    }

    pub(super) fn client(&self) -> Option<IpAddr> {
        self.client
    }

    /// A request is open until [`Self::request_ended`].
    pub(super) fn request_begun(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn request_ended(&self) {
        if self.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.ended.notify_one();
        }
    }

    /// Waits until no request is open.
    pub(super) async fn idle(&self) {
        while self.open.load(Ordering::Relaxed) != 0 {
            self.ended.notified().await;
        }
    }

    /// How many requests are being served.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// A request that no client makes that keeps to the rules. A few of them are somebody's mistake.
    pub(super) fn fault(&self) {
        if !self.shared && self.faults.fetch_add(1, Ordering::Relaxed) + 1 >= FAULTS_MAX {
            self.raise(Reason::Malformed);
        }
    }

    /// Has the connection end.
    pub(super) fn raise(&self, reason: Reason) {
        // The first reason counts.
        if self.alarm.set(reason).is_ok() {
            self.alarmed.notify_one();
        }
    }

    pub(super) fn is_raised(&self) -> bool {
        self.alarm.get().is_some()
    }

    /// Waits until the connection is to end, and says why.
    pub(super) async fn alarm(&self) -> Reason {
        loop {
            if let Some(reason) = self.alarm.get() {
                return *reason;
            }
            self.alarmed.notified().await;
        }
    }

    /// Counts and logs a refusal that no request has been made of.
    pub(super) fn record(&self, reason: Reason) {
        drop((self.settings.refuse)(reason, self.client));
    }
}
