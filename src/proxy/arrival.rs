//! How a client came to the gateway, where that is not plain HTTP on a connection of its own: over TLS, to be sent on
//! to TLS, or through a balancer that says who it is. Found out once a connection, asked at every request on it.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::prelude::*;
use pingora::proxy::Session;

use super::Proxy;
use super::context::{Exchange, Stage};
use crate::admission::Destination;
use crate::forwarding::Scheme;
use crate::policy::host::Host;
use crate::reason::Reason;
use crate::tls::Certificates;

/// Answered by whoever serves it, in clear text: certificate authorities ask there before there is a certificate
/// (RFC 8555 §8.3).
pub(super) const ACME_CHALLENGE: &str = "/.well-known/acme-challenge/";
const HTTPS_PORT: u16 = 443;

/// What all listeners with TLS share.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) certificates: Arc<Certificates>,
    /// Where clients reach TLS.
    pub(super) https_port: u16,
    /// The value of `Strict-Transport-Security`, if it is sent.
    pub(super) hsts: Option<HeaderValue>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Arrival {
    /// The client's address, if a balancer told it.
    pub(super) peer: Option<IpAddr>,
    pub(super) way: Way,
}

/// What is spoken on it.
#[derive(Debug)]
pub(super) enum Way {
    /// HTTP in clear text.
    Clear,
    /// HTTP in clear text, to be sent to TLS.
    Redirected(Arc<Front>),
    /// HTTP over TLS.
    Secure {
        front: Arc<Front>,
        /// The host that the client asked a certificate for; addresses are not asked for (RFC 6066 §3).
        name: Option<Box<str>>,
        /// The names of the client's certificate, as upstreams are told them.
        certificate: Option<HeaderValue>,
        /// Whether that is HTTP/2.
        http2: bool,
    },
}

/// What becomes of a request for where its connection leads.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Right,
    /// Its host is not the one that the connection is for.
    Misdirected,
    /// It is to be sent again, over TLS, to this URL.
    Elsewhere(HeaderValue),
}

impl Arrival {
    pub(super) fn scheme(&self) -> Scheme {
        match self.way {
            Way::Clear | Way::Redirected(_) => Scheme::Http,
            Way::Secure { .. } => Scheme::Https,
        }
    }

    pub(super) fn is_http2(&self) -> bool {
        matches!(self.way, Way::Secure { http2: true, .. })
    }

    pub(super) fn hsts(&self) -> Option<&HeaderValue> {
        // RFC 6797 §7.2: never over clear text.
        if let Way::Secure { front, .. } = &self.way { front.hsts.as_ref() } else { None }
    }

    pub(super) fn certificate(&self) -> Option<&HeaderValue> {
        if let Way::Secure { certificate, .. } = &self.way { certificate.as_ref() } else { None }
    }

    fn verdict(&self, host: &Host, path: &str, path_and_query: &str) -> Verdict {
        match &self.way {
            Way::Clear => Verdict::Right,
            // RFC 9110 §15.5.20. Stricter than by certificate: what was decided for one name in the handshake holds for
            // no other one.
            Way::Secure { name: Some(name), .. } if name.eq_ignore_ascii_case(host.name()) => Verdict::Right,
            Way::Secure { name: None, front, .. } if front.certificates.first_covers(host.name()) => Verdict::Right,
            Way::Secure { .. } => Verdict::Misdirected,
            Way::Redirected(_) if path.starts_with(ACME_CHALLENGE) => Verdict::Right,
            // Only to hosts that are ours: the rest of the URL is the client's own.
            Way::Redirected(front) if front.certificates.cover(host.name()) => {
                let port = if front.https_port == HTTPS_PORT { String::new() } else { format!(":{}", front.https_port) };
                let url = format!("https://{}{port}{path_and_query}", host.name());
                HeaderValue::try_from(url).map_or(Verdict::Misdirected, Verdict::Elsewhere)
            }
            Way::Redirected(_) => Verdict::Misdirected,
        }
    }
}

/// The port that a `Host` without one means.
pub(super) fn default_port(arrival: Option<&Arrival>) -> u16 {
    match arrival.map(Arrival::scheme) {
        Some(Scheme::Https) => HTTPS_PORT,
        Some(Scheme::Http) | None => 80,
    }
}

impl Proxy {
    /// Answers a request that came to the wrong place; none if it is in the right one.
    pub(super) async fn send_elsewhere(&self, session: &mut Session, ctx: &mut Exchange) -> Option<Result<bool>> {
        let arrival = ctx.arrival.as_ref()?;
        let Destination { host, target } = ctx.destination.as_ref()?;
        match arrival.verdict(host, target.path().as_str(), target.path_and_query()) {
            Verdict::Right => None,
            Verdict::Misdirected => Some(self.refuse(session, ctx, Reason::Misdirected).await),
            Verdict::Elsewhere(location) => {
                ctx.stage = Stage::Answered;
                Some(redirect(session, ctx, location).await.map(|()| true))
            }
        }
    }
}

/// 308: the client sends the same again, with the same method and body (RFC 9110 §15.4.9).
async fn redirect(session: &mut Session, ctx: &Exchange, location: HeaderValue) -> Result<()> {
    let mut answer = http::Response::new(bytes::Bytes::new());
    *answer.status_mut() = StatusCode::PERMANENT_REDIRECT;
    answer.headers_mut().insert(header::LOCATION, location);
    super::denial::write(session, answer, ctx).await
}

/// Has browsers come back over TLS only (RFC 6797). In place of an upstream's word: the first field counts (§8.1).
pub(super) fn insert_hsts(response: &mut ResponseHeader, ctx: &Exchange) -> Result<()> {
    match ctx.arrival.as_ref().and_then(|arrival| arrival.hsts()) {
        Some(hsts) => response.insert_header(header::STRICT_TRANSPORT_SECURITY, hsts),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        Host::parse(text, 80).expect("a host")
    }

    fn front(https_port: u16) -> Arc<Front> {
        let directory = tempfile::tempdir().expect("a directory");
        let (certificate, key) = (directory.path().join("tls.crt"), directory.path().join("tls.key"));
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned(), "*.b.example".to_owned()]).expect("a certificate");
        std::fs::write(&certificate, made.cert.pem()).expect("writable");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("writable");
        let files = crate::tls::CertificateFiles { name: "a".into(), certificate, key, hosts: Vec::new() };
        let certificates = crate::tls::Keeper::open(vec![files]).expect("a pair").certificates();
        Arc::new(Front { certificates, https_port, hsts: Some(HeaderValue::from_static("max-age=1")) })
    }

    fn secure(name: Option<&str>) -> Arrival {
        let way = Way::Secure { front: front(443), name: name.map(Into::into), certificate: None, http2: false };
        Arrival { peer: None, way }
    }

    #[test]
    fn a_redirect_keeps_path_and_query_and_leads_to_our_own_hosts_only() {
        let at = |port, name: &str, target: &str| {
            let path = target.split('?').next().unwrap_or_default();
            Arrival { peer: None, way: Way::Redirected(front(port)) }.verdict(&host(name), path, target)
        };
        let to = |url| Verdict::Elsewhere(HeaderValue::from_static(url));
        assert_eq!(at(443, "A.Example:80", "/x?y=%2F&z"), to("https://a.example/x?y=%2F&z"));
        assert_eq!(at(443, "a.example:8080", "/"), to("https://a.example/"));
        assert_eq!(at(8443, "x.b.example", "/"), to("https://x.b.example:8443/"));
        for other in ["evil.example", "b.example", "x.y.b.example", "127.0.0.1"] {
            assert_eq!(at(443, other, "/"), Verdict::Misdirected, "{other}");
        }
        // A certificate authority asks before there is a certificate.
        assert_eq!(at(443, "new.example", "/.well-known/acme-challenge/token"), Verdict::Right);
        assert_eq!(at(443, "new.example", "/.well-known/acme-challenges"), Verdict::Misdirected);
    }

    #[test]
    fn a_connection_for_one_name_is_for_no_other_one() {
        let verdict = |arrival: Arrival, name| arrival.verdict(&host(name), "/", "/");
        assert_eq!(verdict(secure(Some("a.example")), "A.example:8443"), Verdict::Right);
        // The same certificate covers it, and still.
        assert_eq!(verdict(secure(Some("x.b.example")), "y.b.example"), Verdict::Misdirected);
        assert_eq!(verdict(secure(Some("a.example")), "evil.example"), Verdict::Misdirected);
        assert_eq!(verdict(secure(None), "a.example"), Verdict::Right);
        assert_eq!(verdict(secure(None), "127.0.0.1"), Verdict::Misdirected);
    }

    #[test]
    fn only_tls_is_https() {
        let clear = Arrival { peer: None, way: Way::Clear };
        let redirected = Arrival { peer: None, way: Way::Redirected(front(443)) };
        for arrival in [clear, redirected] {
            assert_eq!((arrival.scheme(), arrival.hsts(), default_port(Some(&arrival))), (Scheme::Http, None, 80));
        }
        let secure = secure(None);
        assert_eq!((secure.scheme(), default_port(Some(&secure))), (Scheme::Https, 443));
        assert!(secure.hsts().is_some());
    }
}
