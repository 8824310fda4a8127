//! Scopes: what a token may be used for, beside what its subject may do (RFC 6749 §3.3).

use super::user::NameError;

/// One scope token: visible ASCII without `"` and `\`, so that it stands unescaped in a challenge (RFC 6750 §3).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope(String);

/// Scopes travel in every token and in a header.
const SCOPE_BYTES_MAX: usize = 128;

impl Scope {
    /// Accepts 1 to 128 of the characters of RFC 6749 §3.3.
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > SCOPE_BYTES_MAX {
            return Err(NameError::TooLong(SCOPE_BYTES_MAX));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\') {
            return Err(NameError::Scope);
        }
        Ok(Self(text.to_owned()))
    }

    /// Reads a list as it stands in requests and in tokens: scopes with one space between each two.
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, NameError> {
        text.split(' ').map(Self::parse).collect()
    }

    /// The scope's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_what_can_stand_in_a_quoted_list() {
        for text in ["a", "reports:read", "https://api.example/write", "!~", &"x".repeat(128)] {
            assert_eq!(Scope::parse(text).expect(text).as_str(), text);
        }
        for text in ["", "a b", "a\"b", "a\\b", "é", "a\n", "\0", "\x7f", &"x".repeat(129)] {
            assert!(Scope::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_list_has_one_space_between_each_two() {
        let read = |text| Scope::parse_list(text).map(|list| list.len());
        assert_eq!((read("a"), read("a b"), read("b a b")), (Ok(1), Ok(2), Ok(3)));
        for text in ["", " ", "a ", " a", "a  b", "a\tb"] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }
}
