//! Streams whose clients do not read, and upstreams that do not stop sending: they end all the same, and what was not on its
//! way by then never leaves the gateway.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::client::{Actor, RawClient};
use crate::support::gateway::{Builder, Gateway};
use crate::support::http2::{CANCEL, Http2, INITIAL_WINDOW_SIZE, WINDOW_UPDATE, frame, get};
use crate::support::tls::Authority;
use crate::support::{eventually, find};

const HOST: &str = "a.example";
/// How often nothing must have happened before somebody is believed to be stuck. If it is not, the test shows less.
const STILL: usize = 20;

/// A server whose every answer is without end, and comes as fast as it is taken.
#[derive(Default)]
struct Pouring {
    written: AtomicUsize,
    over: AtomicBool,
}

/// The beginnings of what it answers: events, a download, and a WebSocket, which has one message of many bytes after another.
const EVENTS: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
const DOWNLOAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n";
const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

impl Pouring {
    async fn start() -> (SocketAddr, Arc<Self>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let pouring = Arc::<Self>::default();
        let state = Arc::clone(&pouring);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&state);
                tokio::spawn(async move {
                    state.pour(stream).await;
                    state.over.store(true, Ordering::SeqCst);
                });
            }
        });
        (address, pouring)
    }

    async fn pour(&self, mut stream: TcpStream) -> Option<()> {
        let mut head = Vec::new();
        while find(&head, b"\r\n\r\n").is_none() {
            stream.read_buf(&mut head).await.ok().filter(|read| *read > 0)?;
        }
        let of_path = |path: &[u8]| find(&head, path).is_some();
        let begin = if of_path(b" /ws ") {
            UPGRADED
        } else if of_path(b" /api/download ") {
            DOWNLOAD
        } else {
            EVENTS
        };
        stream.write_all(begin).await.ok()?;
        // A message of 16,000 bytes.
        let piece = [&b"\x82\x7e\x3e\x80"[..], &[b'x'; 16_000]].concat();
        loop {
            let written = stream.write(&piece).await.ok()?;
            self.written.fetch_add(written, Ordering::SeqCst);
            if written < piece.len() {
                stream.write_all(&piece[written..]).await.ok()?;
                self.written.fetch_add(piece.len() - written, Ordering::SeqCst);
            }
        }
    }

    /// Waits until nobody takes anything any more.
    async fn is_stuck(&self) {
        let (mut before, mut still) = (0, 0);
        eventually("a full pipe", async || {
            let written = self.written.load(Ordering::SeqCst);
            still = if written == before { still + 1 } else { 0 };
            before = written;
            (written > 0 && still >= STILL).then_some(())
        })
        .await;
    }

    /// All that it ever wrote, as an answer may carry it: with the sizes of chunks.
    fn all(&self) -> usize {
        let written = self.written.load(Ordering::SeqCst);
        written + written / 100 + 4096
    }

    async fn is_told(&self) {
        eventually("the end of the upstream's connection", async || self.over.load(Ordering::SeqCst).then_some(())).await;
    }
}

fn behind(address: SocketAddr) -> Builder {
    Gateway::in_front_of_servers(&[address], "").route("path = \"/ws\"\nwebsocket = true")
}

async fn asking(gateway: &Gateway, path: &str, actor: &Actor) -> RawClient {
    let mut client = gateway.connect().await;
    let upgrade = if path == "/ws" { "connection: upgrade\r\nupgrade: websocket\r\n" } else { "" };
    let bearer = &actor.access_token;
    client.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {bearer}\r\n{upgrade}\r\n")).await;
    client
}

/// The socket's buffers are full: neither an answer nor a goodbye has any room.
#[tokio::test]
async fn a_stream_whose_client_does_not_read_ends_all_the_same() {
    for path in ["/api/events", "/api/download", "/ws"] {
        let (address, pouring) = Pouring::start().await;
        let gateway = behind(address).start().await;
        let ada = gateway.registered("ada").await;
        let mut client = asking(&gateway, path, &ada).await;
        pouring.is_stuck().await;
        ada.log_out().await;
        pouring.is_told().await;
        let in_flight = async || gateway.metric("portcullis_requests_in_flight").await.filter(|count| *count == 0.0);
        eventually("no request in flight", in_flight).await;
        // What was on its way arrives, and then the connection ends: no more than the upstream ever wrote.
        let rest = client.rest().await;
        assert!(rest.len() < pouring.all(), "{path}");
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{path}: it must not look whole");
    }
}

/// The window of the stream is closed, the connection is not: the reset arrives, and its neighbours go on.
#[tokio::test]
async fn a_stream_of_http_2_whose_window_is_closed_is_reset() {
    let authority = Authority::new();
    authority.write("a", &authority.issue(&[HOST]));
    let (address, pouring) = Pouring::start().await;
    let gateway = behind(address).table(&authority.table("a")).listener("protocol = \"https\"").start().await;
    let (ada, grace) = (gateway.registered("ada").await, gateway.registered("grace").await);
    let secure = *gateway.addresses.last().expect("a listener");
    let mut client = Http2::connect_with(&authority.client(), secure, HOST, &[(INITIAL_WINDOW_SIZE, 1000)]).await;
    let mut streams = Vec::new();
    for actor in [&ada, &grace] {
        let bearer = format!("Bearer {}", actor.access_token);
        let mut fields = get(HOST, "/api/events");
        fields.push(("authorization", &bearer));
        let stream = client.begin(&fields, true).await;
        client.until("a full window", |client| client.so_far(stream).body.len() == 1000).await;
        streams.push(stream);
    }
    pouring.is_stuck().await;
    ada.log_out().await;
    assert_eq!(client.answer(streams[0]).await.reset, Some(CANCEL));
    pouring.is_told().await;
    // Whatever room is made now: nothing was kept for it.
    for stream in &streams {
        client.send(frame(WINDOW_UPDATE, 0, *stream, &1000_u32.to_be_bytes())).await;
    }
    client.until("what the neighbour is sent", |client| client.so_far(streams[1]).body.len() == 2000).await;
    assert_eq!((client.so_far(streams[0]).body.len(), client.so_far(streams[1]).reset), (1000, None));
}

/// In the middle of all that an upstream says, for as long as it likes: the end is the end.
#[tokio::test]
async fn nothing_that_the_upstream_says_afterwards_is_delivered() {
    for path in ["/api/events", "/api/download", "/ws"] {
        let (address, pouring) = Pouring::start().await;
        let gateway = behind(address).start().await;
        let ada = gateway.registered("ada").await;
        let mut client = asking(&gateway, path, &ada).await;
        let (logged_out, reading) = (async { ada.log_out().await }, async {
            let mut received = 0;
            loop {
                match client.bytes(1).await.len() {
                    0 => return received,
                    more => received += more,
                }
            }
        });
        let some = async {
            eventually("a long answer", async || (pouring.written.load(Ordering::SeqCst) > 1_000_000).then_some(())).await;
            logged_out.await;
        };
        let (received, ()) = tokio::join!(reading, some);
        pouring.is_told().await;
        assert!(received < pouring.all(), "{path}");
    }
}
