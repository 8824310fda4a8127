//! A connection below HTTP/2, watched frame by frame (RFC 9113 §4.1): the library decodes what it is sent as long as it is
//! sent, and answers each PING and SETTINGS.
//!
//! Three things end a connection here: a header block that does not end in time, more frames of overhead than the requests
//! beside them can need (CVE-2019-9512, -9513, -9515), and a client that does not read what was written. Frames are told
//! apart and never changed.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use pingora::protocols::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::ward::Ward;
use crate::clock::Clock;
use crate::proxy::ProxyParts;
use crate::reason::Reason;

const PREFACE_BYTES: usize = 24;
const FRAME_HEAD_BYTES: usize = 9;
/// With why, which is all of a reset (RFC 9113 §6.4).
const RESET_BYTES: usize = 13;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
const PROTOCOL_ERROR: u32 = 1;

/// Frames of overhead that a client may send at once, and how many more in each second.
const OVERHEAD_MAX: u32 = 1000;
const OVERHEAD_PER_SECOND: u32 = 50;
/// How many more for each frame that carries a request or a response. Envoy's figure for window updates is 10.
const OVERHEAD_PER_FRAME: u32 = 10;

/// How long a client whose connection ends may take to read why, and how much of what it sends meanwhile is thrown away: a
/// socket that is closed with unread bytes sends a reset, which may overtake what was written.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);
const FAREWELL_BYTES_MAX: usize = 1024 * 1024;

/// A frame's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    kind: u8,
    /// Why a stream is reset; none for other kinds.
    code: Option<u32>,
}

/// Frames in one direction, found as their bytes come.
#[derive(Debug, Default)]
struct Frames {
    head: [u8; RESET_BYTES],
    head_bytes: usize,
    /// Of what is not a head, still to come.
    skip: usize,
    /// Whether what is being sent is part of a header block.
    in_block: bool,
    /// Whether that block has not ended with it.
    more_of_block: bool,
}

impl Frames {
    fn after(preface: usize) -> Self {
        Self { skip: preface, ..Self::default() }
    }

    /// Takes the next bytes; `seen` is told of every head that they complete.
    fn feed(&mut self, mut bytes: &[u8], mut seen: impl FnMut(Frame)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if self.skip == 0 {
                self.in_block = self.more_of_block;
            }
            if bytes.is_empty() {
                return;
            }
            self.take_head(&mut bytes, FRAME_HEAD_BYTES);
            let [a, b, c, kind, flags, ..] = self.head;
            let payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            let reset = kind == RST_STREAM && payload == RESET_BYTES - FRAME_HEAD_BYTES;
            let whole = if reset { RESET_BYTES } else { FRAME_HEAD_BYTES };
            self.take_head(&mut bytes, whole);
            if self.head_bytes < whole {
                return;
            }
            self.head_bytes = 0;
            let [.., w, x, y, z] = self.head;
            self.skip = if reset { 0 } else { payload };
            if matches!(kind, HEADERS | CONTINUATION) {
                self.in_block = true;
                self.more_of_block = flags & END_HEADERS == 0;
            }
            seen(Frame { kind, code: reset.then(|| u32::from_be_bytes([w, x, y, z])) });
        }
    }

    fn take_head(&mut self, bytes: &mut &[u8], whole: usize) {
        let part = whole.saturating_sub(self.head_bytes).min(bytes.len());
        self.head[self.head_bytes..self.head_bytes + part].copy_from_slice(&bytes[..part]);
        self.head_bytes += part;
        *bytes = &bytes[part..];
    }
}

/// What a client may still send of frames that carry nothing.
struct Overhead {
    left: u32,
    /// Up to when time was counted.
    counted: Instant,
    clock: Arc<dyn Clock>,
}

impl Overhead {
    fn new(clock: Arc<dyn Clock>) -> Self {
        Self { left: OVERHEAD_MAX, counted: clock.monotonic(), clock }
    }

    fn earn(&mut self) {
        self.left = (self.left + OVERHEAD_PER_FRAME).min(OVERHEAD_MAX);
    }

    /// Whether there was one left.
    fn spend(&mut self) -> bool {
        if self.left == 0 {
            // Only now: most connections never ask what time it is.
            let now = self.clock.monotonic();
            let millis = now.saturating_duration_since(self.counted).as_millis();
            let earned = millis * u128::from(OVERHEAD_PER_SECOND) / 1000;
            if earned > 0 {
                (self.left, self.counted) = (u32::try_from(earned).map_or(OVERHEAD_MAX, |earned| earned.min(OVERHEAD_MAX)), now);
            }
        }
        let had = self.left > 0;
        self.left = self.left.saturating_sub(1);
        had
    }
}

/// A client's connection.
pub(super) struct Watched {
    inner: Stream,
    ward: Arc<Ward>,
    incoming: Frames,
    outgoing: Frames,
    overhead: Overhead,
    header_timeout: Duration,
    /// Set while a header block is incomplete.
    block: Option<Pin<Box<Sleep>>>,
    write_timeout: Duration,
    /// Set while something written does not get through.
    stalled: Option<Pin<Box<Sleep>>>,
    farewell: Option<Farewell>,
}

struct Farewell {
    until: Pin<Box<Sleep>>,
    left: usize,
}

impl Watched {
    pub(super) fn new(inner: Stream, ward: Arc<Ward>, parts: &ProxyParts) -> Self {
        Self {
            inner,
            ward,
            incoming: Frames::after(PREFACE_BYTES),
            outgoing: Frames::default(),
            overhead: Overhead::new(Arc::clone(&parts.clock)),
            header_timeout: parts.timeouts.header,
            block: None,
            write_timeout: parts.timeouts.body,
            stalled: None,
            farewell: None,
        }
    }

    /// Looks at what arrived.
    fn look_in(&mut self, bytes: &[u8]) {
        let (overhead, mut flood) = (&mut self.overhead, false);
        self.incoming.feed(bytes, |frame| match frame {
            // An empty one is for the library to count: it may end a body.
            Frame { kind: DATA | HEADERS, .. } => overhead.earn(),
            _ => flood |= !overhead.spend(),
        });
        if flood {
            self.ward.raise(Reason::TooMany);
        }
        if !self.incoming.in_block {
            self.block = None;
        } else if self.block.is_none() {
            // Most arrive in one piece and never pay for a timer.
            self.block = Some(Box::pin(tokio::time::sleep(self.header_timeout)));
        }
    }

    fn look_out(&mut self, written: &[u8]) {
        let (overhead, ward) = (&mut self.overhead, &self.ward);
        self.outgoing.feed(written, |frame| match frame {
            Frame { kind: DATA | HEADERS, .. } => overhead.earn(),
            // Ours have other reasons: the library found a request that breaks the rules, and nobody else has seen it.
            Frame { code: Some(PROTOCOL_ERROR), .. } => ward.record(Reason::Malformed),
            _ => {}
        });
    }

    /// Passes on how a write ended, unless it has not for too long.
    fn in_time<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.stalled = None;
            return done;
        }
        let timeout = self.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Whoever owns the connection was told, and ends it.
        if self.ward.is_raised() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if read.is_ready() {
            self.look_in(&buf.filled()[before..]);
        }
        if let Some(block) = &mut self.block
            && block.as_mut().poll(cx).is_ready()
        {
            self.ward.raise(Reason::RequestTimeout);
            return Poll::Pending;
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = written {
            self.look_out(&buf[..written]);
        }
        self.in_time(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.in_time(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.farewell.is_none() {
            let ended = Pin::new(&mut self.inner).poll_shutdown(cx);
            ready!(self.in_time(cx, ended))?;
            let until = Box::pin(tokio::time::sleep(FAREWELL_TIMEOUT));
            self.farewell = Some(Farewell { until, left: FAREWELL_BYTES_MAX });
        }
        let Self { inner, farewell: Some(farewell), .. } = &mut *self else { return Poll::Ready(Ok(())) };
        while farewell.left > 0 && farewell.until.as_mut().poll(cx).is_pending() {
            let mut bytes = [0; 1024];
            let mut buf = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut *inner).poll_read(cx, &mut buf))?;
            farewell.left = if buf.filled().is_empty() { 0 } else { farewell.left.saturating_sub(buf.filled().len()) };
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).expect("short").to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], &vec![0; payload]].concat()
    }

    fn seen(frames: &mut Frames, bytes: &[u8]) -> Vec<Frame> {
        let mut seen = Vec::new();
        frames.feed(bytes, |frame| seen.push(frame));
        seen
    }

    #[test]
    fn a_header_block_lasts_until_its_last_byte() {
        let mut frames = Frames::after(PREFACE_BYTES);
        let whole = frame(HEADERS, END_HEADERS, 20);
        frames.feed(&[b'P'; PREFACE_BYTES], |_| {});
        for (part, in_block) in [(&whole[..8], false), (&whole[8..9], true), (&whole[9..28], true), (&whole[28..], false)] {
            frames.feed(part, |_| {});
            assert_eq!(frames.in_block, in_block, "{part:?}");
        }
        frames.feed(&frame(HEADERS, 0, 3), |_| {});
        assert!(frames.in_block, "its end is still to come");
        frames.feed(&frame(CONTINUATION, 0, 0), |_| {});
        assert!(frames.in_block);
        frames.feed(&frame(CONTINUATION, END_HEADERS, 0), |_| {});
        assert!(!frames.in_block);
        frames.feed(&frame(DATA, 0, 3), |_| {});
        assert!(!frames.in_block);
    }

    #[test]
    fn a_reset_says_why() {
        let reset = [&frame(RST_STREAM, 0, 4)[..FRAME_HEAD_BYTES], &7u32.to_be_bytes()].concat();
        assert_eq!(seen(&mut Frames::default(), &reset), [Frame { kind: RST_STREAM, code: Some(7) }]);
    }

    proptest! {
        #[test]
        fn frames_are_the_same_however_their_bytes_are_cut(kinds in prop::collection::vec((0u8..12, 0u8..8, prop_oneof![Just(4usize), 0usize..40]), 1..8), cut in 1usize..30) {
            let bytes: Vec<u8> = kinds.iter().flat_map(|(kind, flags, payload)| frame(*kind, *flags, *payload)).collect();
            let code = |kind, payload| (kind == RST_STREAM && payload == 4).then_some(0);
            let expected: Vec<_> = kinds.iter().map(|(kind, _, payload)| Frame { kind: *kind, code: code(*kind, *payload) }).collect();
            let mut frames = Frames::default();
            let found: Vec<_> = bytes.chunks(cut).flat_map(|chunk| seen(&mut frames, chunk)).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn overhead_is_earned_by_time_and_by_requests() {
        let clock = Arc::new(crate::clock::ManualClock::at(jiff::Timestamp::UNIX_EPOCH));
        let mut overhead = Overhead::new(Arc::clone(&clock) as _);
        for _ in 0..OVERHEAD_MAX {
            assert!(overhead.spend());
        }
        assert!(!overhead.spend());
        overhead.earn();
        for _ in 0..OVERHEAD_PER_FRAME {
            assert!(overhead.spend());
        }
        assert!(!overhead.spend());
        clock.advance(Duration::from_secs(1));
        for _ in 0..OVERHEAD_PER_SECOND {
            assert!(overhead.spend());
        }
        assert!(!overhead.spend());
        // However long nothing was sent.
        clock.advance(Duration::from_secs(1_000_000));
        let left = std::iter::from_fn(|| overhead.spend().then_some(())).count();
        assert_eq!(left, OVERHEAD_MAX as usize);
    }
}
