//! The PROXY protocol, versions 1 and 2: the client's address as a load balancer in front tells it, before anything
//! else on the connection. Whom to believe is the caller's to decide; time is, too.

use std::io;
use std::net::IpAddr;

use ppp::{HeaderResult, v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Long enough to tell the two versions apart, no longer than the shortest header of either.
const BEGINNING: usize = 15;
/// Before the part of a version 2 header whose length it announces.
const V2_FIXED_BYTES: usize = 16;
/// Addresses and what balancers add to them: a few hundred bytes. The format would allow 64 KiB.
const V2_BYTES_MAX: usize = 4096;
/// With its CR LF (§2.1 of the protocol's text).
const V1_BYTES_MAX: usize = 107;

/// Why there is no client's address.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyHeaderError {
    /// The connection ended or failed within the header.
    #[error("the connection ended within the header")]
    Ended(#[from] io::Error),
    /// Neither version, broken, or too long.
    #[error("what arrived is no header of the PROXY protocol")]
    Malformed,
}

/// Reads the header, and not one byte that follows it. None if the balancer speaks for itself (health checks) or does
/// not know the client: then the connection's own peer is the client.
///
/// # Errors
/// There is no whole header.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<IpAddr>, ProxyHeaderError> {
    let mut header = vec![0; BEGINNING];
    stream.read_exact(&mut header).await?;
    if header.starts_with(v2::PROTOCOL_PREFIX) {
        header.resize(V2_FIXED_BYTES, 0);
        stream.read_exact(&mut header[BEGINNING..]).await?;
        let length = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([header[14], header[15]]));
        if length > V2_BYTES_MAX {
            return Err(ProxyHeaderError::Malformed);
        }
        header.resize(length, 0);
        stream.read_exact(&mut header[V2_FIXED_BYTES..]).await?;
    } else if header.starts_with(b"PROXY ") {
        // Byte by byte, once a connection: what follows the line must stay unread for TLS or HTTP.
        while !header.ends_with(b"\r\n") {
            if header.len() == V1_BYTES_MAX {
                return Err(ProxyHeaderError::Malformed);
            }
            header.push(stream.read_u8().await?);
        }
    } else {
        return Err(ProxyHeaderError::Malformed);
    }
    client(&header)
}

fn client(header: &[u8]) -> Result<Option<IpAddr>, ProxyHeaderError> {
    let address = match HeaderResult::parse(header) {
        HeaderResult::V1(Ok(header)) => match header.addresses {
            v1::Addresses::Tcp4(addresses) => Some(addresses.source_address.into()),
            v1::Addresses::Tcp6(addresses) => Some(addresses.source_address.into()),
            v1::Addresses::Unknown => None,
        },
        HeaderResult::V2(Ok(header)) => match (header.command, header.addresses) {
            (v2::Command::Proxy, v2::Addresses::IPv4(addresses)) => Some(addresses.source_address.into()),
            (v2::Command::Proxy, v2::Addresses::IPv6(addresses)) => Some(addresses.source_address.into()),
            (v2::Command::Local, _) | (_, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => None,
        },
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => return Err(ProxyHeaderError::Malformed),
    };
    Ok(address.map(|address: IpAddr| address.to_canonical()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is read of `bytes`, and how many bytes are left.
    fn read_from(mut bytes: &[u8]) -> (Option<Option<String>>, usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let read = runtime.block_on(read(&mut bytes)).ok();
        (read.map(|client| client.map(|address| address.to_string())), bytes.len())
    }

    fn v2(command: u8, family: u8, length: u16, rest: &[u8]) -> Vec<u8> {
        [v2::PROTOCOL_PREFIX, &[0x20 | command, family], &length.to_be_bytes(), rest].concat()
    }

    const IPV4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb];

    #[test]
    fn both_versions_tell_the_client_and_leave_what_follows() {
        let ipv6 = [&"2001:db8::7".parse::<std::net::Ipv6Addr>().expect("an address").octets()[..], &[0; 20]].concat();
        let mapped = [&"::ffff:192.0.2.7".parse::<std::net::Ipv6Addr>().expect("an address").octets()[..], &[0; 20]].concat();
        // A TLV of a kind that nobody knows.
        let with_more = [&IPV4[..], &[0xe0, 0, 2, 1, 2]].concat();
        for (header, client) in [
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\r\n".to_vec(), Some("192.0.2.7")),
            (b"PROXY TCP6 2001:db8::7 ::1 12345 443\r\n".to_vec(), Some("2001:db8::7")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (v2(1, 0x11, 12, &IPV4), Some("192.0.2.7")),
            (v2(1, 0x21, 36, &ipv6), Some("2001:db8::7")),
            (v2(1, 0x21, 36, &mapped), Some("192.0.2.7")),
            (v2(1, 0x11, 17, &with_more), Some("192.0.2.7")),
            (v2(0, 0x00, 0, &[]), None),
            (v2(0, 0x11, 12, &IPV4), None),
            (v2(1, 0x00, 0, &[]), None),
            (v2(1, 0x31, 216, &[b'/'; 216]), None),
        ] {
            let sent = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(read_from(&sent), (Some(client.map(str::to_owned)), 16), "{}", header.escape_ascii());
            for cut in 0..header.len() {
                assert_eq!(read_from(&header[..cut]).0, None, "{} cut at {cut}", header.escape_ascii());
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let endless = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat();
        for sent in [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            b"proxy TCP4 192.0.2.7 10.0.0.1 12345 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 12345\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 443 1\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::7 ::1 12345 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.007 10.0.0.1 12345 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 65536\r\n".to_vec(),
            b"PROXY TCP4  192.0.2.7 10.0.0.1 12345 443\r\n".to_vec(),
            b"PROXY UDP4 192.0.2.7 10.0.0.1 12345 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\nGET / HTTP/1.1\r\n".to_vec(),
            endless,
            // A version, a command and a family that do not exist, too little room for the addresses, too much for us.
            [v2::PROTOCOL_PREFIX, &[0x11, 0x11, 0, 12], &IPV4].concat(),
            v2(2, 0x11, 12, &IPV4),
            v2(1, 0x51, 12, &IPV4),
            v2(1, 0x11, 11, &IPV4),
            v2(1, 0x11, 4081, &[0; 5000]),
        ] {
            assert_eq!(read_from(&sent).0, None, "{}", sent.escape_ascii());
        }
        let longest = [&IPV4[..], &[0; 4068]].concat();
        assert!(read_from(&v2(1, 0x11, 4080, &longest)).0.is_some(), "as long as may be");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_read_more_than_its_bound(bytes in proptest::collection::vec(any::<u8>(), 0..6000), prefix in 0..3usize) {
            let prefix: &[u8] = [&b""[..], b"PROXY ", v2::PROTOCOL_PREFIX][prefix];
            let sent = [prefix, &bytes].concat();
            let (_, left) = read_from(&sent);
            prop_assert!(sent.len() - left <= V2_BYTES_MAX);
        }
    }
}
