//! An upstream that does as it is told and remembers every byte it was sent.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

use super::find;
use super::wire::{End, Head, Incoming, Unframed};

/// A request that arrived whole.
#[derive(Debug, Clone)]
pub(crate) struct Captured {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

/// One thing that the upstream does in answer to a request.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Sends these bytes one by one, with a pause before each.
    Trickle(Vec<u8>, Duration),
    /// Does nothing until the test says so.
    Wait(Arc<Notify>),
    /// Reads and discards for ever.
    Hang,
    /// Ends the connection in good order.
    Close,
    /// Ends the connection with a reset.
    Reset,
}

/// What the upstream does, and when.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// Whether it begins before the body of the request was read, which then is read and forgotten.
    early: bool,
    steps: Vec<Step>,
}

impl Answer {
    /// Does this once the request arrived whole.
    pub(crate) fn steps(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { early: false, steps: steps.into_iter().collect() }
    }

    /// Does this as soon as the head of the request arrived.
    pub(crate) fn early(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { early: true, steps: steps.into_iter().collect() }
    }

    /// Sends these bytes.
    pub(crate) fn raw(bytes: impl AsRef<[u8]>) -> Self {
        Self::steps([Step::Send(bytes.as_ref().to_vec())])
    }

    /// A plain 200 that repeats the request's target as its body and its `x-unique` field.
    pub(crate) fn echo(request: &Head) -> Self {
        let (target, unique) = (request.word(1), request.one("x-unique").unwrap_or("none"));
        let head = format!("HTTP/1.1 200 OK\r\nx-unique: {unique}\r\ncontent-length: {}\r\n\r\n", target.len());
        Self::raw(if request.word(0) == "HEAD" { head } else { head + target })
    }
}

type Respond = dyn Fn(&Head) -> Answer + Send + Sync;

/// A listening upstream; gone when dropped.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    accepting: AbortHandle,
}

struct State {
    respond: Box<Respond>,
    connections: AtomicUsize,
    bytes: AtomicUsize,
    /// What each connection received.
    received: Mutex<Vec<Vec<u8>>>,
    captured: Mutex<Vec<Captured>>,
    faults: Mutex<Vec<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test panics while it holds this")
}

/// An address where nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("a bound socket")
}

impl Upstream {
    /// An upstream that echoes.
    pub(crate) async fn echo() -> Self {
        Self::answering(Answer::echo).await
    }

    /// An upstream that echoes, and whose answer to `/public/slow` waits for the test.
    pub(crate) async fn slow() -> (Self, Arc<Notify>) {
        let finish = Arc::new(Notify::new());
        let until = Arc::clone(&finish);
        let upstream = Self::answering(move |head| match head.word(1) {
            "/public/slow" => {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow".to_vec();
                Answer::steps([Step::Wait(Arc::clone(&until)), Step::Send(answer)])
            }
            _ => Answer::echo(head),
        })
        .await;
        (upstream, finish)
    }

    /// An upstream that answers each request as `respond` says, as soon as it knows the head.
    pub(crate) async fn answering(respond: impl Fn(&Head) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self::on(listener, respond)
    }

    /// The same, on a socket that listens already.
    pub(crate) fn on(listener: TcpListener, respond: impl Fn(&Head) -> Answer + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().expect("a bound socket");
        let state = Arc::new(State {
            respond: Box::new(respond),
            connections: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            received: Mutex::default(),
            captured: Mutex::default(),
            faults: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state))).abort_handle();
        Self { address, state, accepting }
    }

    /// Connections that were opened so far.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Bytes received so far, heads included, on all connections.
    pub(crate) fn bytes(&self) -> usize {
        self.state.bytes.load(Ordering::SeqCst)
    }

    /// Whether these bytes arrived anywhere, in a head, a body or between requests.
    pub(crate) fn saw(&self, needle: &str) -> bool {
        lock(&self.state.received).iter().any(|bytes| find(bytes, needle.as_bytes()).is_some())
    }

    /// The requests that arrived whole and have these bytes in head or body, in the order of their ends.
    pub(crate) fn requests(&self, needle: &str) -> Vec<Captured> {
        let has = |bytes: &[u8]| find(bytes, needle.as_bytes()).is_some();
        lock(&self.state.captured).iter().filter(|request| has(&request.head.raw) || has(&request.body)).cloned().collect()
    }

    /// Every request that arrived whole since the last call.
    pub(crate) fn take_requests(&self) -> Vec<Captured> {
        std::mem::take(&mut lock(&self.state.captured))
    }

    /// What was not strictly HTTP/1.1 in what arrived so far.
    pub(crate) fn take_faults(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.state.faults))
    }

    /// Stops listening and drops every connection.
    pub(crate) fn stop(&self) {
        self.accepting.abort();
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    // Dropped, and the connections with it, when this task is aborted.
    let mut serving = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let connection = state.connections.fetch_add(1, Ordering::SeqCst);
        lock(&state.received).push(Vec::new());
        serving.spawn(serve(Recorder { stream, connection, state: Arc::clone(&state) }));
        while serving.try_join_next().is_some() {}
    }
}

async fn serve(recorder: Recorder) {
    let state = Arc::clone(&recorder.state);
    let mut incoming = Incoming::new(recorder);
    while let Some(head) = incoming.head().await {
        lock(&state.faults).extend(head.faults_of_request());
        let answer = (state.respond)(&head);
        if !answer.early {
            let (body, end) = incoming.body(&head, Unframed::Empty).await;
            if end == End::Cut {
                return;
            }
            lock(&state.captured).push(Captured { head: head.clone(), body });
        }
        for step in answer.steps {
            if !perform(step, &mut incoming).await {
                return;
            }
        }
        if answer.early {
            // As a server does that wants to keep the connection: what follows the body is the next request.
            let (_, end) = incoming.body(&head, Unframed::Empty).await;
            if end == End::Cut {
                return;
            }
        }
    }
    let unread = incoming.unread();
    if !unread.is_empty() {
        lock(&state.faults).push(format!("bytes that are no request: {}", unread.escape_ascii()));
    }
}

/// Whether the connection goes on afterwards.
async fn perform(step: Step, incoming: &mut Incoming<Recorder>) -> bool {
    let stream = &mut incoming.stream().stream;
    match step {
        Step::Send(bytes) => stream.write_all(&bytes).await.is_ok(),
        Step::Trickle(bytes, pause) => {
            let mut ticks = tokio::time::interval(pause);
            for byte in bytes {
                ticks.tick().await;
                if stream.write_all(&[byte]).await.is_err() {
                    return false;
                }
            }
            true
        }
        Step::Wait(until) => {
            until.notified().await;
            true
        }
        Step::Hang => {
            while incoming.more().await {}
            false
        }
        Step::Close => {
            drop(stream.shutdown().await);
            false
        }
        Step::Reset => {
            stream.set_zero_linger().expect("a TCP socket has this option");
            false
        }
    }
}

/// Keeps a copy of everything that is read.
struct Recorder {
    stream: TcpStream,
    connection: usize,
    state: Arc<State>,
}

impl AsyncRead for Recorder {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let polled = std::pin::Pin::new(&mut self.stream).poll_read(cx, buf);
        let read = &buf.filled()[before..];
        if !read.is_empty() {
            lock(&self.state.received)[self.connection].extend_from_slice(read);
            self.state.bytes.fetch_add(read.len(), Ordering::SeqCst);
        }
        polled
    }
}
