//! Which certificate is shown: by the name that the client asks for, from a set that can be swapped at any time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::pair::Pair;

/// The certificates that are shown now.
#[derive(Debug, Default)]
pub struct Certificates {
    shown: ArcSwap<Shown>,
    sources: Mutex<Sources>,
}

/// Where they come from. What an operator has put into a file stands before what was ordered.
#[derive(Debug, Default)]
struct Sources {
    files: Vec<Pair>,
    ordered: Vec<Pair>,
}

#[derive(Debug, Default)]
struct Shown {
    exact: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// `example` for `*.example`.
    wildcard: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// For clients that name no host.
    first: Option<Arc<CertifiedKey>>,
}

impl Certificates {
    /// Shows these, from files, from the next handshake on. Where two are for one name, the earlier one is shown; the first
    /// is also for clients that name no host.
    pub(super) fn show_files(&self, pairs: Vec<Pair>) {
        self.change(|sources| sources.files = pairs);
    }

    /// Shows these, which were ordered, from the next handshake on, after those from files.
    pub fn show_ordered(&self, pairs: Vec<Pair>) {
        self.change(|sources| sources.ordered = pairs);
    }

    fn change(&self, change: impl FnOnce(&mut Sources)) {
        // Held until it is shown: of two changes the later one must not be undone.
        let mut sources = self.sources.lock().expect("nobody panics while holding this");
        change(&mut sources);
        let mut shown = Shown::default();
        for pair in sources.files.iter().chain(&sources.ordered).rev() {
            shown.first = Some(Arc::clone(&pair.certified));
            for name in &pair.names {
                let (table, key) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut shown.wildcard, parent),
                    None => (&mut shown.exact, &**name),
                };
                table.insert(key.into(), Arc::clone(&pair.certified));
            }
        }
        self.shown.store(Arc::new(shown));
    }

    /// Whether there is a certificate for this host, in lower case.
    #[must_use]
    pub fn cover(&self, host: &str) -> bool {
        self.shown.load().find(host).is_some()
    }

    /// Whether the certificate that clients see who name no host is for this one, in lower case.
    #[must_use]
    pub fn first_covers(&self, host: &str) -> bool {
        let shown = self.shown.load();
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
        let shown = self.shown.load();
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
        certificates.show_files(pairs.to_vec());
        let shown = certificates.shown.load();
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

    #[test]
    fn what_was_ordered_is_shown_after_what_is_in_files_and_survives_their_changes() {
        let (file, ordered) = (pair(&["a.example"]), pair(&["a.example", "c.example"]));
        let certificates = Certificates::default();
        certificates.show_ordered(vec![ordered.clone()]);
        let shown = |host: &str, pair: &Pair| {
            let shown = certificates.shown.load();
            shown.find(host).is_some_and(|found| Arc::ptr_eq(found, &pair.certified))
        };
        assert!(shown("a.example", &ordered) && certificates.first_covers("c.example"));
        certificates.show_files(vec![file.clone()]);
        assert!(shown("a.example", &file) && shown("c.example", &ordered) && !certificates.first_covers("c.example"));
        certificates.show_files(Vec::new());
        assert!(shown("a.example", &ordered));
    }
}
