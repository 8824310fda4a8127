//! Passwords: what may be one, and what is stored instead of it. How hashes are computed is in `hashing`.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use unicode_normalization::UnicodeNormalization as _;

use super::block_list::{self, BlockList};

pub use super::hashing::{hash, verify};

/// Long enough for any passphrase (NIST SP 800-63B-4 asks for 64 characters at least), short enough that
/// nobody makes the gateway hash a novel.
const PASSWORD_BYTES_MAX: usize = 1_024;
/// bcrypt reads no more bytes of a key than these.
pub(super) const BCRYPT_BYTES_MAX: usize = 72;
/// OWASP's floor for Argon2id: 19 MiB, two passes, one lane.
const ARGON2_MEMORY_KIB_MIN: u32 = 19_456;
const ARGON2_PASSES_MIN: u32 = 2;
/// Beyond these, one hash takes seconds or a gigabyte: a typing error, or an imported row that would be an attack.
pub(super) const ARGON2_MEMORY_KIB_MAX: u32 = 1_048_576;
pub(super) const ARGON2_PASSES_MAX: u32 = 64;
pub(super) const ARGON2_LANES_MAX: u32 = 64;
/// OWASP's floor for bcrypt.
const BCRYPT_COST_MIN: u32 = 10;
/// About five seconds of a core.
pub(super) const BCRYPT_COST_MAX: u32 = 16;

/// A typed password: NFC-normalised, so that two keyboards' spellings of `é` are one password; 1 to 1,024 bytes.
pub struct Password(SecretString);

/// Why a text cannot be a (new) password. Shown to the person who typed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Nothing was typed.
    #[error("must not be empty")]
    Empty,
    /// Fewer characters than the policy asks for.
    #[error("must have at least {0} characters")]
    TooShort(usize),
    /// More bytes (UTF-8) than can be hashed without cutting the password short.
    #[error("must not be longer than {0} bytes")]
    TooLong(usize),
    /// On the block list.
    #[error("must not be one of the most common passwords: choose another")]
    Common,
    /// Hardly more than the user's own name or address.
    #[error("must not be made of the user name or the address")]
    Name,
    /// bcrypt reads its key in a circle with a NUL at the seam, so a password with a NUL could equal another one.
    #[error("must not contain a NUL character")]
    Nul,
    /// The worker could not allocate the memory that the parameters ask for. Not the person's fault.
    #[error("cannot be hashed: not enough memory")]
    OutOfMemory,
}

impl Password {
    /// Accepts any text of 1 to 1,024 bytes after NFC normalisation. No rule about its composition, and nothing
    /// is trimmed or cut off.
    ///
    /// # Errors
    /// [`PasswordError::Empty`] or [`PasswordError::TooLong`].
    pub fn new(typed: &str) -> Result<Self, PasswordError> {
        let mut normalised = String::with_capacity(PASSWORD_BYTES_MAX.min(typed.len().saturating_mul(3)));
        for character in typed.nfc() {
            if normalised.len() + character.len_utf8() > PASSWORD_BYTES_MAX {
                return Err(PasswordError::TooLong(PASSWORD_BYTES_MAX));
            }
            normalised.push(character);
        }
        if normalised.is_empty() {
            return Err(PasswordError::Empty);
        }
        Ok(Self(normalised.into()))
    }

    /// How many characters (Unicode scalar values after NFC) it has.
    #[must_use]
    pub fn chars(&self) -> usize {
        self.0.expose_secret().chars().count()
    }

    /// As typed, but for its normalisation.
    pub(super) fn text(&self) -> &str {
        self.0.expose_secret()
    }

    /// What is hashed.
    pub(super) fn bytes(&self) -> &[u8] {
        self.0.expose_secret().as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(redacted)")
    }
}

/// A stored hash: PHC string (`$argon2id$…`) or bcrypt (`$2a$`, `$2b$`, `$2y$`).
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

/// Why a text cannot be taken for a password's hash. Does not hold the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a complete bcrypt ($2a$, $2b$, $2y$) or argon2id hash with usual parameters")]
pub struct HashFormatError;

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(redacted)")
    }
}

impl PasswordHash {
    /// A hash that another system made: a complete bcrypt hash (`$2a$`, `$2b$`, `$2y$`) or argon2id in PHC form, with
    /// parameters that a login can afford to verify.
    ///
    /// # Errors
    /// It is another kind of text.
    pub fn parse(text: &str) -> Result<Self, HashFormatError> {
        if super::hashing::is_verifiable(text) { Ok(Self(text.to_owned())) } else { Err(HashFormatError) }
    }

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
    /// What nobody may choose.
    pub block_list: BlockList,
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

impl Default for PasswordPolicy {
    /// Eight characters (ASVS 6.2.1), Argon2id with 19 MiB, two passes and one lane (OWASP).
    fn default() -> Self {
        let hashing = Hashing::Argon2id { memory_kib: ARGON2_MEMORY_KIB_MIN, passes: ARGON2_PASSES_MIN, lanes: 1 };
        Self { min_chars: 8, hashing, block_list: BlockList::default() }
    }
}

impl PasswordPolicy {
    /// Whether `password` may be chosen by a user.
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn check(&self, password: &Password) -> Result<(), PasswordError> {
        if password.chars() < self.min_chars {
            return Err(PasswordError::TooShort(self.min_chars));
        }
        if self.block_list.lists(password) {
            return Err(PasswordError::Common);
        }
        self.hashing.accepts(password)
    }

    /// Whether `password` may be chosen by a user with these names and addresses.
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn check_for(&self, password: &Password, names: &[&str]) -> Result<(), PasswordError> {
        self.check(password)?;
        if block_list::is_made_of(password, names) { Err(PasswordError::Name) } else { Ok(()) }
    }

    /// Whether the parameters are strong enough to be configured, and not absurd.
    ///
    /// # Errors
    /// A sentence that says which parameter to change.
    pub fn check_parameters(&self) -> Result<(), String> {
        match self.hashing {
            Hashing::Argon2id { memory_kib, passes, lanes } => {
                if memory_kib < ARGON2_MEMORY_KIB_MIN || passes < ARGON2_PASSES_MIN || lanes < 1 {
                    return Err(format!(
                        "argon2id needs at least {ARGON2_MEMORY_KIB_MIN} KiB of memory, {ARGON2_PASSES_MIN} passes and 1 lane, \
                         not {memory_kib} KiB, {passes} and {lanes}"
                    ));
                }
                if memory_kib > ARGON2_MEMORY_KIB_MAX || passes > ARGON2_PASSES_MAX || lanes > ARGON2_LANES_MAX {
                    return Err(format!(
                        "argon2id is limited to {ARGON2_MEMORY_KIB_MAX} KiB of memory, {ARGON2_PASSES_MAX} passes and \
                         {ARGON2_LANES_MAX} lanes, not {memory_kib} KiB, {passes} and {lanes}"
                    ));
                }
                Ok(())
            }
            Hashing::Bcrypt { cost } if (BCRYPT_COST_MIN..=BCRYPT_COST_MAX).contains(&cost) => Ok(()),
            Hashing::Bcrypt { cost } => {
                Err(format!("bcrypt needs a cost from {BCRYPT_COST_MIN} to {BCRYPT_COST_MAX}, not {cost}"))
            }
        }
    }
}

impl Hashing {
    /// Whether the algorithm reads every byte of `password`.
    pub(super) fn accepts(self, password: &Password) -> Result<(), PasswordError> {
        match self {
            Self::Argon2id { .. } => Ok(()),
            Self::Bcrypt { .. } if password.bytes().len() > BCRYPT_BYTES_MAX => Err(PasswordError::TooLong(BCRYPT_BYTES_MAX)),
            Self::Bcrypt { .. } if password.bytes().contains(&0) => Err(PasswordError::Nul),
            Self::Bcrypt { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(hashing: Hashing) -> PasswordPolicy {
        PasswordPolicy { hashing, ..PasswordPolicy::default() }
    }

    // Case 157: characters, not bytes; no composition rules; nothing cut off.
    #[test]
    fn a_password_is_measured_in_characters_and_needs_no_mixture() {
        let policy = PasswordPolicy::default();
        for (typed, verdict) in [
            ("aaaaaaaa", Ok(())),
            ("        ", Ok(())),
            ("ääääääää", Ok(())),
            ("🦀🦀🦀🦀🦀🦀🦀🦀", Ok(())),
            ("aaaaaaa", Err(PasswordError::TooShort(8))),
            // Fourteen code points as typed, seven characters after NFC.
            ("e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}", Err(PasswordError::TooShort(8))),
        ] {
            let password = Password::new(typed).expect("within the general limits");
            assert_eq!(policy.check(&password), verdict, "{typed:?}");
        }
    }

    #[test]
    fn the_size_is_bounded_after_normalisation() {
        assert_eq!(Password::new("").err(), Some(PasswordError::Empty));
        assert!(Password::new(&"a".repeat(1_024)).is_ok());
        assert_eq!(Password::new(&"a".repeat(1_025)).err(), Some(PasswordError::TooLong(1_024)));
        // 512 decomposed letters are 1,536 bytes as typed and 1,024 as hashed.
        assert!(Password::new(&"e\u{301}".repeat(512)).is_ok());
        assert_eq!(Password::new(&"e\u{301}".repeat(513)).err(), Some(PasswordError::TooLong(1_024)));
    }

    // Case 153, at registration.
    #[test]
    fn bcrypt_takes_no_password_that_it_would_cut_short_or_confuse() {
        let policy = with(Hashing::Bcrypt { cost: 10 });
        let check = |typed: &str| policy.check(&Password::new(typed).expect("within the general limits"));
        assert_eq!(check(&"p".repeat(72)), Ok(()));
        assert_eq!(check(&"p".repeat(73)), Err(PasswordError::TooLong(72)));
        assert_eq!(check("x\0xxxxxxx"), Err(PasswordError::Nul));
        assert_eq!(PasswordPolicy::default().check(&Password::new("x\0xxxxxxx").expect("fits")), Ok(()));
    }

    // Case 155.
    #[test]
    fn parameters_below_the_floor_are_refused() {
        let argon2id = |memory_kib, passes, lanes| with(Hashing::Argon2id { memory_kib, passes, lanes }).check_parameters();
        let bcrypt = |cost| with(Hashing::Bcrypt { cost }).check_parameters();
        assert_eq!(argon2id(19_456, 2, 1), Ok(()));
        for weak in [argon2id(19_455, 2, 1), argon2id(19_456, 1, 1), argon2id(19_456, 2, 0), bcrypt(9)] {
            assert!(weak.is_err_and(|sentence| sentence.contains("at least") || sentence.contains("from 10")));
        }
        for absurd in [argon2id(u32::MAX, 2, 1), argon2id(19_456, 65, 1), argon2id(19_456, 2, 65), bcrypt(17)] {
            assert!(absurd.is_err());
        }
        assert_eq!((bcrypt(10), bcrypt(16)), (Ok(()), Ok(())));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let password = Password::new("hunter2hunter2").expect("fits");
        assert_eq!(format!("{password:?}"), "Password(redacted)");
        assert_eq!(format!("{:?}", PasswordHash::from_stored("$2b$10$secret".into())), "PasswordHash(redacted)");
    }
}
