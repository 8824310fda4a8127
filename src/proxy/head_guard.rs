//! Guards the bytes of a request head before the HTTP parser sees them.
//!
//! pingora parses leniently, has no deadline for a whole head, answers what it cannot parse by itself and
//! never shows that to `ProxyHttp`. This wrapper around the client's stream closes the gap: it bounds the
//! head in bytes, lines and time, refuses request lines that pingora would rewrite, and replaces pingora's
//! own refusals by ours, so that each one is answered, counted and logged like any other. Once the head is
//! parsed it only passes bytes through. It must not interpret header fields: that is `policy::head`.

mod transparent;

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::{Shutdown, Stream};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Sleep;

use super::arrival::Arrival;
use super::frames::{self, Frames};
use super::head_scan::{HeadScan, Progress};
use super::streams;
use crate::limit::RequestLimits;
use crate::reason::Reason;
use crate::revocation::streams::Slot;
use crate::telemetry::labels::StreamEnd;

/// The code of a WebSocket whose session ended: of those that are applications' own, by the status it would have in HTTP
/// (RFC 6455 §7.4.2).
const CLOSE_CODE: u16 = 4401;
/// How long a refused client may take to read its answer.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);
/// How much of a head is read at once; most fit.
const EARLY_BYTES: usize = 4096;
/// How much of a refused request is read and thrown away, so that the answer is not lost to a reset.
const FAREWELL_BYTES_MAX: usize = 1024 * 1024;

/// What the guard needs to know and whom it tells.
pub(super) struct GuardSettings {
    /// Sizes.
    pub(super) limits: RequestLimits,
    /// From the first byte of a head to its last.
    pub(super) header_timeout: Duration,
    /// Records a refusal that happens before a request exists, and renders its answer: a whole HTTP/1.1 response.
    pub(super) refuse: Box<dyn Fn(Reason, Option<IpAddr>) -> Vec<u8> + Send + Sync>,
}

/// How far the answer to a refused head has come.
#[derive(Debug)]
enum Farewell {
    /// There is nothing to answer.
    None,
    /// Refused for this reason; the answer is sent when the connection is shut down.
    Owed(Reason),
    /// So much of the answer is written.
    Saying { answer: Vec<u8>, written: usize },
    /// The answer is sent; so much of what still arrives is read.
    Discarding { left: usize },
    /// The connection was cut off, and everything that could be said is.
    Over,
}

/// A client's connection, guarded while a request head is being read.
pub(super) struct HeadGuard {
    inner: Stream,
    /// How it came to be; none for plain HTTP.
    arrival: Option<Arc<Arrival>>,
    settings: Arc<GuardSettings>,
    scan: HeadScan,
    deadline: Option<Pin<Box<Sleep>>>,
    farewell: Farewell,
    /// Bytes of a head that arrived while nobody was parsing.
    early: Bytes,
    /// Whether something was written after the last flush.
    unflushed: bool,
    parsed: AtomicBool,
    /// Whether `overdue` counts; looked at with every read, unlike the lock.
    timed: AtomicBool,
    /// The end of the time that the exchange has.
    overdue: Mutex<Option<Pin<Box<Sleep>>>>,
    /// Where its requests are found by whoever ends them.
    place: Arc<Slot>,
    /// Whether `frames` counts; looked at with every write, unlike the lock.
    framed: AtomicBool,
    /// How far a WebSocket's bytes for the client have come.
    frames: Mutex<Option<Box<Frames>>>,
}

impl fmt::Debug for HeadGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeadGuard").field("farewell", &self.farewell).finish_non_exhaustive()
    }
}

impl HeadGuard {
    /// Guards a new connection.
    pub(super) fn new(inner: Stream, arrival: Option<Arc<Arrival>>, place: Arc<Slot>, settings: Arc<GuardSettings>) -> Self {
        let scan = HeadScan::new(&settings.limits);
        Self {
            inner,
            arrival,
            settings,
            scan,
            deadline: None,
            farewell: Farewell::None,
            early: Bytes::new(),
            unflushed: false,
            parsed: AtomicBool::new(false),
            timed: AtomicBool::new(false),
            overdue: Mutex::default(),
            place,
            framed: AtomicBool::new(false),
            frames: Mutex::default(),
        }
    }

    /// Guards the next head on a connection that was kept alive; none if it was never guarded.
    pub(super) fn rearm(stream: Stream, settings: &Arc<GuardSettings>) -> Option<Box<Self>> {
        let mut guard = stream.into_any().downcast::<Self>().ok()?;
        if !Arc::ptr_eq(&guard.settings, settings) {
            guard.settings = Arc::clone(settings);
        }
        guard.scan = HeadScan::new(&guard.settings.limits);
        guard.deadline = None;
        *guard.parsed.get_mut() = false;
        *guard.timed.get_mut() = false;
        Some(guard)
    }

    /// From the first byte of a head to its last.
    pub(super) fn header_timeout(&self) -> Duration {
        self.settings.header_timeout
    }

    /// Waits for the first bytes of a head and keeps them for the parser; false at the end of the connection.
    ///
    /// An idle connection waits here, where it needs no buffer and none of the parser's and the proxy's state.
    pub(super) fn poll_head_begins(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        // On the stack: it is gone while the connection waits.
        let mut bytes = [MaybeUninit::uninit(); EARLY_BYTES];
        let mut buf = ReadBuf::uninit(&mut bytes);
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buf));
        self.early = read.map(|()| Bytes::copy_from_slice(buf.filled())).unwrap_or_default();
        Poll::Ready(!self.early.is_empty())
    }

    fn poll_inner_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let fits = self.early.len().min(buf.remaining());
        buf.put_slice(&self.early.split_to(fits));
        Poll::Ready(Ok(()))
    }

    /// Ends the guarding: the head was accepted by the parser, and what follows is a body. Says how the client came.
    pub(super) fn head_parsed(stream: &Stream) -> Option<Arc<Arrival>> {
        let guard = stream.as_any().downcast_ref::<Self>()?;
        guard.parsed.store(true, Ordering::Relaxed);
        guard.arrival.clone()
    }

    /// Lets the exchange have so much more time; none for as much as it likes. Afterwards its client looks as if it had
    /// gone: pingora watches the client while it waits for the upstream, and has no limit for the exchange as a whole.
    pub(super) fn give_up_after(stream: &Stream, remaining: Option<Duration>) {
        let Some(guard) = stream.as_any().downcast_ref::<Self>() else { return };
        guard.timed.store(remaining.is_some(), Ordering::Relaxed);
        *guard.overdue.lock().expect("no holder of the time panics") =
            remaining.map(|remaining| Box::pin(tokio::time::sleep(remaining)));
    }

    /// From now on the bytes for the client are a response head, then a WebSocket.
    pub(super) fn upgraded(stream: &Stream) {
        let Some(guard) = stream.as_any().downcast_ref::<Self>() else { return };
        *guard.frames.lock().expect("no holder of the frames panics") = Some(Box::new(Frames::new()));
        guard.framed.store(true, Ordering::Relaxed);
    }

    /// Ends what was cut off: a WebSocket with a close frame if one may stand here, anything else at once. Nothing that the
    /// upstream says passes any more.
    fn poll_cut_off(&mut self, why: StreamEnd, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.farewell, Farewell::None) {
            let frames = self.frames.get_mut().expect("no holder of the frames panics").take();
            self.farewell = match frames.filter(|frames| frames.may_add()) {
                Some(_) => {
                    self.deadline = Some(Box::pin(tokio::time::sleep(streams::PARTING)));
                    Farewell::Saying { answer: frames::close(CLOSE_CODE, streams::reason(why).word()), written: 0 }
                }
                None => Farewell::Over,
            };
        }
        if !matches!(self.farewell, Farewell::Over) {
            // Whether it was heard makes no difference.
            drop(ready!(self.poll_farewell(cx)));
            self.farewell = Farewell::Over;
        }
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }

    fn written(&mut self, bytes: &[u8]) {
        if *self.framed.get_mut()
            && let Some(frames) = self.frames.get_mut().expect("no holder of the frames panics")
        {
            frames.feed(bytes);
        }
    }

    fn is_overdue(&mut self, cx: &mut Context<'_>) -> bool {
        let overdue = self.overdue.get_mut().expect("no holder of the time panics");
        overdue.as_mut().is_some_and(|overdue| overdue.as_mut().poll(cx).is_ready())
    }

    fn refused(reason: Reason) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, reason.word())
    }

    fn is_parsed(&self) -> bool {
        self.parsed.load(Ordering::Relaxed)
    }

    fn poll_read_head(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Farewell::Owed(reason) = self.farewell {
            return Poll::Ready(Err(Self::refused(reason)));
        }
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            self.farewell = Farewell::Owed(Reason::RequestTimeout);
            return Poll::Ready(Err(Self::refused(Reason::RequestTimeout)));
        }
        let before = buf.filled().len();
        ready!(self.poll_inner_read(cx, buf))?;
        match self.scan.feed(&buf.filled()[before..]) {
            Ok(Progress::Complete) => {}
            // Most heads arrive in one piece and never pay for a timer.
            Ok(Progress::Partial) if self.deadline.is_none() => {
                self.deadline = Some(Box::pin(tokio::time::sleep(self.settings.header_timeout)));
            }
            Ok(Progress::Partial) => {}
            Err(reason) => {
                self.farewell = Farewell::Owed(reason);
                // The parser takes an error before the first byte for a client that left, and answers nothing.
                // So it gets one byte, which makes no head, and the error at its next read.
                buf.set_filled(before);
                buf.put_slice(b"-");
            }
        }
        Poll::Ready(Ok(()))
    }

    fn peer(&self) -> Option<IpAddr> {
        if let Some(told) = self.arrival.as_ref().and_then(|arrival| arrival.peer) {
            return Some(told);
        }
        let digest = self.inner.get_socket_digest()?;
        match digest.peer_addr()? {
            SocketAddr::Inet(address) => Some(address.ip()),
            SocketAddr::Unix(_) => None,
        }
    }

    /// Answers a refused head, then reads and discards what is still arriving: closing a socket with unread
    /// bytes sends a reset, which may overtake the answer (RFC 9112 §9.6).
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Farewell::Owed(reason) = self.farewell {
            let answer = (self.settings.refuse)(reason, self.peer());
            self.deadline = Some(Box::pin(tokio::time::sleep(FAREWELL_TIMEOUT)));
            self.farewell = Farewell::Saying { answer, written: 0 };
        }
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            self.farewell = Farewell::None;
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let mut inner = Pin::new(&mut self.inner);
        if let Farewell::Saying { answer, written } = &mut self.farewell {
            while *written < answer.len() {
                match ready!(inner.as_mut().poll_write(cx, &answer[*written..]))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    bytes => *written += bytes,
                }
            }
            ready!(inner.as_mut().poll_flush(cx))?;
            ready!(inner.as_mut().poll_shutdown(cx))?;
            self.farewell = Farewell::Discarding { left: FAREWELL_BYTES_MAX };
        }
        while let Farewell::Discarding { left: left @ 1.. } = &mut self.farewell {
            let mut bytes = [0; 1024];
            let mut buf = ReadBuf::new(&mut bytes);
            ready!(inner.as_mut().poll_read(cx, &mut buf))?;
            *left = if buf.filled().is_empty() { 0 } else { left.saturating_sub(buf.filled().len()) };
        }
        self.farewell = Farewell::None;
        Poll::Ready(Ok(()))
    }

    /// The parser answers a head that it cannot read. Ours is sent instead, when the connection is shut down.
    fn swallow_parser_answer(&mut self) {
        if matches!(self.farewell, Farewell::None) {
            self.farewell = Farewell::Owed(self.scan.parser_refusal());
        }
    }
}

impl AsyncRead for HeadGuard {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.is_parsed() {
            return self.poll_read_head(cx, buf);
        }
        if let Some(why) = self.place.cut_off() {
            return self.poll_cut_off(why, cx);
        }
        if *self.timed.get_mut() && self.is_overdue(cx) {
            *self.timed.get_mut() = false;
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let read = self.poll_inner_read(cx, buf);
        // pingora flushes a response of known length at its end only. It watches the client while it waits for
        // the upstream, which is when what there is of a slow response should not wait with it.
        if read.is_pending() && self.unflushed {
            ready!(self.as_mut().poll_flush(cx))?;
        }
        read
    }
}

impl AsyncWrite for HeadGuard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_parsed() {
            if let Some(why) = self.place.cut_off() {
                return self.poll_cut_off(why, cx).map(|over| over.map(|()| 0));
            }
            self.unflushed = true;
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
            self.written(&buf[..written]);
            return Poll::Ready(Ok(written));
        }
        self.swallow_parser_answer();
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.farewell {
            Farewell::None | Farewell::Over => Pin::new(&mut self.inner).poll_shutdown(cx),
            _ => self.poll_farewell(cx),
        }
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.is_parsed() {
            if let Some(why) = self.place.cut_off() {
                return self.poll_cut_off(why, cx).map(|over| over.map(|()| 0));
            }
            self.unflushed = true;
            let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs))?;
            let mut left = written;
            for buf in bufs {
                self.written(&buf[..left.min(buf.len())]);
                left -= left.min(buf.len());
            }
            return Poll::Ready(Ok(written));
        }
        self.swallow_parser_answer();
        Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for HeadGuard {
    async fn shutdown(&mut self) {
        // The peer may be gone already; there is nobody left to tell.
        drop(AsyncWriteExt::shutdown(self).await);
    }
}
