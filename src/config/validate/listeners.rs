//! `[[server.listeners]]` and `[server.tls]`: listeners that have what they need, and hosts that are names.

use std::net::SocketAddr;
use std::time::Duration;

use super::server::add_address;
use super::{Check, DAY};
use crate::config::file::listeners::{self as file, ClientCertificates, Protocol, TlsVersion};
use crate::config::file::{self as whole};
use crate::config::place::Path;
use crate::config::units::DurationText;
use crate::config::{Certificate, Listener, Tls, TlsClients};
use crate::policy::host::HostPattern;

/// Two years: what the preload lists of browsers ask for at most.
const HSTS_MAX: Duration = Duration::from_secs(2 * 366 * 24 * 3600);

/// An address of `server.listen`.
pub(super) fn plain(address: SocketAddr) -> Listener {
    Listener { address, protocol: Protocol::Http, proxy_protocol: false }
}

pub(super) fn listeners(
    check: &mut Check<'_>,
    path: &Path,
    server: &whole::Server,
    taken: &mut Vec<(SocketAddr, Path)>,
) -> Vec<Listener> {
    let mut listeners = Vec::new();
    for (index, listener) in server.listeners.iter().enumerate() {
        let path = path.index(index);
        if listener.proxy_protocol && server.trusted_proxies.is_empty() {
            let help = "name the networks of your balancers in `server.trusted_proxies`: only they may say who a client is";
            check.refuse(&path.key("proxy_protocol"), "no peer is trusted to send a PROXY header", help);
        }
        let needs_tls = listener.protocol != Protocol::Http;
        if needs_tls && server.tls.certificates.is_empty() && server.acme.hosts.is_empty() {
            let help = "add a [[server.tls.certificates]] with `certificate` and `key`, or name your hosts in [server.acme]";
            check.refuse(&path.key("protocol"), "there is no certificate to show", help);
        }
        // The schema reports one that is missing.
        let Some(text) = &listener.address else { continue };
        let address = add_address(check, path.key("address"), text, taken);
        let (protocol, proxy_protocol) = (listener.protocol, listener.proxy_protocol);
        listeners.extend(address.map(|address| Listener { address, protocol, proxy_protocol }));
    }
    listeners
}

pub(super) fn tls(check: &mut Check<'_>, path: &Path, file: &file::Tls, listeners: &[Listener]) -> Option<Tls> {
    let certificates = certificates(check, &path.key("certificates"), &file.certificates);
    let clients = clients(check, &path.key("clients"), &file.clients);
    let hsts = hsts(check, &path.key("hsts"), file);
    let used = listeners.iter().any(|listener| listener.protocol != Protocol::Http);
    if !used && !certificates.is_empty() {
        let help = "add a [[server.listeners]] with `protocol = \"https\"`, or remove the certificates";
        check.warn(&path.key("certificates"), "no listener shows these certificates", help);
    }
    let tls13_only = file.min_version == TlsVersion::V1_3;
    used.then_some(Tls { tls13_only, https_port: file.https_port, hsts, certificates, clients })
}

fn certificates(check: &mut Check<'_>, path: &Path, file: &[file::Certificate]) -> Vec<Certificate> {
    let mut certificates: Vec<Certificate> = Vec::new();
    for (index, written) in file.iter().enumerate() {
        let path = path.index(index);
        let mut hosts = Vec::new();
        for (at, text) in written.hosts.iter().enumerate() {
            let host = HostPattern::parse(text);
            let help = "write a host like \"api.example.com\", or \"*.example.com\" for any one label before it";
            hosts.extend(check.parsed(&path.key("hosts").index(at), host, help).map(|host| host.as_str().into()));
        }
        // The schema reports one that is missing.
        let (Some(certificate), Some(key)) = (&written.certificate, &written.key) else { continue };
        let name = written.name.clone().unwrap_or_else(|| certificate.display().to_string());
        if certificates.iter().any(|other| *other.name == *name) {
            check.refuse(&path.key("name"), format!("{name:?} is taken"), "give each certificate a `name` of its own");
        }
        certificates.push(Certificate {
            name: name.into_boxed_str(),
            certificate: check.data_dir.join(certificate),
            key: check.data_dir.join(key),
            hosts,
        });
    }
    certificates
}

fn clients(check: &mut Check<'_>, path: &Path, file: &file::Clients) -> Option<TlsClients> {
    let required = match file.certificates {
        ClientCertificates::Off => return None,
        ClientCertificates::Optional => false,
        ClientCertificates::Required => true,
    };
    let Some(authorities) = &file.authorities else {
        let help = "name the file with the certificates of your authorities, in PEM";
        check.refuse(&path.key("authorities"), "nobody's certificates would be believed", help);
        return None;
    };
    Some(TlsClients { required, authorities: check.data_dir.join(authorities), identity: file.identity })
}

/// The value of the field (RFC 6797 §6.1).
fn hsts(check: &mut Check<'_>, path: &Path, file: &file::Tls) -> Option<String> {
    if file.hsts == "off" {
        return None;
    }
    let life = check.duration(path, &DurationText(file.hsts.clone()), Duration::ZERO..=HSTS_MAX);
    if !life.is_zero() && life < DAY && !check.has_problem(path) {
        check.warn(path, "browsers would soon forget it", "write a year or so, \"0s\" to have them forget it now, or \"off\"");
    }
    let subdomains = if file.hsts_subdomains { "; includeSubDomains" } else { "" };
    Some(format!("max-age={}{subdomains}", life.as_secs()))
}
