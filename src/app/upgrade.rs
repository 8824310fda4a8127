//! A new process takes the place of one that runs, without a connection refused or a request lost.
//!
//! The new one opens everything that it needs first. Then it asks the old one, at its admin listener, for the listening
//! sockets, which come as descriptors over a socket in the data directory: pingora sends and receives them. They stay open
//! throughout, so whoever connects waits in their queue at worst. For five seconds more the old one serves alone and lets
//! go of its connections, one answer at a time; then it stops accepting and closes its admin listener. That it can have
//! that address tells the new one to begin. The two never decide about requests at the same time: without Redis, neither
//! would know what the other revoked.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::StatusCode;
use pingora::server::{ExecutionPhase, Server};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, oneshot};
use tokio_util::sync::CancellationToken;

use super::order;

/// Where the new process waits for the sockets, in the data directory.
const SOCKET: &str = "upgrade.sock";
/// What the kernel says about sockets like this one.
const UNIX_SOCKETS: &str = "/proc/net/unix";
/// What `sockaddr_un` has room for, without the zero at its end.
const SOCKET_PATH_MAX: usize = 107;
/// How long the old process waits for the new one to wait for it, and how often it looks.
const AWAIT_SUCCESSOR: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long the old process may take until it has stopped accepting: pingora waits five seconds.
const LET_GO_MAX: Duration = Duration::from_secs(15);

/// Where sockets change hands: the same words for whoever names the same directory.
pub(super) fn socket(data_dir: &Path) -> PathBuf {
    data_dir.canonicalize().unwrap_or_else(|_| data_dir.to_owned()).join(SOCKET)
}

/// Whether some process listens at this path. Connecting would tell, too, and would be taken for the hand-over; that the
/// file is there tells nothing, as it outlives who made it.
fn is_awaited(path: &Path, unix_sockets: &str) -> bool {
    // Num RefCount Protocol Flags Type St Inode Path; flags with 0x10000 are those of a listener (unix(7), proc(5)).
    let listens = |flags: &str| u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & 0x1_0000 != 0);
    unix_sockets.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace().skip(3);
        fields.next().is_some_and(listens) && path.to_str().is_some_and(|path| line.ends_with(&format!(" {path}")))
    })
}

/// Whether a gateway runs that can be asked.
///
/// # Errors
/// There is no admin listener to ask at, or no path to hand anything over by.
pub(super) fn predecessor(admin: Option<SocketAddr>, data_dir: &Path) -> anyhow::Result<bool> {
    let admin = admin.context("an upgrade needs the admin listener: set `server.admin` to an address")?;
    let path = socket(data_dir);
    if path.as_os_str().len() > SOCKET_PATH_MAX {
        bail!(
            "cannot make the socket {}: its path is longer than {SOCKET_PATH_MAX} bytes; use a shorter --data-dir",
            path.display()
        );
    }
    match std::net::TcpStream::connect(order::reachable(admin)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot reach the running gateway at {admin}")),
    }
}

/// Has the running gateway send its sockets to `server`, and waits until it serves no more. Returns the server, and the
/// admin listener.
///
/// # Errors
/// The running gateway refuses, or does not let go: it goes on, or it ends, but not both serve.
pub(super) async fn take_over(admin: SocketAddr, data_dir: &Path, mut server: Server) -> anyhow::Result<(Server, TcpListener)> {
    let path = socket(data_dir);
    // pingora panics where it cannot make the socket.
    drop(std::fs::remove_file(&path));
    let probe = std::os::unix::net::UnixListener::bind(&path);
    probe.map(drop).with_context(|| format!("cannot make the socket {}", path.display()))?;
    std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    // A thread of its own, which nobody waits for: pingora waits for the sockets without yielding.
    let (received, sockets) = oneshot::channel();
    std::thread::Builder::new()
        .name("upgrade".to_owned())
        .spawn(move || {
            server.bootstrap();
            drop(received.send(server));
        })
        .context("starting a thread")?;
    match order::post(admin, "/upgrade").await? {
        Some((StatusCode::ACCEPTED, _)) => {}
        Some((status, why)) => bail!("the gateway at {admin} does not hand over: {status} {}", why.trim()),
        None => bail!("the gateway at {admin} has ended: start again"),
    }
    let server = sockets.await.context("no sockets were received")?;
    let listener = tokio::time::timeout(LET_GO_MAX, free(admin)).await;
    let listener = listener.map_err(|_| anyhow::anyhow!("the gateway that ran before still listens on {admin}"))??;
    Ok((server, listener))
}

/// The listener at `address`, once nobody else has it.
async fn free(address: SocketAddr) -> anyhow::Result<TcpListener> {
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => tokio::time::sleep(LOOK_EVERY).await,
            bound => return bound.with_context(|| format!("cannot listen on {address}")),
        }
    }
}

/// The old process' side: what it is told by `POST /upgrade`.
pub(super) struct HandOver {
    path: PathBuf,
    begun: CancellationToken,
    stopping: Arc<AtomicBool>,
}

impl HandOver {
    /// For a gateway that is about to end for good once `stopping` is set.
    pub(super) fn new(data_dir: &Path, stopping: Arc<AtomicBool>) -> Self {
        Self { path: socket(data_dir), begun: CancellationToken::new(), stopping }
    }

    /// Cancelled when the sockets are to be sent.
    pub(super) fn begun(&self) -> CancellationToken {
        self.begun.clone()
    }

    /// Begins, once somebody waits for the sockets.
    ///
    /// # Errors
    /// Nobody does, and pingora would stop serving all the same; or the gateway is ending already.
    pub(super) async fn begin(&self) -> Result<(), String> {
        if self.begun.is_cancelled() || self.stopping.load(Ordering::Relaxed) {
            return Err("the gateway is ending already: start again once it is gone".to_owned());
        }
        let waits = async {
            while !is_awaited(&self.path, &tokio::fs::read_to_string(UNIX_SOCKETS).await.unwrap_or_default()) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let waited = tokio::time::timeout(AWAIT_SUCCESSOR, waits).await;
        waited.map_err(|_| format!("nobody waits for sockets at {}: use the same --data-dir", self.path.display()))?;
        self.begun.cancel();
        Ok(())
    }
}

/// Waits until pingora has sent the sockets and accepts nothing any more.
pub(super) async fn handed_over(mut phases: broadcast::Receiver<ExecutionPhase>) {
    let over = async {
        loop {
            match phases.recv().await {
                Ok(ExecutionPhase::ShutdownStarted) | Err(broadcast::error::RecvError::Closed) => break,
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            }
        }
    };
    if tokio::time::timeout(LET_GO_MAX, over).await.is_err() {
        tracing::error!("the sockets were not handed over in time");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_socket_is_awaited_while_somebody_listens_and_not_because_its_file_is_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = socket(directory.path());
        let awaited = || is_awaited(&path, &std::fs::read_to_string(UNIX_SOCKETS).expect("the kernel says it"));
        assert!(!awaited());
        let listener = UnixListener::bind(&path).expect("a socket");
        assert!(awaited());
        drop(listener);
        assert!(path.exists() && !awaited());
    }
}
