//! A system's own rule for passwords. It comes on top of the gateway's, which it cannot relax.

/// How long, and of how many kinds of characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordRule {
    /// The fewest characters.
    pub min_chars: usize,
    /// How many of: lower case, upper case, digits, `!@#$%^&*`.
    pub classes: u8,
}

/// How many kinds there are.
pub(super) const CLASSES: u8 = 4;

impl PasswordRule {
    /// Whether a new password keeps to it.
    #[must_use]
    pub fn allows(&self, password: &str) -> bool {
        let kinds: [fn(char) -> bool; CLASSES as usize] =
            [char::is_lowercase, char::is_uppercase, |char| char.is_ascii_digit(), |char| "!@#$%^&*".contains(char)];
        let classes = kinds.iter().filter(|kind| password.chars().any(kind)).count();
        password.chars().count() >= self.min_chars && classes >= usize::from(self.classes)
    }

    /// The rule, to be read after “the password”.
    #[must_use]
    pub fn text(&self) -> String {
        let classes = match self.classes {
            0 | 1 => String::new(),
            classes => format!(", with {classes} of: lower case, upper case, digits, !@#$%^&*"),
        };
        format!("must have at least {} characters{classes}", self.min_chars)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_needs_its_length_and_its_kinds() {
        let rule = PasswordRule { min_chars: 8, classes: 3 };
        for (password, allowed) in [
            ("Passw0rd", true),
            ("Passw0r", false),
            ("password", false),
            ("passw0rd", false),
            ("passw0r!", true),
            ("ÄÖÜäöü12", true),
        ] {
            assert_eq!(rule.allows(password), allowed, "{password}");
        }
        assert!(PasswordRule { min_chars: 0, classes: 0 }.allows(""));
        assert_eq!(rule.text(), "must have at least 8 characters, with 3 of: lower case, upper case, digits, !@#$%^&*");
    }
}
