//! Passwords that everybody tries first (NIST SP 800-63B-4 §3.1.1.2, ASVS 6.2.4): the common ones, the operator's own list,
//! and what is little more than the account's own name.
//!
//! `common_passwords.txt` holds the 11,611 passwords of eight and more characters among the 30,000 most frequent ones of
//! zxcvbn's dictionary (Dropbox, MIT licence), most frequent first. Shorter ones cannot be chosen anyway.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, LazyLock};

use super::password::Password;
use super::user::canonical;

static COMMON: LazyLock<HashSet<&str>> = LazyLock::new(|| include_str!("common_passwords.txt").lines().collect());

/// Shorter names are part of too many words.
const WORD_CHARS_MIN: usize = 3;
/// What is left of a password without a name must have so many letters, or it is the name and a number.
const LETTERS_LEFT_MIN: usize = 4;

/// What nobody may choose.
#[derive(Clone, PartialEq, Eq)]
pub struct BlockList {
    common: bool,
    own: Arc<HashSet<Box<str>>>,
}

impl Default for BlockList {
    /// The built-in list.
    fn default() -> Self {
        Self::with(true, "")
    }
}

impl fmt::Debug for BlockList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockList").field("common", &self.common).field("own", &self.own.len()).finish()
    }
}

impl BlockList {
    /// The built-in list if `common`, and these, one per line. Compared without regard to case and Unicode spelling.
    #[must_use]
    pub fn with(common: bool, lines: &str) -> Self {
        let own = lines.lines().filter(|line| !line.is_empty()).map(|line| canonical(line).into());
        Self { common, own: Arc::new(own.collect()) }
    }

    /// Whether a password is listed.
    pub(super) fn lists(&self, password: &Password) -> bool {
        let password = canonical(password.text());
        (self.common && COMMON.contains(password.as_str())) || self.own.contains(password.as_str())
    }
}

/// Whether a password is little more than one of these names, or the part of an address before the `@`.
pub(super) fn is_made_of(password: &Password, names: &[&str]) -> bool {
    let password = canonical(password.text());
    names.iter().any(|name| {
        let name = canonical(name);
        let local = name.split('@').next().unwrap_or_default();
        [name.as_str(), local].into_iter().any(|word| {
            if word.chars().count() < WORD_CHARS_MIN || !password.contains(word) {
                return false;
            }
            let rest = password.replace(word, "");
            rest.chars().filter(|character| character.is_alphabetic()).count() < LETTERS_LEFT_MIN
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(typed: &str) -> Password {
        Password::new(typed).expect("within the general limits")
    }

    #[test]
    fn the_built_in_list_is_long_and_canonical() {
        assert!(COMMON.len() >= 3_000, "{}", COMMON.len());
        for common in COMMON.iter() {
            assert_eq!(canonical(common), **common);
            assert!(common.chars().count() >= 8, "{common}");
        }
    }

    #[test]
    fn a_common_password_is_listed_in_any_spelling() {
        let list = BlockList::default();
        for typed in ["password", "PassWord", "ｐａｓｓｗｏｒｄ", "12345678", "Password123", "iloveyou", "P@ssw0rd"] {
            assert!(list.lists(&password(typed)), "{typed}");
        }
        for typed in ["correct horse battery staple", "password of mine", " password", "passw\u{f6}rter"] {
            assert!(!list.lists(&password(typed)), "{typed}");
        }
    }

    #[test]
    fn an_operator_adds_words_of_their_own() {
        let list = BlockList::with(true, "Portcullis2026\r\n\nGru\u{df} aus Wien\n");
        for typed in ["portcullis2026", "gru\u{df} AUS wien", "password"] {
            assert!(list.lists(&password(typed)), "{typed}");
        }
        assert!(!list.lists(&password("portcullis2027")));
    }

    #[test]
    fn a_name_with_a_number_is_no_password() {
        for (typed, names) in [
            ("lovelace", &["lovelace"][..]),
            ("LoveLace1815!", &["lovelace"]),
            ("ada12345", &["Ada"]),
            ("1234ada5678ada", &["ada"]),
            ("ada@example.com", &["ada@example.com"]),
            ("lovelace-99", &["ada", "lovelace@example.com"]),
        ] {
            assert!(is_made_of(&password(typed), names), "{typed}");
        }
        for (typed, names) in [
            ("canada is adaptable", &["ada"][..]),
            ("lovelace and babbage", &["lovelace"]),
            ("al12345678", &["al"]),
            ("12345678", &["ada"]),
        ] {
            assert!(!is_made_of(&password(typed), names), "{typed}");
        }
    }
}
