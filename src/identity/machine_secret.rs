//! Secrets of programs: API keys (`pck_…`) and client secrets (`pcs_…`).
//!
//! `pck_` ‖ 8 public characters ‖ `_` ‖ 32 random bytes in base64url ‖ 4 characters of checksum. The prefix and the
//! checksum are for scanners of repositories and logs, which recognise one without asking anybody:
//! `pc[ks]_[a-z2-7]{8}_[A-Za-z0-9_-]{47}`, where the last four are the base64url of the first three bytes of the
//! SHA-256 over everything before them. A store keeps the SHA-256 of the whole text: nobody can guess 256 bits.

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};

use super::one_time_token::TokenHash;

/// RFC 4648 §6 in lower case: no character is mistaken for another.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const PUBLIC_CHARS: usize = 8;
/// `pck_` and the public characters: what lists show.
const PREFIX_CHARS: usize = 4 + PUBLIC_CHARS;
/// 32 bytes in base64url without padding.
const SECRET_CHARS: usize = 43;
const CHECKSUM_BYTES: usize = 3;
const CHECKSUM_CHARS: usize = 4;
const CHARS: usize = PREFIX_CHARS + 1 + SECRET_CHARS + CHECKSUM_CHARS;

/// Whose secret it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKind {
    /// A user's, for a program of theirs.
    ApiKey,
    /// A client's.
    Client,
}

impl SecretKind {
    /// What every secret of the kind begins with.
    #[must_use]
    pub const fn mark(self) -> &'static str {
        match self {
            Self::ApiKey => "pck_",
            Self::Client => "pcs_",
        }
    }
}

/// The secret of a program.
pub struct MachineSecret(SecretString);

impl fmt::Debug for MachineSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MachineSecret").field(&self.prefix()).finish()
    }
}

impl MachineSecret {
    /// The secret of these random bytes; `public` is shown in lists.
    #[must_use]
    pub fn new(kind: SecretKind, public: [u8; PUBLIC_CHARS], secret: [u8; 32]) -> Self {
        let mut text = String::with_capacity(CHARS);
        text.push_str(kind.mark());
        text.extend(public.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])));
        text.push('_');
        URL_SAFE_NO_PAD.encode_string(secret, &mut text);
        text.push_str(&checksum(&text));
        Self(text.into())
    }

    /// Whether a bearer token is, or was meant to be, an API key.
    #[must_use]
    pub fn is_api_key(token: &str) -> bool {
        token.starts_with(SecretKind::ApiKey.mark())
    }

    /// Reads what was presented. None for anything that no secret of the kind looks like, a mistyped one included.
    #[must_use]
    pub fn parse(kind: SecretKind, text: &str) -> Option<Self> {
        if text.len() != CHARS || !text.is_ascii() || !text.starts_with(kind.mark()) {
            return None;
        }
        let (body, sum) = text.split_at(CHARS - CHECKSUM_CHARS);
        (checksum(body) == sum).then(|| Self(text.into()))
    }

    /// What may be shown: nothing of it is secret.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.0.expose_secret()[..PREFIX_CHARS]
    }

    /// The text to hand out.
    #[must_use]
    pub fn text(&self) -> &SecretString {
        &self.0
    }

    /// What is stored.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        sha256(self.0.expose_secret())
    }
}

/// SHA-256 of a text.
pub(super) fn sha256(text: &str) -> TokenHash {
    let mut hash = TokenHash::default();
    hash.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    hash
}

fn checksum(body: &str) -> String {
    URL_SAFE_NO_PAD.encode(&sha256(body)[..CHECKSUM_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(kind: SecretKind) -> MachineSecret {
        MachineSecret::new(kind, *b"\x00\x01\x1f\x20\xff\x07\x08\x09", [0xfb; 32])
    }

    #[test]
    fn a_secret_is_read_as_it_was_written_and_hashes_alike() {
        for kind in [SecretKind::ApiKey, SecretKind::Client] {
            let secret = secret(kind);
            let text = secret.text().expose_secret();
            assert_eq!(secret.prefix(), format!("{}ab7a7hij", kind.mark()));
            let read = MachineSecret::parse(kind, text).expect("its own text");
            assert_eq!((read.prefix(), read.hash()), (secret.prefix(), secret.hash()));
        }
    }

    #[test]
    fn a_text_that_differs_in_one_character_is_none() {
        let secret = secret(SecretKind::ApiKey);
        let text = secret.text().expose_secret();
        for at in 0..text.len() {
            let other = if text.as_bytes()[at] == b'x' { "y" } else { "x" };
            let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            assert!(MachineSecret::parse(SecretKind::ApiKey, &changed).is_none(), "{at}");
        }
        for changed in ["", "pck_", &text[1..], &text[..text.len() - 1], &format!("{text}x"), &"é".repeat(CHARS / 2)] {
            assert!(MachineSecret::parse(SecretKind::ApiKey, changed).is_none(), "{changed}");
        }
        assert!(MachineSecret::parse(SecretKind::Client, text).is_none(), "a key is no client's secret");
    }

    #[test]
    fn a_secret_is_not_shown() {
        let secret = secret(SecretKind::ApiKey);
        let shown = format!("{secret:?}");
        assert!(shown.contains("pck_ab7a7hij") && !shown.contains(&secret.text().expose_secret()[PREFIX_CHARS..]), "{shown}");
    }
}
