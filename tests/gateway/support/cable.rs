//! A cable between a gateway and what it depends on: a test can cut it without a word, slow it down, and lay it to
//! another server.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

/// A listening end; gone, with every connection through it, when dropped.
pub(crate) struct Cable {
    /// Where the gateway connects.
    pub(crate) address: SocketAddr,
    state: watch::Sender<State>,
    accepting: AbortHandle,
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// Where it leads. Connections that are open keep the end that they have.
    target: SocketAddr,
    /// How often it was cut: connections that are older than the last time carry nothing any more.
    cuts: u32,
    /// How often all connections were ended.
    ends: u32,
    /// Whether new connections, too, carry nothing.
    dead: bool,
    /// How long each byte is on its way, in each direction.
    delay: Duration,
}

impl Cable {
    /// A cable that leads to this address.
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let state = watch::Sender::new(State { target, cuts: 0, ends: 0, dead: false, delay: Duration::ZERO });
        let accepting = tokio::spawn(accept(listener, state.subscribe())).abort_handle();
        Self { address, state, accepting }
    }

    /// Connections of now carry nothing any more, and neither end hears of it: no FIN, no RST. New ones work.
    pub(crate) fn cut_connections(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// The same, and new connections, which are accepted, carry nothing either until [`Self::mend`].
    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| (state.cuts, state.dead) = (state.cuts + 1, true));
    }

    /// New connections work again. Those that were cut stay silent.
    pub(crate) fn mend(&self) {
        self.state.send_modify(|state| state.dead = false);
    }

    /// How long each byte is on its way from now on, in each direction.
    pub(crate) fn slow_down(&self, delay: Duration) {
        self.state.send_modify(|state| state.delay = delay);
    }

    /// Leads to another server from now on; connections to the old one end.
    pub(crate) fn lay_to(&self, target: SocketAddr) {
        self.state.send_modify(|state| (state.target, state.ends) = (target, state.ends + 1));
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, state: watch::Receiver<State>) {
    // Dropped, and the connections with it, when this task is aborted.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(connect(client, state.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(client: TcpStream, mut state: watch::Receiver<State>) {
    let born = *state.borrow_and_update();
    let carrying = state.clone();
    let carried = async {
        if born.dead {
            std::future::pending::<()>().await;
        }
        // Nobody there: dropping the client's end says so.
        let Ok(server) = TcpStream::connect(born.target).await else { return };
        for stream in [&client, &server] {
            stream.set_nodelay(true).expect("a TCP socket has this option");
        }
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        tokio::join!(carry(from_client, to_server, &carrying), carry(from_server, to_client, &carrying));
    };
    tokio::pin!(carried);
    let cut = tokio::select! {
        () = &mut carried => return,
        changed = state.wait_for(|now| now.cuts != born.cuts || now.ends != born.ends) => changed.is_ok_and(|now| now.cuts != born.cuts),
    };
    if cut {
        // Both ends stay open, and neither hears of the other again. (`carried` is kept, and not polled.)
        drop(state.wait_for(|now| now.ends != born.ends).await);
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &watch::Receiver<State>) {
    let (sender, mut underway) = mpsc::unbounded_channel();
    let send = async move {
        let mut piece = [0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut piece).await {
            let due = Instant::now() + state.borrow().delay;
            sender.send((due, piece[..read].to_vec())).expect("the other half of this function receives");
        }
    };
    let receive = async {
        while let Some((due, bytes)) = underway.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
        drop(to.shutdown().await);
        // Whoever still sends finds nobody.
        while underway.recv().await.is_some() {}
    };
    tokio::join!(send, receive);
}
