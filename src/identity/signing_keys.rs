//! Signing keys: several verify, one signs.
//!
//! A key is published before it signs (`activates_at`), so that every replica and every reader of the JWKS
//! knows it by then; and it verifies for a while after it signs no more (`retires_at`), until the last token
//! that it signed has expired. Removing it from the ring refuses all of its tokens at once.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretSlice};

use super::key_material::{self, KeyMaterial};

/// Signature algorithm of our access tokens (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// RSA PKCS#1 v1.5 with SHA-256, 2048 bits or more.
    Rs256,
    /// HMAC with SHA-256: verifiers can also sign, so for closed systems only.
    Hs256,
}

/// Why a key, or a ring of them, is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not one of the four names.
    #[error("unknown algorithm `{0}`: use EdDSA, ES256, RS256 or HS256")]
    Algorithm(String),
    /// Not PKCS#8, of another algorithm, or too small.
    #[error("not a PKCS#8 private key that {0} can use")]
    Private(Algorithm),
    /// RFC 7518 §3.2.
    #[error("an HS256 secret needs at least 32 bytes")]
    HmacTooShort,
    /// A key id is 1 to 128 visible ASCII characters without `"` and `\`, so that it stands unescaped in a header.
    #[error("a key id must be 1 to 128 visible ASCII characters without quotes and backslashes")]
    Kid,
    /// Two keys answer to one id, and which of them would verify is chance.
    #[error("two keys have the id `{0}`")]
    DuplicateKid(Box<str>),
    /// A ring without keys verifies and signs nothing.
    #[error("there is no signing key")]
    Empty,
    /// The cryptographic library failed.
    #[error("a key could not be generated")]
    Generation,
}

/// A key that signs and verifies access tokens.
pub struct SigningKey {
    /// What tokens call it (JWS `kid`).
    pub kid: Box<str>,
    /// The only algorithm it is used with, whatever a token says.
    pub algorithm: Algorithm,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it begins to sign. It verifies before.
    pub activates_at: Timestamp,
    /// When it stops signing. Tokens issued from then on are refused, older ones verify until they expire.
    pub retires_at: Option<Timestamp>,
    private: SecretSlice<u8>,
    material: KeyMaterial,
    /// The JOSE header of its tokens, base64url: the same for each of them.
    header: Box<str>,
}

/// Every key of this gateway.
#[derive(Debug)]
pub struct KeyRing {
    /// Ascending by activation.
    keys: Vec<SigningKey>,
    fingerprint: u64,
}

/// What a JWKS publishes of a key.
#[derive(Debug, Clone, Copy)]
pub struct PublicKey<'a> {
    /// JWK `kid`.
    pub kid: &'a str,
    /// JWK `alg`; `use` is `sig`.
    pub algorithm: Algorithm,
    /// The other members, `kty` among them (RFC 7518 §6, RFC 8037 §2).
    pub members: &'a [(&'static str, String)],
}

impl Algorithm {
    /// Every algorithm, in the order of recommendation.
    pub const ALL: [Self; 4] = [Self::EdDsa, Self::Es256, Self::Rs256, Self::Hs256];

    /// Its name in JOSE headers and in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
            Self::Hs256 => "HS256",
        }
    }

    /// Reads a name, in exactly its own letters.
    ///
    /// # Errors
    /// [`KeyError::Algorithm`] for any other text, `none` among them.
    pub fn parse(name: &str) -> Result<Self, KeyError> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name).ok_or_else(|| KeyError::Algorithm(name.to_owned()))
    }
}

impl FromStr for Algorithm {
    type Err = KeyError;

    fn from_str(name: &str) -> Result<Self, KeyError> {
        Self::parse(name)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .field("created_at", &self.created_at)
            .field("activates_at", &self.activates_at)
            .field("retires_at", &self.retires_at)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Makes a new key. Its id is its thumbprint (RFC 7638), so that ids never clash and say nothing.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn generate(algorithm: Algorithm, now: Timestamp, activates_at: Timestamp) -> Result<Self, KeyError> {
        let private = key_material::generate(algorithm)?;
        Self::import(None, algorithm, private, now, activates_at, None)
    }

    /// A key from its private bytes: PKCS#8 (DER), or the secret itself for HS256. Without `kid`, its thumbprint.
    ///
    /// # Errors
    /// The bytes are no such key, or too weak, or the id cannot stand in a token.
    pub fn import(
        kid: Option<&str>,
        algorithm: Algorithm,
        private: SecretSlice<u8>,
        created_at: Timestamp,
        activates_at: Timestamp,
        retires_at: Option<Timestamp>,
    ) -> Result<Self, KeyError> {
        let material = KeyMaterial::parse(algorithm, private.expose_secret())?;
        let kid: Box<str> = kid.map_or_else(|| URL_SAFE_NO_PAD.encode(material.thumbprint()).into(), Into::into);
        let plain = kid.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
        if !(1..=128).contains(&kid.len()) || !plain {
            return Err(KeyError::Kid);
        }
        let header = format!(r#"{{"alg":"{algorithm}","kid":"{kid}","typ":"{}"}}"#, super::access_token::TYPE);
        let header = URL_SAFE_NO_PAD.encode(header).into();
        Ok(Self { kid, algorithm, created_at, activates_at, retires_at, private, material, header })
    }

    /// What [`Self::import`] takes: for the key file only.
    #[must_use]
    pub fn private_bytes(&self) -> &SecretSlice<u8> {
        &self.private
    }

    /// Whether it has stopped signing.
    #[must_use]
    pub fn retired(&self, now: Timestamp) -> bool {
        self.retires_at.is_some_and(|instant| now >= instant)
    }

    /// Whether `signature` is this key's over `message`.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.material.verify(message, signature)
    }

    /// Signs `message`; fails only if the cryptographic library does.
    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        self.material.sign(message)
    }

    /// The first part of its tokens.
    pub(super) fn header(&self) -> &str {
        &self.header
    }
}

impl KeyRing {
    /// A ring of these keys, in any order.
    ///
    /// # Errors
    /// There is no key, or two have the same id. (Weak keys are refused when a [`SigningKey`] is made.)
    pub fn new(mut keys: Vec<SigningKey>) -> Result<Self, KeyError> {
        keys.sort_by(|a, b| (a.activates_at, a.created_at, &a.kid).cmp(&(b.activates_at, b.created_at, &b.kid)));
        if keys.is_empty() {
            return Err(KeyError::Empty);
        }
        for (index, key) in keys.iter().enumerate() {
            if keys[..index].iter().any(|other| other.kid == key.kid) {
                return Err(KeyError::DuplicateKid(key.kid.clone()));
            }
        }
        let fingerprint = fingerprint(&keys);
        Ok(Self { keys, fingerprint })
    }

    /// The key that signs at `now`: the newest that is active and not retired. Before any is active the oldest
    /// signs, because waiting for publication serves nobody when there is no other key.
    #[must_use]
    pub fn signer(&self, now: Timestamp) -> Option<&SigningKey> {
        let mut usable = self.keys.iter().filter(|key| !key.retired(now));
        let oldest = usable.next()?;
        Some(usable.take_while(|key| key.activates_at <= now).last().unwrap_or(oldest))
    }

    /// The key with exactly this id.
    #[must_use]
    pub fn verifier(&self, kid: &str) -> Option<&SigningKey> {
        self.keys.iter().find(|key| &*key.kid == kid)
    }

    /// Every key, ascending by activation.
    pub fn keys(&self) -> impl Iterator<Item = &SigningKey> {
        self.keys.iter()
    }

    /// What the JWKS publishes: not yet active keys too, HMAC keys never.
    pub fn public_keys(&self) -> impl Iterator<Item = PublicKey<'_>> {
        self.keys.iter().filter_map(|key| {
            let members = key.material.public_jwk()?;
            Some(PublicKey { kid: &key.kid, algorithm: key.algorithm, members })
        })
    }

    /// Differs between rings that would verify differently: what was verified under another fingerprint has to
    /// be verified again. Equal for equal rings, so that a reload without changes costs no cache.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

fn fingerprint(keys: &[SigningKey]) -> u64 {
    let mut context = digest::Context::new(&digest::SHA256);
    for key in keys {
        // Each part is of fixed length or ended by a byte that it cannot contain.
        context.update(key.kid.as_bytes());
        context.update(&[0]);
        context.update(key.algorithm.name().as_bytes());
        context.update(&[0]);
        context.update(&key.material.thumbprint());
        context.update(&key.retires_at.map_or(i128::MAX, Timestamp::as_nanosecond).to_be_bytes());
    }
    let mut first = [0; 8];
    first.copy_from_slice(&context.finish().as_ref()[..8]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests;
