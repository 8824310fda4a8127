//! A client of HTTP/2 that writes its frames by hand, so that it can write any (RFC 9113 §4).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use fluke_hpack::Decoder;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::in_time;
use super::tls::TlsClient;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// On DATA and HEADERS.
pub(crate) const END_STREAM: u8 = 1;
/// On SETTINGS and PING.
pub(crate) const ACK: u8 = 1;
/// On HEADERS and CONTINUATION.
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;

/// Why a stream or a connection ended (RFC 9113 §7).
pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame's bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block in which each field is written out, whatever its bytes (RFC 7541 §6.2.2).
pub(crate) fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let text = |bytes: &[u8]| {
        let mut length = Vec::new();
        match bytes.len() {
            short @ 0..127 => length.push(u8::try_from(short).expect("short")),
            long => {
                length.push(127);
                let mut rest = long - 127;
                while rest >= 128 {
                    length.push(u8::try_from(rest % 128).expect("short") | 128);
                    rest /= 128;
                }
                length.push(u8::try_from(rest).expect("short"));
            }
        }
        [length, bytes.to_vec()].concat()
    };
    fields.iter().flat_map(|(name, value)| [vec![0], text(name.as_ref()), text(value.as_ref())].concat()).collect()
}

/// The fields that a GET begins with.
pub(crate) fn get<'a>(host: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![(":method", "GET"), (":scheme", "https"), (":authority", host), (":path", path)]
}

/// What came back for one request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    /// Of the final head; 0 as long as there is none.
    pub(crate) status: u16,
    /// Statuses of interim heads.
    pub(crate) interim: Vec<u16>,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    /// Whether it is complete.
    pub(crate) ended: bool,
    /// Why it was cut off, if it was.
    pub(crate) reset: Option<u32>,
}

impl Answer {
    /// The value of a field that is there once.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        let mut found = self.fields.iter().filter(|(field, _)| field == name);
        found.next().filter(|_| found.next().is_none()).map(|(_, value)| value.as_str())
    }

    /// The `code` of a problem document; empty if the body is none.
    pub(crate) fn code(&self) -> String {
        let problem: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        problem["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Status and code.
    pub(crate) fn verdict(&self) -> (u16, String) {
        (self.status, self.code())
    }
}

#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// A connection.
pub(crate) struct Http2 {
    writer: WriteHalf<TlsStream<TcpStream>>,
    reading: AbortHandle,
    frames: mpsc::UnboundedReceiver<Frame>,
    decoder: Decoder<'static>,
    block: Vec<u8>,
    answers: BTreeMap<u32, Answer>,
    next_stream: u32,
    /// What the gateway said of itself.
    pub(crate) settings: BTreeMap<u16, u32>,
    /// PINGs that were answered.
    pub(crate) pongs: usize,
    /// Why the gateway ends the connection, once it said so; the last word.
    pub(crate) goaway: Option<u32>,
    pub(crate) closed: bool,
}

impl Http2 {
    /// Connects, asks for a host, and begins HTTP/2 with these settings.
    pub(crate) async fn connect_with(client: &TlsClient, address: SocketAddr, host: &str, settings: &[(u16, u32)]) -> Self {
        Self::handshake(client, address, host).await.begun(settings).await
    }

    /// Begins HTTP/2 with these settings.
    pub(crate) async fn begun(mut self, settings: &[(u16, u32)]) -> Self {
        let settings: Vec<u8> =
            settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
        self.send([PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat()).await;
        self.until("settings", |http2| !http2.settings.is_empty()).await;
        self.send(frame(SETTINGS, ACK, 0, &[])).await;
        self
    }

    /// The same with the settings that are the protocol's own.
    pub(crate) async fn connect(client: &TlsClient, address: SocketAddr, host: &str) -> Self {
        Self::connect_with(client, address, host, &[]).await
    }

    /// Connects and agrees on HTTP/2, of which nothing is sent.
    pub(crate) async fn handshake(client: &TlsClient, address: SocketAddr, host: &str) -> Self {
        Self::handshake_after(client, address, host, b"").await
    }

    /// The same after bytes in clear text.
    pub(crate) async fn handshake_after(client: &TlsClient, address: SocketAddr, host: &str, first: &[u8]) -> Self {
        let mut config = client.config();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let mut stream = in_time("connecting to the gateway", TcpStream::connect(address)).await.expect("the gateway listens");
        stream.set_nodelay(true).expect("a TCP socket has this option");
        stream.write_all(first).await.expect("the gateway reads");
        let name = host.to_owned().try_into().expect("a host");
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let (reader, writer) = tokio::io::split(in_time("a handshake", connecting).await.expect("a handshake"));
        let (sender, frames) = mpsc::unbounded_channel();
        // Apart, so that a gateway that answers a flood is never kept from writing.
        let reading = tokio::spawn(read(reader, sender)).abort_handle();
        Self {
            writer,
            reading,
            frames,
            decoder: Decoder::new(),
            block: Vec::new(),
            answers: BTreeMap::new(),
            next_stream: 1,
            settings: BTreeMap::new(),
            pongs: 0,
            goaway: None,
            closed: false,
        }
    }

    /// Sends bytes. The gateway may have closed the connection already: then its answer is what matters.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sending = async {
            self.writer.write_all(bytes.as_ref()).await?;
            self.writer.flush().await
        };
        drop(in_time("sending to the gateway", sending).await);
    }

    /// A number for the next request.
    pub(crate) fn stream(&mut self) -> u32 {
        self.next_stream += 2;
        self.next_stream - 2
    }

    /// Begins a request, which may be all of it.
    pub(crate) async fn begin<N: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, fields: &[(N, V)], end: bool) -> u32 {
        let stream = self.stream();
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        self.send(frame(HEADERS, flags, stream, &block(fields))).await;
        stream
    }

    /// Sends a request without a body, and awaits what becomes of it.
    pub(crate) async fn ask<N: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, fields: &[(N, V)]) -> Answer {
        let stream = self.begin(fields, true).await;
        self.answer(stream).await
    }

    /// The same with a body.
    pub(crate) async fn ask_with<N: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, fields: &[(N, V)], body: &[u8]) -> Answer {
        let stream = self.begin(fields, false).await;
        self.send(frame(DATA, END_STREAM, stream, body)).await;
        self.answer(stream).await
    }

    /// What becomes of a request.
    pub(crate) async fn answer(&mut self, stream: u32) -> Answer {
        let done = |http2: &Self| http2.answers.get(&stream).is_some_and(|answer| answer.ended || answer.reset.is_some());
        self.until("an answer", |http2| done(http2) || http2.closed).await;
        self.so_far(stream)
    }

    /// What has become of a request.
    pub(crate) fn so_far(&self, stream: u32) -> Answer {
        self.answers.get(&stream).cloned().unwrap_or_default()
    }

    /// Awaits the end of the connection: why, as far as the gateway said.
    pub(crate) async fn end(&mut self) -> Option<u32> {
        self.until("the end of the connection", |http2| http2.closed).await;
        self.goaway
    }

    /// Reads until there is something to see, or the connection ends.
    pub(crate) async fn until(&mut self, what: &str, seen: impl Fn(&Self) -> bool) {
        while !seen(self) && !self.closed {
            match in_time(what, self.frames.recv()).await {
                Some(frame) => self.take(frame).await,
                None => self.closed = true,
            }
        }
    }

    async fn take(&mut self, got: Frame) {
        let word = |at: usize| u32::from_be_bytes(got.payload[at..at + 4].try_into().expect("four bytes"));
        match got.kind {
            DATA => {
                let answer = self.answers.entry(got.stream).or_default();
                answer.body.extend_from_slice(&got.payload);
                answer.ended |= got.flags & END_STREAM != 0;
            }
            HEADERS | CONTINUATION => {
                self.block.extend_from_slice(&got.payload);
                if got.flags & END_HEADERS != 0 {
                    self.head(got.stream);
                }
                self.answers.entry(got.stream).or_default().ended |= got.kind == HEADERS && got.flags & END_STREAM != 0;
            }
            RST_STREAM => self.answers.entry(got.stream).or_default().reset = Some(word(0)),
            SETTINGS if got.flags & ACK == 0 => {
                let pairs = got.payload.chunks_exact(6);
                self.settings.extend(pairs.map(|pair| {
                    (u16::from_be_bytes([pair[0], pair[1]]), u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]))
                }));
            }
            PING if got.flags & ACK == 0 => self.send(frame(PING, ACK, 0, &got.payload)).await,
            PING => self.pongs += 1,
            GOAWAY => self.goaway = Some(word(4)),
            _ => {}
        }
    }

    fn head(&mut self, stream: u32) {
        let decoded = self.decoder.decode(&self.block).expect("a header block");
        self.block.clear();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        let mut fields: Vec<_> = decoded.into_iter().map(|(name, value)| (text(name), text(value))).collect();
        let answer = self.answers.entry(stream).or_default();
        if answer.status != 0 {
            answer.trailers = fields;
            return;
        }
        let (_, status) = fields.remove(0);
        let status = status.parse().expect("a status");
        if status < 200 {
            answer.interim.push(status);
        } else {
            (answer.status, answer.fields) = (status, fields);
        }
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        // Or the other half would keep the connection open.
        self.reading.abort();
    }
}

async fn read(mut reader: impl AsyncRead + Unpin, frames: mpsc::UnboundedSender<Frame>) -> std::io::Result<()> {
    loop {
        let mut head = [0; 9];
        reader.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, w, x, y, z] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        reader.read_exact(&mut payload).await?;
        let stream = u32::from_be_bytes([w & 0x7f, x, y, z]);
        if frames.send(Frame { kind, flags, stream, payload }).is_err() {
            return Ok(());
        }
    }
}
