//! How many client connections there may be: all together, and from one address. Asked once a connection, before anything
//! is spent on it; nothing of it is on the path of a request.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ipnet::IpNet;
use papaya::{Compute, HashMap, Operation};

use crate::limit::ConnectionLimits;
use crate::telemetry::labels::EarlyRefusal;

/// The connections that are open, counted. As large as there are addresses with one, which the limit on all of them bounds.
#[derive(Debug, Default)]
pub(super) struct Caps {
    open: AtomicU32,
    by_network: HashMap<IpAddr, u32>,
}

/// A connection's place among all, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    caps: Arc<Caps>,
    /// Where its address is counted, too.
    network: Option<IpAddr>,
}

impl Caps {
    /// A place for a connection that was just accepted.
    pub(super) fn enter(self: &Arc<Self>, limits: ConnectionLimits) -> Result<Place, EarlyRefusal> {
        if self.open.fetch_add(1, Ordering::Relaxed) >= limits.total {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return Err(EarlyRefusal::Connections);
        }
        Ok(Place { caps: Arc::clone(self), network: None })
    }

    fn take(&self, network: IpAddr, max: u32) -> bool {
        let by_network = self.by_network.pin();
        let taken = by_network.compute(network, |entry| match entry {
            Some((_, &open)) if open >= max => Operation::Abort(()),
            Some((_, &open)) => Operation::Insert(open + 1),
            None => Operation::Insert(1),
        });
        !matches!(taken, Compute::Aborted(()))
    }

    fn give_back(&self, network: IpAddr) {
        self.by_network.pin().compute(network, |entry| match entry {
            Some((_, &open)) if open > 1 => Operation::Insert(open - 1),
            Some(_) => Operation::Remove,
            None => Operation::Abort(()),
        });
    }
}

impl Place {
    /// Counts the connection for its client, too, as soon as that is known. Whoever is behind a trusted proxy shares its
    /// address with everybody else there.
    pub(super) fn of(&mut self, client: Option<IpAddr>, limits: ConnectionLimits, trusted: &[IpNet]) -> Result<(), EarlyRefusal> {
        let Some(client) = client.map(|client| client.to_canonical()) else { return Ok(()) };
        if trusted.iter().any(|proxies| proxies.contains(&client)) {
            return Ok(());
        }
        let network = network(client);
        if !self.caps.take(network, limits.per_address) {
            return Err(EarlyRefusal::ConnectionsPerAddress);
        }
        self.network = Some(network);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(network) = self.network {
            self.caps.give_back(network);
        }
        self.caps.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What one client has: an IPv4 address, an IPv6 /64 (RFC 6177 §2).
fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ConnectionLimits = ConnectionLimits { total: 4, per_address: 2 };

    fn from(caps: &Arc<Caps>, client: &str) -> Result<Place, EarlyRefusal> {
        let mut place = caps.enter(LIMITS)?;
        place.of(Some(client.parse().expect("an address")), LIMITS, &["10.0.0.0/8".parse().expect("a network")])?;
        Ok(place)
    }

    #[test]
    fn one_address_has_so_many_connections_and_another_one_its_own() {
        let caps = Arc::default();
        let first = from(&caps, "192.0.2.1").expect("a place");
        let _second = from(&caps, "::ffff:192.0.2.1").expect("a place");
        assert_eq!(from(&caps, "192.0.2.1").map(drop), Err(EarlyRefusal::ConnectionsPerAddress));
        let _other = from(&caps, "192.0.2.2").expect("a place of its own");
        drop(first);
        let _again = from(&caps, "192.0.2.1").expect("a place that became free");
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let caps = Arc::default();
        let _two = [from(&caps, "2001:db8::1").expect("a place"), from(&caps, "2001:db8::2").expect("a place")];
        assert_eq!(from(&caps, "2001:db8:0:0:ffff::3").map(drop), Err(EarlyRefusal::ConnectionsPerAddress));
        assert!(from(&caps, "2001:db8:0:1::1").is_ok());
    }

    #[test]
    fn all_together_are_limited_and_trusted_proxies_by_that_alone() {
        let caps = Arc::default();
        let mut proxies: Vec<_> = (0..4).map(|_| from(&caps, "10.0.0.1").expect("a place")).collect();
        assert_eq!(from(&caps, "192.0.2.1").map(drop), Err(EarlyRefusal::Connections));
        proxies.pop();
        assert!(from(&caps, "192.0.2.1").is_ok());
    }

    #[test]
    fn nothing_is_left_of_connections_that_are_closed() {
        let caps: Arc<Caps> = Arc::default();
        for number in 0..1000_u32 {
            drop(from(&caps, &std::net::Ipv4Addr::from_bits(number).to_string()));
        }
        assert_eq!((caps.by_network.len(), caps.open.load(Ordering::Relaxed)), (0, 0));
    }
}
