//! What happens on a connection before HTTP: a balancer's header, the handshake of TLS. Both within one short time,
//! and nothing of it on connections that need neither.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use ipnet::IpNet;
use pingora::protocols::Stream;
use pingora_timeout::timeout;
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

use super::arrival::{Arrival, Front, Way};
use super::caps::Place;
use super::challenge;
use super::http2::Http2Settings;
use super::proxy_header::{self, ProxyHeaderError};
use super::tls_stream::TlsStream;
use crate::acme::Challenges;
use crate::forwarding;
use crate::limit::ConnectionLimits;
use crate::telemetry::labels::EarlyRefusal;
use crate::telemetry::metrics::Metrics;
use crate::tls::{self, Certificates, ClientName};

/// The longest value that tells upstreams of a client's certificate. Servers accept some 8 KiB of fields.
const CERTIFICATE_BYTES_MAX: usize = 4096;

/// What clients speak at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP in clear text.
    Http,
    /// HTTP over TLS.
    Https,
    /// HTTP in clear text, only to be sent to TLS.
    Redirect,
}

/// An address for clients.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Where.
    pub address: SocketAddr,
    /// What.
    pub protocol: Protocol,
    /// Whether each connection begins with a header of the PROXY protocol.
    pub proxy_protocol: bool,
}

/// What is needed for TLS.
pub struct SecureParts {
    /// How handshakes are made.
    pub config: Arc<ServerConfig>,
    /// What they show.
    pub certificates: Arc<Certificates>,
    /// What authorities ask for by handshakes of their own, where certificates are ordered.
    pub challenges: Option<Arc<Challenges>>,
    /// The port at which clients reach TLS.
    pub https_port: u16,
    /// The value of `Strict-Transport-Security`, if it is sent.
    pub hsts: Option<HeaderValue>,
    /// Which names of a client's certificate upstreams are told.
    pub client_name: ClientName,
    /// How HTTP/2 is spoken by clients that agree on it in the handshake, where `config` offers it.
    pub http2: Option<Http2Settings>,
}

/// The ways in.
pub struct EntranceParts {
    /// Every address for clients.
    pub listeners: Vec<Listener>,
    /// For those with TLS, and those that lead to it.
    pub secure: Option<SecureParts>,
    /// For everything before HTTP together.
    pub handshake_timeout: Duration,
}

/// The ways in, ready for connections.
pub(super) struct Entrances {
    /// Empty if all are plain.
    doors: Vec<(SocketAddr, Door)>,
    timeout: Duration,
    metrics: Arc<Metrics>,
    /// None without TLS.
    http2: Option<Http2Settings>,
}

struct Door {
    proxy_protocol: bool,
    inner: Inner,
}

enum Inner {
    Plain,
    Redirect(Arc<Front>),
    Tls(Box<Secure>),
}

#[derive(Clone)]
struct Secure {
    acceptor: TlsAcceptor,
    challenges: Option<Arc<Challenges>>,
    front: Arc<Front>,
    client_name: ClientName,
}

/// Why a connection ended before HTTP.
#[derive(Debug, thiserror::Error)]
enum EntranceError {
    #[error("a PROXY header is not believed from here: add the network to `server.trusted_proxies` if it is a proxy's")]
    Untrusted,
    #[error(transparent)]
    ProxyHeader(#[from] ProxyHeaderError),
    #[error("the tls handshake failed: {0}")]
    Handshake(#[from] std::io::Error),
    #[error("it was an authority's, to find out whether a host is ours, and was answered")]
    Challenge,
    #[error("the client's certificate has names that are too long, or none that can be read")]
    ClientName,
    #[error("the handshake took too long")]
    Deadline,
    #[error("there are as many connections from here as there may be")]
    Crowded(EarlyRefusal),
}

impl Entrances {
    pub(super) fn new(parts: EntranceParts, metrics: Arc<Metrics>) -> Self {
        let http2 = parts.secure.as_ref().and_then(|secure| secure.http2);
        let secure = parts.secure.map(|secure| {
            let SecureParts { config, certificates, challenges, https_port, hsts, client_name, .. } = secure;
            let front = Arc::new(Front { certificates, https_port, hsts });
            Secure { acceptor: TlsAcceptor::from(config), challenges, front, client_name }
        });
        let door = |listener: &Listener| {
            let secure = || secure.clone().expect("a configuration with TLS listeners has certificates");
            let inner = match listener.protocol {
                Protocol::Http => Inner::Plain,
                Protocol::Redirect => Inner::Redirect(secure().front),
                Protocol::Https => Inner::Tls(Box::new(secure())),
            };
            (listener.address, Door { proxy_protocol: listener.proxy_protocol, inner })
        };
        let plain = |listener: &Listener| listener.protocol == Protocol::Http && !listener.proxy_protocol;
        let all_plain = parts.listeners.iter().all(plain);
        let doors = if all_plain { Vec::new() } else { parts.listeners.iter().map(door).collect() };
        Self { doors, timeout: parts.handshake_timeout, metrics, http2 }
    }

    /// How HTTP/2 is spoken on a connection that came in; none if HTTP/1.1 is.
    pub(super) fn http2(&self, arrival: Option<&Arrival>) -> Option<Http2Settings> {
        self.http2.filter(|_| arrival.is_some_and(Arrival::is_http2))
    }

    /// Does what has to be done before HTTP; none if the connection is to be closed. PROXY headers are believed from
    /// `trusted` networks. The connection's `place` is taken for its client before a handshake is paid for.
    pub(super) async fn enter(
        &self,
        stream: Stream,
        mut place: Place,
        limits: ConnectionLimits,
        trusted: &[IpNet],
    ) -> Option<(Stream, Option<Arc<Arrival>>, Place)> {
        let peer = peer_of(&stream);
        // A connection that came to none of our addresses (a transparent proxy's) has rules that nobody wrote.
        let door = if self.doors.is_empty() { None } else { Some(self.door(&stream)?) };
        let Some(door) = door.filter(|door| door.proxy_protocol || !matches!(door.inner, Inner::Plain)) else {
            let crowded = place.of(peer, limits, trusted).map_err(EntranceError::Crowded);
            return crowded.map_err(|error| self.note(peer, &error)).ok().map(|()| (stream, None, place));
        };
        // In a box of its own: every connection's task would be as large as a handshake.
        let passing = self.pass(door, stream, peer, (&mut place, limits, trusted));
        let entered = Box::pin(timeout(self.timeout, passing)).await;
        let entered = entered.unwrap_or(Err(EntranceError::Deadline)).map_err(|error| self.note(peer, &error));
        entered.ok().map(|(stream, arrival)| (stream, Some(Arc::new(arrival)), place))
    }

    fn note(&self, peer: Option<IpAddr>, error: &EntranceError) {
        if let Some(cause) = cause(error) {
            self.metrics.refused_before_routing(cause);
        }
        tracing::debug!(?peer, %error, "a connection ended before a request");
    }

    fn door(&self, stream: &Stream) -> Option<&Door> {
        let digest = stream.get_socket_digest()?;
        let local = digest.local_addr()?.as_inet()?;
        let leads_here = |address: &SocketAddr| {
            let any = address.ip().is_unspecified() && address.is_ipv4() == local.is_ipv4();
            address.port() == local.port() && (any || address.ip().to_canonical() == local.ip().to_canonical())
        };
        self.doors.iter().find(|(address, _)| leads_here(address)).map(|(_, door)| door)
    }

    async fn pass(
        &self,
        door: &Door,
        mut stream: Stream,
        peer: Option<IpAddr>,
        (place, limits, trusted): (&mut Place, ConnectionLimits, &[IpNet]),
    ) -> Result<(Stream, Arrival), EntranceError> {
        let mut client = None;
        if door.proxy_protocol {
            // Before a byte of it is read: nobody else may say who a client is.
            if !peer.is_some_and(|peer| trusted.iter().any(|network| network.contains(&peer))) {
                return Err(EntranceError::Untrusted);
            }
            client = proxy_header::read(&mut stream).await?;
        }
        place.of(client.or(peer), limits, trusted).map_err(EntranceError::Crowded)?;
        let (stream, way) = match &door.inner {
            Inner::Plain => (stream, Way::Clear),
            Inner::Redirect(front) => (stream, Way::Redirected(Arc::clone(front))),
            Inner::Tls(secure) => {
                let Secure { acceptor, challenges, front, client_name } = &**secure;
                let stream = challenge::handshake(acceptor, challenges.as_deref(), stream).await?;
                let stream = stream.ok_or(EntranceError::Challenge)?;
                let (_, connection) = stream.get_ref();
                let name = connection.server_name().map(Into::into);
                let http2 = connection.alpn_protocol() == Some(tls::HTTP2);
                let certificate = connection.peer_certificates().and_then(<[_]>::first);
                let certificate = certificate.map(|certificate| told(certificate, *client_name)).transpose()?.flatten();
                let way = Way::Secure { front: Arc::clone(front), name, certificate, http2 };
                (Box::new(TlsStream(stream)) as Stream, way)
            }
        };
        Ok((stream, Arrival { peer: client, way }))
    }
}

/// What upstreams are told of a client's certificate, made once for all requests.
fn told(certificate: &rustls::pki_types::CertificateDer<'_>, which: ClientName) -> Result<Option<HeaderValue>, EntranceError> {
    let names = tls::client_names(certificate, which).ok_or(EntranceError::ClientName)?;
    if names.is_empty() {
        return Ok(None);
    }
    let value = forwarding::carried_list(&names);
    if value.len() > CERTIFICATE_BYTES_MAX { Err(EntranceError::ClientName) } else { Ok(Some(value)) }
}

fn peer_of(stream: &Stream) -> Option<IpAddr> {
    let digest = stream.get_socket_digest()?;
    Some(digest.peer_addr()?.as_inet()?.ip().to_canonical())
}

/// What is counted. A client that leaves is none: balancers look whether a port is open.
fn cause(error: &EntranceError) -> Option<EarlyRefusal> {
    match error {
        EntranceError::ProxyHeader(ProxyHeaderError::Ended(_)) | EntranceError::Challenge => None,
        EntranceError::Handshake(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => None,
        EntranceError::Untrusted | EntranceError::ProxyHeader(_) => Some(EarlyRefusal::ProxyHeader),
        EntranceError::Handshake(_) | EntranceError::ClientName => Some(EarlyRefusal::Handshake),
        EntranceError::Deadline => Some(EarlyRefusal::HandshakeDeadline),
        EntranceError::Crowded(cause) => Some(*cause),
    }
}
