//! Connections for WebSocket handshakes, which are not read from in the moment in which they were written to.
//!
//! pingora 0.9.1 sends a handshake's body, which is none, through a channel, and looks at the channel and at the answer in
//! random order. Where the 101 is there before it first looks, as from an upstream on the same busy machine, the end of that
//! body can come last: it is then taken for the client's goodbye, and the WebSocket ends as it begins, without an error. A
//! read that follows a write has to be tried twice here, so that the channel is looked at in between.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora::connectors::L4Connect;
use pingora::prelude::*;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Makes such connections.
#[derive(Debug)]
pub(super) struct HeldConnections;

/// One of them.
#[derive(Debug)]
struct Held {
    socket: TcpStream,
    /// Since it was last read from.
    written: bool,
}

#[async_trait]
impl L4Connect for HeldConnections {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let Some(address) = address.as_inet() else { return Err(Error::explain(ConnectError, "not an IP address")) };
        let connected = TcpStream::connect(address).await;
        let socket = connected.map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::ConnectionRefused => ConnectRefused,
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => ConnectNoRoute,
                _ => ConnectError,
            };
            Error::because(kind, "connecting for a websocket", error)
        })?;
        Ok(VirtualSocketStream::new(Box::new(Held { socket, written: false })).into())
    }
}

impl VirtualSocket for Held {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.socket.set_nodelay(true),
            // None else is asked for towards upstreams.
            _ => Ok(()),
        }
    }
}

impl AsyncRead for Held {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.written) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Held {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.written = true;
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.written = true;
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// What a WebSocket's beginning depends on.
    #[tokio::test]
    async fn an_answer_that_is_there_is_read_at_the_second_look() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let socket = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it listens");
        let (mut server, _) = listener.accept().await.expect("a connection");
        let mut held = Held { socket, written: false };
        server.write_all(b"early").await.expect("it is open");
        held.socket.readable().await.expect("it is open");
        held.write_all(b"request").await.expect("it is open");
        let mut bytes = [0; 5];
        let looks = std::sync::atomic::AtomicU32::new(0);
        {
            let mut reading = std::pin::pin!(held.read_exact(&mut bytes));
            std::future::poll_fn(|cx| {
                looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                reading.as_mut().poll(cx)
            })
            .await
            .expect("it is open");
        }
        assert_eq!((looks.into_inner(), &bytes), (2, b"early"));
    }
}
