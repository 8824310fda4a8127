//! Slots of a Redis Cluster: in which one a key is, and who serves it.
//!
//! All keys of the revoked set are in one, by the hash tag in their prefix. So the epoch, the records and the feed live and
//! die together, one `MGET` or script can reach them, and whoever lost one of them is known to have lost them all.

use redis::Value;

use super::named::Address;

/// How many there are.
const SLOTS: u16 = 16_384;

/// The slot of a key: the checksum of what stands between its first `{` and the next `}`, if anything does, or else of all
/// of it (Redis Cluster specification, "Hash tags").
pub(super) fn of_key(key: &str) -> u16 {
    checksum(tag(key).unwrap_or(key).as_bytes()) % SLOTS
}

fn tag(key: &str) -> Option<&str> {
    let (_, rest) = key.split_once('{')?;
    rest.split_once('}').map(|(tag, _)| tag).filter(|tag| !tag.is_empty())
}

/// CRC-16/XMODEM.
fn checksum(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |checksum, &byte| {
        (0..8).fold(checksum ^ (u16::from(byte) << 8), |sum, _| if sum & 0x8000 == 0 { sum << 1 } else { (sum << 1) ^ 0x1021 })
    })
}

/// Who serves a slot, by the answer to `CLUSTER SLOTS` of the node at `asked`: ranges, each with its first and last slot,
/// its primary and that one's replicas.
pub(super) fn owner(answer: &Value, slot: u16, asked: &str) -> Option<Address> {
    let Value::Array(ranges) = answer else { return None };
    ranges.iter().find_map(|range| {
        let Value::Array(range) = range else { return None };
        let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = range.as_slice() else { return None };
        if !(*first..=*last).contains(&i64::from(slot)) {
            return None;
        }
        let [host, Value::Int(port), ..] = primary.as_slice() else { return None };
        let host = match host {
            Value::BulkString(host) if host == b"?" => return None,
            Value::BulkString(host) if !host.is_empty() => String::from_utf8(host.clone()).ok()?,
            // The one that was asked does not know its own address: it is where it was asked.
            Value::BulkString(_) | Value::Nil => asked.to_owned(),
            _ => return None,
        };
        Some(Address { host, port: u16::try_from(*port).ok()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slots_are_those_of_the_specification() {
        assert_eq!(checksum(b"123456789"), 0x31c3);
        // `redis-cli cluster keyslot foo`
        assert_eq!(of_key("foo"), 12_182);
        assert_eq!(of_key("{foo}:revocation_epoch"), of_key("foo"));
        assert_eq!(of_key("a{foo}{bar}"), of_key("foo"));
        assert_eq!(of_key("{}foo"), checksum(b"{}foo") % SLOTS, "an empty tag is none");
        assert_eq!(of_key("{foo"), checksum(b"{foo") % SLOTS);
    }

    #[test]
    fn who_serves_a_slot_is_found_among_the_ranges() {
        let node = |host: Value, port| Value::Array(vec![host, Value::Int(port), Value::BulkString(b"id".to_vec())]);
        let host = |host: &str| Value::BulkString(host.as_bytes().to_vec());
        let range =
            |first, last, primary| Value::Array(vec![Value::Int(first), Value::Int(last), primary, node(host("replica"), 7)]);
        let answer = Value::Array(vec![
            range(0, 5460, node(host("a"), 1)),
            range(5461, 10_922, node(Value::Nil, 2)),
            range(10_923, 16_382, node(host("?"), 3)),
        ]);
        let at = |slot| owner(&answer, slot, "asked").map(|address| address.to_string());
        assert_eq!([at(0), at(5460), at(5461)], [Some("a:1".to_owned()), Some("a:1".to_owned()), Some("asked:2".to_owned())]);
        assert_eq!([at(16_000), at(16_383)], [None, None], "an address that is not known, and a slot that nobody serves");
        assert_eq!(owner(&Value::Nil, 0, "asked"), None);
    }
}
