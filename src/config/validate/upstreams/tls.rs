//! `[upstreams.NAME.tls]`: authorities and certificates that can be read and used.

use std::path::PathBuf;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use secrecy::SecretSlice;

use super::is_host;
use crate::config::file;
use crate::config::place::Path;
use crate::config::validate::Check;
use crate::config::{ClientCertificate, UpstreamTls};

/// The name that certificates must carry, if one is written.
pub(super) fn server_name<'a>(check: &mut Check<'_>, path: &Path, file: &'a file::UpstreamTls) -> Option<&'a str> {
    let name = file.server_name.as_deref()?;
    // pingora verifies nothing at all where the name is empty.
    if name.is_empty() || name.parse::<std::net::IpAddr>().is_ok() || !is_host(name) {
        let help = "write the name in the certificate, like \"app.internal.example.com\"";
        check.refuse(&path.key("server_name"), format!("{name:?} is not a host name"), help);
        return None;
    }
    Some(name)
}

pub(in crate::config::validate) fn tls(check: &mut Check<'_>, path: &Path, file: &file::UpstreamTls) -> UpstreamTls {
    let authorities = file.ca.as_ref().map(|name| authorities(check, &path.key("ca"), name)).unwrap_or_default();
    UpstreamTls { authorities, client: client(check, path, file) }
}

pub(in crate::config::validate) fn authorities(check: &mut Check<'_>, path: &Path, name: &PathBuf) -> Vec<Vec<u8>> {
    let help = "name a PEM file with the certificates of the authorities that issued those of the servers";
    let read = certificates(check, name).and_then(|certificates| {
        let mut store = RootCertStore::empty();
        for certificate in &certificates {
            store.add(certificate.clone()).map_err(|error| format!("{} holds no usable authority: {error}", name.display()))?;
        }
        Ok(certificates)
    });
    der(check.parsed(path, read, help).unwrap_or_default())
}

fn client(check: &mut Check<'_>, path: &Path, file: &file::UpstreamTls) -> Option<ClientCertificate> {
    let (name, key) = match (&file.certificate, &file.key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) => return None,
        (Some(_), None) => {
            check.refuse(&path.key("certificate"), "has no key", "write `key`, the file with its private key, too");
            return None;
        }
        (None, Some(_)) => {
            check.refuse(&path.key("key"), "has no certificate", "write `certificate`, the file with it and its chain, too");
            return None;
        }
    };
    let chain = certificates(check, name);
    let chain = check.parsed(&path.key("certificate"), chain, "name a PEM file with the certificate, then its chain")?;
    let at = check.data_dir.join(key);
    // What stands in the file is not repeated.
    let read = PrivateKeyDer::from_pem_file(&at).map_err(|_| format!("cannot read a private key from {}", at.display()));
    let help = "name a PEM file with the private key of `certificate`, readable by the gateway";
    let private = check.parsed(&path.key("key"), read, help)?;
    let fits = CertifiedKey::from_der(chain.clone(), private.clone_key(), &aws_lc_rs::default_provider())
        .map_err(|error| format!("the key does not go with the certificate: {error}"));
    check.parsed(&path.key("key"), fits, help)?;
    Some(ClientCertificate { chain: der(chain), key: SecretSlice::from(private.secret_der().to_vec()) })
}

fn certificates(check: &Check<'_>, name: &PathBuf) -> Result<Vec<CertificateDer<'static>>, String> {
    let name = check.data_dir.join(name);
    let cannot = |error| format!("cannot read {}: {error}", name.display());
    let read = CertificateDer::pem_file_iter(&name).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(cannot)?;
    if read.is_empty() { Err(format!("{} holds no certificate", name.display())) } else { Ok(read) }
}

fn der(certificates: Vec<CertificateDer<'static>>) -> Vec<Vec<u8>> {
    certificates.into_iter().map(|certificate| certificate.to_vec()).collect()
}
