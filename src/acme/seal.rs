//! Private keys as they lie in the database: sealed with AES-256-GCM, each for its own place, so that a stolen database is
//! of no use and a row that is moved opens nothing.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use secrecy::zeroize::Zeroizing;

use crate::store::AcmeName;

/// Raised when the form changes, so that what is sealed in an older one is still told apart.
const VERSION: u8 = 1;

/// The key that everything is sealed with.
#[derive(Clone)]
pub struct SealingKey(Arc<RandomizedNonceKey>);

/// What is sealed, which is part of where it belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Account,
    CertificateKey,
}

/// It was sealed with another key or for another place, or it is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key in the database cannot be opened: it was sealed under another key file (`auth.signing.keys`), or is damaged")]
pub struct Unopened;

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(redacted)")
    }
}

impl SealingKey {
    /// A key of 32 bytes that are used for nothing else.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        let key = RandomizedNonceKey::new(&AES_256_GCM, bytes);
        Self(Arc::new(key.expect("AES-256 has keys of 32 bytes")))
    }

    /// Seals `plain` for the place that `content`, `directory` and `host` say.
    pub(super) fn seal(&self, plain: &[u8], content: Content, name: &AcmeName) -> Vec<u8> {
        let mut sealed = plain.to_vec();
        let nonce = self.0.seal_in_place_append_tag(place(content, name), &mut sealed);
        let nonce = nonce.expect("a key is far below the largest text that AES-GCM seals");
        [&[VERSION][..], nonce.as_ref(), &sealed].concat()
    }

    /// Opens what was sealed for this place. It is wiped when it is dropped.
    pub(super) fn open(&self, sealed: &[u8], content: Content, name: &AcmeName) -> Result<Zeroizing<Vec<u8>>, Unopened> {
        let sealed = sealed.strip_prefix(&[VERSION]).ok_or(Unopened)?;
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(Unopened)?;
        let mut opened = Zeroizing::new(sealed.to_vec());
        let length = {
            let nonce = Nonce::assume_unique_for_key(*nonce);
            self.0.open_in_place(nonce, place(content, name), &mut opened).map_err(|_| Unopened)?.len()
        };
        opened.truncate(length);
        Ok(opened)
    }
}

/// Where something belongs: its fields have fixed lengths but for the last one.
fn place(content: Content, name: &AcmeName) -> Aad<Vec<u8>> {
    let content = match content {
        Content::Account => b"a",
        Content::CertificateKey => b"k",
    };
    Aad::from([&content[..], &name.directory, name.host.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(directory: u8, host: &str) -> AcmeName {
        AcmeName { directory: [directory; 32], host: host.into() }
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_under_its_key_and_nowhere_else() {
        let (key, other) = (SealingKey::new(&[7; 32]), SealingKey::new(&[8; 32]));
        let (plain, place) = (b"a private key", name(1, "a.example"));
        let sealed = key.seal(plain, Content::CertificateKey, &place);
        let open = |key: &SealingKey, sealed: &[u8], content, name: &AcmeName| {
            let opened = key.open(sealed, content, name)?;
            Ok(opened.to_vec())
        };
        assert_eq!(open(&key, &sealed, Content::CertificateKey, &place), Ok(plain.to_vec()));
        assert_eq!(open(&other, &sealed, Content::CertificateKey, &place), Err(Unopened));
        assert_eq!(open(&key, &sealed, Content::Account, &place), Err(Unopened));
        for moved in [name(2, "a.example"), name(1, "b.example"), name(1, "")] {
            assert_eq!(open(&key, &sealed, Content::CertificateKey, &moved), Err(Unopened), "{moved:?}");
        }
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(open(&key, &damaged, Content::CertificateKey, &place), Err(Unopened), "byte {at}");
            assert_eq!(open(&key, &sealed[..at], Content::CertificateKey, &place), Err(Unopened), "{at} bytes");
        }
    }

    #[test]
    fn the_same_is_never_sealed_the_same_way_twice_and_never_shows() {
        let key = SealingKey::new(&[7; 32]);
        let plain = b"-----BEGIN PRIVATE KEY-----";
        let [one, two] = [(); 2].map(|()| key.seal(plain, Content::CertificateKey, &name(1, "a.example")));
        assert_ne!(one, two);
        assert!(!one.windows(5).any(|bytes| plain.windows(5).any(|part| part == bytes)));
        assert_eq!(format!("{key:?}"), "SealingKey(redacted)");
    }
}
