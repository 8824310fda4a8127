//! The client's address, through trusted proxies only.
//!
//! `X-Forwarded-For` is written by whoever wants to be somebody else, so only what a trusted proxy added to it
//! is believed. No proxy is trusted unless configured.

use std::net::{IpAddr, SocketAddr};

use http::HeaderValue;
use ipnet::IpNet;

/// The address that a request came from.
///
/// `forwarded_for` are the values of `X-Forwarded-For` in the order of the request. From the peer backwards, each
/// trusted proxy is believed about who spoke to it; the first address that is not a trusted proxy's is the client.
/// An entry that is no address ends the walk: the proxy that passed it on is as far as can be known.
pub fn resolve<'a>(peer: IpAddr, forwarded_for: impl DoubleEndedIterator<Item = &'a HeaderValue>, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer.to_canonical();
    if !is_trusted(client, trusted) {
        return client;
    }
    for entry in forwarded_for.rev().flat_map(|value| value.as_bytes().rsplit(|&b| b == b',')) {
        let Some(address) = parse(entry.trim_ascii()) else { return client };
        client = address;
        if !is_trusted(client, trusted) {
            return client;
        }
    }
    client
}

/// Whether an address is that of a proxy whose word counts.
#[must_use]
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    // An IPv4 peer of a dual-stack socket is `::ffff:a.b.c.d`.
    let address = address.to_canonical();
    trusted.iter().any(|network| network.contains(&address))
}

/// An address, with or without brackets and port: proxies write all of these.
fn parse(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let bare = || text.parse().ok();
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    bare().or_else(with_port).or_else(bracketed).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(peer: &str, forwarded_for: &[&str], trusted: &[&str]) -> String {
        let values: Vec<_> = forwarded_for.iter().map(|value| HeaderValue::from_str(value).expect("a value")).collect();
        let trusted: Vec<IpNet> = trusted.iter().map(|network| network.parse().expect("a network")).collect();
        resolve(peer.parse().expect("an address"), values.iter(), &trusted).to_string()
    }

    #[test]
    fn nobody_is_believed_unless_trusted() {
        // Case 97.
        assert_eq!(client("192.0.2.1", &["1.2.3.4"], &[]), "192.0.2.1");
        assert_eq!(client("192.0.2.1", &["1.2.3.4"], &["10.0.0.0/8"]), "192.0.2.1");
        assert_eq!(client("::ffff:192.0.2.1", &[], &[]), "192.0.2.1");
    }

    #[test]
    fn the_client_is_the_right_most_address_that_is_no_trusted_proxy() {
        let trusted = ["10.0.0.0/8", "fd00::/8"];
        for (peer, forwarded_for, expected) in [
            ("10.0.0.1", &["1.2.3.4"][..], "1.2.3.4"),
            // The client wrote the first entry itself.
            ("10.0.0.1", &["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", &["6.6.6.6", "1.2.3.4 ,\t10.0.0.2"], "1.2.3.4"),
            ("10.0.0.1", &["6.6.6.6, 1.2.3.4", "10.0.0.2", "10.0.0.3"], "1.2.3.4"),
            ("::ffff:10.0.0.1", &["::ffff:1.2.3.4"], "1.2.3.4"),
            ("fd00::1", &["2001:db8::1"], "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            ("10.0.0.1", &["1.2.3.4:5678"], "1.2.3.4"),
            // Only proxies: the farthest.
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &[], "10.0.0.1"),
        ] {
            assert_eq!(client(peer, forwarded_for, &trusted), expected, "{peer} {forwarded_for:?}");
        }
    }

    #[test]
    fn an_entry_that_is_no_address_ends_the_walk() {
        let trusted = ["10.0.0.0/8"];
        for garbage in ["unknown", "_hidden", "", "1.2.3", "01.2.3.4", "1.2.3.4; DROP", "fe80::1%eth0", "1.2.3.4:99999"] {
            let value = format!("1.2.3.4, {garbage}, 10.0.0.2");
            assert_eq!(client("10.0.0.1", &[&value], &trusted), "10.0.0.2", "{garbage:?}");
            assert_eq!(client("10.0.0.1", &[garbage], &trusted), "10.0.0.1", "{garbage:?}");
        }
    }

    proptest! {
        #[test]
        fn what_a_client_writes_cannot_move_what_the_proxy_adds(forged in "[0-9a-f.:, \\[\\]x]{0,40}") {
            let value = format!("{forged}, 1.2.3.4");
            prop_assert_eq!(client("10.0.0.1", &[&value], &["10.0.0.0/8"]), "1.2.3.4");
        }
    }
}
