//! The servers that an upstream has now, and which of them gets a request.
//!
//! Round robin follows a sequence that is worked out when the servers change: it has every server as often as its
//! weight says, spread out. pingora's own gives the turns of a heavy server in one burst, and counts the turns of a
//! server that is out to its neighbour. Consistent hashing is pingora's (Ketama).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::Extensions;
use pingora::lb::Backend;
use pingora::lb::selection::consistent::KetamaHashing;
use pingora::lb::selection::{BackendIter, BackendSelection};

use super::server::Server;
use super::settings::Balance;

/// What a request is hashed by.
#[derive(Debug, Clone, Copy)]
pub(in crate::proxy) enum Key<'a> {
    /// The client.
    Client(IpAddr),
    /// A subject or the value of a header.
    Bytes(&'a [u8]),
}

/// The servers that an upstream has now. Never changed: a new one takes its place.
#[derive(Default)]
pub(super) struct Fleet {
    pub(super) servers: Box<[Arc<Server>]>,
    /// Indexes of `servers`, each as often as its weight says.
    turns: Box<[u16]>,
    by: By,
}

#[derive(Default)]
enum By {
    #[default]
    Turn,
    Load,
    Key(Arc<KetamaHashing>),
}

/// The position of a server in its fleet, carried through pingora's ring.
#[derive(Clone, Copy)]
struct Position(usize);

impl Fleet {
    pub(super) fn new(servers: Vec<Arc<Server>>, balance: &Balance) -> Self {
        let by = match balance {
            Balance::RoundRobin => By::Turn,
            Balance::LeastConnections => By::Load,
            Balance::Hash(_) => By::Key(Arc::new(ring(&servers))),
        };
        let weights: Vec<_> = servers.iter().map(|server| server.weight).collect();
        Self { turns: turns(&weights), servers: servers.into(), by }
    }

    /// The server for a request; `troubled` says whether any may be out. None if there is none, or all are out. The
    /// one to `avoid` is taken only if there is no other.
    pub(super) fn choose(&self, turn: usize, key: Key<'_>, troubled: bool, avoid: Option<&Server>) -> Option<&Arc<Server>> {
        match &*self.servers {
            [] => None,
            [server] => (!troubled || !server.is_out()).then_some(server),
            _ if !troubled && avoid.is_none() => match &self.by {
                By::Turn => Some(&self.servers[usize::from(self.turns[turn % self.turns.len()])]),
                By::Load | By::Key(_) => self.first(turn, key, |_| true),
            },
            _ => {
                let usable = |server: &Server| !server.is_out() && avoid.is_none_or(|avoid| !std::ptr::eq(avoid, server));
                self.first(turn, key, usable).or_else(|| self.first(turn, key, |server| !server.is_out()))
            }
        }
    }

    fn first(&self, turn: usize, key: Key<'_>, usable: impl Fn(&Server) -> bool) -> Option<&Arc<Server>> {
        match &self.by {
            By::Turn => self.in_turn(turn, usable),
            By::Load => self.least_loaded(turn, usable),
            By::Key(ring) => self.by_key(ring, key, usable),
        }
    }

    fn in_turn(&self, turn: usize, usable: impl Fn(&Server) -> bool) -> Option<&Arc<Server>> {
        // The turns of a server that is out are shared by all others, in proportion to their weights.
        let usable = || self.turns.iter().map(|index| &self.servers[usize::from(*index)]).filter(|server| usable(server));
        let skipped = turn.checked_rem(usable().count())?;
        usable().nth(skipped)
    }

    fn least_loaded(&self, turn: usize, usable: impl Fn(&Server) -> bool) -> Option<&Arc<Server>> {
        let (before, after) = self.servers.split_at(turn % self.servers.len());
        // Of equals the first in turn, or an idle upstream would send everything to one server.
        let candidates = after.iter().chain(before).filter(|server| usable(server));
        let load = |server: &Server| (server.in_flight.load(Ordering::Relaxed) as u64 + 1) * 1_000_000 / u64::from(server.weight);
        candidates.min_by_key(|server| load(server))
    }

    fn by_key(&self, ring: &Arc<KetamaHashing>, key: Key<'_>, usable: impl Fn(&Server) -> bool) -> Option<&Arc<Server>> {
        let mut points = match key {
            Key::Client(IpAddr::V4(address)) => ring.iter(&address.octets()),
            Key::Client(IpAddr::V6(address)) => ring.iter(&address.octets()),
            Key::Bytes(bytes) => ring.iter(bytes),
        };
        // A server that is out leaves its keys to the next points of the ring, each to another one. The ring has 160
        // points for each weight; those of one server follow each other by chance only.
        for _ in 0..self.turns.len() * 160 {
            let position = points.next()?.ext.get::<Position>()?.0;
            let server = self.servers.get(position)?;
            if usable(server) {
                return Some(server);
            }
        }
        None
    }
}

fn ring(servers: &[Arc<Server>]) -> KetamaHashing {
    let backend = |(position, server): (usize, &Arc<Server>)| {
        let mut ext = Extensions::new();
        ext.insert(Position(position));
        Backend { addr: pingora::protocols::l4::socket::SocketAddr::Inet(server.address), weight: server.weight.into(), ext }
    };
    KetamaHashing::build(&servers.iter().enumerate().map(backend).collect::<BTreeSet<_>>())
}

/// Smooth weighted round robin: at each step the server that is furthest behind its share.
fn turns(weights: &[u16]) -> Box<[u16]> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let weights: Vec<i64> = weights.iter().map(|weight| i64::from(weight / divisor)).collect();
    let total: i64 = weights.iter().sum();
    let mut owed = vec![0; weights.len()];
    let next = |_| {
        owed.iter_mut().zip(&weights).for_each(|(owed, weight)| *owed += weight);
        // The first of equals, so that equal weights keep the order of the configuration.
        let (index, _) = owed.iter().enumerate().rev().max_by_key(|(_, owed)| **owed)?;
        owed[index] -= total;
        u16::try_from(index).ok()
    };
    (0..total).filter_map(next).collect()
}

fn gcd(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet").field("servers", &self.servers).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_as_many_as_weights_say_and_spread_out() {
        for (weights, expected) in [
            (&[1][..], &[0][..]),
            (&[1, 1, 1], &[0, 1, 2]),
            (&[5, 1, 1], &[0, 0, 1, 0, 2, 0, 0]),
            (&[2, 4], &[1, 0, 1]),
            (&[100, 50], &[0, 1, 0]),
            (&[], &[]),
        ] {
            assert_eq!(&*turns(weights), expected, "{weights:?}");
        }
    }
}
