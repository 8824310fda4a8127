//! Signing keys: several verify, one signs.

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

/// Every key of this gateway.
#[derive(Debug)]
pub struct KeyRing;
