//! The beginning of a request's body, kept for the case that a server did nothing with the request and says so.

use bytes::{Bytes, BytesMut};

/// As much as pingora keeps for HTTP/1.1.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// What was read of a body, from its first byte on, unless that is too much.
#[derive(Debug, Default)]
pub(super) struct Replay {
    /// None before anything is to be kept.
    kept: Option<BytesMut>,
    /// Whether something is missing.
    truncated: bool,
}

impl Replay {
    /// Keeps what is read from now on; nothing of use if something was read before.
    pub(super) fn begin(&mut self, received: usize) {
        if self.kept.is_none() {
            (self.kept, self.truncated) = (Some(BytesMut::new()), received > 0);
        }
    }

    pub(super) fn keep(&mut self, data: &[u8]) {
        let Some(kept) = self.kept.as_mut().filter(|_| !self.truncated) else { return };
        self.truncated = kept.len() + data.len() > KEPT_BYTES_MAX;
        if self.truncated {
            *kept = BytesMut::new();
        } else {
            kept.extend_from_slice(data);
        }
    }

    pub(super) fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// All that was read; none if there is nothing, or not all of it.
    pub(super) fn all(&self) -> Option<Bytes> {
        let kept = self.kept.as_ref().filter(|kept| !kept.is_empty())?;
        Some(kept.clone().freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_kept_from_its_first_byte_on_and_up_to_the_limit() {
        let mut replay = Replay::default();
        replay.keep(b"before");
        assert_eq!((replay.all(), replay.is_truncated()), (None, false));
        replay.begin(0);
        assert_eq!(replay.all(), None);
        replay.keep(&[b'x'; KEPT_BYTES_MAX - 1]);
        replay.keep(b"y");
        replay.begin(KEPT_BYTES_MAX);
        assert_eq!((replay.all().map(|all| all.len()), replay.is_truncated()), (Some(KEPT_BYTES_MAX), false));
        replay.keep(b"z");
        assert_eq!((replay.all(), replay.is_truncated()), (None, true));
        let mut late = Replay::default();
        late.begin(1);
        late.keep(b"rest");
        assert_eq!((late.all(), late.is_truncated()), (None, true));
    }
}
