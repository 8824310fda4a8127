//! A certificate with its key, as two files hold them: whole, belonging together, valid now, for named hosts.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::names;

/// A certificate chain with its key.
#[derive(Debug, Clone)]
pub struct Pair {
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) names: Vec<Box<str>>,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// Why two files are not a pair that can be shown to clients.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PairError {
    /// Not PEM, or cut off.
    #[error("the certificate file cannot be read as PEM: {0}")]
    CertificatePem(String),
    /// No `CERTIFICATE` section.
    #[error("the certificate file holds no certificate")]
    NoCertificate,
    /// Not X.509.
    #[error("the first certificate of the file is not a valid X.509 certificate")]
    Certificate,
    /// Not PEM, cut off, or encrypted.
    #[error("the key file holds no private key in PEM that is not encrypted")]
    KeyPem,
    /// An algorithm that TLS does not have.
    #[error("the key is of a kind that tls cannot use: use ECDSA P-256, Ed25519 or RSA")]
    KeyKind,
    /// Two files that do not belong together.
    #[error("the key does not belong to the certificate")]
    Mismatch,
    /// No subject alternative name, and none configured.
    #[error("the certificate is for no host: it has no DNS name or IP address as subject alternative name")]
    Nameless,
    /// Its time is over.
    #[error("the certificate has expired, at {0}")]
    Expired(Timestamp),
    /// Its time has not come.
    #[error("the certificate is not valid before {0}")]
    NotYet(Timestamp),
}

impl Pair {
    /// Reads a chain, the host's own certificate first, and its key. `hosts` stand in place of the certificate's own
    /// names, unless there are none.
    ///
    /// # Errors
    /// What is wrong with the files, whatever the time.
    pub fn read(certificate: &[u8], key: &[u8], hosts: &[Box<str>]) -> Result<Self, PairError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
        let chain = chain.map_err(|error| PairError::CertificatePem(error.to_string()))?;
        let leaf = chain.first().ok_or(PairError::NoCertificate)?;
        let facts = names::facts(leaf).ok_or(PairError::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| PairError::KeyPem)?;
        let key = any_supported_type(&key).map_err(|_| PairError::KeyKind)?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|_| PairError::Mismatch)?;
        let names = if hosts.is_empty() { facts.hosts } else { hosts.to_vec() };
        if names.is_empty() {
            return Err(PairError::Nameless);
        }
        Ok(Self { certified: Arc::new(certified), names, not_before: facts.not_before, not_after: facts.not_after })
    }

    /// The hosts that it is for: `a.example`, `*.example`, `192.0.2.1`; lower case.
    #[must_use]
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// The first instant at which clients accept it.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// The last instant at which clients accept it.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether clients accept it at `now` (RFC 5280 §4.1.2.5: both ends included).
    ///
    /// # Errors
    /// They do not yet, or no more.
    pub fn check_time(&self, now: Timestamp) -> Result<(), PairError> {
        if now < self.not_before {
            return Err(PairError::NotYet(self.not_before));
        }
        // The field has whole seconds.
        if now.as_second() > self.not_after.as_second() { Err(PairError::Expired(self.not_after)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn made(names: &[&str]) -> (String, String) {
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).expect("names");
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 2, 1);
        let key = KeyPair::generate().expect("a key");
        (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("an instant")
    }

    #[test]
    fn its_names_are_the_certificate_s_own_unless_others_are_given() {
        let (certificate, key) = made(&["A.Example", "*.b.example", "192.0.2.1", "2001:db8::1"]);
        let pair = Pair::read(certificate.as_bytes(), key.as_bytes(), &[]).expect("a pair");
        assert_eq!(
            pair.names().iter().map(|name| &**name).collect::<Vec<_>>(),
            ["a.example", "*.b.example", "192.0.2.1", "[2001:db8::1]"]
        );
        let pair = Pair::read(certificate.as_bytes(), key.as_bytes(), &["c.example".into()]).expect("a pair");
        assert_eq!(pair.names().concat(), "c.example");
    }

    #[test]
    fn what_is_cut_off_mixed_up_or_nameless_is_no_pair() {
        let ((certificate, key), (other, other_key)) = (made(&["a.example"]), made(&["a.example"]));
        let read = |certificate: &str, key: &str| Pair::read(certificate.as_bytes(), key.as_bytes(), &[]).map(drop);
        assert_eq!(read(&certificate, &key), Ok(()));
        // A chain: the rest of it is passed on as it is.
        assert_eq!(read(&(certificate.clone() + &other), &key), Ok(()));
        assert_eq!(read(&(other.clone() + &certificate), &key), Err(PairError::Mismatch));
        assert_eq!(read(&certificate, &other_key), Err(PairError::Mismatch));
        assert_eq!(read("", &key), Err(PairError::NoCertificate));
        assert_eq!(read(&key, &key), Err(PairError::NoCertificate));
        for half in [certificate.len() / 2, certificate.len() - 10] {
            assert!(matches!(read(&certificate[..half], &key), Err(PairError::CertificatePem(_))), "{half}");
        }
        // The second of a chain is cut off.
        assert!(matches!(read(&(certificate.clone() + &other[..200]), &key), Err(PairError::CertificatePem(_))));
        for broken in ["", &key[..key.len() / 2], &certificate] {
            assert_eq!(read(&certificate, broken), Err(PairError::KeyPem));
        }
        let (nameless, key) = made(&[]);
        assert_eq!(read(&nameless, &key), Err(PairError::Nameless));
        let named = Pair::read(nameless.as_bytes(), key.as_bytes(), &["a.example".into()]);
        assert!(named.is_ok(), "names are given");
    }

    #[test]
    fn it_is_valid_from_its_first_second_to_its_last() {
        let (certificate, key) = made(&["a.example"]);
        let pair = Pair::read(certificate.as_bytes(), key.as_bytes(), &[]).expect("a pair");
        let (first, last) = (at("2026-01-01T00:00:00Z"), at("2026-02-01T00:00:00Z"));
        assert_eq!(pair.not_after(), last);
        assert_eq!(pair.check_time(at("2025-12-31T23:59:59.999Z")), Err(PairError::NotYet(first)));
        assert_eq!(pair.check_time(first), Ok(()));
        assert_eq!(pair.check_time(at("2026-02-01T00:00:00.999Z")), Ok(()));
        assert_eq!(pair.check_time(at("2026-02-01T00:00:01Z")), Err(PairError::Expired(last)));
    }
}
