//! The bytes behind a signing key: parsed once, then signing and verifying. One place knows each algorithm's
//! encodings, so that a key can only ever be used with the algorithm it was made for.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair,
};
use aws_lc_rs::{digest, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretSlice;

use super::signing_keys::{Algorithm, KeyError};

/// RFC 7518 §3.2: an HMAC key is at least as long as its hash.
const HMAC_BYTES_MIN: usize = 32;
/// RFC 7518 §3.3, in bits.
const RSA_BITS: KeySize = KeySize::Rsa2048;
/// An uncompressed point is 0x04 ‖ x ‖ y (SEC 1 §2.3.3).
const P256_COORDINATE_BYTES: usize = 32;

/// Signs and verifies with one algorithm.
pub(super) struct KeyMaterial {
    signer: Signer,
    verifier: Verifier,
    /// The key as a JWK (RFC 7517) without `kid`, `alg` and `use`: the members that RFC 7638 hashes, in its order.
    /// For HMAC the `k` member is the secret.
    jwk: Vec<(&'static str, String)>,
}

enum Signer {
    EdDsa(Ed25519KeyPair),
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
    // Boxed: it holds hash states of hundreds of bytes, where the others are pointers.
    Hs256(Box<hmac::Key>),
}

enum Verifier {
    Public(ParsedPublicKey),
    Hs256(Box<hmac::Key>),
}

/// Makes new private bytes for `algorithm`: PKCS#8, or 32 random bytes for HMAC.
///
/// Randomness comes from aws-lc itself, which offers no way to hand it in.
pub(super) fn generate(algorithm: Algorithm) -> Result<SecretSlice<u8>, KeyError> {
    let refused = |_| KeyError::Generation;
    let bytes = match algorithm {
        // Version 1 of PKCS#8, which OpenSSL reads too.
        Algorithm::EdDsa => Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).map_err(refused)?.as_ref().to_vec(),
        Algorithm::Es256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .and_then(|pair| pair.to_pkcs8v1())
            .map_err(refused)?
            .as_ref()
            .to_vec(),
        Algorithm::Rs256 => {
            use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
            let pair = RsaKeyPair::generate(RSA_BITS).map_err(refused)?;
            let der: Pkcs8V1Der<'_> = pair.as_der().map_err(refused)?;
            der.as_ref().to_vec()
        }
        Algorithm::Hs256 => {
            let mut secret = vec![0; HMAC_BYTES_MIN];
            rand::fill(&mut secret).map_err(refused)?;
            secret
        }
    };
    Ok(bytes.into())
}

impl KeyMaterial {
    /// Parses private bytes: PKCS#8, or the secret itself for HMAC.
    pub(super) fn parse(algorithm: Algorithm, private: &[u8]) -> Result<Self, KeyError> {
        match algorithm {
            Algorithm::EdDsa => {
                let pair = Ed25519KeyPair::from_pkcs8(private).map_err(|_| KeyError::Private(algorithm))?;
                let public = pair.public_key().as_ref();
                let jwk = vec![("crv", "Ed25519".into()), ("kty", "OKP".into()), ("x", base64(public))];
                Ok(Self { verifier: verifier(&ED25519, public, algorithm)?, jwk, signer: Signer::EdDsa(pair) })
            }
            Algorithm::Es256 => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, private)
                    .map_err(|_| KeyError::Private(algorithm))?;
                let public = pair.public_key().as_ref();
                let (x, y) = public[1..].split_at(P256_COORDINATE_BYTES);
                let jwk = vec![("crv", "P-256".into()), ("kty", "EC".into()), ("x", base64(x)), ("y", base64(y))];
                Ok(Self { verifier: verifier(&ECDSA_P256_SHA256_FIXED, public, algorithm)?, jwk, signer: Signer::Es256(pair) })
            }
            Algorithm::Rs256 => {
                // aws-lc refuses keys under 2,048 and over 8,192 bits.
                let pair = RsaKeyPair::from_pkcs8(private).map_err(|_| KeyError::Private(algorithm))?;
                let public = pair.public_key();
                let (n, e) = (public.modulus(), public.exponent());
                let jwk = vec![
                    ("e", base64(e.big_endian_without_leading_zero())),
                    ("kty", "RSA".into()),
                    ("n", base64(n.big_endian_without_leading_zero())),
                ];
                let verifier = verifier(&RSA_PKCS1_2048_8192_SHA256, public.as_ref(), algorithm)?;
                Ok(Self { verifier, jwk, signer: Signer::Rs256(pair) })
            }
            Algorithm::Hs256 if private.len() < HMAC_BYTES_MIN => Err(KeyError::HmacTooShort),
            Algorithm::Hs256 => {
                let key = Box::new(hmac::Key::new(hmac::HMAC_SHA256, private));
                let jwk = vec![("k", base64(private)), ("kty", "oct".into())];
                Ok(Self { verifier: Verifier::Hs256(key.clone()), jwk, signer: Signer::Hs256(key) })
            }
        }
    }

    /// The members of the public JWK; none for HMAC, whose verifiers hold the secret.
    pub(super) fn public_jwk(&self) -> Option<&[(&'static str, String)]> {
        match self.verifier {
            Verifier::Public(_) => Some(&self.jwk),
            Verifier::Hs256(_) => None,
        }
    }

    /// The key's thumbprint (RFC 7638, SHA-256).
    ///
    /// For HMAC this hashes a secret of at least 256 bits, which gives away no more than any signed token does.
    pub(super) fn thumbprint(&self) -> [u8; 32] {
        let members: Vec<String> = self.jwk.iter().map(|(name, value)| format!(r#""{name}":"{value}""#)).collect();
        let hash = digest::digest(&digest::SHA256, format!("{{{}}}", members.join(",")).as_bytes());
        let mut thumbprint = [0; 32];
        thumbprint.copy_from_slice(hash.as_ref());
        thumbprint
    }

    /// Signs `message`; fails only if the cryptographic library does.
    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match &self.signer {
            Signer::EdDsa(pair) => pair.try_sign(message).ok().map(|signature| signature.as_ref().to_vec()),
            Signer::Es256(pair) => pair.sign(&random, message).ok().map(|signature| signature.as_ref().to_vec()),
            Signer::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).ok().map(|()| signature)
            }
            Signer::Hs256(key) => Some(hmac::sign(key, message).as_ref().to_vec()),
        }
    }

    /// Whether `signature` is this key's over `message`; HMACs are compared in constant time.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.verifier {
            Verifier::Public(key) => key.verify_sig(message, signature).is_ok(),
            Verifier::Hs256(key) => hmac::verify(key, message, signature).is_ok(),
        }
    }
}

fn verifier(
    scheme: &'static dyn signature::VerificationAlgorithm,
    public: &[u8],
    algorithm: Algorithm,
) -> Result<Verifier, KeyError> {
    ParsedPublicKey::new(scheme, public).map(Verifier::Public).map_err(|_| KeyError::Private(algorithm))
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
