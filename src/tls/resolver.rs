//! Which certificate is shown: by the name that the client asks for, from a set that can be swapped at any time.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::pair::Pair;

/// The certificates that are shown now.
#[derive(Debug, Default)]
pub struct Certificates(ArcSwap<Shown>);

#[derive(Debug, Default)]
struct Shown {
    exact: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// `example` for `*.example`.
    wildcard: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// For clients that name no host.
    first: Option<Arc<CertifiedKey>>,
}

impl Certificates {
    /// Shows these from the next handshake on. Where two are for one name, the earlier one is shown; the first is also
    /// for clients that name no host.
    pub(super) fn show<'a>(&self, pairs: impl DoubleEndedIterator<Item = &'a Pair>) {
        let mut shown = Shown::default();
        for pair in pairs.rev() {
            shown.first = Some(Arc::clone(&pair.certified));
            for name in &pair.names {
                let (table, key) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut shown.wildcard, parent),
                    None => (&mut shown.exact, &**name),
                };
                table.insert(key.into(), Arc::clone(&pair.certified));
            }
        }
        self.0.store(Arc::new(shown));
    }

    /// Whether there is a certificate for this host, in lower case.
    #[must_use]
    pub fn cover(&self, host: &str) -> bool {
        self.0.load().find(host).is_some()
    }

    /// Whether the certificate that clients see who name no host is for this one, in lower case.
    #[must_use]
    pub fn first_covers(&self, host: &str) -> bool {
        let shown = self.0.load();
        shown.find(host).zip(shown.first.as_ref()).is_some_and(|(found, first)| Arc::ptr_eq(found, first))
    }
}

impl Shown {
    /// A wildcard stands for exactly one label (RFC 9525 §6.3).
    fn find(&self, host: &str) -> Option<&Arc<CertifiedKey>> {
        self.exact.get(host).or_else(|| self.wildcard.get(host.split_once('.')?.1))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.0.load();
        match hello.server_name() {
            Some(name) => shown.find(&name.to_ascii_lowercase()).cloned(),
            None => shown.first.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(names: &[&str]) -> Pair {
        let made = rcgen::generate_simple_self_signed(names.iter().map(ToString::to_string).collect::<Vec<_>>());
        let made = made.expect("a certificate");
        Pair::read(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes(), &[]).expect("a pair")
    }

    #[test]
    fn the_most_specific_name_decides_and_then_the_order() {
        let pairs = [pair(&["*.example", "a.example"]), pair(&["a.example", "b.example"]), pair(&["*.a.example"])];
        let certificates = Certificates::default();
        certificates.show(pairs.iter());
        let shown = certificates.0.load();
        let found = |host: &str| {
            let found = shown.find(host)?;
            pairs.iter().position(|pair| Arc::ptr_eq(&pair.certified, found))
        };
        assert_eq!(found("a.example"), Some(0));
        assert_eq!(found("b.example"), Some(1));
        assert_eq!(found("c.example"), Some(0));
        assert_eq!(found("b.a.example"), Some(2));
        // One label, neither none nor two.
        for none in ["example", "c.b.a.example", "c.b.example", "", "."] {
            assert_eq!(found(none), None, "{none}");
        }
        assert!(certificates.first_covers("c.example") && !certificates.first_covers("b.example"));
        assert!(certificates.cover("b.example") && !certificates.cover("example"));
    }
}
