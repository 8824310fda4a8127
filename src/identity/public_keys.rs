//! Other people's verification keys: the JWK set of a client (RFC 7517), read strictly.
//!
//! A client's key is good for one algorithm, the one that its type stands for; an issuer's for the one that it says, or for
//! those of its type. A set in which anything is amiss is refused as
//! a whole, when it is registered, rather than understood in part.

mod algorithm;
mod nobody;
mod roca;

use std::fmt;

use aws_lc_rs::signature::ParsedPublicKey;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::jose::{Others, present};

pub use algorithm::VerificationAlgorithm;

/// As much as a store keeps of a client.
const BYTES_MAX: usize = 64 * 1024;
/// Keys in rotation are two; what is more serves to slow verification down.
const KEYS_MAX: usize = 16;
/// RFC 7518 §3.3: 2048 bits; aws-lc takes 8192 at most.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
/// 65537, which every key generator uses. Small exponents have a history, and 1 makes every message its own signature.
const RSA_EXPONENT: &[u8] = &[1, 0, 1];

/// Why a set of keys is not usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeysError {
    /// Longer than 64 KiB, or more than 16 keys.
    #[error("there must be 1 to 16 keys in at most 64 KiB")]
    Size,
    /// Not a JWK and not a JWK set.
    #[error("not a JWK or a JWK set (RFC 7517)")]
    Malformed,
    /// `d`, `p`, `k` …: whoever registers it has given it away.
    #[error("the key is private: register only its public half, and make a new one")]
    Private,
    /// Meant for something else than signatures, or with another algorithm than its type's.
    #[error("a key must be for signatures: Ed25519 with EdDSA, P-256 with ES256, or RSA with RS256")]
    Use,
    /// Not a point of the curve; an RSA modulus under 2048 bits or one whose primes can be found, or an exponent that is
    /// not 65537.
    #[error("a key is not valid for its type, or too weak")]
    Key,
    /// Which key signed must be clear.
    #[error("with several keys, each needs a `kid` of its own")]
    Kid,
}

/// Keys that verify.
pub struct PublicKeys(Vec<PublicKey>);

struct PublicKey {
    kid: Option<Box<str>>,
    /// The key for each algorithm that it is good for: at least one.
    keys: Vec<(VerificationAlgorithm, ParsedPublicKey)>,
}

/// For how many algorithms a key may be good.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Those of clients: EdDSA, ES256 and RS256.
    Narrow,
    /// All that its type is for.
    Wide,
}

impl fmt::Debug for PublicKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithms = |key: &PublicKey| key.keys.iter().map(|(algorithm, _)| *algorithm).collect::<Vec<_>>();
        f.debug_list().entries(self.0.iter().map(|key| (&key.kid, algorithms(key)))).finish()
    }
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
    #[serde(flatten)]
    _others: Others,
}

#[derive(Deserialize)]
struct Jwk {
    kty: Box<str>,
    #[serde(default, deserialize_with = "present")]
    kid: Option<Box<str>>,
    #[serde(default, deserialize_with = "present")]
    alg: Option<Box<str>>,
    #[serde(default, rename = "use", deserialize_with = "present")]
    usage: Option<Box<str>>,
    #[serde(default, deserialize_with = "present")]
    key_ops: Option<Vec<Box<str>>>,
    #[serde(default, deserialize_with = "present")]
    crv: Option<Box<str>>,
    #[serde(default, deserialize_with = "present")]
    x: Option<Box<str>>,
    #[serde(default, deserialize_with = "present")]
    y: Option<Box<str>>,
    #[serde(default, deserialize_with = "present")]
    n: Option<Box<str>>,
    #[serde(default, deserialize_with = "present")]
    e: Option<Box<str>>,
    #[serde(default)]
    d: Option<IgnoredAny>,
    #[serde(default)]
    p: Option<IgnoredAny>,
    #[serde(default)]
    q: Option<IgnoredAny>,
    #[serde(default)]
    k: Option<IgnoredAny>,
    #[serde(flatten)]
    _others: Others,
}

impl PublicKeys {
    /// Reads a JWK or a JWK set.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn parse(json: &str) -> Result<Self, PublicKeysError> {
        let keys = Self::read(json)?.into_iter().map(|jwk| jwk.key(Scope::Narrow)).collect::<Result<Vec<_>, _>>()?;
        Self::told_apart(keys)
    }

    /// Reads the key set of an issuer, which serves others than us: keys for encryption, of types that are not known here,
    /// or too weak are left out, and counted. What shows that the issuer makes mistakes with its keys (a private key, a
    /// secret, one id for two keys) is refused as a whole.
    ///
    /// # Errors
    /// The first rule that it breaks, and no key that is left.
    pub fn parse_usable(json: &str) -> Result<(Self, usize), PublicKeysError> {
        let jwks = Self::read(json)?;
        for (index, jwk) in jwks.iter().enumerate() {
            if jwk.kid.is_some() && jwks[..index].iter().any(|other| other.kid == jwk.kid) {
                return Err(PublicKeysError::Kid);
            }
        }
        let (all, mut keys, mut first) = (jwks.len(), Vec::new(), PublicKeysError::Use);
        for jwk in jwks {
            match jwk.key(Scope::Wide) {
                Ok(key) => keys.push(key),
                Err(PublicKeysError::Private) => return Err(PublicKeysError::Private),
                Err(error) => first = error,
            }
        }
        if keys.is_empty() {
            return Err(first);
        }
        let left_out = all - keys.len();
        Ok((Self::told_apart(keys)?, left_out))
    }

    fn read(json: &str) -> Result<Vec<Jwk>, PublicKeysError> {
        if json.len() > BYTES_MAX {
            return Err(PublicKeysError::Size);
        }
        // serde would also read the members' values from an array.
        if !json.trim_ascii_start().starts_with('{') {
            return Err(PublicKeysError::Malformed);
        }
        let jwks = match serde_json::from_str::<Set>(json) {
            Ok(set) => set.keys,
            Err(_) => vec![serde_json::from_str(json).map_err(|_| PublicKeysError::Malformed)?],
        };
        if !(1..=KEYS_MAX).contains(&jwks.len()) {
            return Err(PublicKeysError::Size);
        }
        Ok(jwks)
    }

    fn told_apart(keys: Vec<PublicKey>) -> Result<Self, PublicKeysError> {
        for (index, key) in keys.iter().enumerate() {
            let named_alike = keys[..index].iter().any(|other| other.kid == key.kid);
            if named_alike || (key.kid.is_none() && keys.len() > 1) {
                return Err(PublicKeysError::Kid);
            }
        }
        Ok(Self(keys))
    }

    /// Keys that verify nothing. Read anew each time: the reading is part of what a client's assertion costs.
    #[must_use]
    pub fn nobodys() -> Self {
        Self::parse(nobody::P256).expect("it is well-formed, as a test says")
    }

    /// Whether `signature` is over `message` by the key with this id (the only key, if none is named), with an algorithm
    /// of that key and no other. Without such a key the work is the same: see [`nobody`].
    pub(super) fn verify(&self, kid: Option<&str>, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        let key = self.find(kid).and_then(|key| key.with(algorithm));
        let verified = key.or_else(|| nobody::key(algorithm)).is_some_and(|key| key.verify_sig(message, signature).is_ok());
        verified && key.is_some()
    }

    /// Whether the key with this id (the only key, if none is named) is good for this algorithm; none if there is no such
    /// key.
    pub(super) fn takes(&self, kid: Option<&str>, algorithm: &str) -> Option<bool> {
        self.find(kid).map(|key| key.with(algorithm).is_some())
    }

    fn find(&self, kid: Option<&str>) -> Option<&PublicKey> {
        match (kid, &self.0[..]) {
            (None, [only]) => Some(only),
            (None, _) => None,
            (Some(kid), [PublicKey { kid: None, .. }]) if !kid.is_empty() => self.0.first(),
            (Some(kid), keys) => keys.iter().find(|key| key.kid.as_deref() == Some(kid)),
        }
    }
}

impl PublicKey {
    fn with(&self, algorithm: &str) -> Option<&ParsedPublicKey> {
        self.keys.iter().find(|(known, _)| known.name() == algorithm).map(|(_, key)| key)
    }
}

impl Jwk {
    fn key(self, scope: Scope) -> Result<PublicKey, PublicKeysError> {
        use VerificationAlgorithm::{EdDsa, Es256, Es384, Rs256};
        if self.d.is_some() || self.p.is_some() || self.q.is_some() || self.k.is_some() {
            return Err(PublicKeysError::Private);
        }
        let point = |length| Ok([vec![4], bytes(self.x.as_deref(), length)?, bytes(self.y.as_deref(), length)?].concat());
        let (algorithms, encoded): (&[_], _) = match (&*self.kty, self.crv.as_deref(), scope) {
            ("OKP", Some("Ed25519"), _) => (&[EdDsa], bytes(self.x.as_deref(), 32)?),
            ("EC", Some("P-256"), _) => (&[Es256], point(32)?),
            ("EC", Some("P-384"), Scope::Wide) => (&[Es384], point(48)?),
            ("RSA", None, Scope::Narrow) => (&[Rs256], rsa(self.n.as_deref(), self.e.as_deref())?),
            ("RSA", None, Scope::Wide) => (&VerificationAlgorithm::RSA, rsa(self.n.as_deref(), self.e.as_deref())?),
            _ => return Err(PublicKeysError::Use),
        };
        let said = |algorithm: &&VerificationAlgorithm| self.alg.as_deref().is_none_or(|alg| alg == algorithm.name());
        let mut algorithms = algorithms.iter().filter(said).peekable();
        let for_signatures = self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|operation| &**operation == "verify"))
            && algorithms.peek().is_some();
        if !for_signatures {
            return Err(PublicKeysError::Use);
        }
        let keys = algorithms.map(|algorithm| Some((*algorithm, algorithm.key(&encoded)?))).collect::<Option<_>>();
        Ok(PublicKey { keys: keys.ok_or(PublicKeysError::Key)?, kid: self.kid })
    }
}

fn bytes(member: Option<&str>, length: usize) -> Result<Vec<u8>, PublicKeysError> {
    let bytes = member.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    bytes.filter(|bytes| bytes.len() == length).ok_or(PublicKeysError::Key)
}

/// `RSAPublicKey` (RFC 8017 §A.1.1) in DER.
fn rsa(n: Option<&str>, e: Option<&str>) -> Result<Vec<u8>, PublicKeysError> {
    let decoded = |member: Option<&str>| member.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).ok_or(PublicKeysError::Key);
    let (n, e) = (decoded(n)?, decoded(e)?);
    let strong = RSA_BYTES.contains(&n.len()) && n[0] >= 0x80;
    if !strong || e != RSA_EXPONENT || roca::is_weak(&n) {
        return Err(PublicKeysError::Key);
    }
    // An integer whose first bit is set would be negative: it is written with a zero in front.
    let n = der(0x02, &[vec![0], n].concat());
    Ok(der(0x30, &[n, der(0x02, &e)].concat()))
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("a modulus of 8192 bits is the longest content");
    let [high, low] = length.to_be_bytes();
    let mut written = match length {
        0..0x80 => vec![tag, low],
        0x80..0x100 => vec![tag, 0x81, low],
        0x100.. => vec![tag, 0x82, high, low],
    };
    written.extend_from_slice(content);
    written
}

#[cfg(test)]
mod tests;
