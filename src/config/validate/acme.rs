//! `[server.acme]`: hosts that an authority issues for, and listeners by which it can find out that they are ours.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretSlice};

use super::store::secret;
use super::{Check, upstreams};
use crate::config::file::acme::{self as file, AcmeChallenge};
use crate::config::file::listeners::Protocol;
use crate::config::place::Path;
use crate::config::{Acme, Certificate, ExternalAccount, Listener};
use crate::identity::user::Email;
use crate::policy::host::HostPattern;

/// `certificates` are those from files.
pub(super) fn acme(
    check: &mut Check<'_>,
    path: &Path,
    file: &file::Acme,
    listeners: &[Listener],
    certificates: &[Certificate],
) -> Option<Acme> {
    let hosts = hosts(check, &path.key("hosts"), file, certificates);
    let contact = contact(check, &path.key("contact"), file);
    let authorities = file.ca.as_ref().map(|name| upstreams::authorities(check, &path.key("ca"), name)).unwrap_or_default();
    let external_account = external_account(check, &path.key("external_account"), file);
    directory(check, &path.key("directory"), &file.directory);
    if file.hosts.is_empty() {
        return None;
    }
    if !file.terms_of_service {
        let help = "read them (the authority's site has them), and write `terms_of_service = true`";
        check.refuse(&path.key("terms_of_service"), "no certificate is issued without agreement to the terms of service", help);
    }
    reachable(check, path, file, listeners);
    let (directory, challenge) = (file.directory.clone(), file.challenge);
    Some(Acme { hosts, directory, contact, challenge, authorities, external_account })
}

fn hosts(check: &mut Check<'_>, path: &Path, file: &file::Acme, certificates: &[Certificate]) -> Vec<Box<str>> {
    let mut hosts: Vec<Box<str>> = Vec::new();
    for (index, text) in file.hosts.iter().enumerate() {
        let path = path.index(index);
        if text.starts_with("*") {
            let help = "name each host, or have the certificate made elsewhere and give its files in [[server.tls.certificates]]";
            let message = "for a wildcard, authorities want a proof by DNS (dns-01), which this gateway does not give";
            check.refuse(&path, message, help);
            continue;
        }
        if text.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok() {
            check.refuse(&path, "certificates are ordered for names, not for addresses", "write a host like \"api.example.com\"");
            continue;
        }
        let Some(host) = check.parsed(&path, HostPattern::parse(text), "write a host like \"api.example.com\"") else { continue };
        let host: Box<str> = host.as_str().into();
        if hosts.contains(&host) {
            check.refuse(&path, format!("{host:?} is named twice"), "remove one of the two");
        }
        if certificates.iter().any(|certificate| certificate.hosts.contains(&host)) {
            let help = "remove it here, or from `hosts` of the certificate";
            check.warn(&path, "a certificate from a file is shown for this host, and the one ordered is not", help);
        }
        hosts.push(host);
    }
    hosts
}

/// RFC 8555 §6.1: over TLS only.
fn directory(check: &mut Check<'_>, path: &Path, text: &str) {
    let uri: Option<http::Uri> = text.parse().ok();
    let fits =
        |uri: &http::Uri| uri.scheme_str() == Some("https") && uri.authority().is_some_and(|it| !it.as_str().contains('@'));
    if !uri.as_ref().is_some_and(fits) {
        let help = "write it like \"https://acme-v02.api.letsencrypt.org/directory\"";
        check.refuse(path, "this is not the https:// URL of a directory", help);
    }
}

fn contact(check: &mut Check<'_>, path: &Path, file: &file::Acme) -> Vec<String> {
    let mut contact = Vec::new();
    for (index, text) in file.contact.iter().enumerate() {
        let address = Email::parse(text);
        contact
            .extend(check.parsed(&path.index(index), address, "write an address like \"ops@example.com\"").map(|_| text.clone()));
    }
    contact
}

fn external_account(check: &mut Check<'_>, path: &Path, file: &file::Acme) -> Option<ExternalAccount> {
    let account = file.external_account.as_ref()?;
    let path = path.key("key");
    let text = secret(check, &path, &account.key);
    if text.expose_secret().is_empty() {
        return None; // Reported already.
    }
    let key = URL_SAFE_NO_PAD.decode(text.expose_secret().trim_end_matches('='));
    let key = key.map_err(|_| "the key is not base64url"); // What it is instead is not repeated.
    let key = check.parsed(&path, key, "copy it as the authority shows it")?;
    Some(ExternalAccount { key_id: account.key_id.clone(), key: SecretSlice::from(key) })
}

/// The authority has to find the host here, and clients what was ordered.
fn reachable(check: &mut Check<'_>, path: &Path, file: &file::Acme, listeners: &[Listener]) {
    let any = |protocols: &[Protocol]| listeners.iter().any(|listener| protocols.contains(&listener.protocol));
    if !any(&[Protocol::Https]) {
        let help = "add a [[server.listeners]] with `protocol = \"https\"`";
        check.refuse(&path.key("hosts"), "no listener would show the certificates", help);
    }
    if file.challenge == AcmeChallenge::Http01 && !any(&[Protocol::Http, Protocol::Redirect]) {
        let help =
            "add a [[server.listeners]] with `protocol = \"redirect\"` that is reached at port 80, or write \"tls-alpn-01\"";
        check.refuse(&path.key("challenge"), "http-01 is asked for over plain HTTP, which no listener speaks", help);
    }
}
