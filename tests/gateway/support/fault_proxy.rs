//! A network between the gateway and a server, which does to the server's answers what networks and broken servers do.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of the server's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// They stay on the way, and arrive when the fault is over.
    Silence,
    /// They arrive this much later.
    Slow(Duration),
    /// Some arrive later, but not late enough for anybody to give the connection up; and some later than that.
    Hiccups,
    /// Others arrive.
    Garbage,
}

/// The network.
pub(crate) struct FaultProxy {
    pub(crate) address: SocketAddr,
    fault: watch::Sender<Fault>,
}

impl FaultProxy {
    /// In front of a server on this port of this machine.
    pub(crate) async fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (address, fault) = (listener.local_addr().expect("a bound socket"), watch::Sender::new(Fault::None));
        let seen = fault.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, port, seen.clone()));
            }
        });
        Self { address, fault }
    }

    /// From now on, on every connection.
    pub(crate) fn does(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

async fn carry(mut client: TcpStream, port: u16, mut fault: watch::Receiver<Fault>) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let back = async {
        let mut bytes = vec![0; 64 * 1024];
        for chunk in 0_u32.. {
            let Ok(count @ 1..) = from_server.read(&mut bytes).await else { break };
            let happens = *fault.borrow_and_update();
            match happens {
                Fault::None | Fault::Garbage => {}
                Fault::Silence => drop(fault.wait_for(|fault| *fault != Fault::Silence).await),
                Fault::Slow(time) => tokio::time::sleep(time).await,
                Fault::Hiccups if chunk % 11 == 10 => tokio::time::sleep(Duration::from_millis(700)).await,
                Fault::Hiccups if chunk % 4 == 3 => tokio::time::sleep(Duration::from_millis(400)).await,
                Fault::Hiccups => {}
            }
            let said = if happens == Fault::Garbage { b"$-7\r\n!garbage\r\n".as_slice() } else { &bytes[..count] };
            if to_client.write_all(said).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = back => {}
        _ = copy(&mut from_client, &mut to_server) => {}
    }
}
