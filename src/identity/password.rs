//! Passwords: what may be one, and how it is hashed and verified. CPU-bound and blocking: callers run these
//! functions on bounded workers, never on a proxy thread.

use std::fmt;

use secrecy::SecretString;

/// A typed password, NFC-normalised, at most 1,024 bytes.
pub struct Password(SecretString);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(redacted)")
    }
}

/// A stored hash: PHC string (`$argon2id$…`) or bcrypt (`$2a$`, `$2b$`, `$2y$`).
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(redacted)")
    }
}

impl PasswordHash {
    /// A hash as read from a store.
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The text to store. Leaves the process only towards the store.
    #[must_use]
    pub fn as_stored(&self) -> &str {
        &self.0
    }
}

/// Rules for new passwords and parameters for new hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordPolicy {
    /// The fewest characters (Unicode scalar values after NFC): at least 8 (ASVS 6.2.1), 15 recommended (NIST SP 800-63B-4).
    pub min_chars: usize,
    /// How new passwords are hashed, and what weaker hashes are upgraded to at the next login.
    pub hashing: Hashing,
}

/// How new passwords are hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashing {
    /// Argon2id (RFC 9106).
    Argon2id {
        /// Memory in KiB.
        memory_kib: u32,
        /// Passes over the memory.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
    /// bcrypt, for systems that must read the hashes; refuses passwords over 72 bytes.
    Bcrypt {
        /// log2 of the rounds.
        cost: u32,
    },
}
