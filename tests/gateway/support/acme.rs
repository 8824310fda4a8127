//! A certificate authority that speaks ACME (RFC 8555): small, strict about nonces and signatures, and as difficult as a
//! test wants it to be. It looks at the gateway itself before it issues anything.

pub(crate) mod asking;
mod jws;
mod protocol;

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use super::tls::Authority;

/// An authority that is running; gone when dropped.
pub(crate) struct AcmeServer {
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

struct Shared {
    base: String,
    authority: Authority,
    /// Where it finds the hosts that it is asked about; it waits while there is none.
    places: watch::Sender<Vec<SocketAddr>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    nonces: HashSet<String>,
    nonces_made: u64,
    accounts: Vec<Account>,
    orders: Vec<Order>,
    mood: Mood,
}

/// How difficult it is.
struct Mood {
    down: bool,
    /// So many of the next requests are told that their nonce is bad.
    bad_nonces: u32,
    /// The next order is refused, with so many seconds to wait.
    limited: Option<u64>,
    /// Of the certificates that it issues.
    life: Duration,
    /// What newcomers must know: a key's id, and the key.
    external: Option<(String, Vec<u8>)>,
}

#[derive(Clone)]
struct Account {
    /// The coordinates of its key, as they are written.
    key: (String, String),
    contact: Vec<String>,
    forgotten: bool,
}

#[derive(Clone)]
struct Order {
    account: usize,
    host: String,
    token: String,
    status: &'static str,
    /// Which challenge was answered.
    asked: Option<String>,
    error: Option<Value>,
    certificate: Option<String>,
}

impl Default for Mood {
    fn default() -> Self {
        Self { down: false, bad_nonces: 0, limited: None, life: Duration::from_secs(90 * 86_400), external: None }
    }
}

impl AcmeServer {
    /// An authority on a port of its own.
    pub(crate) async fn start() -> Self {
        let authority = Authority::new();
        let own = authority.issue(&["127.0.0.1"]);
        let chain = vec![CertificateDer::from_pem_slice(own.certificate.as_bytes()).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
        let config = config.with_single_cert(chain, key).expect("a pair");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("https://{}", listener.local_addr().expect("a bound socket"));
        let shared = Arc::new(Shared { base, authority, places: watch::Sender::new(Vec::new()), state: Mutex::default() });
        let accepting = tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), Arc::clone(&shared))).abort_handle();
        Self { shared, accepting }
    }

    /// `[server.acme]` for these hosts, with further keys.
    pub(crate) fn table(&self, hosts: &[&str], challenge: &str, keys: &str) -> String {
        format!(
            "[server.acme]\nhosts = {hosts:?}\nchallenge = \"{challenge}\"\ndirectory = \"{}/directory\"\nca = \"{}\"\n\
             terms_of_service = true\ncontact = [\"ops@example.com\"]\n{keys}",
            self.shared.base,
            self.shared.authority.file().display(),
        )
    }

    /// Whoever issues its certificates.
    pub(crate) fn authority(&self) -> &Authority {
        &self.shared.authority
    }

    /// Finds every host at all of these addresses from now on. Before the first time it only waits.
    pub(crate) fn looks_at(&self, places: &[SocketAddr]) {
        self.shared.places.send_replace(places.to_vec());
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.mood(|mood| mood.down = down);
    }

    pub(crate) fn refuse_nonces(&self, count: u32) {
        self.mood(|mood| mood.bad_nonces = count);
    }

    pub(crate) fn limit_next_order(&self, seconds: u64) {
        self.mood(|mood| mood.limited = Some(seconds));
    }

    pub(crate) fn issue_for(&self, life: Duration) {
        self.mood(|mood| mood.life = life);
    }

    pub(crate) fn require_external(&self, key_id: &str, key: &[u8]) {
        self.mood(|mood| mood.external = Some((key_id.to_owned(), key.to_vec())));
    }

    /// What a private authority does that keeps its accounts in memory, and is started again.
    pub(crate) fn forget_accounts(&self) {
        self.shared.state(|state| state.accounts.iter_mut().for_each(|account| account.forgotten = true));
    }

    /// How many orders were ever made.
    pub(crate) fn orders(&self) -> usize {
        self.shared.state(|state| state.orders.len())
    }

    /// How many certificates were issued for a host.
    pub(crate) fn issued(&self, host: &str) -> usize {
        self.shared.state(|state| state.orders.iter().filter(|order| order.host == host && order.certificate.is_some()).count())
    }

    /// Whom each account wants letters to go to.
    pub(crate) fn contacts(&self) -> Vec<Vec<String>> {
        self.shared.state(|state| state.accounts.iter().map(|account| account.contact.clone()).collect())
    }

    /// By what it asks over HTTP, once it is about to.
    pub(crate) fn token(&self) -> Option<String> {
        self.shared.state(|state| {
            let asked = state.orders.iter().find(|order| order.status == "pending" && order.asked.is_some());
            asked.map(|order| order.token.clone())
        })
    }

    fn mood(&self, change: impl FnOnce(&mut Mood)) {
        self.shared.state(|state| change(&mut state.mood));
    }
}

impl Drop for AcmeServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    fn state<T>(&self, of: impl FnOnce(&mut State) -> T) -> T {
        of(&mut self.state.lock().expect("nobody panics while holding this"))
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) -> Infallible {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        if shared.state(|state| state.mood.down) {
            continue;
        }
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(|request| answer(Arc::clone(&shared), request));
            // Whoever goes away in the middle was killed by a test.
            drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

#[derive(Debug, thiserror::Error)]
#[error("it is down")]
struct Down;

async fn answer(shared: Arc<Shared>, request: hyper::Request<Incoming>) -> Result<hyper::Response<Full<Bytes>>, Down> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Down)?.to_bytes();
    if shared.state(|state| state.mood.down) {
        return Err(Down);
    }
    Ok(protocol::answer(&shared, &head, &body))
}
