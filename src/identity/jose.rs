//! The compact serialisation of a JWS (RFC 7515 §7.1), read strictly: what is not exactly what this gateway
//! writes is refused, not interpreted.
//!
//! General JOSE libraries accept `crit`, `b64`, `zip`, `jwk` and more, and leave it to their caller to notice.
//! Here a header has three members, and there is no fourth to attack.

use std::collections::HashSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A JWS whose header was read. Nothing in it is proved.
///
/// `H` is what its header may say: that of our own tokens unless somebody else wrote it.
pub(super) struct Unverified<'a, H = Header> {
    /// What it says about how it was signed.
    pub(super) header: H,
    /// What is signed: header and payload as received.
    pub(super) signed: &'a str,
    payload: &'a str,
    signature: Vec<u8>,
}

/// The only members a header of ours may have, each exactly once (RFC 7515 §4).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) alg: Box<str>,
    pub(super) kid: Box<str>,
    pub(super) typ: Box<str>,
}

/// Which part could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Not three parts of unpadded, canonical base64url.
    Compact,
    /// Not a JSON object of exactly `alg`, `kid` and `typ`.
    Header,
}

impl<'a, H: DeserializeOwned> Unverified<'a, H> {
    /// Reads everything but the payload, which is not looked at before the signature was verified (RFC 8725 §3.1).
    pub(super) fn parse(token: &'a str) -> Result<Self, Unreadable> {
        let (signed, signature) = token.rsplit_once('.').ok_or(Unreadable::Compact)?;
        let (header, payload) = signed.split_once('.').ok_or(Unreadable::Compact)?;
        if payload.contains('.') {
            return Err(Unreadable::Compact);
        }
        // Strict: padding, white space and stray bits fail, so that a token has one spelling.
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| Unreadable::Compact)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Unreadable::Compact)?;
        // serde would also read the members' values from an array.
        if header.first() != Some(&b'{') {
            return Err(Unreadable::Header);
        }
        let header = serde_json::from_slice(&header).map_err(|_| Unreadable::Header)?;
        Ok(Self { header, signed, payload, signature })
    }

    /// What was signed with.
    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The payload's bytes; for after the signature was verified.
    pub(super) fn payload(&self) -> Option<Vec<u8>> {
        URL_SAFE_NO_PAD.decode(self.payload).ok()
    }
}

/// `aud`: one name, or several (RFC 7519 §4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(Box<str>),
    Many(Vec<Box<str>>),
}

/// Members of an object that nobody asked for, each at most once; flattened into a struct beside those that are.
///
/// Unknown claims are to be ignored (RFC 7519 §4), but two of the same name may mean two things to two readers.
/// Flattening also puts them under `serde_json`'s limit on depth, which skipped values are not.
pub(super) struct Others;

impl<'de> Deserialize<'de> for Others {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Others;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("members with different names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Others, A::Error> {
                let mut names = HashSet::new();
                while let Some((name, IgnoredAny)) = members.next_entry::<String, IgnoredAny>()? {
                    if !names.insert(name) {
                        return Err(serde::de::Error::custom("a member occurs twice"));
                    }
                }
                Ok(Others)
            }
        }
        deserializer.deserialize_map(Names)
    }
}

/// For optional members: absent is allowed, `null` is not.
pub(super) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
