//! Password hashes: computed, verified, and replaced when the parameters grow. CPU-bound and blocking: callers
//! run these functions on bounded workers, never on a proxy thread.

use argon2::password_hash::phc;
use argon2::{Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};

use super::password::{
    ARGON2_LANES_MAX, ARGON2_MEMORY_KIB_MAX, ARGON2_PASSES_MAX, BCRYPT_BYTES_MAX, BCRYPT_COST_MAX, Hashing, Password,
    PasswordError, PasswordHash, PasswordPolicy,
};

/// Bytes of an Argon2id tag (RFC 9106 §4 recommends 32 for passwords).
const ARGON2_TAG_BYTES: usize = 32;

/// Hashes a new password.
///
/// `salt` is 16 bytes from a secure source, fresh for each call.
///
/// # Errors
/// The password is one that bcrypt would cut short, or memory is short.
pub fn hash(policy: &PasswordPolicy, password: &Password, salt: [u8; 16]) -> Result<PasswordHash, PasswordError> {
    policy.hashing.accepts(password)?;
    let text = match policy.hashing {
        Hashing::Argon2id { memory_kib, passes, lanes } => argon2id(memory_kib, passes, lanes)
            .and_then(|argon2| argon2.hash_password_with_salt(password.bytes(), &salt).ok())
            .map(|hash| hash.to_string()),
        Hashing::Bcrypt { cost } => {
            // Not `non_truncating_hash_with_salt`: it refuses 72 bytes too, which bcrypt reads completely.
            bcrypt::hash_with_salt(password.bytes(), cost, salt).ok().map(|hash| hash.to_string())
        }
    };
    // Parameters and password were checked, so that only memory can be missing.
    text.map(PasswordHash::from_stored).ok_or(PasswordError::OutOfMemory)
}

/// Whether `password` is the one that was hashed. A stored text that is no hash, or one with parameters beyond
/// the limits of a configuration, matches nothing.
#[must_use]
pub fn verify(password: &Password, hash: &PasswordHash) -> bool {
    match Stored::parse(hash.as_stored()) {
        Some(Stored::Argon2(hash)) => Argon2::default().verify_password(password.bytes(), &*hash).is_ok(),
        Some(Stored::Bcrypt(_)) => {
            let read = &password.bytes()[..password.bytes().len().min(BCRYPT_BYTES_MAX)];
            // Computed even when the answer is known: a refusal must not be quicker than a mismatch.
            let equal = bcrypt::verify(read, hash.as_stored()).unwrap_or(false);
            equal && Hashing::Bcrypt { cost: 0 }.accepts(password).is_ok()
        }
        None => false,
    }
}

impl PasswordPolicy {
    /// Whether a hash that was just verified should be replaced by one with this policy's parameters.
    ///
    /// Never from Argon2id to bcrypt: who configures bcrypt does so for the readers of new hashes, and a login
    /// must not make an account weaker.
    #[must_use]
    pub fn wants_upgrade(&self, hash: &PasswordHash) -> bool {
        match (self.hashing, Stored::parse(hash.as_stored())) {
            (Hashing::Argon2id { .. }, Some(Stored::Bcrypt(_))) => true,
            (Hashing::Argon2id { memory_kib, passes, .. }, Some(Stored::Argon2(stored))) => {
                let tag_bytes = stored.hash.map_or(0, |tag| tag.len());
                let parameters = Params::try_from(&*stored);
                stored.algorithm != argon2::Algorithm::Argon2id.ident()
                    || stored.version != Some(Version::V0x13.into())
                    || tag_bytes < ARGON2_TAG_BYTES
                    || parameters.is_ok_and(|stored| stored.m_cost() < memory_kib || stored.t_cost() < passes)
            }
            (Hashing::Bcrypt { cost }, Some(Stored::Bcrypt(stored))) => stored < cost,
            (Hashing::Bcrypt { .. }, Some(Stored::Argon2(_))) | (_, None) => false,
        }
    }

    /// A hash with this policy's parameters that no known password matches: verified in place of an unknown
    /// user's, so that being unknown costs the same.
    #[must_use]
    pub fn decoy(&self) -> PasswordHash {
        let text = match self.hashing {
            Hashing::Argon2id { memory_kib, passes, lanes } => {
                // Base64 of 16 and of 32 zero bytes.
                let (salt, tag) = ("A".repeat(22), "A".repeat(43));
                format!("$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${tag}")
            }
            // bcrypt's own base64 of 16 and of 23 zero bytes.
            Hashing::Bcrypt { cost } => format!("$2b${cost:02}${}", ".".repeat(53)),
        };
        PasswordHash::from_stored(text)
    }
}

/// Whether a text of another system is a hash that some password can match.
pub(super) fn is_verifiable(text: &str) -> bool {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"./".contains(&byte);
    match Stored::parse(text) {
        // Argon2i and Argon2d verify, too, but nobody should bring new ones.
        Some(Stored::Argon2(hash)) => hash.algorithm == argon2::Algorithm::Argon2id.ident(),
        // `$2b$12$`, 22 characters of salt and 31 of the hash.
        Some(Stored::Bcrypt(_)) => text.len() == 60 && text.bytes().skip(7).all(is_base64),
        None => false,
    }
}

/// A stored hash that may be verified.
enum Stored {
    Argon2(Box<phc::PasswordHash>),
    /// With its cost.
    Bcrypt(u32),
}

impl Stored {
    fn parse(text: &str) -> Option<Self> {
        if text.starts_with("$argon2") {
            let hash = phc::PasswordHash::new(text).ok()?;
            let parameters = Params::try_from(&hash).ok()?;
            let bounded = parameters.m_cost() <= ARGON2_MEMORY_KIB_MAX
                && parameters.t_cost() <= ARGON2_PASSES_MAX
                && parameters.p_cost() <= ARGON2_LANES_MAX;
            let complete = hash.salt.is_some() && hash.hash.is_some();
            let known = argon2::Algorithm::try_from(hash.algorithm.as_str()).is_ok()
                && hash.version.is_none_or(|version| Version::try_from(version).is_ok());
            return (bounded && complete && known).then(|| Self::Argon2(Box::new(hash)));
        }
        // `$2x$` marks hashes of an implementation with a sign error: they verify a different password.
        if !["$2a$", "$2b$", "$2y$"].iter().any(|prefix| text.starts_with(prefix)) {
            return None;
        }
        let cost = text.parse::<bcrypt::HashParts>().ok()?.get_cost();
        (cost <= BCRYPT_COST_MAX).then_some(Self::Bcrypt(cost))
    }
}

fn argon2id(memory_kib: u32, passes: u32, lanes: u32) -> Option<Argon2<'static>> {
    let parameters = Params::new(memory_kib, passes, lanes, Some(ARGON2_TAG_BYTES)).ok()?;
    Some(Argon2::new(argon2::Algorithm::Argon2id, Version::V0x13, parameters))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As cheap as the algorithms allow: rules do not depend on the cost.
    const QUICK_ARGON2ID: Hashing = Hashing::Argon2id { memory_kib: 16, passes: 1, lanes: 1 };
    const QUICK_BCRYPT: Hashing = Hashing::Bcrypt { cost: 4 };
    const SALT: [u8; 16] = *b"sixteen salt byt";

    fn with(hashing: Hashing) -> PasswordPolicy {
        PasswordPolicy { hashing, ..PasswordPolicy::default() }
    }

    fn password(typed: &str) -> Password {
        Password::new(typed).expect("within the general limits")
    }

    fn stored(text: &str) -> PasswordHash {
        PasswordHash::from_stored(text.to_owned())
    }

    #[test]
    fn a_password_matches_its_own_hash_and_no_other_does() {
        for hashing in [QUICK_ARGON2ID, QUICK_BCRYPT] {
            let hash = hash(&with(hashing), &password("correct horse"), SALT).expect("hashable");
            assert!(verify(&password("correct horse"), &hash), "{hashing:?}");
            assert!(!verify(&password("correct horsf"), &hash), "{hashing:?}");
            assert!(!verify(&password("correct horse\0"), &hash), "{hashing:?}");
        }
    }

    #[test]
    fn only_a_hash_that_some_password_matches_is_taken_over() {
        let bcrypt = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
        let argon2id = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        for text in [bcrypt, &bcrypt.replace("$2a$", "$2b$"), &bcrypt.replace("$2a$", "$2y$"), argon2id] {
            assert!(PasswordHash::parse(text).is_ok(), "{text}");
        }
        for text in [
            "",
            "correct horse battery staple",
            "5f4dcc3b5aa765d61d8327deb882cf99",
            &bcrypt[..59],
            &format!("{bcrypt}C"),
            &bcrypt.replace("$2a$", "$2x$"),
            &bcrypt.replace("$05$", "$31$"),
            &bcrypt.replace('Y', "é"),
            &bcrypt.replace('Y', ":"),
            &argon2id.replace("argon2id", "argon2i"),
            &argon2id.replace("m=256", "m=99999999"),
            &argon2id[..argon2id.len() - 44],
            &format!("{argon2id}\n"),
        ] {
            assert!(PasswordHash::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn both_spellings_of_a_letter_are_the_same_password() {
        let hash = hash(&with(QUICK_ARGON2ID), &password("caf\u{e9}"), SALT).expect("hashable");
        assert!(verify(&password("cafe\u{301}"), &hash));
    }

    #[test]
    fn hashes_of_other_implementations_verify() {
        // From the reference implementation's own tests (argon2 command line; OpenBSD bcrypt vectors).
        for (typed, hash) in [
            ("password", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"),
            ("U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
        ] {
            assert!(verify(&password(typed), &stored(hash)), "{hash}");
        }
    }

    // Case 153, at login: an imported bcrypt hash of 72 bytes must not admit everything that begins like it.
    #[test]
    fn bcrypt_never_ignores_the_end_of_a_password() {
        let full = "p".repeat(72);
        let hashed = hash(&with(QUICK_BCRYPT), &password(&full), SALT).expect("72 bytes are read completely");
        assert!(verify(&password(&full), &hashed));
        assert!(!verify(&password(&format!("{full}A")), &hashed));
        assert_eq!(hash(&with(QUICK_BCRYPT), &password(&format!("{full}A")), SALT).err(), Some(PasswordError::TooLong(72)));
    }

    // Case 153. bcrypt repeats its key, NUL included: `x` and `x\0x` give the same hash.
    #[test]
    fn a_nul_makes_no_second_password_for_a_bcrypt_hash() {
        let hashed = hash(&with(QUICK_BCRYPT), &password("x"), SALT).expect("hashable");
        assert_eq!(bcrypt::verify("x\0x", hashed.as_stored()).ok(), Some(true), "the reason for the rule");
        assert!(!verify(&password("x\0x"), &hashed));
        assert_eq!(hash(&with(QUICK_BCRYPT), &password("x\0x"), SALT).err(), Some(PasswordError::Nul));
    }

    // Case 154, and whatever else a row may hold.
    #[test]
    fn a_stored_text_that_is_no_hash_matches_nothing() {
        let sixty_bytes = format!("$2b$10${}é.", "a".repeat(50));
        assert_eq!(sixty_bytes.len(), 60);
        for text in [
            "",
            "plain",
            "$",
            "$2b$",
            "$2b$99$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "$2b$xx$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "$2b$10$ aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            &sixty_bytes,
            "$argon2id$",
            "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ",
            "$argon2id$v=19$m=4294967295,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2id$v=19$m=256,t=4294967295,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2id$v=99$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$pbkdf2$i=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        ] {
            assert!(!verify(&password("password"), &stored(text)), "{text:?}");
            assert!(!PasswordPolicy::default().wants_upgrade(&stored(text)), "{text:?}");
        }
    }

    // Case 155, second half.
    #[test]
    fn a_weaker_hash_is_upgraded_and_an_equal_or_stronger_one_is_kept() {
        let argon2id = |memory_kib, passes| with(Hashing::Argon2id { memory_kib, passes, lanes: 1 });
        let bcrypt = |cost| with(Hashing::Bcrypt { cost });
        let current = argon2id(32, 2);
        for (policy, stored, wanted) in [
            (&current, current.decoy(), false),
            (&current, argon2id(31, 2).decoy(), true),
            (&current, argon2id(32, 1).decoy(), true),
            (&current, argon2id(64, 3).decoy(), false),
            (&current, bcrypt(12).decoy(), true),
            (
                &current,
                stored("$argon2i$v=19$m=32,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
                true,
            ),
            (&bcrypt(10), bcrypt(9).decoy(), true),
            (&bcrypt(10), bcrypt(10).decoy(), false),
            (&bcrypt(10), current.decoy(), false),
        ] {
            assert_eq!(policy.wants_upgrade(&stored), wanted, "{:?} over {}", policy.hashing, stored.as_stored());
        }
    }

    // Case 151: what an unknown user costs. A decoy that did not parse would cost nothing.
    #[test]
    fn a_decoy_is_hashed_like_a_real_one_and_matches_nothing() {
        for hashing in [QUICK_ARGON2ID, QUICK_BCRYPT, PasswordPolicy::default().hashing] {
            let decoy = with(hashing).decoy();
            assert!(Stored::parse(decoy.as_stored()).is_some(), "{hashing:?}");
            assert!(!with(hashing).wants_upgrade(&decoy), "{hashing:?}");
            assert!(!verify(&password("password"), &decoy), "{hashing:?}");
        }
        assert_eq!(bcrypt::verify("password", with(QUICK_BCRYPT).decoy().as_stored()).ok(), Some(false));
    }
}
