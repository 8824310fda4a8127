//! An upstream that speaks HTTP/2 as it is told, down to refused streams, resets and GOAWAY, and remembers what it got.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

/// A request that arrived, with what was read of it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) head: Parts,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

/// A request that is to be answered.
pub(crate) struct Call {
    pub(crate) head: Parts,
    body: RecvStream,
    respond: SendResponse<Bytes>,
    /// How many requests there were before, on all connections.
    pub(crate) number: usize,
    /// How many connections there were before this one.
    pub(crate) connection: usize,
    going: Arc<Notify>,
    state: Arc<State>,
}

/// A listening upstream; gone when dropped.
pub(crate) struct H2Upstream {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    accepting: AbortHandle,
}

#[derive(Default)]
struct State {
    connections: AtomicUsize,
    requests: AtomicUsize,
    seen: Mutex<Vec<Seen>>,
}

impl Call {
    /// Reads the body to its end and remembers the request.
    pub(crate) async fn read(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        while let Some(Ok(data)) = self.body.data().await {
            // The window is only as large as what was read is given back.
            drop(self.body.flow_control().release_capacity(data.len()));
            body.extend_from_slice(&data);
        }
        let trailers = self.body.trailers().await.ok().flatten();
        let seen = Seen { head: self.head.clone(), body: body.clone(), trailers };
        self.state.seen.lock().expect("no test panics while it holds this").push(seen);
        body
    }

    /// Begins an answer; what is not ended is reset when it is dropped.
    pub(crate) fn begin(&mut self, fields: &[(&'static str, &str)]) -> SendStream<Bytes> {
        self.respond.send_response(head(fields), false).expect("the stream is open")
    }

    /// Answers 200 with this body.
    pub(crate) fn answer(&mut self, body: &str) {
        let mut stream = self.begin(&[]);
        stream.send_data(Bytes::copy_from_slice(body.as_bytes()), true).expect("the stream is open");
    }

    /// Answers with fields alone.
    pub(crate) fn answer_head(&mut self, status: u16, fields: &[(&'static str, &str)]) {
        let mut head = head(fields);
        *head.status_mut() = StatusCode::from_u16(status).expect("a status");
        self.respond.send_response(head, true).expect("the stream is open");
    }

    /// RST_STREAM.
    pub(crate) fn reset(&mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }

    /// Has the connection announce its end (GOAWAY) and end after the requests that it has.
    pub(crate) fn go_away(&self) {
        self.going.notify_one();
    }
}

fn head(fields: &[(&'static str, &str)]) -> Response<()> {
    let mut head = Response::new(());
    for (name, value) in fields {
        head.headers_mut().append(*name, value.parse().expect("a field value"));
    }
    head
}

impl H2Upstream {
    /// An upstream that does this with each request, without TLS.
    pub(crate) async fn serving<F, R>(serve: F) -> Self
    where
        F: Fn(Call) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let state = Arc::<State>::default();
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state), serve)).abort_handle();
        Self { address, state, accepting }
    }

    /// The same, with what the test shares with it.
    pub(crate) async fn serving_with<T, F, R>(shared: T, serve: F) -> Self
    where
        T: Clone + Send + Sync + 'static,
        F: Fn(Call, T) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        Self::serving(move |call| serve(call, shared.clone())).await
    }

    /// One that reads each request and answers "ok".
    pub(crate) async fn well() -> Self {
        Self::serving(async |mut call: Call| {
            call.read().await;
            call.answer("ok");
        })
        .await
    }

    /// Connections that were opened so far.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Requests whose head arrived.
    pub(crate) fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// Every request that was read since the last call.
    pub(crate) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.state.seen.lock().expect("no test panics while it holds this"))
    }
}

impl Drop for H2Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept<F, R>(listener: TcpListener, state: Arc<State>, serve: F)
where
    F: Fn(Call) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    // Dropped, and the connections with it, when this task is aborted.
    let mut serving = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).expect("a TCP socket has this option");
        serving.spawn(connection(stream, Arc::clone(&state), serve.clone()));
        while serving.try_join_next().is_some() {}
    }
}

async fn connection<F, R>(stream: TcpStream, state: Arc<State>, serve: F)
where
    F: Fn(Call) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let number = state.connections.fetch_add(1, Ordering::SeqCst);
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let going = Arc::new(Notify::new());
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            () = going.notified() => {
                connection.graceful_shutdown();
                continue;
            }
        };
        let Some(Ok((request, respond))) = accepted else { return };
        let (head, body) = request.into_parts();
        let call = Call {
            head,
            body,
            respond,
            number: state.requests.fetch_add(1, Ordering::SeqCst),
            connection: number,
            going: Arc::clone(&going),
            state: Arc::clone(&state),
        };
        tokio::spawn(serve(call));
    }
}
